local etcd = require "support.etcd"
local process = require "support.process"
local uv = require "luv"
local wait = require "support.wait"

describe("a private etcd", function()
  local server
  setup(function() server = etcd.start() end)
  teardown(function() server:stop() end)

  it("serves as soon as it is there", function()
    assert.is_true(server:is_serving())
    local output, ok = server:etcdctl("put", "a", "it's 1")
    assert.equal("OK\n", output)
    assert.is_true(ok)
    assert.equal("a\nit's 1\n", (server:etcdctl("get", "a")))
  end)

  it("tells when etcdctl fails", function()
    local output, ok = server:etcdctl("lease", "revoke", "1234")
    assert.is_false(ok)
    assert.matches("requested lease not found", output)
  end)

  it("knows its revision and its raft index", function()
    local before = server:status()
    server:etcdctl("put", "b", "1")
    local after = server:status()
    assert.is_true(after.is_leader)
    assert.equal(before.revision + 1, after.revision)
    assert.is_true(after.raft_index > before.raft_index)
    assert.equal(before.raft_term, after.raft_term)
  end)

  it("comes again on the same data and ports after kill -9", function()
    server:etcdctl("put", "kept", "yes")
    local pid, port = server.pid, server.client_port
    server:kill9()
    assert.is_false(server:is_running())
    assert.is_false(server:is_serving())
    server:restart()
    assert.not_equal(pid, server.pid)
    assert.equal(port, server.client_port)
    assert.equal("kept\nyes\n", (server:etcdctl("get", "kept")))
  end)

  it("comes again when a program held its port for a moment", function()
    server:kill9()
    local hold = ([[
      local uv = require "luv"
      local socket = uv.new_tcp()
      assert(socket:bind("127.0.0.1", %d))
      assert(socket:listen(1, function() end))
      print "held"
      io.stdout:flush()
      local stdin = uv.new_pipe()
      stdin:open(0)
      stdin:read_start(function(_, data) if not data then os.exit(0) end end)
      uv.run()
    ]]):format(server.client_port)
    local holder = process.start { "lua5.4", "-e", hold, stdin = true }
    holder:wait_line "held"
    server:restart { no_wait = true }
    wait.eventually(function() return not server:is_running() end)
    assert.matches("address already in use", server:log())
    local timer = uv.new_timer()
    timer:start(1000, 0, function()
      timer:close()
      holder:close_stdin()
    end)
    server:restart()
    assert.is_true(server:is_serving())
    assert.equal("kept\nyes\n", (server:etcdctl("get", "kept")))
  end)

  it("answers nothing while it is frozen", function()
    server:freeze()
    local _, ok = server:etcdctl("--command-timeout=300ms", "get", "kept")
    server:thaw()
    assert.is_false(ok)
    wait.eventually(function() return server:is_serving() end)
  end)

  it("runs etcdctl as a process that goes on", function()
    local holder = server:etcdctl_start("lock", "/name")
    local key = holder:wait_line("^/name/%x+$").text
    assert.matches("^" .. key .. "\n", (server:etcdctl("get", "/name/", "--prefix")))
    holder:signal "sigterm"
    holder:wait_exit()
  end)

  it("ends when it is told to, and leaves no process", function()
    local other = etcd.start { election_ms = 100, heartbeat_ms = 10 }
    local pid, folder = other.pid, other.folder
    other:stop()
    assert.is_false(process.is_running(pid))
    assert.is_nil(io.open(folder .. "/log"))
  end)

  it("goes when the spec is killed, even frozen", function()
    local outer = process.start { "lua5.4", "-e", [[
      local server = require("support.etcd").start()
      server:freeze()
      print("pid " .. server.pid)
      io.stdout:flush()
      require("luv").sleep(60000)
    ]] }
    local pid = math.tointeger(outer:wait_line("^pid %d+").text:match "%d+")
    outer:kill9()
    wait.eventually(function() return not process.is_running(pid) end)
  end)
end)

describe("a private cluster", function()
  local cluster
  setup(function() cluster = etcd.cluster(3) end)
  teardown(function() cluster:stop() end)

  it("has one leader and two followers", function()
    assert.truthy(cluster:leader())
    assert.equal(2, #cluster:followers())
    assert.equal("OK\n", (cluster:etcdctl("put", "a", "1")))
  end)

  it("elects another leader when its leader is frozen, and one only when it is thawed", function()
    local old = cluster:leader()
    old:freeze()
    local new = wait.eventually(function()
      local leader = cluster:leader()
      return leader ~= old and leader
    end)
    old:thaw()
    wait.eventually(function()
      local status = old:status()
      return status and not status.is_leader
    end)
    assert.equal(new, cluster:leader())
  end)

  it("goes on without one member, which may come again", function()
    local member = cluster:followers()[1]
    member:kill9()
    assert.equal("OK\n", (cluster:leader():etcdctl("put", "b", "2")))
    member:restart()
    assert.equal("b\n2\n", (member:etcdctl("get", "b")))
  end)
end)
