-- What etcd says and does of users and their tokens, row by row, with simple tokens and with signed ones (JWT), on the
-- etcd that ETCD= names. Rows that have specs of their own: spec/live/users_spec.lua, rights_spec.lua; etcd's bare
-- answers: spec/alike/auth_scenes.c.
-- limit: 240 s
local etcd = require "support.etcd"
local lunarch = require "lunarch"
local pkis = require "support.pki"
local scene = require "live.support.scene"
local tree = require "support.tree"
local users = require "support.users"

local TTL, LIFE_S = 3, 3
local LOST_S = 4 * TTL

-- HS256: the key is any file.
local function flags_of(kind, folder)
  local flags = { "--bcrypt-cost", "4", "--auth-token-ttl", tostring(LIFE_S) }
  if kind == "jwt" then
    tree.write(folder .. "/key", ("k"):rep(64))
    flags[#flags + 1] = "--auth-token"
    flags[#flags + 1] = ("jwt,priv-key=%s/key,sign-method=HS256,ttl=%ds"):format(folder, LIFE_S)
  end
  return flags
end

local function add_users(server)
  users.add_root(server)
  users.add(server, "alice:secret", "a", "readwrite", "/a/")
  users.add(server, "writer:secret", "w", "write", "/w/")
end

for _, kind in ipairs { "simple", "jwt" } do
  describe(kind .. " tokens", function()
    local server, folder, client

    before_each(function()
      folder = tree.folder()
      server = etcd.start { flags = flags_of(kind, folder) }
      add_users(server)
      users.must(server, "auth", "enable")
    end)
    after_each(function()
      server:stop()
      tree.remove(folder)
    end)

    local function play(fn)
      return scene.play(function()
        client = assert(lunarch.connect { endpoints = server.endpoint, user = "alice:secret" })
        fn()
        client:close(2)
      end)
    end

    local function as_root(...) return users.as_root(server, ...) end

    local function change_password(password)
      users.change_password(server, "alice", password)
    end

    -- A session with a lock, until it is lost: why.
    local function lose(what_happens)
      local session = assert(client:session { ttl = TTL })
      local mutex = session:mutex "/a/lock"
      assert(mutex:lock(10))
      what_happens()
      scene.eventually(function() return session:state() == "lost" end, LOST_S, "the loss")
      assert.is_false(mutex:is_held())
      local _, reason, refusal = session:state()
      assert.equal("unauthenticated", reason)
      assert.matches("user alice: .*authentication failed", refusal)
      assert.is_nil(refusal:find("secret", 1, true))
    end

    it("of a user that is deleted: what it holds is lost as unauthenticated", play(function()
      lose(function() as_root("user", "delete", "alice") end)
    end))

    it("of a password that is changed: likewise; once it is put right, calls work again within 15 s", play(function()
      lose(function() change_password "another" end)
      change_password "secret"
      scene.eventually(function() return client:put("/a/x", "1", nil, 2) end, 2 * 15, "the password to be noticed")
      assert(client:session({ ttl = TTL }, 10))
    end))

    it("go on when authentication is switched off and on again, and when other users change", play(function()
      local session = assert(client:session { ttl = TTL })
      local mutex = session:mutex "/a/lock"
      assert(mutex:lock(10))
      as_root("auth", "disable")
      scene.eventually(function() return client:put("/b/free", "1", nil, 2) end, nil, "a write without authentication")
      lunarch.sleep(TTL)
      users.must(server, "auth", "enable")
      scene.eventually(function() return client:put("/a/x", "2", nil, 2) end, nil, "a write with authentication")
      for i = 1, 5 do
        as_root("role", "add", "more" .. i)
        assert(client:put("/a/x", "3", nil, 10))
        lunarch.sleep(TTL / 5)
      end
      assert.is_true(mutex:is_held())
      assert.equal("alive", (session:state()))
      assert(mutex:unlock(10))
    end))

    it("may end under an open watch, and the right to it: it goes on; another watch is refused", play(function()
      local open = assert(client:watch "/a/watched")
      assert(open:ready(10))
      lunarch.sleep(LIFE_S + 1)
      local later = assert(client:watch "/a/watched")
      assert(later:ready(10))
      as_root("role", "revoke-permission", "a", "--prefix=true", "/a/")
      as_root("put", "/a/watched", "x")
      assert.equal("x", assert(open:next(10)).value)
      assert.equal("x", assert(later:next(10)).value)
      local refused = assert(client:watch "/a/watched")
      local event, message, code = refused:next(10)
      assert.is_nil(event)
      assert.equal("permission_denied", code)
      assert.matches("user alice: .*permission denied", message)
    end))
  end)
end

describe("of users, the words", function()
  local server

  setup(function()
    server = etcd.start { flags = flags_of "simple" }
    add_users(server)
    users.must(server, "user", "add", "bare", "--no-password")
    users.must(server, "user", "grant-role", "bare", "a")
    users.must(server, "auth", "enable")
  end)
  teardown(function() server:stop() end)

  local function connect(user, password)
    return assert(lunarch.connect { endpoints = server.endpoint, user = user, password = password })
  end

  local function refused(code, words, ok, message, found)
    assert.is_nil(ok)
    assert.equal(code, found, message)
    assert.matches(words, message)
  end

  it("name a user that is unknown, has no password in etcd, or gave none", scene.play(function()
    for _, user in ipairs { "nobody", "bare" } do
      local client = connect(user, "secret")
      refused("unauthenticated", "user " .. user .. ": .*authentication failed", client:get("/a/x", nil, 10))
      client:close(1)
    end
    local client = connect "alice"
    refused("unauthenticated", "user alice: .*authentication failed", client:get("/a/x", nil, 10))
    client:close(1)
  end))

  it("say what a user may not who may only write", scene.play(function()
    local client = connect("writer", "secret")
    assert(client:put("/w/x", "1", nil, 10))
    assert(client:delete("/w/x", nil, 10))
    local DENIED = "user writer: .*permission denied"
    refused("permission_denied", DENIED, client:get("/w/x", nil, 10))
    -- Both branches are looked at, whichever is taken.
    refused("permission_denied", DENIED, client:txn({
      success = { { "put", "/w/x", "1" } }, failure = { { "get", "/w/x" } },
    }, 10))
    refused("permission_denied", DENIED, client:txn({
      compare = { { "create", "/w/x", "=", 0 } }, success = { { "put", "/w/x", "1" } },
    }, 10))
    local session = assert(client:session({ ttl = TTL }, 10))
    refused("permission_denied", "/w/lock: .*" .. DENIED, session:mutex "/w/lock":lock(10))
    refused("permission_denied", "/w/election: .*" .. DENIED, session:election "/w/election":campaign("A", 10))
    client:close(2)
  end))

  it("say that a lease holds what the user may not write or read, or tell its time", scene.play(function()
    local lease = users.as_root(server, "lease", "grant", "60"):match "lease (%x+)"
    users.as_root(server, "put", "/b/x", "1", "--lease=" .. lease)
    lease = ("0"):rep(16 - #lease) .. lease
    local client = connect("alice", "secret")
    refused("permission_denied", "user alice: .*permission denied", client:put("/a/x", "1", { lease = lease }, 10))
    refused("permission_denied", "user alice: .*permission denied", client:revoke(lease, 10))
    local left, message, code = client:ttl(lease, 10)
    if not left then refused("permission_denied", "user alice: .*permission denied", left, message, code) end
    client:close(1)
  end))

  it("say which name of a client's certificate etcd does not know", scene.play(function()
    local pki = pkis.usual()
    pki:leaf("stranger", "ca", { subject = "/CN=stranger" })
    local secure = etcd.start { flags = flags_of "simple", tls = users.tls(pki) }
    add_users(secure)
    users.must(secure, "auth", "enable")
    local client = assert(lunarch.connect {
      endpoints = secure.endpoint, cacert = pki:path "ca.crt", cert = pki:path "stranger.crt",
      key = pki:path "stranger.key",
    })
    refused("permission_denied", "permission denied", client:put("/a/x", "1", nil, 10))
    client:close(1)
    secure:stop()
    tree.remove(pki.folder)
  end))
end)
