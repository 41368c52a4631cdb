-- limit: 240 s
-- The collector, at its most aggressive, and closing, in every order: nothing crashes, is kept, or is lost.
local fixture = require "support.fixture"
local lunarch = require "lunarch"
local tasks = require "lunarch.loop.task"
local vm = require "support.vm"
local wait = require "support.wait"

describe("under the collector", function()
  local client, server

  local function nothing() end
  local quiet = { info = nothing, warn = nothing, error = nothing }

  setup(function() client, server = fixture.open() end)

  teardown(function()
    vm.rest()
    fixture.close()
  end)

  local function collect()
    collectgarbage()
    collectgarbage()
  end

  local function keys(prefix)
    return #assert(client:get(prefix, { prefix = true, keys_only = true }))
  end

  local function vanishes(prefix)
    wait.eventually(function() return keys(prefix) == 0 end, nil, "what stands at " .. prefix .. " to go")
  end

  -- One of everything, all in use.
  local function furnish(prefix)
    local made = { client = assert(lunarch.connect { endpoints = server.endpoint }) }
    made.session = assert(made.client:session { ttl = 60 })
    made.mutex = assert(made.session:mutex(prefix .. "/lock"))
    assert(made.mutex:lock())
    made.election = assert(made.session:election(prefix .. "/election"))
    made.term = assert(made.election:campaign "me")
    made.watch = assert(made.client:watch(prefix .. "/watched"))
    assert(made.watch:ready(60))
    made.observer = assert(made.client:observe(prefix .. "/election"))
    assert(made.observer:next(60))
    return made
  end

  it("a mutex that is dropped is unlocked, a term is resigned, a session revoked", function()
    local session = assert(client:session { ttl = 60 })
    do
      local mutex = assert(session:mutex "/gc/a/lock")
      assert(mutex:lock())
      assert.equal(1, keys "/gc/a/")
      assert.is_true(mutex:is_held())
    end
    vm.collect()
    vanishes "/gc/a/"
    do
      local term = assert(assert(session:election "/gc/b"):campaign "me")
      assert.equal(1, keys "/gc/b/")
      assert.equal("me", term.value)
    end
    vm.collect()
    vanishes "/gc/b/"
    local lease = session.lease
    session = nil -- luacheck: ignore
    vm.collect()
    wait.eventually(function() return not client:ttl(lease) end)
  end)

  it("a client that is dropped with all it made gives up everything", function()
    for i = 1, 3 do
      local prefix = "/gc/all" .. i
      local made = furnish(prefix)
      assert.equal(2, keys(prefix .. "/"))
      assert.is_true(made.mutex:is_held())
      made = nil -- luacheck: ignore
      vm.collect()
      vanishes(prefix .. "/")
    end
  end)

  it("what was made from a client keeps it alive", function()
    local session = assert(assert(lunarch.connect { endpoints = server.endpoint }):session { ttl = 60 })
    collect()
    local mutex = assert(session:mutex "/gc/kept")
    session = nil -- luacheck: ignore
    collect()
    assert(mutex:lock(60))
    assert.is_true(mutex:is_held())
    assert(mutex:unlock())
  end)

  -- All permutations would be 5040: some of them, by chance, and each thing first at least once.
  it("things are dropped in any order", function()
    local names = { "client", "session", "mutex", "election", "term", "watch", "observer" }
    for round = 1, 14 do
      local prefix = "/gc/order" .. round
      local made = furnish(prefix)
      local order = { vm.unpack(names) }
      for i = #order, 2, -1 do
        local j = math.random(i)
        order[i], order[j] = order[j], order[i]
      end
      local first = names[(round - 1) % #names + 1]
      made[first] = nil
      collect()
      for _, name in ipairs(order) do
        made[name] = nil
        collectgarbage "step"
        if round % 2 == 0 then collect() end
      end
      vm.collect()
      vanishes(prefix .. "/")
    end
  end)

  it("things are closed in any order, and twice", function()
    local function close(made, name)
      local object = made[name]
      if name == "mutex" then
        object:unlock(60)
      elseif name == "term" then
        object:resign(60)
      elseif name ~= "election" then
        object:close(name == "session" and {} or 5, name == "session" and 5 or nil)
      end
    end
    local names = { "client", "session", "mutex", "election", "term", "watch", "observer" }
    for round = 1, 14 do
      local prefix = "/gc/close" .. round
      local made = furnish(prefix)
      for i = 1, 2 * #names do
        close(made, names[(i * (round % 6 + 1) + round) % #names + 1])
      end
      for _, name in ipairs(names) do
        close(made, name)
        tostring(made[name])
      end
      assert.is_false(made.mutex:is_held())
      assert.is_not_nil(made.term.reason)
      vanishes(prefix .. "/")
    end
  end)

  it("calls after the client was closed answer closed or lost, whatever they are", function()
    local made = furnish "/gc/after"
    assert(made.client:close(5))
    local calls = {
      function() return made.client:get "/k" end,
      function() return made.client:put("/k", "v") end,
      function() return made.client:delete "/k" end,
      function() return made.client:txn { success = { { "get", "/k" } } } end,
      function() return made.client:lease { ttl = 5 } end,
      function() return made.client:revoke "1" end,
      function() return made.client:ttl "1" end,
      function() return made.client:session() end,
      function() return made.client:watch "/k" end,
      function() return made.client:observe "/k" end,
      function() return made.client:status() end,
      function() return made.session:election "/e" end,
      function() return made.session:mutex "/m" end,
      function() return made.mutex:lock() end,
      function() return made.mutex:try_lock() end,
      function() return made.mutex:unlock() end,
      function() return made.mutex:owner() end,
      function() return made.election:campaign "x" end,
      function() return made.election:leader() end,
      function() return made.election:observe() end,
      function() return made.term:put("/k", "v") end,
      function() return made.term:txn { success = { { "put", "/k", "v" } } } end,
      function() return made.term:proclaim "v" end,
      function() return made.watch:next() end,
      function() return made.watch:ready() end,
      function() return made.observer:next() end,
    }
    local allowed = { closed = true, lost = true, not_owner = true, not_leader = true }
    for i, call in ipairs(calls) do
      local value, message, code = call()
      assert.is_nil(value, "call " .. i)
      assert.equal("string", type(message), "call " .. i)
      assert.is_true(allowed[code], ("call %d: %s: %s"):format(i, code, message))
    end
    assert.equal("closed", (made.session:state()))
    assert.is_true(made.session:close(5))
    assert.is_true(made.term:resign(60))
    assert.is_true(made.client:close(5))
  end)

  it("closing answers whoever waits, in tasks", function()
    local own = assert(lunarch.connect { endpoints = server.endpoint })
    local session = assert(own:session { ttl = 60 })
    local holder, other = assert(session:mutex "/gc/waits"), assert(session:mutex "/gc/waits")
    assert(holder:lock())
    local watch = assert(own:watch "/gc/nothing")
    lunarch.run(function()
      local waiters = {
        lunarch.spawn(function() return other:lock() end),
        lunarch.spawn(function() return watch:next() end),
        lunarch.spawn(function() return holder:await_loss() end),
      }
      lunarch.sleep(0.05)
      assert.is_true(own:close(5))
      for i, waiter in ipairs(waiters) do
        local is_fine, value, _, code = waiter:join(60)
        assert.is_true(is_fine)
        assert.is_true(value == "closed" or value == nil and code == "closed", i)
      end
    end)
  end)

  it("a wait keeps what it needs, though nobody else does", function()
    lunarch.run(function()
      local task = lunarch.spawn(function()
        return assert(assert(lunarch.connect { endpoints = server.endpoint }):session { ttl = 60 }):await("alive", 0.1)
      end)
      local busy = lunarch.spawn(function()
        while task:is_running() do
          collect()
          lunarch.sleep(0.005)
        end
      end)
      local is_fine, value, _, code = task:join(60)
      assert.same({ true, nil, "timeout" }, { is_fine, value, code })
      busy:join()
    end)
  end)

  it("an answer that nobody takes is given back", function()
    lunarch.run(function()
      local session = assert(client:session { ttl = 60 })
      for i = 1, 20 do
        local mutex = assert(session:mutex "/gc/untaken/lock")
        local election = assert(session:election "/gc/untaken/election")
        local victims = {
          lunarch.spawn(function() return mutex:lock() end),
          lunarch.spawn(function() return election:campaign "x" end),
          lunarch.spawn(function() return client:session { ttl = 60 } end),
        }
        lunarch.sleep(i % 4 * 0.0005)
        for _, victim in ipairs(victims) do
          victim:interrupt "now"
        end
        for _, victim in ipairs(victims) do
          local is_fine, value = victim:join()
          if is_fine and value == true then mutex:unlock() end
        end
        collect()
      end
      session:close({}, 5)
    end)
    vanishes "/gc/untaken/"
  end)

  local function work(prefix)
    local session = assert(client:session { ttl = 60 })
    for i = 1, 10 do
      local mutex = assert(session:mutex(prefix))
      assert(mutex:lock(60))
      assert(client:put(prefix .. "-data", ("x"):rep(100 * i)))
      local kvs = assert(client:get(prefix, { prefix = true }))
      assert.is_true(#kvs >= 1)
      local term = assert(assert(session:election(prefix .. "-election")):campaign(tostring(i)))
      assert(term:put(prefix .. "-led", tostring(i)))
      assert(term:resign())
      assert(mutex:unlock())
    end
    assert(session:close())
  end

  local function all_worlds(prefix)
    work(prefix .. "/blocking")
    lunarch.run(function()
      for i = 1, 4 do
        lunarch.spawn(work, prefix .. "/task" .. i)
      end
    end)
  end

  if not vm.is_luajit then -- which has no such collector
    it("everything works, generational", function()
      collectgarbage "generational"
      all_worlds "/gc/generational"
    end)
  end

  it("everything works, with a collector that never rests", function()
    vm.never_rest()
    all_worlds "/gc/restless"
    vm.rest()
  end)

  it("everything works, with a full collection at each turn of the loop", function()
    lunarch.run(function()
      local others = { lunarch.spawn(work, "/gc/full1"), lunarch.spawn(work, "/gc/full2") }
      local collector = lunarch.spawn(function()
        while others[1]:is_running() or others[2]:is_running() do
          collectgarbage()
          lunarch.sleep(0)
        end
      end)
      collector:join()
    end)
  end)

  -- On LuaJIT a full collection turns the collector on: in a finalizer compiled code would then never come to an end.
  it("a lock that is refused leaves a collector as it stands", function()
    local mutex = assert(assert(client:session { ttl = 60 }):mutex "/gc/still")
    assert(mutex:lock(5))
    local states = {}
    local function refuse()
      assert.is_false((pcall(mutex.lock, mutex, 5)))
      states[#states + 1] = collectgarbage "isrunning" and "running" or "still"
    end
    local function in_a_coroutine() assert(coroutine.resume(coroutine.create(refuse))) end
    refuse()
    collectgarbage "stop"
    refuse()
    in_a_coroutine()
    collectgarbage "restart"
    in_a_coroutine()
    vm.finalized(refuse)
    collect()
    assert.same({ "running", "still", "still", "running", "still" }, states)
    assert(mutex:unlock(5))
  end)

  -- On LuaJIT a weak table keeps a key that its value refers to.
  it("what a task or a candidate has used is collected after its end", function()
    local weak = setmetatable({}, { __mode = "v" })
    local function use(name)
      local own = assert(lunarch.connect { endpoints = server.endpoint })
      weak[name] = own
      local candidate
      candidate = lunarch.candidate {
        client = own, election = "/gc/used/" .. name, log = quiet,
        do_work = function()
          candidate:stop()
          return 0
        end,
      }
      candidate:run()
      assert(lunarch.spawn(function() return own:get "/gc/used" end):join(wait.LIMIT))
      own:close(5)
    end
    lunarch.run(use, "in tasks")
    local cqueues = require "cqueues"
    local controller = cqueues.new()
    controller:wrap(use, "under cqueues")
    assert(controller:loop(wait.LIMIT))
    vm.collect()
    assert.same({}, { next(weak) })
  end)

  it("a task that was interrupted and is still known keeps no client", function()
    local weak = setmetatable({}, { __mode = "v" })
    local task
    lunarch.run(function()
      local own = assert(lunarch.connect { endpoints = server.endpoint })
      weak.core = own._core
      task = lunarch.spawn(function() assert(own:watch "/gc/nothing"):next() end)
      lunarch.sleep(0)
      task:interrupt "now"
      assert.is_false((task:join()))
    end)
    vm.collect()
    assert.is_nil(weak.core)
    assert.is_false(task:is_running())
  end)

  -- LuaJIT compiles again what meets other types than before; but not in a finalizer.
  it("a finalizer calls what was compiled for other arguments", function()
    local function closed_client(is_used)
      local own = assert(lunarch.connect { endpoints = server.endpoint })
      if is_used then lunarch.run(function() own:get "/gc/compiled" end) end
      return own:close(5)
    end
    for i = 1, 300 do
      assert(client:get("/gc/compiled", { prefix = true, limit = i, sort_by = "key" }))
      assert(client:txn { success = { { "put", "/gc/compiled", "v" }, { "get", "/gc/compiled", prefix = true } } })
      if i % 4 == 0 then closed_client(true) end
    end
    local results
    vm.finalized(function()
      results = {
        (client:get("/gc/compiled", { serializable = true })), (client:get("/gc/compiled", {})),
        client:txn { success = { { "get", "/gc/compiled" } }, compare = {} } ~= nil, closed_client(false),
      }
    end)
    collect()
    assert.same({ "v", "v", true, true }, results)
  end)

  it("an operation is not taken without what keeps it", function()
    local core = client._core
    local first, first_token = core:kv({ kind = 0, key = "/gc/token" }, 5000)
    local second, second_token = core:kv({ kind = 0, key = "/gc/token" }, 5000)
    assert.error_matches(function() core:take(first) end, "lunarch.core.token expected")
    assert.error_matches(function() core:take(first, second_token) end, "the token of another operation")
    core:cancel(first)
    core:cancel(second)
    assert.is_not_nil(first_token)
  end)

  it("the module can be loaded again beside itself, and both work", function()
    local loaded = {}
    for name in pairs(package.loaded) do
      if name:match "^lunarch" then
        loaded[name] = package.loaded[name]
        package.loaded[name] = nil
      end
    end
    local again = require "lunarch"
    assert.are_not.equal(lunarch, again)
    local second = assert(again.connect { endpoints = server.endpoint })
    assert(second:put("/gc/again", "1"))
    assert.equal("1", (client:get "/gc/again"))
    again.run(function() assert.equal("1", (second:get "/gc/again")) end)
    assert(second:close(5))
    for name in pairs(package.loaded) do
      if name:match "^lunarch" then package.loaded[name] = loaded[name] end
    end
    assert.equal(tasks, require "lunarch.loop.task")
  end)
end)
