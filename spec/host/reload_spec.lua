-- limit: 240 s
-- SIGHUP: the script is loaded anew while its candidate leads.
local etcd = require "support.etcd"
local process = require "support.process"
local script = require "host.script"
local tree = require "support.tree"
local wait = require "support.wait"

local FIRST = [[
  count = (count or 0) + 1
  function on_elected(term) print("on_elected " .. term.token) end
  function do_work() print "first" return 0.02 end
  function on_lost(_, reason) print("on_lost of the first, " .. reason) end
]]

local SECOND = [[
  count = (count or 0) + 1
  function on_elected(term) print "elected again" end
  function do_work() print("second " .. count) return 0.02 end
  function on_lost(_, reason) print("on_lost of the second, " .. reason) end
  function on_reload() print "on_reload" end
]]

describe("SIGHUP", function()
  local server, path, child
  local n = 0

  setup(function() server = etcd.start() end)
  teardown(function() server:stop() end)
  before_each(function() n = n + 1 end)
  after_each(process.end_all)

  local function write(text)
    local file = assert(io.open(path .. ".new", "w"))
    file:write(text)
    file:close()
    assert(os.rename(path .. ".new", path))
  end

  local function start(text, ...)
    path = script.write(text)
    child = process.start {
      "lunarch", "run", path, "--endpoints", server.endpoint, "--name", "A", "--ttl", "5", ...,
    }
  end

  local function lead(text, ...)
    start(text, "--election", "/reload/" .. n, ...)
    child:wait_line "^on_elected"
  end

  local function reload(text)
    if text then write(text) end
    child:signal "sighup"
  end

  local function ends(last)
    child:signal "sigterm"
    child:wait_line(last)
    local status, signal = child:wait_exit()
    assert.same({ 0, 0 }, { status, signal })
    assert.equal("", server:etcdctl("get", "--prefix", "--keys-only", "/reload/" .. n))
  end

  it("has new handlers called from their next call on, and the place is kept; globals keep their values", function()
    lead(FIRST)
    reload(SECOND)
    child:wait_line "the script was loaded anew"
    child:wait_line "^on_reload"
    child:wait_line "^second 2"
    assert.is_nil(child:find "elected again")
    ends "^on_lost of the second, stopping"
    assert.is_nil(child:find "of the first")
  end)

  it("does not touch what runs: the do_work of before ends by itself", function()
    lead(FIRST:gsub("return 0.02", "lunarch.sleep(1) print 'ended'"))
    child:wait_line "^first"
    reload(SECOND)
    child:wait_line "^on_reload"
    child:wait_line "^ended"
    child:wait_line "^second"
    ends "^on_lost of the second"
  end)

  for what, case in pairs {
    ["a syntax error"] = { "function do_work(", "<eof>" },
    ["an error in the middle"] = { "count = 100 leftover = true function do_work() print 'half' end error 'on purpose'",
      "on purpose" },
    ["a misspelt handler"] = { FIRST .. "function on_lots() end", "did you mean 'on_lost'" },
    ["a setting that is wrong"] = { FIRST .. "interval = 'often'", "'interval' must be" },
    ["no candidate any more"] = { "x = 1", "declares no candidate any more" },
  } do
    it("leaves the script as it was, with a word, where it cannot be loaded: " .. what, function()
      lead((FIRST:gsub('print "first"', 'print("first " .. count .. tostring(leftover))')))
      child:wait_line "^first 1nil"
      reload(case[1])
      assert.truthy(child:wait_line(case[2]).text:find " ERROR ")
      child:wait_line "^first 1nil"
      reload(SECOND)
      child:wait_line "^second 2"
      ends "^on_lost of the second"
    end)
  end

  for what, spoil in pairs {
    ["must not be read"] = function(file) os.remove(file) os.execute("mkdir " .. file) end,
    ["is a pipe that gives nothing"] = function(file) os.remove(file) os.execute("mkfifo " .. file) end,
    ["has a line of nonsense at its end"] = function(file)
      local handle = assert(io.open(file, "a"))
      handle:write "\n=\n"
      handle:close()
    end,
  } do
    it("leaves the script as it was where its file " .. what, function()
      lead(FIRST)
      spoil(path)
      reload()
      child:wait_line " ERROR .*the script was not loaded anew, and goes on as it was: "
      os.execute("rm -rf " .. path)
      reload(SECOND)
      child:wait_line "^second 2"
      ends "^on_lost of the second"
    end)
  end

  -- At each moment of a life: the handler that runs goes on to its end, and the next is that of the script by then.
  for moment, text in pairs {
    ["on_elected"] = FIRST:gsub("function on_elected[^\n]*", [[
      function on_elected() print "here"
        while not io.open(FLAG) do lunarch.sleep(0.01) end print "on_elected 1" end]]),
    ["on_lost"] = FIRST:gsub("function on_lost[^\n]*", [[
      function on_lost(_, why) print "here"
        while not io.open(FLAG) do lunarch.sleep(0.01) end print("lost " .. why) end]])
      :gsub("function do_work[^\n]*", "local n = 0 function do_work() n = n + 1 return n < 3 and 0.02 end"),
    ["health"] = FIRST .. [[ health_interval = 0.05 local n = 0
      function health() n = n + 1
        if n == 2 then print "here" while not io.open(FLAG) do lunarch.sleep(0.01) end end return true end]],
  } do
    it("during " .. moment .. " lets it end, and takes effect afterwards", function()
      local flag = tree.folder() .. "/go"
      start("election = '/reload/" .. n .. "'\n" .. text:gsub("FLAG", ("%q"):format(flag)))
      child:wait_line "^here"
      reload("election = '/reload/" .. n .. "'\n" .. SECOND)
      child:wait_line "the script was loaded anew"
      reload()
      io.open(flag, "w"):close()
      child:wait_line "^second"
      ends "^on_lost of the second"
    end)
  end

  it("while it stands behind another counts for the term that follows", function()
    lead(FIRST)
    local first = child
    start("election = '/reload/" .. n .. "' name = 'B'\n" .. FIRST:gsub("first", "behind"), "--name", "B")
    child:wait_line "stands in"
    reload("election = '/reload/" .. n .. "' ttl = 7\n" .. SECOND)
    child:wait_line "the script was loaded anew"
    first:signal "sigterm"
    child:wait_line "^elected again"
    child:wait_line "^second 2"
    ends "^on_lost of the second"
  end)

  it("says so where the file is gone", function()
    lead(FIRST)
    os.remove(path)
    reload()
    child:wait_line " ERROR .*not loaded anew, and goes on as it was: cannot open"
    ends "^on_lost of the first"
  end)

  it("says which changes have to wait for a restart", function()
    start("election = '/reload/" .. n .. "' value = 'a'\n" .. FIRST)
    child:wait_line "^on_elected"
    reload("election = '/reload/other' value = 'b' endpoints = '127.0.0.1:1' grace = 1\n" .. SECOND)
    local line = child:wait_line " WARN .*takes effect after a restart only: ".text
    assert.truthy(line:find("election (/reload/other, was /reload/" .. n .. ")", 1, true), line)
    assert.truthy(line:find("value (b, was a)", 1, true), line)
    assert.truthy(line:find("grace (1, was the default)", 1, true), line)
    child:wait_line "^second"
    ends "^on_lost of the second"
  end)

  it("takes settings that may change: interval, stop_timeout, and what is no longer said", function()
    lead("interval = 100\n" .. FIRST:gsub("return 0.02", ""))
    child:wait_line "^first"
    reload("interval = 0.01\n" .. SECOND:gsub("return 0.02", ""))
    child:wait_line "^on_reload"
    child:kill9()
    n = n + 1
    lead("interval = 0.3\n" .. FIRST:gsub("return 0.02", ""))
    child:wait_line "^first"
    reload("interval = 0.01\n" .. SECOND:gsub("return 0.02", ""))
    for _ = 1, 30 do child:wait_line "^second" end
  end)

  it("begins to observe and to check where a new script wants that", function()
    lead(FIRST)
    reload(SECOND .. [[
      function on_leader(leader) print("leader " .. tostring(leader.value)) end
      function health() print "health" return true end]])
    child:wait_line "^leader A"
    child:wait_line "^health"
    ends "^on_lost of the second"
  end)

  it("is stopped in order while the main part of the new script waits", function()
    lead(FIRST)
    reload("print 'waits' lunarch.sleep(60)\n" .. SECOND)
    child:wait_line "^waits"
    ends "^on_lost of the first, stopping"
  end)

  it("calls a do_work that the script had not, in the term that lasts", function()
    lead(FIRST:gsub("function do_work[^\n]*", ""))
    reload(SECOND)
    child:wait_line "^on_reload"
    child:wait_line "^second 2"
    ends "^on_lost of the second"
  end)

  it("forgets what a may_stand has said that is gone", function()
    start("election = '/reload/" .. n .. "' function may_stand() return false, 'not now' end health_interval = 0.1\n"
      .. FIRST)
    child:wait_line "does not stand in .*not now"
    reload("election = '/reload/" .. n .. "'\n" .. SECOND)
    child:wait_line "^second 2"
    ends "^on_lost of the second"
  end)

  it("forgets what a health has said that is gone", function()
    lead("health_interval = 0.1 health_failures = 1 \n" .. [[
      function health() return not is_sick end
      function may_stand() return true end]] .. FIRST:gsub("print 'first'", "") .. " local work = do_work\n"
      .. "function do_work() is_sick = true return work() end")
    child:wait_line "does not stand in .*health says no"
    reload("health_interval = 0.1 function may_stand() return true end\n" .. SECOND)
    child:wait_line "^elected again"
    child:wait_line "^second 2"
    wait.pass(1)
    assert.is_nil(child:find "on_lost of the second")
    ends "^on_lost of the second"
  end)

  it("reaches each of several candidates, and tells of those that come and go", function()
    local function text(word, names)
      local parts = {}
      for name in names:gmatch "%S+" do
        parts[#parts + 1] = ([[candidate { name = %q, election = "/reload/%d/" .. %q,
          do_work = function() print(%q) return 0.02 end }]]):format(name, n, name, word .. " " .. name)
      end
      return table.concat(parts, "\n")
    end
    start(text("first", "B C"))
    child:wait_line "^first [BC]"
    reload(text("second", "C D"))
    child:wait_line "declares this candidate of /reload/%d+/B no more"
    child:wait_line "declares a further candidate, A in /reload/%d+/D"
    wait.eventually(function() return child:find "^second C" end)
    wait.pass(0.3)
    assert.is_nil(child:find "^second D")
    child:signal "sigterm"
    assert.equal(0, (child:wait_exit()))
  end)

  it("many times leaves neither the place nor memory behind", function()
    lead(FIRST)
    for i = 1, 50 do
      reload(i % 2 == 0 and FIRST or SECOND)
      wait.eventually(function() return #child:find_all "loaded anew" >= i end)
    end
    assert.equal(1, #child:find_all "^on_elected")
    ends "^on_lost of the first"
  end)

  it("is ignored once the program has been told to stop: on_lost goes on to its end", function()
    lead(FIRST:gsub("function on_lost[^\n]*",
      "function on_lost() print 'begins' lunarch.sleep(1) print 'on_lost has ended' end"))
    child:signal "sigterm"
    child:wait_line "^begins"
    child:signal "sighup"
    wait.pass(0.3)
    child:signal "sighup"
    child:wait_line "^on_lost has ended"
    assert.equal(0, (child:wait_exit()))
    assert.is_nil(child:find "loaded anew")
  end)

  it("with an error in on_reload is told, and nothing else comes of it", function()
    lead(FIRST)
    reload(SECOND:gsub('print "on_reload"', 'error "in on_reload"'))
    child:wait_line "on_reload failed: .*in on_reload"
    child:wait_line "^second"
    ends "^on_lost of the second"
  end)

  it("with an on_reload that waits when the program is stopped is no error", function()
    lead(FIRST)
    reload(SECOND:gsub('print "on_reload"', 'print "on_reload" lunarch.sleep(100)'))
    child:wait_line "^on_reload"
    ends "^on_lost of the second"
    assert.is_nil(child:find "ERROR")
  end)

  it("calls on_reload of a script from the command line, which is not loaded anew", function()
    child = process.start {
      "lunarch", "run", "-e", FIRST .. "function on_reload() print 'on_reload' end", "--endpoints", server.endpoint,
      "--election", "/reload/" .. n,
    }
    child:wait_line "^on_elected"
    child:signal "sighup"
    child:wait_line "no file"
    child:wait_line "^on_reload"
    ends "^on_lost of the first"
  end)

  -- Which of these the program takes for candidates before their main part has ended.
  for what, case in pairs {
    ["a handler that is a global"] = { FIRST },
    ["an election by a flag"] = { FIRST:gsub("\n", " "), "--election", "/reload/flag" },
    ["candidate{...}"] = { "candidate { election = '/reload/x', do_work = function() print 'first' return 0.02 end }" },
  } do
    it("while the first main part waits is heard once that has ended: " .. what, function()
      local flag = tree.folder() .. "/go"
      local waits = ("print 'waits' while not io.open(%q) do lunarch.sleep(0.01) end "):format(flag)
      local own = case[2] and "" or "election = '/reload/" .. n .. "'\n"
      start(own .. waits .. "\n" .. case[1], case[2], case[3])
      child:wait_line "^waits"
      child:signal "sighup"
      child:signal "sighup"
      child:wait_line "SIGHUP: the script is loaded anew once its main part has ended"
      write("election = '/reload/" .. n .. "'\n" .. SECOND)
      io.open(flag, "w"):close()
      child:wait_line "the script was loaded anew"
      child:wait_line "^second"
      child:signal "sigterm"
      assert.equal(0, (child:wait_exit()))
    end)
  end

  for what, case in pairs {
    waits = { "lunarch.sleep(0.01)", "once its main part has ended" },
    ["does not yield"] = { "" },
  } do
    it("while the main part of a service " .. what .. " is heard, too, and ends it if it is no candidate", function()
      local flag = tree.folder() .. "/go"
      path = script.write(([[
        print 'waits' while not io.open(%q) do %s end
        lunarch.spawn(lunarch.sleep, 100)
        print 'has ended']]):format(flag, case[1]))
      child = process.start {
        "lunarch", "run", path, "--endpoints", server.endpoint, env = { NOTIFY_SOCKET = "/nowhere" },
      }
      child:wait_line "^waits"
      child:signal "sighup"
      if case[2] then child:wait_line(case[2]) end
      io.open(flag, "w"):close()
      child:wait_line "^has ended"
      assert.equal(129, (child:wait_exit()))
    end)
  end

  it("stops an ordinary program", function()
    path = script.write "print 'runs' lunarch.sleep(100)"
    child = process.start { "lunarch", "run", path, "--endpoints", server.endpoint }
    child:wait_line "^runs"
    child:signal "sighup"
    assert.equal(129, (child:wait_exit()))
  end)

  it("stops a candidate whose terminal has gone away", function()
    local mark = tree.folder() .. "/mark"
    path = script.write(([[
      local file = io.open(%q, "w")
      function do_work() if file:seek() == 0 then file:write "works\n" file:flush() end return 0.02 end
      function on_lost(_, reason) file:write("on_lost ", reason, "\n") file:flush() end]]):format(mark))
    local words = tree.quote {
      tree.program, "run", path, "--endpoints", server.endpoint, "--election", "/reload/" .. n,
    }
    local terminal = process.start { "script", "-q", "-c", words, "/dev/null" }
    wait.eventually(function() return tree.read(mark):find "works" end)
    terminal:kill9()
    wait.eventually(function() return tree.read(mark):find "on_lost stopping" end)
  end)

  it("tells the service manager that it reloads, and that it is ready again", function()
    local socket = tree.folder() .. "/notify"
    local manager = process.start { "/usr/bin/python3", "-c", [[
import socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind(sys.argv[1])
print("listens", flush=True)
while True:
    print(s.recv(65536).decode().replace("\n", " | "), flush=True)]], socket }
    manager:wait_line "^listens"
    path = script.write(FIRST)
    child = script.start(FIRST, { "--endpoints", server.endpoint, "--election", "/reload/" .. n, env = {
      NOTIFY_SOCKET = socket } })
    manager:wait_line "leads"
    child:signal "sighup"
    manager:wait_line "^RELOADING=1 | MONOTONIC_USEC=%d+$"
    manager:wait_line "^READY=1"
  end)
end)
