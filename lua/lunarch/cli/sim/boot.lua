-- What runs in the state of a simulated process, before the user's script and around it: the same life of a script as
-- under `lunarch run` (lunarch.cli.script), with the clock, the output and the end of the process in the simulator.
-- luacheck: ignore 121 122 _ENV
local _ENV = require "lunarch.cli.sim.own"
local args = require "lunarch.internal.args"
local modules = require "lunarch.cli.common.modules"
local process = require "lunarch.sim.process"

args.is_ours()

local INTERRUPTED = setmetatable({ code = "cancelled" }, { __tostring = function() return "interrupted" end })

-- ---- what the standard library must not ask the machine ---------------------------------------------------------

local function set_time()
  local date, time = os.date, os.time
  function os.time(fields)
    if fields then return time(fields) end
    return math.floor(process.time())
  end
  function os.date(format, instant)
    return date(format, instant or os.time())
  end
  -- A script takes no time: the clock shows that of the world.
  function os.clock()
    return process.now()
  end
end

-- Where etcd is, and what else is meant for lunarch, is not the machine's to say.
local function hide_environment()
  local getenv, known = os.getenv, {}
  function os.getenv(name)
    if type(name) == "string" and (name:match "^LUNARCH_" or name:match "^ETCDCTL_") then return nil end
    -- Asked once: where the machine keeps it is not the same in every run, and Lua looks at that.
    if known[name] == nil then known[name] = getenv(name) or false end
    return known[name] or nil
  end
end

-- Seeds that come from addresses and the machine's clock would differ from run to run.
local function set_random()
  local randomseed = math.randomseed
  local seed
  function math.randomseed(...)
    if select("#", ...) > 0 then return randomseed(...) end
    return randomseed(seed)
  end
  return function(number)
    seed = number
    randomseed(number)
  end
end

-- Lines of output go into the timeline; the rest of a line waits for its end.
local function new_output(kind)
  local output, rest = {}, ""
  function output.write(self, ...)
    for i = 1, select("#", ...) do
      rest = rest .. tostring((select(i, ...)))
    end
    for line in rest:gmatch "([^\n]*)\n" do
      process.report(kind, line)
    end
    rest = rest:match "[^\n]*$"
    return self
  end
  function output.close() return true end
  function output.flush(self) return self end
  function output.setvbuf() return true end
  function output.seek() return nil, "Illegal seek" end
  return setmetatable(output, { __name = "FILE*", __tostring = function() return "file (" .. kind .. ")" end })
end

local function set_output()
  local stdout, stderr = new_output "print", new_output "print"
  local current
  io.stdout, io.stderr = stdout, stderr
  function io.output(file)
    if type(file) == "string" then file = assert(io.open(file, "w")) end
    current = file or current or stdout
    return current
  end
  function io.write(...)
    return io.output():write(...)
  end
  function _G.print(...)
    local parts = table.pack(...)
    for i = 1, parts.n do
      parts[i] = tostring(parts[i])
    end
    stdout:write(table.concat(parts, "\t", 1, parts.n), "\n")
  end
end

local function set_standard_library()
  set_time()
  hide_environment()
  set_output()
  function os.exit(status)
    process.exit(math.tointeger(status) or status == false and 1 or 0)
  end
  return set_random()
end

-- ---- handlers, as the simulator sees them -----------------------------------------------------------------------

-- What the simulator does not hold against a script: that its term was over, that it was stopped, and that it raised
-- what a call had answered (assert(client:get(...))).
local function is_expected(err)
  if type(err) ~= "string" then return type(err) == "table" and getmetatable(err) ~= nil end
  return process.is_answer(err)
end

-- What is to be done when the handler that a task runs has ended, by task. A task that is abandoned never goes on - it
-- called os.exit, or would not end - and neither does any once every wait blocks: their handlers have ended then.
local ends = setmetatable({}, { __mode = "k" })

local function end_handler(task)
  local after = ends[task]
  ends[task] = nil
  if after then after() end
end

local function watch_tasks(tasks)
  local loop = require "lunarch.loop"
  local abandon, block_from_now_on = tasks.abandon, loop.block_from_now_on
  function tasks.abandon(task)
    end_handler(task)
    abandon(task)
  end
  function loop.block_from_now_on()
    for task in pairs(ends) do
      end_handler(task)
    end
    block_from_now_on()
  end
end

-- Runs `after` when the handler ends, however it does. An error comes as lunarch.candidate describes it.
local function ending(name, after)
  local task = require "lunarch.loop.task".current() or after
  ends[task] = after
  return setmetatable({}, {
    __close = function(_, failure)
      if ends[task] ~= after then return end
      end_handler(task)
      local err, text = failure, tostring(failure)
      if type(failure) == "table" and failure.text then err, text = failure.err, failure.text end
      if err ~= nil and not is_expected(err) then process.fail(("%s failed: %s"):format(name, text)) end
    end,
  })
end

local function around_term(stand, name, handler)
  return function(term, ...)
    local _ <close> = ending(name, function()
      process.leave(stand)
      if name == "on_lost" then process.lost(stand) end
    end)
    if name == "on_elected" then process.elected(stand, term._core) end
    process.enter(stand, name)
    local detail = name == "on_elected" and (" (token %d)"):format(term.token)
      or name == "on_lost" and (" (%s)"):format(...) or ""
    process.report("handler", name .. detail)
    if handler then return handler(term, ...) end
  end
