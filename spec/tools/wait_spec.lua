local uv = require "luv"
local clock = require "support.clock"
local wait = require "support.wait"

describe("the clock", function()
  it("is CLOCK_BOOTTIME to the resolution of /proc/uptime", function()
    local before = clock.now()
    local file = assert(io.open "/proc/uptime")
    local uptime = tonumber(file:read("l"):match "^%S+")
    file:close()
    assert.is_true(before - 0.02 <= uptime and uptime <= clock.now() + 0.02)
  end)
end)

describe("waiting", function()
  it("gives back the first true result", function()
    local asked = 0
    assert.equal("done", wait.eventually(function()
      asked = asked + 1
      return asked == 3 and "done"
    end))
    assert.equal(3, asked)
  end)

  it("ends at its limit and tells the last error", function()
    local started = clock.now()
    local ok, err = pcall(wait.eventually, function() error "still closed" end, 0.1, "the door")
    assert.is_false(ok)
    assert.matches("waited 0.1 s in vain for the door; the last error: .*still closed", err)
    assert.is_true(clock.now() - started >= 0.1)
  end)

  it("takes assertions as a condition", function()
    local n = 0
    wait.passes(function()
      n = n + 1
      assert.equal(4, n)
    end)
    assert.equal(4, n)
  end)

  it("lets libuv go on meanwhile", function()
    local timer, rang = uv.new_timer(), false
    timer:start(20, 0, function()
      timer:close()
      rang = true
    end)
    wait.eventually(function() return rang end)
  end)

  it("works inside a callback of libuv", function()
    local timer, result = uv.new_timer(), nil
    timer:start(1, 0, function()
      timer:close()
      local asked = 0
      result = wait.eventually(function()
        asked = asked + 1
        return asked > 2
      end)
    end)
    uv.run()
    assert.is_true(result)
  end)

  it("notices a condition that does not last", function()
    local ends_at = clock.now() + 0.05
    local ok, err = pcall(wait.holds, function() return clock.now() < ends_at end, wait.LIMIT, "quiet")
    assert.is_false(ok)
    assert.matches("quiet ended after %d+%.%d+ of", err)
    wait.holds(function() return true end, 0.05)
  end)
end)
