-- Candidates whose on_elected fails share out their pauses, and make room for a healthy one.
local simulate = require "sim.simulate"

-- The error is one that the simulator does not hold against the script.
local HEAD = [[
  election, ttl = "/fails", 5
  local expected = setmetatable({}, { __tostring = function() return "on_elected fails" end })
  local began = lunarch.now()
  local function age() return lunarch.now() - began end
  function do_work() end
]]

local function play(script, ...)
  return simulate.report(HEAD .. script, "--faults", "none", "--seeds", "1..12", ...)
end

describe("in the simulator", function()
  -- Each by itself: 6 or 7 times a minute and candidate.
  it("candidates that all fail go through few tokens a minute, three or eight of them", function()
    local script = [[
      function on_elected()
        if age() > 60 then return end
        sim.add "failed"
        error(expected)
      end
      function check(world)
        local n = #world.candidates
        if (world.notes.failed or 0) > 5 + 2 * n then return false, "too many: " .. world.notes.failed end
      end
    ]]
    assert.is_nil(play(script).failure)
    assert.is_nil(play(script, "--candidates", "8").failure)
  end)

  it("a healthy one among them is elected at once, and a lone one comes back within the longest pause", function()
    local report = play [[
      function on_elected()
        if lunarch.candidate.current().name == "C" then return sim.note("healthy", age()) end
        error(expected)
      end
      function check(world)
        local at = world.notes.healthy
        if at and at > 1 or not at and world.now > 2 then return false, "late" end
      end
    ]]
    assert.is_nil(report.failure)
    report = play([[
      local failed_at
      function on_elected()
        if failed_at and age() - failed_at > 30 then sim.note("late", age() - failed_at) end
        failed_at = age()
        if age() < 200 then error(expected) end
      end
      function check(world) return world.notes.late == nil, "late" end
    ]], "--candidates", "1", "--seeds", "1..5")
    assert.is_true(not report.failure or report.failure.reason ~= "late")
  end)
end)
