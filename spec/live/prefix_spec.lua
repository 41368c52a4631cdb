-- A client with a prefix beside one without: they see the same etcd, one of them a part of it under other names, and
-- nothing that the former does is ever outside of that part.
local etcd = require "support.etcd"
local lunarch = require "lunarch"
local scene = require "live.support.scene"

local PREFIX = "/team-a"
-- Keys of others: before, after and in between of what begins like the prefix.
local FOREIGN = { "/team", "/team-a", "/team-a!x", "/team-a0", "/team-ab/x", "/team-b/x", "/x", "x", "~" }

describe("a client with a prefix", function()
  local server, plain, client

  setup(function() server = etcd.start() end)
  teardown(function() server:stop() end)

  local function play(fn)
    return scene.play(function()
      plain = scene.connect(server.endpoint)
      assert(plain:delete("", { prefix = true }))
      for _, key in ipairs(FOREIGN) do
        assert(plain:put(key, "of others"))
      end
      client = assert(lunarch.connect { endpoints = server.endpoint, prefix = PREFIX, name = "ours" })
      local ok, err = xpcall(fn, function(err) return type(err) == "string" and debug.traceback(err) or err end)
      client:close(2)
      for _, key in ipairs(FOREIGN) do
        assert.equal("of others", (plain:get(key)))
      end
      if not ok then error(err, 0) end
    end)
  end

  local function keys_of(kvs)
    local keys = {}
    for i, kv in ipairs(kvs) do
      keys[i] = kv.key
    end
    return keys
  end

  local function all(of, ...)
    return keys_of(assert(of:get(...)))
  end

  -- What etcd itself holds below the prefix.
  local function held()
    return all(plain, PREFIX .. "/", { prefix = true })
  end

  it("knows its keys without it, and no other", play(function()
    assert(client:put("/a", "1"))
    assert(client:put("/b/c", "2"))
    assert(client:put("/b/\255", "3"))
    assert.same({ "/team-a/a", "/team-a/b/c", "/team-a/b/\255" }, held())
    local value, kv = client:get "/a"
    assert.same({ "1", "/a" }, { value, kv.key })
    for _, range in ipairs {
      { "", { prefix = true } }, { "/", { prefix = true } }, { "\1", { range_end = "\255" } },
      { "\0", { range_end = "\0" } }, { "!", { range_end = "~" } },
    } do
      assert.same({ "/a", "/b/c", "/b/\255" }, all(client, range[1], range[2]))
    end
    assert.same({ "/b/c", "/b/\255" }, all(client, "/b/", { prefix = true }))
    assert.same({ "/b/c", "/b/\255" }, all(client, "/b", { range_end = "\0" }))
    assert.same({ "/b/\255", "/b/c" }, all(client, "/b", { prefix = true, sort_by = "key", order = "descend" }))
    local _, info = client:get("", { prefix = true, count_only = true })
    assert.equal(3, info.count)
  end))

  it("deletes nothing but its own, and gives what was there", play(function()
    assert(client:put("/a", "1"))
    assert(client:put("/b", "2"))
    local n, prev = client:delete("/a", { prev_kv = true })
    assert.same({ 1, "/a" }, { n, prev[1].key })
    n, prev = client:delete("", { prefix = true, prev_kv = true })
    assert.same({ 1, "/b" }, { n, prev[1].key })
    local _, _, before = client:put("/c", "1", { prev_kv = true })
    assert.is_nil(before)
    _, _, before = client:put("/c", "2", { prev_kv = true })
    assert.equal("/c", before.key)
  end))

  it("compares and changes only its own in a transaction", play(function()
    local function txn(...)
      return assert(client:txn { compare = { ... }, success = {
        { "put", "/t", "1" }, { "get", "", prefix = true }, { "delete", "/none", prefix = true },
      }, failure = { { "get", "/t" } } })
    end
    local result = txn({ "create", "", "=", 0, prefix = true }, { "create", "/x", "=", 0 })
    assert.is_true(result.succeeded)
    assert.same({ "/t" }, keys_of(result.responses[2].kvs))
    result = txn { "create", "", "=", 0, prefix = true }
    assert.is_false(result.succeeded)
    assert.same({ "/t" }, keys_of(result.responses[1].kvs))
    result = assert(client:txn { success = { { "delete", "", prefix = true, prev_kv = true } } })
    assert.same({ "/t" }, keys_of(result.responses[1].prev_kvs))
  end))

  it("watches only its own", play(function()
    local watch = assert(client:watch("", { prefix = true, prev_kv = true }))
    local single = assert(client:watch "/k")
    assert(watch:ready() and single:ready())
    assert(plain:put("/team-ab/k", "1"))
    assert(plain:put("/k", "1"))
    assert(plain:put("/team-a/k", "1"))
    assert(client:put("/k", "2"))
    assert(plain:delete "/team-a/k")
    for _, of in ipairs { watch, single } do
      local seen = {}
      for i = 1, 3 do
        local event = assert(of:next(5))
        seen[i] = ("%s %s %s"):format(event.type, event.key, event.prev_kv and event.prev_kv.key or "-")
      end
      local prev = of == watch and "/k" or "-"
      assert.same({ "put /k -", "put /k " .. prev, "delete /k " .. prev }, seen)
    end
    assert(plain:delete "/team-ab/k")
  end))

  it("locks, names the owner, and is seen by others at its place in etcd", play(function()
    local mutex = assert(client:session()):mutex "/jobs"
    assert(mutex:lock())
    assert.equal("/jobs/" .. mutex.session.lease:gsub("^0+", ""), mutex.key)
    assert.same({ PREFIX .. mutex.key }, held())
    assert.equal(mutex.key, mutex:owner().key)
    local other = assert(scene.connect(server.endpoint):session()):mutex(PREFIX .. "/jobs")
    local _, message, code = other:try_lock()
    assert.equal("locked", code)
    assert.matches("^locked by ours ", message)
    assert.equal(PREFIX .. mutex.key, other:owner().key)
    local elsewhere = assert(plain:session()):mutex "/jobs"
    assert.is_true(elsewhere:try_lock())
    assert(elsewhere:unlock())
    local task = lunarch.spawn(other.lock, other)
    scene.await_line(plain, PREFIX .. "/jobs", 2)
    assert(mutex:unlock())
    scene.join(task)
    _, message = mutex:lock(0.3)
    assert.matches("^lock /jobs: not free within 0.3 s: locked by ", message)
    assert(other:unlock())
  end))

  it("is elected, proclaims, writes under guard, and is observed under both names", play(function()
    local observer, plain_observer = assert(client:observe "/e"), assert(plain:observe(PREFIX .. "/e"))
    local term = assert(assert(client:session()):election("/e"):campaign "A")
    assert.equal(term.key, client:session():election("/e"):leader().key)
    scene.eventually(function() return observer:next(5).key == term.key end)
    scene.eventually(function() return plain_observer:next(5).key == PREFIX .. term.key end)
    assert(term:proclaim "B")
    assert(term:put("/config", "1"))
    assert.equal("1", (plain:get(PREFIX .. "/config")))
    local ok, err = pcall(term.put, term, "/e/x", "1")
    assert.is_false(ok)
    assert.matches("/e", err)
    assert(term:resign())
  end))

  it("tells its own names in errors", play(function()
    assert(client:put("/jobs/config", "x"))
    local session = assert(client:session())
    local _, message = session:mutex("/jobs"):try_lock()
    assert.equal("blocked by the key /jobs/config, which is bound to no lease: it stays until it is deleted", message)
    _, message = client:get("/k", { revision = 1000000 })
    assert.falsy(message:find(PREFIX, 1, true))
  end))

  it("refuses what would be outside of it, at the caller's line", play(function()
    local session = assert(client:session())
    for _, call in ipairs {
      function() client:put("b/x", "1") end, function() client:get "b" end, function() client:delete "0" end,
      function() client:get("a", { range_end = "z" }) end, function() client:watch "b" end,
      function() client:txn { success = { { "put", "b/x", "1" } } } end,
      function() client:txn { compare = { { "create", "b", "=", 0 } } } end,
      function() session:mutex "jobs" end, function() session:election "jobs" end, function() client:observe "jobs" end,
    } do
      local ok, err = pcall(call)
      assert.is_false(ok)
      assert.matches("prefix_spec%.lua:%d+: .*with the prefix \"/team%-a\" keys and names begin with '/'", err)
    end
  end))

  it("that ends in '/' may have keys that do not begin with one", play(function()
    local folder = assert(lunarch.connect { endpoints = server.endpoint, prefix = PREFIX .. "/" })
    assert(folder:put("k", "1"))
    assert.same({ "/team-a/k" }, held())
    assert.same({ "k" }, all(folder, "", { prefix = true }))
    assert.same({ "/k" }, all(client, "", { prefix = true }))
    folder:close(2)
  end))
end)
