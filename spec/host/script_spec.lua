-- limit: 180 s
-- `lunarch run SCRIPT` against a real etcd: candidates, ordinary programs, and everything that is wrong with them.
local etcd = require "support.etcd"
local json = require "cjson"
local process = require "support.process"
local script = require "host.script"
local tree = require "support.tree"
local wait = require "support.wait"

describe("lunarch run", function()
  local server, flags
  local n = 0

  setup(function() server = etcd.start() end)
  teardown(function() server:stop() end)
  after_each(process.end_all)

  -- An election of its own for each spec.
  before_each(function()
    n = n + 1
    flags = { "--endpoints", server.endpoint, "--election", "/spec/" .. n, "--name", "A", "--ttl", "10" }
  end)

  local function with(...)
    local all = table.move(flags, 1, #flags, 1, {})
    return table.move({ ... }, 1, select("#", ...), #all + 1, all)
  end

  local HANDLERS = [[
    function on_elected(term) print("on_elected " .. math.type(term.token)) end
    function do_work() print "do_work" return 0.05 end
    function on_lost(_, reason) print("on_lost " .. reason) end
  ]]

  local function said(child)
    local texts = {}
    for _, line in ipairs(child:lines()) do
      if line.from == "out" then texts[#texts + 1] = line.text end
    end
    return texts
  end

  local function key_of(election)
    return (server:etcdctl("get", "--prefix", "--keys-only", election .. "/"):match "%S+")
  end

  describe("a candidate", function()
    it("is elected, works, is told to stop and ends with status 0", function()
      local child = script.start(HANDLERS, flags)
      child:wait_line "do_work"
      child:wait_line "do_work"
      child:signal "sigterm"
      assert.equal(0, child:wait_exit())
      local lines = said(child)
      assert.equal("on_elected integer", lines[1])
      assert.equal("on_lost stopping", lines[#lines])
      for i = 2, #lines - 1 do assert.equal("do_work", lines[i]) end
    end)

    it("leaves nothing in etcd when it is stopped", function()
      local child = script.start(HANDLERS, flags)
      child:wait_line "do_work"
      assert.truthy(key_of("/spec/" .. n))
      child:signal "sigint"
      assert.equal(0, child:wait_exit())
      assert.is_nil(key_of("/spec/" .. n))
      assert.equal("", (server:etcdctl("lease", "list"):gsub("found 0 leases%s*", "")))
    end)

    it("is told when its key is deleted, and stands again", function()
      local child = script.start(HANDLERS, flags)
      child:wait_line "do_work"
      server:etcdctl("del", key_of("/spec/" .. n))
      child:wait_line "^on_lost key_deleted"
      child:wait_line "^on_elected"
    end)

    it("is told when its lease is revoked, and takes another", function()
      local child = script.start(HANDLERS, flags)
      child:wait_line "do_work"
      server:etcdctl("lease", "revoke", (key_of("/spec/" .. n):match "[^/]+$"))
      -- Whichever is noticed first: the end of the lease, or that of the key.
      local lost = child:wait_line "^on_lost"
      assert.truthy(lost.text:find "revoked" or lost.text:find "key_deleted")
      child:wait_line "^on_elected"
    end)

    it("hands over to the next one, who then leads", function()
      -- The instants are the scripts' own: who watches two processes may hear of them in the wrong order.
      local timed = [[
        function on_elected() print(("elected at %.6f"):format(lunarch.now())) end
        function do_work() print "do_work" return 0.05 end
        function on_lost() print(("lost at %.6f"):format(lunarch.now())) end
      ]]
      local first = script.start(timed, flags)
      first:wait_line "do_work"
      local second = script.start(timed .. [[
        function on_leader(leader) print("leader " .. (leader.value or "nobody") .. " " .. tostring(leader.is_me)) end
      ]], with("--name", "B"))
      second:wait_line "^leader A false"
      first:signal "sigterm"
      local lost = first:wait_line "^lost at"
      local elected = second:wait_line "^elected at"
      assert.truthy(tonumber(lost.text:match "[%d.]+") <= tonumber(elected.text:match "[%d.]+"))
      wait.eventually(function() return second:find "^leader B true" end)
    end)

    it("steps down when a handler fails, so that another takes over", function()
      local first = script.start(HANDLERS .. [[
        local n = 0
        function do_work()
          n = n + 1
          if n == 3 then error "the disk is full" end
          return 0.2
        end
      ]], flags)
      first:wait_line "^on_elected"
      local second = script.start(HANDLERS, with("--name", "B"))
      first:wait_line "ERROR A: do_work failed: .*script.lua:%d+: the disk is full"
      first:wait_line "^on_lost error"
      second:wait_line "^on_elected"
    end)

    it("names a setting or handler among its globals that is none, without a traceback of us", function()
      for global, expected in pairs {
        ["ttl = 'ten'"] = "script.lua: 'ttl' must be a whole number of seconds, 1 or more, not the string \"ten\"",
        ["election = 12"] = "script.lua: 'election' must be a string",
        ["on_elected = 5"] = "script.lua: 'on_elected' must be a function, not 5",
      } do
        local output, status = script.run("election = '/e'\n" .. global .. "\nfunction do_work() end")
        assert.equal(2, status)
        assert.truthy(output:find(expected, 1, true), output)
        assert.is_nil(output:find("traceback", 1, true), output)
      end
    end)

    it("shows a traceback of the script and not of us", function()
      local child = script.start([[
        local function deep() error "here" end
        function do_work() deep() end
      ]], flags)
      child:wait_line "in upvalue 'deep'"
      child:wait_line "standing again in"
      assert.falsy(child:output():find("candidate.lua", 1, true))
    end)

    it("resigns when do_work returns false", function()
      local child = script.start(HANDLERS .. "function do_work() return false end", flags)
      child:wait_line "^on_lost resigned"
      child:wait_line "standing again in"
    end)

    it("has its waits in do_work interrupted", function()
      local child = script.start(HANDLERS .. [[
        function do_work()
          print "waiting"
          local ok, err = pcall(lunarch.sleep, 100)
          print(ok, err, err.code, err.reason)
        end
      ]], flags)
      child:wait_line "waiting"
      child:signal "sigterm"
      child:wait_line "^false\tthe term is over: stopping\tlost\tstopping"
      child:wait_line "^on_lost stopping"
    end)

    it("does not work after it was frozen beyond its TTL", function()
      local child = script.start(HANDLERS .. [[
        function do_work(term)
          print("do_work " .. tostring(term:remaining() > 0))
          lunarch.sleep(0.01)
          print("went on " .. tostring(term:remaining() > 0))
          return 0
        end
      ]], with("--ttl", "2"))
      child:wait_line "went on"
      child:freeze()
      wait.pass(3.5)
      local before = #child:lines()
      child:thaw()
      child:wait_line "^on_lost"
      local lines = child:lines()
      for i = before + 1, #lines do
        assert.falsy(lines[i].text:find "false")
        if lines[i].text:find "^on_lost" then break end
        assert.falsy(lines[i].text:find "^do_work")
      end
    end)

    it("gives settings as globals, which flags win over", function()
      local child = script.start([[
        election, name, ttl = "/spec/globals", "G", 3
      ]] .. HANDLERS, { "--endpoints", server.endpoint, "--name", "F" })
      child:wait_line "do_work"
      local output = server:etcdctl("get", "--prefix", "/spec/globals/")
      assert.equal("F", output:match "\n(%S+)%s*$")
      local lease = server:etcdctl("lease", "timetolive", (output:match "/spec/globals/(%x+)"))
      assert.truthy(lease:find "granted with TTL%(3s%)")
    end)

    it("may be one of several in a script", function()
      local child = script.start(([[
        for i = 1, 2 do
          candidate { election = "/spec/several/" .. i, name = "N" .. i, on_elected = function() log.info "here" end }
        end
      ]]), { "--endpoints", server.endpoint })
      child:wait_line "INFO  N%d: here"
      child:wait_line "INFO  N%d: here"
      assert.truthy(child:find "N1: here" and child:find "N2: here")
      child:signal "sigterm"
      assert.equal(0, child:wait_exit())
    end)

    it("calls do_standby while another leads", function()
      local first = script.start(HANDLERS, flags)
      first:wait_line "do_work"
      local second = script.start(HANDLERS .. [[
        function do_standby(leader) print("standby for " .. leader.value) return 0.1 end
      ]], with("--name", "B"))
      second:wait_line "standby for A"
      second:wait_line "standby for A"
      first:signal "sigterm"
      second:wait_line "^on_elected"
      second:wait_line "^do_work"
      second:signal "sigterm"
      second:wait_exit()
      local elected
      for _, line in ipairs(second:lines()) do
        elected = elected or line.text:find "^on_elected"
        if elected then assert.falsy(line.text:find "^standby") end
      end
    end)
  end)

  describe("without etcd", function()
    it("says what it tries, goes on trying, and is elected once etcd is there", function()
      local late = etcd.start()
      late:kill9()
      local child = script.start(HANDLERS, { "--endpoints", late.endpoint, "--election", "/e", "--name", "A" })
      child:wait_line("WARN  A: no session with " .. late.endpoint:gsub("%.", "%%.")
        .. ": .* refused%); trying again in")
      late:restart()
      child:wait_line "INFO  A: etcd answers again"
      child:wait_line "^on_elected"
      late:stop()
    end)
  end)

  describe("an ordinary program", function()
    it("that waits for an etcd that is not there is told so", function()
      local child = script.start([[
        print(lunarch.connect():get "/a")
      ]], { "--endpoints", "127.0.0.1:1" })
      child:wait_line "WARN  no etcd answers at 127.0.0.1:1: .*refused.*; still waiting for it"
      child:signal "sigint"
      assert.equal(130, (child:wait_exit()))
    end)

    it("that has no need of etcd is told nothing", function()
      local output = script.run([[
        local began_at, client = lunarch.now(), lunarch.connect()
        lunarch.sleep(0.1)
        print(lunarch.now() - began_at)
      ]], { "--endpoints", "127.0.0.1:1" })
      -- On a machine that stands still it may have waited for as long as one that is told.
      local seconds = tonumber(output:match "([%d.]+)\n$")
      assert.truthy(seconds and (seconds > 2 or output:find "^[%d.]+\n$"), output)
    end)

    it("finds what --endpoints says before what it says itself", function()
      local child = script.start([[
        endpoints = "127.0.0.1:1"
        election = "/spec/endpoints"
        function on_elected() print "on_elected" end
      ]], { "--endpoints", server.endpoint })
      child:wait_line "on_elected"
    end)

    it("finds what it says itself where nobody else says anything", function()
      local child = script.start(([[
        endpoints = { "%s" }
        election = "/spec/own-endpoints"
        function on_elected() print "on_elected" end
      ]]):format(server.endpoint), { env = { LUNARCH_ENDPOINTS = false, ETCDCTL_ENDPOINTS = false } })
      child:wait_line "on_elected"
    end)

    -- A flag wins over the environment, that over the script; a candidate that says so has a prefix of its own.
    it("stands below the prefix that a flag, the environment, its globals or its candidate names", function()
      local nowhere = { LUNARCH_PREFIX = false }
      local stands = [[
        election = "/spec/prefix"
        prefix = "/script"
        function on_elected(term) print(term.election.session.client.prefix, term.key) end
      ]]
      local own = [[
        candidate { election = "/spec/prefix", prefix = "/own", endpoints = "%s", on_elected = function(term)
          print(term.election.session.client.prefix, term.key)
        end }
      ]]
      for prefix, case in pairs {
        ["/flag"] = { stands, { "--endpoints", server.endpoint, "--prefix", "/flag",
          env = { LUNARCH_PREFIX = "/x" } } },
        ["/env"] = { stands, { "--endpoints", server.endpoint, env = { LUNARCH_PREFIX = "/env" } } },
        ["/script"] = { stands, { "--endpoints", server.endpoint, env = nowhere } },
        ["/own"] = { own:format(server.endpoint), { "--endpoints", server.endpoint, env = nowhere } },
      } do
        local child = script.start(case[1], case[2])
        child:wait_line(prefix .. "\t/spec/prefix/")
        assert.matches("^" .. prefix .. "/spec/prefix/%x+$", key_of(prefix .. "/spec/prefix"))
        child:signal "sigterm"
        assert.equal(0, child:wait_exit())
      end
    end)

    it("ends when it and everything it spawned have ended", function()
      local output, status = script.run([[
        lunarch.spawn(function() lunarch.sleep(0.3) print "spawned" end)
        print "main"
      ]])
      assert.equal("main\nspawned\n", output)
      assert.equal(0, status)
    end)

    it("finds its arguments, and itself, in arg", function()
      local path = script.write "print(arg[0] == ..., arg[1], arg[2], select(3, ...))"
      local output = process.run { "lunarch", path, path, "two", "--", "--three" }
      assert.equal("true\t" .. path .. "\ttwo\t--three\n", output)
    end)

    it("connects to where the flags say", function()
      local output = script.run('print(assert(lunarch.connect()):put("/a", "b"))', { "--endpoints", server.endpoint })
      assert.truthy(output:find "^true")
    end)

    it("connects to where the environment says", function()
      local output = script.run('print(lunarch.connect().endpoints[1])',
        { env = { ETCDCTL_ENDPOINTS = "10.0.0.1:1", LUNARCH_ENDPOINTS = false } })
      assert.equal("10.0.0.1:1\n", output)
    end)

    it("that fails shows where, and ends with status 1", function()
      local output, status = script.run "local x = nil\nprint(x.y)"
      assert.equal(1, status)
      assert.truthy(output:find "ERROR [^\n]*script.lua:2: attempt to index a nil value")
      assert.falsy(output:find("cli/run.lua", 1, true))
    end)

    it("that is refused by a call of ours is shown its own lines, and none of us", function()
      local output, status = script.run("local function f() lunarch.connect(5) end\nf()")
      assert.truthy(output:find "ERROR [^\n]*script.lua:1: lunarch.connect: 'options' must be a table, not 5\n", output)
      assert.truthy(output:find "script.lua:2: in ", output)
      assert.falsy(output:find("args.lua", 1, true) or output:find("client.lua", 1, true), output)
      assert.equal(1, status)
    end)

    it("runs where stdin, stdout and stderr are closed", function()
      local path = script.write "assert(lunarch.connect():put('/spec/closed', '1')) print 'unheard'"
      local _, status, signal = process.run {
        "sh", "-c", "exec \"$@\" <&- >&- 2>&-", "-", tree.program, path, "--endpoints", server.endpoint,
      }
      assert.same({ 0, 0 }, { status, signal })
      assert.equal("1\n", server:etcdctl("get", "--print-value-only", "/spec/closed"))
    end)

    it("of which a spawned task fails ends with status 1, and says so once", function()
      local output, status = script.run 'lunarch.spawn(function() error "in the task" end)'
      assert.equal(1, status)
      assert.truthy(output:find "script.lua:1: in the task")
    end)

    it("gives its locks up when it is interrupted", function()
      local child = script.start([[
        local session = lunarch.connect():session()
        session:mutex("/spec/interrupted"):with(function()
          print "locked"
          lunarch.sleep(100)
        end)
      ]], { "--endpoints", server.endpoint })
      child:wait_line "locked"
      child:signal "sigint"
      assert.equal(130, child:wait_exit())
      assert.is_nil(key_of "/spec/interrupted")
    end)
  end)

  describe("refuses", function()
    local function refused(status, pattern, words)
      local output, got = process.run(words)
      assert.truthy(output:find(pattern), output)
      assert.equal(status, got)
    end

    it("a script that is not there", function()
      refused(2, "cannot open nowhere.lua: No such file", { "lunarch", "run", "nowhere.lua" })
    end)

    it("a script with a syntax error, with file and line", function()
      refused(2, "bad.lua:2: unexpected symbol near '='",
        { "lunarch", script.write("local a = 1\nx = = 2", "bad.lua") })
    end)

    it("no script at all", function()
      refused(2, "which script", { "lunarch", "run" })
      refused(2, "usage: lunarch", { "lunarch" })
    end)

    it("unknown flags and wrong values, with the flag named", function()
      local path = script.write "print 'ran'"
      refused(2, "unknown option '%-%-tll'", { "lunarch", path, "--tll", "3" })
      refused(2, "%-%-ttl: 'soon' is not a whole number", { "lunarch", path, "--ttl", "soon" })
      refused(2, "%-%-ttl: '0' is not a whole number", { "lunarch", path, "--ttl", "0" })
      refused(2, "%-%-grace: '%-1' is not a number", { "lunarch", path, "--grace=-1" })
      refused(2, "%-%-ttl: '%-1' is negative, which no setting can be", { "lunarch", path, "--ttl", "-1" })
      refused(2, "%-1: settings cannot be negative", { "lunarch", path, "-1" })
      refused(2, "^lunarch: unknown option '%-x'\nTry: ", { "lunarch", path, "-x" })
      refused(2, "%-%-log", { "lunarch", path, "--log", "xml" })
      for _, none in ipairs { "", ",", " , " } do
        refused(2, "%-%-endpoints: '" .. none .. "' contains no endpoint", { "lunarch", path, "--endpoints", none })
      end
      refused(2, "%-%-election: 'election' must be a name that does not end", { "lunarch", path, "--election", "/a/" })
      refused(2, "either %-%-dev or %-%-endpoints", { "lunarch", path, "--dev", "--endpoints", "a:1" })
    end)

    it("a misspelt handler, with the name probably meant", function()
      for wrong, right in pairs { on_electd = "on_elected", onLost = "on_lost", do_wrok = "do_work" } do
        refused(2, ("ERROR [^\n]*script.lua:1: there is no handler '%s': did you mean '%s'"):format(wrong, right), {
          "lunarch", script.write(("function %s() end function on_elected() end"):format(wrong)),
          "--election", "/e", "--endpoints", server.endpoint,
        })
      end
    end)

    it("what only fails later elsewhere, at once and without a traceback of us", function()
      for flaw, expected in pairs {
        ["grace = 6"] = "'grace' must be at most half the ttl of 10 s, not 6\n",
        ["election = ('x'):rep(5000)"] = "'election' must be a name of at most 4096 bytes",
        ["name = ('x'):rep(5000)"] = "'name' must be a name of at most 255 bytes",
        ["ttl = 1e9"] = "'ttl' must be at most 86400 seconds, not",
        ["do_work = 5"] = "'do_work' must be a function, not 5\n",
      } do
        local path = script.write("election = '/e' function do_work() end " .. flaw)
        refused(2, "ERROR [^\n]*" .. expected, { "lunarch", path, "--endpoints", server.endpoint })
      end
      local output = script.run("election = '/e' do_work = 5", { "--endpoints", server.endpoint })
      assert.truthy(output:find("'do_work' must be a function, not 5\n", 1, true), output)
      assert.falsy(output:find "traceback", output)
    end)

    it("handlers without an election", function()
      refused(2, "declares do_work, but no election to stand in", { "lunarch", script.write "function do_work() end" })
    end)

    it("a candidate without a name of an election, at the line of the script", function()
      refused(2, "script.lua:2: lunarch.candidate: 'election' is missing",
        { "lunarch", script.write "\ncandidate { on_elected = print }" })
    end)

    it("endpoints that are none", function()
      local path = script.write "function do_work() end"
      for _, endpoint in ipairs { "ftp://127.0.0.1:2379", "nonsense", "127.0.0.1:port", "unix://x", "unix:///" } do
        refused(2, "script.lua: %-%-endpoints: endpoint [^\n]*" .. endpoint:gsub("%p", "%%%0"),
          { "lunarch", path, "--election", "/e", "--endpoints", endpoint })
      end
      refused(2, "script.lua:1: %-%-endpoints: endpoint",
        { "lunarch", script.write "assert(lunarch.connect())", "--endpoints", "nonsense" })
    end)
  end)

  it("warns of a setting that is misspelt", function()
    local child = script.start("intervall = 3\n" .. HANDLERS, flags)
    child:wait_line "WARN .*there is no setting 'intervall': did you mean 'interval'%?"
  end)

  it("warns of an election in which nobody stands", function()
    local output, status = script.run("election = '/e'", { "--endpoints", server.endpoint })
    assert.truthy(output:find "WARN .*script.lua names an election, but declares neither", output)
    assert.equal(0, status)
  end)

  it("says what an error without a message was", function()
    for raised, expected in pairs {
      ["{ code = 1 }"] = "an error object that is a table, without a message",
      ["nil"] = "an error object that is nothing, without a message",
      ["setmetatable({}, { __tostring = error })"] = "an error object whose __tostring fails",
    } do
      local output, status = script.run("error(" .. raised .. ")", { "--endpoints", server.endpoint })
      assert.truthy(output:find(expected, 1, true), output)
      assert.falsy(output:find("task.lua", 1, true), output)
      assert.equal(1, status)
    end
  end)

  it("gives up its places when it ends by os.exit, wherever that is", function()
    local texts = {
      "function do_work() os.exit(3) end",
      "function do_work() lunarch.spawn(os.exit, 3) lunarch.sleep(9) end",
      "function do_work() require 'luv'.new_timer():start(1, 0, function() os.exit(3) end) lunarch.sleep(9) end",
      "election = nil  lunarch.connect():session():mutex('/spec/exit/lock'):lock()  os.exit(3)",
    }
    for i, text in ipairs(texts) do
      local output, status, signal = script.run("election = '/spec/exit/" .. i .. "' " .. text,
        { "--endpoints", server.endpoint })
      assert.same({ 3, 0 }, { status, signal }, output)
    end
    assert.is_nil(key_of "/spec/exit")
    -- Here luv would crash.
    local _, status, signal = script.run([[
      local timer = require "luv".new_timer()
      timer:start(5000, 0, print)
      timer:close()
      os.exit(3)]], { "--endpoints", server.endpoint })
    assert.same({ 3, 0 }, { status, signal })
  end)

  it("warns of a handler that does not yield for three TTLs, while it does not", function()
    for _, format in ipairs { "text", "json" } do
      local child = script.start([[
        function do_work()
          print "busy"
          os.execute "exec sleep 100"
          print "returned"
          return 100
        end
      ]], with("--log", format, "--name", "A%d", "--ttl", "1"))
      child:wait_line "busy"
      local warned = child:wait_line "the script has not yielded for 3 s"
      assert.is_nil(child:find "returned")
      if format == "json" then
        assert.equal("A%d", json.decode(warned.text).candidate)
      else
        assert.truthy(warned.text:find "^%d+%-%d+%-%d+T%d+:%d+:%d+%.%d%d%d[+-]%d+ WARN  A%%d: ", warned.text)
      end
      child:kill9()
    end
  end)

  it("writes its log as JSON when asked to", function()
    local child = script.start([[
      function on_elected(term) log.info("token %d, \"%s\"", term.token, "two\nlines") error "broken" end
    ]], with("--log", "json"))
    child:wait_line "standing again"
    local levels = {}
    for _, line in ipairs(child:lines()) do
      local entry = json.decode(line.text)
      assert.equal("A", entry.candidate)
      assert.truthy(entry.time:find "^%d+%-%d+%-%d+T%d+:%d+:%d+%.%d+Z$")
      levels[entry.level] = true
    end
    assert.truthy(levels.info and levels.error)
  end)

  it("shows help and version, and needs no gRPC for that", function()
    local output, status = process.run { "lunarch", "--help" }
    assert.equal(0, status)
    assert.truthy(output:find "usage: lunarch")
    for _, later in ipairs { "guard", "work%-timeout" } do
      assert.falsy(output:find(later), later .. " does not work yet and is named")
    end
    assert.truthy(process.run { "lunarch", "--version" }:find "^lunarch %d+%.%d+%.%d+\n$")
    local linked = process.run { "ldd", tree.program }
    assert.falsy(linked:find "grpc")
    assert.truthy(linked:find "liblua5%.4")
  end)

  it("finds its files beside itself when it is installed elsewhere", function()
    local folder = tree.folder()
    local output, status = process.run { "cmake", "--install", tree.build, "--prefix", folder .. "/p" }
    assert.equal(0, status, output)
    local moved = folder .. "/elsewhere"
    assert(os.rename(folder .. "/p", moved))
    local path = script.write 'print(package.searchpath("lunarch", package.path), lunarch.version)'
    output, status = process.run { "env", "-u", "LUA_PATH_5_4", "-u", "LUA_CPATH_5_4", moved .. "/bin/lunarch", path }
    assert.equal(0, status, output)
    assert.truthy(output:find(moved .. "/share/lua/5.4/lunarch/init.lua", 1, true), output)
  end)
end)
