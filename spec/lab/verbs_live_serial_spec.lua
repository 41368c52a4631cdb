-- limit: 240 s
-- Every verb of the console with real processes: what is printed is what the simulated world prints.
local cases = require "lab.cases"
local process = require "support.process"

describe("a verb with real processes", function()
  after_each(process.end_all)

  -- Labs that wait most of the time are played side by side.
  local AT_ONCE = 4
  local running = {}

  local function output_of(i)
    for k = i, math.min(i + AT_ONCE - 1, #cases.both) do
      if (i - 1) % AT_ONCE == 0 then running[k] = cases.start({ "--lab" }, cases.both[k][2]) end
    end
    return cases.output(running[i])
  end

  local outputs = {}
  setup(function()
    for i = 1, #cases.both do
      outputs[i] = output_of(i)
    end
  end)

  it("is saved, and recorded, as an experiment that plays", function()
    local saved = process.start { "lunarch", "lab", cases.saved }
    local recorded = process.start { "lunarch", "lab", cases.recorded }
    for child, expected in pairs { [saved] = "2 of 2 expectations met", [recorded] = "nothing was expected" } do
      assert.equal(0, child:wait_exit(), child:output())
      assert.matches("A +killed[^\n]*\n.*B +elected", child:output())
      assert.matches(expected, child:output())
    end
    assert.matches("\ntrue\n", recorded:output())
  end)

  for i, case in ipairs(cases.both) do
    it("does what it does in the simulated world: " .. case[1], function() cases.check(case, outputs[i]) end)
  end
end)
