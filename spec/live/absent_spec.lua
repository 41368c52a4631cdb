-- An etcd that is away, in each way there is: what a client with all kinds of waits does meanwhile is counted, and it
-- does little. How soon it notices that etcd is there again: ./dev soak away.
local etcd = require "support.etcd"
local lunarch = require "lunarch"
local proxies = require "support.proxy"
local scene = require "live.support.scene"
local tree = require "support.tree"
local uv = require "luv"

local AWAY_S = 4
-- Each second: attempts of a call that waits (9 where the port refuses), streams (2), and what wakes our threads and
-- gRPC's (80).
local MOST_ATTEMPTS, MOST_STREAMS, MOST_WAKEUPS = 40, 10, 600

-- How often any thread of this process began to wait for something.
local function n_wakeups()
  local n = 0
  local scan = uv.fs_scandir "/proc/self/task"
  for name in function() return uv.fs_scandir_next(scan) end do
    n = n + (tonumber(tree.read(("/proc/self/task/%s/status"):format(name)):match "\nvoluntary_ctxt_switches:%s*(%d+)")
      or 0)
  end
  return n
end

describe("while etcd is away no client is busy:", function()
  local server, proxy

  before_each(function()
    server = etcd.start()
    proxy = proxies.start(server.client_port)
  end)
  after_each(function()
    proxy:stop()
    server:stop()
  end)

  -- A session, a lock, a waiter, a watch, an observer, a mirror, and a call that waits.
  local function wait_in_all_ways(client)
    local session = assert(client:session { ttl = 60 })
    assert(session:mutex "/absent/lock":lock(10))
    local watch = assert(client:watch "/absent/watched")
    assert(watch:ready(10))
    assert(client:mirror("/absent/mirrored", nil, 10))
    local observer = assert(client:observe "/absent/line")
    assert(observer:next(10))
    for _, wait in ipairs {
      function() return session:mutex "/absent/lock":lock() end, function() return watch:next() end,
      function() return observer:next() end,
    } do
      lunarch.spawn(wait)
    end
    lunarch.sleep(0.2)
  end

  local function is_calm(away, back)
    return scene.play(function()
      local client = scene.connect(proxy.endpoint)
      wait_in_all_ways(client)
      away()
      local call = lunarch.spawn(function() return client:get "/absent/asked" end)
      lunarch.sleep(0.5) -- what notices the end of the connections
      local before, wakeups = client:stats(), n_wakeups()
      lunarch.sleep(AWAY_S)
      local after = client:stats()
      wakeups = (n_wakeups() - wakeups) / AWAY_S
      local attempts = (after.retries - before.retries) / AWAY_S
      local streams = (after.streams_replaced - before.streams_replaced) / AWAY_S
      print(("each second: %.1f attempts, %.1f streams, %.0f wake-ups"):format(attempts, streams, wakeups))
      assert.is_true(attempts <= MOST_ATTEMPTS, attempts .. " attempts a second")
      assert.is_true(streams <= MOST_STREAMS, streams .. " streams a second")
      assert.is_true(wakeups <= MOST_WAKEUPS, wakeups .. " wake-ups a second")
      back()
      assert(call:join(scene.LIMIT))
    end)
  end

  it("its port refuses", is_calm(function() server:kill9() end, function() server:restart() end)) -- by the proxy

  it("nobody listens", is_calm(function() proxy:refuse() proxy:cut() end, function() proxy:accept() end))

  it("it is stopped", is_calm(function() server:freeze() end, function() server:thaw() end))

  it("the network is silent", is_calm(function() proxy:go_silent() end, function() proxy:heal() end))

  it("answers are lost", is_calm(function() proxy:drop_replies() end, function() proxy:heal() end))
end)
