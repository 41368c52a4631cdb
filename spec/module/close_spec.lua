-- vms: lua5.4
-- To-be-closed variables, which Lua 5.4 alone has.
local fixture = require "support.fixture"
local lunarch = require "lunarch"

describe("in a to-be-closed variable", function()
  local session

  setup(function() session = select(3, fixture.open { ttl = 60 }) end)
  teardown(fixture.close)

  it("a lock is unlocked", function()
    do
      local mutex <close> = assert(session:mutex "/close/lock")
      assert(mutex:lock())
    end
    assert.is_true(fixture.is_free "/close/lock")
  end)

  it("a lock of a task that fails is unlocked, waits included", function()
    local ok = lunarch.spawn(function()
      local mutex <close> = assert(session:mutex "/close/task")
      assert(mutex:lock())
      error "on purpose"
    end):join()
    assert.is_false(ok)
    assert.is_true(fixture.is_free "/close/task")
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
      local client_ <close> = assert(lunarch.connect { endpoints = session.client.endpoints })
      local session_ <close> = assert(client_:session { ttl = 60 })
      local watch_ <close> = assert(client_:watch "/close/watched")
      own, own_session, watch = client_, session_, watch_
      assert.is_true(watch:ready(60))
    end
    assert.equal("closed", select(3, watch:next()))
    assert.equal("closed", (own_session:state()))
    assert.equal("closed", select(3, own:get "/k"))
  end)
end)
