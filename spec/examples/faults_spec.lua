-- limit: 240 s
-- The examples under kill -9, SIGSTOP and a cut network, once each; and that what looks at them from outside sees what
-- is wrong. The long form: ./dev soak examples.
local faults = require "examples.faults"
local process = require "support.process"

describe("an example under faults", function()
  after_each(process.end_all)

  it("failover: another leads after each, and only the first in the line writes", function()
    local play = require "examples.plays.failover"()
    local rows, troubles = faults.run(play, 1)
    assert.same({ "kill", "freeze", "cut" }, { rows[1].kind, rows[2].kind, rows[3].kind })
    assert.same({}, troubles)
    assert(play.client:put("/config/billing", "somebody else", nil, 10))
    assert.matches("^somebody else wrote at revision %d+, while %a was first$", play:troubles()[1])
    play:stop()
  end)
end)
