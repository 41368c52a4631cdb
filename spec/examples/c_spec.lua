-- The example in C, built with us, and built by somebody else from what was installed.
local etcd = require "support.etcd"
local process = require "support.process"
local tree = require "support.tree"

describe("the example in C", function()
  local server

  setup(function() server = etcd.start() end)
  teardown(function() server:stop() end)
  after_each(process.end_all)

  local function run(command)
    local output, status = process.run(command)
    assert.equal(0, status, output)
    return output
  end

  local function hands_over(program, env)
    local name = "/examples/c/" .. program
    local a = process.start { program, name, server.endpoint, env = env }
    local token = a:wait_line("^working, token %d+").text:match "%d+"
    local b = process.start { program, name, server.endpoint, env = env }
    b:wait_line "^waiting for"
    a:signal "sigterm"
    a:wait_line "^handed over"
    assert.equal(0, (a:wait_exit()))
    local first = b:wait_line "^working, token %d+"
    assert.is_true(tonumber(first.text:match "%d+") > tonumber(token))
    b:signal "sigint"
    assert.equal(0, (b:wait_exit()))
    assert.equal("", (server:etcdctl("get", "--prefix", name, "--keys-only")))
  end

  it("holds a lock, works, and hands over when it is told to stop", function()
    hands_over(tree.build .. "/examples/leader")
  end)

  it("stops at once while it waits for the lock", function()
    local name = "/examples/c/waiting"
    local a = process.start { tree.build .. "/examples/leader", name, server.endpoint }
    a:wait_line "^working"
    local b = process.start { tree.build .. "/examples/leader", name, server.endpoint }
    b:wait_line "^waiting"
    b:signal "sigterm"
    b:wait_line "^handed over"
    assert.equal(0, (b:wait_exit()))
    assert.is_nil(b:find "^working")
  end)

  it("stops its work when somebody takes the lock away", function()
    local a = process.start { tree.build .. "/examples/leader", "/examples/c/lost", server.endpoint }
    a:wait_line "^working"
    local key = server:etcdctl("get", "--prefix", "/examples/c/lost", "--keys-only"):match "%S+"
    server:etcdctl("del", key)
    a:wait_line "^lost: key_deleted"
    assert.equal(0, (a:wait_exit()))
  end)

  it("says who it is to an etcd with TLS and users, its password from the environment or a file", function()
    local secure = etcd.start { is_secured = true }
    local command = { tree.build .. "/examples/leader", "/examples/c/secured", table.unpack(secure.endpoints) }
    local in_a_file = { LUNARCH_PASSWORD_FILE = tree.folder() .. "/password" }
    for name, value in pairs(secure.credentials) do
      if name ~= "LUNARCH_PASSWORD" then in_a_file[name] = value end
    end
    tree.write(in_a_file.LUNARCH_PASSWORD_FILE, secure.credentials.LUNARCH_PASSWORD .. "\n")
    for _, env in ipairs { secure.credentials, in_a_file } do
      command.env = env
      local program = process.start(command)
      program:wait_line "^working, token %d+"
      program:signal "sigterm"
      assert.equal(0, (program:wait_exit()))
    end
    secure:stop()
  end)

  it("is built from an installed tree, by pkg-config and the compiler alone", function()
    local stage = tree.folder()
    run { "cmake", "--install", tree.build, "--prefix", stage .. "/opt/lunarch", limit = 60 }
    local prefix = stage .. "/elsewhere"
    assert(os.rename(stage .. "/opt/lunarch", prefix))
    local flags = run {
      "pkg-config", "--cflags", "--libs", "lunarch", env = { PKG_CONFIG_PATH = prefix .. "/lib/pkgconfig" },
    }
    local command = { "gcc", "-Wall", "-Werror", "-o", stage .. "/leader", tree.root .. "/examples/c/leader.c" }
    for flag in flags:gmatch "%S+" do
      command[#command + 1] = flag
    end
    if tree.is_sanitized then command[#command + 1] = "-fsanitize=address,undefined" end
    run(command)
    hands_over(stage .. "/leader", { LD_LIBRARY_PATH = prefix .. "/lib" })
  end)
end)
