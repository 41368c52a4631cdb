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
    local seed = math.tointeger(tonumber(os.getenv "LUNARCH_SEED")) or (tree.is_sanitized and uv.hrtime() // 1000 % 1000000000 or 1)
    local findings, summary = changed.run(server, seed, tree.is_sanitized and 60 or 20, wait.LIMIT)
    server:stop()
    print(summary)
    assert.equal("", findings, ("repeat it: LUNARCH_SEED=%d ./dev test spec/fuzz/replies"):format(seed))
  end)
end)
