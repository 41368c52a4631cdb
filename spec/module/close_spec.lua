-- vms: lua5.4
-- To-be-closed variables, which Lua 5.4 alone has.
local etcd = require "support.etcd"
local lunarch = require "lunarch"

describe("in a to-be-closed variable", function()
  local server, client, session

  setup(function()
    server = etcd.start()
    client = assert(lunarch.connect { endpoints = server.endpoint })
    session = assert(client:session { ttl = 60 })
  end)

  teardown(function()
    client:close(5)
    server:stop()
  end)

  local function is_free(name)
    local other = assert(session:mutex(name))
    local ok = other:try_lock()
    if ok then other:unlock() end
    return ok
  end

  it("a lock is unlocked", function()
    do
      local mutex <close> = assert(session:mutex "/close/lock")
      assert(mutex:lock())
    end
    assert.is_true(is_free "/close/lock")
  end)

  it("a lock of a task that fails is unlocked, waits included", function()
    local ok = lunarch.spawn(function()
      local mutex <close> = assert(session:mutex "/close/task")
      assert(mutex:lock())
      error "on purpose"
    end):join()
    assert.is_false(ok)
    assert.is_true(is_free "/close/task")
  end)

  it("a term is resigned", function()
    local election = assert(session:election "/close/election")
    do
      local term <close> = assert(election:campaign "A")
      assert.is_nil(term.reason)
    end
    assert.is_nil((election:leader()))
  end)

  it("a watch, a session and a client are closed", function()
    local watch, own_session, own
    do
      local client_ <close> = assert(lunarch.connect { endpoints = server.endpoint })
      local session_ <close> = assert(client_:session { ttl = 60 })
      local watch_ <close> = assert(client_:watch "/close/watched")
      own, own_session, watch = client_, session_, watch_
      assert.is_true(watch:ready(5))
    end
    assert.equal("closed", select(3, watch:next()))
    assert.equal("closed", (own_session:state()))
    assert.equal("closed", select(3, own:get "/k"))
  end)
end)
