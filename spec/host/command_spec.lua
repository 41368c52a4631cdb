-- limit: 120 s
-- The command line: the commands, what is made of their table, and how a start that cannot succeed ends.
local json = require "cjson"
local process = require "support.process"
local script = require "host.script"
local tree = require "support.tree"
local uv = require "luv"

local function run(...)
  local output, status = process.run { "lunarch", ... }
  return output, status
end

describe("lunarch", function()
  after_each(process.end_all)

  it("answers what people try first", function()
    local version = run "version"
    assert.truthy(version:find "^lunarch %d+%.%d+%.%d+\n$")
    for _, word in ipairs { "-v", "-V", "--version" } do
      assert.same({ version, 0 }, { run(word) }, word)
    end
    local help = run "help"
    assert.truthy(help:find "^usage: lunarch COMMAND")
    for _, word in ipairs { "-h", "--help" } do
      assert.same({ help, 0 }, { run(word) }, word)
    end
    assert.same({ help, 2 }, { run() })
    assert.truthy(run("help", "run"):find "%-%-election NAME")
    assert.equal(run("help", "run"), run("run", "--help"))
  end)

  it("says which command was probably meant", function()
    for words, expected in pairs {
      [{ "help", "rnu" }] = "there is no command 'rnu': did you mean 'run'?",
      [{ "simm" }] = "there is no script and no command 'simm': did you mean 'sim'?",
      [{ "obtain" }] = "there is no script and no command 'obtain'\n",
    } do
      local output, status = run(table.unpack(words))
      assert.truthy(output:find(expected, 1, true), output)
      assert.equal(2, status)
    end
  end)

  -- A command is a row of the table, its file and its spec: all else comes from the table.
  it("has every command in its help, manual page and completion", function()
    local rows = tree.read(tree.root .. "/lua/lunarch/cli/init.lua"):match "local COMMANDS = (%b{})"
    local help, manual = run "help", run("help", "--manual", tree.root .. "/src/host/lunarch.1.in")
    local n = 0
    for name in rows:gmatch '"([^"]+)"' do
      n = n + 1
      assert.truthy(help:find("\n   " .. name .. " ", 1, true), name)
      assert.truthy(manual:find("\n.B lunarch " .. name .. "\n", 1, true), name)
      assert.truthy(manual:find("\n.SS lunarch " .. name .. "\n", 1, true), name)
      for _, shell in ipairs { "bash", "zsh", "fish" } do
        assert.truthy(run("help", "--completion", shell):find(name, 1, true), shell .. ": " .. name)
      end
      local output, status = run(name, "--help")
      assert.equal(0, status)
      assert.truthy(output:find("usage: lunarch " .. name, 1, true), output)
      assert.truthy(uv.fs_stat(tree.root .. "/lua/lunarch/cli/" .. name .. ".lua")
        or uv.fs_stat(tree.root .. "/lua/lunarch/cli/" .. name .. "/init.lua"))
    end
    assert.truthy(n >= 4)
    assert.falsy(manual:find "@%u+@" or manual:find("dev%-name", 1, true))
  end)

  it("has a manual page without warnings, and a completion that bash understands", function()
    local page = tree.folder() .. "/lunarch.1"
    local file = assert(io.open(page, "w"))
    file:write((run("help", "--manual", tree.root .. "/src/host/lunarch.1.in")))
    file:close()
    if os.execute "command -v man >/dev/null" then
      local output = process.run { "sh", "-c", "man -l --warnings '" .. page .. "' 2>&1 >/dev/null" }
      assert.equal("", output)
    end
    local completion = tree.folder() .. "/lunarch"
    file = assert(io.open(completion, "w"))
    file:write((run("help", "--completion", "bash")))
    file:close()
    local output, status = process.run {
      "bash", "-c", ". '" .. completion .. "'; COMP_WORDS=(lunarch run --elec) COMP_CWORD=2; _lunarch; echo $COMPREPLY",
    }
    assert.same({ "--election\n", 0 }, { output, status })
  end)

  describe("ends", function()
    local function candidate(text)
      return script.write("function do_work() end " .. text)
    end

    local folder = tree.folder()

    -- What is wrong, and cannot be mended by trying again.
    local HOPELESS = {
      { "which script", "run" },
      { "nowhere.lua: No such file", "run", "nowhere.lua" },
      { "is a directory", "run", folder },
      { "bad.lua:1: ", "run", script.write("x = = 1", "bad.lua") },
      { "unknown option '%-%-tll'", "run", "x.lua", "--tll", "3" },
      { "%-%-ttl: 'x' is not a whole number", "run", "x.lua", "--ttl", "x" },
      { "'election' must be a name that does not end", "run", script.write "", "--election", "/a/" },
      { "there is no handler 'on_electd'", "run", candidate "function on_electd() end", "--election", "/e" },
      { "'ttl' must be a whole number", "run", candidate "ttl = 'ten'", "--election", "/e" },
      { "'do_work' must be a function", "run", script.write "do_work = 1", "--election", "/e" },
      { "no election to stand in", "run", candidate "" },
      { "'ttl' must be", "run", script.write "candidate { election = '/e', do_work = print, ttl = 'x' }" },
      { "'election' is missing", "run", script.write "candidate { do_work = print }" },
      { "unknown option 'on_electd'", "run", script.write "candidate { election = '/e', on_electd = print }" },
      { "more than one candidate", "run", script.write [[
        for i = 1, 2 do candidate { name = "N" .. i, do_work = print } end]], "--election", "/e" },
      { "endpoint", "run", candidate "", "--election", "/e", "--endpoints", "nonsense" },
      { "endpoint", "run", candidate "endpoints = 'nonsense'", "--election", "/e" },
      { "endpoint", "run", script.write "assert(lunarch.connect())", "--endpoints", "nonsense" },
      { "endpoint", "run", script.write "assert(lunarch.connect { endpoints = 'nonsense' })" },
      { "either %-%-dev or %-%-endpoints", "run", "x.lua", "--dev", "--endpoints", "a:1" },
      { "ETCD=/nowhere/etcd is not a program", "run", script.write "", "--dev", env = { ETCD = "/nowhere/etcd" } },
      { "is not a name", "run", script.write "", "--dev=a/b" },
      { "a password on the command line", "run", "x.lua", "--user", "alice:secret" },
      { "cacert /nowhere", "run", candidate "", "--election", "/e", "--cacert", "/nowhere" },
      { "password_file /nowhere", "run", candidate "", "--election", "/e", "--user", "a",
        "--password-file", "/nowhere" },
      { "LUNARCH_ENDPOINTS: ", "run", candidate "", "--election", "/e", env = { LUNARCH_ENDPOINTS = "nonsense" } },
    }

    -- What another try may find mended.
    local HOPEFUL = {
      { "the database is away", "run", script.write "error 'the database is away'" },
      { "script.lua:1: ", "run", script.write "local x = nil; x.y = 1" },
      { "does not start", "run", script.write "", "--dev", env = { ETCD = "/bin/false" } },
    }

    local function ends(case, expected)
      local command = { "lunarch", table.unpack(case, 2) }
      command.env = { LUNARCH_ENDPOINTS = false, ETCDCTL_ENDPOINTS = false, XDG_RUNTIME_DIR = folder }
      assert(uv.fs_chmod(folder, 448))
      for name, value in pairs(case.env or {}) do command.env[name] = value end
      local output, status, signal = process.run(command)
      assert.truthy(output:find(case[1]), output)
      assert.same({ expected, 0 }, { status, signal }, output)
      command[#command + 1] = "--log=json"
      for line in process.run(command):gmatch "[^\n]+" do
        assert.truthy(pcall(json.decode, line), line)
      end
    end

    for _, case in ipairs(HOPELESS) do
      it("with status 2, and a line of JSON if asked, for: " .. case[1], function() ends(case, 2) end)
    end

    for _, case in ipairs(HOPEFUL) do
      it("with status 1 for: " .. case[1], function() ends(case, 1) end)
    end

    it("with status 2 where a part of it is not installed", function()
      local prefix = tree.folder()
      local output, status = process.run { "cmake", "--install", tree.build, "--prefix", prefix }
      assert.equal(0, status, output)
      assert(os.execute("rm " .. prefix .. "/lib/lua/5.4/lunarch/core.so"))
      output, status = process.run {
        "env", "-u", "LUA_PATH_5_4", "-u", "LUA_CPATH_5_4", prefix .. "/bin/lunarch", script.write "",
      }
      assert.truthy(output:find "cannot load the module 'lunarch'", output)
      assert.equal(2, status)
      output, status = process.run {
        "env", "-u", "LUA_PATH_5_4", "-u", "LUA_CPATH_5_4", prefix .. "/bin/lunarch", "help", "run",
      }
      assert.equal(0, status, output)
    end)
  end)

  it("is installed with a unit that names it, and that systemd understands", function()
    local prefix = tree.folder()
    local output, status = process.run { "cmake", "--install", tree.build, "--prefix", prefix }
    assert.equal(0, status, output)
    local unit = prefix .. "/share/doc/lunarch/examples/systemd/lunarch@.service"
    assert.truthy(tree.read(unit):find("\nExecStart=" .. prefix .. "/bin/lunarch run /etc/lunarch/%i.lua", 1, true))
    -- The status of what comes before ExecStart does not keep systemd from starting the unit again and again.
    assert.truthy(tree.read(unit):find("\nExecStartPre=-" .. prefix .. "/bin/lunarch check ", 1, true))
    assert.truthy(tree.read(unit):find("\nRestartPreventExitStatus=2\n", 1, true))
    -- A bare root has no /bin/kill, which systemd-analyze complains of there.
    for program in tree.read(unit):gmatch "\nExec%w+=%-?(/%S+)" do
      assert.truthy(program == "/bin/sh" or program == prefix .. "/bin/lunarch", program)
    end
    if not os.execute "command -v systemd-analyze >/dev/null" then return pending "systemd-analyze is not installed" end
    output, status = process.run { "systemd-analyze", "verify", unit, env = { MANPATH = prefix .. "/share/man" } }
    assert.same({ "", 0 }, { output, status })
  end)
end)

describe("a script under lunarch", function()
  after_each(process.end_all)

  -- A folder with a script and modules beside it.
  local function folder_with(files)
    local folder = tree.folder()
    for name, text in pairs(files) do
      local file = assert(io.open(folder .. "/" .. name, "w"))
      file:write(text)
      file:close()
    end
    return folder
  end

  it("finds modules beside itself, whatever the working directory is and becomes", function()
    local folder = folder_with {
      ["main.lua"] = [[
        print(require "helper")
        assert(require "luv".chdir "/tmp")
        print(require "late")
        lunarch.spawn(function() print "spawned" end)
        local client = lunarch.connect { endpoints = "127.0.0.1:1" }
        print(select(3, client:get("/x", nil, 0.1)))
        client:close()
        lunarch.candidate { election = "/e", do_work = print, client = client }
      ]],
      ["helper.lua"] = "return 'helper'", ["late.lua"] = "return 'late'",
    }
    -- A folder of this name must not stand in the way of ours.
    assert(uv.fs_mkdir(folder .. "/lunarch", 493))
    assert(uv.fs_mkdir(folder .. "/lunarch/internal", 493))
    assert(io.open(folder .. "/lunarch/internal/args.lua", "w")):write("error 'not ours'"):close()
    assert(io.open(folder .. "/lunarch/init.lua", "w")):write("error 'not ours'"):close()
    for cwd, path in pairs { ["/"] = folder .. "/main.lua", [folder] = "main.lua", [folder .. "/.."] =
      folder:match "[^/]+$" .. "/main.lua" } do
      local output, status = process.run {
        "lunarch", path, cwd = cwd, env = { LUA_PATH_5_4 = false, LUA_PATH = false },
      }
      assert.truthy(output:find "^helper\tfound at" or output:find "^helper\t[^\n]+\nlate\t[^\n]+\n", output)
      assert.truthy(output:find "\nspawned\n" or output:find "spawned", output)
      assert.equal(0, status, output)
    end
  end)

  local STRICT = [[
    setmetatable(_G, {
      __newindex = function(t, name, value)
        local info = debug.getinfo(2, "S")
        if info and info.what ~= "main" and info.what ~= "C" then error("assign to undeclared " .. name, 2) end
        rawset(t, name, value)
      end,
      __index = function(_, name) error("undeclared variable " .. tostring(name), 2) end,
    })
  ]]

  it("may make globals strict", function()
    local output, status = script.run(STRICT .. [[
      lunarch.spawn(function() lunarch.sleep(0.01) print "spawned" end)
      local client = lunarch.connect { endpoints = "127.0.0.1:1" }
      client:close()
    ]])
    assert.same({ "spawned\n", 0 }, { output, status })
    local child = script.start(STRICT .. [[
      election = "/e"
      function do_work() end
    ]], { "--endpoints", "127.0.0.1:1", "--name", "A" })
    child:wait_line "no session with"
    child:signal "sigterm"
    assert.equal(0, (child:wait_exit()))
  end)

  it("is told when the environment wins over its own endpoints", function()
    for name, expected in pairs { ETCDCTL_ENDPOINTS = "127.0.0.1:2", LUNARCH_ENDPOINTS = "127.0.0.1:3" } do
      local env = { LUNARCH_ENDPOINTS = false, ETCDCTL_ENDPOINTS = false }
      env[name] = expected
      local child = script.start([[
        election, endpoints = "/e", { "127.0.0.1:1" }
        function do_work() end
      ]], { env = env })
      child:wait_line(("WARN .*etcd at %s, as %s in the environment says: the script's own endpoints %%(127.0.0.1:1%%)")
        :format(expected, name))
      child:wait_line("no session with " .. expected)
      child:kill9()
    end
  end)

  it("is given no hint where etcd may be when its place was given", function()
    local child = script.start("election = '/e' function do_work() end", { "--endpoints", "127.0.0.1:1" })
    assert.falsy(child:wait_line "no session with".text:find("--dev", 1, true))
    child:kill9()
    child = script.start "endpoints, election = '127.0.0.1:1', '/e' function do_work() end"
    assert.falsy(child:wait_line "no session with".text:find("--dev", 1, true))
  end)

  it("may come from stdin", function()
    local output, status = process.run { "sh", "-c", "echo 'print(1, ...)' | \"$0\" - two", tree.program }
    assert.same({ "1\ttwo\n", 0 }, { output, status })
  end)
end)
