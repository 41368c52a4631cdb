-- limit: 180 s
-- lunarch check: what it finds, and that it changes nothing.
local cjson = require "cjson"
local etcd = require "support.etcd"
local process = require "support.process"
local script = require "host.script"
local tree = require "support.tree"

local GOOD = [[
  election, ttl = "/check/a", 12
  function on_elected() print "called" end
  function do_work() print "called" end
]]

describe("lunarch check", function()
  local server

  setup(function() server = etcd.start() end)
  teardown(function() server:stop() end)
  after_each(process.end_all)

  local function check(text, ...)
    return process.run { "lunarch", "check", script.write(text), "--name", "A", ... }
  end

  local function check_online(text, ...)
    return check(text, "--endpoints", server.endpoint, ...)
  end

  local function finds(level, sentence, text, ...)
    local output, status = check(text, "--offline", ...)
    assert.truthy(output:find(("\n%s: "):format(level), 1, true) or output:find("^" .. level .. ": "), output)
    assert.truthy(output:find(sentence, 1, true), output)
    assert.equal(level == "error" and 2 or 0, status, output)
  end

  it("says what a good script does, and that etcd answers, and calls no handler", function()
    local output, status = check_online(GOOD)
    assert.equal(0, status, output)
    assert.truthy(output:find("A stands in /check/a: TTL 12 s, told to stop 2.0 s before its end\n", 1, true), output)
    assert.truthy(output:find("etcd at " .. server.endpoint .. " answers: ", 1, true), output)
    assert.truthy(output:find("script.lua: 0 mistakes, 0 warnings\n", 1, true), output)
    assert.is_nil(output:find("called", 1, true))
    assert.equal("", server:etcdctl("get", "--prefix", "--keys-only", "/check"))
  end)

  for what, case in pairs {
    ["a syntax error"] = { "error", "script.lua:1: unexpected symbol", "x = = 1" },
    ["an error of the main part"] = { "error", "script.lua:1: on purpose", "error 'on purpose'" },
    ["a misspelt handler"] = { "error", "there is no handler 'do_wrok': did you mean 'do_work'?",
      GOOD .. "function do_wrok() end" },
    ["a misspelt setting"] = { "warning", "there is no setting 'intervall': did you mean 'interval'?",
      GOOD .. "intervall = 3" },
    ["a handler without an election"] = { "error", "declares on_elected, but no election",
      "function on_elected() end" },
    ["a setting of the wrong type"] = { "error", "'interval' must be", GOOD .. "interval = 'often'" },
    ["nothing to do when elected"] = { "error", "neither 'on_elected' nor 'do_work' is given",
      "election = '/x' function on_lost() end" },
    ["a grace that does not fit"] = { "error", "'grace' must be at most half the ttl of 12 s, not 9",
      GOOD .. "grace = 9" },
    ["an on_lost that may take too long"] = { "warning", "on_lost may take 10 s (stop_timeout), you have 2.0",
      GOOD .. "stop_timeout = 10 function on_lost() end" },
    ["the same by default, as a note"] = { "note", "on_lost may take 10 s", GOOD .. "function on_lost() end" },
    ["a TTL that etcd raises"] = { "warning", "etcd grants no less than 2 s", GOOD .. "ttl = 1" },
    ["a bad endpoint"] = { "error", "endpoint", GOOD .. "endpoints = 'etcd-1:port'" },
    ["a CA that is not there"] = { "error", "cacert /nowhere/ca.pem: No such file",
      GOOD .. "cacert = '/nowhere/ca.pem'" },
    ["a CA of one of several candidates"] = { "error", "cacert /nowhere/ca.pem: No such file",
      "candidate { election = '/x', do_work = print, cacert = '/nowhere/ca.pem' }" },
    ["an ordinary program"] = { "note", "an ordinary program", "x = 1" },
  } do
    it("finds " .. what, function() finds(case[1], case[2], case[3]) end)
  end

  it("finds more than one mistake at once", function()
    local output = check(GOOD .. "grace = 9 function do_wrok() end", "--offline")
    assert.truthy(output:find("did you mean 'do_work'?", 1, true) and output:find("'grace' must be", 1, true), output)
    assert.truthy(output:find("2 mistakes", 1, true), output)
  end)

  it("finds a flag that does not fit, and a script that is not there", function()
    finds("error", "'grace' must be at most half the ttl", GOOD, "--grace", "9")
    local output, status = process.run { "lunarch", "check", "/nowhere/x.lua", "--offline" }
    assert.equal(2, status)
    assert.truthy(output:find("cannot open /nowhere/x.lua", 1, true), output)
    output, status = process.run { "lunarch", "check" }
    assert.equal(2, status)
    assert.truthy(output:find("which script?", 1, true), output)
  end)

  it("finds an endpoint that does not answer: a warning while others do, else a mistake", function()
    local output, status = check(GOOD, "--endpoints", server.endpoint .. ",127.0.0.1:1")
    assert.equal(0, status, output)
    assert.truthy(output:find("warning: etcd at 127.0.0.1:1: ", 1, true), output)
    output, status = check(GOOD, "--endpoints", "127.0.0.1:1")
    assert.equal(2, status, output)
    assert.truthy(output:find("error: etcd at 127.0.0.1:1: ", 1, true), output)
  end)

  it("finds a certificate and a key that do not belong together", function()
    local folder = tree.folder()
    for _, name in ipairs { "a", "b" } do
      os.execute(("openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=%s -days 2 -keyout %s/%s.key -out %s/%s.pem")
        :format(name, folder, name, folder, name) .. " 2>/dev/null")
    end
    finds("error", "key", GOOD, "--cacert", folder .. "/a.pem", "--cert", folder .. "/a.pem",
      "--key", folder .. "/b.key")
  end)

  for call, code in pairs {
    ["os.execute"] = "os.execute('touch ' .. arg[1])", ["io.popen"] = "io.popen('touch ' .. arg[1]):close()",
    ["io.open"] = "io.open(arg[1], 'w')", ["lunarch.connect"] = "lunarch.connect():put('/check/x', '1')",
    ["lunarch.spawn"] = "lunarch.spawn(function() os.execute('touch ' .. arg[1]) end)",
    ["os.exit"] = "os.exit(7)", ["lunarch.exec"] = "lunarch.exec { 'touch', arg[1] }",
    ["luv.spawn"] = "require('luv').spawn('touch', { args = { arg[1] } })",
    ["luv.fs_mkdir"] = "require('luv').fs_mkdir(arg[1], 493)",
    ["luv.fs_unlink"] = "require('luv').fs_unlink(arg[0])",
    ["luv.fs_open"] = "require('luv').fs_open(arg[1], 'w', 420)",
    ["luv.fs_stat"] = "require('luv').fs_stat('/', function() os.execute('touch ' .. arg[1]) end)",
    ["luv.new_tcp"] = "require('luv').new_tcp():bind('127.0.0.1', 0)",
    ["luv.new_timer"] = "require('luv').new_timer():start(0, 0, function() os.execute('touch ' .. arg[1]) end)",
  } do
    it("goes as far as the first call that has an effect: " .. call, function()
      local mark = tree.folder() .. "/mark"
      local output, status = check_online("x = 1\n" .. code .. "\n" .. GOOD, mark)
      assert.equal(0, status, output)
      assert.truthy(output:find("its first call that has an effect: " .. call .. " (", 1, true), output)
      assert.truthy(output:find("script.lua:2)", 1, true), output)
      assert.is_nil(io.open(mark))
      assert.equal("", server:etcdctl("get", "--prefix", "--keys-only", "/check"))
    end)
  end

  it("lets a script look around: files, luv, the environment", function()
    local output, status = check([[
      local uv = require "luv"
      assert(uv.fs_stat "/" and uv.cwd() and uv.os_getenv "PATH" and uv.fs_open("/dev/null", "r", 0))
      assert(io.open "/dev/null" and os.getenv "PATH")]] .. GOOD, "--offline")
    assert.equal(0, status, output)
    assert.is_nil(output:find("goes no further", 1, true))
  end)

  it("goes on after a call that the script itself has caught, and lets none of them through", function()
    local mark = tree.folder() .. "/mark"
    local output, status = check("pcall(os.execute, 'touch ' .. arg[1]) pcall(io.open, arg[1], 'w')\n" .. GOOD, mark,
      "--offline")
    assert.equal(0, status, output)
    assert.truthy(output:find("A stands in /check/a", 1, true), output)
    assert.is_nil(io.open(mark))
  end)

  -- stdout alone.
  local function answer_of(text, ...)
    local child = process.start { "lunarch", "check", script.write(text), "--name", "A", "--offline", "--json", ... }
    local status, signal = child:wait_exit()
    local lines = {}
    for _, line in ipairs(child:lines()) do
      if line.from == "out" then lines[#lines + 1] = line.text end
    end
    assert.equal(1, #lines, child:output())
    assert.equal(0, signal)
    return cjson.decode(lines[1]), status
  end

  it("has nothing in its answer of what the script prints, in whatever way", function()
    for _, code in ipairs {
      "print 'x'", "io.write 'x'", "io.stdout:write 'x'", "io.close()", "io.stdout:close()",
      "io.stdout:setvbuf 'full' io.write 'x'", "setmetatable({}, { __gc = function() print 'x' end })",
    } do
      local answer, status = answer_of(code .. "\n" .. GOOD)
      assert.equal(0, status, code)
      assert.is_true(answer.ok)
      assert.equal("/check/a", answer.candidates[1].election)
    end
  end)

  for what, code in pairs {
    ["an endless loop"] = "while true do end",
    ["one that catches what ends it"] = "local function f() while true do end end while true do pcall(f) end",
    ["one in a coroutine"] = "coroutine.wrap(function() while true do end end)()",
    ["a coroutine that is never done"] = "local co = coroutine.wrap(function() while true do coroutine.yield() end end)"
      .. " while true do co() end",
    ["C code that does not end"] = "(('a'):rep(60) .. 'b'):find(('a*'):rep(60) .. 'c')",
    ["a wait that nothing ends"] = "lunarch.future():wait()",
    ["a file that gives nothing"] = "os.getenv 'PATH' io.open(FIFO):read 'a'",
    ["a finalizer that does not end"] = "setmetatable({}, { __gc = function() while true do end end }) error 'x'",
  } do
    it("answers in time, that it is a mistake, where the main part does not: " .. what, function()
      local fifo = tree.folder() .. "/fifo"
      os.execute("mkfifo " .. fifo)
      local answer, status = answer_of(code:gsub("FIFO", ("%q"):format(fifo)), "--within", "0.5")
      assert.equal(2, status)
      assert.is_false(answer.ok)
    end)
  end

  it("says how long it waited for the main part, and where that was", function()
    finds("error", "its main part has not ended within 0.5 s (it is at ", "x = 1\nwhile true do end", "--within", "0.5")
    finds("error", "script.lua:2)", "x = 1\nwhile true do end", "--within", "0.5")
    local output, status = check(GOOD, "--within", "0")
    assert.equal(2, status)
    assert.truthy(output:find("--within: it has to be more than 0 seconds", 1, true), output)
    assert.equal(0, select(2, check(GOOD, "--offline", "--within", "9000000")))
  end)

  it("is not disturbed by a script whose globals are called like those of Lua", function()
    local answer, status = answer_of(GOOD .. [[
      type, next, pairs, table, string, error, select = "primary", 2, 3, 4, 5, 6, 7
      print, setmetatable, io, os, debug, require, coroutine, rawget, _VERSION = nil]])
    assert.equal(0, status)
    assert.is_true(answer.ok)
  end)

  it("answers though a script has emptied the standard library", function()
    local answer, status = answer_of(GOOD .. [[
      for _, library in ipairs { string, table, io, os, debug, math, utf8, coroutine, package } do
        for name in pairs(library) do library[name] = nil end
      end]])
    assert.equal(2, status)
    assert.is_false(answer.ok)
  end)

  for what, case in pairs {
    ["is not in PATH"] = { "health = { 'no-such-program', '-q' }",
      "health: the command cannot be run: no-such-program is not found in PATH" },
    ["is no file"] = { "may_stand = { '/nowhere/x' }",
      "may_stand: the command cannot be run: /nowhere/x: there is no such file" },
    ["is a folder"] = { "health = { '/tmp' }", "health: the command cannot be run: /tmp is a directory" },
    ["may not be executed"] = { "health = { '/etc/passwd' }",
      "health: the command cannot be run: no permission to execute /etc/passwd" },
    ["has no folder"] = { "health = { 'true', cwd = '/nowhere' }",
      "health: the command cannot be run: cwd: there is no folder /nowhere" },
    ["is not in its own PATH"] = { "health = { 'true', env = { PATH = '/nowhere' } }", "true is not found in PATH" },
    ["has options that are wrong"] = { "health = { 'true', timeout = 'long' }",
      "'health': 'timeout' must be" },
  } do
    it("finds a command that " .. what, function() finds("error", case[2], GOOD .. case[1]) end)
  end

  it("takes commands that can be run", function()
    local output, status = check(GOOD .. [[
      health = { "true" }
      may_stand = { "./true", cwd = "/bin" }]], "--offline")
    assert.equal(0, status, output)
  end)

  for name, sentence in pairs {
    priority = "error: there is no setting 'priority': the candidate that has waited longest is the next one",
    listen = "warning: %s: 'listen' is no setting of a script: give the flag --listen",
    log_level = "warning: %s: 'log_level' is no setting of a script: give the flag --log-level",
  } do
    it("finds a global that is no setting: " .. name, function()
      local path = script.write(GOOD .. name .. " = '1'")
      local output, status = process.run { "lunarch", "check", path, "--offline" }
      assert.truthy(output:find(sentence:format(path), 1, true), output)
      assert.equal(name == "priority" and 2 or 0, status)
      assert.is_nil(check("election = '/x' local priority function do_work() end", "--offline"):find "priority")
    end)
  end

  it("marks its lines with their priority where the journal reads them", function()
    local path = script.write(GOOD .. "intervall = 1 function do_wrok() end")
    local words = tree.quote { tree.program, "check", path, "--name", "A", "--offline" }
    local file = tree.folder() .. "/journal"
    os.execute(("sh -c %s"):format(tree.quote {
      (": > %s; JOURNAL_STREAM=$(stat -c %%d:%%i %s) %s >> %s 2>&1"):format(file, file, words, file) }))
    local text = tree.read(file)
    assert.truthy(text:find("<6>A stands in /check/a: ", 1, true), text)
    assert.truthy(text:find("<3>error: ", 1, true) and text:find("<4>warning: ", 1, true), text)
    for line in text:gmatch "[^\n]+" do
      assert.truthy(line:find "^<%d>", line)
    end
  end)

  it("answers programs in JSON", function()
    local output, status = check_online(GOOD .. "function do_wrok() end", "--json")
    local answer = cjson.decode(output)
    assert.equal(2, status)
    assert.is_false(answer.ok)
    assert.equal("/check/a", answer.candidates[1].election)
    assert.equal(server.endpoint, answer.endpoints[1].endpoint)
    assert.equal("error", answer.problems[1].level)
  end)
end)
