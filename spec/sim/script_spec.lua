-- What a script finds in the simulator: the same calls as under `lunarch run`, in a world and a time of their own.
local simulate = require "sim.simulate"
local tree = require "support.tree"

describe("in the simulator", function()
  it("a plain script runs to its end, with its arguments", function()
    local text = [[print("got", ...) print(arg[1], arg[0]:match "script.lua$")]]
    local lines, report = simulate.printed(text, "--", "one", "2")
    assert.same({ "got\tone\t2", "one\tscript.lua" }, lines)
    assert.is_nil(report.failure)
    assert.equal(1, report.run)
  end)

  it("time passes only where a script waits", function()
    local lines = simulate.printed [[
      -- timing: the simulator's
      local wall, clock, now = os.time(), os.clock(), lunarch.now()
      lunarch.sleep(100)
      -- timing: the simulator's
      print(os.time() - wall, math.floor(os.clock() - clock + 0.5), math.floor(lunarch.now() - now + 0.5))
      local before = lunarch.now()
      for i = 1, 1e5 do local _ = i end
      print(lunarch.now() == before, os.date("%Y"))
    ]]
    -- The clock may go as much as 9.5 % faster or slower than the world.
    local wall, clock, now = lines[1]:match "^(%d+)\t(%d+)\t(%d+)$"
    assert.near(100, tonumber(wall), 11)
    assert.equal("100", clock)
    assert.equal("100", now)
    assert.equal("true\t2026", lines[2])
  end)

  it("a script that ended well is not started again, and one that failed is", function()
    assert.same({ "once" }, (simulate.printed "print 'once' lunarch.sleep(1)"))
    local lines = simulate.printed "print 'again' lunarch.sleep(4) os.exit(1)"
    assert.is_true(#lines > 3)
  end)

  it("the plain client reads, writes, deletes, compares and watches", function()
    local lines = simulate.printed [[
      local client = assert(lunarch.connect { endpoints = "etcd-1:2379,etcd-2:2379" })
      print(client:get "/k")
      print((client:put("/k", "v")), (client:get "/k"))
      local watch = assert(client:watch "/k")
      print((client:txn { compare = { { "value", "/k", "=", "v" } }, success = { { "put", "/k", "w" } } }).succeeded)
      local seen = watch:next()
      print(seen.type, seen.key, seen.value)
      print((client:delete "/k"), (client:get "/k"))
      print(#assert(client:status()))
    ]]
    assert.same({ "nil", "true\tv", "true", "put\t/k\tw", "1\tnil", "3" }, lines)
  end)

  it("keys and values may be of any size, and hold any byte", function()
    local lines = simulate.printed [[
      local client = lunarch.connect()
      local big = ("x\0y"):rep(5000)
      print((client:put("/big", big)), client:get("/big") == big)
    ]]
    assert.same({ "true\ttrue" }, lines)
  end)

  it("sessions, mutexes and elections work", function()
    local lines = simulate.printed [[
      local client = lunarch.connect()
      local session = assert(client:session { ttl = 5 })
      local mutex = session:mutex "/m"
      print((mutex:lock(1)), select(3, client:session():mutex("/m"):try_lock()))
      print((mutex:unlock()))
      local term = assert(session:election("/e"):campaign "me")
      print(session:election("/e"):leader().value, (term:put("/guarded", "1")), (client:get "/guarded"))
      lunarch.sleep(30)
      print(term.reason, session:state())
      print((term:resign()), (session:close()))
    ]]
    assert.same({ "true\tlocked", "true", "me\ttrue\t1", "nil\talive", "true\ttrue" }, lines)
  end)

  it("tasks and generators wait side by side", function()
    local lines = simulate.printed [[
      local client = lunarch.connect()
      client:put("/a", "1")
      client:put("/b", "2")
      local keys = coroutine.wrap(function()
        for _, key in ipairs { "/a", "/b" } do
          lunarch.sleep(1)
          coroutine.yield((client:get(key)))
        end
      end)
      local task = lunarch.spawn(function() lunarch.sleep(1.5) print "beside" return "done" end)
      print(keys())
      print(keys())
      print(select(2, task:join()))
    ]]
    assert.same({ "1", "beside", "2", "done" }, lines)
  end)

  it("a blocking client waits too", function()
    local lines = simulate.printed [[
      local client = lunarch.connect { loop = "block" }
      print((client:put("/k", "v")), (client:get "/k"))
    ]]
    assert.same({ "true\tv" }, lines)
  end)

  it("a task that is always ready holds nobody up", function()
    local lines = simulate.printed [[
      local is_over
      lunarch.spawn(function() while not is_over do lunarch.sleep(0) end end)
      lunarch.sleep(0.05)
      is_over = true
      print "over"
    ]]
    assert.same({ "over" }, lines)
  end)

  it("output in pieces becomes lines", function()
    local lines = simulate.printed [[
      io.write("a", 1) io.stdout:write("b\nc") io.stderr:write("d\n")
      print(nil, true)
      io.write "e\n"
    ]]
    assert.same({ "a1b", "d", "cnil\ttrue", "e" }, lines)
  end)

  it("os.exit ends the process, and what would leave the world is refused", function()
    local lines = simulate.printed [[
      print(pcall(function() return require("luv").new_tcp() end))
      print(os.getenv "LUNARCH_ENDPOINTS")
      print(pcall(require, "cqueues.socket"))
      os.exit()
      print "not reached"
    ]]
    assert.matches("luv.new_tcp: of libuv, timers, signals and the clock are in the simulation", lines[1])
    assert.equal("nil", lines[2])
    assert.matches("require 'cqueues.socket': the sockets and the clock of cqueues are not in the simulation", lines[3])
    assert.is_nil(lines[4])
  end)

  it("refuses the examples that wait with libuv or cqueues, and says what is missing", function()
    for name, complaint in pairs { luv = "luv.new_tcp: of libuv", cqueues = "require 'cqueues': the sockets" } do
      local out, status = simulate.file(("%s/examples/loops/%s.lua"):format(tree.root, name), "--seeds", "1")
      assert.equal(1, status)
      assert.matches("script failed: [^\n]*" .. complaint, out)
    end
  end)

  it("futures, events and mirrors work", function()
    local lines = simulate.printed [[
      local client = lunarch.connect()
      local future, event = lunarch.future(), lunarch.event()
      lunarch.spawn(function() lunarch.sleep(3) future:set "set" event:set() end)
      print(future:wait(1))
      print(future:wait(), event:wait())
      assert(client:put("/m/a", "1"))
      local seen = {}
      local function on_change(key, value) seen[#seen + 1] = key .. "=" .. tostring(value) end
      local mirror = assert(client:mirror("/m/", { on_change = on_change }))
      assert(client:put("/m/b", "2"))
      print(mirror:wait("/m/b", 10))
      assert(client:delete "/m/a")
      lunarch.sleep(1)
      print(table.concat(seen, " "), mirror.n_keys, mirror:get "/m/a")
      mirror:close()
    ]]
    assert.equal("set\ttrue", lines[2])
    assert.truthy(lines[3]:find "^2\t")
    assert.equal("/m/a=1 /m/b=2 /m/a=nil\t1\tnil\tnil", lines[4])
  end)

  it("chance comes from the seed", function()
    local text = [[print(math.random(1 << 40), math.random(1 << 40)) math.randomseed() print(math.random(1 << 40))]]
    local first, again = simulate.printed(text), simulate.printed(text)
    assert.same(first, again)
    local report = simulate.report(text, "--seeds", "2", "--candidates", "1", "--faults", "none", "--timeline")
    for _, event in ipairs(report.timeline) do
      if event.kind == "print" then assert.not_equal(first[1], event.text) end
    end
  end)

  it("a table is gone through in the same order in every run, and prints the same", function()
    local text = [[
      local t, words = {}, {}
      for i = 1, 50 do t["key" .. i * 7] = i t[{}] = i end
      for k in pairs(t) do words[#words + 1] = tostring(k) end
      print(table.concat(words, " "))
    ]]
    assert.same(simulate.printed(text), simulate.printed(text))
  end)

  it("each candidate has a state of its own, and a killed one begins anew", function()
    local report = simulate.report([[
      election, ttl = "/e", 3
      local n = 0
      function on_elected() n = n + 1 end
      function do_work() return 0.5 end
      function check(world)
        for _, candidate in ipairs(world.candidates) do
          if candidate.lives > 1 then sim.note("anew", true) end
        end
      end
    ]], "--seeds", "1..20", "--faults", "kill")
    assert.is_nil(report.failure)
    assert.is_true(report.kills > 0)
    assert.is_true(report.terms > 20)
  end)

  it("handlers are driven as under lunarch run, in order", function()
    local report = simulate.report([[
      election, ttl = "/e", 3
      function on_elected(term) print("elected " .. math.type(term.token)) end
      function do_work(term) print "work" return 1 end
      function on_lost(term, reason) print("lost " .. reason) end
      function on_leader(leader) log.info("leader %s", leader.value or "nobody") end
    ]], "--seeds", "1", "--candidates", "1", "--faults", "none", "--timeline")
    local texts, infos = {}, {}
    for _, event in ipairs(report.timeline) do
      if event.kind == "print" then texts[#texts + 1] = event.text end
      if event.kind == "info" then infos[#infos + 1] = event.text end
    end
    assert.equal("elected integer", texts[1])
    assert.equal("lost stopping", texts[#texts])
    for i = 2, #texts - 1 do assert.equal("work", texts[i]) end
    assert.is_true(#texts > 10)
    assert.equal("leader A", infos[#infos])
  end)

  it("candidate{} declares more than one", function()
    local report = simulate.report([[
      for i = 1, 2 do
        candidate { election = "/e" .. i, ttl = 3, do_work = function() return 1 end }
      end
    ]], "--seeds", "1..5", "--candidates", "2")
    assert.is_nil(report.failure)
    assert.is_true(report.terms >= 10)
  end)

  it("globals may be strict", function()
    local strict = [[
      setmetatable(_G, {
        __index = function(_, name) error("undeclared: " .. tostring(name), 2) end,
        __newindex = function(t, name, value)
          if debug.getinfo(2, "S").what ~= "main" then error("undeclared: " .. tostring(name), 2) end
          rawset(t, name, value)
        end,
      })
    ]]
    local lines = simulate.printed(strict .. [[
      local client = assert(lunarch.connect())
      lunarch.spawn(function() lunarch.sleep(0.1) print "spawned" end)
      print(client:put("/k", "v"))
      assert(client:close(1))
    ]])
    assert.same({ "true\t2\tnil", "spawned" }, lines)
    local report = simulate.report(strict .. [[
      election, ttl = "/strict", 3
      function do_work(term) assert(term:put("/worked", "x")) return 1 end
      function on_lost() end
      function check(world) if world:get "/worked" then sim.note("worked", true) end end
    ]], "--seeds", "1..5")
    assert.is_nil(report.failure)
    assert.is_true(report.terms > 5)
  end)

  it("globals may be called what those of Lua are called", function()
    local report = simulate.report([[
      election, ttl = "/e", 3
      type, next, table, string, pairs, ipairs, select, error = "primary", 1, 2, 3, 4, 5, 6, 7
      tostring, setmetatable, pcall, require, math, assert, rawget = 8, 9, 10, 11, 12, 13, 14
      function on_elected()
        log.info("since %g", lunarch.now())
        io.open("/written", "w"):write "x"
        if lunarch.exec({ "true" }).code == 0 then sim.add "elected" end
      end
      function do_work(term) term:put("/worked", "x") return 1 end
      function on_lost() end
      function check(world)
        if world.phase == "end" and not (world:get "/worked" and world.notes.elected) then return false, "no work" end
      end
    ]], "--seeds", "1..5")
    assert.is_nil(report.failure and report.failure.reason)
    assert.is_true(report.has_check and report.terms > 5)
  end)

  it("settings on the command line win", function()
    local lines = simulate.printed([[
      election, ttl = "/mine", 60
      function on_elected(term) print(term.election.name, term.election.session.ttl) end
      function do_work() end
    ]], "--election", "/other", "--ttl", "4")
    assert.same({ "/other\t4" }, lines)
  end)

  it("a script finds its name, as by --name, and may choose another", function()
    assert.same({ "A" }, simulate.printed "print(name)")
    local report = simulate.report([[
      print(name)
      name, election = name .. "-1", "/e"
      function on_elected(term) print(term.value) end
    ]], "--seeds", "1", "--candidates", "1", "--faults", "none", "--timeline")
    assert.is_nil(report.failure)
    local printed = {}
    for _, event in ipairs(report.timeline) do
      if event.kind == "print" then printed[#printed + 1] = event.text end
    end
    assert.same({ "A", "A-1" }, printed)
  end)

  it("a script has a check that sees the clock of each host, as the script there does", function()
    local report = simulate.report([[
      election, ttl = "/e", 3
      function do_work() sim.note(name, lunarch.now()) return 0.1 end
      function check(world)
        for _, candidate in ipairs(world.candidates) do
          local at = world.notes[candidate.name]
          if at and at > candidate.now then return false, "the script is ahead of its host" end
          if at and candidate.leads and not candidate.is_paused and candidate.now > at + 60 then
            return false, "the script is far behind its host"
          end
        end
      end
    ]], "--seeds", "1..10")
    assert.is_nil(report.failure and report.failure.reason)
  end)
end)
