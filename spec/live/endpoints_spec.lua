-- What a list of endpoints may hold, and what is said of one that cannot be used.
local etcd = require "support.etcd"
local lunarch = require "lunarch"
local pkis = require "support.pki"
local process = require "support.process"
local scene = require "live.support.scene"
local tree = require "support.tree"
local uv = require "luv"

-- An endpoint is given up after 10 s.
local WARNED_S = 40

describe("a list of endpoints", function()
  it("of two clusters is an error that says which belongs where", scene.play(function()
    local one, other = etcd.start(), etcd.start { flags = { "--initial-cluster-token", "another" } }
    local client = scene.connect { one.endpoint, other.endpoint }
    local message, code
    scene.eventually(function()
      local _
      _, message, code = client:session { ttl = 2 }
      return code == "invalid"
    end)
    assert.matches("the endpoints are of two clusters: 127%.0%.0%.1:%d+ belongs to cluster %x+, "
      .. "127%.0%.0%.1:%d+ to %x+", message)
  end))

  -- A client whose log is kept.
  local function connect(endpoints)
    local said = {}
    local function log(_, line) said[#said + 1] = line end
    local client = assert(lunarch.connect { endpoints = endpoints, log = log })
    return client, said
  end

  local function count(lines, words)
    local n = 0
    for _, line in ipairs(lines) do
      if line:find(words, 1, true) then n = n + 1 end
    end
    return n
  end

  -- A port that takes connections and says nothing.
  local function listen_silently()
    local listener = uv.new_tcp()
    assert(listener:bind("127.0.0.1", 0))
    assert(listener:listen(16, function() end))
    return listener, "127.0.0.1:" .. listener:getsockname().port
  end

  -- A handshake costs the server something each time, and what is wrong with it is not soon put right.
  it("that break off each handshake of TLS are tried more and more rarely, and no call's end changes that", scene.play(
    function()
      local n, listener = 0, uv.new_tcp()
      assert(listener:bind("127.0.0.1", 0))
      assert(listener:listen(16, function()
        local connection = uv.new_tcp()
        assert(listener:accept(connection))
        connection:close()
        n = n + 1
      end))
      local client = assert(lunarch.connect {
        endpoints = "https://127.0.0.1:" .. listener:getsockname().port, insecure_skip_tls_verify = true,
      })
      local value, _, code = client:get("/endpoints", nil, 4)
      assert.same({ nil, "unavailable" }, { value, code })
      assert.is_true(n > 0)
      n = 0
      local began_at = lunarch.now()
      lunarch.sleep(6)
      local passed_s = lunarch.now() - began_at
      assert.is_true(n <= 2.5 * passed_s, ("%d connections in %.1f s"):format(n, passed_s))
      client:close(1)
      listener:close()
    end))

  it("with names that do not resolve and ports that are no etcd's works, and warns of each once", scene.play(function()
    local pki = pkis.usual()
    local server = etcd.start()
    local secure = etcd.start {
      tls = { cert = pki:path "server.crt", key = pki:path "server.key", cacert = pki:path "ca.crt" },
    }
    local listener, silent = listen_silently()
    local over_tls = secure.endpoint:gsub("https://", "")
    local client, said = connect { "127.0.0.1:1", "nowhere.invalid:2379", server.endpoint, over_tls, silent }
    assert(client:put("/endpoints", "x"))
    scene.eventually(function()
      client:get "/endpoints"
      return #said >= 4
    end, WARNED_S)
    assert.equal(1, count(said, "the etcd endpoint 127.0.0.1:1 cannot be used: refused"))
    assert.equal(1, count(said, "nowhere.invalid:2379 cannot be used: cannot be found"))
    assert.equal(1, count(said, over_tls .. " cannot be used: speaks TLS: https://?"))
    assert.equal(1, count(said, silent .. " cannot be used: accepts connections and says nothing: is it etcd?"))
    client:close(1)
    listener:close()
    tree.remove(pki.folder)
  end))

  it("of ports that are no etcd's fails, and guesses why", scene.play(function()
    local pki = pkis.usual()
    local secure = etcd.start {
      tls = { cert = pki:path "server.crt", key = pki:path "server.key", cacert = pki:path "ca.crt" },
    }
    local listener, silent = listen_silently()
    local over_tls = secure.endpoint:gsub("https://", "")
    local client = connect { over_tls, silent }
    scene.eventually(function()
      local _, message, code = client:put("/endpoints", "x", nil, 1)
      assert.equal("unavailable", code)
      return message:find(over_tls .. " speaks TLS: https://?", 1, true)
        and message:find(silent .. " accepts connections and says nothing: is it etcd?", 1, true)
    end, WARNED_S)
    client:close(1)
    listener:close()
    tree.remove(pki.folder)
  end))

  it("is a socket that does not exist, and this is said", scene.play(function()
    local client = scene.connect "unix:///nonexistent/etcd"
    local _, message, code = client:put("/endpoints", "x", nil, 1)
    assert.equal("unavailable", code)
    assert.matches("unix:/nonexistent/etcd does not exist: no etcd has made this socket", message, 1, true)
  end))

  it("beside a password_file that is a directory: this is said", function()
    local client, message, code = lunarch.connect { endpoints = "127.0.0.1:1", user = "u", password_file = "/" }
    assert.is_nil(client)
    assert.equal("password_file /: Is a directory", message)
    assert.equal("invalid", code)
  end)

  it("is https:// where this machine trusts no authority: an error, not a mistake in the program", function()
    local output = process.run {
      "lua5.4", "-e", "print(require('lunarch').connect { endpoints = 'https://127.0.0.1:1' })",
      env = { GRPC_DEFAULT_SSL_ROOTS_FILE_PATH = "/nonexistent", LUNARCH_CACERT = false, ETCDCTL_CACERT = false },
    }
    assert.matches("^nil\tTLS without cacert, and this system trusts no authority .*\tinvalid", output)
  end)

  it("is warned of in a candidate's log too", scene.play(function()
    local server, said = etcd.start(), {}
    local log = setmetatable({}, {
      __index = function() return function(format, ...) said[#said + 1] = format:format(...) end end,
    })
    local candidate = lunarch.candidate {
      election = "/endpoints", endpoints = { server.endpoint, "127.0.0.1:1" }, on_elected = function() end, log = log,
    }
    local task = lunarch.spawn(candidate.run, candidate)
    scene.eventually(function()
      return count(said, "the etcd endpoint 127.0.0.1:1 cannot be used: refused") == 1
    end, WARNED_S)
    candidate:stop()
    task:join()
  end))
end)
