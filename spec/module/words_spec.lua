-- What is said when something is wrong, and how answers print.
local etcd = require "support.etcd"
local fixture = require "support.fixture"
local lunarch = require "lunarch"
local wait = require "support.wait"

describe("the words of the module", function()
  local client, session, server

  setup(function() client, server, session = fixture.open { ttl = 60 } end)
  teardown(fixture.close)

  it("say that a lease does not exist: lost", function()
    for _, call in ipairs {
      function() return client:put("/words/k", "v", { lease = "7000000000000001" }) end,
      function() return client:txn { success = { { "put", "/words/k", "v", lease = "7000000000000001" } } } end,
    } do
      local ok, message, code = call()
      assert.is_nil(ok)
      assert.equal("lost", code)
      assert.matches("requested lease not found", message)
    end
  end)

  it("say what is missing", function()
    local _, err = pcall(client.put, client, "/words/k")
    assert.matches("client:put: 'value' is missing: it must be a string$", err)
    _, err = pcall(session.mutex, session)
    assert.matches("session:mutex: 'name' is missing: it must be a string", err)
  end)

  it("explain the lease id 0", function()
    local _, err = pcall(client.put, client, "/words/k", "v", { lease = "00" })
    assert.matches("client:put: 'lease' is 00, which etcd takes for \"no lease\": leave it out, or give the id of a "
      .. "lease$", err)
  end)

  it("name who leads when a campaign takes too long", function()
    local term = assert(assert(session:election "/words/led"):campaign "web-1")
    local rival = assert(lunarch.connect { endpoints = server.endpoint })
    local _, message, code = assert(assert(rival:session { ttl = 60 }):election "/words/led"):campaign("web-2", 0.3)
    assert.equal("timeout", code)
    assert.matches("^campaign /words/led: not elected within 0.3 s: led by web%-1 ", message)
    rival:close(5)
    assert(term:resign(5))
  end)

  it("print answers readably", function()
    assert(client:put("/words/k", "one\ntwo"))
    local _, kv = client:get "/words/k"
    assert.matches('^lunarch.kv: /words/k = "one\\n?n?two" %(revision %d+%)$', tostring(kv))
    local watch = assert(client:watch "/words/k")
    assert(watch:ready(5))
    assert(client:put("/words/k", "v"))
    assert.matches('^lunarch.event: put /words/k = "v" %(revision %d+%)$', tostring(watch:next(5)))
    assert(client:delete "/words/k")
    assert.matches("^lunarch.event: delete /words/k %(revision %d+%)$", tostring(watch:next(5)))
    watch:close()
    assert.matches("^lunarch.member: 127.0.0.1:%d+, etcd %S+, leader$", tostring(client:status(5)[1]))
    local election = assert(session:election "/words/print")
    local observer = assert(election:observe())
    assert.equal("lunarch.leader: nobody", tostring(observer:next(5)))
    local term = assert(election:campaign "A")
    assert.matches('^lunarch.leader: "A" %(token %d+, me%)$', tostring(election:leader(5)))
    assert(term:resign(5))
    observer:close()
    local silent = assert(lunarch.connect { endpoints = "127.0.0.1:1" })
    assert.matches("^lunarch.member: 127.0.0.1:1: %S+", tostring(silent:status(5)[1]))
    silent:close(5)
  end)

  it("say how to mend a full database, and status tells the alarm", function()
    local full = etcd.start { flags = { "--quota-backend-bytes", "1000000" } }
    local own = assert(lunarch.connect { endpoints = full.endpoint })
    assert.same({}, own:status(5)[1].alarms)
    local message, code
    wait.eventually(function()
      local _, said, as = own:put("/words/big", ("x"):rep(100000))
      message, code = said, as
      return code == "no_space"
    end)
    assert.matches("database space exceeded %(compact and defragment etcd's database, then: "
      .. "etcdctl alarm disarm%)$", message)
    assert.same({ "NOSPACE" }, own:status(5)[1].alarms)
    assert.matches(", alarm NOSPACE$", tostring(own:status(5)[1]))
    own:close(5)
    full:stop()
    assert.is_true(server:is_running())
  end)
end)
