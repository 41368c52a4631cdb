-- Futures and events: waits that the program itself ends.
local cqueues_is_there, cqueues = pcall(require, "cqueues")
local lunarch = require "lunarch"
local uv = require "luv"
local wait = require "support.wait"

describe("a future", function()
  it("gives what it was set to, to all who wait and to those who ask later, once", function()
    local future, got = lunarch.future(), {}
    lunarch.run(function()
      for i = 1, 3 do
        lunarch.spawn(function() got[i] = select(2, future:wait()) end)
      end
      lunarch.sleep(0.01)
      assert.is_false(future:is_set())
      assert.is_true(future:set("a", "b"))
      assert.is_false(future:set "c")
    end)
    assert.same({ "b", "b", "b" }, got)
    assert.same({ "a", "b" }, { future:wait() })
    assert.equal("lunarch.future: set", tostring(future))
  end)

  it("fails with a message and a code, and times out", function()
    local future = lunarch.future()
    local value, message, code = future:wait(0.01)
    assert.same({ nil, "timeout" }, { value, code })
    assert.truthy(message:find "nothing within 0.01 s")
    assert.is_true(future:fail("it broke", "unavailable"))
    value, message, code = future:wait()
    assert.is_nil(value)
    assert.same({ "it broke", "unavailable" }, { message, code })
  end)

  it("is set by a callback of luv, outside of tasks too", function()
    local future, timer = lunarch.future(), uv.new_timer()
    timer:start(20, 0, function() future:set(7) end)
    assert.equal(7, future:wait(wait.LIMIT))
    timer:stop()
  end)

  it("that nothing can set any more is an error, not a wait for ever", function()
    local ok, err = pcall(function() return lunarch.future():wait() end)
    assert.is_false(ok)
    assert.truthy(tostring(err):find("future_spec.lua:%d+: .*nothing is left that could wake one"), err)
  end)

  it("is left when its task is interrupted", function()
    lunarch.run(function()
      local future = lunarch.future()
      local task = lunarch.spawn(function() future:wait() end)
      lunarch.sleep(0.01)
      task:interrupt "stop"
      assert.same({ false, "stop" }, { (task:join(wait.LIMIT)), select(3, task:join()) })
      assert.is_true(future:set())
    end)
  end)

  if cqueues_is_there then
    it("is waited for under cqueues, and set by another of its coroutines", function()
      local future, cq, got = lunarch.future(), cqueues.new(), nil
      cq:wrap(function() got = future:wait() end)
      cq:wrap(function()
        cqueues.sleep(0.01)
        future:set "there"
      end)
      assert(cq:loop(wait.LIMIT))
      assert.equal("there", got)
    end)
  end
end)

describe("an event", function()
  it("lets all pass while it is set, and wakes those who wait even if it is cleared at once", function()
    local event, n = lunarch.event(), 0
    lunarch.run(function()
      for _ = 1, 3 do
        lunarch.spawn(function()
          assert.is_true(event:wait(wait.LIMIT))
          n = n + 1
        end)
      end
      lunarch.sleep(0.01)
      event:set()
      event:clear()
    end)
    assert.equal(3, n)
    assert.is_false(event:is_set())
    assert.equal("timeout", select(3, event:wait(0.01)))
    event:set()
    assert.is_true(event:wait())
    assert.equal("lunarch.event: set", tostring(event))
  end)
end)
