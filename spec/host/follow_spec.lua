-- What a candidate tells of who leads, and do_standby: against an election in memory, under virtual time.
local scene = require "host.candidate_scene"

describe("a candidate", function()
  local world, calls
  local make, run, call, sleep = scene.make, scene.run, scene.call, scene.sleep

  before_each(function() world, calls = scene.begin() end)
  after_each(scene.finish)

  describe("that follows", function()
    it("tells on_leader of each change, and of nobody", function()
      world.is_open = false
      world.leader = { value = "B", key = "/e/b", token = 1 }
      world:at(2, function() world.leader = {} end)
      world:at(4, function() world.leader = { value = "C", key = "/e/c", token = 2 } end)
      run(make { on_leader = function(leader) call("on_leader", leader.value or "nobody") end }, 5)
      assert.same({ "on_leader B", "on_leader nobody", "on_leader C" }, calls)
    end)

    it("knows that others are others", function()
      world.is_open = false
      world:at(1, function() world.leader = { value = "A", key = "/e/00000000000000aa" } end)
      run(make { do_work = false, on_leader = function(leader) call("on_leader", tostring(leader.is_me)) end }, 5)
      assert.same({ "on_leader false" }, calls)
    end)

    it("knows itself", function()
      world:at(1, function() world.leader = { value = "A", key = "/e/1234567890abcdef", token = 1 } end)
      run(make { do_work = false, on_leader = function(leader) call("on_leader", tostring(leader.is_me)) end }, 5)
      assert.equal("on_leader true", calls[2])
    end)

    local US = { value = "A", key = "/e/1234567890abcdef", token = 1 }

    local function names(leader)
      call("on_leader", leader.is_me and "us" or leader.value or "nobody")
    end

    it("tells on_leader of us once on_elected has begun, however early that was observed", function()
      world.leader, world.is_open = US, false
      world:at(3, function() world.is_open = true end)
      run(make { do_work = false, on_leader = names }, 5)
      assert.same({ "on_elected 1", "on_leader us", "on_lost 1 stopping" }, calls)
      assert.equal(3, world:time_of "on_leader")
    end)

    it("tells on_leader of us while on_elected waits", function()
      world:at(1, function() world.leader = US end)
      run(make {
        do_work = false, on_leader = names,
        on_elected = function()
          call "on_elected"
          sleep(3)
          call "on_elected returned"
        end,
      }, 5)
      assert.same({ "on_elected", "on_leader us", "on_elected returned" }, { calls[1], calls[2], calls[3] })
    end)

    for reason, leader in pairs { expired = { value = "B", token = 2 }, revoked = {} } do
      it("tells on_leader of " .. (leader.value or "nobody") .. " only after on_lost has returned", function()
        world:at(1, function() world.leader = US end)
        world:at(5, function() world.leader, world.is_open = leader, false end)
        world:at(7, function() world.term:lose(reason) end)
        run(make {
          do_work = function() pcall(sleep, 1) end, on_leader = names,
          on_lost = function()
            call "on_lost"
            sleep(2)
            call "on_lost returned"
          end,
        }, 20)
        assert.same({ "on_elected 1", "on_leader us", "on_lost", "on_lost returned",
          "on_leader " .. (leader.value or "nobody") }, calls)
      end)
    end

    it("tells on_leader only of the latest that came during a term", function()
      world:at(1, function() world.leader = { value = "B", token = 2 } end)
      world:at(2, function() world.leader = {} end)
      world:at(3, function() world.leader = { value = "C", token = 3 } end)
      world:at(5, function()
        world.is_open = false
        world.term:lose "expired"
      end)
      run(make { do_work = false, on_leader = names }, 9)
      assert.same({ "on_elected 1", "on_lost 1 expired", "on_leader C" }, calls)
    end)

    it("tells on_leader after a term of what etcd says then, not of what was observed before it", function()
      world:at(3, function() world.leader = { value = "B", key = "/e/b", token = 0 } end)
      world:at(5, function()
        world.is_silent, world.is_open = true, false
        world.term:lose "expired"
      end)
      world:at(20, function() world.is_silent, world.leader = false, { value = "C", key = "/e/c", token = 3 } end)
      local known = {}
      local c = make { do_work = false, on_leader = names }
      for _, t in ipairs { 4, 6, 19, 21 } do
        world:at(t, function() known[t] = c:_known_leader() and c:_known_leader().value or "unknown" end)
      end
      run(c, 30)
      assert.same({ "on_elected 1", "on_lost 1 expired", "on_leader C" }, calls)
      assert.same({ [4] = "unknown", [6] = "unknown", [19] = "unknown", [21] = "C" }, known)
    end)

    for who, leader in pairs { B = { value = "B", key = "/e/b", token = 1, revision = 1 }, nobody = {} } do
      it("does not know that " .. who .. " leads once the session is lost, and tells the same once", function()
        world.is_open, world.leader = false, leader
        local known = {}
        local c = make { on_leader = names }
        local function note(name)
          return function()
            local now = c:_known_leader()
            known[#known + 1] = name .. " " .. (now and (now.value or "nobody") or "unknown")
          end
        end
        world:at(3, note "before")
        world:at(4, function() world.is_silent = true end)
        world:at(13, function() world.session:lose "expired" end)
        world:at(14, note "silent")
        world:at(20, function() world.is_silent = false end)
        world:at(21, note "after")
        run(c, 30)
        assert.same({ "before " .. who, "silent unknown", "after " .. who }, known)
        assert.same({ "on_leader " .. who }, calls)
      end)

      it("does not know that " .. who .. " leads while no session can be opened, for etcd is silent", function()
        world.is_open, world.leader = false, leader
        world.session_troubles = { "silence", "silence" }
        local known = {}
        local c = make { on_leader = names }
        world:at(1, function()
          world.is_silent = true
          known[1] = c:_known_leader() == leader
        end)
        world:at(4, function() known[2] = c:_known_leader() == nil end)
        world:at(5, function() world.is_silent = false end)
        run(c, 30)
        assert.same({ true, true }, known)
        assert.same({ "on_leader " .. who }, calls)
      end)
    end

    it("does not tell on_leader of the place that its lost session has left", function()
      world:at(1, function() world.leader = US end)
      world:at(5, function()
        world.is_open = false
        world.session:lose "expired"
        world.lease = "00000000000000bb"
      end)
      world:at(15, function() world.leader = { value = "B", key = "/e/b", token = 2 } end)
      run(make { do_work = false, on_leader = names }, 20)
      assert.same({ "on_elected 1", "on_leader us", "on_lost 1 expired", "on_leader B" }, calls)
    end)

    it("does not tell on_leader of us when our term is over", function()
      world:at(5, function()
        world.is_open = false
        world.term:lose "expired"
      end)
      world:at(6, function() world.leader = US end)
      world:at(8, function() world.leader = { value = "B", token = 2 } end)
      run(make { do_work = false, on_leader = names }, 9)
      assert.same({ "on_elected 1", "on_lost 1 expired", "on_leader B" }, calls)
    end)

    it("calls do_standby periodically while it does not lead, and not while it does", function()
      world.is_open = false
      world.leader = { value = "B" }
      world:at(3.5, function() world.is_open = true end)
      world:at(5, function() world.leader = { value = "A", key = "/e/1234567890abcdef", token = 1 } end)
      run(make { do_work = false, do_standby = function(leader) call("do_standby", leader.value) end }, 10)
      assert.same({
        "do_standby B", "do_standby B", "do_standby B", "do_standby B", "on_elected 1", "on_lost 1 stopping",
      }, calls)
    end)

    it("ends do_standby before on_elected begins", function()
      world.is_open = false
      world.leader = { value = "B" }
      world:at(3, function() world.is_open = true end)
      run(make { do_work = false, do_standby = function()
        local ok = pcall(sleep, 100)
        call("do_standby ended", tostring(ok))
      end }, 10)
      assert.same({ "do_standby ended false", "on_elected 1" }, { calls[1], calls[2] })
    end)
  end)
end)
