-- What a service manager is told, on a socket of our own; and what the log looks like in its journal.
local etcd = require "support.etcd"
local process = require "support.process"
local script = require "host.script"
local tree = require "support.tree"
local uv = require "luv"
local wait = require "support.wait"

-- Prints each datagram as a line, its own lines joined by " | ".
local LISTENER = [[
import socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind(sys.argv[1].replace("@", "\0"))
print("listens", flush=True)
while True:
    print("told " + s.recv(65536).decode().replace("\n", " | "), flush=True)
]]

local LEADER = [[
  function on_elected() print "on_elected" end
  function do_work() return 0.05 end
  function on_lost(_, reason) print("on_lost " .. reason) end
]]

describe("the service manager", function()
  local server, manager, path
  local n = 0

  setup(function() server = etcd.start() end)
  teardown(function() server:stop() end)
  before_each(function()
    n = n + 1
    path = tree.folder() .. "/notify"
  end)
  after_each(process.end_all)

  local function listen(at)
    manager = process.start { "/usr/bin/python3", "-c", LISTENER, at or path }
    manager:wait_line "^listens"
  end

  local function start(text, env, ...)
    env.NOTIFY_SOCKET = env.NOTIFY_SOCKET or path
    return script.start(text, {
      "--endpoints", server.endpoint, "--election", "/notify/" .. n, "--name", "A", "--ttl", "3", env = env, ...,
    })
  end

  it("is told READY, what the candidate does, and STOPPING", function()
    listen()
    local child = start(LEADER, {})
    manager:wait_line "^told READY=1"
    manager:wait_line("^told STATUS=A leads /notify/" .. n .. ", token %d+$")
    child:signal "sigterm"
    manager:wait_line "^told STOPPING=1$"
    assert.equal(0, (child:wait_exit()))
    assert.equal(1, #manager:find_all "STOPPING")
    assert.equal(1, #manager:find_all "READY")
  end)

  it("is told READY though etcd is away, and that the candidate connects", function()
    listen()
    script.start(LEADER, {
      "--endpoints", "127.0.0.1:1", "--election", "/x", "--name", "A", env = { NOTIFY_SOCKET = path },
    })
    manager:wait_line "^told READY=1 | STATUS=A in /x: new$"
    manager:wait_line "^told STATUS=A in /x: connecting$"
  end)

  it("may have a socket in the abstract name space", function()
    local name = "@lunarch-spec-" .. uv.os_getpid() .. "-" .. n
    listen(name)
    start(LEADER, { NOTIFY_SOCKET = name })
    manager:wait_line "^told READY=1"
  end)

  it("hears that an ordinary program runs, and when it ends", function()
    listen()
    local child = start("lunarch.sleep(0.2)", {})
    manager:wait_line "^told READY=1$"
    assert.equal(0, (child:wait_exit()))
    manager:wait_line "^told STOPPING=1$"
  end)

  it("hears the watchdog while the script yields, and not while it blocks", function()
    listen()
    local child = start([[
      function do_work()
        if not io.open(arg[1]) then return 0.05 end
        print "blocks"
        os.execute "sleep 3"
        print "returned"
        return 100
      end]], { WATCHDOG_USEC = "400000" }, "--", path .. ".go")
    for _ = 1, 5 do
      manager:wait_line "^told WATCHDOG=1$"
    end
    io.open(path .. ".go", "w"):close()
    local blocks = child:wait_line "^blocks"
    local returned = child:wait_line "^returned"
    for _, line in ipairs(manager:find_all "WATCHDOG") do
      assert.falsy(line.t > blocks.t + 0.1 and line.t < returned.t, "told while it blocked")
    end
    manager:wait_line "^told WATCHDOG=1$"
  end)

  it("hears no watchdog that is another process's", function()
    listen()
    local child = start(LEADER, { WATCHDOG_USEC = "100000", WATCHDOG_PID = "1" })
    child:wait_line "^on_elected"
    wait.pass(0.5)
    assert.is_nil(manager:find "WATCHDOG")
  end)

  it("may be gone, or never have been there: nothing comes of it", function()
    for _, socket in ipairs { path .. "-nobody", "relative", "/" .. ("x"):rep(200), "" } do
      local child = start(LEADER, { NOTIFY_SOCKET = socket })
      child:wait_line "^on_elected"
      child:signal "sigterm"
      assert.equal(0, (child:wait_exit()))
    end
  end)

  it("finds priorities in its journal where JOURNAL_STREAM names our stderr, and only there", function()
    local file = path .. ".journal"
    local text = [[log.info "one" log.error "two\nlines" log.debug "three" io.stderr:write "own\n"]]
    local words = tree.quote { tree.program, script.write(text), "--log-level", "debug" }
    local function run(stream)
      os.execute(("sh -c %s"):format(tree.quote {
        (": > %s; JOURNAL_STREAM=%s %s 2>> %s"):format(file, stream, words, file) }))
      return tree.read(file)
    end
    assert.equal("<6>INFO  one\n<3>ERROR two\n<3>    lines\n<7>DEBUG three\nown\n",
      run(("$(stat -c %%d:%%i %s)"):format(file)))
    assert.truthy(run("1:2"):find "^%d%d%d%d%-.* INFO  one\n")
  end)
end)

describe("--log-level", function()
  local server

  setup(function() server = etcd.start() end)
  teardown(function() server:stop() end)
  after_each(process.end_all)

  local function start(...)
    return script.start(LEADER .. "function on_leader() end", {
      "--endpoints", server.endpoint, "--election", "/levels", "--name", "A", "--ttl", "3", ...,
    })
  end

  it("debug writes a line for every decision of a candidate", function()
    local child = start("--log-level", "debug")
    child:wait_line " DEBUG A: /levels: now connecting$"
    child:wait_line " DEBUG A: session with lease %x+, TTL 3 s$"
    child:wait_line " DEBUG A: /levels: now standing$"
    child:wait_line " DEBUG A: /levels: now leading$"
    child:wait_line " DEBUG A: elected in /levels, token %d+; %d%.%d+ s until"
    child:wait_line " DEBUG A: on_elected is called$"
    child:wait_line " DEBUG A: on_elected has returned after %d%.%d+ s$"
    child:wait_line " DEBUG A: do_work is called$"
    wait.eventually(function() return (child:find " DEBUG A: the leader is A$") end)
    child:signal "sigterm"
    child:wait_line " DEBUG A: the work of the term has to end: stopping$"
    child:wait_line " DEBUG A: the place was given up: etcd has answered$"
    assert.equal(0, (child:wait_exit()))
  end)

  it("is info unless told otherwise, and warn leaves out what is information", function()
    local child = start()
    child:wait_line "^on_elected"
    assert.is_nil(child:find "DEBUG")
    assert.truthy(child:find " INFO ")
    child:kill9()
    child = start("--log-level", "warn")
    child:wait_line "^on_elected"
    assert.is_nil(child:find " INFO ")
  end)

  it("refuses other words, with status 2", function()
    local output, status = script.run(LEADER, { "--log-level", "loud" })
    assert.equal(2, status)
    assert.truthy(output:find("must be one of", 1, true), output)
  end)
end)
