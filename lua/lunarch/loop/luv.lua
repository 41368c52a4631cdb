-- Waiting under libuv, by way of luv: turns of its loop, timers, and descriptors to watch.
--
-- luv ends the process when a callback raises: every callback of ours is caught and reported.
local uv = require "luv"

require "lunarch.args".is_ours()

local luv = {}

local function report(err)
  io.stderr:write("lunarch: ", debug.traceback("error in a callback: " .. tostring(err), 2), "\n")
end

local function guarded(callback)
  return function(...)
    local values = { n = select("#", ...), ... }
    xpcall(function() callback((table.unpack or unpack)(values, 1, values.n)) end, report)
  end
end

-- Whether this code runs inside a callback of the loop, where the loop cannot be turned.
function luv.is_inside()
  return uv.loop_mode() ~= nil
end

-- One turn: "once" waits for something to happen, "nowait" does not. False: nothing is left that could happen.
function luv.turn(mode)
  return uv.run(mode)
end

-- Calls back once, no earlier than `seconds` from now. The loop's own clock counts whole milliseconds and stands
-- still during a callback.
function luv.timer(seconds, callback)
  local timer = uv.new_timer()
  local function stop()
    if timer then
      timer:close()
      timer = nil
    end
  end
  uv.update_time()
  timer:start(math.ceil(seconds * 1000) + (seconds > 0 and 1 or 0), 0, guarded(function()
    stop()
    callback()
  end))
  return stop
end

-- Returns a function that makes `callback` run once from the next turn, however often it is called before.
function luv.kicker(callback)
  local timer = uv.new_timer()
  local run = guarded(callback)
  return function()
    timer:start(0, 0, run)
  end
end

-- Makes a waiting turn end now and then, so that Lua sees the signals it has hooks for (Ctrl-C). Does not keep the
-- loop alive.
function luv.heartbeat(seconds)
  local timer = uv.new_timer()
  local ms = math.ceil(seconds * 1000)
  timer:start(ms, ms, function() end)
  timer:unref()
  return function() timer:close() end
end

-- Calls back whenever `fd` is readable. Keeps the loop alive only between ref and unref.
function luv.watch(fd, callback)
  local poll = assert(uv.new_poll(fd))
  poll:start("r", guarded(callback))
  poll:unref()
  return poll
end

return luv
