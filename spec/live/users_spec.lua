-- Etcd's users with a real etcd: tokens that end, wrong passwords, missing rights, authentication switched on and off.
local etcd = require "support.etcd"
local lunarch = require "lunarch"
local pkis = require "support.pki"
local scene = require "live.support.scene"
local tree = require "support.tree"
local users = require "support.users"

local TOKEN_LIFE_S = 3

describe("users", function()
  local server, n

  local function must(...) return users.must(server, ...) end

  local function as_root(...) return users.as_root(server, ...) end

  local function add_users()
    users.add_root(server)
    users.add(server, "alice:secret", "a", "readwrite", "/a/")
  end

  local function start(options)
    options = options or {}
    options.flags = options.flags or { "--auth-token-ttl", tostring(TOKEN_LIFE_S) }
    server = etcd.start(options)
    add_users()
    must("auth", "enable")
  end

  before_each(function() n = (n or 0) + 1 end)

  local function connect(options)
    options.endpoints = server.endpoint
    return assert(lunarch.connect(options))
  end

  local function alice() return connect { user = "alice:secret" } end

  describe("with simple tokens", function()
    setup(function() start() end)
    teardown(function() server:stop() end)

    it("write what they may, as name and password or as one word", scene.play(function()
      for _, options in ipairs { { user = "alice:secret" }, { user = "alice", password = "secret" } } do
        local client = connect(options)
        assert(client:put("/a/x", "1"))
        client:close(1)
      end
    end))

    it("have a password from a file", scene.play(function()
      local folder = tree.folder()
      tree.write(folder .. "/password", "secret\n")
      local client = connect { user = "alice", password_file = folder .. "/password" }
      assert(client:put("/a/x", "1"))
      client:close(1)
      tree.remove(folder)
      local none, message, code = lunarch.connect { user = "alice", password_file = "/nonexistent/password" }
      assert.is_nil(none)
      assert.equal("invalid", code)
      assert.is_truthy(message:find("password_file /nonexistent/password", 1, true), message)
    end))

    it("are named by a refusal, with the key", scene.play(function()
      local client = alice()
      local ok, message, code = client:put("/b/x", "1")
      assert.is_nil(ok)
      assert.equal("permission_denied", code)
      assert.is_truthy(message:find("put /b/x: user alice: ", 1, true), message)
      client:close(1)
    end))

    it("whose password is wrong are refused, all waiting calls with the same words", scene.play(function()
      local client = connect { user = "alice:wrong" }
      local tasks = {}
      for i = 1, 5 do
        tasks[i] = lunarch.spawn(function() return client:get "/a/x" end)
      end
      for _, task in ipairs(tasks) do
        local _, value, message, code = task:join()
        assert.is_nil(value)
        assert.equal("unauthenticated", code)
        assert.is_truthy(message:find("user alice: ", 1, true), message)
        assert.is_nil(message:find("wrong", 1, true))
      end
      client:close(1)
    end))

    it("are asked for where none is given", scene.play(function()
      local client = connect {}
      local ok, message, code = client:put("/a/x", "1")
      assert.is_nil(ok)
      assert.equal("unauthenticated", code)
      assert.is_truthy(message:find("give user and password", 1, true), message)
      client:close(1)
    end))

    it("keep locks, waiters, terms and watches for many lives of a token", scene.play(function()
      local client, other = alice(), alice()
      local session = assert(client:session { ttl = 4 })
      local held = session:mutex("/a/lock" .. n)
      assert(held:lock(5))
      local waiter = lunarch.spawn(function()
        local theirs = assert(other:session { ttl = 4 })
        local mutex = theirs:mutex("/a/lock" .. n)
        return mutex:lock(60), theirs:state()
      end)
      local term = assert(session:election("/a/election" .. n):campaign("A", 5))
      lunarch.sleep(3 * TOKEN_LIFE_S)
      assert.equal("alive", (session:state()))
      assert(term:put("/a/value", "x"))
      assert(held:unlock())
      local _, ok, state = waiter:join(30)
      assert.is_true(ok)
      assert.equal("alive", state)
      client:close(2)
      other:close(2)
    end))

    it("go on when authentication is switched off and on again under them", scene.play(function()
      local client = alice()
      local session = assert(client:session { ttl = 4 })
      assert(client:put("/a/x", "1"))
      as_root("auth", "disable")
      scene.eventually(function() return client:put("/b/free", "1", nil, 2) end, nil, "a write without authentication")
      must("auth", "enable")
      scene.eventually(function() return client:put("/a/x", "2", nil, 2) end, nil, "a write with authentication")
      lunarch.sleep(TOKEN_LIFE_S)
      assert.equal("alive", (session:state()))
      client:close(1)
    end))

    it("that were deleted are told so, and no secret is in any word of it", scene.play(function()
      local lines = {}
      local client = connect { user = "alice:secret", trace = function(line) lines[#lines + 1] = line end }
      assert(client:put("/a/x", "1"))
      as_root("user", "delete", "alice")
      scene.eventually(function()
        local ok, message, code = client:put("/a/x", "2", nil, 2)
        return not ok and code == "unauthenticated" and message:find("user alice", 1, true)
      end, nil, "the refusal of a user that is gone")
      client:close(1)
      local said = table.concat(lines, "\n") .. tostring(client)
      assert.is_nil(said:find("secret", 1, true))
      assert.is_nil(said:find("token[%w%.]+%.%d+"))
      as_root("user", "add", "alice:secret")
      as_root("user", "grant-role", "alice", "a")
    end))
  end)

  it("with signed tokens (JWT) go on past the end of one", scene.play(function()
    local folder = tree.folder()
    local make_keys = "cd '%s' && (openssl genrsa -out key 2048 && openssl rsa -in key -pubout -out pub) 2>/dev/null"
    assert(os.execute(make_keys:format(folder)))
    local kind = ("jwt,pub-key=%s/pub,priv-key=%s/key,sign-method=RS256,ttl=5s"):format(folder, folder)
    start { flags = { "--auth-token", kind } }
    local client = alice()
    local session = assert(client:session { ttl = 4 })
    local mutex = session:mutex("/a/jwt")
    assert(mutex:lock(5))
    lunarch.sleep(11)
    assert.is_true(mutex:is_held())
    as_root("role", "add", "another") -- every token is of an old revision now
    assert(client:put("/a/x", "1", nil, 5))
    assert(mutex:unlock())
    client:close(1)
    server:stop()
    tree.remove(folder)
  end))

  it("may be named by a client's certificate", scene.play(function()
    local pki = pkis.usual()
    server = etcd.start { tls = users.tls(pki) }
    add_users()
    must("auth", "enable")
    local client = assert(lunarch.connect {
      endpoints = server.endpoint, cacert = pki:path "ca.crt",
      cert = pki:path "alice.crt", key = pki:path "alice.key",
    })
    local session = assert(client:session { ttl = 4 })
    assert(session:mutex("/a/certified"):lock(5))
    local ok, _, code = client:put("/b/x", "1")
    assert.is_nil(ok)
    assert.equal("permission_denied", code)
    client:close(1)
    server:stop()
    tree.remove(pki.folder)
  end))

  it("have the last word beside a certificate that names no user, also for a watch that begins before the token",
    scene.play(function()
      local pki = pkis.usual()
      pki:leaf("machine", "ca", { subject = "/CN=machine-7" })
      server = etcd.start { tls = users.tls(pki) }
      add_users()
      must("auth", "enable")
      local client = assert(lunarch.connect {
        endpoints = server.endpoint, cacert = pki:path "ca.crt",
        cert = pki:path "machine.crt", key = pki:path "machine.key", user = "alice:secret",
      })
      local watch = assert(client:watch "/a/first")
      local writer = lunarch.spawn(function()
        assert(watch:ready(20)) -- begun before the token was there; a change made sooner would not be its
        assert(client:put("/a/first", "1"))
      end)
      local event, message = watch:next(30)
      assert.equal("1", event and event.value or message)
      assert.is_true(writer:join(5))
      client:close(1)
      server:stop()
      tree.remove(pki.folder)
    end))
end)
