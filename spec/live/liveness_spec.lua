-- L3 and L4: no waiter sleeps for ever, whatever happens to etcd and to the way there; and everything ends in time.
local clock = require "support.clock"
local etcd = require "support.etcd"
local lunarch = require "lunarch"
local process = require "support.process"
local proxies = require "support.proxy"
local scene = require "live.support.scene"
local tree = require "support.tree"

local TTL = 20

-- Notes what an observer tells: a value, or "nobody".
local function follow(client, line)
  local told = {}
  local observer = client:observe(line)
  lunarch.spawn(function()
    for leader in observer do
      told[#told + 1] = leader.value or "nobody"
    end
  end)
  return told
end

local function await_told(told, value)
  scene.eventually(function() return told[#told] == value end, nil, ("the observer to tell '%s'"):format(value))
end

local function stand(session, line, value)
  local one = { session = session }
  one.task = lunarch.spawn(function()
    one.term, one.message, one.code = session:election(line):campaign(value)
  end)
  return one
end

-- Somebody leads, somebody waits, somebody observes: three clients by way of `endpoints`. The story happens, and then
-- the line must move on.
local function play_through(endpoints, line, admin, story)
  local leading = assert(scene.connect(endpoints):session { ttl = TTL }):election(line):campaign "first"
  local waiting = stand(assert(scene.connect(endpoints):session { ttl = TTL }), line, "second")
  local told = follow(scene.connect(endpoints), line)
  scene.await_line(admin, line, 2)
  await_told(told, "first")
  story(leading)
  assert.is_nil(leading.reason)
  assert.equal("alive", (scene.eventually(function()
    local state = waiting.session:state()
    return state ~= "jeopardy" and state
  end)))
  assert(leading:resign(scene.LIMIT))
  scene.join(waiting.task)
  assert(waiting.term, waiting.message)
  await_told(told, "second")
  assert(waiting.term:resign(scene.LIMIT))
  await_told(told, "nobody")
  for _, value in ipairs(told) do
    assert.is_true(value == "first" or value == "second" or value == "nobody")
  end
end

describe("a leader, a waiter and an observer", function()
  local server, proxy, admin, line
  local n = 0

  setup(function() server = etcd.start() end)
  teardown(function() server:stop() end)

  before_each(function()
    n = n + 1
    line = "/liveness/" .. n
    proxy = proxies.start(server.client_port)
  end)

  after_each(function() proxy:stop() end)

  local function compact()
    for i = 1, 20 do
      assert(admin:put("/liveness-noise", tostring(i)))
    end
    local _, revision = assert(admin:put("/liveness-noise", "last"))
    local output, ok = server:etcdctl("compact", tostring(revision))
    assert(ok, output)
  end

  it("go on after a compaction that came while they were cut off", scene.play(function()
    admin = scene.connect(server.endpoint)
    play_through(proxy.endpoint, line, admin, function()
      proxy:refuse()
      proxy:cut()
      compact()
      proxy:accept()
    end)
  end))

  it("go on after a compaction while all was well", scene.play(function()
    admin = scene.connect(server.endpoint)
    play_through(proxy.endpoint, line, admin, compact)
  end))

  it("go on when every connection is reset again and again", scene.play(function()
    admin = scene.connect(server.endpoint)
    play_through(proxy.endpoint, line, admin, function()
      for _ = 1, 25 do
        proxy:cut()
        lunarch.sleep(math.random() * 0.15)
      end
    end)
  end))

  it("go on when the network was silent for a while", scene.play(function()
    admin = scene.connect(server.endpoint)
    play_through(proxy.endpoint, line, admin, function()
      proxy:go_silent()
      lunarch.sleep(0.4 * TTL)
      proxy:heal()
    end)
  end))

  it("go on when etcd was killed with -9 and started again", scene.play(function()
    admin = scene.connect(server.endpoint)
    play_through(server.endpoint, line, admin, function()
      for _ = 1, 2 do
        server:kill9()
        lunarch.sleep(0.5)
        server:restart()
      end
    end)
  end))

  it("hear of a place that was left while they were cut off", scene.play(function()
    admin = scene.connect(server.endpoint)
    local leading = assert(admin:session { ttl = TTL }):election(line):campaign "first"
    local waiting = stand(assert(scene.connect(proxy.endpoint):session { ttl = TTL }), line, "second")
    local told = follow(scene.connect(proxy.endpoint), line)
    scene.await_line(admin, line, 2)
    await_told(told, "first")
    proxy:refuse()
    proxy:cut()
    assert(leading:resign(scene.LIMIT))
    compact()
    proxy:accept()
    scene.join(waiting.task)
    assert(waiting.term, waiting.message)
    await_told(told, "second")
  end))

  it("go on when most members stood still for a while", scene.play(function()
    local cluster = etcd.cluster(3)
    local ok, err = pcall(function()
      admin = scene.connect(cluster.endpoints)
      -- They see one member only, which keeps running, and loses its leader.
      local kept = cluster:followers()[1]
      play_through(kept.endpoint, line, admin, function()
        for _, member in ipairs(cluster.members) do
          if member ~= kept then member:freeze() end
        end
        lunarch.sleep(4)
        for _, member in ipairs(cluster.members) do
          if member ~= kept then member:thaw() end
        end
        cluster:leader()
      end)
    end)
    cluster:stop()
    if not ok then error(err, 0) end
  end))
end)

describe("an observer", function()
  local server
  setup(function() server = etcd.start() end)
  teardown(function() server:stop() end)

  it("says when there is nobody: at first, after a resignation, after a lease's end", scene.play(function()
    local line = "/observed"
    local told = follow(scene.connect(server.endpoint), line)
    await_told(told, "nobody")
    local client = scene.connect(server.endpoint)
    local session = assert(client:session { ttl = 2 })
    local election = session:election(line)
    local term = assert(election:campaign "A")
    await_told(told, "A")
    assert(term:proclaim "A again")
    await_told(told, "A again")
    assert(term:resign())
    await_told(told, "nobody")
    assert(election:campaign "B")
    await_told(told, "B")
    session:orphan()
    await_told(told, "nobody")
    assert.same({ "nobody", "A", "A again", "nobody", "B", "nobody" }, told)
  end))
end)

describe("fifty waiters in one line, some of whom die,", function()
  local server
  setup(function() server = etcd.start() end)
  teardown(function() server:stop() end)

  local PROCESSES, EACH, DEAD_TTL = 5, 10, 2

  it("are served in order, each survivor exactly once, never two at once", scene.play(function()
    math.randomseed()
    local line = "/fifty"
    local client = scene.connect(server.endpoint)
    local gate = assert(client:session()):mutex(line)
    assert(gate:lock())
    local queuers = {}
    for i = 1, PROCESSES do
      queuers[i] = process.start {
        "lunarch", "run", tree.root .. "/spec/live/support/queuer.lua", "--", server.endpoint, line, DEAD_TTL, EACH,
      }
    end
    scene.await_line(client, line, 1 + PROCESSES * EACH)
    queuers[1]:kill9()
    assert(gate:unlock())
    lunarch.sleep(math.random() * 0.1)
    queuers[2]:kill9()
    local died = clock.now()
    for i = 3, PROCESSES do
      scene.eventually(function() return not queuers[i]:is_running() end, nil, "the waiters to be served")
      local status = queuers[i]:wait_exit()
      assert.equal(0, status, queuers[i]:output())
    end
    local served_s = clock.now() - died

    local turns, n_of = {}, {}
    for _, queuer in ipairs(queuers) do
      for _, line_said in ipairs(queuer:find_all "^got ") do
        local t, token, lease = line_said.text:match "^got ([%d.]+) (%d+) (%x+)"
        local gave = queuer:find(("^gave [%%d.]+ %s "):format(token))
        turns[#turns + 1] = {
          got = tonumber(t), token = math.tointeger(token), lease = lease,
          gave = gave and tonumber(gave.text:match "^gave ([%d.]+)"),
        }
        n_of[lease] = (n_of[lease] or 0) + 1
      end
    end
    table.sort(turns, function(a, b) return a.got < b.got end)
    for i, turn in ipairs(turns) do
      assert.equal(1, n_of[turn.lease])
      local next_turn = turns[i + 1]
      if next_turn then
        assert.is_true(turn.token < next_turn.token, "served out of order")
        assert.is_true(turn.gave == nil or turn.gave <= next_turn.got, "two at once")
      end
    end
    local n_survivors = 0
    for i = 3, PROCESSES do
      n_survivors = n_survivors + #queuers[i]:find_all "^gave "
    end
    assert.equal((PROCESSES - 2) * EACH, n_survivors)
    print(("%d were served, the last one %.2f s after the last death"):format(#turns, served_s))
  end))
end)

describe("when nothing is heard of etcd", function()
  local server, proxy
  setup(function() server = etcd.start() end)
  teardown(function() server:stop() end)
  before_each(function() proxy = proxies.start(server.client_port) end)
  after_each(function() proxy:stop() end)

  -- Nothing else ends these calls: the session outlives the spec by far.
  local LIMIT_S, TTL_S = 0.3, 600

  it("every call ends by the time it was given, and not before", scene.play(function()
    local client = scene.connect(proxy.endpoint)
    local session = assert(client:session { ttl = TTL_S })
    local term = assert(session:election "/limits/led":campaign "x")
    local held = session:mutex "/limits/held"
    assert(held:lock())
    local watch = assert(client:watch "/limits/watched")
    local calls = {
      { "get", function() return client:get("/x", nil, LIMIT_S) end },
      { "put", function() return client:put("/x", "y", nil, LIMIT_S) end },
      { "delete", function() return client:delete("/x", nil, LIMIT_S) end },
      { "txn", function() return client:txn({ success = { { "put", "/x", "y" } } }, LIMIT_S) end },
      { "status", function() return client:status(LIMIT_S) end },
      { "session", function() return client:session({}, LIMIT_S) end },
      { "lease", function() return client:lease({ ttl = 10 }, LIMIT_S) end },
      { "revoke", function() return client:revoke("1234567812345678", LIMIT_S) end },
      { "ttl", function() return client:ttl("1234567812345678", LIMIT_S) end },
      { "watch:next", function() return watch:next(LIMIT_S) end },
      { "observer:next", function() return client:observe "/limits/led":next(LIMIT_S) end },
      { "campaign", function() return session:election "/limits/other":campaign("x", LIMIT_S) end },
      { "leader", function() return session:election "/limits/led":leader(LIMIT_S) end },
      { "proclaim", function() return term:proclaim("y", LIMIT_S) end },
      { "term:put", function() return term:put("/x", "y", nil, LIMIT_S) end },
      { "term:txn", function() return term:txn({ success = { { "put", "/x", "y" } } }, LIMIT_S) end },
      { "await_loss", function() return term:await_loss(LIMIT_S) end },
      { "lock", function() return session:mutex "/limits/free":lock(LIMIT_S) end },
      { "try_lock", function() return session:mutex "/limits/free":try_lock(LIMIT_S) end },
      { "owner", function() return session:mutex "/limits/free":owner(LIMIT_S) end },
      { "session:await", function() return session:await("alive", LIMIT_S) end },
      { "unlock", function() return held:unlock(LIMIT_S) end },
      { "resign", function() return term:resign(LIMIT_S) end },
    }
    proxy:go_silent()
    local tasks = {}
    for i, call in ipairs(calls) do
      tasks[i] = lunarch.spawn(function()
        local t = clock.now()
        local result, message, code = call[2]()
        return clock.now() - t, result, message, code
      end)
    end
    for i, task in ipairs(tasks) do
      local took, result, message, code = scene.join(task)
      local name = calls[i][1]
      if code == "timeout" then assert.is_true(took >= LIMIT_S - 0.002, ("%s took %.3f s"):format(name, took)) end
      if name ~= "status" then
        assert.is_nil(result, name)
        assert.equal("string", type(message), name)
        assert.is_true(code == "timeout" or code == "unavailable" or code == "unknown", name .. ": " .. tostring(code))
      end
    end
    local closing = lunarch.spawn(function() session:close({}, LIMIT_S) end)
    scene.join(closing)
  end))

  it("closing the client answers every call that is still out", scene.play(function()
    local client = scene.connect(proxy.endpoint)
    local session = assert(client:session { ttl = TTL_S })
    proxy:go_silent()
    local observer = client:observe "/limits/observed"
    local watch = assert(client:watch "/limits/watched")
    local calls = {
      function() return client:get "/x" end,
      function() return client:put("/x", "y") end,
      function() return client:session() end,
      function() return session:mutex "/limits/closed":lock() end,
      function() return session:election "/limits/closed-too":campaign "x" end,
      function() return session:await "alive" end,
      function() return observer:next() end,
      function() return watch:next() end,
    }
    local tasks = {}
    for i, call in ipairs(calls) do
      tasks[i] = lunarch.spawn(function()
        local result, _, code = call()
        return result, code
      end)
    end
    lunarch.sleep(0.2)
    client:close(0.5)
    for i, task in ipairs(tasks) do
      local result, code = scene.join(task)
      if i == 6 then
        assert.equal("closed", result or code)
      else
        assert.is_nil(result)
        assert.is_true(code == "closed" or code == "unknown", ("call %d: %s"):format(i, code))
      end
    end
  end))
end)
