-- limit: 180 s
-- The prompt, on a real terminal: what is printed above the line, what Ctrl-C and Ctrl-D do.
local etcd = require "support.etcd"
local ports = require "support.ports"
local process = require "support.process"
local terminal = require "support.terminal"
local tree = require "support.tree"
local users = require "support.users"
local uv = require "luv"
local wait = require "support.wait"

describe("the prompt", function()
  local server

  setup(function() server = etcd.start() end)
  teardown(function() server:stop() end)
  after_each(terminal.end_all)

  local function start(options)
    local t = terminal.start({ "lunarch", "console", "--endpoints", server.endpoint }, options)
    t:wait "^> ?$"
    return t
  end

  it("prints the values of expressions, and stays after an error", function()
    local t = start()
    t:enter "1+1, 'x'"
    assert.truthy(t:text():find("\n2, \"x\"\n", 1, true), t:text())
    t:enter "error 'no'"
    assert.truthy(t:text():find("\ninput:1: no\n", 1, true), t:text())
    t:enter "x = {"
    t:wait ">> ?$"
  end)

  -- A task that prints `n` lines, `seconds` from one to the next.
  local TALK = "lunarch.spawn(function() for i = 1, %d do lunarch.sleep(%g) print('line ' .. i) end end) do end"
  local TYPED = "local a = '" .. ("0123456789"):rep(9) .. "'"

  -- From its first line on: every line of it once, in order, and the line being typed once, below them.
  local function check(t, n, typed, columns)
    local rows = {}
    for i = 1, n do
      rows[i] = "line " .. i
    end
    for from = 1, #typed + 2, columns do
      rows[#rows + 1] = (("> " .. typed):sub(from, from + columns - 1):gsub(" +$", ""))
    end
    local text = t:history()
    assert.equal(table.concat(rows, "\n"), text:sub(text:find("line 1\n", 1, true) or 1))
    local _, n_prompts = text:gsub("> local a", "")
    assert.equal(1, n_prompts, text)
  end

  it("keeps a half-typed line that wraps whole below what is printed", function()
    local t = start { columns = 40, rows = 12 }
    t:enter(TALK:format(30, 0.02))
    t:type(TYPED)
    t:wait_text "line 30\n"
    t:wait "89'$"
    check(t, 30, TYPED, 40)
    t:type "\r"
    t:wait "^> ?$"
  end)

  -- The kinds of terminals: they cut rows, and say nothing or where their cursor is, or say it too late; or they wrap
  -- anew.
  local KINDS = {
    ["cuts"] = {}, ["cuts and answers"] = { answers = true }, ["wraps anew"] = { answers = true, rewraps = true },
    ["cuts and answers too late"] = { answers = "late" },
  }
  for kind, options in pairs(KINDS) do
    for _, size in ipairs { { 25, 12 }, { 70, 20 }, { 40, 8 } } do
      it(("keeps it whole after it became %d x %d on a terminal that %s"):format(size[1], size[2], kind), function()
        local t = start { columns = 40, rows = 12, answers = options.answers, rewraps = options.rewraps }
        t:enter(TALK:format(20, 0.1))
        t:type(TYPED)
        t:wait_text "line 4\n"
        t:wait "89'$"
        t:resize(size[1], size[2])
        t:wait_text "line 20\n"
        t:wait "'$"
        check(t, 20, TYPED, size[1])
        t:type "\27[D\27[D!"
        t:wait "8!9'$"
      end)
    end
  end

  it("takes several lines that come at once, one after the other", function()
    local t = start()
    t:type "'a' .. 1\r'b' .. 2\rlunarch.sleep(0.3)\r'c' .. 3\r'd'"
    t:wait "> 'd'$"
    for _, text in ipairs { "a1", "b2", "c3" } do
      assert.truthy(t:text():find('\n"' .. text .. '"\n', 1, true), t:text())
    end
  end)

  it("is not broken by a thousand lines a second", function()
    local t = start { columns = 60, rows = 12 }
    t:enter("lunarch.spawn(function() for i = 1, 3000 do if i % 10 == 0 then lunarch.sleep(0.01) end "
      .. "print('line ' .. i) end end) do end")
    t:type(TYPED)
    t:wait_text "line 3000\n"
    t:wait "'$"
    check(t, 3000, TYPED, 60)
  end)

  local function keys(name)
    return (server:etcdctl("get", "--prefix", "--keys-only", name):gsub("\n+", "\n"))
  end

  it("comes back by Ctrl-C in a lock that waits, which leaves no place in the line", function()
    local owner, waiter = start(), start()
    owner:enter("lock '/prompt/busy'", "^%[/prompt/busy %d+%.%ds%]> ?$")
    waiter:type "lock('/prompt/busy', 600)\r"
    waiter:wait "^%(waiting%) ?$"
    wait.eventually(function() return select(2, keys("/prompt/busy"):gsub("/prompt/busy/", "")) == 2 end)
    waiter:type "\3"
    waiter:wait "^> ?$"
    assert.truthy(waiter:text():find("\ninterrupted\n", 1, true), waiter:text())
    wait.eventually(function() return select(2, keys("/prompt/busy"):gsub("/prompt/busy/", "")) == 1 end)
    waiter:enter "1+1"
    assert.truthy(waiter:text():find("\n2\n", 1, true))
    -- And the session goes on: the lock is still to be had.
    owner:enter("leave()", "^> ?$")
    waiter:enter("lock('/prompt/busy', 5).token ~= nil", "s%]> ?$")
    assert.truthy(waiter:text():find("\ntrue\n", 1, true), waiter:text())
  end)

  -- Of a line that computes and never waits; the prompt is back.
  local function interrupted(line)
    local t = start()
    t:type("print 'begun' " .. line .. "\r")
    t:wait "^begun$"
    t:type "\3"
    t:wait "^> ?$"
    assert.truthy(t:text():find("\ninterrupted\n", 1, true), t:text())
    return t
  end

  it("comes back by Ctrl-C from what computes and never waits", function()
    interrupted("while true do end"):enter "'alive'"
  end)

  it("comes back by Ctrl-C from a generator that computes", function()
    local t = interrupted "for x in coroutine.wrap(function() while true do end end) do end"
    t:enter "coroutine.wrap(function(...) return ... end)('alive', nil)"
    t:wait_text '"alive"'
  end)

  it("comes back by a second Ctrl-C from what catches the first", function()
    local t = start()
    t:type "print 'begun' while true do pcall(function() while true do end end) end\r"
    t:wait "^begun$"
    t:type "\3"
    wait.pass(0.2)
    t:type "\3"
    t:wait "^> ?$"
    assert.truthy(t:text():find("\ninterrupted\n", 1, true), t:text())
    t:enter "'alive'"
  end)

  it("comes back by Ctrl-C from a handler that computes, and from a task", function()
    local t = start()
    t:type "a = candidate('/busy', 'A', { ttl = 30, do_work = function() w = true while w do end end }) do end\r"
    wait.eventually(function() return keys("/busy"):find "/busy/" end)
    -- The loop stands still: nothing is printed.
    wait.pass(0.5)
    t:type "\3"
    t:wait_text "A  do_work failed: interrupted"
    t:wait_text "A  on_lost %(error%)"
    t:enter("leave()", "^> ?$")
    t:type "lunarch.spawn(function() while true do end end) do end\r"
    wait.pass(0.5)
    t:type "\3"
    t:wait "^> ?$"
    t:enter "'alive'"
    assert.truthy(t:text():find('\n"alive"\n', 1, true), t:text())
  end)

  it("forgets by Ctrl-C what is being typed, also over several lines", function()
    local t = start()
    t:type "this is no "
    t:wait "> this is no ?$"
    t:type "\3"
    t:wait "^> ?$"
    t:enter("x = {", ">> ?$")
    t:type "1,\3"
    t:wait "^> ?$"
    t:enter "'x is ' .. tostring(x)"
    assert.truthy(t:text():find('\n"x is nil"\n', 1, true), t:text())
  end)

  it("knows what is not whole yet from what is wrong", function()
    local t = start()
    t:enter("1 +", ">> ?$")
    t:enter "1"
    assert.truthy(t:text():find("\n2\n", 1, true), t:text())
    t:enter("{ 'a',", ">> ?$")
    t:enter("'b' }", "^> ?$")
    assert.truthy(t:text():find('\n{ "a", "b" }\n', 1, true), t:text())
    for typed, printed in pairs { ["return 6 * 7, 'x'"] = '42, "x"', ["= 6 * 7 + 1"] = "43" } do
      t:enter(typed)
      assert.truthy(t:text():find("\n" .. printed .. "\n", 1, true), t:text())
    end
    t:enter 'print("abc'
    t:enter "x = = 1"
    t:enter "help lock"
    for _, text in ipairs { "unfinished string near '\"abc'", "unexpected symbol near '='", ': write help "lock"' } do
      assert.truthy(t:text():find(text, 1, true), t:text())
    end
    local child = process.start { "sh", "-c", "printf 'x = {\\n1,' | $0 console --sim", tree.program }
    assert.equal(1, (child:wait_exit()))
    assert.truthy(child:output():find("what was typed last is incomplete", 1, true), child:output())
    for _, seed in ipairs { "x", "1.5" } do
      local output, status = process.run { "lunarch", "console", "--sim", "--seed", seed }
      assert.equal(2, status)
      assert.truthy(output:find("--seed: '" .. seed .. "' is not a whole number", 1, true), output)
    end
  end)

  it("does not wait for etcd at the end once Ctrl-C says so", function()
    local own = etcd.start()
    local t = terminal.start({ "lunarch", "console", "--endpoints", own.endpoint })
    t:wait "^> ?$"
    t:enter("lock '/end'", "s%]> ?$")
    t:enter("a = candidate('/end/c', 'A', { on_lost = function() lunarch.sleep(60) end })", "s.*%]> ?$")
    t:wait_text "A  elected"
    own:freeze()
    t:type "\4"
    t:wait_text "A  on_lost"
    t:type "\3"
    t:wait_exit()
    assert.truthy(t:history():find("interrupted: what is still held lapses with its lease", 1, true), t:history())
    own:thaw()
    own:stop()
  end)

  it("takes what is typed while a call waits, and runs it after", function()
    local t = start()
    t:type "lunarch.sleep(1)\r"
    t:wait "^%(waiting%) ?$"
    t:type "'typed ahead'\r"
    t:wait_text '\n"typed ahead"\n'
    t:wait "^> ?$"
  end)

  it("gives up by Ctrl-D what is held, and says so", function()
    local t = start()
    t:enter("lock '/prompt/last'", "^%[/prompt/last %d+%.%ds%]> ?$")
    t:enter("candidate('/prompt/lead', 'A') do end", "> ?$")
    t:wait_text "A  elected, token %d+\n"
    assert.truthy(keys("/prompt/last"):find "/prompt/last/")
    t:type "\4"
    assert.equal(0, t:wait_exit())
    assert.truthy(t:history():find("\nunlocked /prompt/last\n", 1, true), t:history())
    assert.truthy(t:history():find("\nA gave up /prompt/lead\n", 1, true), t:history())
    assert.truthy(t:history():find("the session is closed, lease %x+ revoked"), t:history())
    assert.equal("", (keys("/prompt/la"):gsub("%s", "")))
    assert.equal("", (keys("/prompt/lead"):gsub("%s", "")))
  end)

  it("completes globals, methods, options, and names that are in etcd", function()
    local t = start()
    t:enter("lock '/complete/a-lock'", "s%]> ?$")
    t:enter("lock '/c/\\27\\xc2\\x9b\\\"'", "s%d?.*%]> ?$")
    t:enter("candidate('/complete/an-election', 'A') do end", "s%d?.*%]> ?$")
    t:wait_text "A  elected"
    for typed, expected in pairs {
      ["elec\t"] = "elections", ["client:rev\t"] = "client:revoke", ["lunarch.conn\t"] = "lunarch.connect",
      ["line('/complete/a-\t"] = "line('/complete/a-lock'",
      ["line '/c/\t"] = "line '/c/\\27\\xc2\\x9b\"'",
      ["client:get('/k', { keys_\t"] = "client:get('/k', { keys_only=",
      ["line \"/complete/an\t"] = "line \"/complete/an-election\"",
      ["lunarch.connect { ser\t"] = "lunarch.connect { server_name=",
      ["session.tt\t"] = "session.ttl", ["string.form\t"] = "string.format",
    } do
      t:type(typed)
      t:wait("> " .. expected:gsub("%p", "%%%0") .. " ?$")
      t:type "\21"
      t:wait "> ?$"
    end
    t:type "line('/complete/\t"
    t:wait_text "/complete/a%-lock +/complete/an%-election"
  end)

  it("completes the methods of the session without opening it, also where no etcd answers", function()
    local t = start()
    t:type "session:mut\t"
    t:wait "> session:mutex ?$"
    t:type "\21"
    t:enter "client:stats().sessions"
    assert.truthy(t:text():find "sessions\n0\n", t:text())
    t = terminal.start { "lunarch", "console", "--endpoints", "127.0.0.1:" .. ports.free() }
    t:wait "^> ?$"
    t:type "session:mut\t"
    t:wait "> session:mutex ?$"
  end)

  it("ends by a Ctrl-D that was typed before it stood there", function()
    local t = terminal.start { "lunarch", "console", "--endpoints", server.endpoint }
    t:type "\4"
    assert.equal(0, t:wait_exit())
  end)

  it("completes the names that this user may read", function()
    local own = etcd.start()
    users.add_root(own)
    users.add(own, "joe:j", "few", "readwrite", "/mine/")
    users.must(own, "auth", "enable")
    local t = terminal.start({ "lunarch", "console", "--endpoints", own.endpoint }, {
      env = { LUNARCH_USER = "joe", LUNARCH_PASSWORD = "j" },
    })
    t:wait "^> ?$"
    t:enter("lock '/mine/a-lock'", "s%]> ?$")
    t:type "line '/mine/a\t"
    t:wait "> line '/mine/a%-lock' ?$"
    own:stop()
  end)

  it("keeps the tabs of what is pasted, and of the beginning of a line", function()
    local t = start()
    t:type "\t#'\ta\tb'\r\tif\ttrue\tthen\r\t\tpasted\t=\t7\r\n\n\tend\rpasted\r"
    t:wait_text "\n4\n.*\n7\n"
    t:wait "^> ?$"
    t:type "elec\t"
    t:wait "^> elections ?$"
  end)

  it("has a history that the next console finds", function()
    local env = { XDG_STATE_HOME = tree.folder() }
    local t = start { env = env }
    t:enter "'first' .. 'ly'"
    t:enter " 'not this one'"
    t:type "\4"
    t:wait_exit()
    t = start { env = env }
    t:type "\27[A"
    t:wait "> 'first' .. 'ly'$"
    t:type "\r"
    t:wait_text '\n"firstly"\n'
    assert.equal(384, uv.fs_stat(env.XDG_STATE_HOME .. "/lunarch/history").mode & 511)
  end)

  it("works without a history where there can be none", function()
    for _, made in ipairs { "mkdir -p $0/lunarch/history", "mkdir -p $0/lunarch && mkfifo $0/lunarch/history",
      "rmdir $0 && touch $0" } do
      local home = tree.folder()
      process.run { "sh", "-c", made, home }
      local t = start { env = { XDG_STATE_HOME = home } }
      t:enter "'first' .. 'ly'"
      t:type "\27[A"
      t:wait "> 'first' .. 'ly'$"
      t:type "\r\4"
      assert.equal(0, t:wait_exit())
    end
    local none = tree.folder() .. "/none"
    local t = start { env = { XDG_STATE_HOME = false, HOME = none } }
    t:type "\4"
    assert.equal(0, t:wait_exit())
    assert.is_nil(uv.fs_stat(none))
    t = start { env = { XDG_STATE_HOME = false, HOME = false } }
    t:type "\4"
    assert.equal(0, t:wait_exit())
  end)

  it("gives up what is held at SIGTERM, too", function()
    local t = start()
    t:enter("lock '/prompt/term'", "s%]> ?$")
    require("luv").kill(t:pid(), "sigterm")
    assert.equal(128 + 15, t:wait_exit())
    assert.truthy(t:history():find("\nunlocked /prompt/term\n", 1, true), t:history())
    assert.equal("", (keys("/prompt/term"):gsub("%s", "")))
  end)

  it("offers a private etcd where none answers", function()
    local env = { LUNARCH_ENDPOINTS = false, ETCDCTL_ENDPOINTS = false, ETCD = tree.etcd }
    local t = terminal.start({ "lunarch", "console", "--endpoints", "127.0.0.1:" .. ports.free() }, { env = env })
    t:wait_text "no etcd answers: [^\n]+refused"
    t:wait "^> ?$"
    t:enter("dev()", "^dev> ?$")
    -- A private etcd may have been there before.
    local name = ("/dev/%d"):format(require("luv").hrtime() // 1)
    t:enter(("try('%s').name"):format(name), "^dev %[/dev/%d+ %d+%.%ds%]> ?$")
    assert.truthy(t:text():find('\n"' .. name .. '"\n', 1, true), t:text())
  end)

  it("asks before it changes keys of others, and not where they are its own", function()
    local t = start()
    server:etcdctl("put", "/ask/theirs", "1")
    t:enter("client:put('/ask/ours', '1')", "> ?$")
    t:enter("client:put('/ask/ours', '2')", "> ?$")
    t:type "client:delete('/ask/theirs')\r"
    t:wait "^delete /ask/theirs, which was not made from here%? %[y/N%] ?$"
    t:type "n\r"
    t:wait "^> ?$"
    assert.truthy(t:text():find('\nnil, "not done: it was not agreed to", "cancelled"\n', 1, true), t:text())
    server:etcdctl("put", "/ask/\27[31m\nred", "1")
    t:type "client:delete '/ask/\\27[31m\\nred'\r"
    t:wait "^delete /ask/\\x1b%[31m\\nred, which was not made from here%? %[y/N%] ?$"
    t:type "y\r"
    t:wait "^> ?$"
    t:type "client:txn { success = { { 'put', '/ask/theirs', '2' } } }\r"
    t:wait "%? %[y/N%] ?$"
    t:type "\3"
    t:wait "^> ?$"
    assert.truthy(server:etcdctl("get", "/ask/theirs"):find "\n1\n")
    t:type "client:delete('/ask/', { prefix = true })\r"
    t:wait "^delete /ask/theirs, which was not made from here%? %[y/N%] ?$"
    t:type "y\r"
    t:wait "^> ?$"
    assert.equal("", (keys("/ask/"):gsub("%s", "")))
    for call, question in pairs {
      ["client:revoke '77'"] = "^revoke the lease 77: all its keys go with it%? %[y/N%] ?$",
      ["revoke '77'"] = "^revoke the lease 77: all its keys go with it%? %[y/N%] ?$",
    } do
      t:type(call .. "\r")
      t:wait(question)
      t:type "n\r"
      t:wait "^> ?$"
    end
  end)

  it("revokes on a real cluster what it was asked for, once that is agreed to", function()
    local t, owner = start { columns = 120 }, start()
    owner:enter("a = candidate('/revoke/e', 'A', { ttl = 30 }) do end", "> ?$")
    owner:wait_text "A  elected, token"
    t:type "revoke(line('/revoke/e')[1])\r"
    t:wait "^revoke the lease %x+ of A: all its keys go with it%? %[y/N%] ?$"
    t:type "\r"
    t:wait "^> ?$"
    assert.truthy(t:text():find('\nnil, "not revoked", "cancelled"\n', 1, true), t:text())
    assert.truthy(keys("/revoke/e"):find "/revoke/e/")
    t:type "revoke(line('/revoke/e')[1])\r"
    t:wait "%? %[y/N%] ?$"
    t:type "y\r"
    t:wait "^> ?$"
    assert.truthy(t:text():find("\ntrue\n", 1, true), t:text())
    owner:wait_text "A  on_lost %("
    -- A key that is bound to a lease, and the lease itself.
    local lease = server:etcdctl("lease", "grant", "600"):match "lease (%x+) granted"
    server:etcdctl("put", "/revoke/key", "1", "--lease=" .. lease)
    t:type "revoke '/revoke/key'\r"
    t:wait(("^revoke the lease %s of the key /revoke/key: all its keys go with it%%? %%[y/N%%] ?$"):format(lease))
    t:type "y\r"
    t:wait "^> ?$"
    assert.equal("", (keys("/revoke/key"):gsub("%s", "")))
    t:enter("revoke '/revoke/key'", "> ?$")
    assert.truthy(t:text():find('nil, "there is no key /revoke/key bound to a lease", "invalid"', 1, true), t:text())
    t:enter("revoke ''", "> ?$")
    assert.truthy(t:text():find("revoke: 'x' must be", 1, true), t:text())
  end)

  it("reads plain lines where there is no line editor", function()
    local t = terminal.start { "lunarch", "console", "--plain", "--endpoints", server.endpoint }
    t:wait "^> ?$"
    t:enter "1+1"
    assert.truthy(t:text():find("\n2\n", 1, true), t:text())
    t:enter("x = {", ">> ?$")
    t:enter "1 } do end"
    t:type "lock('/prompt/plain', 5).name\r"
    t:wait "^%[/prompt/plain %d+%.%ds%]> ?$"
    t:type "print 'begun' lunarch.sleep(600)\r"
    t:wait "^begun$"
    t:type "\3"
    t:wait "^%[/prompt/plain %d+%.%ds%]> ?$"
    assert.falsy(t:text():find("\n\n", 1, true), t:text())
    assert.truthy(t:text():find("^C\ninterrupted\n[", 1, true), t:text())
    t:type "half"
    t:wait "%]> half$"
    t:type "\3"
    t:wait_text "> half%^C\n%[/prompt/plain %d+%.%ds%]>"
    t:type "\4"
    assert.equal(0, t:wait_exit())
    assert.truthy(t:history():find("unlocked /prompt/plain\n", 1, true), t:history())
  end)

  it("gives the terminal to other programs as they expect it, and takes it again", function()
    local t = start()
    t:enter("os.execute 'stty -a | grep -o -- \"-\\\\?icanon\\\\|-\\\\?echo \"'", "> ?$")
    assert.truthy(t:text():find("\nicanon\necho", 1, true), t:text())
    t:enter "'again'"
    assert.truthy(t:text():find('\n"again"\n', 1, true), t:text())
  end)

  it("is `lunarch` alone on a terminal, and leaves the terminal as it was", function()
    local t = terminal.start({ "sh", "-c", "stty -a > $0; $1; stty -a | diff $0 - && echo the same", os.tmpname(),
      tree.program }, { env = { LUNARCH_ENDPOINTS = server.endpoint } })
    t:wait "^> ?$"
    t:enter "1+1"
    t:type "\4"
    t:wait "^the same$"
  end)
end)
