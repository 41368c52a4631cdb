-- may_stand, health, pause and resume, against an election in memory, under virtual time.
local scene = require "host.candidate_scene"

describe("a candidate", function()
  local world, calls
  local make, run, call, sleep = scene.make, scene.run, scene.call, scene.sleep

  before_each(function() world, calls = scene.begin() end)
  after_each(scene.finish)

  local function until_time(at) return function() return world.time >= at end end

  local function count(pattern)
    local n = 0
    for _, text in ipairs(world.logged) do
      if text:find(pattern) then n = n + 1 end
    end
    return n
  end

  describe("that may not stand", function()
    it("does not, says why once, and stands when it may", function()
      run(make { may_stand = function()
        call "may_stand"
        if world.time < 12 then return false, "the disk is full" end
        return true
      end, health_interval = 5 }, 20)
      assert.equal(15, world:time_of "campaign")
      assert.equal(1, count "^warn: does not stand in /e: may_stand says no: the disk is full$")
      assert.equal(1, count "^info: stands again in /e$")
    end)

    it("is asked once per interval, and stands by that answer", function()
      local asked_at = {}
      local function nothing() end
      -- It does not begin to wait at the very instant at which the checks do.
      local log = { info = nothing, warn = function() sleep(0.1) end, error = nothing }
      run(make { log = log, may_stand = function()
        asked_at[#asked_at + 1] = world.time
        sleep(1)
        return world.time >= 12
      end, health_interval = 5 }, 20)
      assert.same({ 0, 6, 12 }, asked_at)
      assert.equal(13, world:time_of "campaign")
    end)

    it("is asked at once when a pause ends", function()
      local asked_at = {}
      local it = make { may_stand = function()
        asked_at[#asked_at + 1] = world.time
        return world.time >= 12
      end, health_interval = 5 }
      world:spawn(function()
        sleep(6)
        it:pause()
        sleep(7)
        it:resume()
      end)
      run(it, 20)
      assert.equal(13, asked_at[#asked_at])
      assert.equal(13, world:time_of "campaign")
    end)

    it("leaves the line where it waits", function()
      world.is_open = false
      run(make { may_stand = function() return world.time < 7 end }, 16)
      assert.same({ "campaign A" }, world:said "campaign")
      assert.truthy(world:has_logged "does not stand in /e: may_stand says no")
    end)

    it("by an error does not, and says the error", function()
      run(make { may_stand = function() error "broken" end }, 12)
      assert.is_nil(world:time_of "campaign")
      assert.truthy(world:has_logged "may_stand failed: .*fitness_spec.lua:%d+: broken")
    end)

    it("is not asked while it leads", function()
      local asked_at = 0
      run(make { may_stand = function()
        asked_at = world.time
        return true
      end }, 30)
      assert.equal(0, asked_at)
    end)
  end)

  describe("with health", function()
    it("stands only once the first check has succeeded", function()
      run(make { health = until_time(4), health_interval = 2 }, 10)
      assert.equal(4, world:time_of "campaign")
    end)

    it("steps down in order after so many failures in a row, and stands again once it is well", function()
      run(make { health = function()
        return world.time < 5 or world.time == 8 or world.time > 40, "no answer"
      end, health_interval = 2, health_failures = 3, do_work = function() sleep(100) end }, 60)
      assert.same({ "on_elected 1", "on_lost 1 unhealthy", "on_elected 2", "on_lost 2 stopping" }, calls)
      assert.equal(14, world:time_of("on_lost", 1))
      assert.equal(14, world:time_of("resign", 1))
      assert.truthy(world:has_logged "^error: steps down: health says no: no answer %(3 times in a row%)$")
      assert.is_true(world:time_of("campaign", 2) > 40)
    end)

    it("that hangs counts as failed, and holds up neither the work nor on_lost", function()
      run(make { health = function()
        if world.time > 3 then sleep(1000) end
        return true
      end, health_interval = 4, health_timeout = 1, health_failures = 2, on_lost = function(term, reason)
        call("on_lost", term.token, reason)
      end }, 30)
      assert.equal(10, world:time_of("on_lost", 1))
      assert.truthy(world:has_logged "health has not answered within 1 s")
      assert.is_true(#world:said "do_work" > 8)
    end)

    it("that does not end when it is interrupted is abandoned, and called anew", function()
      local n, has_hung = 0, false
      run(make { health = function()
        n = n + 1
        if world.time > 0 and not has_hung then
          has_hung = true
          pcall(sleep, 1000)
          world:allow()
          sleep(1000)
        end
        return true
      end, health_interval = 4, health_timeout = 2, health_failures = 1 }, 60)
      assert.equal(7, world:time_of("on_lost", 1))
      assert.truthy(world:has_logged "^error: health does not end: it is not resumed any more$")
      assert.is_true(n > 5)
      assert.equal("on_lost 2 stopping", calls[#calls])
    end)

    it("that fails leaves the line where it waits, and comes back", function()
      world.is_open = false
      run(make { health = function() return world.time < 3 or world.time > 20 end, health_interval = 2 }, 40)
      assert.equal(2, #world:said "campaign")
      assert.same({}, calls)
    end)

    it("that waits is interrupted when the candidate stops", function()
      run(make { health = function()
        if world.time > 3 then sleep(1000) end
        return true
      end, health_interval = 4, health_timeout = 100 }, 20)
      assert.equal("on_lost 1 stopping", calls[#calls])
      assert.equal(20, world.time)
    end)

    it("is refused settings that make no sense", function()
      for name, value in pairs {
        health = 3, may_stand = "x", health_interval = 0, health_timeout = 0, health_failures = 0,
      } do
        assert.has_error(function() make { [name] = value } end)
      end
    end)
  end)

  describe("that is paused", function()
    it("leaves the line, and stands again when it is resumed", function()
      world.is_open = false
      local c = make()
      world:at(3, function() c:pause() end)
      world:at(4, function() world.is_open = true end)
      world:at(9, function() c:resume() end)
      run(c, 12)
      assert.equal(9, world:time_of("campaign", 2))
      assert.equal(9, world:time_of "on_elected")
      assert.truthy(world:has_logged "^warn: does not stand in /e: it is paused$")
    end)

    it("goes on while it leads, and does not stand after that term", function()
      local c = make()
      world:at(3, function() c:pause() end)
      world:at(6, function() world.term:lose "revoked" end)
      run(c, 30)
      assert.equal("on_lost 1 revoked", calls[#calls])
      assert.equal(6, world:time_of "on_lost")
      assert.same({ "campaign A" }, world:said "campaign")
    end)
  end)
end)