end

local function around(name, handler)
  return function(...)
    local _ <close> = ending(name, function() end)
    return handler(...)
  end
end

local function around_leader(stand, handler)
  local told = around("on_leader", handler)
  return function(leader)
    process.leader(stand, leader.is_me, leader.token)
    return told(leader)
  end
end

-- on_elected and on_lost are called even where the script has none: the simulator wants to know.
local function look_at(candidate)
  local stand = process.candidate(candidate.election_name)
  local handlers = candidate.handlers
  if handlers.on_leader then handlers.on_leader = around_leader(stand, handlers.on_leader) end
  for _, name in ipairs { "do_standby", "on_jeopardy", "on_safe", "may_stand", "health" } do
    if handlers[name] then handlers[name] = around(name, handlers[name]) end
  end
  for _, name in ipairs { "on_elected", "do_work", "on_lost" } do
    if handlers[name] or name ~= "do_work" then handlers[name] = around_term(stand, name, handlers[name]) end
  end
  return candidate
end

local function watch_candidates(lunarch)
  local original = lunarch.candidate
  rawset(lunarch, "candidate", setmetatable({
    handlers = original.handlers, settings = original.settings, current = original.current,
  }, {
    __call = function(_, options) return look_at(original(options)) end,
  }))
end

-- ---- the script -------------------------------------------------------------------------------------------------

local function new_log()
  local log = { debug = function() end }
  for _, level in ipairs { "info", "warn", "error" } do
    log[level] = function(format, ...)
      local ok, text = true, tostring(format)
      if select("#", ...) > 0 then ok, text = pcall(string.format, format, ...) end
      process.report(level, ok and text or ("%s (%s)"):format(format, text))
    end
  end
  return log
end

-- A script finds no `sim` outside of the simulator.
local notes = require "lunarch.cli.sim.facts".new {
  note = process.note, add = process.add, now = process.now,
  exec = function(fn) require "lunarch.cli.sim.commands".describe(fn) end,
}

local function new_run(options, lunarch)
  local Script = require "lunarch.cli.script"
  local Run = setmetatable({}, { __index = Script })
  Run.__index = Run
  local log = new_log()
  local run = setmetatable({
    lunarch = lunarch, script = options.script, given = options.given, default_name = options.name, candidates = {},
    log = log, log_for = function() return log end, tasks = require "lunarch.loop.task",
  }, Run)
  function Run:connect()
    self.client = self.client or assert(lunarch.connect { name = options.name, prefix = rawget(_G, "prefix") })
    return self.client
  end
  function Run:may_stand()
    self.is_standing = true
    return not self.is_signalled
  end
  function Run:has_stood()
    if self.is_signalled then self.tasks.interrupt_all(INTERRUPTED) end
  end
  function Run:on_signal()
    self.is_signalled = true
    if self.is_standing then self:stop_candidates() else self.tasks.interrupt_all(INTERRUPTED) end
  end
  return run
end

-- What the script did, and not how we came to call it.
local function without_us(trace)
  return (trace:gsub("\n[^\n]*/lunarch/cli/.*$", ""))
end

local function report_tasks(tasks)
  function tasks.on_failure(task)
    if task.err == INTERRUPTED then return end
    process.report("error", "a spawned task failed: " .. task.traceback)
    if not is_expected(task.err) then process.fail("a spawned task failed: " .. without_us(task.traceback)) end
  end
end

local function finish(run, ok, message)
  if ok or run.is_signalled then
    process.report("life", "ends")
  else
    process.report("error", tostring(message))
    process.report("life", "ends with an error")
    if not process.is_answer(tostring(message)) then
      process.fail("the script failed: " .. without_us(tostring(message)))
    end
  end
  if run.client then run.client:close(1) end
  run.client, run.candidates = nil, {}
  collectgarbage()
  run.lunarch.shutdown(2)
  if not ok and not run.is_signalled then process.exit(1) end
end

return function(options)
  local seed_random = set_standard_library()
  -- The disk of the host, which the next life of the process finds.
  require "lunarch.cli.sim.files".install(process, "files of " .. options.name)
  local chunk, trouble = loadfile(options.script)
  if not chunk then error(trouble, 0) end
  if options.own_paths then modules.never_itself(options.own_paths) end
  package.loaded["lunarch.loop.luv"] = require "lunarch.cli.sim.loop"
  local commands = require "lunarch.cli.sim.commands"
  package.loaded["lunarch.commands"] = commands
  os.execute, io.popen = commands.execute, commands.popen
  package.loaded.luv = require "lunarch.cli.sim.luv"
  require "lunarch.cli.sim.foreign".refuse()
  local say = require "lunarch.internal.say"
  say.write, say.is_plain = function(text) io.stderr:write(text) end, false
  local lunarch = require "lunarch"
  watch_candidates(lunarch)
  watch_tasks(require "lunarch.loop.task")
  local run = new_run(options, lunarch)
  report_tasks(run.tasks)
  package.loaded["lunarch.cli.sim.loop"].on_signal = function() run:on_signal() end
  run:set_globals(options.words, "lunarch")
  rawset(_G, "name", options.name) -- as by --name
  rawset(_G, "sim", notes)

  return {
    ["lunarch.sim.main"] = function(seed)
      seed_random(seed)
      finish(run, pcall(lunarch.run, run.main, run, chunk, options.words))
    end,
  }
end
