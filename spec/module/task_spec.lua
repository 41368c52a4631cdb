-- Tasks, and how calls wait in them: yielding, interrupted, in generators, under the user's own loop, outside of all.
local fixture = require "support.fixture"
local lunarch = require "lunarch"
local tasks = require "lunarch.loop.task"
local uv = require "luv"
local vm = require "support.vm"
local wait = require "support.wait"

describe("a task", function()
  local client, server, session
  local failures

  setup(function()
    client, server, session = fixture.open { ttl = 60 }
    tasks.on_failure = function(task) failures[#failures + 1] = task.traceback end
  end)

  teardown(fixture.close)

  before_each(function() failures = {} end)

  local locked_name = fixture.locked_name

  -- ---- beginning and ending ---------------------------------------------------------------------------------------

  it("begins with the next turn of the loop, gets its arguments, and gives its results to whoever joins", function()
    local has_begun = false
    local task = lunarch.spawn(function(...)
      has_begun = true
      return select("#", ...), ...
    end, 1, nil, nil)
    assert.is_false(has_begun)
    assert.is_true(task:is_running())
    assert.same({ n = 5, true, 3, 1, nil, nil }, vm.pack(task:join()))
    assert.is_false(task:is_running())
    assert.same({ n = 5, true, 3, 1, nil, nil }, vm.pack(task:join(0)))
  end)

  it("yields in every waiting call, so that others go on", function()
    local order = {}
    lunarch.run(function()
      for i = 1, 3 do
        lunarch.spawn(function()
          for j = 1, 3 do
            assert(client:put("/task/k" .. i, tostring(j)))
            order[#order + 1] = i
          end
        end)
      end
    end)
    assert.equal(9, #order)
    local text = table.concat(order)
    assert.is_nil(text:find "111" and text:find "222" and text:find "333", text)
  end)

  it("sleeps at least as long as told", function()
    lunarch.run(function()
      for _, seconds in ipairs { 0, 0.001, 0.02 } do
        local started = lunarch.now()
        assert.is_true(lunarch.sleep(seconds))
        local slept = lunarch.now() - started
        assert.is_true(slept >= seconds)
      end
    end)
  end)

  it("lets others go on by a sleep of 0 and by a bare yield", function()
    local order = {}
    lunarch.run(function()
      lunarch.spawn(function() order[#order + 1] = "other" end)
      lunarch.sleep(0)
      order[#order + 1] = "first"
      lunarch.spawn(function() order[#order + 1] = "third" end)
      coroutine.yield()
      order[#order + 1] = "main"
    end)
    assert.equal("other first third main", table.concat(order, " "))
  end)

  it("is joined by several, each with a limit of its own", function()
    lunarch.run(function()
      local task = lunarch.spawn(function()
        lunarch.sleep(0.05)
        return "done"
      end)
      local joiners = {}
      for i = 1, 3 do
        joiners[i] = lunarch.spawn(function() return task:join(i == 1 and 0.01 or nil) end)
      end
      local _, ok, message, code = joiners[1]:join()
      assert.is_nil(ok)
      assert.matches("0.01 s", message)
      assert.equal("timeout", code)
      assert.same({ true, true, "done" }, { joiners[2]:join() })
      assert.same({ true, true, "done" }, { joiners[3]:join() })
    end)
  end)

  it("that fails tells its joiner the traceback and the error itself", function()
    local thing = setmetatable({}, { __tostring = function() return "a thing" end })
    lunarch.run(function()
      local failing = lunarch.spawn(function() error "no luck" end)
      local ok, traceback, err = failing:join()
      assert.is_false(ok)
      assert.matches("task_spec.lua:%d+: no luck\nstack traceback", traceback)
      assert.is_nil(traceback:find("loop/task.lua", 1, true))
      assert.matches("task_spec.lua:%d+: no luck$", err)
      ok, traceback, err = lunarch.spawn(function() error(thing) end):join()
      assert.is_false(ok)
      assert.matches("^a thing", traceback)
      assert.equal(thing, err)
    end)
    assert.same({}, failures)
  end)

  it("cannot join itself", function()
    local ok, err = lunarch.spawn(function() return tasks.current():join() end):join()
    assert.is_false(ok)
    assert.matches("its own end", err)
  end)

  -- ---- interruption -----------------------------------------------------------------------------------------------

  it("that is interrupted leaves its wait with that error, gives up its place in line, and stays so", function()
    local name, holder = locked_name()
    local reason = { why = "because" }
    lunarch.run(function()
      local caught = {}
      local mutex = assert(session:mutex(name))
      local task = lunarch.spawn(function()
        caught[1] = select(2, pcall(mutex.lock, mutex))
        caught[2] = select(2, pcall(lunarch.sleep, 0))
        caught[3] = select(2, pcall(client.get, client, "/k"))
        caught[4] = select(2, pcall(mutex.unlock, mutex))
        tasks.current():allow()
        return lunarch.sleep(0)
      end)
      wait.eventually(function()
        lunarch.sleep(0.005)
        return #client:get(name .. "/", { prefix = true }) == 2
      end)
      assert.is_true(task:interrupt(reason))
      assert.same({ true, true }, { task:join() })
      assert.equal(reason, caught[1])
      assert.equal(reason, caught[2])
      assert.equal(reason, caught[3])
      assert.is_false(task:interrupt "too late")
      assert(holder:unlock())
      wait.eventually(function()
        lunarch.sleep(0.005)
        return fixture.is_free(name)
      end)
      assert.is_nil(mutex.token)
      assert(mutex:lock(60))
      assert(mutex:unlock())
    end)
  end)

  it("that is interrupted before it began, while it runs, and while it sleeps or joins", function()
    lunarch.run(function()
      local early = lunarch.spawn(function()
        lunarch.sleep(100)
      end)
      early:interrupt "early"
      assert.equal("early", select(3, early:join()))
      local itself = lunarch.spawn(function()
        tasks.current():interrupt "itself"
        local still = "runs"
        local ok, err = pcall(lunarch.sleep, 0)
        return still, ok, err
      end)
      assert.same({ true, "runs", false, "itself" }, { itself:join() })
      local sleeper = lunarch.spawn(lunarch.sleep, 100)
      local joiner = lunarch.spawn(function() return sleeper:join(50) end)
      lunarch.sleep(0.01)
      joiner:interrupt "joiner"
      assert.equal("joiner", select(3, joiner:join()))
      sleeper:interrupt "sleeper"
      assert.equal("sleeper", select(3, sleeper:join()))
    end)
  end)

  local function over(limit, bytes)
    return bytes <= limit and "" or ("%.0f bytes are more than %d"):format(bytes, limit)
  end

  -- A stack that has grown once has 40 slots of 16 bytes more, and Lua takes none of them back.
  it("that waits takes 1.3 kB of Lua beside its stack, which has not grown", function()
    if jit then return end
    local N_WARM, N = 20, 100
    lunarch.run(function()
      local held = assert(client:session { ttl = 60 }):mutex "/task/many"
      assert(held:lock())
      local function lock()
        local mutex = session:mutex "/task/many"
        local ok = mutex:lock()
        return ok and mutex:unlock()
      end
      local waiting, before = {}, nil
      for i = 1, N_WARM + N do
        if i == N_WARM + 1 then
          collectgarbage()
          before = collectgarbage "count"
        end
        waiting[i] = lunarch.spawn(lock)
        lunarch.sleep(0)
      end
      collectgarbage()
      collectgarbage()
      assert.equal("", over(45 * 16 + 1280, (collectgarbage "count" - before) * 1024 / N))
      assert(held:unlock())
      for _, task in ipairs(waiting) do assert.is_true((task:join())) end
    end)
  end)

  it("whose answer has come keeps it, and is interrupted at its next wait", function()
    lunarch.run(function()
      local mutex = assert(session:mutex "/task/kept")
      local task = lunarch.spawn(function()
        local ok = mutex:lock()
        local is_fine, err = pcall(lunarch.sleep, 0)
        return ok, is_fine, err
      end)
      -- Until the answer is there, but the task has not gone on: both happen in one turn of the loop.
      local original = tasks.wake
      tasks.wake = function(w)
        original(w)
        if (w.task or w) == task and w.id then task:interrupt "now" end
      end
      local results = vm.pack(task:join())
      tasks.wake = original
      assert.same({ true, true, false, "now" }, { vm.unpack(results, 1, 4) })
      assert.is_true(mutex:is_held())
      assert(mutex:unlock())
    end)
  end)

  it("that is interrupted in the middle of an unlock leaves it going on", function()
    lunarch.run(function()
      local name, holder = locked_name()
      local task = lunarch.spawn(function() holder:unlock() end)
      server:freeze()
      lunarch.sleep(0)
      task:interrupt "now"
      assert.is_false((task:join()))
      server:thaw()
      wait.eventually(function()
        lunarch.sleep(0.002)
        return fixture.is_free(name)
      end)
    end)
  end)

  it("that is interrupted inside mutex:with unlocks", function()
    lunarch.run(function()
      local mutex = assert(session:mutex "/task/with")
      local task = lunarch.spawn(function() mutex:with(function() lunarch.sleep(100) end) end)
      wait.eventually(function()
        lunarch.sleep(0.002)
        return mutex:is_held()
      end)
      task:interrupt "now"
      assert.equal("now", select(3, task:join()))
      wait.eventually(function()
        lunarch.sleep(0.002)
        return fixture.is_free "/task/with"
      end)
    end)
  end)

  it("is interrupted by the error that its guard raises, wherever it is, and others go on", function()
    for what, code in pairs {
      ["a bare yield"] = function() while true do coroutine.yield() end end,
      ["a wait"] = function() while true do lunarch.sleep(0.001) end end,
    } do
      local results = { lunarch.run(function()
        local other = lunarch.spawn(function() for _ = 1, 5 do lunarch.sleep(0.002) end return "went on" end)
        local task = lunarch.spawn(code)
        task:guard(function() error("broken guard", 0) end)
        local ok, message = task:join()
        return ok, message, select(2, other:join())
      end) }
      assert.is_false(results[1], what)
      assert.matches("broken guard", results[2])
      assert.equal("went on", results[3])
    end
  end)

  it("with a guard is stopped at the end of the wait that lasted too long, which gives back what it brought", function()
    lunarch.run(function()
      local is_late = false
      local mutex = assert(session:mutex "/task/late")
      local task = lunarch.spawn(function()
        tasks.current():guard(function() return is_late and "late" or nil end)
        lunarch.sleep(0)
        lunarch.spawn(function() is_late = true end)
        mutex:lock()
      end)
      assert.equal("late", select(3, task:join()))
      wait.eventually(function()
        lunarch.sleep(0.002)
        return fixture.is_free "/task/late"
      end)
      assert.is_nil(mutex.token)
    end)
  end)

  -- What Ctrl-C does, or the host when a term is over: an error out of nowhere. LuaJIT calls a hook in any coroutine.
  local function lock_with_an_error_at(mutex, step)
    local has_raised, has_locked = false, false
    local own = coroutine.running()
    local function raise()
      if coroutine.running() ~= own then return debug.sethook(raise, "", 1) end
      debug.sethook()
      has_raised = true
      error("out of nowhere", 0)
    end
    local _, err = pcall(function()
      debug.sethook(raise, "", step)
      has_locked = mutex:lock(60)
      debug.sethook()
    end)
    return has_locked, err, has_raised
  end

  local function never_leaves_a_lock(prefix)
    local own = assert(lunarch.connect { endpoints = server.endpoint })
    local its_session = assert(own:session { ttl = 60 })
    local step, has_raised = 1, true
    while has_raised do
      local mutex = assert(its_session:mutex(prefix .. step))
      local ok, err
      ok, err, has_raised = lock_with_an_error_at(mutex, step)
      assert.is_true(ok or err == "out of nowhere", err)
      -- On its way back to us: then the lock is known to be held.
      if not mutex.token then assert.is_true(mutex:lock(60)) end
      assert(mutex:unlock())
      collectgarbage()
      local other = assert(its_session:mutex(mutex.name))
      assert.is_true(other:lock(60))
      assert(other:unlock())
      assert.is_true(mutex:lock(60))
      assert(mutex:unlock())
      step = step + 1
    end
    assert.is_true(step > 60)
    assert(own:close(5))
  end

  it("is not needed for this: an error raised at any instruction of a lock leaves no lock behind", function()
    vm.uncompiled(never_leaves_a_lock, "/task/nowhere/")
  end)

  it("leaves no lock behind when an error is raised at any instruction of it", function()
    local ok, traceback = vm.uncompiled(function()
      return lunarch.spawn(never_leaves_a_lock, "/task/nowhere/in/"):join()
    end)
    assert.is_true(ok, traceback)
  end)

  -- ---- coroutines of the user's own -------------------------------------------------------------------------------

  local function values_of(client_, keys)
    return coroutine.wrap(function()
      for _, key in ipairs(keys) do
        coroutine.yield((client_:get(key)))
      end
    end)
  end

  it("may wait in a generator, which never sees a foreign value, while others go on", function()
    assert(client:put("/gen/a", "1"))
    assert(client:put("/gen/b", "2"))
    lunarch.run(function()
      local ticks = 0
      local ticker = lunarch.spawn(function()
        while true do
          lunarch.sleep(0)
          ticks = ticks + 1
        end
      end)
      local seen = {}
      for value in values_of(client, { "/gen/a", "/gen/b" }) do
        seen[#seen + 1] = value
      end
      assert.same({ "1", "2" }, seen)
      assert.is_true(ticks > 0)
      ticker:interrupt "enough"
      ticker:join()
    end)
  end)

  it("may wait in a generator while others of the same turn do so too, and others are ready", function()
    local order = {}
    lunarch.run(function()
      lunarch.sleep(0)
      for i = 1, 5 do
        lunarch.spawn(function()
          if i == 1 then coroutine.wrap(function() lunarch.sleep(0.5) end)() end
          if i == 3 then coroutine.wrap(function() lunarch.sleep(0.01) end)() end
          order[#order + 1] = i
        end)
      end
    end)
    assert.same({ 2, 4, 5, 3, 1 }, order)
    assert.same({}, failures)
  end)

  it("may wait in a generator in the first turn of run, while others go on", function()
    local order = {}
    lunarch.run(function()
      lunarch.spawn(function() order[#order + 1] = "other" end)
      lunarch.sleep(0)
      coroutine.wrap(function() lunarch.sleep(0.02) end)()
      order[#order + 1] = "main"
    end)
    assert.same({ "other", "main" }, order)
  end)

  it("sleeps for ever where it is told to", function()
    for _, seconds in ipairs { math.huge, 1e300, 1e15 } do
      local task = lunarch.spawn(lunarch.sleep, seconds)
      assert.equal("timeout", (select(3, task:join(0.01))))
      task:interrupt "enough"
      assert.is_false((task:join()))
    end
  end)

  it("that catches its interruption again and again does not hold up the others", function()
    local n, task = 0, nil
    lunarch.run(function()
      task = lunarch.spawn(function()
        while n < 20 do
          pcall(lunarch.sleep, 1)
          n = n + 1
        end
      end)
      lunarch.sleep(0)
      task:interrupt "enough"
      local n_turns = 0
      while task:is_running() do
        lunarch.sleep(0)
        n_turns = n_turns + 1
      end
      assert.is_true(n_turns >= 10)
      task:join()
    end)
    -- On a machine that stands still its patience may be over before.
    assert.is_true(n > 10)
  end)

  it("may wait in a generator for what another task must do first", function()
    lunarch.run(function()
      local name, holder = locked_name()
      local waiting = lunarch.spawn(function()
        local locker = coroutine.wrap(function()
          local mutex = assert(session:mutex(name))
          coroutine.yield((mutex:lock(60)))
          mutex:unlock()
        end)
        local ok = locker()
        locker()
        return ok
      end)
      lunarch.spawn(function()
        lunarch.sleep(0.02)
        holder:unlock()
      end)
      assert.same({ true, true }, { waiting:join() })
    end)
  end)

  it("is interrupted in a generator too", function()
    lunarch.run(function()
      local name, holder = locked_name()
      local task = lunarch.spawn(function()
        coroutine.wrap(function() session:mutex(name):lock() end)()
      end)
      lunarch.sleep(0.02)
      lunarch.spawn(function() task:interrupt "now" end)
      local ok, traceback = task:join()
      assert.is_false(ok)
      assert.matches("now", traceback)
      holder:unlock()
    end)
  end)

  it("may wait where it cannot yield", function()
    assert(client:put("/sort", "x"))
    lunarch.run(function()
      local list = { 3, 1, 2 }
      table.sort(list, function(a, b)
        client:get "/sort"
        return a < b
      end)
      assert.same({ 1, 2, 3 }, list)
    end)
  end)

  it("is sent back to its wait when somebody else resumes its coroutine", function()
    lunarch.run(function()
      local thread
      local task = lunarch.spawn(function()
        thread = coroutine.running()
        local started = lunarch.now()
        lunarch.sleep(0.05)
        return lunarch.now() - started
      end)
      lunarch.sleep(0.01)
      coroutine.resume(thread, "nonsense")
      local _, slept = task:join()
      assert.is_true(slept >= 0.05)
    end)
  end)

  it("is sent back too where its wait is over, and the loop has not come to it", function()
    lunarch.run(function()
      local thread
      local event = lunarch.event()
      local task = lunarch.spawn(function()
        thread = coroutine.running()
        event:wait()
        return "waited"
      end)
      lunarch.sleep(0)
      event:set()
      coroutine.resume(thread, "nonsense")
      assert.same({ true, "waited" }, { task:join() })
    end)
  end)

  -- ---- other loops, and none --------------------------------------------------------------------------------------

  it("goes on while code outside of tasks waits", function()
    local name, holder = locked_name()
    local task = lunarch.spawn(function()
      lunarch.sleep(0.02)
      return holder:unlock()
    end)
    local mutex = assert(session:mutex(name))
    assert(mutex:lock(60))
    assert.same({ true, true }, { task:join() })
    assert(mutex:unlock())
  end)

  it("runs under a loop the user turns himself", function()
    local seen = {}
    lunarch.spawn(function()
      for i = 1, 3 do
        assert(client:put("/uv", tostring(i)))
        seen[#seen + 1] = (client:get "/uv")
        lunarch.sleep(0.001)
      end
      for value in values_of(client, { "/uv" }) do
        seen[#seen + 1] = value
      end
    end)
    uv.run()
    assert.same({ "1", "2", "3", "3" }, seen)
  end)

  it("is not needed in a callback of libuv's, where a call blocks, and others miss nothing", function()
    local inside, blocked
    lunarch.run(function()
      local timer = uv.new_timer()
      local task = lunarch.spawn(function() return (client:get "/uv") end)
      timer:start(0, 0, function()
        inside = client:get "/uv"
        blocked = not pcall(task.join, lunarch.spawn(function() end))
        timer:stop()
      end)
      assert.same({ true, "3" }, { task:join(60) })
      wait.eventually(function()
        lunarch.sleep(0.001)
        return inside
      end)
    end)
    assert.equal("3", inside)
    assert.is_true(blocked)
  end)

  it("of a client that always blocks blocks", function()
    local blocking = assert(lunarch.connect { endpoints = server.endpoint, loop = "block" })
    local order = {}
    lunarch.run(function()
      lunarch.spawn(function() order[#order + 1] = "other" end)
      assert(blocking:put("/block", "x"))
      order[#order + 1] = "main"
    end)
    assert.same({ "main", "other" }, order)
    blocking:close(5)
  end)
end)
