-- The leader counts: /counter/value goes up by one, five times a second, whichever process leads.
--
--   lunarch sim examples/sim/counter.lua           a thousand histories against a simulated etcd
--   lunarch run examples/sim/counter.lua --dev     the same script against a real one
--
-- Each write is guarded: etcd refuses it once we no longer lead, also one that was sent while we still did and is
-- carried out later. (examples/sim/unguarded.lua forgets that.)
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
  local ok, why, code = term:put(KEY, tostring(count + 1))
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
