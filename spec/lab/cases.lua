-- What is typed at the console in a world that can be broken, and what has to be printed for it.
local process = require "support.process"
local script = require "host.script"
local tree = require "support.tree"

local cases = {}

local n_typed = 0

--- Starts a console that reads these lines, one after the other.
---@return Process
function cases.start(flags, lines)
  n_typed = n_typed + 1
  local path = script.write(table.concat(lines, "\n") .. "\n", ("typed-%d.txt"):format(n_typed))
  return process.start { "sh", "-c", 'exec "$0" console "$@" < "' .. path .. '"', tree.program, table.unpack(flags) }
end

--- What it printed.
function cases.output(child)
  child:wait_exit()
  return "\n" .. child:output()
end

--- Checks that all that a case wants was printed, and nothing that moves a terminal's cursor.
function cases.check(case, output)
  if output:find("\27", 1, true) or output:find("violated", 1, true) then error(output, 0) end
  for _, pattern in ipairs(case[3]) do
    if not output:find(pattern) then error(("nothing matches '%s' in\n%s"):format(pattern, output), 0) end
  end
end

-- A slow machine has as long as it needs: what is typed waits for what it wants to see.
local function wait_for(condition) return ("until_(function() return %s end, 60)"):format(condition) end

local A_LEADS, B_LEADS = wait_for "a.leads", wait_for "b.leads"
local BOTH_STAND = wait_for '(select(2, client:get("/s/", { prefix = true, count_only = true })) or {}).count == 2'

local function two(ttl)
  return ('a = candidate("/s", "A", { ttl = %d }) %s b = candidate("/s", "B", { ttl = %d }) %s'):format(
    ttl, A_LEADS, ttl, BOTH_STAND)
end

-- TWO: in those of SHORT terms one lapses.
local TWO, SHORT = two(10), two(3)

-- The simulated world is as fast as it is said to be.
cases.TWO = 'a = candidate("/s", "A", { ttl = 3 }) run(0.3) b = candidate("/s", "B", { ttl = 3 }) run(0.5)'

-- What the case of save and record writes.
cases.saved, cases.recorded = tree.folder() .. "/saved.lua", tree.folder() .. "/recorded.lua"

