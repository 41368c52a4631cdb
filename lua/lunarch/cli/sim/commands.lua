-- Commands in the simulator: nothing is run; how a command ends is what the script's sim.exec(function) says of it.
--
-- The same object as C's (module/commands.h): a command ends by itself, when its time or its term is over, or when it
-- is cancelled, as base/supervisor.c has it. It is looked at when the first of these instants comes; a process that is
-- paused sees it later.
local args = require "lunarch.internal.args"

args.is_ours()

local loop = require "lunarch.cli.sim.loop"
local process = require "lunarch.sim.process"
local stream = require "lunarch.cli.sim.stream"

local commands = {}

local RAN, NOT_FOUND = 0, 3
local BY_ITSELF, TIMEOUT, LAPSED, ASKED = 0, 1, 2, 3
local SIGKILL, SIGTERM, ENOENT = 9, 15, 2
-- Most commands that a failover script calls take tens of milliseconds, some take seconds.
local QUICK_S, SLOW_S, SLOW_OF = 0.2, 5, 10
local DIES_S = 0.05

local describe       -- the script's

-- ---- what the script says of a command ----------------------------------------------------------------------------

local WORLD = {}
WORLD.__index = WORLD

local notes = setmetatable({}, {
  __index = function(_, name) return process.noted(name) end,
  __newindex = function(_, name, value) process.note(name, value) end,
})

--- Of a thousand, by the seed.
function WORLD.chance(per_mille)
  args.seconds("world.chance", "per_mille", per_mille)
  return math.random() * 1000 < per_mille
end

--- A number between two others, by the seed.
function WORLD.random(least, most)
  args.seconds("world.random", "least", least)
  args.seconds("world.random", "most", most)
  return least + math.random() * (most - least)
end

local function new_world()
  return setmetatable({
    now = process.now(), phase = process.phase(), name = process.name(), notes = notes,
  }, WORLD)
end

local DESCRIPTION = {
  after = args.seconds, code = args.whole, signal = args.whole, stdout = args.string, stderr = args.string,
  hangs = args.boolean, ignores_term = args.boolean, is_missing = args.boolean, on_end = args.callable,
}

local function some_time()
  return math.random() * (math.random(SLOW_OF) == 1 and SLOW_S or QUICK_S)
end

local function description_of(words, world)
  local found = describe and describe(words, world)
  if found ~= nil and type(found) ~= "table" then
    args.misuse("sim.exec: the function returned %s: it must return { after =, code =, ... } or nothing",
      args.describe(found))
  end
  found = args.options("sim.exec", found, DESCRIPTION)
  local has_failed = found.signal or found.code and found.code ~= 0
  return {
    after = found.hangs and math.huge or found.after or some_time(), code = found.code or 0, signal = found.signal,
    stdout = found.stdout or "", ignores_term = found.ignores_term,
    stderr = found.stderr or has_failed and words[1] .. ": failed, says the simulator\n" or "",
    is_missing = found.is_missing, on_end = found.on_end,
  }
end

--- sim.exec(fn): fn(command, world) says how each command ends.
function commands.describe(fn)
  describe = args.callable("sim.exec", "fn", fn)
end

-- ---- a command ----------------------------------------------------------------------------------------------------

local function line_of(words)
  local text = table.concat(words, " "):gsub("%c", " ")
  return #text > 60 and text:sub(1, 57) .. "..." or text
end

local Job = {}
Job.__index = Job

local function new_job(spec)
  local world = new_world()
  local now = process.now()
  local self = setmetatable({ spec = spec, began_at = now, world = world, text = line_of(spec.argv) }, Job)
  self.it = description_of(spec.argv, world)
  self.ends_at = self.it.is_missing and now or now + self.it.after
  process.report("command", self.text)
  return self
end

-- When SIGTERM comes, and why; as far as is known now.
function Job:term_at()
  local at, cause = self.cancelled_at or math.huge, ASKED
  local spec = self.spec
  if spec.timeout and self.began_at + spec.timeout < at then at, cause = self.began_at + spec.timeout, TIMEOUT end
  if spec.session then
    local valid_until = spec.session:valid_until()
    local lapses_at = valid_until > 0 and valid_until - spec.term_before or process.now()
    if lapses_at < at then at, cause = math.max(lapses_at, self.began_at), LAPSED end
  end
  return at, cause
end

function Job:kill_at(term_at)
  local spec = self.spec
  local at = term_at + spec.kill_after
  if not spec.session then return at end
  local valid_until = spec.session:valid_until()
  if valid_until == 0 then return math.min(at, term_at + spec.term_before - spec.kill_before) end
  return math.min(at, valid_until - spec.kill_before)
end

-- The instant at which it is over, as far as is known now, and how.
function Job:fate()
  local it = self.it
  local term_at, cause = self:term_at()
  if self.ends_at <= term_at then
    return self.ends_at, { cause = BY_ITSELF, code = not it.signal and it.code or nil, signal = it.signal }
  end
  local kill_at = math.max(self:kill_at(term_at), term_at)
  if not it.ignores_term then return math.min(term_at + DIES_S, kill_at), { cause = cause, signal = SIGTERM } end
  return kill_at, { cause = cause, signal = SIGKILL }
