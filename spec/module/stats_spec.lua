-- What can be seen of a client: its members, its counts, its calls that wait, and how much of a term is surely left.
local etcd = require "support.etcd"
local lunarch = require "lunarch"
local vm = require "support.vm"
local wait = require "support.wait"

describe("of a client can be seen", function()
  local server, client

  before_each(function()
    server = etcd.start()
    client = assert(lunarch.connect { endpoints = server.endpoint, name = "spec" })
  end)

  after_each(function()
    client:close(0)
    server:stop()
  end)

  it("its members: address, version, leader, alarms, how far away they are, what was last wrong", function()
    local two = assert(lunarch.connect { endpoints = server.endpoint .. ",127.0.0.1:1" })
    assert(two:put("/x", "1"))
    local good, bad
    for _, member in ipairs(assert(two:members(2))) do
      if member.error then bad = member elseif member.is_leader then good = member end
    end
    assert.truthy(server.endpoint:find(good.endpoint, 1, true))
    assert.matches("^%d+%.%d+", good.version)
    assert.is_true(good.has_leader)
    assert.same({}, good.alarms)
    assert.is_true(good.round_trip > 0 and good.round_trip < 2)
    assert.is_nil(good.trouble)
    assert.equal("127.0.0.1:1", bad.endpoint)
    assert.equal("string", type(bad.error))
    assert.equal("string", type(bad.trouble))
    assert.is_true(bad.trouble_at <= lunarch.now() and bad.trouble_at > lunarch.now() - 60)
    assert.is_nil(bad.round_trip)
    two:close(0)
  end)

  it("what was last wrong with a member, also when it answers again", function()
    assert(client:put("/x", "1"))
    server:freeze()
    assert.is_nil((client:get("/x", nil, 0.7)))
    server:thaw()
    wait.passes(function() assert.equal("1", (client:get("/x", nil, 5))) end)
    local member = assert(client:members(2))[1]
    assert.is_nil(member.error)
    assert.matches("silent", member.trouble)
  end)

  it("nothing yet, of one that has done nothing", function()
    local stats = client:stats()
    assert.same({ count = 0 }, stats.renewals)
    assert.same({}, stats.losses)
    assert.same({}, stats.waiting)
    assert.is_nil(stats.least_slack)
    assert.same({ 0, 0, 0, 0 }, { stats.sessions, stats.retries, stats.streams_replaced, stats.n_waiting })
  end)

  it("renewals with their round trips, confirmations, and the least slack there ever was", function()
    local session = assert(client:session { ttl = 2 })
    wait.passes(function() assert.is_true(client:stats().renewals.count >= 2) end)
    local stats = client:stats()
    assert.equal(1, stats.sessions)
    assert.is_true(vm.is_integer(stats.renewals.count))
    assert.is_true(stats.renewals.last > 0 and stats.renewals.mean <= stats.renewals.longest)
    assert.is_true(stats.confirmations.count >= 2)
    assert.is_true(stats.least_slack <= session.ttl)
    assert.is_true(session:close())
    assert.equal(0, client:stats().sessions)
    assert.same({}, client:stats().losses)
  end)

  it("losses by reason", function()
    local session, other = assert(client:session { ttl = 10 }), assert(client:session { ttl = 10 })
    assert(client:revoke(session.lease))
    assert(session:mutex("/x"):lock(0.1) == nil)
    wait.passes(function() assert.same({ revoked = 1 }, client:stats().losses) end)
    assert.same({ "alive" }, { other:state() })
  end)

  it("retries, and streams that were replaced", function()
    local watch = assert(client:watch "/x")
    assert(watch:ready())
    server:kill9()
    server:restart()
    wait.passes(function() assert.is_true((client:put("/x", "1", nil, 2))) end)
    wait.passes(function()
      local stats = client:stats()
      assert.is_true(stats.streams_replaced >= 1)
    end)
    watch:close()
  end)

  it("its own calls that wait, and what they wait for", function()
    local session, other = assert(client:session()), assert(client:session())
    local mutex = assert(other:mutex "/jobs")
    assert(mutex:lock())
    local waiting = {}
    lunarch.run(function()
      local behind, standing = session:mutex "/jobs", session:election "/jobs"
      local tasks = { lunarch.spawn(pcall, behind.lock, behind) }
      wait.passes(function() lunarch.sleep(0.01) assert.equal(2, behind:position()) end)
      tasks[2] = lunarch.spawn(pcall, standing.campaign, standing, "A")
      wait.passes(function() lunarch.sleep(0.01) assert.equal(3, standing:position()) end)
      waiting = client:stats()
      for _, task in ipairs(tasks) do
        task:interrupt "enough"
        task:join()
      end
    end)
    assert.equal(1, mutex:position())
    assert.equal(2, waiting.n_waiting)
    local first, second = waiting.waiting[1], waiting.waiting[2]
    assert.same({ "/jobs", "lock" }, { first.name, first.kind })
    assert.same({ "/jobs", "campaign" }, { second.name, second.kind })
    assert.is_true(first.waited >= second.waited and second.waited > 0)
    assert.is_true(first.token < second.token)
    assert.equal("locked by this very program", first.behind)
    assert.same({}, client:stats().waiting)
    assert.is_true(mutex:unlock())
    local position, message, code = mutex:position()
    assert.same({ nil, "position in /jobs: this object has no place in the line", "not_owner" },
      { position, message, code })
  end)

  -- ---- ensure -----------------------------------------------------------------------------------------------------

  describe("how much of a term is left:", function()
    local session, term

    before_each(function()
      session = assert(client:session { ttl = 4 })
      term = assert(session:election("/e"):campaign "A")
    end)

    local function left() return term.valid_until - lunarch.now() end

    it("enough by the clock, without a word to etcd", function()
      server:freeze()
      assert.is_true(term:ensure(0))
      assert.is_true(term:ensure(1, 0))
      server:thaw()
    end)

    it("enough after a renewal that is asked for now", function()
      server:freeze()
      wait.passes(function() assert.is_true(left() < 3) end)
      local n = client:stats().renewals.count
      server:thaw()
      assert.is_true(term:ensure(3.4, 5))
      assert.is_true(left() > 3)
      assert.is_true(client:stats().renewals.count > n)
    end)

    it("too little while etcd does not answer", function()
      server:freeze()
      wait.passes(function() assert.is_true(left() < 3.3) end)
      local ok, message, code = term:ensure(3.4, 0.3)
      assert.same({ nil, "unavailable" }, { ok, code })
      assert.matches("^ensure /e: no etcd member answered within 0.3 s", message)
      server:thaw()
      assert.is_true(term:ensure(3.4, 5))
    end)

    it("nothing once the term is over, while waiting too", function()
      server:freeze()
      wait.passes(function() assert.is_true(left() < 3.3) end)
      local ok, message, code = term:ensure(3.4) -- no limit but the term's end
      assert.same({ nil, "lost" }, { ok, code })
      assert.matches("^ensure /e: the term is over: expired", message)
      server:thaw()
      assert.equal("lost", (select(3, term:ensure(1))))
    end)

    it("nothing after resigning", function()
      assert(term:resign())
      local ok, _, code = term:ensure(0)
      assert.same({ nil, "lost" }, { ok, code })
    end)

    it("never more than the TTL less its margin", function()
      local ok, err = pcall(term.ensure, term, 3.7)
      assert.is_false(ok)
      assert.matches("stats_spec.lua:%d+: ensure /e: never are more than 3.6 s certain at a TTL of 4 s", err)
    end)
  end)
end)
