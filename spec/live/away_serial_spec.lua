-- An etcd that is away for as long as a candidate's log says it may be costs nobody a term. The long form is in
-- spec/soak/away.lua.
local away = require "live.support.away"

local AWAY_S = 5

describe("an etcd that is killed, and serves again 5 s after that,", function()
  it("costs none of a hundred candidates of one process its term, at TTL 10", function()
    local scene = away.start(1, 100)
    assert.truthy(scene.children[1]:find "etcd may be away for 5%.5 s")
    local result = scene:try(AWAY_S)
    scene:stop()
    print(away.line_of(result))
    assert.equal(0, result.lost)
  end)
end)
