-- limit: 180 s
-- The verbs of the console on a real etcd: what each does, and the sentence where there is none. Typed into a pipe.
local etcd = require "support.etcd"
local lunarch = require "lunarch"
local process = require "support.process"
local tree = require "support.tree"
local uv = require "luv"
local verbs = require "lunarch.console.verbs"

for _, name in ipairs { "cluster", "dev" } do
  describe("in the world " .. name, function()
    local server, client, flags, env

    setup(function()
      server = etcd.start()
      client = assert(lunarch.connect { endpoints = server.endpoint, name = "spec" })
      flags = name == "dev" and { ("--dev=console-%d"):format(uv.os_getpid()) } or { "--endpoints", server.endpoint }
      env = { ETCD = tree.etcd, LUNARCH_ENDPOINTS = false }
    end)
    teardown(function()
      client:close(5)
      server:stop()
    end)
    after_each(process.end_all)

    -- Everything that the console says to these lines. `-- PATTERN` at the end of one: the next is typed once that
    -- was said.
    local function say(lines, script)
      local words = { "lunarch", "console", script or flags[1], table.unpack(flags, script and 1 or 2) }
      words.stdin, words.env = true, env
      local child = process.start(words)
      for line in lines:gmatch "[^\n]+" do
        local typed, awaited = line:match "^(.-) %-%- (.*)$"
        child:write((typed or line) .. "\n")
        if awaited then child:wait_line(awaited) end
      end
      child:close_stdin()
      local status = child:wait_exit()
      local out = {}
      for _, line in ipairs(child:lines()) do
        if line.from == "out" then out[#out + 1] = line.text end
      end
      return table.concat(out, "\n") .. "\n", status
    end

    local function expect(output, ...)
      for _, text in ipairs { ... } do
        assert.truthy(output:find(text), ("'%s' is not in:\n%s"):format(text, output))
      end
    end

    it("says of each verb that it has not why not, in a sentence that ends the call alone", function()
      local lines = {}
      for verb, it in pairs(verbs.by_name) do
        if it.worlds and not it.worlds[name] then lines[#lines + 1] = verb .. "(1)\n'after " .. verb .. "'" end
      end
      assert.truthy(#lines > 10)
      local output, status = say(table.concat(lines, "\n"))
      for _, line in ipairs(lines) do
        local verb = line:match "^[%w_]+"
        expect(output, verb .. ': not here, because [^\n]+; `lunarch console %-%-[^\n]+\n"after ' .. verb .. '"\n')
      end
      assert.equal(1, status)
    end)

    it("has elections, locks, line and members", function()
      local output, status = say [[
        candidate("/verbs/e", "A") -- A  elected
        lock("/verbs/l", 5) do end
        elections() locks("/verbs/l")
        elections("/verbs")
        locks("/verbs/l")
        line("/verbs/e")
        members()
        line("/verbs/none")
        locks("/none")
      ]]
      expect(output, "NAME +LEADER +TOKEN +WAITING\n/verbs/e +A +%d+ +0\n",
        "NAME +HOLDER +TOKEN +WAITING\n/verbs/l +%S+ %(pid",
        "PLACE +WHO +TOKEN +LEASE LEFT +KEY\n +1 +A +%d+ +%d+ of 10 s +/verbs/e/%x+\n", "ENDPOINT +ROLE +ETCD",
        "leader +3%.", "nobody is in this line", "no lock is in etcd")
      assert.equal(0, status)
    end)

    it("has follow and unfollow", function()
      local output = say [[
        follow "/verbs/f" -- nobody is in the line
        x = lock("/verbs/f", 5) -- /verbs/f: acquired
        unfollow "/verbs/f"
        leave(x)
        unfollow "/verbs/f"
      ]]
      expect(output, "/verbs/f: nobody is in the line\n", "/verbs/f: acquired, token %d+\n",
        'nil, "/verbs/f is not followed", "invalid"')
      assert.falsy(output:find("released", 1, true))
    end)

    it("has candidate with its handlers, resign and leave", function()
      local output, status = say [[
        function do_work(term) print("works as " .. term.value) return 60 end
        a = candidate("/verbs/c", "A", { ttl = 5 }) -- works as A
        b = candidate("/verbs/c", "B", { ttl = 5 }) -- B  leader is A
        a
        b
        resign(a) -- B  elected
        b
        a.term:put("/verbs/late", "x")
        resign("B") do end
        leave(b)
        leave()
        leave()
        resign()
      ]]
      expect(output, "A  elected, token %d+\n", "works as A\n",
        "candidate A in /verbs/c: leads, token %d+, in do_work; told to stop in %d%.%d s, lost in %d%.%d s if etcd ",
        "candidate B in /verbs/c: standing", "B  leader is A\n", "A  on_lost %(resigned%)\n", "B  elected, token %d+\n",
        "candidate B in /verbs/c: leads", 'nil, "[^\n]*", "lost"', "B left /verbs/c", "A .- /verbs/c\n",
        'nil, "nothing is held here, and no candidate stands", "not_owner"',
        'nil, "no candidate leads here", "not_leader"')
      assert.equal(0, status)
    end)

    it("knows of a candidate what a lab knows, and lets time pass", function()
      local output, status = say [[
        a = candidate("/verbs/k", "A", { ttl = 5 })
        until_(function() return a.leads end)
        a.is_up, a.is_paused, a.token == line("/verbs/k")[1].token, a.lease == line("/verbs/k")[1].lease
        a.elected_at > 0, a.lost_at, a.reason, a.expiry > a.elected_at, #a.terms, a.nothing
        resign(a)
        until_(function() return a.lost_at end)
        a.leads, a.lost_at >= a.elected_at, a.reason, a.terms[1].reason
        leave(a)
        a.is_up
        until_(function() end, 0.1)
        run(0.1)
        print(pcall(run, -1))
        help(run)
      ]]
      expect(output, "\ntrue\ntrue, false, true, true\ntrue, nil, nil, true, 1, nil\n",
        'A resigned from /verbs/k\n.*true\n.*false, true, "resigned", "resigned"\n', "A left /verbs/k\nfalse\n",
        'nil, "it has not become true within 0.1 s", "timeout"\n', "\nfalse\t[^\n]*'seconds' must be [^\n]+\n",
        "\nrun%(seconds%)\n")
      assert.equal(0, status)
    end)

    it("has switchover, pause_line and resume_line, which ask first on a cluster of others", function()
      local output = say [[
        a = candidate("/verbs/s", "A", { ttl = 5 }) until_(function() return a.leads end) do end
        b = candidate("/verbs/s", "B", { ttl = 5 }) until_(function() return line("/verbs/s")[2] end) do end
        switchover("/verbs/s", "B")
        pause_line("/verbs/s", 60)
        resume_line "/verbs/s"
        resume_line "/verbs/s"
        switchover "/verbs/none"
      ]]
      local not_agreed = 'nil, "not done: it was not agreed to", "cancelled"\n'
      expect(output, name == "dev" and 'lunarch.leader: "B" %(token %d+%)\n.*true\n.*true\n.*false\n'
        or not_agreed .. not_agreed .. "false\nfalse\n", 'nil, "nobody leads /verbs/none", "no_leader"')
    end)

    it("has revoke, which is asked about on a cluster of others, and refused where nobody can answer", function()
      local output = say([[
        a = candidate("/verbs/revoked", "A", { ttl = 5 }) -- A  elected
        revoke(a) -- ]] .. (name == "dev" and "A  on_lost" or "not revoked") .. [[

        revoke ""
        revoke "/verbs/nothing"
        client:put("/verbs/bare/k", "x")
        revoke(line("/verbs/bare")[1])
      ]])
      expect(output, name == "dev" and "\ntrue\n.*A  on_lost %(" or 'nil, "not revoked", "cancelled"\n',
        "revoke: 'x' must be [^\n]+\n", 'nil, "there is no key /verbs/nothing bound to a lease", "invalid"\n',
        'nil, "the key /verbs/bare/k is bound to no lease", "invalid"\n')
    end)

    it("has history and timeline", function()
      local picture = tree.folder() .. "/f.svg"
      local output, status = say(([[
        a = candidate("/verbs/h", "A", { ttl = 5 }) -- A  elected
        b = candidate("/verbs/h", "B", { ttl = 5 }) -- B  leader is A
        leave(a) do end -- B  elected
        history "/verbs/h"
        timeline()
        timeline %q
      ]]):format(picture))
      expect(output, "\nA +%d+ +%d+ +%d+ ", "\nB +%d+ +%d+ +%- ", "\n  A +-*=+[-S.VX ]*\n", "\n  B +[- ]+=+\n",
        "= leads")
      expect(tree.read(picture), "^<svg")
      assert.equal(0, status)
    end)

    it("has try and lock", function()
      local output = say [[
        try "/verbs/t"
        try "/verbs/t"
        lunarch.connect():session():mutex("/verbs/t"):try_lock()
        lock("/verbs/t", 0.1)
        lock("/verbs/u", 1).token == line("/verbs/u")[1].token
        leave "/verbs/u"
      ]]
      expect(output, "^lock /verbs/t: held, token %d+; told to stop in", 'nil, "it is held here already", "locked"',
        'nil, "locked by [^\n]*", "locked"', "\ntrue\n", "\nunlocked /verbs/u\n", "\nunlocked /verbs/t\n")
    end)

    it("loads the globals of a script, with whose handlers a candidate stands", function()
      local path = tree.folder() .. "/failover.lua"
      tree.write(path, [[
        election = "/verbs/script"
        function do_work(term) print("the script works, token " .. term.token) return 60 end
      ]])
      local output = say('candidate(nil, "S") -- the script works', path)
      expect(output, "S  elected, token %d+\n", "the script works, token %d+\n", "S gave up /verbs/script\n")
      output = say(('candidate("/verbs/other", "T", { script = %q }) -- the script works'):format(path))
      expect(output, "T  elected, token %d+\n", "the script works, token %d+\n", "T gave up /verbs/other\n")
    end)

    it("records what was typed as a script that runs", function()
      local path = tree.folder() .. "/recorded.lua"
      local output = say(([[
        x = 40
        x + 2 --the answer
        = 6 * 7 + 1
        local y = 44 return y
        return 45
        no_such()
        show((x));
        ...
        =z = 46
        t = {}
        (t).n = 47
        local z = 48 t.n = z
        if t.n then return z, t.n end
        ::again:: x = 1
        ::again:: x = 2
        local function f() local n = 49 return n end
        f()
        local z
        print(z)
        lock("/verbs/r", 5)
        locks("/verbs/r")
        record %q
      ]]):format(path))
      expect(output, "20 lines in ")
      local words = { "lunarch", "run", path, table.unpack(flags) }
      words.env = env
      local status
      output, status = process.run(words)
      assert.equal(0, status, output)
      expect(output, "42\n43\n44\n45\n40\n46, 48\n49\nnil\n",
        "lock /verbs/r: held, token %d+", "/verbs/r +%S+ %(pid %d+%) +%d+ +0\n")
    end)
  end)
end
