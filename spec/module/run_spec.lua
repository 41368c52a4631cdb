-- lunarch.run: the main task, those that are spawned in it, and how they end.
local fixture = require "support.fixture"
local lunarch = require "lunarch"
local tasks = require "lunarch.loop.task"
local vm = require "support.vm"
local wait = require "support.wait"

describe("a task", function()
  local session
  local failures

  setup(function()
    session = select(3, fixture.open { ttl = 60 })
    tasks.on_failure = function(task) failures[#failures + 1] = task.traceback end
  end)

  teardown(fixture.close)

  before_each(function() failures = {} end)

  local locked_name = fixture.locked_name

  it("as the main one gives its results once everything spawned has ended", function()
    local has_ended = false
    assert.same({ n = 3, 1, nil, 3 }, vm.pack(lunarch.run(function(...)
      lunarch.spawn(function()
        lunarch.sleep(0.02)
        has_ended = true
      end)
      return ...
    end, 1, nil, 3)))
    assert.is_true(has_ended)
  end)

  it("as the main one that fails ends the others, and raises its error", function()
    local other
    local ok, err = pcall(lunarch.run, function()
      other = lunarch.spawn(function() lunarch.sleep(100) end)
      lunarch.sleep(0)
      error "main failed"
    end)
    assert.is_false(ok)
    assert.matches("run_spec.lua:%d+: main failed\nstack traceback", err)
    assert.is_false(other:is_running())
    local thing = {}
    ok, err = pcall(lunarch.run, function() error(thing) end)
    assert.is_false(ok)
    assert.equal(thing, err)
    assert.same({}, failures)
  end)

  it("that fails with nobody to join it is reported, and makes run raise in the end", function()
    local has_ended = false
    local ok, err = pcall(lunarch.run, function()
      lunarch.spawn(function() error "unseen" end)
      lunarch.sleep(0.01)
      has_ended = true
    end)
    assert.is_true(has_ended)
    assert.is_false(ok)
    assert.matches("unseen", err)
    assert.equal(1, #failures)
    assert.matches("run_spec.lua:%d+: unseen", failures[1])
    lunarch.run(function() end)
  end)

  it("that waits for what cannot come makes run raise, instead of waiting for ever", function()
    local stuck
    local ok, err = pcall(lunarch.run, function()
      local a, b
      a = lunarch.spawn(function() b:join() end)
      b = lunarch.spawn(function() a:join() end)
      stuck = { a, b }
    end)
    assert.is_false(ok)
    assert.matches("^[^\n]*run_spec.lua:%d+: every task waits, and nothing is left that could wake one$", err)
    for _, task in ipairs(stuck) do
      task:interrupt "spec over"
    end
    -- The first is interrupted; its end is what the second waited for.
    assert.is_false((stuck[1]:join()))
    assert.is_true((stuck[2]:join()))
  end)

  describe("that calls run", function()
    local function in_task(fn) return lunarch.spawn(fn):join() end

    it("waits for the main one and for all that is spawned in it, while others go on", function()
      local ended, ticks = {}, 0
      local other = lunarch.spawn(function()
        while true do
          ticks = ticks + 1
          lunarch.sleep(0.001)
        end
      end)
      assert.same({ true, 1, nil, 3 }, { in_task(function()
        return lunarch.run(function(...)
          lunarch.spawn(function()
            lunarch.spawn(function()
              lunarch.sleep(0.03)
              ended[#ended + 1] = "grandchild"
            end)
            lunarch.sleep(0.01)
            ended[#ended + 1] = "child"
          end)
          ended[#ended + 1] = "main"
          return ...
        end, 1, nil, 3)
      end) })
      assert.same({ "main", "child", "grandchild" }, ended)
      assert.is_true(ticks > 1 and other:is_running())
      other:interrupt "enough"
      other:join()
    end)

    it("is given the error of the main one, and what that has spawned is ended", function()
      local child
      local ok, err = in_task(function()
        lunarch.run(function()
          child = lunarch.spawn(lunarch.sleep, 100)
          lunarch.sleep(0)
          error "main failed"
        end)
      end)
      assert.is_false(ok)
      assert.matches("run_spec.lua:%d+: main failed", err)
      assert.is_false(child:is_running())
      assert.same({}, failures)
    end)

    it("is given the error of a spawned one that nobody has joined", function()
      local ok, err = in_task(function()
        lunarch.run(function() lunarch.spawn(error, "unseen") end)
      end)
      assert.is_false(ok)
      assert.matches("a spawned task failed: .*unseen", err)
      failures = {}
      lunarch.run(function() end)
    end)

    it("ends them when it is interrupted", function()
      local inner
      local task = lunarch.spawn(function()
        lunarch.run(function()
          inner = lunarch.spawn(lunarch.sleep, 100)
          lunarch.sleep(100)
        end)
      end)
      lunarch.run(function()
        lunarch.sleep(0.01)
        task:interrupt "now"
        assert.equal("now", select(3, task:join()))
      end)
      assert.is_false(inner:is_running())
    end)
  end)

  it("that yields bare is interrupted there", function()
    local n = 0
    local task = lunarch.spawn(function()
      while true do
        n = n + 1
        coroutine.yield()
      end
    end)
    repeat lunarch.sleep(0) until n > 1
    task:interrupt "now"
    assert.equal("now", select(3, task:join()))
  end)

  it("that catches its interruption for ever is ended", function()
    local function stubborn()
      while true do pcall(lunarch.sleep, 1) end
    end
    local task = lunarch.spawn(stubborn)
    lunarch.sleep(0)
    task:interrupt "now"
    assert.equal("now", select(3, task:join()))
  end)

  it("that is abandoned counts as ended, goes on no more, and gives up what it waits for", function()
    lunarch.run(function()
      local name, holder = locked_name()
      local went_on = false
      local task = lunarch.spawn(function()
        session:mutex(name):lock()
        went_on = true
      end)
      lunarch.sleep(0.01)
      task:abandon()
      assert.is_false(task:is_running())
      assert.same({ true }, { task:join() })
      holder:unlock()
      wait.eventually(function()
        lunarch.sleep(0.002)
        return fixture.is_free(name)
      end)
      assert.is_false(went_on)
    end)
  end)

  it("that is abandoned while it turns the loop in a generator goes on no more", function()
    lunarch.run(function()
      local went_on
      local task = lunarch.spawn(function()
        for _ in coroutine.wrap(function()
          while true do
            pcall(lunarch.sleep, 0.05)
            coroutine.yield(1)
          end
        end) do
          went_on = true
        end
      end)
      lunarch.sleep(0.01)
      went_on = false
      task:abandon()
      assert.is_false(task:is_running())
      lunarch.sleep(0.1)
      assert.is_false(went_on)
    end)
  end)

  it("shows itself", function()
    local task = lunarch.spawn(function() return tostring(tasks.current()) end)
    assert.matches("^lunarch.task: .*%(waiting%)$", tostring(task))
    assert.matches("%(running%)$", select(2, task:join()))
    assert.matches("%(ended%)$", tostring(task))
    assert.equal("lunarch.task", getmetatable(task).__name)
  end)
end)
