-- The counter of examples/sim/counter.lua, with one word forgotten: the write is not guarded.
--
--   lunarch sim examples/sim/unguarded.lua
--
-- Most of the time it works. But a write that was sent while we led may be carried out when another process leads
-- already, and takes back what the other has counted: the simulator shows how, within a hundred seeds or so.
election = "/counter/leader"
ttl      = 3
interval = 0.2

local KEY = "/counter/value"
local count

-- Facts for check(world); outside of the simulator there is no `sim`.
local function tell(fact)
  if sim then sim.add(fact) end
end

function on_elected(term)
  local client = term.election.session.client
  local value, why, code = client:get(KEY)
  if code then error("cannot read the counter: " .. why) end
  count = tonumber(value) or 0
end

function do_work(term)
  tell "tried"
  local ok, why, code = term.election.session.client:put(KEY, tostring(count + 1))
  if not ok then
    log.warn("not counted: %s (%s)", why, code)
    -- It may have been carried out, or be carried out later: the next leader reads what became of it.
    return false
  end
  count = count + 1
  tell "acknowledged"
end

-- Called after every step of every history.
function check(world)
  local value = tonumber(world:get(KEY)) or 0
  local acknowledged, tried = world.notes.acknowledged or 0, world.notes.tried or 0
  if value < acknowledged then
    return false, ("%d increments were acknowledged, the counter says %d"):format(acknowledged, value)
  elseif value > tried then
    return false, ("%d increments were tried, the counter says %d"):format(tried, value)
  end
end
