-- Waiting in a loop of the program's own, which polls client:pollfd() and calls client:dispatch() itself: what to give
-- as connect { loop = } is told in library/lunarch.d.lua.
require "lunarch.internal.args".is_ours()

local foreign = {}

local running = coroutine.running
local isyieldable = coroutine.isyieldable

-- Whether this code can yield at all. On LuaJIT the main thread is no coroutine.
local function is_in_a_coroutine()
  return running() ~= nil and isyieldable()
end

local function nothing() end

-- A world as loop/init.lua wants one, from what the program has given.
function foreign.new(given)
  local world = { leave = nothing }
  local is_here = given.is_here or is_in_a_coroutine

  function world.wait_mode()
    return is_here() and "park" or "block"
  end

  function world.suspend(wait)
    local ok, err = pcall(given.suspend, wait)
    if wait.is_done then return end
    wait:cancel()
    error(ok and "lunarch: the loop's suspend(wait) returned before wait.is_done" or err, 0)
  end

  function world.wake(wait)
    wait.is_done = true
    given.wake(wait)
  end

  function world.watch()
    return { ref = nothing, unref = nothing, stop = nothing }
  end

  return world
end

return foreign
