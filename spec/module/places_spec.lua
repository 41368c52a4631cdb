-- clusters: plain mtls
-- Sessions, mutexes, elections and terms through the Lua face: values, errors, properties, `with`.
local etcd = require "support.etcd"
local lunarch = require "lunarch"
local vm = require "support.vm"
local wait = require "support.wait"

describe("in Lua", function()
  local server, client, session

  setup(function()
    server = etcd.start()
    client = assert(lunarch.connect { endpoints = server.endpoint, name = "spec" })
    session = assert(client:session { ttl = 30, grace = 4 })
  end)

  teardown(function()
    client:close(5)
    server:stop()
  end)

  local n = 0
  local function name()
    n = n + 1
    return "/place/" .. n
  end

  -- What is held lasts as long as the session. Again where a renewal came in between.
  local function assert_as_session(held)
    wait.passes(function()
      local before, now, after = session:remaining(), held:remaining(), session:remaining()
      assert.is_true(before >= now and now >= after)
    end)
  end

  -- ---- session ----------------------------------------------------------------------------------------------------

  it("a session tells its lease, TTL, state and instants", function()
    assert.matches("^%x+$", session.lease)
    assert.equal(16, #session.lease)
    assert.equal(session.lease, session.id)
    assert.equal(30, session.ttl)
    assert.equal(client, session.client)
    assert.same({ "alive" }, { session:state() })
    local now = lunarch.now()
    assert.is_true(session.stop_at > now and session.stop_at < session.valid_until)
    assert.near(4, session.valid_until - session.stop_at, 0.1)
    assert.is_true(session.valid_until < now + 30)
    assert.near(30 - 3 - 4 - 3 - 0.8, session.away_limit, 0.01) -- margin, grace, age of a renewal, recovery
    -- Again where a renewal came in between.
    wait.passes(function()
      now = lunarch.now()
      local remaining = session:remaining()
      assert.is_true(remaining <= session.stop_at - now and remaining >= session.stop_at - lunarch.now())
    end)
    assert.matches("^lunarch.session: lease " .. session.lease .. " %(alive%)$", tostring(session))
  end)

  it("a session that is closed says so, and its lease is gone", function()
    local closing = assert(client:session { ttl = 10 })
    local lease = closing.lease
    assert.is_true(closing:close())
    assert.same({ "closed", "closed" }, { closing:state() })
    assert.is_nil(closing.stop_at)
    assert.is_nil(closing.valid_until)
    assert.equal(0, closing:remaining())
    local left, _, code = client:ttl(lease)
    assert.same({ nil, "lost" }, { left, code })
    local mutex = closing:mutex(name())
    if mutex then assert.is_nil((mutex:lock(1))) end
    assert.is_true(closing:close(1))
  end)

  it("a session can be awaited", function()
    local closing = assert(client:session { ttl = 10 })
    local state, _, code = closing:await("alive", 0.05)
    assert.same({ nil, "timeout" }, { state, code })
    assert.equal("alive", closing:await("lost", 60))
    local waiter = lunarch.spawn(function() return closing:await("alive", 60) end)
    assert(closing:close())
    assert.same({ true, "closed" }, { waiter:join(60) })
  end)

  it("a session whose lease is revoked by somebody is lost, and says why", function()
    local robbed = assert(client:session { ttl = 3 })
    assert(server:etcdctl("lease", "revoke", robbed.lease))
    assert.equal("lost", robbed:await("alive", 60))
    local state, reason = robbed:state()
    assert.equal("lost", state)
    assert.is_true(reason == "revoked" or reason == "expired", reason)
    local mutex = robbed:mutex(name())
    if mutex then
      local ok, _, code = mutex:lock(1)
      assert.same({ nil, "lost" }, { ok, code })
    end
  end)

  it("a session is orphaned and adopted", function()
    local first = assert(client:session { ttl = 30 })
    local lease = first.lease
    assert.is_true(first:orphan())
    assert.equal("closed", (first:state()))
    local second = assert(client:session { lease = lease })
    assert.equal(lease, second.lease)
    assert.is_true(second:close())
    assert.is_true((client:ttl(lease)) > 0)
    local third = assert(client:session { lease = lease })
    assert.is_true(third:close({ revoke = true }))
    assert.is_nil((client:ttl(lease)))
    local fourth, _, code = client:session({ lease = lease })
    assert.same({ nil, "lost" }, { fourth, code })
  end)

  -- ---- mutex ------------------------------------------------------------------------------------------------------

  local function assert_free(mutex)
    assert.same({ nil, nil, nil }, { mutex.token, mutex.key, mutex.stop_at })
    assert.same({ 0, false }, { mutex:remaining(), mutex:is_held() })
  end

  it("a mutex is locked with a token, a key and an end, and has none of them afterwards", function()
    local mutex = assert(session:mutex(name()))
    assert_free(mutex)
    local ok, token = mutex:lock(60)
    assert.is_true(ok)
    assert.is_true(vm.is_integer(token))
    assert.equal(token, mutex.token)
    assert.equal(mutex.name .. "/" .. session.lease, mutex.key)
    assert.is_true(mutex:is_held())
    assert_as_session(mutex)
    assert.matches("^lunarch.mutex: " .. mutex.name .. " %(locked, token " .. token .. "%)$", tostring(mutex))
    assert.is_true(mutex:unlock())
    assert_free(mutex)
    local again, message, code = mutex:unlock()
    assert.same({ nil, "not_owner" }, { again, code })
    assert.matches(mutex.name, message, 1, true)
  end)

  it("tokens rise from owner to owner", function()
    local place, last = name(), 0
    for _ = 1, 3 do
      local mutex = assert(session:mutex(place))
      local _, token = mutex:lock()
      assert.is_true(token > last)
      last = token
      mutex:unlock()
    end
  end)

  it("a busy lock names its owner: at once, after a while, and with no time to wait", function()
    local place = name()
    local holder, other = assert(session:mutex(place)), assert(session:mutex(place))
    assert(holder:lock())
    local ok, message, code = other:try_lock()
    assert.same({ nil, "locked" }, { ok, code })
    assert.matches("^locked by ", message)
    ok, message, code = other:lock(0.05)
    assert.same({ nil, "timeout" }, { ok, code })
    assert.matches("locked by ", message)
    ok, message, code = other:lock(0)
    assert.same({ nil, "timeout" }, { ok, code })
    assert.matches("locked by ", message)
    assert(holder:unlock())
    assert.is_true(other:lock(0))
    assert(other:unlock())
  end)

  it("a busy try_lock writes nothing", function()
    local place = name()
    local holder, other = assert(session:mutex(place)), assert(session:mutex(place))
    assert(holder:lock())
    local function index() return assert(client:txn { success = { { "get", "x" } } }).revision end
    local before = index()
    for _ = 1, 5 do
      other:try_lock()
    end
    assert.equal(before, index())
    holder:unlock()
  end)

  it("owner is whoever has it, and false when nobody does", function()
    local mutex = assert(session:mutex(name()))
    assert.is_false(mutex:owner())
    mutex:lock()
    local owner = assert(mutex:owner())
    assert.equal(mutex.token, owner.token)
    assert.equal(mutex.key, owner.key)
    assert.equal("string", type(owner.value))
    mutex:unlock()
  end)

  it("a reentrant mutex counts", function()
    local place = name()
    local mutex = assert(session:mutex(place, { reentrant = true }))
    assert(mutex:lock())
    local token = mutex.token
    assert(mutex:lock())
    assert.equal(token, mutex.token)
    assert(mutex:unlock())
    assert.is_true(mutex:is_held())
    assert(mutex:unlock())
    assert.is_false(mutex:is_held())
  end)

  it("with gives what the function gives, and unlocks however it ends", function()
    local mutex = assert(session:mutex(name()))
    assert.same({ n = 3, "a", nil, "c" }, vm.pack(mutex:with(function(it_)
      assert.equal(mutex, it_)
      assert.is_true(mutex:is_held())
      return "a", nil, "c"
    end)))
    assert.is_nil(mutex.token)
    local thing = {}
    local ok, err = pcall(mutex.with, mutex, function() error(thing) end)
    assert.is_false(ok)
    assert.equal(thing, err)
    assert.is_nil(mutex.token)
    local other = assert(session:mutex(mutex.name))
    other:lock()
    local called = false
    local _, code
    ok, _, code = mutex:with(function() called = true end, 1) -- etcd answers meanwhile
    assert.same({ nil, "timeout", false }, { ok, code, called })
    other:unlock()
  end)

  it("the holder hears that its key was deleted", function()
    local mutex = assert(session:mutex(name()))
    assert(mutex:lock())
    local waiter = lunarch.spawn(function() return mutex:await_loss(60) end)
    lunarch.sleep(0.3)
    assert(server:etcdctl("del", mutex.key))
    assert.same({ true, "key_deleted" }, { waiter:join() })
    assert.is_false(mutex:is_held())
    local ok, _, code = mutex:unlock()
    assert.same({ nil, "not_owner" }, { ok, code })
  end)

  it("close answers those who wait with closed", function()
    local own = assert(client:session { ttl = 10 })
    local place = name()
    local holder, other = assert(session:mutex(place)), assert(own:mutex(place))
    assert(holder:lock())
    local waiter = lunarch.spawn(function() return other:lock() end)
    lunarch.sleep(0.05)
    local closer = lunarch.spawn(function() return own:close() end)
    local is_fine, ok, _, code = waiter:join(60)
    assert.same({ true, nil, "closed" }, { is_fine, ok, code })
    assert.same({ true, true }, { closer:join(60) })
    holder:unlock()
  end)

  -- ---- election ---------------------------------------------------------------------------------------------------

  it("a term has a token, a key, a value and an end, and a reason once it is over", function()
    local election = assert(session:election(name()))
    local none, message, code = election:leader()
    assert.same({ nil, "no leader", "no_leader" }, { none, message, code })
    local term = assert(election:campaign "A")
    assert.is_true(vm.is_integer(term.token))
    assert.equal(election.name .. "/" .. session.lease, term.key)
    assert.equal("A", term.value)
    assert.equal(election, term.election)
    assert.is_nil(term.reason)
    assert.is_true(term.stop_at < term.valid_until)
    assert_as_session(term)
    local leader = assert(election:leader())
    assert.same({ "A", term.key, term.token, true }, { leader.value, leader.key, leader.token, leader.is_me })
    assert.matches("^lunarch.term: " .. election.name .. ", token %d+$", tostring(term))
    assert.is_true(term:resign())
    assert.equal("closed", term.reason)
    assert.is_nil(term.stop_at)
    assert.equal(0, term:remaining())
    assert.is_nil((election:leader()))
    assert.is_true(term:resign())
    assert.matches("%(closed%)$", tostring(term))
  end)

  it("a candidate waits for its turn, or for its time", function()
    local place = name()
    local first = assert(session:election(place))
    local second = assert(session:election(place))
    local term = assert(first:campaign "first")
    local none, message, code = second:campaign("second", 0.05)
    assert.same({ nil, "timeout" }, { none, code })
    assert.matches(place, message, 1, true)
    local waiter = lunarch.spawn(function() return second:campaign("second", 60) end)
    lunarch.sleep(0.02)
    assert(term:resign())
    local is_fine, next_term = waiter:join()
    assert.is_true(is_fine)
    assert.equal("second", next_term.value)
    assert.is_true(next_term.token > term.token)
    local leader = first:leader()
    assert.same({ "second", false }, { leader.value, leader.is_me })
    assert(next_term:resign())
  end)

  it("a leader writes while it leads, and is refused by etcd afterwards", function()
    local election = assert(session:election(name()))
    local term = assert(election:campaign "A")
    local ok, revision = term:put("/fenced", "A")
    assert.is_true(ok)
    assert.is_true(vm.is_integer(revision))
    local _, _, prev = term:put("/fenced", "B", { prev_kv = true })
    assert.equal("A", prev.value)
    local result = assert(term:txn {
      compare = { { "value", "/fenced", "=", "B" } },
      success = { { "put", "/fenced", "C" }, { "get", "/fenced" } },
      failure = { { "get", "/fenced" } },
    })
    assert.is_true(result.succeeded)
    assert.equal(2, #result.responses)
    assert.equal("C", result.responses[2].kvs[1].value)
    result = assert(term:txn { compare = { { "value", "/fenced", "=", "B" } }, failure = { { "get", "/fenced" } } })
    assert.is_false(result.succeeded)
    assert.equal("C", result.responses[1].kvs[1].value)
    assert(server:etcdctl("del", term.key))
    local message, code
    ok, message, code = term:put("/fenced", "stale")
    assert.is_nil(ok)
    assert.equal("string", type(message))
    -- "unknown": the loss was told while the write was on its way.
    assert.is_true(code == "not_leader" or code == "lost" or code == "unknown", code)
    assert.equal("C", (client:get "/fenced"))
    assert.equal("key_deleted", term:await_loss(60))
    ok, _, code = term:put("/fenced", "stale")
    assert.is_nil(ok)
    assert.is_true(code == "not_leader" or code == "lost", code)
  end)

  it("a proclaimed value is seen by observers, and so is that there is nobody", function()
    local place = name()
    local election = assert(session:election(place))
    local observer = assert(client:observe(place))
    assert.is_nil(observer:next(60).value)
    local term = assert(election:campaign "A")
    local leader = observer:next(60)
    assert.same({ "A", term.token, nil }, { leader.value, leader.token, leader.is_me })
    local seen = {}
    for now in election:observe() do
      seen[#seen + 1] = tostring(now.value) .. (now.is_me and " (me)" or "")
      if #seen == 1 then
        local ok, revision = term:proclaim "B"
        assert.is_true(ok)
        assert.is_true(vm.is_integer(revision))
      elseif #seen == 2 then
        assert(term:resign())
      else
        break
      end
    end
    assert.same({ "A (me)", "B (me)", "nil" }, seen)
    assert.is_table(observer:next(60))
    assert.is_true(observer:close())
    local nothing, _, code = observer:next()
    assert.same({ nil, "closed" }, { nothing, code })
    for _ in observer do
      error "a closed observer has nothing to tell"
    end
  end)

  it("every object shows its class", function()
    local objects = {
      client = client, session = session, mutex = session:mutex(name()), election = session:election(name()),
      observer = client:observe(name()), watch = client:watch "/w",
    }
    for class, object in pairs(objects) do
      assert.equal("lunarch." .. class, getmetatable(object).__name)
      assert.matches("^lunarch." .. class .. ": ", tostring(object))
      assert.is_nil(object.no_such_field)
    end
  end)
end)
