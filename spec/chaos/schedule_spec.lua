local options = require "chaos.options"
local schedule = require "chaos.schedule"

describe("the schedule of a chaos run", function()
  it("is the same for the same seed", function()
    assert.same({ schedule.draw(5, 60, 3) }, { schedule.draw(5, 60, 3) })
    assert.not_same({ schedule.draw(5, 60, 3) }, { schedule.draw(6, 60, 3) })
  end)

  it("begins alike however long it is", function()
    local short, long = schedule.draw(5, 30, 3), schedule.draw(5, 300, 3)
    assert.is_true(#long > 2 * #short)
    for i, fault in ipairs(short) do
      assert.same(fault, long[i])
    end
  end)

  it("breaks one candidate and one member at a time, and in ten minutes by every means", function()
    for i, track in ipairs { schedule.draw(1, 600, 3) } do
      local kinds, ended = {}, 0
      for _, fault in ipairs(track) do
        assert.is_true(fault.at >= ended)
        ended = fault.at + fault.length
        kinds[fault.kind] = true
      end
      for _, kind in ipairs { "kill", "stop", "silent", "slow", i == 1 and "quit" or "move" } do
        assert.is_true(kinds[kind], kind)
      end
    end
  end)
end)

describe("the command line of ./dev chaos", function()
  it("says what is wrong with it", function()
    for words, complaint in pairs {
      ["soon"] = "'soon' is no number of minutes",
      ["0"] = "'0' is no number of minutes",
      ["-1"] = "'-1' is no number of minutes",
      ["nan"] = "'nan' is no number of minutes",
      ["1 2"] = "one number of minutes, not two: '2'",
      ["--seed x"] = "--seed: 'x' is no whole number",
      ["--seed"] = "--seed: a value is missing",
      ["--ttl=1"] = "--ttl: '1' is no whole number, 2 or more",
      ["--fast"] = "unknown flag --fast",
      ["--json=yes"] = "unknown flag --json=yes",
    } do
      local list = {}
      for word in words:gmatch "%S+" do
        list[#list + 1] = word
      end
      local found, said = options.read(list)
      assert.is_nil(found, words)
      assert.is_truthy(said:find(complaint, 1, true), words .. ": " .. said)
    end
  end)

  it("reads minutes and flags, in either way of writing", function()
    local found = options.read { "0.5", "--seed=7", "--ttl", "4", "--json" }
    assert.same({ 30.0, 7, 4, true }, { found.seconds, found.seed, found.ttl, found.json })
    assert.equal(180, options.read({}).seconds)
    assert.is_not_nil(options.read({}).seed)
  end)
end)
