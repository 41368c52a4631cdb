-- TLS with a real etcd: what is right works, what is wrong says why, and files that are replaced are picked up.
local etcd = require "support.etcd"
local lunarch = require "lunarch"
local pkis = require "support.pki"
local process = require "support.process"
local scene = require "live.support.scene"
local tree = require "support.tree"
local uv = require "luv"

-- Long enough for a connection to fail and for the reason to be found on a busy machine.
local REASON_S = 10

describe("TLS", function()
  local pki, open_server, strict_server

  setup(function()
    pki = pkis.usual()
    pki:authority "other"
    pki:leaf("stranger", "other", { subject = "/CN=alice" })
    pki:leaf("elsewhere", "ca", { subject = "/CN=etcd", names = "DNS:etcd-1.test,DNS:*.wild.test" })
    pki:leaf("expired", "ca", { subject = "/CN=etcd", names = "IP:127.0.0.1", is_expired = true })
    local tls = { cert = pki:path "server.crt", key = pki:path "server.key", cacert = pki:path "ca.crt" }
    open_server = etcd.start { tls = tls }
    local strict = { wants_client = true, ctl_cert = pki:path "alice.crt", ctl_key = pki:path "alice.key" }
    strict_server = etcd.start { tls = setmetatable(strict, { __index = tls }) }
  end)

  teardown(function()
    open_server:stop()
    strict_server:stop()
    tree.remove(pki.folder)
  end)

  local function put(options, timeout)
    local client, message, code = lunarch.connect(options)
    if not client then return nil, message, code end
    local ok, err, put_code = client:put("/k", "v", nil, timeout or 5)
    client:close(1)
    return ok, err, put_code
  end

  local function alice(options)
    options.cacert, options.cert, options.key = pki:path "ca.crt", pki:path "alice.crt", pki:path "alice.key"
    return options
  end

  describe("works", function()
    it("with an authority as a path", scene.play(function()
      assert(put { endpoints = open_server.endpoint, cacert = pki:path "ca.crt" })
    end))

    it("with an authority as text", scene.play(function()
      assert(put { endpoints = open_server.endpoint, cacert = pki:text "ca.crt" })
    end))

    it("with an endpoint without a scheme, when a TLS option is set", scene.play(function()
      assert(put { endpoints = open_server.endpoint:gsub("https://", ""), cacert = pki:path "ca.crt" })
    end))

    it("with HTTPS:// in capitals", scene.play(function()
      assert(put { endpoints = open_server.endpoint:gsub("https", "HTTPS"), cacert = pki:path "ca.crt" })
    end))

    it("by name and by IPv4 address", scene.play(function()
      assert(put { endpoints = open_server.endpoint:gsub("127.0.0.1", "localhost"), cacert = pki:path "ca.crt" })
      assert(put { endpoints = open_server.endpoint, cacert = pki:path "ca.crt" })
    end))

    it("without verification, when that is asked for", scene.play(function()
      assert(put { endpoints = open_server.endpoint, insecure_skip_tls_verify = true })
    end))

    it("with a client's certificate, as paths and as text", scene.play(function()
      assert(put(alice { endpoints = strict_server.endpoint }))
      assert(put {
        endpoints = strict_server.endpoint, cacert = pki:text "ca.crt",
        cert = pki:text "alice.crt", key = pki:text "alice.key",
      })
    end))

    it("for locks and elections", scene.play(function()
      local client = assert(lunarch.connect(alice { endpoints = strict_server.endpoint }))
      local session = assert(client:session { ttl = 5 })
      local mutex = session:mutex "/tls/lock"
      assert(mutex:lock(5))
      assert(mutex:unlock())
      local term = assert(session:election("/tls/election"):campaign("A", 5))
      assert(term:put("/tls/value", "x"))
      assert(client:close(5))
    end))
  end)

  describe("says at once", function()
    local function refuses(options, ...)
      local client, message, code = lunarch.connect(options)
      assert.is_nil(client)
      assert.equal("invalid", code)
      for _, words in ipairs { ... } do
        assert.is_truthy(message:find(words, 1, true), message)
      end
    end

    local function with(changes)
      local options = alice { endpoints = strict_server.endpoint }
      for name, value in pairs(changes) do
        options[name] = value
      end
      return options
    end

    it("which file cannot be read", function()
      refuses(with { cacert = "/nonexistent/ca.pem" }, "cacert /nonexistent/ca.pem", "No such file")
    end)

    it("that a folder or a device is not a certificate", function()
      refuses(with { cacert = pki.folder }, "cacert " .. pki.folder, "not a file")
      refuses(with { key = "/dev/null" }, "key /dev/null", "not a file")
    end)

    it("which file holds no certificate, or no key", function()
      tree.write(pki:path "garbage", "garbage\n")
      refuses(with { cacert = pki:path "garbage" }, "cacert " .. pki:path "garbage", "no certificate")
      refuses(with { cert = pki:path "garbage" }, "cert " .. pki:path "garbage", "no certificate")
      refuses(with { key = pki:path "garbage" }, "key " .. pki:path "garbage", "no private key")
    end)

    it("which certificate of a bundle is broken", function()
      local broken = pki:text("ca.crt"):gsub("\n(%w)", "\n!%1", 1)
      refuses(with { cacert = pki:text "other.crt" .. broken }, "certificate 2 in it is broken")
    end)

    it("that a key does not belong to its certificate", function()
      refuses(with { key = pki:path "server.key" }, pki:path "server.key", "does not belong to", pki:path "alice.crt")
    end)

    it("that a key is encrypted", function()
      local _, ok = require("support.vm").shell(("openssl pkey -in '%s' -aes128 -passout pass:x -out '%s' 2>&1"):format(
        pki:path "alice.key", pki:path "locked.key"))
      assert.is_true(ok)
      refuses(with { key = pki:path "locked.key" }, pki:path "locked.key", "encrypted")
    end)

    it("that the client's certificate has expired", function()
      local cert, key = pki:path "expired.crt", pki:path "expired.key"
      refuses(with { cert = cert, key = key }, cert, "expired on 2021-01-01")
    end)

    it("that a certificate comes without its key, and the reverse", function()
      local options = with {}
      options.key = nil
      refuses(options, "needs both cert and key", "key is missing")
      options = with {}
      options.cert = nil
      refuses(options, "needs both cert and key", "cert is missing")
    end)

    it("that schemes are mixed, or contradict the options", function()
      local both = { "http://127.0.0.1:1", "https://127.0.0.1:2" }
      refuses({ endpoints = both, cacert = pki:path "ca.crt" }, "use http:// for all members or https://")
      refuses({ endpoints = "http://127.0.0.1:1", cacert = pki:path "ca.crt" }, "plaintext", "TLS options are set")
    end)
  end)

  describe("a connection that fails names the reason:", function()
    local function fails(options, ...)
      local client = assert(lunarch.connect(options))
      local words = { ... }
      scene.eventually(function()
        local ok, message, code = client:put("/k", "v", nil, 1)
        assert.is_nil(ok)
        assert.equal("unavailable", code)
        for _, word in ipairs(words) do
          if not message:find(word, 1, true) then return false end
        end
        return true
      end, REASON_S, "the message: " .. table.concat(words, " ... "))
      client:close(1)
    end

    local function server_with(certificate, fn)
      local server = etcd.start {
        tls = {
          cert = pki:path(certificate .. ".crt"), key = pki:path(certificate .. ".key"), cacert = pki:path "ca.crt",
        },
        skips_probe = true,
      }
      local ok, err = pcall(fn, server)
      server:stop()
      assert(ok, err)
    end

    it("an authority that did not sign the server's certificate", scene.play(function()
      fails({ endpoints = open_server.endpoint, cacert = pki:path "other.crt" }, "not trusted", "issued by /CN=ca",
        "is it the right cacert?")
    end))

    it("an authority that the system does not know, or a system that knows none", scene.play(function()
      local options = { endpoints = open_server.endpoint }
      local client, message, code = lunarch.connect(options)
      if not client then
        assert.truthy(message:find("give cacert, or install the package ca-certificates", 1, true), message)
        assert.equal("invalid", code)
        return
      end
      client:close(1)
      fails(options, "not trusted", "give cacert, for the system does not know it")
    end))

    it("a server's certificate that has expired", scene.play(function()
      server_with("expired", function(server)
        fails({ endpoints = server.endpoint, cacert = pki:path "ca.crt" }, "certificate expired on 2021-01-01")
      end)
    end))

    it("a server's certificate for other hosts, which are named; server_name mends it", scene.play(function()
      server_with("elsewhere", function(server)
        local options = { endpoints = server.endpoint, cacert = pki:path "ca.crt" }
        fails(options, "not for 127.0.0.1 but for etcd-1.test, *.wild.test")
        assert(put { endpoints = server.endpoint, cacert = pki:path "ca.crt", server_name = "etcd-1.test" })
      end)
    end))

    it("a client's certificate that is missing", scene.play(function()
      local options = { endpoints = strict_server.endpoint, cacert = pki:path "ca.crt" }
      fails(options, "without a client certificate", "give cert and key")
    end))

    it("a client's certificate that the server refuses", scene.play(function()
      fails({
        endpoints = strict_server.endpoint, cacert = pki:path "ca.crt",
        cert = pki:path "stranger.crt", key = pki:path "stranger.key",
      }, "refused our certificate " .. pki:path "stranger.crt")
    end))

    it("TLS spoken to a plaintext port", scene.play(function()
      local server = etcd.start()
      local options = { endpoints = "https://" .. server.endpoint, cacert = pki:path "ca.crt" }
      fails(options, "does not speak TLS on this port: http://?")
      server:stop()
    end))
  end)

  describe("files that are replaced", function()
    local function copy(from, to)
      tree.write(to, tree.read(from))
    end

    local function await_answer(client)
      local function answers() return client:put("/k", "v", nil, 1) end
      scene.eventually(answers, nil, "an answer with the new certificate")
    end

    local function restart_until(server, client)
      server:restart()
      await_answer(client)
    end

    it("are used for the next connection, and half a pair is not", scene.play(function()
      local cert, key = pki:path "mine.crt", pki:path "mine.key"
      copy(pki:path "stranger.crt", cert)
      copy(pki:path "stranger.key", key)
      local client = assert(lunarch.connect {
        endpoints = strict_server.endpoint, cacert = pki:path "ca.crt", cert = cert, key = key,
      })
      local ok, _, code = client:put("/k", "v", nil, 1)
      assert.is_nil(ok)
      assert.equal("unavailable", code)
      copy(pki:path "alice.crt", cert) -- half a pair
      ok, _, code = client:put("/k", "v", nil, 2)
      assert.is_nil(ok)
      assert.equal("unavailable", code)
      copy(pki:path "alice.key", key .. ".new")
      assert(uv.fs_rename(key .. ".new", key))
      await_answer(client)
      client:close(1)
    end))

    it("leave open connections and sessions alone", scene.play(function()
      local cert, key = pki:path "kept.crt", pki:path "kept.key"
      copy(pki:path "alice.crt", cert)
      copy(pki:path "alice.key", key)
      local client = assert(lunarch.connect {
        endpoints = strict_server.endpoint, cacert = pki:path "ca.crt", cert = cert, key = key,
      })
      local session = assert(client:session { ttl = 4 })
      local mutex = session:mutex "/tls/kept"
      assert(mutex:lock(5))
      pki:leaf("alice2", "ca", { subject = "/CN=alice" })
      copy(pki:path "alice2.crt", cert)
      copy(pki:path "alice2.key", key)
      lunarch.sleep(6)
      assert.is_true(mutex:is_held())
      assert(mutex:unlock())
      restart_until(strict_server, client)
      client:close(1)
    end))
  end)

  it("a program may end in the middle of a handshake", function()
    local text = ([[assert(require "lunarch".connect { endpoints = %q, cacert = %q }) os.exit(0)]]):format(
      table.concat({ open_server.endpoint, "https://localhost:" .. open_server.client_port }, ","), pki:path "ca.crt")
    for _ = 1, 40 do
      local program = process.start { "lua5.4", "-e", text }
      local status, signal = program:wait_exit()
      assert.same({ 0, 0 }, { status, signal }, program:output())
    end
  end)

  it("no key of a client's certificate is in an error or in what the core says of itself", scene.play(function()
    local lines = {}
    local options = alice { endpoints = strict_server.endpoint }
    options.key = pki:text "alice.key"
    options.trace = function(line) lines[#lines + 1] = line end
    local client = assert(lunarch.connect(options))
    assert(client:put("/k", "v", nil, 5))
    client:close(1)
    local secret = options.key:match "\n(%w+)"
    assert.is_nil(table.concat(lines, "\n"):find(secret, 1, true))
    assert.is_nil(tostring(client):find(secret, 1, true))
    options.cert = pki:text "server.crt"
    local none, message = lunarch.connect(options)
    assert.is_nil(none)
    assert.is_nil(message:find(secret, 1, true))
  end))
end)
