-- coroutine.yield() where nothing but nginx resumes the coroutine: nginx goes on with it at once, and a loop of such
-- yields holds up the whole worker. So coroutine.yield is replaced, in all of the worker. In the light thread of a
-- handler or a task of ours it raises when the task was interrupted, and lets the loop of nginx turn now and then. In
-- other coroutines of the task it yields as before, until the loop has not turned for a moment.
local args = require "lunarch.internal.args"
local common = require "lunarch.loop.common"

args.is_ours()

local core = require "lunarch.core"

local yields = {}

local TURN_S = 0.005         -- how long a handler may yield before the loop turns
local SPIN_S = 0.1           -- the same for a coroutine that it has made: who resumes that one waits for its yields
local NAP_S = 0.001

local running = coroutine.running
local yield = coroutine.yield

local turned_at = setmetatable({}, { __mode = "k" })   -- by the coroutine of each light thread of ours

-- nginx's clock stands still until its loop turns.
local last_tick, ticked_at = 0, 0

local function spun_for_s(now)
  local tick = ngx.now()
  if tick ~= last_tick then last_tick, ticked_at = tick, now end
  return now - ticked_at
end

local function turn(thread)
  ngx.sleep(NAP_S)
  if turned_at[thread] then turned_at[thread] = core.now() end
end

-- world: lunarch.loop.nginx.
local function replace(world)
  rawset(coroutine, "yield", function(...)
    local task = world.current()
    if not task then return yield(...) end
    local thread, now = running(), core.now()
    local own = turned_at[thread]
    if not own and spun_for_s(now) < SPIN_S then return yield(...) end
    local interruption = common.interruption_of(task)
    if interruption then common.raise(world, interruption) end
    if now - (own or 0) >= TURN_S then return turn(thread) end
    return yield(...)
  end)
end

local is_replaced = false

--- The coroutine that runs now is that of a light thread of ours, in which a task of `world` runs.
function yields.watch(world)
  if not is_replaced then replace(world) end
  is_replaced = true
  turned_at[running()] = core.now()
end

return yields
