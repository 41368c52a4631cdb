-- Names that lie below another's, and plain data below the name of a lock or an election: whatever stands there is in
-- the line, and what keeps others waiting is named for what it is.
local etcd = require "support.etcd"
local lunarch = require "lunarch"
local scene = require "live.support.scene"

local STAYS = "which is bound to no lease: it stays until it is deleted"

describe("what blocks a line is named", function()
  local server, client, session, name
  local n = 0

  setup(function() server = etcd.start() end)
  teardown(function() server:stop() end)

  before_each(function()
    n = n + 1
    name = "/blocked/" .. n
  end)

  local function play(fn)
    return scene.play(function()
      client = scene.connect(server.endpoint)
      session = assert(client:session { ttl = 10 })
      fn()
    end)
  end

  local function assert_says(text, code, ok, message, its_code)
    assert.is_nil(ok)
    assert.equal(code, its_code)
    assert.truthy(message:find(text, 1, true), message)
  end

  -- All the ways in which a caller learns what it waits for.
  local function assert_named(text, waiting_text)
    local mutex, election = session:mutex(name), session:election(name)
    assert_says(text, "locked", mutex:try_lock())
    assert_says(text, "timeout", mutex:lock(0))
    assert_says(name .. ": not free within 0.3 s: " .. text, "timeout", mutex:lock(0.3))
    assert_says(name .. ": not elected within 0.3 s: " .. text, "timeout", election:campaign("A", 0.3))
    for _, waits in ipairs {
      { of = mutex, task = lunarch.spawn(pcall, mutex.lock, mutex) },
      { of = election, task = lunarch.spawn(pcall, election.campaign, election, "A") },
    } do
      scene.eventually(function() return waits.of:blocked_by() == waiting_text end, nil, "blocked_by of " .. name)
      waits.task:interrupt "enough"
      scene.join(waits.task)
      assert.is_nil(waits.of:blocked_by())
    end
  end

  it("when it is plain data", play(function()
    assert(client:put(name .. "/config", "x = 1"))
    local text = ("blocked by the key %s/config, %s"):format(name, STAYS)
    assert_named(text, text)
  end))

  it("when it is another's lock whose name lies below", play(function()
    local other = assert(client:session { ttl = 10 }):mutex(name .. "/nightly")
    assert(other:lock())
    local text = ("blocked by %s/nightly, whose name lies below this one"):format(name)
    assert_named(text .. ": locked by ", text)
    assert(other:unlock())
  end))

  it("when it is an election whose name lies below", play(function()
    local term = assert(assert(client:session { ttl = 10 }):election(name .. "/eu"):campaign "B")
    local text = ("blocked by %s/eu, whose name lies below this one"):format(name)
    assert_named(text .. ": held by B", text)
    assert(term:resign())
  end))

  it("when a leader stands before it, in the text of those who wait behind both", play(function()
    local holder = assert(client:session { ttl = 10 }):mutex(name)
    assert(holder:lock())
    assert(client:put(name .. "/config", "x = 1"))
    local waiter = assert(scene.connect(server.endpoint):session()):mutex(name)
    assert_says("not free within 0.3 s: blocked by the key " .. name .. "/config", "timeout", waiter:lock(0.3))
    assert(holder:unlock())
  end))

  it("by no text where an ordinary lock or candidate is waited for", play(function()
    local holder, waiter = assert(client:session()):mutex(name), session:mutex(name)
    assert(holder:lock())
    local task = lunarch.spawn(waiter.lock, waiter)
    scene.await_line(client, name, 2)
    lunarch.sleep(0.1)
    assert.is_nil(waiter:blocked_by())
    assert(holder:unlock())
    scene.join(task)
    assert.is_nil(waiter:blocked_by())
  end))

  it("in the log of a candidate, once, before others are elected", play(function()
    local lines = {}
    local function log(format, ...) lines[#lines + 1] = format:format(...) end
    assert(client:put(name .. "/config", "x = 1"))
    local is_elected = false
    local candidate = lunarch.candidate {
      client = client, election = name, ttl = 2, log = { info = function() end, warn = log, error = log },
      on_elected = function() is_elected = true end,
    }
    local task = lunarch.spawn(candidate.run, candidate)
    scene.eventually(function() return #lines > 0 end, nil, "a warning")
    lunarch.sleep(2)
    assert.same({ ("cannot be elected in %s: blocked by the key %s/config, %s"):format(name, name, STAYS) }, lines)
    assert(client:delete(name .. "/config"))
    scene.eventually(function() return is_elected end, nil, "the election")
    candidate:stop()
    scene.join(task)
  end))
end)
