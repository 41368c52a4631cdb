-- Runs the seeds of a plan, on all cores, and shows how far that is.
--
-- Worker k of n runs every n-th seed and writes a line for each. The result is the lowest seed that fails, not the
-- first to be found: the other workers are waited for until they have come as far.
local args = require "lunarch.internal.args"
local history = require "lunarch.cli.sim.history"
local host = require "lunarch.host"
local sim = require "lunarch.sim"

local workers = {}

-- Fewer seeds are not worth a worker.
local LEAST_SHARE = 4
local SLICE_MS = 200
local SHOW_S, SHOW_ON_TERMINAL_S = 10, 0.25

local COUNTS = { "steps", "elected", "kills", "pauses" }

-- ---- counting, and showing it -----------------------------------------------------------------------------------

local function new_outcome(plan)
  return {
    began_at = host.time(), shown_at = host.time(), is_terminal = host.is_terminal(2) and not plan.flags.json,
    n_run = 0, n_wanted = plan.seeds.to - plan.seeds.from + 1, seconds = 0, failed = {},
    counts = { steps = 0, elected = 0, kills = 0, pauses = 0 },
  }
end

local function count(outcome, result)
  outcome.n_run = outcome.n_run + 1
  outcome.seconds = outcome.seconds + result.seconds
  for _, name in ipairs(COUNTS) do
    outcome.counts[name] = outcome.counts[name] + result[name]
  end
  if result.verdict then
    outcome.failed[#outcome.failed + 1] = result.seed
    if not outcome.first or result.seed < outcome.first then outcome.first = result.seed end
  end
end

local function show(outcome)
  local now = host.time()
  if now - outcome.shown_at < (outcome.is_terminal and SHOW_ON_TERMINAL_S or SHOW_S) then return end
  outcome.shown_at, outcome.is_shown = now, true
  local text = ("%d of %d seeds, %.1f simulated hours, %.0f seeds/s, %s"):format(outcome.n_run, outcome.n_wanted,
    outcome.seconds / 3600, outcome.n_run / (now - outcome.began_at),
    #outcome.failed == 0 and "nothing wrong so far" or ("%d failed"):format(#outcome.failed))
  io.stderr:write(outcome.is_terminal and "\r\27[K" or "lunarch sim: ", text, outcome.is_terminal and "" or "\n")
  io.stderr:flush()
end

local function end_showing(outcome)
  if outcome.is_shown and outcome.is_terminal then io.stderr:write "\r\27[K" end
  outcome.took = host.time() - outcome.began_at
  table.sort(outcome.failed)
  return outcome
end

-- ---- alone ------------------------------------------------------------------------------------------------------

local function run_alone(plan, outcome)
  plan.on_tick = function()
    outcome.signal = host.caught_signal()
    return not outcome.signal
  end
  for seed = plan.seeds.from, plan.seeds.to do
    local result = history.run(plan, seed)
    if outcome.signal then break end
    count(outcome, result)
    show(outcome)
    if outcome.first and not plan.goes_on then break end
  end
end

-- ---- with workers ---------------------------------------------------------------------------------------------------

local function line_of(result)
  local parts = { ("%d"):format(result.seed), result.verdict or "-", args.decimal("%.9f", result.seconds) }
  for _, name in ipairs(COUNTS) do
    parts[#parts + 1] = ("%d"):format(result[name])
  end
  return table.concat(parts, " ") .. "\n"
end

local function result_of(line)
  local words = {}
  for word in line:gmatch "%S+" do
    words[#words + 1] = word
  end
  local result = {
    seed = math.tointeger(tonumber(words[1])), verdict = words[2] ~= "-" and words[2] or nil,
    seconds = tonumber(words[3]),
  }
  for i, name in ipairs(COUNTS) do
    result[name] = math.tointeger(tonumber(words[3 + i]))
  end
  return result
end

-- Never returns.
local function work(plan, fd, first, step)
  local ok, trouble = pcall(function()
    for seed = first, plan.seeds.to, step do
      local result = history.run(plan, seed)
      if not sim.write(fd, line_of(result)) then break end
      if result.verdict and not plan.goes_on then break end
    end
  end)
  if not ok then sim.write(fd, "! " .. tostring(trouble):gsub("\n", " ") .. "\n") end
  sim.quit()
end

local function start_workers(plan, n)
  local started = {}
  for i = 1, n do
    local first = plan.seeds.from + i - 1
    local pid, fd = sim.fork()
    if pid == nil then error("cannot start a worker: " .. fd, 0) end
    if not pid then work(plan, fd, first, n) end
    started[i] = { pid = pid, fd = fd, next_seed = first, rest = "" }
  end
  return started
end

local function take(worker, data, n, outcome)
  local text = worker.rest .. data
  for line in text:gmatch "([^\n]*)\n" do
    local trouble = line:match "^! (.*)"
    if trouble then
      outcome.crash = ("seed %d: %s"):format(worker.next_seed, trouble)
      return
    end
    count(outcome, result_of(line))
    worker.next_seed = worker.next_seed + n
  end
  worker.rest = text:match "[^\n]*$"
end

-- Whether it could still find a lower seed than the lowest that failed.
local function is_wanted(worker, outcome, goes_on)
  return not worker.has_ended and (goes_on or not outcome.first or worker.next_seed < outcome.first)
end

local function wanted_of(started, outcome, goes_on)
  local fds, by_fd = {}, {}
  for _, worker in ipairs(started) do
    if is_wanted(worker, outcome, goes_on) then
      fds[#fds + 1] = worker.fd
      by_fd[worker.fd] = worker
    end
  end
  return fds, by_fd
end

local function run_in_workers(plan, outcome, n)
  local started = start_workers(plan, n)
  while not outcome.signal and not outcome.crash do
    local fds, by_fd = wanted_of(started, outcome, plan.goes_on)
    if #fds == 0 then break end
    local fd, data = sim.read(fds, SLICE_MS)
    outcome.signal = host.caught_signal()
    if fd and data == "" and not outcome.signal then
      local worker = by_fd[fd]
      worker.has_ended = true
      if worker.next_seed <= plan.seeds.to then
        outcome.crash = ("seed %d: the simulator itself died"):format(worker.next_seed)
      end
    elseif fd and data ~= "" then
      take(by_fd[fd], data, n, outcome)
    end
    show(outcome)
  end
  for _, worker in ipairs(started) do
    local died_of = sim.reap(worker.pid, worker.fd, worker.has_ended)
    if died_of then outcome.crash = ("%s of signal %d"):format(outcome.crash or "a worker died", died_of) end
  end
  -- Ctrl-C goes to all of them.
  if outcome.signal then outcome.crash = nil end
end

--- Runs them. Returns what came of it: failed (seeds, in order), first (the lowest), counts, signal (that ended it),
--- crash (what ended it otherwise).
function workers.run(plan)
  local outcome = new_outcome(plan)
  local n = math.min(plan.jobs or sim.n_cores(), math.max(1, outcome.n_wanted // LEAST_SHARE))
  if n == 1 then run_alone(plan, outcome) else run_in_workers(plan, outcome, n) end
  return end_showing(outcome)
end

return workers
