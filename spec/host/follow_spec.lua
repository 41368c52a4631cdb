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
      world.leader = { value = "B" }
      world:at(2, function() world.leader = {} end)
      world:at(4, function() world.leader = { value = "C" } end)
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