--- Each: a name, what is typed, what has to be printed.
cases.both = {
  { "standing", { TWO, "a", "b" }, { "A +elected, token 2", "candidate A: leads, token 2; told to stop in",
    "candidate B: waits in the line" } },
  { "the candidate's own code", {
    "function work(term) print('works ' .. term.token) term:put('/worked', 'x') return 60 end",
    'c = candidate("/own", "C", { ttl = 3, do_work = work })', wait_for 'client:get "/worked"', "c.term:put('/k', 'v')",
    "client:get '/k'" },
    { "C +works %d", "\ntrue, %d", '"v", ' } },
  { "looking", { TWO, 'line "/s"', "elections()", "members()", 'history "/s"' },
    { "PLACE +WHO +TOKEN", "\n/s +A +%d+ +1\n", "ENDPOINT +ROLE",
    "A +%d+ +%d+%.%d+ +%d+ +the line was empty +leads" } },
  { "following", { 'follow "/s"', TWO, "run(1)", 'unfollow "/s"' }, { "/s: elected, token %d" } },
  { "locks", { 'lock("/jobs/x", 1)', 'try "/jobs/y"', 'try "/jobs/y"', "locks()", "leave()" }, {
    "lock /jobs/x: held, token %d", "lock /jobs/y: held", "held here already", "/jobs/x +you .*%(pid %d+%)",
    "unlocked /jobs/x",
    "unlocked /jobs/y" } },
  { "resign and leave", { TWO, "resign(a)", B_LEADS, "leave(b)", A_LEADS, "b" }, {
    "A +on_lost %(resigned%)", "B +elected", "B +leaves the line", "A +elected, token %d+", "candidate B: is down" } },
  { "pause", { TWO, "pause(a, 1)", "a", "run(1.5)" }, { "A +paused for 1 s", "candidate A: is paused, leads",
    "A +runs again" } },
  { "pause and resume", { TWO, "pause(a)", "pause(a)", "resume(a)", "resume(a)", "run(0.5)", "a" }, {
    "A +paused %(SIGSTOP%)", 'nil, "candidate A is paused already", "invalid"', "A +runs again",
    'nil, "candidate A is not paused", "invalid"', "candidate A: leads, token 2" } },
  { "switchover", { TWO, 'switchover("/s", "B").value', B_LEADS, 'switchover("/s", "B")', 'switchover("/s", "Z")',
    BOTH_STAND, 'switchover("/s").value', 'switchover "/none"', 'switchover ""' }, {
    "A is asked to hand /s over to B\n", "A +on_lost %(handed_over%)", '\n"B"\n',
    'nil, "B leads already", "refused"', 'nil, "Z does not stand in /s", "refused"',
    "B is asked to hand /s over to A\n", '\n"A"\n', 'nil, "nobody leads /none", "no_leader"',
    "switchover: 'name' must be" } },
  { "pause_line and resume_line", { TWO, 'pause_line("/s", 60)', "resign(a)", "run(1)", 'resume_line "/s"', BOTH_STAND,
    'resume_line "/s"', 'pause_line("/s", -1)' }, { "/s is paused for 60 s\ntrue\n", "A +on_lost %(resigned%)",
    "the pause of /s is over\ntrue\n.*\nfalse\n", "pause_line: 'seconds' must be" } },
  { "kill and start", { SHORT, "kill(a)", "a", B_LEADS, "start(a)", BOTH_STAND, "a" }, { "A +killed",
    "candidate A: is down",
    "B +elected", "A +started again", "candidate A: waits in the line" } },
  { "stop", { TWO, "stop(a)", B_LEADS }, { "A +on_lost %(stopping%)", "B +elected" } },
  { "cut and heal", { SHORT, "cut(a)", B_LEADS, "heal()", BOTH_STAND, "run(1)" },
    { "A +cut off from etcd", "A +jeopardy", "A +on_lost %(expired%)", "B +elected", "A +campaigns again, place 2" } },
  { "cut from one member", { two(5), 'cut(a, "m1")', 'cut("A", 2)', "run(6)", "a" }, { "cut off from m1",
    "cut off from m2",
    "candidate A: leads, token 2" } },
  { "cut from each member", { SHORT, "cut(a, 1)", "cut(a, 2)", 'cut(a, "m3")', B_LEADS },
    { "A +on_lost %(expired%)", "B +elected" } },
  { "heal of who is paused", { TWO, "pause(a)", "heal()", "a.term:put('/k', 'v')" },
    { "A +paused", "A +runs again", "\ntrue, %d" } },
  { "slow", { TWO, "slow(a, 0.2)", "from = now()", "a.term:put('/k', 'v')", "now() - from >= 0.3" },
    { "A +its messages take 0.2 s longer", "true, %d", "\ntrue\n" } },
  { "freeze, crash and start", { TWO, 'freeze("m1", 1)', "run(1.5)", 'crash "m2"', "run(0.2)", "members()",
    'start "m2"',
    wait_for "#client:status(2) == 3", "#client:status(2)" }, { "m1 +frozen for 1 s", "m1 +runs again", "m2 +crashed",
    "m2 +started", "no answer",
    "\n3\n" } },
  { "members that come back serve", { "freeze(1, 1)", "freeze(2, 1)", wait_for 'client:put("/k", "v", nil, 5)',
    'client:get "/k"', 'crash "m1"', 'crash "m2"', 'start "m1"', wait_for 'client:put("/k", "w", nil, 5)',
    'client:get "/k"' }, { '\n"v", .*m1 +crashed.*\n"w", ' } },
  { "revoke", { TWO, "revoke(a)", B_LEADS, wait_for "a.reason" }, { "its lease is revoked by an operator",
    "A +on_lost %(%a+_?%a*%)", "B +elected" } },
  { "revoke of what is meant in other ways", { TWO, 'revoke(line("/s")[1])', wait_for "a.lost_at",
    'x = lock("/l", 1)', 'revoke(line("/l")[1].key)', wait_for "not x:is_held()", 'revoke "/none"', "revoke {}" }, {
    "A +its lease is revoked by an operator", "the lock is lost",
    'nil, "there is no key /none bound to a lease", "invalid"', "revoke: 'x' must be a candidate, a place of" } },
  { "a handler that runs", { 'c = candidate("/own", "C", { ttl = 5, do_work = function() lunarch.sleep(60) end })',
    wait_for 'tostring(c):find "in do_work"', "c" },
    { "candidate C: leads, token %d, in do_work; told to stop in %d%.%d s, lost in %d%.%d s if etcd stays silent" } },
  { "fitness of candidates", {
    "function fit() n = (n or 0) + 1 return n < 9 end",
    'c = candidate("/f", "C", { ttl = 5, health_interval = 0.1, health = fit })',
    'd = candidate("/g", "D", { ttl = 5, may_stand = function() return false, "not yet" end })',
    wait_for "c.reason", "d.elected_at" }, {
    "C +elected", "C +on_lost %(unhealthy%)", "D +[^\n]+not yet", "\nnil\n" } },
  { "fill", { "fill()", 'client:put("/k", "v")', "heal()", 'client:put("/k", "v")' }, { '"no_space"', "true, %d" } },
  { "until_", { SHORT, "kill(a)", B_LEADS, "until_(function() end, 0.1)" },
    { "\ntrue\n",
    "it has not become true within 0.1 s" } },
  { "save and record", { SHORT, "kill(a)", B_LEADS, "b.leads", ("save %q"):format(cases.saved),
    ("record %q"):format(cases.recorded), "help(save)" }, { "\ntrue\n",
    "/saved.lua: play it with `lunarch lab[^\n]* /[^\n]*/saved.lua`\n", '"5 lines in /[^\n]*/recorded.lua"\n',
    "\nsave%(path%)\n" } },
  { "timeline", { TWO, "run(1)", "timeline()" }, { "\n  A [- ]*=+\n", "= leads" } },
  { "candidate with a script", { ('a = candidate("/s", "A", { ttl = 3, script = %q })'):format(script.write([[
      function on_elected(term) print "the script is elected" term:put("/elected", "x") end
    ]], "own.lua")), wait_for 'client:get "/elected"' }, { "A +the script is elected" } },
  { "what is no call", { TWO, "candidate", "lock", "{ try }", "a.term", "b.term", "now", "lunarch", "lunarch.connect" },
    { "\ncandidate%(name, who, {[^\n]*}%): stand in an election\n", "\nlock%(name, seconds%): wait for a lock\n",
    "{ function try }", "\nterm of A in /s: leads, token 2; told to stop in", "\nterm of B in /s: none yet\n",
    "\nnow%(%): [^\n]+\n", "\nlunarch %d[^\n]+connect, [^\n]*now", "\nlunarch.connect%(options%): %u[^\n]+\n" } },
  { "an assignment and a statement say what has failed", {
    'x = lock("/a", 1)', 'x = lock("/a", 1)', "print(x == nil)",
    'x = try "/a" y = 5', 'z = client:get("/no", {}) == nil', "print(z)", 'x = session:mutex("/a"):try_lock()',
    'for i = 1, 3 do x = try("/a") end', 'x = leave "/none"' }, {
    '\nnil, "it is held here already", "locked"\ntrue\ntry: it is held here already %(locked%)\ntrue\n',
    '\nnil, "locked by [^\n]+", "locked"\ntry: it is held here already %(locked%)\n'
      .. 'nil, "/none is not held here, and no candidate stands in it", "not_owner"\n' } },
  { "locals, which stay for the lines after them", { 'local x = lock("/a", 1)', 'local y = lock("/a", 1)', "y",
    "local function f(n) return n + 1 end", "f(41)", "local p <const>, q = 1, 2", "p + q", "local t <close> = nil",
    "t", "local last = 5 print(last + 1)", "last", "local function g() return 7 end return g()", "p = 8", "local p",
    "p" }, { '\nnil, "it is held here already", "locked"\nnil\n42\n3\nnil\n6\nnil\n7\nnil\n' } },
  { "two statements in a line, in their order", { "function say(text) order = (order or '') .. text return text end",
    "say '1' x = say '2'", "order", "x" }, { '\n"12"\n"2"\n' } },
  { "names that are none", { 'lock ""', 'try ""', 'line ""', 'history ""', 'follow ""', 'revoke ""',
    'candidate("", "A")', 'candidate("/e/", "A")', 'candidate("/e", "")', 'candidate("/e", "A", { ttl = 0 })',
    'candidate("/e", "A", 5)', 'kill ""', "client:get ''", "print(#elections())" }, {
    "\nlock: 'name' must be a string that is not empty[^\n]+\ntry: 'name' must be[^\n]+\n"
      .. "line: 'name' must be[^\n]+\nhistory: 'name' must be[^\n]+\nfollow: 'name' must be[^\n]+\n"
      .. "revoke: 'x' must be[^\n]+\ncandidate: 'name' must be[^\n]+\n"
      .. "candidate: 'name' must be a name that does not end in '/'[^\n]+\n"
      .. "candidate: 'who' must be[^\n]+\ncandidate: 'ttl' must be[^\n]+\ncandidate: 'options' must be[^\n]+\n"
      .. "kill: there is no candidate ''[^\n]*\n[^\n]+\n0\n" } },
  { "handlers that stand as globals", { "function on_elected(term) print 'the global one' term:put('/global', 'x') end",
    'a = candidate("/g", "G")',
    'b = candidate("/h", "H", { on_elected = function(term) print "its own" term:put("/own", "x") end })',
    wait_for 'client:get "/global"', wait_for 'client:get "/own"' },
    { "G +the global one", "H +its own" } },
  { "values that do not print, or print as what they are not", {
    'setmetatable({}, { __tostring = function() error "bad" end })',
    'setmetatable({}, { __console = function() error "worse" end })',
    'setmetatable({}, { __index = error, __len = error, __pairs = error })', '("x"):rep(5000)',
    '"\\27[31m\\200\\194\\155"', "error(setmetatable({}, { __tostring = error }))",
    "{ [{}] = 1, [true] = 2, [1] = 3, x = 4 }", "'here'" }, {
    "\na value whose __tostring fails: input:1: bad\ncannot be printed: input:1: worse\n{}\n\"x+\"... %(5000 bytes%)\n"
      .. '"\\27%[31m\\xc8\\xc2\\x9b"\nan error object whose __tostring fails\n{[^\n]+}\n"here"\n' } },
  { "names of every kind", { 'a = candidate("/w/\\27]0;x\\7", "日本", { ttl = 30 })', A_LEADS,
    'function work(term) print "\\27[1m" term:put("/worked", "x") return 60 end',
    'b = candidate("/w/b", "\\27[31mred", { ttl = 30, do_work = work })', wait_for 'client:get "/worked"',
    "elections()", "locks()", 'line "/w/b"', "b", "b.term", 'lock("/w/\\27[1ml", 1)', "leave()" }, {
    "\ncandidate \\x1b%[31mred: leads", "\nterm of \\x1b%[31mred in /w/b: leads", "\nlock /w/\\x1b%[1ml: held",
    "\nunlocked /w/\\x1b%[1ml\n",
    "\n *%d+%.%d+  日本  elected", "\n *%d+%.%d+  \\x1b%[31mred  elected", "  \\x1b%[31mred  \\x1b%[1m\n",
    -- A wide character takes two columns.
    "\n/w/\\x1b%]0;x\\x07   日本       +%d+ +0\n/w/b              \\x1b%[31mred +%d" } },
  { "handlers that fail are no broken promise", {
    'a = candidate("/h", "A", { ttl = 3, on_elected = function() error "no" end })',
    wait_for 'a.reason == "error"', "run(0.5)", "print 'here'" },
    { "A +on_elected failed: input:1: no\n", "A +on_lost %(error%)", "\nhere\n" } },
  { "misuse", { 'cut "Z"', 'candidate("/s", "A", { tttl = 3 })', 'freeze "m9"', TWO, 'candidate("/s", "A")', "run(-1)",
    "local t = io.stdout candidate('/s', 'X', { do_work = function() t:write() end })", "a.nothing" }, {
    "there is no candidate 'Z'", "unknown option 'tttl' %(did you mean 'ttl'%?%)", "'m1' to 'm3'",
    "a candidate 'A' already",
    "a number of seconds", "uses 't', which lives here", "unknown field 'nothing'" } },
}

