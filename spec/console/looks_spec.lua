-- limit: 120 s
-- lunarch list, status, watch and observe: elections and locks of ours, of etcdctl, and what is wrong with a line.
local etcd = require "support.etcd"
local json = require "cjson"
local lunarch = require "lunarch"
local process = require "support.process"
local tree = require "support.tree"
local users = require "support.users"
local wait = require "support.wait"

describe("a look", function()
  local server, client, session, other, term, mutex

  local function run(...)
    local words = { "lunarch", ... }
    words[#words + 1], words[#words + 2] = "--endpoints", server.endpoint
    local output, status = process.run(words)
    return output, status
  end

  local function rows(text)
    local found = {}
    for line in text:gmatch "[^\n]+" do
      found[#found + 1] = line:gsub(" +", " ")
    end
    return found
  end

  setup(function()
    server = etcd.start()
    client = assert(lunarch.connect { endpoints = server.endpoint, name = "spec" })
    session = assert(client:session { ttl = 60 })
    mutex = assert(session:mutex "/looks/lock")
    assert(mutex:lock(5))
    term = assert(assert(session:election "/looks/election"):campaign("A", 5))
    -- A second place of ours, as the one of a candidate that waits.
    other = assert(client:session { ttl = 30 })
    client:put("/looks/election/" .. other.lease:gsub("^0+", ""), "B", { lease = other.lease })
    process.start { tree.etcdctl, "--endpoints", server.endpoint, "lock", "/looks/foreign" }
    wait.eventually(function() return client:get("/looks/foreign/", { prefix = true })[1] end)
    client:put("/looks/plain", "no line of any kind")
  end)

  teardown(function()
    process.end_all()
    client:close(5)
    server:stop()
  end)

  it("lists elections and locks, those of etcdctl too", function()
    local output, status = run("list", "/looks")
    assert.equal(0, status)
    local found = rows(output)
    assert.equal(4, #found, output)
    assert.equal("NAME KIND HELD BY TOKEN WAITING", found[1])
    assert.equal(("/looks/election election A %d 1"):format(term.token), found[2])
    assert.truthy(found[3]:find "^/looks/foreign lock %(a foreign client%) %d+ 0$", output)
    assert.truthy(found[4]:find "^/looks/lock lock spec on %S+ %(pid %d+%) %d+ 0$", output)
    output, status = run("list", "/looks/e")
    assert.same({ 2, 0 }, { #rows(output), status })
    output, status = run("list", "/nothing")
    assert.same({ "no election and no lock is in etcd\n", 3 }, { output, status })
  end)

  it("gives programs one value a line", function()
    local output = run("list", "/looks", "--json")
    local names = {}
    for line in output:gmatch "[^\n]+" do
      local value = json.decode(line)
      names[#names + 1] = ("%s %s %d"):format(value.name, value.kind, value.waiting)
    end
    assert.same({ "/looks/election election 1", "/looks/foreign lock 0", "/looks/lock lock 0" }, names)
    local found = json.decode((run("status", "/looks/lock", "--json")))
    assert.equal(mutex.token, found.first.token)
    assert.equal(mutex.key, found.first.key)
    assert.truthy(found.is_held and found.first.pid > 0 and found.first.host ~= "")
    assert.same({ {}, {} }, { found.waiting, found.wrong })
  end)

  it("shows a line place by place, and says by its status whether anybody leads", function()
    local output, status = run("status", "/looks/election")
    assert.equal(0, status)
    local found = rows(output)
    assert.truthy(found[1]:find(("^A leads /looks/election, token %d, for %%d+ revisions? of etcd; 1 waits$")
      :format(term.token)), output)
    assert.equal("PLACE WHO TOKEN LEASE LEFT KEY", found[2])
    assert.truthy(found[3]:find("^ 1 A " .. term.token .. " %d+ of 60 s " .. term.key .. "$"), output)
    assert.truthy(found[4]:find "^ 2 B %d+ %d+ of 30 s /looks/election/%x+$", output)
    assert.same({ "nobody leads or holds /looks/none, and nobody waits\n", 3 }, { run("status", "/looks/none") })
    output, status = run("status", "/looks/foreign")
    assert.equal(0, status)
    assert.truthy(output:find "%(a foreign client%) holds /looks/foreign")
  end)

  it("says what is wrong with a line: a key without a lease, a name inside of the name", function()
    client:put("/looks/blocked/config", "1")
    local lease = assert(client:lease { ttl = 60 }).id
    client:put("/looks/blocked/inner/" .. lease:gsub("^0+", ""), "X", { lease = lease })
    client:put("/looks/blocked/" .. lease:gsub("^0+", ""), "Y", { lease = lease })
    local output, status = run("status", "/looks/blocked")
    assert.equal(3, status)
    local listed = run("list", "/looks/blocked")
    for text, expected in pairs {
      ["nobody leads or holds /looks/blocked: it is blocked by the key /looks/blocked/config"] = output,
      ["! /looks/blocked/config is bound to no lease: it stays in the line until it is deleted"] = output,
      ["belongs to /looks/blocked/inner, a name inside of /looks/blocked"] = output,
      ["! /looks/blocked: the key /looks/blocked/config is bound to no lease"] = listed,
      ["! /looks/blocked/inner: it is inside of the name /looks/blocked"] = listed,
    } do
      assert.truthy(expected:find(text, 1, true), expected)
    end
    client:delete("/looks/blocked/", { prefix = true })
    client:revoke(lease)
  end)

  local function start(...)
    return process.start { "lunarch", ... }
  end

  it("shows values of every kind in a line of text, and tells programs what they are", function()
    local lease = assert(client:lease { ttl = 60 }).id
    local digits = lease:gsub("^0+", "")
    client:put("/looks/odd/" .. digits, "\27[31m\200日本\194\155\n", { lease = lease })
    client:put("/looks/odd/" .. digits .. "-2", ("long"):rep(1000), { lease = lease })
    for _, command in ipairs { "list", "status", "observe", "watch" } do
      local output
      if command == "watch" then
        local watch = process.start { "lunarch", "watch", "/looks/odd", "--endpoints", server.endpoint }
        watch:wait_line "waits, place 2"
        output = watch:output()
      elseif command == "observe" then
        output = run("observe", "/looks/odd", "--once")
      else
        output = run(command, "/looks/odd")
      end
      assert.falsy(output:find("\27", 1, true) or output:find("\194\155", 1, true), output)
      assert.truthy(output:find("\\x1b[31m\\xc8日本\\xc2\\x9b\\n", 1, true), output)
    end
    local output = run("status", "/looks/odd")
    assert.truthy(output:find("longlong... %(4000 bytes%)   +%d+ "), output)
    local first = json.decode((run("status", "/looks/odd", "--json"))).first
    assert.equal("\27[31m\u{FFFD}日本\u{9b}\n", first.value)
    client:revoke(lease)
  end)

  it("watches a line: who comes, who leaves, who holds", function()
    local watch = start("watch", "/looks/watched", "--endpoints", server.endpoint)
    watch:wait_line "nobody is in the line"
    local first, second = assert(session:mutex "/looks/watched"), assert(session:mutex "/looks/watched")
    assert(first:lock(5))
    watch:wait_line("spec on %S+ %(pid %d+%)  acquired, token " .. first.token)
    local task = lunarch.spawn(function() second:lock(20) end)
    wait.eventually(function() return watch:find "waits, place 2" end)
    assert(first:unlock())
    watch:wait_line "released it, or lost it"
    watch:wait_line "acquired, token"
    task:join(5)
    second:unlock()
    watch:signal "sigint"
    assert.equal(130, (watch:wait_exit()))
  end)

  it("says once that etcd does not answer, and goes on when it does", function()
    local own = etcd.start()
    own:freeze()
    local watch = start("watch", "/looks/silent", "--endpoints", own.endpoint)
    watch:wait_line "no etcd member answered within 3 s .*; trying again"
    own:thaw()
    watch:wait_line "nobody is in the line"
    own:stop()
  end)

  it("says at once that it may not read, and to whom it would have to say who it is", function()
    local own = etcd.start()
    users.add_root(own)
    users.add(own, "joe:j", "few", "read", "/mine/")
    users.must(own, "auth", "enable")
    for _, words in ipairs { { "list" }, { "status", "/x" }, { "watch", "/x" }, { "observe", "/x" },
      { "observe", "/x", "--once" }, { "explain", "/x" } } do
      local command = { "lunarch", table.unpack(words) }
      command[#command + 1], command[#command + 2] = "--endpoints", own.endpoint
      command.env = { LUNARCH_USER = "joe", LUNARCH_PASSWORD = "j" }
      local output, status = process.run(command)
      assert.equal(2, status, output)
      local what = words[1] == "list" and "get of all keys" or "get /x/"
      assert.truthy(output:find("^lunarch: " .. what .. ": user joe: etcdserver: permission denied"), output)
    end
    local output, status = process.run { "lunarch", "list", "/mine/", "--endpoints", own.endpoint,
      env = { LUNARCH_USER = "joe", LUNARCH_PASSWORD = "j" } }
    assert.same({ 3, "no election and no lock is in etcd\n" }, { status, output })
    own:stop()
  end)

  it("observes the leader of an election", function()
    assert.equal(3, select(2, run("observe", "/looks/observed", "--once")))
    local observe = start("observe", "/looks/observed", "--endpoints", server.endpoint)
    observe:wait_line "there is no leader"
    local led = assert(assert(session:election "/looks/observed"):campaign("the value", 5))
    observe:wait_line("the value, token " .. led.token)
    local output, status = run("observe", "/looks/observed", "--once", "--json")
    assert.equal(0, status)
    assert.equal(led.token, json.decode(output).token)
    led:resign()
    observe:wait_line "there is no leader"
  end)

  it("tells an etcd that does not answer from a mistake", function()
    local output, status = process.run { "lunarch", "status", "/x", "--endpoints", "127.0.0.1:1", "--timeout", "0.5" }
    assert.equal(1, status, output)
    output, status = run("status", "/x/")
    assert.equal(2, status)
    assert.truthy(output:find("does not end in '/'", 1, true), output)
    assert.equal(2, select(2, run "status"))
    assert.equal(2, select(2, run("list", "--timeout", "soon")))
    for _, verb in ipairs { "status", "explain", "switchover" } do
      output, status = process.run { "lunarch", verb, "/x", "--endpoints", "no host:1" }
      assert.equal(2, status, output)
      assert.matches("^lunarch: %-%-endpoints: endpoint \"no host:1\": several are separated by commas", output)
    end
    output, status = process.run { "lunarch", "list", env = { LUNARCH_ENDPOINTS = "no host:1" } }
    assert.equal(2, status, output)
    assert.matches("^lunarch: LUNARCH_ENDPOINTS: endpoint \"no host:1\"", output)
    output = process.run { "sh", "-c", "echo members | \"$0\" console --endpoints 'no host:1'", tree.program }
    assert.matches("^%-%-endpoints: endpoint \"no host:1\"", output)
  end)
end)
