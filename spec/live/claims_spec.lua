-- What the clients of today get wrong about locks and elections, and is not told elsewhere in this folder.
local clock = require "support.clock"
local etcd = require "support.etcd"
local lunarch = require "lunarch"
local proxies = require "support.proxy"
local scene = require "live.support.scene"

describe("of locks and elections it is true that", function()
  local server, line
  local n = 0

  setup(function() server = etcd.start() end)
  teardown(function() server:stop() end)

  before_each(function()
    n = n + 1
    line = "/claims/" .. n
  end)

  it("a thousand tries for a busy lock write nothing: neither revision nor raft index moves", scene.play(function()
    local client, other = scene.connect(server.endpoint), scene.connect(server.endpoint)
    local holder = assert(other:session { ttl = 60 }):mutex(line)
    assert(holder:lock())
    local mutex = assert(client:session { ttl = 60 }):mutex(line)
    local function state()
      local member = assert(client:status())[1]
      return { member.revision, member.raft_index }
    end
    local before = state()
    for _ = 1, 1000 do
      local ok, _, code = mutex:try_lock()
      assert.is_nil(ok)
      assert.equal("locked", code)
    end
    assert.same(before, state())
    assert.equal(1, scene.count(client, line))
  end))

  -- etcd looks every 100 ms at watches that begin in its past. A plain watch from the revision of the lock is one: the
  -- same hand-overs, seen by both in one run.
  it("a waiter that queued 5 ms before is handed the lock sooner than a watch from the past hears of it",
    scene.play(function()
      local client, other = scene.connect(server.endpoint), scene.connect(server.endpoint)
      local holder = assert(other:session()):mutex(line)
      local mutex = assert(client:session()):mutex(line)
      local delays, delays_of_the_past, n_sooner = {}, {}, 0
      local N = 20
      for i = 1, N do
        local _, revision = assert(holder:lock())
        local got, heard
        local task = lunarch.spawn(function()
          assert(mutex:lock())
          got = clock.now()
          assert(mutex:unlock())
        end)
        scene.await_line(client, line, 2)
        local watcher = lunarch.spawn(function()
          local past = assert(client:watch(holder.key, { revision = revision }))
          assert(past:next())
          assert(past:next())
          heard = clock.now()
          past:close()
        end)
        lunarch.sleep(0.005)
        local t = clock.now()
        assert(holder:unlock())
        scene.join(task)
        scene.join(watcher)
        delays[i], delays_of_the_past[i] = 1000 * (got - t), 1000 * (heard - t)
        if got < heard then n_sooner = n_sooner + 1 end
      end
      print(("hand-off after 5 ms in line: %.2f ms at the median; a watch from the past hears after %.2f"):format(
        (scene.median(delays)), (scene.median(delays_of_the_past))))
      assert.is_true(n_sooner > N / 2, ("only %d of %d were sooner"):format(n_sooner, N))
    end))

  it("two objects of one session exclude each other, and the first unlock releases one only", scene.play(function()
    local client = scene.connect(server.endpoint)
    local session = assert(client:session())
    local a, b = session:mutex(line), session:mutex(line)
    assert(a:lock())
    local ok, message, code = b:try_lock()
    assert.is_nil(ok)
    assert.equal("locked", code)
    assert.is_truthy(message:find "locked by")
    local has_b = false
    local task = lunarch.spawn(function() has_b = b:lock() end)
    scene.await_line(client, line, 2)
    lunarch.sleep(0.1)
    assert.is_false(has_b)
    local token = a.token
    assert(a:unlock())
    scene.join(task)
    assert.is_true(has_b)
    assert.is_true(b.token > token)
    assert.equal("not_owner", (select(3, a:unlock())))
    assert.is_true(b:is_held())
    assert.equal(1, scene.count(client, line))
    local third = assert(scene.connect(server.endpoint):session()):mutex(line)
    assert.is_nil((third:try_lock()))
    assert(b:unlock())
    assert.equal(0, scene.count(client, line))
  end))

  it("two candidates of one session are never both elected", scene.play(function()
    local client = scene.connect(server.endpoint)
    local session = assert(client:session())
    local first = assert(session:election(line):campaign "first")
    local second
    local task = lunarch.spawn(function() second = session:election(line):campaign "second" end)
    scene.await_line(client, line, 2)
    lunarch.sleep(0.1)
    assert.is_nil(second)
    assert(first:resign())
    scene.join(task)
    assert.is_true(second.token > first.token)
    assert.equal("second", session:election(line):leader().value)
  end))

  it("tokens rise from owner to owner", scene.play(function()
    local sessions, last = {}, 0
    for i = 1, 4 do
      sessions[i] = assert(scene.connect(server.endpoint):session())
    end
    for i = 1, 24 do
      local mutex = sessions[i % 4 + 1]:mutex(line)
      local _, token = assert(mutex:lock())
      assert.equal(token, mutex.token)
      assert.is_true(token > last)
      last = token
      assert(mutex:unlock())
    end
  end))

  it("a deadline counts from the sending of a renewal, however late its answer comes", scene.play(function()
    local TTL, MARGIN, LATE_S, SLACK_S = 12, 1.2, 0.7, 0.005
    local proxy = proxies.start(server.client_port)
    proxy:delay_replies(LATE_S)
    local client = scene.connect(proxy.endpoint)
    local session = assert(client:session { ttl = TTL })
    -- The grant itself: it was sent at least one delay ago.
    assert.is_true(session.valid_until <= clock.now() - LATE_S + TTL - MARGIN + SLACK_S)
    local n_raised, last = 0, session.valid_until
    scene.eventually(function()
      local valid_until = session.valid_until
      if valid_until == last then return false end
      n_raised, last = n_raised + 1, valid_until
      local counted_from, seen_at = valid_until - TTL + MARGIN, clock.now()
      -- The latest renewal whose answer, and its confirmation's, can have arrived: each took one delay.
      local answered
      for _, renewal in ipairs(proxy:renewals(session.lease)) do
        if renewal.t + 2 * LATE_S <= seen_at + SLACK_S then answered = renewal end
      end
      assert.is_not_nil(answered, "credited before it was confirmed")
      assert.is_true(counted_from <= answered.t + SLACK_S, "counted from after its sending")
      return n_raised == 2
    end, nil, "two renewals")
    proxy:delay_replies(0)
    session:close(2)
    proxy:stop()
  end))

  it("a guarded write of somebody who no longer leads is refused by etcd itself", scene.play(function()
    local proxy = proxies.start(server.client_port)
    local admin = scene.connect(server.endpoint)
    local term = assert(assert(scene.connect(proxy.endpoint):session { ttl = 20 }):election(line):campaign "old")
    proxy:hold_requests()
    local answers = {}
    local tasks = {}
    for i = 1, 5 do
      tasks[i] = lunarch.spawn(function()
        local ok, _, code = term:put(line .. "-written", "by the old one")
        answers[i] = ok and "done" or code
      end)
    end
    tasks[6] = lunarch.spawn(function()
      local ok, _, code = term:proclaim "still the old one"
      answers[6] = ok and "done" or code
    end)
    lunarch.sleep(0.1)
    assert.equal(1, (admin:delete(term.key)))
    local successor = assert(assert(admin:session()):election(line):campaign "new")
    proxy:heal()
    for _, task in ipairs(tasks) do
      scene.join(task)
    end
    for _, answer in ipairs(answers) do
      assert.is_true(answer == "not_leader" or answer == "lost", answer)
    end
    assert.equal(0, scene.count(admin, line .. "-written"))
    assert.equal("new", successor.election:leader().value)
    proxy:stop()
  end))

  it("a guarded write goes through while we lead, and not after", scene.play(function()
    local client = scene.connect(server.endpoint)
    local term = assert(assert(client:session()):election(line):campaign "x")
    assert(term:put(line .. "-written", "1"))
    assert.equal("1", (client:get(line .. "-written")))
    assert(term:resign())
    local ok, _, code = term:put(line .. "-written", "2")
    assert.is_nil(ok)
    assert.is_true(code == "lost" or code == "not_leader" or code == "closed", code)
    assert.equal("1", (client:get(line .. "-written")))
  end))

  it("a busy try_lock never stands in the line, not for an instant", scene.play(function()
    local client, other = scene.connect(server.endpoint), scene.connect(server.endpoint)
    local holder = assert(other:session()):mutex(line)
    assert(holder:lock())
    local mutex = assert(client:session()):mutex(line)
    local watch = assert(client:watch(line .. "/", { prefix = true }))
    assert(watch:ready())
    for _ = 1, 50 do
      mutex:try_lock()
    end
    assert(holder:unlock())
    local event = assert(watch:next())
    assert.equal("delete", event.type)
    watch:close()
  end))
end)
