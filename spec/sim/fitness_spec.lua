-- may_stand and health under faults: handlers in order, one leader, and a leader once all are well.
local simulate = require "sim.simulate"

local SCRIPT = [[
  election, ttl, health_interval, health_timeout, health_failures = "/fit", 5, 0.5, 0.4, 2
  local sick_until, n, began = 0, 0, lunarch.now()
  local function draw()
    if lunarch.now() - began > 60 or lunarch.now() < sick_until then return end
    if math.random(30) == 1 then sick_until = lunarch.now() + 3 * math.random() end
  end
  function health()
    draw()
    if lunarch.now() >= sick_until then return true end
    n = n + 1
    if n % 3 == 0 then lunarch.sleep(100) end
    return false, "sick"
  end
  function may_stand()
    return lunarch.now() - began > 60 or math.random(20) > 1
  end
  function on_elected() sim.add "elected" end
  function do_work() return 0.2 end
  function on_lost(_, reason)
    sim.add(reason)
    lunarch.sleep(0.1)
  end
  function check(world)
    if world.phase == "end" and world.notes.unhealthy then return false, "unhealthy" end
  end
]]

describe("in the simulator", function()
  it("checks that fail and hang at random cost no order, no second leader and no election", function()
    local report = simulate.report(SCRIPT:gsub("return false, \"unhealthy\"", "return true"), "--seeds", "1..24")
    assert.is_nil(report.failure)
    assert.equal(24, report.run)
  end)

  it("an unhealthy leader has stepped down in some of these histories", function()
    assert.matches("unhealthy", simulate.report(SCRIPT, "--seeds", "1..20").failure.reason)
  end)
end)
