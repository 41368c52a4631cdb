-- Waiting in the simulator: the same calls as loop/luv.lua has, on the world's time. The process waits by leaving its
-- fiber, so that any wait, in plain calls and generators too, lets the world go on.
local args = require "lunarch.internal.args"

args.is_ours()

local process = require "lunarch.sim.process"

local sim = {}

local timers, watches = {}, {}
local n_timers, n_refs = 0, 0

-- There is nothing to be loaded.
function sim.load() end

-- Whether this code runs in a callback of the script's own (lunarch.cli.sim.luv).
local n_callbacks = 0

function sim.is_inside()
  return n_callbacks > 0
end

function sim.enter_callback() n_callbacks = n_callbacks + 1 end
function sim.leave_callback() n_callbacks = n_callbacks - 1 end

-- What the script wants to know of signals, beside what is done about them (sim.on_signal).
local signal_watches = {}

-- Calls back when this signal comes; returns what ends that.
function sim.watch_signal(number, callback)
  local watch = { number = number, callback = callback }
  signal_watches[#signal_watches + 1] = watch
  return function() watch.callback = nil end
end

local function tell_signal(number)
  for _, watch in ipairs(signal_watches) do
    if watch.number == number and watch.callback then watch.callback() end
  end
  if sim.on_signal then sim.on_signal(number) end
end

local function set(timer, at)
  if not timer.at then n_timers = n_timers + 1 end
  timer.at = at
end

local function stop(timer)
  if timer.at then n_timers = n_timers - 1 end
  timer.at = nil
end

-- In the order in which they were made, which is always the same.
local function run_due()
  local now, due = process.now(), {}
  for _, timer in ipairs(timers) do
    if timer.at and timer.at <= now then due[#due + 1] = timer end
  end
  for _, timer in ipairs(due) do
    if timer.at and timer.at <= now then
      stop(timer)
      timer.callback()
    end
  end
end

local function next_instant()
  local at
  for _, timer in ipairs(timers) do
    if timer.at and (not at or timer.at < at) then at = timer.at end
  end
  return at
end

-- Tasks that are always ready (lunarch.sleep(0), coroutine.yield()) would hold the world up, where a script takes no
-- time.
local TURNS, TURNS_TAKE_S = 16, 0.0002
local n_turns = 0

local function let_time_pass()
  n_turns = n_turns + 1
  if n_turns < TURNS then return end
  n_turns = 0
  process.sleep(TURNS_TAKE_S)
end

-- One turn, which does not wait. False: nothing is left that could happen.
function sim.turn()
  let_time_pass()
  local number = process.take_signal()
  if number then tell_signal(number) end
  if process.take_notes() then
    for _, watch in ipairs(watches) do
      if watch.callback then watch.callback() end
    end
    process.delay()
  end
  run_due()
  return n_timers > 0 or n_refs > 0
end

-- Waits until the next turn may have something to do.
function sim.wait()
  n_turns = 0
  process.wait(next_instant())
end

local function new_timer(callback)
  local timer = { callback = callback }
  timers[#timers + 1] = timer
  return timer
end

local idle = {}

-- Calls back once, no earlier than `seconds` from now; returns what prevents it.
function sim.timer(seconds, callback)
  local timer = table.remove(idle) or new_timer()
  timer.callback = function()
    idle[#idle + 1] = timer
    callback()
  end
  local own = timer.callback
  set(timer, process.now() + (seconds > 0 and seconds or 0))
  return function()
    if timer.callback ~= own or not timer.at then return end
    stop(timer)
    idle[#idle + 1] = timer
  end
end

-- Returns a function that makes `callback` run once from the next turn, however often it is called before.
function sim.kicker(callback)
  local timer = new_timer(callback)
  return function()
    set(timer, process.now())
  end
end

-- Calls back whenever a client has something to tell, until `watch:stop()`. Keeps the loop alive only between ref and
-- unref.
function sim.watch(source, callback)
  local watch = { callback = callback }
  if type(source) == "table" then source:add_watch(watch) else watches[#watches + 1] = watch end
  function watch.ref()
    if not watch.is_wanted then n_refs = n_refs + 1 end
    watch.is_wanted = true
  end
  function watch.unref()
    if watch.is_wanted then n_refs = n_refs - 1 end
    watch.is_wanted = false
  end
  function watch.stop()
    watch.unref()
    watch.callback = nil
  end
  return watch
end

return sim
