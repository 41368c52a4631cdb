-- lunarch switchover, pause, resume and term:hand_over, in real processes on a real etcd.
local etcd = require "support.etcd"
local json = require "cjson"
local module = require "lunarch"
local process = require "support.process"
local script = require "host.script"
local tree = require "support.tree"
local users = require "support.users"
local wait = require "support.wait"

local HANDLERS = [[
  function on_elected(term) print("on_elected " .. term.token) end
  function do_work() return 0.05 end
  function on_lost(_, reason) print("on_lost " .. reason) end
]]

describe("a line that is asked", function()
  local server, name
  local n = 0

  setup(function() server = etcd.start() end)
  teardown(function() server:stop() end)
  before_each(function()
    n = n + 1
    name = "/asked/" .. n
  end)
  after_each(process.end_all)

  local function candidate(who, text, ...)
    local child = script.start(text or HANDLERS, {
      "--endpoints", server.endpoint, "--election", name, "--ttl", "60", "--name", who, ...
    })
    child:wait_line "stands in"
    return child
  end

  local function line()
    return server:etcdctl("get", "--prefix", "--keys-only", name .. "/"):gsub("%s+", "\n")
  end

  local function n_in_line() return select(2, line():gsub("[^\n]+", "")) end

  -- Candidates by these names, the first of which leads; in this order.
  local function candidates(...)
    local found = {}
    for i, who in ipairs { ... } do
      found[i] = candidate(who)
      found[who] = found[i]
      wait.eventually(function() return n_in_line() >= i end)
    end
    found[1]:wait_line "^on_elected"
    return found
  end

  local function lunarch(verb, ...)
    local child = process.start { "lunarch", verb, name, "--endpoints", server.endpoint, ... }
    local status = child:wait_exit()
    return child:output(), status
  end

  -- A candidate of another client, which hears nothing.
  local function foreign(who)
    local lease = server:etcdctl("lease", "grant", "300"):match "lease (%x+)"
    server:etcdctl("put", "--lease=" .. lease, name .. "/" .. lease, who)
    return name .. "/" .. lease
  end

  local function n_elected(child)
    return select(2, child:output():gsub("on_elected", ""))
  end

  local function nothing_is_left()
    return server:etcdctl("get", "--prefix", "--keys-only", "/lunarch:request:") == ""
  end

  describe("for a switchover", function()
    it("hands over to the next one, which says so", function()
      local all = candidates("A", "B")
      local text, status = lunarch "switchover"
      assert.equal(0, status, text)
      assert.matches("^B leads /asked/%d+, token %d+; A has stepped down", text)
      all.A:wait_line "^on_lost handed_over"
      all.B:wait_line "^on_elected"
      wait.eventually(function() return nothing_is_left() and n_in_line() == 2 end)
      local again = lunarch("switchover", "--json")
      local report = json.decode(again)
      assert.same({ "A", "B", true }, { report.leader, report.from, report.is_done })
    end)

    -- What the leader and the named one answer is written side by side, in any order.
    it("takes two writes, one after the other, before the leader gives its place up", function()
      candidates("A", "B", "C")
      local before = tonumber(server:etcdctl("get", "x", "-w", "json"):match '"revision":(%d+)')
      local text, status = lunarch "switchover"
      assert.equal(0, status, text)
      local client = assert(module.connect { endpoints = server.endpoint })
      local watch, seen = assert(client:watch("/", { prefix = true, revision = before + 1 })), {}
      repeat
        local event = assert(watch:next(5))
        local state = (event.value or ""):match "state=(%w+)"
        local key = event.key:match "request:(%w+)" or "place"
        seen[#seen + 1] = ("%s %s"):format(event.type, state or key)
      until event.type == "delete" and event.key:find(name .. "/", 1, true)
      client:close()
      assert.equal("put asked", seen[1])
      assert.equal("delete place", seen[4])
      assert.same({ ["put prepared"] = true, ["put ready"] = true }, { [seen[2]] = true, [seen[3]] = true })
      assert.equal(4, #seen)
    end)

    it("to a candidate that does not answer leaves the order of the line as it was", function()
      local all = candidates("A", "B", "C")
      local worker = tonumber(tree.read(("/proc/%d/task/%d/children"):format(all.C.pid, all.C.pid)):match "%d+")
      local function order()
        return server:etcdctl("get", "--prefix", "--sort-by=CREATE", "--print-value-only", name .. "/")
      end
      local before = order()
      process.freeze(worker or all.C.pid)
      local text, status = lunarch("switchover", "--to", "C", "--within", "4")
      assert.equal(4, status, text)
      assert.matches("C does not answer", text)
      assert.equal(before, order())
      assert.equal(1, n_elected(all.A))
      assert.is_nil(all.B:find "steps aside")
      assert.is_true(nothing_is_left())
    end)

    it("that nobody waits for any more keeps no other one away once it is refused", function()
      local all = candidates("A", "B")
      local key = "/lunarch:request:switchover:" .. name:gsub("/", "%%2F")
      server:etcdctl("put", key, "state=asked to=X by=nobody within=9")
      all.A:wait_line "does not hand .* over: X does not stand"
      local text, status
      wait.eventually(function()
        text, status = lunarch "switchover"
        return status == 0
      end, nil, "a switchover")
      assert.matches("^B leads", text)
    end)

    it("refuses an empty name", function()
      local text, status = lunarch("switchover", "--to", "")
      assert.equal(2, status, text)
      assert.matches("%-%-to: no candidate has an empty name", text)
    end)

    it("hands over to the named one, past those who step aside once; they were never elected", function()
      local all = candidates("A", "B", "C", "D", "E")
      local text, status = lunarch("switchover", "--to", "D")
      assert.equal(0, status, text)
      all.D:wait_line "^on_elected"
      all.B:wait_line "steps aside in"
      all.C:wait_line "steps aside in"
      assert.same({ 0, 0, 0 }, { n_elected(all.B), n_elected(all.C), n_elected(all.E) })
      assert.is_nil(all.E:output():find("steps aside", 1, true))
      assert.equal(1, select(2, all.B:output():gsub("steps aside", "")))
      -- All of them stand again.
      wait.eventually(function() return n_in_line() == 5 end)
      text, status = lunarch("switchover", "--to", "D")
      assert.equal(0, status)
      assert.matches("D leads /asked/%d+ already", text)
    end)

    it("says why it cannot be done, and changes nothing", function()
      local text, status = lunarch("switchover", "--to", "B")
      assert.equal(3, status)
      assert.matches("nobody leads", text)
      local all = candidates "A"
      text, status = lunarch "switchover"
      assert.equal(4, status)
      assert.matches("nobody else stands in /asked", text)
      text, status = lunarch("switchover", "--to", "X", "--json")
      assert.equal(4, status)
      assert.matches("X does not stand in /asked", json.decode(text).why)
      assert.equal(1, n_elected(all.A))
      assert.is_true(nothing_is_left())
    end)

    it("past a candidate of another client is refused, and so is one to it", function()
      local all = candidates "A"
      foreign "etcdctl"
      all.B = candidate "B"
      wait.eventually(function() return n_in_line() >= 3 end)
      local text, status = lunarch("switchover", "--to", "B", "--within", "4")
      assert.equal(4, status)
      assert.matches("etcdctl stands before B, and does not step aside", text)
      text, status = lunarch("switchover", "--to", "etcdctl", "--within", "4")
      assert.equal(4, status)
      assert.matches("etcdctl does not answer: it is no candidate of lunarch's", text)
      all.A:wait_line "does not hand /asked/%d+ over: etcdctl stands before B"
      assert.equal(1, n_elected(all.A))
    end)

    it("of a leader of another client is given up when its time is over", function()
      foreign "etcdctl"
      candidate "B"
      local text, status = lunarch("switchover", "--within", "1")
      assert.equal(1, status)
      assert.matches("the leader does not answer: nothing was changed", text)
      assert.is_true(nothing_is_left())
    end)

    it("that is planned is done at its time, can be withdrawn, and excludes others until then", function()
      local all = candidates("A", "B")
      local text, status = lunarch("switchover", "--at", "+600")
      assert.equal(0, status, text)
      text, status = lunarch "switchover"
      assert.equal(4, status)
      assert.matches("a switchover of /asked/%d+ is under way, asked for by ", text)
      assert.matches("a switchover is under way, asked for by .* %(asked%)", (lunarch "status"))
      text = lunarch("switchover", "--cancel")
      assert.matches("is withdrawn", text)
      assert.is_true(nothing_is_left())
      lunarch("switchover", "--at", "+1")
      all.B:wait_line "^on_elected"
      text, status = lunarch("switchover", "--at", "25:00")
      assert.equal(2, status)
      assert.matches("%-%-at: '25:00' is no time such as", text)
    end)

    it("that is planned leaves nothing behind in a leader, withdrawn or not, that is stopped", function()
      -- A program of its own ends with its last task.
      local text = [[
        local own = lunarch.candidate { election = arg[1], name = "A", on_elected = function() print "on_elected" end }
        local function is_asked(client)
          return client:get("/lunarch:request:switchover:" .. arg[1]:gsub("/", "%%2F")) ~= nil
        end
        lunarch.spawn(function()
          local client = lunarch.connect()
          repeat lunarch.sleep(0.01) until is_asked(client)
          print "asked"
          lunarch.sleep(0.2)
          repeat lunarch.sleep(0.01) until not is_asked(client) or io.open(arg[2])
          own:stop()
          client:close()
        end)
        own:run()
        print "has run"
      ]]
      for _, is_withdrawn in ipairs { true, false } do
        local flag = tree.folder() .. "/stop"
        local child = process.start {
          "lunarch", "run", script.write(text), "--endpoints", server.endpoint, name, flag,
        }
        child:wait_line "^on_elected"
        local b = candidate "B"
        wait.eventually(function() return n_in_line() == 2 end)
        lunarch("switchover", "--at", "+600")
        child:wait_line "^asked"
        if is_withdrawn then lunarch("switchover", "--cancel") else io.open(flag, "w"):close() end
        child:wait_line "^has run"
        assert.equal(0, (child:wait_exit()))
        b:kill9()
        server:etcdctl("del", "--prefix", name .. "/")
        server:etcdctl("del", "--prefix", "/lunarch:request:")
      end
    end)

    it("takes some time: none at all is no limit", function()
      local text, status = lunarch("switchover", "--within", "0")
      assert.equal(2, status)
      assert.matches("%-%-within: it has to be more than 0 seconds", text)
    end)

    it("is told at debug by all who hear of it: what is asked, and each step of it", function()
      local a = candidate("A", nil, "--log-level", "debug")
      a:wait_line "^on_elected"
      local b = candidate("B", nil, "--log-level", "debug")
      wait.eventually(function() return n_in_line() == 2 end)
      local c = candidate("C", nil, "--log-level", "debug")
      wait.eventually(function() return n_in_line() == 3 end)
      lunarch("switchover", "--to", "C")
      c:wait_line "^on_elected"
      for _, case in ipairs {
        { a, "DEBUG A: a switchover of /asked/%d+ to C, asked for by .*: asked" },
        { a, "INFO  A: asked to hand /asked/%d+ over to C, by " },
        { b, "INFO  B: steps aside in /asked/%d+, as .* asked" },
        { c, "DEBUG C: is ready to lead /asked/%d+, as .* asked" },
        { a, "DEBUG A: no switchover of /asked/%d+ is asked for any more" },
      } do
        wait.eventually(function() return case[1]:find(case[2]) end, nil, case[2])
      end
    end)

    it("is not planned for longer than a day, and says so", function()
      local all = candidates("A", "B")
      for _, at in ipairs { "+86400", "+1" .. ("0"):rep(400), "9999-12-31T23:59" } do
        local text = lunarch("switchover", "--at", at)
        assert.matches("a request lasts 86400 s at most", text)
        assert.is_nil(text:find "traceback")
      end
      assert.equal(1, n_elected(all.A))
      assert.is_true(nothing_is_left())
    end)

    it("that cannot be read, or is a flood, costs nobody anything, and moves no cursor", function()
      local all = candidates("A", "B")
      local key = "/lunarch:request:switchover:" .. name:gsub("/", "%%2F")
      for _, value in ipairs {
        "", "=== = state= by= %% x=%zz", "state=asked at=1e999 within=nan token=1e400", "state=prepared rev=1e400",
        "state=asked within=nan to=%1B[31mX%0d%00 by=a%0D%1B]0;b%07%ff", "state=going place=x rev=nan from=nan",
        "state=asked token=nan by=" .. ("x"):rep(100000),
      } do
        server:etcdctl("put", "--", key, value)
        wait.pass(0.2)
        server:etcdctl("del", key)
      end
      all.A:wait_line "does not hand .* over"
      assert.is_nil(all.A:output():find "[\r\27\7]")
      assert.is_nil(all.A:output():find(("x"):rep(300)))
      assert.equal(1, n_elected(all.A) + n_elected(all.B))
      assert.matches("B leads", (lunarch "switchover"))
    end)

    it("with --dry-run says what would be done", function()
      local all = candidates("A", "B", "C")
      assert.matches("A would hand /asked/%d+ over to C, once B has stepped aside",
        (lunarch("switchover", "--to", "C", "--dry-run")))
      assert.is_true(nothing_is_left())
      assert.equal(0, n_elected(all.C))
    end)

    it("below a prefix keeps its key there", function()
      local a = candidate("A", nil, "--prefix", "/team")
      a:wait_line "^on_elected"
      local b = candidate("B", nil, "--prefix", "/team")
      wait.eventually(function()
        return select(2, server:etcdctl("get", "--prefix", "--keys-only", "/team" .. name .. "/"):gsub("%S+", "")) == 2
      end)
      lunarch("switchover", "--prefix", "/team", "--at", "+600")
      assert.matches("^/team/lunarch:request:switchover:%%2Fasked%%2F%d+",
        (server:etcdctl("get", "--prefix", "--keys-only", "/team/lunarch:")))
      lunarch("switchover", "--prefix", "/team", "--cancel")
      local _, status = lunarch("switchover", "--prefix", "/team")
      assert.equal(0, status)
      b:wait_line "^on_elected"
    end)

    it("by the leader itself ends its term, or says why not", function()
      local text = HANDLERS:gsub("function do_work%(%) return 0.05 end", [[
        function do_work(term)
          print("answer " .. select(3, term:hand_over("B", 2)))
          return 0.05
        end
      ]])
      local a = candidate("A", text)
      a:wait_line "^answer refused"
      local b = candidate "B"
      a:wait_line "^on_lost handed_over"
      b:wait_line "^on_elected"
    end)
  end)

  it("at the prompt is asked by switchover, pause_line and resume_line", function()
    local all = candidates("A", "B")
    local child = process.start { "lunarch", "-e", ([[
      print(switchover(NAME).value, select(3, switchover(NAME, "X")))
      print(pause_line(NAME, 60), resume_line(NAME), resume_line(NAME))
    ]]):gsub("NAME", ("%q"):format(name)), "--endpoints", server.endpoint }
    child:wait_line "^B%s+refused"
    child:wait_line "^true%s+true%s+false"
    all.B:wait_line "^on_elected"
  end)

  it("by candidates that may not read such keys is not heard, which they say once, and lead all the same", function()
    local own = etcd.start {}
    users.add_root(own)
    users.add(own, "alice:secret", "a", "readwrite", "/a/")
    users.must(own, "auth", "enable")
    local child = script.start(HANDLERS, {
      "--endpoints", own.endpoint, "--election", "/a/x", "--user", "alice", env = { LUNARCH_PASSWORD = "secret" },
    })
    child:wait_line "hears no requests %(switchover, pause%): "
    child:wait_line "^on_elected"
    child:signal "sigterm"
    assert.equal(0, child:wait_exit())
    own:stop()
  end)

  describe("to pause", function()
    it("has nobody take over until it is resumed; the leader goes on", function()
      local all = candidates("A", "B", "C")
      local text, status = lunarch "pause"
      assert.equal(0, status, text)
      assert.matches("is paused for 3600 s; A leads", text)
      all.D = candidate "D"
      all.D:wait_line "does not stand in .*: it is paused by "
      all.A:signal "sigkill"
      server:etcdctl("del", "--prefix", name .. "/")
      text, status = lunarch("switchover", "--to", "B")
      assert.equal(3, status, text)
      assert.same({ 0, 0, 0 }, { n_elected(all.B), n_elected(all.C), n_elected(all.D) })
      assert.matches("is paused by .*: no candidate of lunarch takes over", (lunarch "status"))
      assert.matches('"pause":{"by":', (lunarch("status", "--json")))
      text, status = lunarch "resume"
      assert.equal(0, status)
      assert.matches("goes on; it was paused by ", text)
      wait.eventually(function() return n_elected(all.B) + n_elected(all.C) + n_elected(all.D) == 1 end)
      assert.matches("is not paused", (lunarch "resume"))
    end)

    it("anew replaces the pause that is there; one that is refused leaves it", function()
      local key = "/lunarch:request:pause:" .. name:gsub("/", "%%2F")
      assert.equal(0, select(2, lunarch "pause"))
      local text, status = lunarch("pause", "--for", "86401")
      assert.equal(2, status, text)
      assert.equal(0, select(2, lunarch("pause", "--for", "86400")))
      local created = server:etcdctl("get", key, "-w", "json")
      assert.matches('"version":2', created)
    end)

    it("with the lease of another does not end that lease with the pause", function()
      local all = candidates "A"
      local key = "/lunarch:request:pause:" .. name:gsub("/", "%%2F")
      server:etcdctl("put", "--lease=" .. line():match "/(%x+)%s*$", key, "by=B")
      assert.equal(0, select(2, lunarch "resume"))
      wait.pass(0.3)
      assert.is_nil(all.A:find "on_lost")
      assert.matches(name, line())
    end)

    it("ends by itself, and names those that wait all the same", function()
      local all = candidates("A", "B")
      foreign "etcdctl"
      local text, status = lunarch("pause", "--for", "3", "--json")
      assert.equal(4, status)
      assert.same({ "etcdctl" }, json.decode(text).waiting)
      all.B:wait_line "stands again in"
    end)
  end)
end)