end

local WHY = { [TIMEOUT] = "its time is over, ", [LAPSED] = "its term is over, ", [ASKED] = "cancelled, " }

local function said(outcome)
  if outcome.stage ~= RAN then return "not found" end
  local how = outcome.signal and "signal " .. outcome.signal or "status " .. outcome.code
  return (WHY[outcome.cause] or "") .. how
end

-- A script that raises what a command said in failing has made no mistake.
local function note_failure(self, outcome)
  if outcome.stage == RAN and outcome.cause == BY_ITSELF and outcome.code == 0 then return end
  process.answered(("lunarch.exec: %s: "):format(self.spec.argv[1]))
  process.answered(outcome.stderr:match "[^\n]*")
end

-- Whether it is over.
function Job:look()
  if self.outcome then return true end
  local at, outcome = self:fate()
  if at > process.now() then return false end
  outcome.stage, outcome.error = RAN, 0
  if self.it.is_missing then outcome.stage, outcome.error = NOT_FOUND, ENOENT end
  outcome.stdout, outcome.stderr, outcome.stdout_dropped, outcome.stderr_dropped = self.it.stdout, self.it.stderr, 0, 0
  self.outcome = outcome
  note_failure(self, outcome)
  process.report("command", ("%s -> %s, after %.1f s"):format(self.text, said(outcome), at - self.began_at))
  if self.it.on_end then self.it.on_end(self.world, outcome) end
  return true
end

-- ---- the object that lunarch.exec waits with ----------------------------------------------------------------------

local Commands = {}
Commands.__index = Commands

function commands.open()
  return setmetatable({ jobs = {}, last_id = 0, watches = {} }, Commands)
end

function Commands:is_ours() return true end
function Commands:has_lines() return false end

-- In the simulator's loop a descriptor is whatever tells its watches.
function Commands:pollfd() return self end

function Commands:add_watch(watch)
  self.watches[#self.watches + 1] = watch
end

local function tell(self)
  for _, watch in ipairs(self.watches) do
    if watch.callback then watch.callback() end
  end
end

-- Looks again when it may be over.
local function follow(self, job)
  if job:look() then
    if not job.is_unwanted then return tell(self) end
    self.jobs[job.id] = nil
    return
  end
  loop.timer(math.max(job:fate() - process.now(), 0.001), function() follow(self, job) end)
end

function Commands:start(spec)
  local job = new_job(spec)
  self.last_id = self.last_id + 1
  job.id = self.last_id
  self.jobs[job.id] = job
  loop.timer(0, function() follow(self, job) end)
  return job.id, {}
end

function Commands:drain(ids)
  local n, due = 0, {}
  for id, job in pairs(self.jobs) do
    if job.outcome and not job.is_unwanted then due[#due + 1] = id end
  end
  table.sort(due)
  for _, id in ipairs(due) do
    n = n + 1
    ids[n] = id
  end
  return n
end

function Commands:wait(id, timeout_ms)
  local job = self.jobs[id]
  local left_s = math.min(job:fate() - process.now(), timeout_ms / 1000)
  if not job:look() and left_s > 0 then process.sleep(left_s) end
  return job:look()
end

local function lines_of(outcome)
  local lines = {}
  for _, name in ipairs { "stdout", "stderr" } do
    for line in outcome[name]:gmatch "[^\n]+" do
      lines[#lines + 1] = { line, name }
    end
  end
  return lines
end

function Commands:take(id)
  local job = self.jobs[id]
  self.jobs[id] = nil
  return job.spec.wants_lines and lines_of(job.outcome) or nil, job.outcome
end

function Commands:cancel(id)
  local job = self.jobs[id]
  if not job then return end
  job.is_unwanted, job.cancelled_at = true, process.now()
  follow(self, job)
end

Commands.forget = Commands.cancel

-- All lines come at the end.
function Commands:remind() end

function Commands:is_running(id)
  local job = self.jobs[id]
  if job and job:look() then self.jobs[id] = nil end
  return self.jobs[id] ~= nil
end

-- ---- what the standard library has ----------------------------------------------------------------------------------

-- The program stands still meanwhile, as it does outside.
local function run_blocking(command)
  local job = new_job { argv = { "sh", "-c", command }, kill_after = 0 }
  while not job:look() do
    process.sleep(math.min(job:fate() - process.now(), 3600))
  end
  return job.outcome
end

local function status_of(outcome)
  if outcome.signal then return nil, "signal", outcome.signal end
  return outcome.code == 0 or nil, "exit", outcome.code
end

function commands.execute(command)
  if command == nil then return true end
  return status_of(run_blocking(args.string("os.execute", "command", command)))
end

function commands.popen(command, mode)
  local outcome = run_blocking(args.string("io.popen", "command", command))
  local text = mode ~= "w" and outcome.stdout or nil
  return stream.pipe(text, function() return status_of(outcome) end)
end

return commands
