-- The five experiments of examples/lab, with real processes: the same story as in the simulator.
local play = require "lab.play"
local script = require "host.script"
local process = require "support.process"

describe("the experiments of examples/lab with real processes", function()
  after_each(process.end_all)

  for _, name in ipairs(play.names) do
    it(name .. ": tells the story that the simulator tells, and expects in vain where the fault is left out", function()
      local vain = process.start { "lunarch", "lab", script.write(play.without_fault(name), name .. ".lua") }
      local live, status = play.file(play.folder .. name .. ".lua")
      assert.equal(0, status, live)
      local simulated = play.file(play.folder .. name .. ".lua", "--sim")
      assert.equal(play.story("\n" .. simulated), play.story("\n" .. live))
      assert.equal(1, vain:wait_exit())
      assert.matches(": 0 of [1-9]%d* expectations met", vain:output())
    end)
  end
end)