cases.sim = {
  { "a command at the prompt", { "lunarch.exec({ 'true' }).code + 41" }, { "\n41\n" } },
  { "a handler that never waits", { 'a = candidate("/s", "A", { ttl = 3, do_work = function() while true do end end })',
    "run(1)", "a", 'b = candidate("/s", "B", { ttl = 3 })', "run(5)", "b.leads" }, {
    "A  runs on and on without waiting %([^\n]+\n    stack traceback:\n    \tinput:1: in function 'do_work'\n",
    "\ncandidate A: is down\n", "\ntrue\n" } },
  { "step", { cases.TWO, "cut(a)", "step()", "now() < 3" }, { "A +jeopardy", "\ntrue\n" } },
  -- At half the rate A hears of its loss too late: what the promises exclude is seen to happen.
  { "skew", { cases.TWO, "skew(a, 0.5)", "cut(a)", "run(10)" },
    { "its clock goes at 0.5 times the rate", "B +elected.*A +on_lost" } },
  { "heal of what is slow", { cases.TWO, "slow(a, 0.5)", "heal()", "from = now()", "a.term:put('/k', 'v')",
    -- timing: the world's, not the machine's.
    "now() - from < 0.3" }, { "\ntrue, %d[^\n]*\ntrue\n" } },
  { "back", { cases.TWO, "kill(a)", "run(5)", "b.leads", "back(2)", "a.leads", "b.leads", "now() < 1" },
    { "\ntrue\ntrue\nfalse\ntrue\n" } },
  { "seed", { cases.TWO, "kill(a)", "run(5)", "seed(7)", "b.leads" }, { "B +elected.*B +elected.*\ntrue\n" } },
  { "a step where nothing is to happen", { "step()", "now() // 1", "step(5)", "now() // 1" }, {
    'nil, "nothing has happened for 60 s", "timeout"\n60.0\nnil, "nothing has happened for 5 s", "timeout"\n65.0\n' } },
  { "the module, whose time is the world's", { 'c = lunarch.connect()', "s = c:session { ttl = 3 }",
    'm = s:mutex "/m"', "print(m:lock(1))", "run(86400)", "s", "m:is_held()", "print((lunarch.sleep(1000)))",
    -- timing: the world's, not the machine's.
    "from = lunarch.now()", "lunarch.sleep(5)", "print(lunarch.now() - from < 5.01)",
    'local own = require "lunarch" print(own == lunarch)',
    'lunarch.spawn(function() lunarch.sleep(1) print "spawned" end) run(2)',
    'e = s:election "/e"', "t = e:campaign('me', 1)", "t", "seed(9)", "run(1)",
    "print(lunarch.connect():session{}.ttl)" }, {
    "\ntrue\t2\n", "session %x+: alive, TTL 3 s", "\ntrue\n.*\ntrue\n.*spawned\n",
    "term of me in /e: leads, token %d", "\n10\n" } },
  { "a wait that nothing ends", { 'm = client:session():mutex "/x" m:lock()', 'session:mutex("/x"):lock()' },
    { "nothing has ended this wait for 3600 s of the world" } },
}

return cases
