-- The plain store through the Lua face: what goes in comes out, in the shapes the annotations promise.
local fixture = require "support.fixture"
local lunarch = require "lunarch"
local vm = require "support.vm"

describe("a client", function()
  local client, server

  setup(function() client, server = fixture.open() end)
  teardown(fixture.close)

  it("reads what it wrote, and a single nil for a key that is not there", function()
    local ok, revision, prev = client:put("/a", "1")
    assert.is_true(ok)
    assert.is_true(vm.is_integer(revision))
    assert.is_nil(prev)
    local value, kv = client:get "/a"
    assert.equal("1", value)
    assert.equal("/a", kv.key)
    assert.equal(revision, kv.mod_revision)
    assert.equal(revision, kv.create_revision)
    assert.equal(1, kv.version)
    assert.is_nil(kv.lease)
    assert.equal(1, select("#", client:get "/none"))
    assert.is_nil((client:get "/none"))
  end)

  it("takes keys and values of any bytes, empty values too", function()
    local key, value = "/bytes\0\255\1", "\0\0x\255"
    assert(client:put(key, value))
    assert.equal(value, (client:get(key)))
    assert(client:put(key, ""))
    assert.equal("", (client:get(key)))
  end)

  it("gives the pair before when asked for", function()
    assert(client:put("/prev", "1"))
    local _, _, prev = client:put("/prev", "2", { prev_kv = true })
    assert.equal("1", prev.value)
    local count, prevs = client:delete("/prev", { prev_kv = true })
    assert.equal(1, count)
    assert.equal("2", prevs[1].value)
    assert.equal(0, (client:delete "/prev"))
  end)

  it("reads ranges, with what is known about all of them", function()
    for _, key in ipairs { "/r/a", "/r/b", "/r/c", "/r\255" } do
      assert(client:put(key, "of " .. key))
    end
    local kvs, info = client:get("/r/", { prefix = true })
    assert.equal(3, #kvs)
    assert.equal("of /r/a", kvs[1].value)
    assert.same({ 3, false }, { info.count, info.more })
    kvs, info = client:get("/r/", { prefix = true, limit = 1, sort_by = "create", order = "descend" })
    assert.equal("/r/c", kvs[1].key)
    assert.same({ 3, true }, { info.count, info.more })
    kvs = client:get("/r/a", { range_end = "/r/c", keys_only = true })
    assert.same({ "/r/a", "/r/b", "" }, { kvs[1].key, kvs[2].key, kvs[2].value })
    kvs, info = client:get("/r/", { prefix = true, count_only = true })
    assert.same({ 0, 3 }, { #kvs, info.count })
    assert.equal(1, #client:get("/r\255", { prefix = true }))
    kvs = client:get("", { prefix = true })
    assert.is_true(#kvs >= 4)
    assert.same({}, (client:get("/nothing/", { prefix = true })))
    kvs = client:get("/r/", { prefix = true, min_create_revision = kvs[1].create_revision, max_mod_revision = 1 })
    assert.same({}, kvs)
  end)

  it("reads the past until it is compacted", function()
    local _, revision = client:put("/past", "old")
    local _, last = client:put("/past", "new")
    assert.equal("old", (client:get("/past", { revision = revision })))
    assert(server:etcdctl("compact", tostring(last)))
    local value, message, code = client:get("/past", { revision = revision })
    assert.is_nil(value)
    assert.equal("compacted", code)
    assert.equal("string", type(message))
  end)

  it("carries out the branch of a transaction that its compares choose", function()
    assert(client:delete "/t", nil)
    local txn = {
      compare = { { "create", "/t", "=", 0 }, { "lease", "/t", "=", 0 } },
      success = { { "put", "/t", "new" }, { "get", "/t" } },
      failure = { { "get", "/t", keys_only = true }, { "delete", "/t", { prev_kv = true } } },
    }
    local result = assert(client:txn(txn))
    assert.is_true(result.succeeded)
    assert.equal("new", result.responses[2].kvs[1].value)
    assert.equal(result.revision, result.responses[2].kvs[1].mod_revision)
    result = assert(client:txn(txn))
    assert.is_false(result.succeeded)
    assert.same({ "/t", "" }, { result.responses[1].kvs[1].key, result.responses[1].kvs[1].value })
    assert.same({ 1, "new" }, { result.responses[2].deleted, result.responses[2].prev_kvs[1].value })
  end)

  it("compares values, versions, and whole prefixes", function()
    assert(client:put("/cmp/a", "x"))
    local function holds(...)
      return assert(client:txn { compare = { { ... } } }).succeeded
    end
    assert.is_true(holds("value", "/cmp/a", "=", "x"))
    assert.is_false(holds("value", "/cmp/a", "~=", "x"))
    assert.is_true(holds("value", "/cmp/a", "<", "y"))
    assert.is_true(holds("version", "/cmp/a", ">", 0))
    local function is_empty(prefix)
      return assert(client:txn { compare = { { "create", prefix, "=", 0, prefix = true } } }).succeeded
    end
    assert.is_false(is_empty "/cmp/")
    assert.is_true(is_empty "/cmp/b/")
  end)

  it("grants, asks after, and revokes leases; keys go with them", function()
    local lease = assert(client:lease { ttl = 60 })
    assert.matches("^%x%x%x%x%x%x%x%x%x%x%x%x%x%x%x%x$", lease.id)
    assert.equal(60, lease.ttl)
    assert(client:put("/leased", "v", { lease = lease.id }))
    local _, kv = client:get "/leased"
    assert.equal(lease.id, kv.lease)
    local left, granted = client:ttl(lease.id)
    assert.is_true(left > 0 and left <= 60)
    assert.equal(60, granted)
    assert.is_true(client:txn({ compare = { { "lease", "/leased", "=", lease.id } } }).succeeded)
    assert.is_true(client:revoke(lease.id))
    assert.is_nil((client:get "/leased"))
    assert.is_true(client:revoke(lease.id))
    local gone, _, code = client:ttl(lease.id)
    assert.is_nil(gone)
    assert.equal("lost", code)
    local chosen = assert(client:lease { ttl = 60, id = "1abc" })
    assert.equal("0000000000001abc", chosen.id)
    assert(client:revoke "1abc")
  end)

  it("answers a write under a lease that does not exist with an error", function()
    local ok, message, code = client:put("/leased", "v", { lease = "7fffffff00000001" })
    assert.is_nil(ok)
    assert.matches("lease", message)
    assert.equal("lost", code)
  end)

  it("shows the members", function()
    local members = assert(client:status())
    assert.equal(1, #members)
    local member = members[1]
    assert.equal(server.endpoint, member.endpoint)
    assert.is_nil(member.error)
    assert.matches("^3%.", member.version)
    assert.is_true(member.is_leader)
    assert.is_true(member.has_leader)
    assert.is_true(member.db_size > 0)
    assert.is_true(vm.is_integer(member.raft_index))
  end)

  it("shows a member that does not answer", function()
    local lonely = assert(lunarch.connect { endpoints = { "127.0.0.1:1", server.endpoint } })
    local members = assert(lonely:status(5))
    local errors = {}
    for _, member in ipairs(members) do
      errors[member.endpoint] = member.error or "none"
    end
    assert.equal("none", errors[server.endpoint])
    assert.is_true(#errors["127.0.0.1:1"] > 4)
    lonely:close(1)
  end)

  it("watches: each event once, in order", function()
    local watch = assert(client:watch("/w/", { prefix = true, prev_kv = true }))
    assert.is_true(watch:ready(60))
    assert(client:put("/w/a", "1"))
    assert(client:put("/w/a", "2"))
    assert(client:delete "/w/a")
    assert(client:put("/elsewhere", "3"))
    local seen = {}
    for event in watch:events() do
      seen[#seen + 1] = ("%s %s %s after %s"):format(event.type, event.key, event.value or "",
        event.prev_kv and event.prev_kv.value or "nothing")
      assert.is_true(vm.is_integer(event.revision))
      if #seen == 3 then break end
    end
    assert.same({ "put /w/a 1 after nothing", "put /w/a 2 after 1", "delete /w/a  after 2" }, seen)
    local event, _, code = watch:next(0.01)
    assert.same({ nil, "timeout" }, { event, code })
    assert(client:put("/w/b", "later"))
    assert.equal("later", watch:next(60).value)
    watch:close()
  end)

  it("watches from a revision of the past, until that is compacted", function()
    local _, revision = client:put("/wp", "1")
    local _, last = client:put("/wp", "2")
    local watch = assert(client:watch("/wp", { revision = revision }))
    assert.equal("1", watch:next(60).value)
    assert.equal("2", watch:next(60).value)
    watch:close()
    assert(server:etcdctl("compact", tostring(last)))
    watch = assert(client:watch("/wp", { revision = revision }))
    local event, _, code = watch:next(60)
    assert.is_nil(event)
    assert.equal("compacted", code)
    local again = assert(client:watch("/wp", { revision = revision }))
    local ok, err = pcall(function() for _ in again:events() do end end)
    assert.is_false(ok)
    assert.matches("compacted", err)
  end)

  it("ends a closed watch quietly in a for, and answers it with closed", function()
    local watch = assert(client:watch "/wc")
    watch:close()
    for _ in watch:events() do
      error "there is no event"
    end
    local event, message, code = watch:next()
    assert.is_nil(event)
    assert.matches("closed", message)
    assert.equal("closed", code)
    assert.is_true(watch:close())
  end)

  it("reports an etcd that is not there as unavailable", function()
    local lonely = assert(lunarch.connect { endpoints = { "127.0.0.1:1" } })
    local value, message, code = lonely:get("/k", nil, 0.2)
    assert.is_nil(value)
    assert.is_true(code == "unavailable" or code == "timeout", code)
    assert.is_true(#message > 0)
    assert.is_true((lonely:close(1)))
  end)

  it("is closed for good", function()
    local closing = assert(lunarch.connect { endpoints = server.endpoint })
    assert(closing:put("/c", "v"))
    assert.is_true(closing:close())
    assert.is_true(closing:close())
    assert.matches("closed", tostring(closing))
    local value, _, code = closing:get "/c"
    assert.is_nil(value)
    assert.equal("closed", code)
    local session
    session, _, code = closing:session()
    assert.same({ nil, "closed" }, { session, code })
    local watch
    watch, _, code = closing:watch "/c"
    assert.same({ nil, "closed" }, { watch, code })
  end)

  it("is traced line by line", function()
    local lines = {}
    local traced = assert(lunarch.connect {
      endpoints = server.endpoint,
      trace = function(line) lines[#lines + 1] = line end,
    })
    assert(traced:put("/traced", "v"))
    assert(traced:session { ttl = 5 })
    traced:close(5)
    assert.is_true(#lines > 0)
    for _, line in ipairs(lines) do
      assert.equal("string", type(line))
      assert.is_nil(line:find "\n")
    end
  end)
end)
