-- The part `requests` of ./dev soak: switchovers and pauses at random in the simulator; and how long they take in real
-- processes.
local handovers = require "soak.handovers"
local simulate = require "sim.simulate"
local tree = require "support.tree"

local SEEDS, QUIET_SEEDS, LIMIT_S = "1..1000", "1..300", 3600

local function simulated(verdict, what, ...)
  local child = simulate.start(tree.root .. "/spec/sim/requests.lua", ...)
  local status = child:wait_exit(LIMIT_S)
  local text = child:output()
  verdict(status == 0, ("%s: %s"):format(what, text:match "[%d,]+ histor[^\n]*" or "broke off"), { text })
end

---@param say fun(format: string, ...)
---@param verdict fun(is_fine: boolean, what: string, troubles?: string[])
return function(say, verdict)
  say("requests: switchovers and pauses at random, in the simulator and in processes")
  simulated(verdict, "with faults", "--seeds", SEEDS)
  simulated(verdict, "without faults", "--seeds", QUIET_SEEDS, "--faults", "none", "quiet")
  handovers(verdict)
end
