-- Commands, timers and signals of a script in the simulator.
local simulate = require "sim.simulate"

describe("in the simulator a command", function()
  it("is not run, and ends as the script says", function()
    local lines = simulate.printed [[
      sim.exec(function(command, world)
        if command[1] == "slow" then return { after = 7, code = 3, stdout = "done\n" } end
        if command[1] == "missing" then return { is_missing = true } end
        if command[1] == "killed" then return { signal = 9, after = 0 } end
      end)
      local began_at = lunarch.now()
      local result = assert(lunarch.exec { "slow", "x" })
      print(result.code, result.stdout, math.floor(lunarch.now() - began_at))
      print((select(2, lunarch.exec { "missing" })))
      print(lunarch.exec({ "killed" }).signal)
      print(lunarch.exec({ "rm", "-rf", "/nowhere" }).code)
    ]]
    assert.same({ "3\tdone", "\t7", "lunarch.exec: missing: not found in PATH", "9", "0" }, lines)
  end)

  it("that hangs is ended by its timeout, its task, and its term", function()
    local report = simulate.report([[
      sim.exec(function(command) return { hangs = true, ignores_term = command[2] == "stubborn" } end)
      election = "/e"
      ttl = 3
      function on_elected()
        print((select(3, lunarch.exec { "first", timeout = 1 })))
        local began_at = lunarch.now()
        local _, _, code, had = lunarch.exec { "first", "stubborn", timeout = 1, kill_after = 2 }
        print(code, had.signal, math.floor(lunarch.now() - began_at + 0.001))
        lunarch.exec { "second" }
      end
      function on_lost(_, reason) print("lost", reason) end
    ]], "--seeds", "1", "--candidates", "1", "--faults", "none", "--timeline")
    assert.is_nil(report.failure)
    local printed, commands = {}, {}
    for _, event in ipairs(report.timeline) do
      if event.kind == "print" then printed[#printed + 1] = event.text end
      if event.kind == "command" then commands[#commands + 1] = event.text:gsub(", after.*", "") end
    end
    assert.same({ "timeout", "timeout\t9\t3", "lost\tstopping" }, printed)
    assert.same({
      "first", "first -> its time is over, signal 15", "first stubborn", "first stubborn -> its time is over, signal 9",
      "second", "second -> cancelled, signal 15",
    }, commands)
  end)

  it("changes the world that all processes share, by the seed", function()
    local text = [=[
      sim.exec(function(command, world)
        if not world.chance(800) then return { code = 1, after = world.random(0, 3) } end
        return { on_end = function(own, how)
          if how.code == 0 then own.notes[command[1]] = (own.notes[command[1]] or 0) + 1 end
        end }
      end)
      election = "/e"
      ttl = 3
      function do_work()
        local result = lunarch.exec { "count" }
        if result and result.code == 0 then sim.add "acknowledged" end
      end
      function check(world) return (world.notes.count or 0) >= (world.notes.acknowledged or 0), "uncounted" end
    ]=]
    assert.is_nil(simulate.report(text, "--seeds", "1..20").failure)
    local found = simulate.report(text:gsub("how.code == 0", "how.code == 1"), "--seeds", "1..20")
    assert.truthy(found.failure)
  end)

  it("by os.execute and io.popen is played alike, and holds the whole process up", function()
    local lines = simulate.printed [[
      sim.exec(function(command) return { after = 2, code = 1, stdout = command[3] .. "\nsecond 7\n" } end)
      local n = 0
      lunarch.spawn(function() while n < 3 do lunarch.sleep(1) n = n + 1 end end)
      lunarch.sleep(0)
      print(os.execute "false")
      print(n)
      local pipe = io.popen "text"
      print(pipe:read "l", pipe:read "a", pipe:close())
      for line in io.popen("x"):lines() do print(line) end
    ]]
    assert.same({ "nil\texit\t1", "0", "text\tsecond 7", "\tnil\texit\t1", "x", "second 7" }, lines)
  end)

  it("without a word from the script succeeds after a random time, the same for the same seed", function()
    local text = [[
      local began_at = lunarch.now()
      for _ = 1, 5 do assert(lunarch.exec({ "anything" }).code == 0) end
      print(("%.6f"):format(lunarch.now() - began_at))
    ]]
    local first = simulate.printed(text)
    assert.is_true(tonumber(first[1]) > 0)
    assert.same(first, (simulate.printed(text)))
  end)

  it("can be told to fail no longer once the faults are over", function()
    local report = simulate.report([[
      sim.exec(function(_, world)
        sim.note("phase " .. world.phase, true)
        return { code = world.phase == "faults" and 1 or 0, after = 0.01 }
      end)
      election, ttl = "/e", 3
      function on_elected() sim.note("elected", lunarch.exec({ "x" }).code) end
      function do_work() lunarch.exec { "x" } end
      function check(world)
        if world.phase ~= "end" then return true end
        local seen = {}
        for _, name in ipairs { "calm", "faults", "recovery" } do seen[#seen + 1] = world.notes["phase " .. name] end
        return #seen == 3, "a phase was not seen"
      end
    ]], "--seeds", "1..3")
    assert.is_nil(report.failure)
  end)

  it("is misused with an error at the script's line", function()
    local report = simulate.report([[sim.exec(function() return { afer = 1 } end)
      lunarch.exec { "x" }]], "--seeds", "1", "--candidates", "1", "--faults", "none")
    assert.truthy(report.failure.reason:find("unknown option 'afer' (did you mean 'after'?)", 1, true))
  end)
end)

describe("in the simulator luv", function()
  it("has timers and signals", function()
    local lines = simulate.printed [[
      local uv = require "luv"
      local timer, n, began_at = uv.new_timer(), 0, uv.now()
      timer:start(1500, 1000, function()
        n = n + 1
        print(n, (uv.now() - began_at) // 100)
        if n == 2 then timer:stop() timer:close() end
      end)
      uv.new_signal():start("sigterm", function(name) print(name) end)
      local ok, err = pcall(function() return uv.new_tcp end)
      print(ok, err:match "luv.new_tcp: [^:]*")
      while true do lunarch.sleep(1) end
    ]]
    assert.same({
      "false\tluv.new_tcp: of libuv, timers, signals and the clock are in the simulation", "1\t15", "2\t25", "sigterm",
    }, lines)
  end)

  it("hears a signal once by start_oneshot, and again and again by a start() after that", function()
    local lines = simulate.printed [[
      local uv = require "luv"
      local signal = uv.new_signal()
      signal:start_oneshot("sigterm", function() print "once" end)
      signal:start(uv.constants.SIGTERM, function(name) print(name, signal:is_active()) end)
      while true do lunarch.sleep(1) end
    ]]
    assert.same({ "sigterm\ttrue" }, lines)
  end)

  it("fails a history by an error in a callback", function()
    local report = simulate.report([[
      require("luv").new_timer():start(10, 0, function() error "in there" end)
      lunarch.sleep(1)
    ]], "--seeds", "1", "--candidates", "1", "--faults", "none")
    assert.truthy(report.failure.reason:find "error in a callback of luv: .*script.lua:1: in there")
  end)
end)
