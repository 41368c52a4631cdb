-- Rights and passwords that are taken away under a living session, on a real etcd: each ends it in time, with a reason
-- and etcd's words. Etcds from 3.4.42, 3.5.28 and 3.6.9 on look at the token of every renewal; earlier ones do not.
local etcd = require "support.etcd"
local lunarch = require "lunarch"
local scene = require "live.support.scene"
local tree = require "support.tree"
local users = require "support.users"
local vm = require "support.vm"

local TTL = 3
local LOST_S = 3 * TTL

-- Whether this etcd looks at rights when it renews.
local function checks_renewals()
  local output = vm.shell(tree.quote { tree.etcd, "--version" })
  local major, minor, patch = output:match "(%d+)%.(%d+)%.(%d+)"
  local first = ({ ["3.4"] = 42, ["3.5"] = 28, ["3.6"] = 9 })[major .. "." .. minor]
  return not first or tonumber(patch) >= first
end

describe("etcd's users", function()
  local server

  local function must(...) return users.must(server, ...) end

  local function as_root(...) return users.as_root(server, ...) end

  local function enable() must("auth", "enable") end

  local function add_alice()
    users.add_root(server)
    users.add(server, "alice:secret", "a", "readwrite", "/a/")
  end

  before_each(function()
    server = etcd.start { flags = { "--bcrypt-cost", "4" } }
    add_alice()
  end)
  after_each(function() server:stop() end)

  local function connect(options)
    options.endpoints = server.endpoint
    return assert(lunarch.connect(options))
  end

  local function alice() return connect { user = "alice:secret" } end

  -- Holds a lock, lets something be done to its user, and returns why the session and the lock were lost.
  local function lose(client, what_happens)
    local session = assert(client:session { ttl = TTL })
    local mutex = session:mutex "/a/lock"
    assert(mutex:lock(5))
    what_happens()
    local state = session:await("alive", LOST_S)
    if state == "jeopardy" then state = session:await("jeopardy", LOST_S) end
    assert.equal("lost", state)
    local _, reason, refusal = session:state()
    return reason, refusal, mutex
  end

  it("that are deleted lose their sessions as unauthenticated, with their name", scene.play(function()
    enable()
    local client = alice()
    local reason, refusal = lose(client, function() as_root("user", "delete", "alice") end)
    assert.equal("unauthenticated", reason)
    assert.is_truthy(refusal:find("^renew the lease of /a/lock/%x+: user alice: "), refusal)
    client:close(1)
  end))

  it("whose password is changed lose the sessions of the old one", scene.play(function()
    enable()
    local client = alice()
    local reason, refusal = lose(client, function() users.change_password(server, "alice", "another") end)
    assert.equal("unauthenticated", reason)
    assert.is_nil(refusal:find("secret", 1, true))
    client:close(1)
  end))

  it("are wanted all at once: sessions of clients that name none are lost, with what to do", scene.play(function()
    local client = connect {}
    local reason, refusal = lose(client, enable)
    assert.equal("unauthenticated", reason)
    assert.is_truthy(refusal:find("give user and password", 1, true), refusal)
    client:close(1)
  end))

  it("whose right to a lock is withdrawn lose it as permission_denied, with user and key, or keep it as long as etcd "
    .. "renews it", scene.play(function()
    enable()
    local client = alice()
    local function withdraw() as_root("role", "revoke-permission", "a", "--prefix=true", "/a/") end
    if checks_renewals() then
      local reason, refusal = lose(client, withdraw)
      assert.equal("permission_denied", reason)
      assert.is_truthy(refusal:find("^renew the lease of /a/lock/%x+: user alice: .*permission denied"), refusal)
    else
      local session = assert(client:session { ttl = TTL })
      local mutex = session:mutex "/a/lock"
      assert(mutex:lock(5))
      withdraw()
      lunarch.sleep(2 * TTL)
      assert.is_true(mutex:is_held())
      local ok, message, code = mutex:unlock(5)
      assert.is_nil(ok)
      assert.equal("permission_denied", code)
      assert.is_truthy(message:find("/a/lock", 1, true) and message:find("user alice", 1, true), message)
    end
    client:close(1)
  end))

  it("lose one session by its rights, and not the others of the same client", scene.play(function()
    must("role", "add", "b")
    must("role", "grant-permission", "b", "readwrite", "--prefix=true", "/b/")
    must("user", "grant-role", "alice", "b")
    enable()
    local client = alice()
    local other = assert(client:session { ttl = TTL })
    assert(other:mutex("/b/lock"):lock(5))
    if checks_renewals() then
      local reason = lose(client, function() as_root("user", "revoke-role", "alice", "a") end)
      assert.equal("permission_denied", reason)
    else
      as_root("user", "revoke-role", "alice", "a")
      lunarch.sleep(2 * TTL)
    end
    assert.equal("alive", (other:state()))
    client:close(1)
  end))

  it("adopt a lease with keys they may not write where etcd allows it, else are told so at once", scene.play(function()
    local lease = must("lease", "grant", "60"):match "lease (%x+)"
    must("put", "/b/x", "1", "--lease=" .. lease)
    enable()
    local client = alice()
    local session, message, code = client:session({ lease = ("%016x"):format(tonumber(lease, 16)) }, 5)
    if checks_renewals() then
      assert.is_nil(session)
      assert.equal("permission_denied", code)
      assert.is_truthy(message:find("user alice", 1, true), message)
    else
      assert.equal("alive", (session:state()))
    end
    client:close(1)
  end))

  it("of an etcd that was restored from a snapshot, whose tokens it cannot know, go on", scene.play(function()
    server.options.ctl_user = "root:rootpw"
    enable()
    local snapshot = server:save()
    local client = alice()
    local session = assert(client:session { ttl = TTL })
    for i = 1, 20 do
      assert(client:put("/a/x", tostring(i)))
    end
    server:begin_anew { snapshot = snapshot }
    scene.eventually(function() return client:put("/a/x", "again", nil, 3) end, nil, "a write to the etcd restored")
    scene.eventually(function() return session:state() == "lost" end, nil, "the loss of the old etcd's session")
    assert(client:session({ ttl = TTL }, 10))
    client:close(1)
  end))
end)
