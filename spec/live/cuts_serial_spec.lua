-- The network to etcd cut at random instants: S1, S3 and S5 from the outside. The long form is spec/soak/soak.lua.
-- limit: 300 s
local cuts = require "live.support.cuts"

local function plan()
  local parts = {}
  for ttl, rounds in pairs { [2] = 5, [3] = 4, [5] = 3, [10] = 2 } do
    parts[#parts + 1] = { ttl = ttl, weather = "silent", lanes = 2, rounds = rounds }
    parts[#parts + 1] = { ttl = ttl, weather = "late", lanes = 1, rounds = rounds }
    parts[#parts + 1] = { ttl = ttl, weather = "deaf", lanes = 1, rounds = rounds }
  end
  return parts
end

describe("leaders cut off from etcd at random instants, at TTL 2, 3, 5 and 10, replies late too,", function()
  local result

  setup(function()
    math.randomseed()
    result = cuts.run(plan())
    for _, row in ipairs(cuts.figures(result)) do
      print(cuts.line_of(row))
    end
  end)

  teardown(function()
    if result then result.stop() end
  end)

  it("were cut at every TTL", function()
    for _, row in ipairs(cuts.figures(result)) do
      assert.is_true(row.cuts >= 4, ("only %d at TTL %d"):format(row.cuts, row.ttl))
    end
  end)

  it("are never two at once, and their handlers keep their order", function()
    assert.same({}, cuts.disorder(result))
  end)

  it("have stopped their work and left on_lost before the lease could end", function()
    assert.same({}, cuts.lateness(result))
  end)

  it("lose their key, as an independent watcher sees it, only after on_lost", function()
    assert.same({}, cuts.early_deletions(result))
  end)

  it("end cleanly when they are asked to", function()
    for _, one in ipairs(result.journals) do
      assert.equal(0, one.status, one:complaints())
    end
  end)
end)
