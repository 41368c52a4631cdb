-- Switchovers and pauses at random, with faults and without; the long form, 1,300 histories, is ./dev soak's. What
-- candidates do about requests is written in Lua, so it is played here, and not by ./dev prove.
local simulate = require "sim.simulate"
local tree = require "support.tree"

local SCRIPT = tree.root .. "/spec/sim/requests.lua"

describe("in the simulator", function()
  local function assert_fine(...)
    local text, status = simulate.file(SCRIPT, ...)
    assert.equal(0, status, text)
  end

  it("requests cost no election, no second leader and no order, under faults", function()
    assert_fine("--seeds", "1..40")
  end)

  it("requests alone neither make the line flap nor leave nobody", function()
    assert_fine("--seeds", "1..40", "--faults", "none", "quiet")
  end)
end)
