-- The five experiments of examples/lab, in the simulator.
local play = require "lab.play"
local process = require "support.process"

describe("the experiments of examples/lab", function()
  after_each(process.end_all)

  for _, name in ipairs(play.names) do
    it(name .. ": everything expected comes about in the simulator, whatever the seed", function()
      for seed = 1, 10 do
        local output, status = play.file(play.folder .. name .. ".lua", "--sim", "--seed", tostring(seed))
        assert.equal(0, status, output)
      end
    end)

    it(name .. ": each expectation fails when the fault is left out", function()
      local output, status = play.sim(play.without_fault(name))
      assert.equal(1, status, output)
      assert.matches(": 0 of [1-9]%d* expectations met", output)
    end)

    it(name .. ": says in two sentences what a reader should take away", function()
      local head = play.text_of(name):match "^%-%- [^\n]+\n%-%-\n(.-)\n[^-]"
      assert.is_truthy(head, "a comment of a title, an empty line, and two sentences")
      local n = 0
      for line in head:gmatch "[^\n]+" do
        n = n + 1
        assert.matches("^%-%- %u.*[.]$", line)
      end
      assert.equal(2, n)
    end)
  end

  it("are the same history each time with one seed", function()
    local first = play.file(play.folder .. "cut.lua", "--sim", "--seed", "7")
    local second = play.file(play.folder .. "cut.lua", "--sim", "--seed", "7")
    assert.equal(first:gsub(" in [%d.]+ s", ""), (second:gsub(" in [%d.]+ s", "")))
  end)
end)
