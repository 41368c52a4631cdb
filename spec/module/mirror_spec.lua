-- limit: 180 s
-- A mirror: all keys below a prefix, kept in step with etcd through everything that may happen to it.
local fixture = require "support.fixture"
local lunarch = require "lunarch"
local wait = require "support.wait"

describe("a mirror", function()
  local client, server
  local n, mirror = 0, nil

  setup(function() client, server = fixture.open() end)
  teardown(fixture.close)
  before_each(function() n = n + 1 end)
  after_each(function()
    if mirror then mirror:close() end
    mirror = nil
    lunarch.sleep(0)
  end)

  local function key(name) return ("/mirror/%d/%s"):format(n, name) end

  local function put(name, value) assert(client:put(key(name), value)) end

  local function open(options)
    mirror = assert(client:mirror(key "", options))
    return mirror
  end

  -- Waits in our own calls, so that tasks go on.
  local function eventually(fn)
    wait.eventually(function()
      lunarch.sleep(0.01)
      return fn()
    end)
  end

  it("holds what is there, and follows what is written and deleted", function()
    put("a", "1")
    local seen = {}
    open { on_change = function(name, value) seen[#seen + 1] = { name, value } end }
    assert.same({ [key "a"] = "1" }, mirror.values)
    put("b", "2")
    assert.equal("2", (mirror:wait(key "b", wait.LIMIT)))
    local value, kv = mirror:get(key "b")
    assert.same({ "2", kv.mod_revision }, { value, mirror.revision })
    assert(client:delete(key "a"))
    eventually(function() return mirror.n_keys == 1 end)
    assert.same({ { key "a", "1" }, { key "b", "2" }, { key "a" } }, seen)
    assert.equal("timeout", select(3, mirror:wait(key "a", 0.01)))
  end)

  it("does not keep lunarch.run from returning, and goes on with the next wait", function()
    lunarch.run(function() open() end)
    lunarch.run(function() lunarch.run(function() open() end) end)
    put("a", "1")
    assert.equal("1", (mirror:wait(key "a", wait.LIMIT)))
  end)

  it("reads as many pages as it takes, and refuses more keys than it may hold", function()
    for i = 1, 25 do
      local operations = {}
      for k = 1, 100 do operations[k] = { "put", key(("%d.%d"):format(i, k)), "x" } end
      assert(client:txn { success = operations })
    end
    open()
    assert.equal(2500, mirror.n_keys)
    assert.equal("invalid", select(3, client:mirror(key "", { max_keys = 2499 })))
  end)

  it("goes on after a compaction that came while etcd was away, and tells the difference", function()
    put("a", "1")
    put("b", "1")
    local seen = {}
    open { on_change = function(name, value) seen[#seen + 1] = name:sub(-1) .. (value or " gone") end }
    local writer = assert(lunarch.connect { endpoints = server.endpoint })
    server:freeze()
    server:thaw()
    put("a", "2")
    assert(writer:delete(key "b"))
    put("c", "3")
    server:etcdctl("compact", ("%d"):format(mirror.revision + 3))
    server:kill9()
    server:restart()
    eventually(function() return mirror.values[key "c"] == "3" and not mirror.values[key "b"] end)
    assert.equal("2", mirror.values[key "a"])
    assert.equal("c3", seen[#seen])
    writer:close()
  end)

  it("begins again with an etcd that has begun anew", function()
    put("a", "old")
    put("b", "old")
    open()
    server:begin_anew()
    put("b", "new")
    eventually(function() return mirror.values[key "b"] == "new" and not mirror.values[key "a"] end)
    assert.equal(1, mirror.n_keys)
  end)

  it("is not ended by an error in on_change, and ends with its client", function()
    local own = assert(lunarch.connect { endpoints = server.endpoint })
    local text
    local say = require "lunarch.internal.say"
    local write = say.write
    say.write = function(line) text = line end
    local other = assert(own:mirror(key "", { on_change = function() error "in there" end }))
    put("a", "1")
    assert.equal("1", (other:wait(key "a", wait.LIMIT)))
    eventually(function() return text end)
    say.write = write
    assert.truthy(text:find("on_change failed: .*in there"))
    own:close()
    local value, _, code = other:wait(key "b", wait.LIMIT)
    assert.same({ nil, "closed" }, { value, code })
  end)

  -- A client whose answers `answer` gives, one reading after the other.
  local function fake(answer)
    local asked = { n_reads = 0 }
    function asked:get(first, options, timeout)
      self.n_reads = self.n_reads + 1
      return answer(self.n_reads, first, options, timeout)
    end
    function asked:watch()
      return { next = function() return nil, "refused", "permission_denied" end, close = function() end }
    end
    return asked
  end

  local function a_page(name, has_more)
    return { { key = name, value = "x", mod_revision = 1 } }, { revision = 1, more = has_more }
  end

  it("does not ask in haste where reading succeeds and watching does not", function()
    local read_at = {}
    local asked = fake(function(i)
      read_at[i] = lunarch.now()
      return a_page "/f/a"
    end)
    mirror = assert(require("lunarch.mirror").open(asked, "/f/"))
    eventually(function() return asked.n_reads >= 5 end)
    -- Half of 0.1, 0.2, 0.4 and 0.8 s at least.
    for i = 2, 5 do
      assert.is_true(read_at[i] - read_at[i - 1] >= 0.05 * 2 ^ (i - 2), "read " .. i)
    end
  end)

  local function heard(fn)
    local say, lines = require "lunarch.internal.say", {}
    local warn = say.warn
    say.warn = function(line) lines[#lines + 1] = line end
    local ok, err = pcall(fn, lines)
    say.warn = warn
    assert(ok, err)
    return lines
  end

  it("says that its watch is refused, once, and to those who wait", function()
    local asked = fake(function() return a_page "/f/a" end)
    local lines = heard(function()
      mirror = assert(require("lunarch.mirror").open(asked, "/f/"))
      assert.same({ nil, "refused", "permission_denied" }, { mirror:wait("/f/b", wait.LIMIT) })
      assert.equal("x", (mirror:wait("/f/a")))
      eventually(function() return asked.n_reads > 3 end)
    end)
    assert.same({ "mirror of /f/: it does not follow etcd, and tries again: refused" }, lines)
  end)

  it("names what keeps it from following where a key does not come in time, and says when it has ended", function()
    local n_read = 0
    local asked = fake(function()
      n_read = n_read + 1
      if n_read == 2 then return nil, "no member answers", "unavailable" end
      return a_page("/f/" .. n_read)
    end)
    function asked:watch()
      return { next = function() return nil, "cut off", "unavailable" end, close = function() end }
    end
    local lines = heard(function()
      mirror = assert(require("lunarch.mirror").open(asked, "/f/", { max_keys = 1 }))
      eventually(function() return n_read > 1 end)
      local _, message, code = mirror:wait("/f/none", 0.001)
      assert.equal("timeout", code)
      assert.truthy(message:find("; it does not follow etcd: ", 1, true), message)
    end)
    assert.same({}, lines)
    lines = heard(function()
      asked.get = function()
        local kvs = a_page "/f/a"
        kvs[2] = a_page("/f/b")[1]
        return kvs, { revision = 1 }
      end
      eventually(function() return tostring(mirror):find "closed" end)
    end)
    assert.truthy(lines[1]:find("it has ended: client:mirror: more than 1 keys", 1, true), lines[1])
  end)

  it("says each thing that is refused once, however they alternate", function()
    local asked, n_watches = fake(function() return a_page "/f/a" end), 0
    function asked:watch()
      n_watches = n_watches + 1
      local code = n_watches % 2 == 0 and "permission_denied" or "unauthenticated"
      return { next = function() return nil, code, code end, close = function() end }
    end
    local lines = heard(function()
      mirror = assert(require("lunarch.mirror").open(asked, "/f/"))
      eventually(function() return n_watches > 4 end)
    end)
    assert.equal(2, #lines)
  end)

  it("does not take a watch that is silent for one that follows, where etcd cannot be read", function()
    local asked, is_away, n_looks = fake(function() end), false, 0
    function asked:get(_, options)
      if not options.count_only then return a_page "/f/a" end
      n_looks = n_looks + 1
      if is_away then return nil, "no member answers", "unavailable" end
      return {}, { revision = 1 }
    end
    function asked:watch()
      return { close = function() end, next = function()
        lunarch.sleep(0.01)
        return nil, "nothing came", "timeout"
      end }
    end
    local function told()
      return (select(2, mirror:wait("/f/none", 0.001))):match "; it does not follow etcd: (.*)"
    end
    mirror = assert(require("lunarch.mirror").open(asked, "/f/"))
    eventually(function() return n_looks > 1 end)
    assert.is_nil(told())
    is_away, n_looks = true, 0
    eventually(function() return n_looks > 1 end)
    assert.equal("no member answers", told())
    is_away, n_looks = false, 0
    eventually(function() return n_looks > 1 end)
    assert.is_nil(told())
  end)

  it("leaves Ctrl-C in on_change to the program", function()
    local asked = fake(function() return a_page "/f/a" end)
    local ok, err = pcall(lunarch.run, function()
      lunarch.spawn(function()
        mirror = require("lunarch.mirror").open(asked, "/f/", { on_change = function()
          error("script.lua:1: interrupted!", 0)
        end })
      end)
      while true do lunarch.sleep(0.01) end
    end)
    assert.same({ false, "script.lua:1: interrupted!" }, { ok, err })
  end)

  it("has one timeout for all its pages", function()
    local given = {}
    local asked = fake(function(i, _, _, timeout)
      given[i] = timeout
      lunarch.sleep(0.1)
      if i == 3 then return nil, "late", "timeout" end
      return a_page("/f/" .. i, true)
    end)
    assert.equal("timeout", select(3, require("lunarch.mirror").open(asked, "/f/", nil, 60)))
    assert.is_true(given[1] <= 60 and given[2] < given[1] and given[3] < given[2])
  end)

  it("reads all again when etcd was compacted between two pages", function()
    local asked = fake(function(i)
      if i == 2 then return nil, "compacted", "compacted" end
      return a_page("/f/" .. (i == 4 and "b" or "a"), i ~= 4)
    end)
    mirror = assert(require("lunarch.mirror").open(asked, "/f/"))
    assert.same({ ["/f/a"] = "x", ["/f/b"] = "x" }, mirror.values)
  end)

  it("tells nothing after its close", function()
    local n_told, is_first = 0, true
    local asked = fake(function()
      if is_first then return {}, { revision = 1 } end
      local kvs = a_page "/f/a"
      kvs[2] = { key = "/f/b", value = "x", mod_revision = 1 }
      return kvs, { revision = 1 }
    end)
    mirror = assert(require("lunarch.mirror").open(asked, "/f/", { on_change = function()
      n_told = n_told + 1
      mirror:close()
    end }))
    is_first = false
    eventually(function() return n_told > 0 end)
    lunarch.sleep(0.05)
    assert.equal(1, n_told)
  end)

  it("keeps one watch, and asks nothing while nothing happens", function()
    open()
    eventually(function() return client:stats() end)
    local before = server:status().raftIndex
    lunarch.sleep(0.5)
    assert.equal(before, server:status().raftIndex)
  end)
end)
