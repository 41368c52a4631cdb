-- The wire of a candidate: a network namespace of its own, at the end of a pair of virtual Ethernet devices, on which
-- the kernel itself drops or delays packets. There is nothing to clean up: with the last process in a namespace it
-- goes, and its wire with it.
--
--   local own = wire.is_at_hand() and wire.lay(1)
--   own.host                                the address at our end, for whom the candidate connects to
--   process.start { own:inside("lunarch", ...) }
--   own:drop()  own:slow()  own:pass()
local process = require "support.process"
local tree = require "support.tree"
local uv = require "luv"
local wait = require "support.wait"

local wire = {}

-- Set by own_net.sh, which has then put us into a namespace of our own.
wire.FLAG = "LUNARCH_CHAOS_NET"

-- A bucket that no packet fits into; and one that lets a few kilobytes a second through, others waiting up to 0.7 s.
local NOTHING = "tbf rate 8bit burst 10 latency 1ms"
local LITTLE = "tbf rate 48kbit burst 1600 latency 700ms"

---@class Wire
---@field host string
---@field pid integer of the process that holds the namespace
local Wire = {}
Wire.__index = Wire

-- Whether we are where devices may be made.
---@return boolean
function wire.is_at_hand() return os.getenv(wire.FLAG) == "own" end

local function run(command)
  local pipe = assert(io.popen(command .. " 2>&1 </dev/null"))
  local output = pipe:read "a"
  if not pipe:close() then error(("%s: %s"):format(command, output), 3) end
end

local function namespace_of(pid) return uv.fs_readlink(("/proc/%s/ns/net"):format(pid)) end

-- A process that does nothing but live in a new namespace.
local function hold_namespace()
  local pid = process.spawn({ "unshare", "-n", "sleep", "infinity" }, tree.environment(), {})
  wait.eventually(function()
    local theirs = namespace_of(pid)
    return theirs and theirs ~= namespace_of "self"
  end, nil, "a network namespace")
  return pid
end

---@return string command to be run in the namespace
function Wire:within(command) return ("nsenter --net=/proc/%d/ns/net %s"):format(self.pid, command) end

-- The words that run a command in the namespace.
---@return string ...
function Wire:inside(...) return "nsenter", ("--net=/proc/%d/ns/net"):format(self.pid), ... end

function Wire:queue(discipline)
  self:pass()
  run(("tc qdisc add dev %s root %s"):format(self.device, discipline))
  run(self:within("tc qdisc add dev wire root " .. discipline))
  self.has_queue = true
end

-- No packet comes through, either way.
function Wire:drop() self:queue(NOTHING) end

-- Packets queue, and are lost when they have queued for too long.
function Wire:slow() self:queue(LITTLE) end

-- All is well again.
function Wire:pass()
  if not self.has_queue then return end
  self.has_queue = false
  run(("tc qdisc del dev %s root"):format(self.device))
  run(self:within "tc qdisc del dev wire root")
end

---@param index integer 1 .. 250
---@return Wire
function wire.lay(index)
  local host, theirs = ("10.77.%d.1"):format(index), ("10.77.%d.2"):format(index)
  local self = setmetatable({ pid = hold_namespace(), host = host, device = "wire" .. index }, Wire)
  run(("ip link add name %s type veth peer name wire netns %d"):format(self.device, self.pid))
  run(("ip addr add %s/24 dev %s"):format(host, self.device))
  run(("ip link set %s up"):format(self.device))
  run(self:within(("ip addr add %s/24 dev wire"):format(theirs)))
  run(self:within "ip link set wire up")
  run(self:within "ip link set lo up")
  return self
end

-- Ends the namespace once nobody else lives in it.
function Wire:stop() process.kill9(self.pid) end

return wire
