-- The five experiments of examples/lab, with real processes: the same story as in the simulator.
local play = require "lab.play"
local process = require "support.process"

describe("the experiments of examples/lab with real processes", function()
  after_each(process.end_all)

  for _, name in ipairs(play.names) do
    it(name .. ": tells the story that the simulator tells", function()
      local live, status = play.file(play.folder .. name .. ".lua")
      assert.equal(0, status, live)
      local simulated = play.file(play.folder .. name .. ".lua", "--sim")
      assert.equal(play.story("\n" .. simulated), play.story("\n" .. live))
    end)
  end
end)
