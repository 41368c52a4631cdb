-- What each file that ran took: seconds, and seconds of CPU, its children's among them; and the dearest of them, shown.
-- A file that takes many seconds and little CPU waits: run it beside others, or shorten what it waits for.
local tree = require "support.tree"

local costs = {}

local SHOWN = 25
-- The clock ticks of /proc: 100 a second on all of Linux that we build for.
local TICKS_PER_S = 100

-- Fields 16 and 17 of proc(5)'s stat: what children used that were waited for.
local BEFORE = "%) " .. ("%S+ "):rep(13)

local function children_s()
  local user, system = tree.read("/proc/self/stat"):match(BEFORE .. "(%d+) (%d+)")
  return (tonumber(user) + tonumber(system)) / TICKS_PER_S
end

-- Returns a function that tells how many seconds of CPU took what ended since it was last called. What a child left
-- running behind it is in nobody's sum.
---@return fun(): number
function costs.meter()
  local before = children_s()
  return function()
    local now = children_s()
    local spent = now - before
    before = now
    return spent
  end
end

---@param jobs { name: string, seconds: number, cpu_s: number }[] those that ran
function costs.show(jobs)
  local seconds, cpu_s = 0, 0
  table.sort(jobs, function(a, b) return a.seconds > b.seconds end)
  for _, job in ipairs(jobs) do
    seconds, cpu_s = seconds + job.seconds, cpu_s + job.cpu_s
  end
  print(("the %d longest of %d files:  seconds   of CPU"):format(math.min(SHOWN, #jobs), #jobs))
  for i = 1, math.min(SHOWN, #jobs) do
    print(("  %8.1f %8.1f  %s"):format(jobs[i].seconds, jobs[i].cpu_s, jobs[i].name))
  end
  print(("  %8.1f %8.1f  all of them"):format(seconds, cpu_s))
end

return costs
