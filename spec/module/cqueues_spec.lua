-- Waiting under cqueues: each coroutine by itself, beside sockets of the program's own.
local cqueues = require "cqueues"
local fixture = require "support.fixture"
local lunarch = require "lunarch"
local socket = require "cqueues.socket"
local vm = require "support.vm"
local wait = require "support.wait"
local world = require "lunarch.loop.cqueues"

describe("in a coroutine of cqueues", function()
  local client, server, session

  setup(function() client, server, session = fixture.open { ttl = 60 } end)
  teardown(fixture.close)

  -- Runs the functions, each in a coroutine of one controller, until all have ended.
  local function together(...)
    local cq = cqueues.new()
    for i = 1, select("#", ...) do
      cq:wrap((select(i, ...)))
    end
    assert(cq:loop(wait.LIMIT))
    assert.is_true(cq:empty())
  end

  it("a call yields, so that others go on, and the controller ends with them", function()
    local order = {}
    local function worker(i)
      return function()
        for j = 1, 3 do
          assert(client:put("/cq/" .. i, tostring(j)))
          order[#order + 1] = i
        end
      end
    end
    local ticks = 0
    together(worker(1), worker(2), function()
      while #order < 6 do
        ticks = ticks + 1
        cqueues.sleep(0)
      end
    end)
    assert.is_true(ticks > 1)
    assert.are_not.same({ 1, 1, 1, 2, 2, 2 }, order)
  end)

  it("a lock waits for its turn while sockets of the program's own are served", function()
    local name = "/cq/lock"
    local holder, other = assert(session:mutex(name)), assert(session:mutex(name))
    assert(holder:lock())
    local ours, theirs = socket.pair()
    local said = {}
    together(function()
      for _ = 1, 3 do
        theirs:write("ping\n")
        theirs:flush()
        said[#said + 1] = theirs:read "*l"
      end
      assert(holder:unlock())
    end, function()
      for line in ours:lines "*l" do
        ours:write(line == "ping" and "pong\n" or "what?\n")
        ours:flush()
        if #said == 2 then break end
      end
    end, function()
      assert(other:lock(60))
      said[#said + 1] = "locked"
      assert(other:unlock())
    end)
    assert.same({ "pong", "pong", "pong", "locked" }, said)
  end)

  it("many wait for one lock and are served in order, by one coroutine that follows the client", function()
    local order, functions = {}, {}
    for i = 1, 30 do
      functions[i] = function()
        local mutex = assert(session:mutex "/cq/many")
        lunarch.sleep(i / 1000)
        assert(mutex:lock(60))
        order[#order + 1] = i
        assert(mutex:unlock())
      end
    end
    together((table.unpack or unpack)(functions))
    assert.equal(30, #order)
  end)

  it("a timeout is kept, and leaves no place in the line", function()
    local holder, other = assert(session:mutex "/cq/late"), assert(session:mutex "/cq/late")
    together(function()
      assert(holder:lock())
      local ok, _, code = other:lock(0.05)
      assert.same({ nil, "timeout" }, { ok, code })
      assert(holder:unlock())
      -- Its place is given up in the background where etcd had not answered yet.
      while not fixture.is_free "/cq/late" do cqueues.sleep(0.01) end
    end)
  end)

  it("controllers one inside the other, and code outside of both, share a client", function()
    local seen = {}
    together(function()
      assert(client:put("/cq/shared", "outer"))
      local inner = cqueues.new()
      inner:wrap(function() table.insert(seen, (client:get "/cq/shared")) end)
      assert(inner:loop(wait.LIMIT))
    end, function()
      lunarch.sleep(0.001)
      table.insert(seen, (client:get "/cq/none") or "none")
    end)
    seen[#seen + 1] = (client:get "/cq/shared")
    assert.equal(3, #seen)
    lunarch.run(function() seen[#seen + 1] = (client:get "/cq/shared") end)
    assert.equal("outer", seen[4])
  end)

  it("a generator blocks instead of giving its values away", function()
    assert(client:put("/cq/gen", "1"))
    local values = {}
    together(function()
      for value in coroutine.wrap(function()
        for _ = 1, 3 do
          coroutine.yield((client:get "/cq/gen"))
        end
      end) do
        values[#values + 1] = value
      end
    end)
    assert.same({ "1", "1", "1" }, values)
  end)

  it("a wait where C has called raises at the user's line, and leaves nothing behind", function()
    together(function()
      local mutex = assert(session:mutex "/cq/boundary")
      for _, call in ipairs { function() return mutex:lock() end, function() return lunarch.sleep(0) end } do
        local ok, err = pcall(string.gsub, "x", "x", call)
        assert.is_false(ok)
        assert.matches("cqueues_spec.lua:%d+: nothing can wait here: C has called this function", err)
      end
      assert.is_true(mutex:lock(5))
      string.gsub("x", "x", function() mutex:unlock() end)
      assert.is_true(fixture.is_free "/cq/boundary")
    end)
  end)

  it("a client may be told to wait elsewhere", function()
    for _, wish in ipairs { "block", "luv", "cqueues" } do
      local own = assert(lunarch.connect { endpoints = server.endpoint, loop = wish })
      local ticks, while_asked = 0, nil
      together(function()
        local before = ticks
        assert(own:put("/cq/wish", wish))
        while_asked = ticks - before
      end, function()
        while not while_asked do
          ticks = ticks + 1
          cqueues.sleep(0)
        end
      end)
      assert.equal(wish == "cqueues", while_asked > 0, wish)
      assert.equal(wish, (own:get "/cq/wish"))
      own:close(5)
    end
  end)

  it("a client is closed while coroutines wait, which are told", function()
    local own = assert(lunarch.connect { endpoints = server.endpoint })
    local watch = assert(own:watch "/cq/nothing")
    local codes = {}
    local function asker()
      codes[#codes + 1] = select(3, watch:next())
    end
    together(asker, function()
      lunarch.sleep(0.02)
      assert.is_true(own:close(5))
    end)
    assert.same({ "closed" }, codes)
  end)

  it("a controller that is abandoned in the middle of a wait gives up what it waited for", function()
    local holder = assert(session:mutex "/cq/abandoned")
    assert(holder:lock())
    do
      local cq = cqueues.new()
      cq:wrap(function() assert(session:mutex "/cq/abandoned"):lock() end)
      for _ = 1, 20 do
        assert(cq:step(0.01))
      end
    end
    vm.collect()
    wait.eventually(function()
      return #assert(client:get("/cq/abandoned/", { prefix = true })) == 1
    end)
    assert(holder:unlock())
    assert.is_true(fixture.is_free "/cq/abandoned")
  end)

  -- ---- tasks ------------------------------------------------------------------------------------------------------

  it("lunarch.spawn begins another one, which is joined, interrupted, and guarded", function()
    together(function()
      local fine = lunarch.spawn(function(...)
        lunarch.sleep(0.01)
        return select("#", ...), ...
      end, 1, nil)
      assert.same({ true, 2, 1 }, { fine:join() })
      assert.is_false(fine:is_running())
      local sleeper = lunarch.spawn(lunarch.sleep, 100)
      assert.equal("timeout", (select(3, sleeper:join(0.02))))
      assert.is_true(sleeper:interrupt "enough")
      local ok, traceback, err = sleeper:join()
      assert.same({ false, "enough" }, { ok, err })
      assert.matches("enough", traceback)
      local is_late = false
      local guarded = lunarch.spawn(function()
        lunarch.sleep(0)
        is_late = true
        session:mutex("/cq/guarded"):lock()
      end)
      guarded:guard(function() return is_late and "late" or nil end)
      assert.equal("late", select(3, guarded:join()))
      assert.is_true(fixture.is_free "/cq/guarded")
    end)
  end)

  -- Where memory is lacking, Lua asks nobody for a traceback; on LuaJIT, neither when an error's text fails.
  local function hungry() return ("xx"):rep(2 ^ 31 - 1) end
  local HUNGRY = select(2, pcall(hungry)):match "[^:]+$"

  local function mute()
    error(setmetatable({}, { __tostring = function() error "no text" end }))
  end

  it("a task that fails without a traceback is told of by what there is", function()
    local told, report = {}, world.report
    world.report = function(task) told[#told + 1] = task.traceback end
    together(function()
      for _, case in ipairs { { hungry, HUNGRY }, { mute, "an error object whose __tostring fails" } } do
        local ok, traceback, err = lunarch.spawn(case[1]):join()
        assert.is_false(ok)
        assert.is_truthy(traceback:find(case[2], 1, true), traceback)
        assert.is_not_nil(err)
        local alone = lunarch.spawn(case[1])
        lunarch.sleep(0.01)
        assert.matches("failed", tostring(alone))
        assert.is_truthy(tostring(told[#told]):find(case[2], 1, true), told[#told])
      end
    end)
    world.report = report
    assert.equal(2, #told)
  end)

  it("a handler that fails without a traceback is told of by what there is", function()
    local said = {}
    local function say(format, ...) said[#said + 1] = format:format(...) end
    together(function()
      local candidate
      candidate = lunarch.candidate {
        client = client, election = "/cq/hungry", name = "A", log = { info = function() end, warn = say, error = say },
        on_elected = hungry,
        on_lost = function()
          candidate:stop()
          hungry()
        end,
      }
      candidate:run()
    end)
    assert.is_truthy(said[1] and said[1]:find("on_elected failed: .*" .. HUNGRY), said[1])
    assert.is_truthy(said[2] and said[2]:find("on_lost failed: .*" .. HUNGRY), said[2])
  end)

  it("a task that is interrupted leaves the line", function()
    local holder = assert(session:mutex "/cq/interrupted")
    assert(holder:lock())
    together(function()
      local mutex = assert(session:mutex "/cq/interrupted")
      local task = lunarch.spawn(function() mutex:lock() end)
      lunarch.sleep(0.05)
      task:interrupt "now"
      assert.equal("now", select(3, task:join()))
      assert(holder:unlock())
      wait.eventually(function() return fixture.is_free "/cq/interrupted" end)
    end)
  end)

  it("a task whose answer has come keeps it, and is interrupted at its next wait", function()
    local mutex = assert(session:mutex "/cq/kept")
    local results
    together(function()
      local task = lunarch.spawn(function()
        local ok = mutex:lock()
        return ok, pcall(lunarch.sleep, 0)
      end)
      -- Until the answer is there, but the task has not gone on: both happen in one step of the controller.
      local original = world.wake
      world.wake = function(it)
        original(it)
        if it.id then task:interrupt "now" end
      end
      results = { task:join() }
      world.wake = original
    end)
    assert.same({ true, true, false, "now" }, results)
    assert.is_true(mutex:is_held())
    assert(mutex:unlock())
  end)

  it("a candidate runs its handlers", function()
    local calls = {}
    local function silent() end
    together(function()
      local candidate
      candidate = lunarch.candidate {
        client = client, election = "/cq/election", name = "A", log = { info = silent, warn = silent, error = silent },
        interval = 0.01,
        on_elected = function() calls[#calls + 1] = "on_elected" end,
        do_work = function()
          calls[#calls + 1] = "do_work"
          candidate:stop()
        end,
        on_lost = function(_, reason) calls[#calls + 1] = "on_lost " .. reason end,
      }
      candidate:run()
    end)
    assert.same({ "on_elected", "do_work", "on_lost stopping" }, calls)
  end)
  it("a candidate is stopped from outside of its controller", function()
    local is_at_work, lost
    local candidate = lunarch.candidate {
      election = "/cqueues/stopped", endpoints = server.endpoint, stop_timeout = 0.2,
      log = { info = function() end, warn = function() end, error = function() end },
      do_work = function()
        is_at_work = true
        cqueues.sleep(wait.LIMIT)
      end,
      on_lost = function(_, reason) lost = reason end,
    }
    local cq = cqueues.new()
    cq:wrap(function() candidate:run() end)
    while not is_at_work do
      assert(cq:step(wait.LIMIT))
    end
    candidate:stop "from outside"
    local until_s = lunarch.now() + wait.LIMIT / 2
    while not tostring(candidate):find "%(ended%)" and lunarch.now() < until_s do
      assert(cq:step(0.01))
    end
    assert.equal("from outside", lost)
  end)
end)
