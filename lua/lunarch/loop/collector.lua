-- What the garbage collector is doing, and a collection that leaves it as it was.
require "lunarch.internal.args".is_ours()

local collector = {}

local is_yieldable = coroutine.isyieldable or function() return true end

--- Whether this code runs in a finalizer (__gc): in the middle of whatever the program was doing, where nothing may
--- yield and no other task may go on.
---
--- Lua 5.4.4 and later answer no question about the collector there. Earlier ones and LuaJIT say that it stands still,
--- which a program may have told it too: then a wait outside of every coroutine is taken for one in a finalizer.
function collector.is_in_finalizer()
  return not is_yieldable() and not collectgarbage "isrunning"
end

--- Collects everything; not in a finalizer. On LuaJIT a collection turns a collector on again that was off, and it is
--- off while a finalizer runs: others would begin in the middle of it.
function collector.collect()
  if collector.is_in_finalizer() then return end
  local was_running = collectgarbage "isrunning"
  collectgarbage()
  if not was_running then collectgarbage "stop" end
end

return collector
