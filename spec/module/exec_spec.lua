-- Commands: what they return, how they are ended, and that nothing is left of them.
local cqueues_is_there, cqueues = pcall(require, "cqueues")
local fixture = require "support.fixture"
local held = require "support.held"
local lunarch = require "lunarch"
local process = require "support.process"
local tree = require "support.tree"
local uv = require "luv"
local wait = require "support.wait"

local function sh(text, options, word)
  local command = { "sh", "-c", text, word }
  for name, value in pairs(options or {}) do
    command[name] = value
  end
  return lunarch.exec(command)
end

-- With job control: dash has none without a terminal.
local function bash(text, options)
  return sh('exec bash -c "$0"', options, "set -m; " .. text)
end

local function gone(pid)
  return not process.is_running(pid) or process.state_of(pid) == "Z"
end

describe("a command", function()
  it("returns its status and what it wrote", function()
    local result = assert(sh("cat; echo oops >&2; exit 3", { stdin = "given" }))
    assert.same({ 3, nil, "given", "oops\n" }, { result.code, result.signal, result.stdout, result.stderr })
    assert.equal(9, assert(sh "kill -9 $$").signal)
    assert.equal("a b\n5 1.5\n", assert(lunarch.exec { "printf", "%s\\n", "a b", "5 1.5" }).stdout)
    assert.equal("7\n", assert(lunarch.exec { "echo", 7 }).stdout)
  end)

  it("is given numbers with a point, where the program has chosen a locale that has commas", function()
    -- As os.setlocale("de_DE.UTF-8"), which need not be there.
    local format = string.format
    string.format = function(...) return (format(...):gsub("(%d)%.(%d)", "%1,%2")) end -- luacheck: ignore 122
    local result = lunarch.exec { "echo", 0.5 }
    string.format = format -- luacheck: ignore 122
    assert.equal("0.5\n", result.stdout)
  end)

  it("runs in the environment and the folder that it is given, and reads nothing else", function()
    local result = assert(sh("echo $A-$HOME-$PATH; pwd; cat", { env = { A = "x", HOME = false }, cwd = "/usr" }))
    assert.equal(("x--%s\n/usr\n"):format(os.getenv "PATH"), result.stdout)
    assert.equal("found\n", assert(lunarch.exec { "tool", env = { PATH = (function()
      local folder = tree.folder()
      local file = assert(io.open(folder .. "/tool", "w"))
      file:write "#!/bin/sh\necho found\n"
      file:close()
      assert(uv.fs_chmod(folder .. "/tool", 493))
      return "/nowhere:" .. folder
    end)() } }).stdout)
  end)

  it("inherits no descriptor, no blocked and no ignored signal, and leads a group of its own", function()
    local file = assert(io.open "/dev/null")
    local text = assert(sh [[grep -E 'SigBlk|SigIgn' /proc/self/status
      ls /proc/$$/fd | tr '\n' ' '
      ps -o pid=,pgid= $$]]).stdout
    file:close()
    assert.truthy(text:find "SigBlk:%s0+\n" and text:find "SigIgn:%s0+\n")
    assert.truthy(text:find "\n0 1 2 ")
    local pid, group = text:match "(%d+)%s+(%d+)\n$"
    assert.equal(pid, group)
  end)

  it("that cannot be started says why", function()
    local function refused(command, code, words)
      local result, message, found = lunarch.exec(command)
      assert.is_nil(result)
      assert.equal(code, found)
      assert.truthy(message:find(words, 1, true), message)
    end
    refused({ "no-such-program" }, "invalid", "no-such-program: not found in PATH")
    refused({ "/nowhere/at/all" }, "invalid", "there is no such file")
    refused({ "/etc/passwd" }, "permission_denied", "no permission to execute it")
    refused({ "/etc" }, "invalid", "/etc: it is a folder")
    refused({ "/" .. ("x"):rep(300) }, "invalid", "File name too long")
    refused({ "true", cwd = "/nowhere" }, "invalid", "cannot go to /nowhere")
    refused({ "true", ("x"):rep(3 * 1024 * 1024) }, "invalid", "true: ")
  end)

  -- A program that has used up its 64 descriptors for `files`, and goes on with `text`.
  local function without_descriptors(text)
    local words = { "sh", "-c", "ulimit -n 64; exec \"$0\" -e \"$1\"", require("support.vm").program }
    words.env = { LD_PRELOAD = os.getenv "LUNARCH_PRELOAD" }
    words[5] = [[
      local lunarch = require "lunarch"
      assert(lunarch.exec { "true" })
      local files = {}
      repeat files[#files + 1] = io.open "/dev/null" until not io.open "/dev/null"
      ]] .. text
    return process.start(words)
  end

  it("for which there is no descriptor says so, and leaves none behind", function()
    local child = without_descriptors [[
      for _ = 1, 20 do
        local result, message, code = lunarch.exec { "true" }
        if not result then print(message, code) end
      end
      files = nil
      collectgarbage() collectgarbage()
      print(assert(lunarch.exec { "true" }).code)]]
    child:wait_line "no descriptor for it: .*ulimit %-n.*unavailable"
    assert.equal("0", child:wait_line "^0$".text)
  end)

  it("needs no more descriptors than there are free for its pipes", function()
    local child = without_descriptors [[
      local n = 0
      for i = #files, #files - 15, -1 do
        local result, message, code = lunarch.exec { "true", stdin = "x" }
        if not result and code ~= "unavailable" then print(message) end
        if result then n = n + 1 end
        files[i]:close()
      end
      print(n > 0)]]
    assert.equal("true", child:wait_line(".").text)
  end)

  it("is misused with an error at the user's line", function()
    local function misused(words, ...)
      local ok, err = pcall(lunarch.exec, ...)
      assert.is_false(ok)
      assert.truthy(tostring(err):find(words, 1, true), err)
    end
    misused("'command' must be a table", "ls")
    misused("'program' is missing", {})
    misused("'argument 1' must be a string", { "ls", {} })
    misused("unknown option 'timeuot'", { "ls", timeuot = 1 })
    misused("'env.A' must be a string", { "ls", env = { A = true } })
    misused("'term' must be a term", { "ls", term = {} })
    misused("'term' must be a term", { "ls", term = { election = print } })
  end)

  it("keeps the last so many bytes, and says how many it dropped", function()
    local result = assert(sh("head -c 3000000 /dev/zero; printf end; echo no >&2", { keep = 1000 }))
    assert.same({ 1000, 2999003 }, { #result.stdout, result.stdout_dropped })
    assert.same({ 3, 0 }, { #result.stderr, result.stderr_dropped })
    assert.equal("end", result.stdout:sub(-3))
  end)

  it("gives its lines as they come, and an error there ends it", function()
    local lines = {}
    assert(sh("echo a; echo b >&2; printf c", { on_line = function(text, from) lines[#lines + 1] = from .. text end }))
    table.sort(lines)
    assert.same({ "stderrb", "stdouta", "stdoutc" }, lines)
    local pid
    local ok, err = pcall(sh, "echo $$; sleep 1000", { on_line = function(text)
      pid = tonumber(text)
      error("enough", 0)
    end })
    assert.same({ false, "enough" }, { ok, err })
    assert.is_true(gone(pid))
  end)

  it("goes on after an on_line that waits, also where all has come meanwhile", function()
    local n = 0
    local function waits()
      local lines = {}
      assert(sh("echo a; echo b; sleep 0.05; echo c", { on_line = function(text)
        lines[#lines + 1] = text
        lunarch.sleep(0.1)
        assert.equal("", assert(sh "true").stdout)
      end }))
      assert.same({ "a", "b", "c" }, lines)
      n = n + 1
    end
    waits()
    lunarch.run(function()
      local tasks = { lunarch.spawn(waits), lunarch.spawn(waits) }
      for _, task in ipairs(tasks) do assert(task:join(wait.LIMIT)) end
    end)
    assert.equal(3, n)
    if not cqueues_is_there then return end
    local cq = cqueues.new()
    cq:wrap(waits)
    assert(cq:loop(wait.LIMIT))
    assert.equal(4, n)
  end)

  it("that writes without end holds nobody up", function()
    local n = 0
    local _, _, code = lunarch.exec { "yes", timeout = 0.3, on_line = function() n = n + 1 end }
    assert.equal("timeout", code)
    assert.is_true(n > 0)
  end)
end)

describe("a command whose time is over", function()
  it("gets SIGTERM, later SIGKILL, and so does its whole group", function()
    local text = "trap 'echo told; exit 4' TERM; echo begun; sleep 1000 & wait"
    local result, message, code, had = sh(text, { timeout = 0.5 })
    assert.is_nil(result)
    assert.equal("timeout", code)
    assert.truthy(message:find("took longer than 0.5 s", 1, true))
    assert.same({ 4, "begun\ntold\n" }, { had.code, had.stdout })
    text = "trap '' TERM; sh -c 'echo $$; while :; do sleep 1; done'"
    result, message, code, had = sh(text, { timeout = 0.5, kill_after = 0.2 })
    assert.is_nil(result)
    assert.truthy(message)
    assert.same({ "timeout", 9 }, { code, had.signal })
    assert.is_true(gone(tonumber(had.stdout)))
  end)

  it("is over never, where the time is for ever", function()
    for _, timeout in ipairs { math.huge, 1e18, 1e10 } do
      assert.equal(0, assert(sh("sleep 0.05", { timeout = timeout })).code)
    end
  end)

  it("is ended though its leader has moved to another group", function()
    local script = "$SIG{TERM} = 'IGNORE'; setpgrp(0, getppid()) or die; print \"moved\\n\"; sleep 1000"
    local _, _, code, had = lunarch.exec { "perl", "-e", script, timeout = 0.5, kill_after = 0.1 }
    assert.same({ "timeout", 9 }, { code, had.signal })
  end)

  it("is ended though it stopped itself", function()
    local _, _, code, had = sh("kill -STOP $$", { timeout = 0.3 })
    assert.same({ "timeout", 15 }, { code, had.signal })
  end)

  it("leaves nothing of its group when it ends by itself, and is not waited for by those who hold its pipes", function()
    local result = assert(sh "sleep 1000 & echo $!")
    assert.is_true(gone(tonumber(result.stdout)))
    local daemon = assert(sh "setsid sh -c 'echo $$; exec sleep 1000' & sleep 0.2")
    local pid = tonumber(daemon.stdout)
    assert.is_false(gone(pid))
    process.kill9(pid)
  end)

  it("leaves nothing of the jobs of a shell with job control either, which have groups of their own", function()
    local result = assert(bash "sleep 1000 & echo $!; ps -o pgid= $!")
    local job_pid, group = result.stdout:match "(%d+)%s+(%d+)"
    assert.equal(job_pid, group)
    assert.is_true(gone(tonumber(job_pid)))
    local job = "(trap 'echo told; exit' TERM; echo begun; while :; do sleep 0.05; done)"
    local _, _, code, had = bash("trap : TERM; " .. job .. " & wait; wait", { timeout = 2 })
    assert.same({ "timeout", "begun\ntold\n" }, { code, had.stdout })
    local pid
    local stubborn = "sh -c 'trap \"\" TERM; echo $$; while :; do sleep 1; done' & wait"
    assert.is_false(pcall(bash, stubborn, { kill_after = 0.2, on_line = function(line)
      pid = tonumber(line)
      error "enough"
    end }))
    assert.is_true(gone(pid))
  end)

  it("is ended though its first process has moved to another session", function()
    local script = [[$| = 1; setpgrp(0, getppid()); require POSIX; POSIX::setsid() > 0 or die; my $pid = fork();
      print "$$ $pid\n" if $pid; sleep 1000]]
    local first, second
    assert.is_false(pcall(lunarch.exec, { "perl", "-e", script, kill_after = 0.1, on_line = function(line)
      first, second = line:match "(%d+) (%d+)"
      error "enough"
    end }))
    assert.is_true(gone(tonumber(first)) and gone(tonumber(second)))
  end)

  it("gets each signal once", function()
    local script = [[$SIG{TERM} = sub { print "told\n"; $n++ }; $| = 1; print "begun\n";
      select(undef, undef, undef, 0.1) while !$n; select(undef, undef, undef, 0.3)]]
    local _, _, code, had = lunarch.exec { "perl", "-e", script, timeout = 2 }
    assert.same({ "timeout", "begun\ntold\n" }, { code, had.stdout })
  end)

  it("takes its end from a task's interruption, which comes after it", function()
    local pid
    lunarch.run(function()
      local task = lunarch.spawn(function()
        sh("trap '' TERM; echo $$; while :; do sleep 1; done",
          { kill_after = 0.3, on_line = function(text) pid = tonumber(text) end })
      end)
      while not pid do lunarch.sleep(0.01) end
      task:interrupt "stop"
      local ok, _, err = task:join(wait.LIMIT)
      assert.same({ false, "stop" }, { ok, err })
      assert.is_true(gone(pid))
    end)
  end)

  it("takes its end from that of the process that began it, whatever ended that", function()
    for _, signal in ipairs { "sigkill", "sigterm" } do
      local child = process.start { "lua", "-e", [[
        local lunarch = require "lunarch"
        lunarch.exec { "sh", "-c", "trap '' TERM; echo $$; while :; do sleep 1; done", kill_after = 0.3,
          on_line = function(text) print(text) io.stdout:flush() end }]] }
      local pid = tonumber(child:wait_line "%d+".text)
      child:signal(signal)
      wait.eventually(function() return gone(pid) end)
    end
  end)

  it("is ended in time though the process that began it stands still", function()
    local child = process.start { "lua", "-e", [[
      local lunarch = require "lunarch"
      lunarch.exec { "sh", "-c", "echo $$; exec sleep 1000", timeout = 1,
        on_line = function(text) print(text) io.stdout:flush() end }]] }
    local pid = tonumber(child:wait_line "%d+".text)
    process.freeze(child.pid)
    wait.eventually(function() return gone(pid) end)
    process.kill9(child.pid)
  end)
end)

describe("a process that watches over a command", function()
  -- Runs `text`; on_line(line, the number of the watching process) hears each line of its output.
  local function watched(text, on_line)
    return sh("cut -d' ' -f 4 /proc/$$/stat; " .. text, { on_line = (function()
      local watching
      return function(line, from)
        if from == "stdout" and watching then on_line(line, watching) end
        if from == "stdout" then watching = watching or tonumber(line) end
      end
    end)() })
  end

  it("takes all of it along when it is killed", function()
    local first, rest
    local text = [[exec bash -c "set -m; (trap '' TERM; sleep 1000) & echo \$\$ \$!; wait"]]
    local result, message, code = watched(text, function(line, watching)
      first, rest = line:match "(%d+) (%d+)"
      process.kill9(watching)
    end)
    assert.same({ nil, "unknown" }, { result, code })
    assert.truthy(message:find "was killed")
    wait.eventually(function() return gone(tonumber(first)) and gone(tonumber(rest)) end)
  end)

  -- The sanitizers' own memory stays.
  if not os.getenv "LUNARCH_PRELOAD" and not os.getenv "LD_PRELOAD" then
    it("holds nothing of this process's memory", function()
      local junk, title = ("x"):rep(64 * 1024 * 1024), nil
      watched("echo; sleep 1000", function(_, watching)
        wait.eventually(function()
          return tonumber(tree.read(("/proc/%d/status"):format(watching)):match "VmRSS:%s+(%d+) kB") < 16 * 1024
        end)
        title = tree.read(("/proc/%d/cmdline"):format(watching)):gsub("%z+$", "")
        process.kill9(watching)
      end)
      assert.same({ 64 * 1024 * 1024, "lunarch-exec" }, { #junk, title })
    end)
  end
end)

describe("a command whose term is over", function()
  local session

  setup(function() session = select(3, fixture.open { ttl = 5 }) end)
  teardown(fixture.close)

  it("is not begun, though it was not over when it was asked for", function()
    local file = tree.folder() .. "/begun"
    local commands = assert(require("lunarch.commands").open())
    local id, token = commands:start {
      argv = { "touch", file }, session = session._core, term_before = 1000, kill_before = 0, kill_after = 1, keep = 0,
    }
    assert.truthy(token)
    wait.eventually(function() return commands:wait(id, 100) end)
    local _, outcome = commands:take(id)
    assert.is_nil(io.open(file))
    local result, _, code, had = require("lunarch.exec").results("exec", { "touch" }, {}, outcome)
    assert.same({ nil, "lost", nil }, { result, code, had })
  end)
end)

describe("many commands", function()
  it("run at once in tasks, beside each other", function()
    local order, folder = {}, tree.folder()
    -- Each ends once all have begun.
    local script = ": > %s/%d; while [ $(ls %s | wc -l) -lt 20 ]; do sleep 0.02; done; exit %d"
    lunarch.run(function()
      for i = 1, 20 do
        lunarch.spawn(function()
          assert.equal(i, assert(sh(script:format(folder, i, folder, i))).code)
          order[#order + 1] = i
        end)
      end
    end)
    assert.equal(20, #order)
  end)

  if cqueues_is_there then
    it("run at once under cqueues", function()
      local cq, n = cqueues.new(), 0
      for i = 1, 5 do
        cq:wrap(function()
          assert.equal(i, assert(sh(("sleep 0.1; exit %d"):format(i))).code)
          n = n + 1
        end)
      end
      assert(cq:loop(wait.LIMIT))
      assert.equal(5, n)
    end)
  end

  it("leave no descriptor, no child and no memory behind", function()
    local function rounds(n)
      for i = 1, n do
        assert(sh("cat", { stdin = "x" }))
        if i % 10 == 0 then sh("sleep 1000", { timeout = 0 }) end
        if i % 10 == 5 then lunarch.exec { "no-such-program" } end
      end
      collectgarbage()
      collectgarbage()
    end
    rounds(10)
    local before, kb = held(), collectgarbage "count"
    rounds(50)
    assert.same(before, held())
    assert.is_true(collectgarbage "count" < kb + 100)
  end)
end)
