-- The driver of handlers against an election in memory, under virtual time.
local scene = require "host.candidate_scene"

describe("a candidate", function()
  local world, calls, candidate
  local make, run, call, sleep = scene.make, scene.run, scene.call, scene.sleep

  before_each(function() world, calls, candidate = scene.begin() end)
  after_each(scene.finish)

  describe("in a term", function()
    it("calls on_elected once, do_work again and again, on_lost once", function()
      run(make(), 3.5)
      assert.same({ "on_elected 1", "do_work 1", "do_work 1", "do_work 1", "do_work 1", "on_lost 1 stopping" }, calls)
    end)

    it("waits for as long as do_work says", function()
      run(make { do_work = function()
        call "do_work"
        return 10
      end }, 25)
      assert.equal(0, world:time_of("do_work", 1))
      assert.equal(10, world:time_of("do_work", 2))
      assert.equal(20, world:time_of("do_work", 3))
      assert.is_nil(world:time_of("do_work", 4))
    end)

    it("waits for the interval where do_work says nothing", function()
      run(make { interval = 4 }, 9)
      assert.equal(4, world:time_of("do_work", 2))
      assert.equal(8, world:time_of("do_work", 3))
    end)

    it("interrupts do_work when it is lost, then calls on_lost with the reason, then gives the place up", function()
      world:at(5, function()
        world.is_open = false
        world.term:lose "revoked"
      end)
      run(make {
        on_elected = false,
        do_work = function()
          local ok, err = pcall(sleep, 100)
          call("interrupted", tostring(ok), err.code, err.reason)
          error(err)
        end,
      }, 50)
      assert.same({ "interrupted false lost revoked", "on_lost 1 revoked" }, calls)
      assert.equal(5, world:time_of "on_lost")
      assert.same({ "on_lost 1 revoked", "resign 1" }, world:said("on_lost", "resign"))
    end)

    it("interrupts on_elected at stop_at", function()
      world.stop_at = 7
      run(make { on_elected = function()
        call "on_elected"
        sleep(100)
      end }, 8)
      assert.same({ "on_elected", "on_lost 1 expired" }, { calls[1], calls[2] })
      assert.equal(7, world:time_of "on_lost")
    end)

    it("never calls do_work when on_elected overran the end of the term", function()
      world.stop_at = 7
      world:at(7, function() world.is_open = false end)
      run(make { on_elected = function()
        call "on_elected"
        world:block(20)
      end }, 30)
      assert.same({ "on_elected", "on_lost 1 expired" }, calls)
    end)

    it("reads the clock before do_work is called again", function()
      world.stop_at = 7
      run(make { do_work = function()
        call "do_work"
        world:block(10)
        return 0
      end }, 8)
      assert.same({ "on_elected 1", "do_work", "on_lost 1 expired" }, calls)
    end)

    it("reads the clock when a wait ends, before the handler goes on", function()
      world.stop_at = 7
      world:at(2, function() world.is_open = false end)
      local went_on = false
      run(make { do_work = function()
        -- Another task holds everything up beyond the end, as a stopped process would.
        world.lunarch.spawn(function() world:block(60) end)
        sleep(1)
        went_on = true
      end }, 70)
      assert.is_false(went_on)
      assert.equal("on_lost 1 expired", calls[2])
    end)

    it("ends although a handler swallows the interruption", function()
      world:at(5, function() world.term:lose "expired" end)
      run(make { do_work = function()
        pcall(sleep, 100)
        call "went on"
        return 0
      end }, 6)
      assert.same({ "on_elected 1", "went on", "on_lost 1 expired" }, { calls[1], calls[2], calls[3] })
    end)

    it("lasts without do_work until it is lost", function()
      world:at(500, function() world.term:lose "key_deleted" end)
      world:at(500, function() world.is_open = false end)
      run(make { do_work = false }, 600)
      assert.same({ "on_elected 1", "on_lost 1 key_deleted" }, calls)
    end)

    it("is not entered when it was over before it began", function()
      world.stop_at = 0
      world:at(0, function() world.is_open = false end)
      world.is_open = true
      local c = make()
      world:at(1, function() world.is_open = false end)
      run(c, 2)
      assert.same({}, calls)
      assert.equal("resign 1", world:said("resign")[1])
    end)

    it("ends for the first reason that came", function()
      local c
      c = make { do_work = function()
        world.term:lose "revoked"
        pcall(sleep, 1)
        c:stop()
      end }
      world:run(function() c:run() end)
      assert.same({ "on_elected 1", "on_lost 1 revoked" }, calls)
    end)

    it("is not told as lost when it was over before on_elected could begin", function()
      world.stop_at = 5
      local c = make()
      world:at(20, function() c:stop() end)
      world:run(function()
        world:spawn(function()
          world:wait(function() return world.term end)
          -- The driver has seen a term that lasts, the worker has not begun.
          world.is_open = false
          world:block(10)
        end)
        c:run()
      end)
      assert.same({}, calls)
      assert.same({ "resign 1" }, world:said "resign")
    end)

    it("ends in order when everything is interrupted", function()
      local c = make { do_work = function() sleep(100) end }
      world:at(3, function()
        for _, task in ipairs(world.tasks) do task:interrupt "the main task failed" end
      end)
      world:run(function() pcall(c.run, c) while not world:time_of "close session" do world:allow() sleep(1) end end)
      assert.same({ "on_elected 1", "on_lost 1 stopping" }, calls)
      assert.same({ "on_lost", "resign 1" }, { world:said("on_lost")[1]:match "^%S+", world:said("resign")[1] })
    end)

    it("never overlaps with the next one", function()
      local inside = 0
      local function enter(name, seconds)
        return function()
          inside = inside + 1
          assert(inside == 1, "two handlers at once")
          call(name)
          pcall(sleep, seconds)
          inside = inside - 1
        end
      end
      for i = 1, 5 do
        world:at(i * 10, function() if world.term then world.term:lose "expired" end end)
      end
      run(make {
        on_elected = enter("on_elected", 3), do_work = enter("do_work", 2), on_lost = enter("on_lost", 1),
      }, 60)
      local order = table.concat(world:said("on_elected", "on_lost"), " ")
      assert.equal(order, (("on_elected on_lost "):rep(6):gsub(" $", "")))
      assert.is_nil(world:has_logged "two handlers")
    end)
  end)

  describe("on_lost", function()
    it("follows when on_elected failed", function()
      run(make { on_elected = function() error "no luck" end }, 0.4)
      assert.same({ "on_lost 1 error" }, calls)
      assert.truthy(world:has_logged "error: on_elected failed: .*no luck.*stack traceback")
    end)

    it("returns before the place is given up", function()
      run(make { on_lost = function()
        sleep(3)
        world:note "on_lost returned"
      end }, 2)
      assert.same({ "on_lost returned", "resign 1", "close session" },
        world:said("on_lost returned", "resign", "close session"))
      assert.equal(5, world:time_of "resign")
    end)

    it("is interrupted after stop_timeout, and the place is given up then", function()
      run(make { stop_timeout = 4, on_lost = function() sleep(1000) end }, 2)
      assert.equal(6, world:time_of "resign")
      assert.truthy(world:has_logged "warn: on_lost has not ended within 4 s")
    end)

    it("that does not end leaves the place to lapse with its lease", function()
      run(make { stop_timeout = 4, on_lost = function()
        while true do
          world:block(0.5)
          pcall(sleep, 1)
          coroutine.yield()
        end
      end }, 2)
      assert.same({ "orphan" }, world:said("orphan", "resign"))
      assert.truthy(world:has_logged "error: on_lost does not end")
    end)

    it("that fails is told, and the place is given up", function()
      run(make { on_lost = function() error "cannot let go" end }, 2)
      assert.truthy(world:has_logged "error: on_lost failed: .*cannot let go")
      assert.equal(2, world:time_of "resign")
    end)
  end)

  describe("whose handler does not end", function()
    local function stubborn(name)
      return function()
        call(name)
        while true do
          pcall(sleep, 0.5)
          world:block(0.01)
          coroutine.yield()
        end
      end
    end

    for _, name in ipairs { "on_elected", "do_work" } do
      it("calls on_lost all the same when it is stopped, and does not resume it (" .. name .. ")", function()
        run(make { stop_timeout = 4, [name] = stubborn(name) }, 2)
        assert.equal("on_lost 1 stopping", calls[#calls])
        assert.truthy(world:time_of "on_lost" >= 6 and world:time_of "on_lost" < 7)
        assert.same({ "on_lost 1 stopping", "resign 1" }, world:said("on_lost", "resign"))
        assert.truthy(world:has_logged("warn: " .. name .. " goes on though it was told to stop %(stopping%)"))
        assert.truthy(world:has_logged("error: " .. name .. " has not ended 4 s after it was told to"))
      end)

      it("warns at the end of the term, and says when another may lead (" .. name .. ")", function()
        world.stop_at, world.lasts_s = 5, 2
        world:at(4, function() world.is_open = false end)
        run(make { [name] = stubborn(name) }, 30)
        assert.truthy(world:has_logged("warn: " .. name
          .. " goes on after the end of its term %(expired%): 1.%d s until the place may be another's"))
        assert.truthy(world:has_logged("error: " .. name .. " still goes on: another may lead now"))
        assert.equal("on_lost 1 expired", calls[#calls])
        assert.truthy(world:time_of "on_lost" >= 7 and world:time_of "on_lost" < 8)
      end)
    end

    it("is told the same of on_lost", function()
      world.stop_at, world.lasts_s = 5, 2
      world:at(4, function() world.is_open = false end)
      run(make { on_lost = function() sleep(4) end }, 30)
      assert.truthy(world:has_logged "warn: on_lost goes on after the end of its term .*place may be another's")
      assert.truthy(world:has_logged "error: on_lost still goes on: another may lead now")
      assert.falsy(world:has_logged "interrupting it")
    end)

    it("says nothing of a handler that ends when it is told to", function()
      world.stop_at, world.lasts_s = 5, 2
      world:at(4, function() world.is_open = false end)
      run(make(), 30)
      assert.falsy(world:has_logged "goes on")
    end)
  end)

  describe("whose handler fails", function()
    it("logs the traceback, as far as it is the handler's", function()
      run(make { do_work = function() error "broken" end }, 0.4)
      local text = world:has_logged "error: do_work failed"
      assert.truthy(text:find("candidate_spec.lua:%d+: broken"))
      assert.falsy(text:find("candidate.lua:", 1, true))
    end)

    it("steps down, and stands again only after a pause", function()
      run(make { do_work = function() error "broken" end }, 0.4)
      assert.same({ "on_elected 1", "on_lost 1 error" }, calls)
      assert.truthy(world:time_of "resign" < 0.01) -- after one turn of the loop: another reason may come first
      assert.is_nil(world:time_of("campaign", 2))
    end)

    it("waits longer each time", function()
      run(make { do_work = function() error "broken" end }, 200)
      local pauses = {}
      for i = 1, 6 do
        pauses[i] = world:time_of("campaign", i + 1) - world:time_of("resign", i)
        local full = math.min(30, 2 ^ (i - 1))
        assert.truthy(pauses[i] >= full / 2 and pauses[i] <= full)
      end
    end)

    it("waits as long as it is told to", function()
      run(make { backoff = { stand = { 8, 16 } }, do_work = function() error "broken" end }, 60)
      for i = 1, 3 do
        local pause = world:time_of("campaign", i + 1) - world:time_of("resign", i)
        assert.truthy(pause >= math.min(16, 8 * i) / 2 and pause <= 16)
      end
    end)

    it("starts again with short pauses after a long term", function()
      local n = 0
      run(make { do_work = function()
        n = n + 1
        if n == 8 then sleep(100) end
        error "broken"
      end }, 400)
      assert.truthy(world:time_of("campaign", 8) - world:time_of("resign", 7) > 10)
      assert.truthy(world:time_of("campaign", 9) - world:time_of("resign", 8) <= 1)
    end)

    it("takes a wrong result of do_work for an error", function()
      run(make { do_work = function() return "soon" end }, 0.4)
      assert.truthy(world:has_logged 'error: do_work returned the string "soon"')
      assert.same({ "on_elected 1", "on_lost 1 error" }, calls)
    end)

    it("goes on when only on_leader fails", function()
      world.leader, world.is_open = { value = "B" }, false
      world:at(1, function() world.is_open = true end)
      run(make { on_leader = function() error "no interest" end }, 2.5)
      assert.truthy(world:has_logged "error: on_leader failed: .*no interest")
      assert.equal("on_lost 1 stopping", calls[#calls])
    end)
  end)

  it("resigns when do_work returns false, and lets others go first", function()
    run(make { do_work = function()
      call "do_work"
      return false
    end }, 0.4)
    assert.same({ "on_elected 1", "do_work", "on_lost 1 resigned" }, calls)
    assert.same({ "campaign A" }, world:said "campaign")
  end)

  it("whose handler gives the place up itself has resigned", function()
    run(make { do_work = function(term)
      call "do_work"
      term:resign()
      sleep(1)
    end }, 0.4)
    assert.same({ "on_elected 1", "do_work", "on_lost 1 resigned" }, calls)
    assert.same({ "campaign A" }, world:said "campaign")
  end)

  describe("that is stopped", function()
    it("while it connects, ends at once", function()
      world.session_troubles = { "silence" }
      run(make(), 2)
      assert.equal(2, world.time)
      assert.same({}, calls)
    end)

    it("between two attempts to connect, ends at once", function()
      for i = 1, 8 do world.session_troubles[i] = "refused" end
      run(make(), 2)
      assert.equal(2, world.time)
    end)

    it("while it stands, gives its session up", function()
      world.is_open = false
      run(make(), 9)
      assert.equal(9, world.time)
      assert.same({ "campaign A", "close session", "close client" },
        world:said("campaign", "close session", "close client"))
      assert.same({}, calls)
    end)

    it("in on_elected, calls on_lost and no do_work", function()
      run(make { on_elected = function()
        call "on_elected"
        sleep(10)
      end }, 1)
      assert.same({ "on_elected", "on_lost 1 stopping" }, calls)
    end)

    it("while etcd is silent, waits for it once, and leaves the rest to the background", function()
      world:at(3, function() world.is_silent = true end)
      run(make(), 3)
      assert.same({ "resign 1", "close session" }, world:said("resign", "close session"))
      assert.equal(world:time_of "close session", world.time)
      assert.is_true(world.time > 3 and world.time < 10)
      assert.truthy(world:has_logged "warn: giving the place up: silence")
      assert.falsy(world:has_logged "closing the session")
    end)

    it("by its own handler, does not call it again", function()
      local c
      c = make { do_work = function()
        call "do_work"
        c:stop()
      end }
      world:run(function() c:run() end)
      assert.same({ "on_elected 1", "do_work", "on_lost 1 stopping" }, calls)
    end)

    it("in on_lost, lets it finish and does not stand again", function()
      world:at(3, function() world.term:lose "expired" end)
      run(make { on_lost = function(_, reason)
        sleep(4)
        call("on_lost", reason)
      end }, 5)
      assert.same({ "on_lost expired" }, { calls[#calls] })
      assert.equal(7, world.time)
      assert.same({ "campaign A" }, world:said "campaign")
    end)

    it("while it steps back, ends at once", function()
      run(make { do_work = function() error "broken" end }, 0.3)
      assert.equal(0.3, world.time)
    end)

    it("long after etcd was silent, waits for it", function()
      world.is_silent = true
      world:at(4, function() world.is_silent, world.is_open = false, false end)
      run(make { do_work = function() return world.time < 1 end }, 1000)
      assert.same({ "campaign A", "campaign A" }, world:said "campaign")
      assert.equal(2, world.close_s)
    end)

    it("twice, is stopped once", function()
      local c = make()
      world:at(1, function() c:stop() end)
      run(c, 1.5)
      assert.equal("on_lost 1 stopping", calls[#calls])
      assert.equal(1, world.time)
    end)
  end)

  describe("whose etcd does not answer", function()
    it("may be looked for elsewhere only before it has answered", function()
      world.session_troubles[1] = "connection refused"
      candidate = make()
      candidate.hint = " (a hint)"
      world:at(20, function()
        world.session_troubles[1] = "connection refused again"
        world.session:lose "expired"
      end)
      run(candidate, 100)
      assert.truthy(world:has_logged "connection refused %(a hint%)")
      assert.truthy(world:has_logged "connection refused again; trying")
    end)

    it("says what it tries, once, and goes on trying", function()
      for i = 1, 20 do world.session_troubles[i] = "connection refused" end
      run(make(), 100)
      assert.truthy(world:has_logged "warn: no session with fake:2379: connection refused; trying again in")
      assert.truthy(world:has_logged "info: etcd answers again")
      local n = 0
      for _, text in ipairs(world.logged) do n = n + (text:find "connection refused" and 1 or 0) end
      assert.truthy(n <= 2)
      assert.equal("on_elected 1", calls[1])
    end)

    it("leaves the pauses between 0.1 and 5 seconds", function()
      for i = 1, 20 do world.session_troubles[i] = "connection refused" end
      run(make(), 100)
      local last
      for _, note in ipairs(world.notes) do
        if note[2] == "no session" then
          if last then assert.truthy(note[1] - last >= 0.1 and note[1] - last <= 5) end
          last = note[1]
        end
      end
    end)
  end)

  it("takes a new session when the old one is lost", function()
    world:at(5, function() world.session:lose "expired" end)
    run(make(), 10)
    assert.equal("on_lost 1 expired", calls[7])
    assert.same({ "session", "close session", "session", "close session" }, world:said("session", "close session"))
    assert.equal("on_elected 2", calls[8])
  end)

  it("takes a new session when it is lost while standing", function()
    world.is_open = false
    world:at(5, function() world.session:lose "revoked" end)
    world:at(6, function() world.is_open = true end)
    run(make(), 9)
    assert.equal("on_elected 1", calls[1])
    assert.equal(2, #world:said "campaign")
  end)

  it("tells on_jeopardy and on_safe", function()
    world:at(2, function() world.session:set_state "jeopardy" end)
    world:at(4, function() world.session:set_state "alive" end)
    run(make {
      do_work = false,
      on_jeopardy = function(term) call("on_jeopardy", term.token) end,
      on_safe = function(term) call("on_safe", term.token) end,
    }, 6)
    assert.same({ "on_elected 1", "on_jeopardy 1", "on_safe 1", "on_lost 1 stopping" }, calls)
  end)

  it("warns of a handler that held everything up for three TTLs", function()
    run(make { ttl = 2, do_work = function()
      world:block(20)
      return 100
    end }, 60)
    assert.truthy(world:has_logged "warn: nothing moved for [%d.]+ s in do_work")
  end)

  it("names the handler that held everything up, not the one called last", function()
    world:at(3, function() world.leader = { value = "A", key = "/e/1234567890abcdef", token = 1 } end)
    run(make { ttl = 2, on_leader = function() end, do_work = function()
      if world.time > 5 then world:block(20) end
      return 1
    end }, 60)
    assert.truthy(world:has_logged "warn: nothing moved for [%d.]+ s in do_work")
    assert.falsy(world:has_logged "in on_leader")
  end)

  it("says once where it stands, with which TTL, and how long etcd may be away", function()
    world:at(5, function() world.session:lose "revoked" end)
    run(make { ttl = 1 }, 30)
    assert.truthy(world:has_logged("info: stands in /e as A: TTL 2 s %(1 s was asked for%); "
      .. "etcd may be away for 0.5 s; told to stop after 0.3 s without a renewal, lost after 1.8 s, "
      .. "replaced after 2 s at the earliest; etcd at fake:2379"))
    local n = 0
    for _, text in ipairs(world.logged) do
      if text:find "stands in" then n = n + 1 end
    end
    assert.equal(1, n)
  end)

  it("says with etcd's words why etcd does not renew its session any more", function()
    world:at(5, function() world.session:lose("permission_denied", "renew the lease of /e/1: user alice: no") end)
    local reasons = {}
    run(make { on_lost = function(_, reason) reasons[#reasons + 1] = reason end }, 30)
    assert.equal("permission_denied", reasons[1])
    assert.truthy(world:has_logged "error: the term ends: permission_denied: renew the lease of /e/1: user alice: no")
  end)

  it("hands its settings on", function()
    run(make { ttl = 7, grace = 2 }, 1)
    assert.same({ ttl = 7, grace = 2 }, world.session_options)
  end)

  it("stands with its value, or else with its name", function()
    run(make { value = "10.0.0.1:80" }, 1)
    assert.same({ "campaign 10.0.0.1:80" }, world:said "campaign")
  end)

  describe("refuses", function()
    local function refused(options, text)
      local ok, message = pcall(candidate, options)
      assert.is_false(ok)
      assert.truthy(message:find(text, 1, true), message)
    end

    it("an unknown option, with the name probably meant", function()
      refused({ election = "/e", on_electd = function() end }, "'on_electd' (did you mean 'on_elected'?)")
    end)

    it("to stand for nothing", function()
      refused({ on_elected = function() end }, "'election' is missing")
      refused({ election = "/e/", on_elected = function() end }, "does not end in '/'")
    end)

    it("to be told twice where etcd is", function()
      refused({ election = "/e", on_elected = print, client = {}, endpoints = "127.0.0.1:2379" },
        "lunarch.candidate: give either 'client' or 'endpoints'")
    end)

    it("to stand with nothing to do", function()
      refused({ election = "/e", on_leader = function() end }, "neither 'on_elected' nor 'do_work'")
    end)

    it("handlers that are no functions, and settings that are no numbers", function()
      refused({ election = "/e", do_work = 1 }, "'do_work' must be a function")
      refused({ election = "/e", do_work = print, ttl = "soon" }, "'ttl' must be a whole number of seconds")
    end)

    it("pauses that make no sense", function()
      local function with(backoff) return { election = "/e", do_work = print, backoff = backoff } end
      refused(with(3), "'backoff' must be a table")
      refused(with { stnd = { 1, 2 } }, "did you mean 'stand'?")
      refused(with { stand = { 5, 1 } }, "two pauses above 0")
    end)

    it("to run twice", function()
      local c = make()
      run(c, 1)
      local ok, message = pcall(c.run, c)
      assert.is_false(ok)
      assert.truthy(message:find("make another one", 1, true))
    end)
  end)
end)
