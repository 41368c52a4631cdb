-- The clock of all specs and their helpers: CLOCK_BOOTTIME, the one the core reads.
--
-- luv 1.44 offers CLOCK_MONOTONIC only. The two are equal on a machine that was never suspended; on one that was, they
-- differ by the time it slept, which is taken from /proc/uptime, good to its 10 ms.
local uv = require "luv"
local vm = require "support.vm"

local clock = {}

local SLEPT_MS = 1000

local function uptime_ms()
  local file = io.open "/proc/uptime"
  if not file then return 0 end
  local text = file:read "*l"
  file:close()
  return math.floor(1000 * tonumber(text:match "^%S+"))
end

-- /proc/uptime is virtual in some containers and then *behind*: only a clock that is ahead can be BOOTTIME.
local function offset_ns()
  local ahead_ms = uptime_ms() - math.floor(uv.hrtime() / 1e6)
  return ahead_ms > SLEPT_MS and ahead_ms * 1000000 or 0
end

local offset = offset_ns()

---@return integer ns
function clock.now_ns()
  -- luv gives a float here.
  return vm.integer(uv.hrtime()) + offset
end

---@return number seconds
function clock.now()
  return clock.now_ns() / 1e9
end

return clock
