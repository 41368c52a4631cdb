-- A virtual IP: the host whose candidate leads has the address, and no other host ever.
--
--   VIP=192.0.2.100/24 VIP_DEVICE=eth0 lunarch run vip.lua --name "$(hostname)"       on every host
--
-- The kernel is given the address for as long as the term is certain, and takes it away itself unless it is given
-- again. So a host whose candidate is killed or stopped loses the address before another can lead.
local lunarch = require "lunarch"

election = "/examples/vip"
ttl      = 5

local VIP, DEVICE = os.getenv "VIP" or "192.0.2.100/24", os.getenv "VIP_DEVICE" or "eth0"
local ADDRESS = VIP:match "^[^/]+"
-- A command may take so long, and is killed then: it must not give the address to a kernel later than it should.
local COMMAND_S = 0.5
local KERNEL_S = 0.25                        -- the kernel looks a little late
local SLACK_S = COMMAND_S + KERNEL_S

local function run(...)
  local result, message = lunarch.exec { timeout = COMMAND_S, kill_after = 0, ... }
  if not result then return nil, message end
  if result.code ~= 0 then return nil, table.concat({ ... }, " ") .. ": " .. result.stderr end
  return true
end

-- Neighbours remember which host had it (gratuitous ARP).
local function announce()
  local ok, message = run("arping", "-q", "-U", "-c", 1, "-I", DEVICE, ADDRESS)
  if not ok then log.warn("not announced: %s", message) end
end

local kept_until = 0.0       -- when the kernel has taken it away, whatever becomes of us

local function take(term)
  local seconds = math.floor(term.valid_until - lunarch.now() - SLACK_S)
  if seconds < 1 then return end
  kept_until = lunarch.now() + seconds + SLACK_S
  assert(run("ip", "addr", "replace", VIP, "dev", DEVICE, "valid_lft", seconds, "preferred_lft", seconds))
end

function on_elected(term)
  take(term)
  announce()
  log.info("%s is here, token %d", VIP, term.token)
end

function do_work(term)
  take(term)
  return 0.5
end

-- The place is given up when this returns: not before the address is gone.
function on_lost(_, reason)
  while lunarch.now() < kept_until do
    local ok, message = run("ip", "addr", "del", VIP, "dev", DEVICE)
    if ok then break end
    log.warn("%s", message)
    lunarch.sleep(0.2)
  end
  log.warn("%s is gone (%s)", VIP, reason)
end

-- ---- in `lunarch sim` ---------------------------------------------------------------------------------------------

-- What the commands do: each host's note says until when its kernel has the address, by the clock of the host.
if sim then
  sim.exec(function(command, world)
    local own = "vip of " .. world.name
    local after = world.chance(50) and world.random(0, 1) or 0.01
    local code = world.chance(20) and 2 or 0
    local is_given = command[3] == "replace" and code == 0 and after <= COMMAND_S
    if is_given then world.notes[own] = world.now + after + command[8] + KERNEL_S end
    return {
      after = after, code = code,
      on_end = function(_, how) if command[3] == "del" and how.code == 0 then world.notes[own] = 0 end end,
    }
  end)
end

function check(world)
  local holders = {}
  for _, candidate in ipairs(world.candidates) do
    local has_it_until = world.notes["vip of " .. candidate.name] or 0
    if candidate.now < has_it_until then holders[#holders + 1] = candidate.name end
  end
  return #holders <= 1, "the address is on " .. table.concat(holders, " and ")
end
