-- limit: 600 s
-- What the simulator finds wrong with a script, by check(world) and by itself.
local simulate = require "sim.simulate"
local script = require "host.script"
local tree = require "support.tree"

describe("lunarch sim", function()
  local function failure_of(text, ...)
    local report, status = simulate.report(text, "--seeds", "1..5", ...)
    assert.equal(report.failure and 1 or 0, status)
    return report.failure
  end

  local HANDLERS = [[
    election, ttl = "/e", 3
    function do_work(term) sim.add "worked" sim.note("by", term.value) lunarch.sleep(0.5) return 0 end
  ]]

  describe("calls check(world), which", function()
    it("fails a history by an error, with its file and line", function()
      local failure = failure_of(HANDLERS .. "function check(world) if world.now > 2 then error 'too late' end end")
      assert.equal("check", failure.by)
      assert.matches("^check: .*script.lua:3: too late$", failure.reason)
      assert.is_true(failure.at >= 2 and failure.at < 3)
      assert.equal(1, failure.seed)
    end)

    it("fails it by false and a reason", function()
      assert.equal("check: no", failure_of(HANDLERS .. "function check(world) return world.now < 2, 'no' end").reason)
    end)

    it("is content with nothing", function()
      assert.is_nil(failure_of(HANDLERS .. "function check(world) return nil end"))
    end)

    it("sees notes, the store, the time and the phases", function()
      assert.is_nil(failure_of(HANDLERS .. [[
        local phases, last, most = {}, 0, 0
        function check(world)
          assert(world.now >= last)
          last = world.now
          phases[world.phase] = true
          most = math.max(most, #world:list "/e/")
          if world.phase ~= "end" then return end
          for _, phase in ipairs { "calm", "faults", "recovery", "stopping", "end" } do assert(phases[phase], phase) end
          assert(world.notes.worked > 10 and world.notes.by:match "^[ABC]$")
          assert(most == 3 and world:get "/nothing" == nil)
        end
      ]], "--faults", "none"))
    end)

    it("sees the candidates", function()
      assert.is_nil(failure_of(HANDLERS .. [[
        local seen = {}
        function check(world)
          local n = 0
          for i, candidate in ipairs(world.candidates) do
            assert(candidate.name == ("ABC"):sub(i, i))
            if candidate.leads then
              n = n + 1
              assert(candidate.is_elected and candidate.is_up and math.type(candidate.token) == "integer")
              assert(candidate.election == "/e")
            end
            for _, field in ipairs { "is_up", "is_paused", "leads", "handler" } do
              if candidate[field] then seen[field] = true end
            end
          end
          assert(n <= 1, "two leaders")
          if world.phase == "end" then
            assert(seen.is_up and seen.leads and seen.handler)
            assert(not world.candidates[1].is_up)
          end
        end
      ]]))
    end)

    it("may be defined by a script without handlers, before it waits", function()
      local failure = failure_of [[
        function check(world) return (tonumber(world:get "/n") or 0) < 3, "three" end
        local client = lunarch.connect()
        for i = 1, 5 do client:put("/n", tostring(i)) end
      ]]
      assert.equal("check: three", failure.reason)
    end)

    it("is missed when it is defined only after a wait", function()
      local _, status, err = simulate.text "lunarch.connect():get '/k'\n\nfunction check(world) end"
      assert.equal(2, status)
      assert.matches("script.lua:3: check%(world%) has to be defined before the script waits for the first time", err)
      assert.equal("check: no", failure_of([[
        lunarch.spawn(function() lunarch.sleep(1) end)
        local client = assert(lunarch.connect())
        function check(world) return world.now < 2, "no" end
        client:get "/k"
      ]]).reason)
    end)

    it("is stopped when it does not come to an end", function()
      assert.matches("check: .*script.lua:3: it runs on and on",
        failure_of(HANDLERS .. "function check(world) while true do end end").reason)
    end)

    for text, complaint in pairs {
      ["world:get('/k', { prefix = true })"] = "world:get: it takes 1 argument, not 2",
      ["world:get(nil)"] = "world:get: 'key' is missing: it must be a string",
      ["world:get(1)"] = "world:get: 'key' must be a string, not 1",
      ["world.get('/k')"] = "world:get: call it with a colon",
      ["world:list({})"] = "world:list: 'prefix' must be a string, not a table",
      ["world:list('/a', '/b')"] = "world:list: it takes 1 argument, not 2",
      ["world.cadidates[1] = 1"] = "world: unknown field 'cadidates' %(did you mean 'candidates'%?%)",
      ["world.now = 1"] = "world: it is read%-only: 'now' cannot be set",
      ["local _ = world.candidates[1].is_leader"] = "candidate: unknown field 'is_leader'",
      ["return 'fine'"] = "it returned the string \"fine\": return nothing or true",
    } do
      it("refuses what it does not know: " .. text, function()
        local failure = failure_of(HANDLERS .. "function check(world) " .. text .. " end", "--seeds", "1")
        assert.equal("check", failure.by)
        assert.matches("^check: .*" .. complaint, failure.reason)
      end)
    end

    for text, complaint in pairs {
      ["sim.note('a', print)"] = "sim.note: 'value' must be nil, a boolean",
      ["sim.note({}, 1)"] = "sim.note: 'name' must be a string",
      ["sim.note('a', 1, 2)"] = "sim.note: it takes at most 2 arguments, not 3",
      ["sim.note('a', { [print] = 1 })"] = "sim.note: 'value' has a function as a key",
      ["sim.add('a', '1')"] = "sim.add: 'number' must be a number",
      ["sim.note('a', 'x') sim.add 'a'"] = "sim.add: the note 'a' is no number",
      ["sim.now(1)"] = "sim.now: it takes at most 0 arguments, not 1",
      ["sim.adds 'a'"] = "sim: unknown function 'adds' %(did you mean 'add'%?%)",
    } do
      it("is told only what it can hold: " .. text, function()
        local failure = failure_of(text, "--seeds", "1")
        assert.equal("script", failure.by)
        assert.matches("script.lua:1: " .. complaint, failure.reason)
      end)
    end

    it("has to be a function", function()
      local _, status, err = simulate.text "check = 3"
      assert.equal(2, status)
      assert.matches("check has to be a function of the world, it is a number", err)
    end)
  end)

  describe("finds by itself", function()
    it("an error in a handler, with its file and line", function()
      local failure = failure_of [[
        election = "/e"
        function do_work() return nil .. "x" end
      ]]
      assert.equal("script", failure.by)
      assert.matches("^do_work failed: .*script.lua:2: attempt to concatenate", failure.reason)
      assert.not_matches("boot.lua", failure.reason)
    end)

    it("an error in the script, in a task it spawned, in on_lost and on_leader", function()
      assert.matches("^the script failed: .*script.lua:1: oops", failure_of("error 'oops'").reason)
      assert.matches("^a spawned task failed: .*script.lua:1: oops",
        failure_of("lunarch.spawn(function() error 'oops' end)").reason)
      assert.matches("^on_lost failed: .*oops", failure_of [[
        election, ttl = "/e", 3
        function do_work() end
        function on_lost() error "oops" end
      ]].reason)
      assert.matches("^on_leader failed: .*oops", failure_of [[
        election, ttl = "/e", 3
        function do_work() end
        function on_leader() error "oops" end
      ]].reason)
    end)

    it("nothing wrong with raising what a call answered", function()
      assert.is_nil(failure_of([[
        election, ttl = "/e", 3
        local client = assert(lunarch.connect())
        function do_work(term) assert(client:put("/k", "v", nil, 0.5)) assert(term:put("/l", "v")) return 0.2 end
      ]], "--seeds", "1..20"))
    end)

    it("a program that runs on and on", function()
      local failure = failure_of [[
        election = "/e"
        function do_work()
          while true do end
        end
      ]]
      assert.matches("runs on and on without waiting .*script.lua:3: in", failure.reason)
    end)

    it("that nobody leads in the end", function()
      local failure = failure_of [[
        election = "/e"
        function do_work() end
        -- Stands before everybody for ever.
        lunarch.connect():put("/e/in the way", "x")
      ]]
      assert.equal("liveness", failure.by)
      assert.matches("nobody leads /e, %d+ s after the last fault", failure.reason)
    end)

    it("a program that does not end when it is told to", function()
      local failure = failure_of([[
        local function sleep_in_a_generator() coroutine.wrap(function() lunarch.sleep(1) end)() end
        coroutine.wrap(function()
          while true do pcall(sleep_in_a_generator) end
        end)()
      ]], "--seeds", "1", "--candidates", "1")
      assert.matches("^A has not ended 60 s after it was told to stop", failure.reason)
    end)

    it("nothing wrong with a lock whose answer is taken late", function()
      assert.is_nil(failure_of([[
        local client, ends_at = assert(lunarch.connect()), lunarch.now() + 40
        while lunarch.now() < ends_at do
          local session = client:session({ ttl = 2 }, 3)
          local mutex = session and session:mutex "/m"
          if mutex and mutex:lock(3) then
            if not mutex:is_held() then error "it was not ours when it was taken" end
            mutex:unlock(1)
          end
          if session then session:close(1) end
          lunarch.sleep(0.1)
        end
      ]], "--seeds", "1..60", "--faults", "delay,network,pause"))
    end)

    it("nothing wrong with a term whose TTL allows for how far etcd is away, as a shorter one's would", function()
      local text = [[
        election = "/e"
        function do_work() return 1 end
        function on_lost(_, reason) if reason == "expired" then error "lost" end end
      ]]
      assert.is_nil(failure_of(text, "--faults", "far", "--ttl", "40", "--seeds", "1..30"))
      local failure = failure_of(text, "--faults", "far", "--ttl", "2", "--seeds", "1..30")
      assert.matches("^on_lost failed: .*lost", failure.reason)
    end)

    it("two leaders, where an operator takes keys away", function()
      -- Not promised, and so not a verdict: a robbed leader is no leader.
      assert.is_nil(failure_of(HANDLERS, "--faults", "all", "--seeds", "1..10"))
    end)
  end)

  describe("plays the examples:", function()
    local function example(name)
      return tree.root .. "/examples/sim/" .. name .. ".lua"
    end

    it("the guarded counter keeps every increment", function()
      local out, status = simulate.file(example "counter", "--seeds", "1..60")
      assert.equal(0, status, out)
      assert.matches("60 histories of 3 candidates: nothing went wrong", out)
    end)

    it("the unguarded counter is caught within a few seeds, and again by the command it prints", function()
      local out, status = simulate.file(example "unguarded", "--seeds", "1..300")
      assert.equal(1, status, out)
      local seed, reason = out:match "seed (%d+), after [%d.]+ s: (check: %d+ increments were acknowledged[^\n]*)"
      assert.is_truthy(seed, out)
      local again, status_again = simulate.file(example "unguarded", "--seeds", seed)
      assert.equal(1, status_again)
      assert.matches(reason, again, 1, true)
      assert.matches("again:  lunarch sim .*unguarded.lua'? %-%-seeds " .. seed, again)
    end)

    it("they differ in nothing but the guard", function()
      local function code_of(name)
        return tree.read(example(name)):match "\nelection.*$"
      end
      local unguarded = code_of("unguarded"):gsub("term%.election%.session%.client:put", "term:put")
      assert.equal(code_of "counter", unguarded)
    end)
  end)

  it("keeps what a script has written apart from what it is", function()
    local path = script.write("print 'hello'", "with space.lua")
    local out, status = simulate.file(path, "--seeds", "1..3")
    assert.equal(0, status)
    assert.matches("with space.lua: 3 histories", out)
  end)
end)
