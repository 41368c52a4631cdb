-- limit: 300 s
-- Sessions, locks and elections live on over TLS and with users while certificates are replaced, tokens end and members
-- fail. The long forms: ./dev soak tls.
local holders = require "live.support.holders"
local process = require "support.process"

describe("over TLS and with users", function()
  after_each(process.end_all)

  local function lives(result, troubles)
    print(holders.line_of(result))
    assert.same({}, troubles)
    assert.equal(0, result.lost)
    assert.equal(0, result.failed)
    assert.equal(0, result.overlaps)
    assert.is_true(result.turns > 0)
  end

  it("certificates of client and server that are replaced cost nothing", function()
    lives(holders.through_certificates {
      sessions = 10, clients = 3, ttl = 5, lines = 2, pause = 1, fresh = 1, every = 3, seconds = 15,
    })
  end)

  it("tokens that live for 3 s cost nothing, simple and signed ones", function()
    local all = holders.through_tokens { sessions = 10, clients = 5, ttl = 5, lines = 2, life = 3, seconds = 12 }
    for _, one in ipairs(all) do
      lives(one.result, one.troubles)
    end
  end)

  it("members that fail one after the other cost no session of 10 s", function()
    math.randomseed(1) -- the same faults each time; ./dev soak tls draws others
    lives(holders.through_faults { sessions = 10, clients = 5, ttl = 10, lines = 2, every = 1, seconds = 15 })
  end)
end)
