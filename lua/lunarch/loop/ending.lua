-- How a process ends while candidates run in it: their terms are lost in order first - on_lost, then the place is given
-- up - and then it ends as it would have ended.
--
--   what ends it                                  reason    how it ends
--   os.exit(...), wherever it is called           exit      by os.exit(...); the first call counts
--   SIGTERM, SIGHUP, SIGQUIT, unless handled      stopping  by that signal
--   Ctrl-C, which Lua raises in the main program  stopping  lunarch.run and candidate:run raise it once all are lost
--   an error in a callback of luv's               error     by os.exit(255), and told on stderr; `lunarch`: 1
--   the end of the main program, or its error     exit      as it would: on_lost blocks, for nothing else runs then
--   nginx tells a worker to leave (reload, quit)  stopping  the worker leaves
--   nginx ends a worker at once (stop)            stopping  the same, in exit_worker_by_lua*: every wait blocks
--
-- A *runner* is what has to be lost: a table with
--   stop(reason)      begins its end; does not wait
--   retire(task)      the task called os.exit, and never goes on: it counts as ended. False: it is needed for the end
--   finish(reason, rest)  its end from here on, without tasks: every wait blocks. rest(seconds): as many of these as
--                     are left for what follows on_lost
-- The process waits for ending.leave(runner).
local args = require "lunarch.internal.args"
local core = require "lunarch.core"
local loop = require "lunarch.loop"

args.is_ours()

local ending = {}

local unpack = table.unpack or unpack
local pack = table.pack or function(...) return { n = select("#", ...), ... } end

local PAUSE_S = 0.01         -- between two looks where the loop is not ours

local runners = {}
local fate                   -- how the process ends once there is no runner: a function

-- Those that entered last are stopped first.
local function stop_all(reason)
  for i = #runners, 1, -1 do
    runners[i].stop(reason)
  end
end

-- The loop is not turned any more. `until_s`, an instant of core.now: what follows on_lost takes no longer.
local function finish_all(reason, until_s)
  local function rest(seconds)
    return until_s and math.min(seconds, math.max(until_s - core.now(), 0)) or seconds
  end
  loop.block_from_now_on()
  for i = #runners, 1, -1 do
    pcall(runners[i].finish, reason, rest)
    runners[i] = nil
  end
end

-- ---- where the loop can still be turned ---------------------------------------------------------------------------

local function has_ended() return #runners == 0 end

local function share_the_world(world)
  for _, runner in ipairs(runners) do
    if runner.world ~= world then return false end
  end
  return true
end

local function retire(task)
  for _, runner in ipairs(runners) do
    if not runner.retire(task) then return false end
  end
  return true
end

-- Waits until no runner is left, from wherever os.exit was called. False: that cannot be waited for here.
local function await_all()
  local world, task = loop.world(), loop.current()
  if not share_the_world(world) or task and not retire(task) then return false end
  if world.drive then return (world.drive(has_ended)) end
  if world.wait_mode() ~= "park" then return false end
  while not has_ended() do
    world.nap(PAUSE_S)
  end
  return true
end

-- ---- os.exit ----------------------------------------------------------------------------------------------------

local real_exit = os.exit

-- Made by a function that returns: see loop.unless_ended.
local function exit_with(...)
  local status = pack(...)
  return function() real_exit(unpack(status, 1, status.n)) end
end

-- Ends the process by os.exit(...) once all have lost their terms for this reason; does not return.
local function exit_for(reason, ...)
  if has_ended() then return real_exit(...) end
  -- A callback that comes again and again: the loop that called it is turned for the end already.
  if fate and loop.luv and loop.luv.is_inside() then error("the process is ending", 0) end
  fate = fate or exit_with(...)
  local own = fate
  stop_all(reason)
  if not await_all() then finish_all(reason) end
  return own()
end

-- What os.exit would refuse is refused before anything ends for it.
local function check_status(status)
  local number = type(status) ~= "boolean" and status ~= nil and tonumber(status)
  if status == nil or type(status) == "boolean" or number and (not math.type or number % 1 == 0) then return end
  args.misuse("bad argument #1 to 'exit' (a whole number or a boolean is expected, not %s)", args.describe(status))
end

local function exit(...)
  check_status((...))
  return exit_for("exit", ...)
end

-- For good, and before a program can keep the original for itself. What replaces it later is to call it.
rawset(os, "exit", exit)

--- Ends the process because something has failed that nobody sees to.
function ending.fail(status)
  return exit_for("error", status)
end

if loop.luv then loop.luv.fail = ending.fail end

-- ---- signals ----------------------------------------------------------------------------------------------------

local unwatch_signals

local function unwatch()
  if unwatch_signals then unwatch_signals() end
  unwatch_signals = nil
end

-- They stay caught: a second one ends the process.
local function on_signal(number, finish)
  unwatch()
  if not number or fate then return end
  fate = function()
    pcall(io.stdout.flush, io.stdout)
    return (finish or core.end_by_signal)(number)
  end
  stop_all "stopping"
end

local function watch_signals(world)
  if unwatch_signals or not world.watch_signals then return end
  unwatch_signals = world.watch_signals(on_signal)
end

-- ---- the end of a worker of nginx's -------------------------------------------------------------------------------

local is_told_of_leaving = false

local function watch_leaving(world)
  if is_told_of_leaving or not world.on_leave then return end
  is_told_of_leaving = true
  world.on_leave(function() stop_all "stopping" end)
end

--- For a worker of nginx's that ends now: in exit_worker_by_lua*. Every wait blocks from now on; what follows on_lost
--- takes no longer than until that instant of core.now.
function ending.finish(until_s)
  finish_all("stopping", until_s)
end

-- ---- the end of the Lua state -----------------------------------------------------------------------------------

-- Objects are finalized in the reverse order of their making when a Lua state closes: the sentinel made last sees all
-- that is older alive.
local function at_close(sentinel)
  if not sentinel.is_off and not has_ended() then finish_all "exit" end
end

local METATABLE = { __gc = at_close }
local newproxy = rawget(_G, "newproxy")
local sentinel

local function new_sentinel()
  local own = {}
  if newproxy then
    own.proxy = newproxy(true)
    getmetatable(own.proxy).__gc = function() at_close(own) end
    return own
  end
  return setmetatable(own, METATABLE)
end

--- Whatever was made until now is alive when a Lua state that closes calls runner.finish. Not in nginx: its workers end
--- their candidates before, and what finalizes last there must not be held up.
function ending.remember()
  if not loop.luv then return end
  if sentinel then sentinel.is_off = true end
  sentinel = new_sentinel()
end

-- ---- runners ----------------------------------------------------------------------------------------------------

function ending.enter(runner)
  runner.world = loop.world()
  runners[#runners + 1] = runner
  watch_signals(runner.world)
  watch_leaving(runner.world)
  ending.remember()
end

function ending.leave(runner)
  for i = #runners, 1, -1 do
    if runners[i] == runner then table.remove(runners, i) end
  end
  if not has_ended() then return end
  unwatch()
  core.release_signals()
  if fate then fate() end
end

--- Runs fn(...), and lets its error out only once every runner has ended: Ctrl-C, say, or an error of the main task.
--- A second error (Ctrl-C again) is not waited for.
function ending.in_order(fn, ...)
  local results = pack(pcall(fn, ...))
  if results[1] then return unpack(results, 2, results.n) end
  local world = loop.world()
  if not has_ended() and not loop.current() and world.drive then
    stop_all "stopping"
    world.drive(has_ended)
  end
  error(results[2], 0)
end

return ending
