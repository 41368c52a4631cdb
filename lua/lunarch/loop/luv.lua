-- Waiting under libuv, by way of luv: turns of its loop, timers, and descriptors to watch.
--
-- luv ends the process when a callback raises: every callback of ours is caught and reported, and those of the script's
-- own end it in order.
local args = require "lunarch.internal.args"
local common = require "lunarch.loop.common"

args.is_ours()

local core = require "lunarch.core"
local say = require "lunarch.internal.say"
local tame = require "lunarch.internal.tame"

local luv = {}

local uv                -- luv itself, loaded when it is first needed: it changes the process (SIGPIPE)

-- What a callback raised in a turn of ours is raised by that turn: Ctrl-C may come in the middle of one.
local is_turning, failure = false, nil

local function report(err)
  if is_turning then
    failure = failure or { err = err }
    return
  end
  say.line("%s", debug.traceback("error in a callback: " .. tostring(err), 2))
end

local function guarded(callback)
  return function() xpcall(callback, report) end
end

-- ---- callbacks of the script's own --------------------------------------------------------------------------------

-- The status with which luv ends the process.
luv.CALLBACK_STATUS = 255

-- Called with the error of a callback that nobody has caught, as text. A program that hosts scripts puts its own here.
function luv.on_callback_error(text)
  say.write("Uncaught Error in a callback: " .. tame(text) .. "\n")
end

-- Ends the process: lunarch.loop.ending puts its own here.
luv.fail = os.exit

-- Whether an error in a callback ends the process. At a prompt it does not.
luv.is_fatal = true

-- The longest wait between two looks, in milliseconds. Where signals make a descriptor readable it may be longer.
luv.slice_ms = 250

local has_failed = false

local function on_failure(found)
  local err, traceback = found[1], found[2]
  if is_turning and common.is_ctrl_c(err) then
    failure = failure or { err = err }
    return
  end
  -- Only the first is told: the process ends for it, and some come with every turn of the loop.
  if has_failed then return end
  has_failed = luv.is_fatal
  luv.on_callback_error(args.without_ours(args.error_text(err) .. "\n" .. traceback))
  if luv.is_fatal then luv.fail(luv.CALLBACK_STATUS) end
end

-- Loads luv itself, for `call`. Raises when it cannot be loaded.
function luv.load(call)
  if uv then return end
  local ok, found = pcall(require, "luv")
  if not ok then
    args.misuse("%s needs luv, which cannot be loaded (Debian: apt install lua-luv): %s", call, tostring(found))
  end
  uv = found
  local path = package.searchpath("luv", package.cpath)
  if path then core.on_callback_error(path, on_failure) end
end

-- Whether this code runs inside a callback of the loop, where the loop cannot be turned.
function luv.is_inside()
  return uv.loop_mode() ~= nil
end

-- ---- turns and timers -----------------------------------------------------------------------------------------------

-- libuv does not look at handles that are not referenced (the program's signals, a client's descriptor between two
-- waits) unless another one is: a task that only yields would never hear of them.
local keeper
local KEEPER_MS = 1000000000

-- One turn, which does not wait. False: nothing is left that could happen.
function luv.turn()
  keeper = keeper or uv.new_timer()
  keeper:start(KEEPER_MS, 0, function() end)
  is_turning = true
  uv.run "nowait"
  is_turning = false
  keeper:stop()
  local is_alive = uv.loop_alive()
  if failure then
    local err = failure.err
    failure = nil
    error(err, 0)
  end
  return is_alive
end

-- Waits until the next turn may have something to do. Not inside of uv.run: when a signal comes, Lua's hook for it
-- (Ctrl-C) must raise here, and not in a callback of luv's, which would end the process. In slices: a signal that comes
-- just before a wait begins cannot end it.
function luv.wait()
  local ms, slice_ms = uv.backend_timeout(), luv.slice_ms
  core.await_fd(uv.backend_fd(), (ms < 0 or ms > slice_ms) and slice_ms or ms)
end

-- Handles are stopped and never closed: luv 1.44 crashes in lua_close() when one was closed and the loop has not turned
-- since. A stopped one that nobody holds is collected safely.

local idle_timers = {}

local function new_timer()
  local timer = { handle = uv.new_timer() }
  timer.run = guarded(function()
    local callback = timer.callback
    timer.callback = nil
    idle_timers[#idle_timers + 1] = timer
    callback()
  end)
  return timer
end

-- Calls back once, no earlier than `seconds` from now; returns what prevents it. The loop's own clock counts whole
-- milliseconds and stands still during a callback.
function luv.timer(seconds, callback)
  local timer = table.remove(idle_timers) or new_timer()
  timer.callback = callback
  uv.update_time()
  timer.handle:start(seconds > 0 and args.milliseconds(seconds) + 1 or 0, 0, timer.run)
  return function()
    if timer.callback ~= callback then return end
    timer.callback = nil
    timer.handle:stop()
    idle_timers[#idle_timers + 1] = timer
  end
end

-- Returns a function that makes `callback` run once from the next turn, however often it is called before.
function luv.kicker(callback)
  local timer = uv.new_timer()
  local run = guarded(callback)
  return function()
    timer:start(0, 0, run)
  end
end

local new_proxy = rawget(_G, "newproxy")

-- An object that calls `fn` when it is collected: on LuaJIT tables cannot.
local function new_guard(fn)
  if not new_proxy then return setmetatable({}, { __gc = fn }) end
  local guard = new_proxy(true)
  getmetatable(guard).__gc = fn
  return guard
end

-- Calls back whenever `fd` is readable, until `watch:stop()`. Keeps the loop alive only between ref and unref.
--
-- When everything is collected at once, the guard goes first, because it was made last: the descriptor is let go of
-- before it is closed.
function luv.watch(fd, callback)
  local poll = assert(uv.new_poll(fd))
  poll:start("r", guarded(callback))
  poll:unref()
  local watch = {}
  function watch.ref() poll:ref() end
  function watch.unref() poll:unref() end
  function watch.stop()
    -- A script may have closed all handles there are: libuv aborts where a closed one is stopped.
    if poll and not poll:is_closing() then poll:stop() end
    poll = nil
  end
  watch.guard = new_guard(watch.stop)
  return watch
end

-- Calls back once a signal that nobody handles would end the process; returns what ends the watch, not the catching.
function luv.watch_signals(callback)
  local fd = uv and core.catch_signals()
  if not fd then return nil end
  local watch = luv.watch(fd, function() callback(core.caught_signal()) end)
  -- The watch itself is kept: it ends when it is collected.
  return function() watch.stop() end
end

return luv
