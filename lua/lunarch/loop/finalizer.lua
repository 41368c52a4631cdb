-- Whether this code runs in a finalizer (__gc): in the middle of whatever the program was doing, where nothing may yield
-- and no other task may go on.
--
-- Lua 5.4.4 and later answer no question about the collector there. Earlier ones and LuaJIT say that it stands still,
-- which a program may have told it too: then a wait outside of every coroutine is taken for one in a finalizer.
local is_yieldable = coroutine.isyieldable or function() return true end

return function()
  return not is_yieldable() and not collectgarbage "isrunning"
end
