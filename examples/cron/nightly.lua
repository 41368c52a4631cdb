-- A cron job that runs once in the cluster, not once on every host.
--
--   lunarch run nightly.lua --name "$(hostname)" -- 86400 /usr/local/bin/backup --all       on every host
--
-- The leader marks a period as begun before it runs the command, with a write that etcd refuses once we no longer lead:
-- so a period never begins twice. One whose host dies meanwhile is not run again: at most once, not at least once.
local lunarch = require "lunarch"

election = "/examples/nightly"
ttl      = 10

local EVERY_S = tonumber(arg[1]) or (sim and 5 or 86400)
if EVERY_S < 1 or arg[1] and not tonumber(arg[1]) then
  error("usage: nightly.lua -- SECONDS COMMAND [ARGUMENT...]", 0)
end
local COMMAND = table.move(arg, 2, #arg, 1, {})
if not COMMAND[1] then COMMAND[1] = "true" end

local BEGUN = "/examples/nightly:begun"      -- the last period that has begun; beside the line, not inside it

-- Whether this period is ours to run.
local function begin(term, period)
  local value, why, code = term.election.session.client:get(BEGUN)
  if code then error("cannot read " .. BEGUN .. ": " .. why) end
  if tonumber(value) and tonumber(value) >= period then return false end
  local ok, message = term:put(BEGUN, tostring(period))
  if not ok then log.warn("period %d is not begun: %s", period, message) end
  return ok
end

-- The command ends with the term, if it has not ended before.
local function run(period)
  if sim then sim.add("runs of period " .. period) end
  local result, message = lunarch.exec {
    env = { PERIOD = period },
    on_line = function(line) log.info("%s, period %d: %s", COMMAND[1], period, line) end,
    table.unpack(COMMAND),
  }
  if not result then
    log.error("%s, period %d: %s", COMMAND[1], period, message)
  elseif result.code ~= 0 then
    local how = result.code and "status " .. result.code or "signal " .. result.signal
    log.error("%s, period %d: ended with %s", COMMAND[1], period, how)
  else
    log.info("%s, period %d: done", COMMAND[1], period)
  end
end

function do_work(term)
  local period = os.time() // EVERY_S
  if begin(term, period) then run(period) end
  return EVERY_S - os.time() % EVERY_S
end

-- ---- in `lunarch sim` ---------------------------------------------------------------------------------------------

function check(world)
  for name, n in pairs(world.notes) do
    if n > 1 then return false, ("%d %s"):format(n, name) end
  end
end
