-- S2 and L2: nobody wins with what is gone, and nothing of ours is left in a line without somebody who wants it.
local clock = require "support.clock"
local etcd = require "support.etcd"
local lunarch = require "lunarch"
local proxies = require "support.proxy"
local scene = require "live.support.scene"
local victims = require "live.support.victims"

-- So long that nobody learns of a loss by a renewal, each a third of it: what is told at all is told by a watch.
local TTL = 600
local WATCHED_S = 0.15  -- from here on a place watches its own key

-- A campaign in a task of its own, which notes when it ended.
local function stand(session, name, value)
  local one = { session = session }
  one.task = lunarch.spawn(function()
    one.term, one.message, one.code = session:election(name):campaign(value or "x")
    one.ended = clock.now()
  end)
  return one
end

describe("a candidate", function()
  local server, admin, n = nil, nil, 0
  local line

  setup(function() server = etcd.start() end)

  teardown(function() server:stop() end)

  before_each(function()
    n = n + 1
    line = "/zombie/" .. n
  end)

  -- Somebody else's client holds the line; `count` of ours, each with its own client, wait in it.
  local function hold_up(count)
    admin = scene.connect(server.endpoint)
    local holder = assert(scene.connect(server.endpoint):session { ttl = TTL }):election(line):campaign "holder"
    local waiting = {}
    for i = 1, count do
      waiting[i] = stand(assert(scene.connect(server.endpoint):session { ttl = TTL }), line)
      scene.await_line(admin, line, 1 + i)
    end
    return holder, waiting
  end

  -- How long it took to be told, in milliseconds.
  local function assert_lost(one, since)
    scene.join(one.task)
    assert.is_nil(one.term)
    assert.equal("lost", one.code)
    return 1000 * (one.ended - since)
  end

  it("whose lease is revoked while it waits learns so from etcd, and is never elected with it", scene.play(function()
    local holder, waiting = hold_up(8)
    lunarch.sleep(WATCHED_S)
    local delays = {}
    for i, one in ipairs(waiting) do
      local t = clock.now()
      assert(admin:revoke(one.session.lease))
      delays[i] = assert_lost(one, t)
    end
    assert(holder:resign())
    assert.equal(0, scene.count(admin, line))
    print(("told of a revocation after %.1f ms at the median, %.1f at most"):format(scene.median(delays)))
  end))

  it("whose lease is revoked as soon as it stands in line learns so too", scene.play(function()
    local _, waiting = hold_up(0)
    for i = 1, 8 do
      local one = stand(assert(scene.connect(server.endpoint):session { ttl = TTL }), line)
      waiting[i] = one
      scene.await_line(admin, line, 2)
      local t = clock.now()
      assert(admin:revoke(one.session.lease))
      assert_lost(one, t)
    end
  end))

  it("whose lease is revoked in the very moment its turn comes is not elected", scene.play(function()
    for round = 1, 12 do
      line = ("/zombie/moment/%d"):format(round)
      local holder, waiting = hold_up(1)
      if round % 3 == 0 then lunarch.sleep(WATCHED_S) end
      local one = waiting[1]
      local revoked = lunarch.spawn(admin.revoke, admin, one.session.lease)
      if round % 2 == 0 then scene.join(revoked) end
      assert(holder:resign())
      assert(scene.join(revoked))
      scene.join(one.task)
      -- The revocation and the resignation may be carried out in either order: elected first and told then is right.
      if one.term then
        assert.is_true(round % 2 == 1)
        scene.eventually(function() return one.term.reason end)
      else
        assert.equal("lost", one.code)
      end
    end
  end))

  it("whose own key an operator deletes while it waits is told, and its session lives on", scene.play(function()
    local _, waiting = hold_up(4)
    lunarch.sleep(WATCHED_S)
    for _, one in ipairs(waiting) do
      local t = clock.now()
      assert.equal(1, (admin:delete(line .. "/" .. one.session.lease)))
      assert_lost(one, t)
      assert.equal("alive", (one.session:state()))
    end
    assert.equal(1, scene.count(admin, line))
  end))

  it("whose own key an operator deletes while it leads is told", scene.play(function()
    admin = scene.connect(server.endpoint)
    local delays = {}
    for i = 1, 6 do
      local term = assert(assert(scene.connect(server.endpoint):session { ttl = TTL }):election(line):campaign "x")
      lunarch.sleep(WATCHED_S)
      local told
      local listener = lunarch.spawn(function()
        local reason = term:await_loss()
        told = clock.now()
        return reason
      end)
      local t = clock.now()
      assert.equal(1, (admin:delete(term.key)))
      assert.equal("key_deleted", scene.join(listener))
      delays[i] = 1000 * (told - t)
      assert.equal(0, term:remaining())
      local ok, _, code = term:put("/zombie-written", "x")
      assert.is_nil(ok)
      assert.is_true(code == "lost" or code == "not_leader", code)
    end
    print(("told of a deleted key after %.1f ms at the median, %.1f at most"):format(scene.median(delays)))
  end))

  it("that leads and whose lease is revoked is told", scene.play(function()
    admin = scene.connect(server.endpoint)
    for _ = 1, 4 do
      local term = assert(assert(scene.connect(server.endpoint):session { ttl = TTL }):election(line):campaign "x")
      lunarch.sleep(WATCHED_S)
      local revoked = lunarch.spawn(admin.revoke, admin, term.election.session.lease)
      assert(term:await_loss(scene.LIMIT))
      assert(scene.join(revoked))
    end
  end))
end)

