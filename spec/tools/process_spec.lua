local uv = require "luv"
local clock = require "support.clock"
local process = require "support.process"
local tree = require "support.tree"
local wait = require "support.wait"

local function sh(script, options)
  options = options or {}
  table.insert(options, 1, "sh")
  table.insert(options, 2, "-c")
  table.insert(options, 3, script)
  return process.start(options)
end

describe("a process of a spec", function()
  after_each(process.end_all)

  it("is read line by line, both streams, with its status", function()
    local p = sh "echo one; echo two >&2; printf three; exit 7"
    local status, signal = p:wait_exit()
    assert.equal(7, status)
    assert.equal(0, signal)
    local out = {}
    for _, line in ipairs(p:lines()) do
      out[line.text] = line.from
    end
    assert.same({ one = "out", two = "err", three = "out" }, out)
  end)

  it("has its lines stamped when they were said, though nobody was reading", function()
    local p = sh("echo a; read line; echo b", { stdin = true })
    local function is_logged(what)
      wait.eventually(function() return tree.read(p.log):find(what) end)
    end
    is_logged " out a\n"
    local between = clock.now()
    p:write "go on\n"
    is_logged " exit "
    local after = clock.now()
    local a, b = p:wait_line "a", p:wait_line "b"
    assert.is_true(a.t < between and between < b.t and b.t < after)
  end)

  it("can be awaited by a line, each line once", function()
    local p = sh "for i in 1 2 3; do echo tick $i; sleep 0.02; done"
    assert.equal("tick 1", p:wait_line("tick").text)
    assert.equal("tick 2", p:wait_line("tick").text)
    assert.equal("tick 3", p:wait_line("tick").text)
    assert.equal(3, #p:find_all "tick")
    assert.equal("tick 2", p:find("2").text)
  end)

  it("tells what it said when the line does not come", function()
    local p = sh "echo hello; sleep 60"
    wait.eventually(function() return p:find "hello" end)
    local ok, err = pcall(p.wait_line, p, "bye", 0.2)
    assert.is_false(ok)
    assert.matches("did not say 'bye' within 0.2 s; it said:\nhello", err)
    local gone = sh "echo hello"
    ok, err = pcall(gone.wait_line, gone, "bye")
    assert.is_false(ok)
    assert.matches("did not say 'bye' before it ended", err)
  end)

  it("is signalled by pid", function()
    local p = sh "trap 'echo caught; exit 3' TERM; echo ready; while :; do sleep 0.01; done"
    p:wait_line "ready"
    p:signal "sigterm"
    assert.equal(3, (p:wait_exit()))
    assert.truthy(p:find "caught")
  end)

  it("is killed by signal 9, and says so", function()
    local p = process.start { "sleep", "60" }
    p:kill9()
    local status, signal = p:wait_exit()
    assert.equal(0, status)
    assert.equal(9, signal)
    assert.is_false(process.is_running(p.pid))
  end)

  it("stands still while it is frozen", function()
    local p = sh "while :; do echo x; sleep 0.01; done"
    p:wait_line "x"
    p:freeze()
    -- What it said before may still be on its way.
    local before
    wait.eventually(function()
      before = #p:lines()
      wait.pass(0.2)
      return before == #p:lines()
    end)
    p:thaw()
    p:wait_line "x"
    wait.eventually(function() return #p:lines() > before end)
  end)

  it("can be written to", function()
    local p = process.start { "cat", stdin = true }
    p:write "hello\n"
    p:wait_line "hello"
    p:close_stdin()
    assert.equal(0, (p:wait_exit()))
  end)

  it("reads the end of file where it is not written to", function()
    assert.equal(0, (process.start({ "cat" }):wait_exit()))
  end)

  it("gets a changed environment, and no etcd settings of the user's", function()
    uv.os_setenv("ETCD_NAME", "mine")
    local script = "echo $A; echo ${ETCD_NAME-none}; echo ${LD_PRELOAD-none}"
    local output = process.run { "sh", "-c", script, env = { A = "b" } }
    uv.os_unsetenv "ETCD_NAME"
    assert.equal("b\nnone\nnone\n", output)
  end)

  it("that does not exist is said to have ended", function()
    local p = process.start { "no-such-program" }
    assert.equal(127, (p:wait_exit()))
  end)

  it("ends with the spec, even if that is killed", function()
    local script = [[
      local process = require "support.process"
      local p = process.start { "sh", "-c", "echo up; exec sleep 60" }
      p:wait_line "up"
      print("pid " .. p.pid)
      io.stdout:flush()
      require("luv").sleep(60000)
    ]]
    local outer = process.start { "lua5.4", "-e", script, env = { LUNARCH_TMP = tree.folder() } }
    local pid = math.tointeger(outer:wait_line("^pid %d+").text:match "%d+")
    assert.is_true(process.is_running(pid))
    outer:kill9()
    wait.eventually(function() return not process.is_running(pid) end)
  end)
end)
