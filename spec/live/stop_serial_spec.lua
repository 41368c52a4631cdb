-- A leader that was stopped (SIGSTOP) for longer than its TTL, and goes on (SIGCONT). The long form is in
-- spec/soak/soak.lua.
local stops = require "live.support.stops"

describe("a leader that was stopped for longer than its TTL, and goes on,", function()
  local result

  setup(function()
    result = stops.run(6)
    print(("from CONT to on_lost: %.1f ms at the median of %d, %.1f ms at most; %d had been stopped in a wait"):format(
      stops.delays_ms(result), #result.terms, select(2, stops.delays_ms(result)), stops.n_failed_waits(result)))
  end)

  teardown(function()
    if result then result.stop() end
  end)

  it("does not call do_work again", function()
    assert.same({}, stops.late_work(result))
  end)

  it("finds its next wait failed and its guarded write refused, both as lost", function()
    assert.is_true(stops.n_failed_waits(result) >= 1)
    assert.same({}, stops.wrong_answers(result))
    assert.equal("", (result.server:etcdctl("get", "--prefix", "/written")))
  end)
end)
