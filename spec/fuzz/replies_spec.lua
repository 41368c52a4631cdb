-- limit: 600 s
-- Replies that were changed on their way from a real etcd: no crash, no call beyond its limit, no leak (under --asan),
-- and all is well once they come unchanged. A longer run: ./dev soak fuzz.
local changed = require "fuzz.changed"
local etcd = require "support.etcd"
local process = require "support.process"
local tree = require "support.tree"
local uv = require "luv"
local wait = require "support.wait"

describe("replies changed on their way", function()
  after_each(process.end_all)

  it("crash nothing and hold nothing up", function()
    local server = etcd.start()
    local chance = tree.is_sanitized and uv.hrtime() // 1000 % 1000000000 or 1
    local seed = math.tointeger(tonumber(os.getenv "LUNARCH_SEED")) or chance
    local n_calls = math.tointeger(tonumber(os.getenv "LUNARCH_CALLS")) or tree.is_sanitized and 8000 or 6000
    local findings, summary = changed.run(server, seed, n_calls, wait.LIMIT)
    server:stop()
    print(summary)
    assert.equal("", findings, changed.again(seed, n_calls))
  end)
end)