describe("a candidate that is killed with -9 at any instant of its campaign", function()
  local server
  setup(function() server = etcd.start() end)
  teardown(function() server:stop() end)

  it("leaves nobody waiting", scene.play(function()
    math.randomseed()
    local result = victims.run(server, 16)
    print(("the next one waited %.2f s at most; %d of %d victims had left a place"):format(
      result.longest, result.n_left, result.n))
  end))
end)

-- What may go wrong with a reply, for each call that writes: `break_it` before the call, `mend` a while after it ended.
describe("when replies are lost", function()
  local server, proxy, admin, client, session
  local n, line = 0, nil

  setup(function() server = etcd.start() end)
  teardown(function() server:stop() end)

  before_each(function()
    n = n + 1
    line = "/lost-replies/" .. n
    proxy = proxies.start(server.client_port)
  end)

  after_each(function() proxy:stop() end)

  local function open(ttl)
    admin = scene.connect(server.endpoint)
    client = scene.connect(proxy.endpoint)
    session = assert(client:session { ttl = ttl })
  end

  local function assert_no_answer(code)
    assert.is_true(code == "timeout" or code == "unavailable", code)
  end

  local function is_line_empty() return scene.count(admin, line) == 0 end

  it("a campaign that ran out of time leaves no place behind once the network heals", scene.play(function()
    open(60)
    proxy:drop_replies()
    local election = session:election(line)
    local term, _, code = election:campaign("x", 0.5)
    assert.is_nil(term)
    assert_no_answer(code)
    scene.eventually(function() return scene.count(admin, line) == 1 end, nil, "the request itself to get through")
    proxy:heal()
    scene.eventually(is_line_empty, nil, "the place to go")
    lunarch.sleep(0.5)
    assert.is_true(is_line_empty())
    assert.equal("alive", (session:state()))
    assert(election:campaign("x", scene.LIMIT), "the election can be stood for again")
  end))

  it("a campaign leaves no place behind when its TTL ends, though the network never heals", scene.play(function()
    open(2)
    proxy:drop_replies()
    local term = session:election(line):campaign("x", 0.5)
    assert.is_nil(term)
    scene.eventually(is_line_empty, nil, "the place to go")
  end))

  it("a lock that ran out of time leaves no place behind once the network heals", scene.play(function()
    open(60)
    proxy:drop_replies()
    local mutex = session:mutex(line)
    local ok, _, code = mutex:lock(0.5)
    assert.is_nil(ok)
    assert_no_answer(code)
    proxy:heal()
    scene.eventually(is_line_empty, nil, "the place to go")
    assert(mutex:lock(scene.LIMIT))
    assert(mutex:is_held())
    assert(mutex:unlock(scene.LIMIT))
  end))

  it("a lock that is interrupted leaves no place behind", scene.play(function()
    open(60)
    proxy:drop_replies()
    local mutex = session:mutex(line)
    local task = lunarch.spawn(mutex.lock, mutex)
    lunarch.sleep(0.3)
    task:interrupt "enough"
    assert.is_false((task:join(scene.LIMIT)))
    proxy:heal()
    scene.eventually(is_line_empty, nil, "the place to go")
  end))

  it("a request that arrives after all is undone, when nobody wants it any more", scene.play(function()
    open(60)
    proxy:hold_requests()
    local mutex = session:mutex(line)
    local ok, _, code = mutex:lock(0.5)
    assert.is_nil(ok)
    assert_no_answer(code)
    assert.is_true(is_line_empty())
    proxy:heal()
    -- Whatever the proxy held runs now; a while later nothing of it may be left.
    lunarch.sleep(1)
    scene.eventually(is_line_empty, nil, "the place to go")
    lunarch.sleep(0.5)
    assert.is_true(is_line_empty())
  end))

  it("a lock whose reply is late still comes to be", scene.play(function()
    open(60)
    proxy:delay_replies(0.4)
    local mutex = session:mutex(line)
    assert(mutex:lock(scene.LIMIT))
    assert.equal(1, scene.count(admin, line))
    proxy:delay_replies(0)
    assert(mutex:unlock(scene.LIMIT))
    assert.is_true(is_line_empty())
  end))

  -- The next lock must survive whatever of the unlock is still on its way.
  local function assert_next_lock_stays(mutex)
    assert(mutex:lock(scene.LIMIT))
    local key = mutex.key
    local until_s = clock.now() + 1.5
    while clock.now() < until_s do
      assert.is_true(mutex:is_held())
      assert.is_not_nil((admin:get(key)))
      lunarch.sleep(0.02)
    end
    assert.equal(1, scene.count(admin, line))
    assert(mutex:unlock(scene.LIMIT))
    scene.eventually(is_line_empty, nil, "the lock to go")
  end

  it("late copies of an unlock do not delete the next lock: requests held up", scene.play(function()
    open(60)
    local mutex = session:mutex(line)
    assert(mutex:lock(scene.LIMIT))
    proxy:hold_requests()
    local ok = mutex:unlock(0.5)
    assert.is_nil(ok)
    proxy:heal()
    assert_next_lock_stays(mutex)
  end))

  it("late copies of an unlock do not delete the next lock: replies lost", scene.play(function()
    open(60)
    local mutex = session:mutex(line)
    assert(mutex:lock(scene.LIMIT))
    proxy:drop_replies()
    assert.is_nil((mutex:unlock(0.5)))
    proxy:heal()
    assert_next_lock_stays(mutex)
  end))

  it("late copies of an unlock do not delete the next lock: etcd itself stood still", scene.play(function()
    open(60)
    local mutex = session:mutex(line)
    assert(mutex:lock(scene.LIMIT))
    server:freeze()
    assert.is_nil((mutex:unlock(0.5)))
    lunarch.sleep(0.5)
    server:thaw()
    assert_next_lock_stays(mutex)
  end))

  it("a try_lock whose reply was lost and which had won still finds itself, or leaves nothing", scene.play(function()
    open(60)
    -- It reads first, and its replies are late enough for the second one to be lost.
    proxy:delay_replies(0.3)
    local mutex = session:mutex(line)
    local task = lunarch.spawn(function() return mutex:try_lock(scene.LIMIT) end)
    scene.eventually(function() return scene.count(admin, line) == 1 end, nil, "the request to get through")
    proxy:hold_replies()
    proxy:cut()
    proxy:delay_replies(0)
    proxy:heal()
    local ok, _, code = scene.join(task)
    if ok then
      assert.is_true(mutex:is_held())
      assert(mutex:unlock(scene.LIMIT))
    else
      assert.equal("unavailable", code)
    end
    scene.eventually(is_line_empty, nil, "the place to go")
  end))
end)
