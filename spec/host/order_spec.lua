-- What a leader that stood still for longer than its TTL hears when it goes on: its own on_lost before on_leader names
-- another, and of itself not before on_elected. In several pairs of processes at once, stopped at different moments.
local etcd = require "support.etcd"
local process = require "support.process"
local script = require "host.script"
local wait = require "support.wait"

local TTL, PAIRS, STEP_S = 4, 6, 0.15

local HANDLERS = [[
  function on_elected() print "on_elected" end
  function do_work() return 0.02 end
  function on_lost(_, reason)
    print("on_lost " .. reason)
    lunarch.sleep(0.1)
    print "on_lost returned"
  end
  function on_leader(leader) print("on_leader " .. tostring(leader.value)) end
]]

describe("a leader that stood still", function()
  local server

  setup(function() server = etcd.start() end)
  teardown(function() server:stop() end)
  after_each(process.end_all)

  local function start(election, name)
    return script.start(HANDLERS, {
      "--endpoints", server.endpoint, "--election", election, "--ttl", tostring(TTL), "--name", name,
    })
  end

  local function place_of(child, pattern, nth)
    local n = 0
    for i, line in ipairs(child:lines()) do
      if line.text:find(pattern) then n = n + 1 end
      if n == (nth or 1) then return i end
    end
    return nil
  end

  it("hears of its loss before it hears of the next leader, and of each term's beginning before its leader", function()
    local firsts, seconds = {}, {}
    for i = 1, PAIRS do
      firsts[i] = start("/order/" .. i, "A")
      firsts[i]:wait_line "^on_leader A"
      seconds[i] = start("/order/" .. i, "B")
      seconds[i]:wait_line "^on_leader A"
    end
    for i = 1, PAIRS do
      firsts[i]:freeze()
      wait.pass(STEP_S)
    end
    for i = 1, PAIRS do
      seconds[i]:wait_line "^on_leader B"
    end
    wait.pass(TTL - 1)
    for i = 1, PAIRS do
      firsts[i]:thaw()
    end
    for i = 1, PAIRS do
      local first = firsts[i]
      first:wait_line "^on_leader B"
      local output = first:output()
      assert.equal(1, #first:find_all "^on_elected$", output)
      assert.truthy(place_of(first, "^on_elected$") < place_of(first, "^on_leader A"), output)
      assert.truthy(place_of(first, "^on_lost returned") < place_of(first, "^on_leader B"), output)
      assert.truthy(place_of(seconds[i], "^on_elected$") < place_of(seconds[i], "^on_leader B"), seconds[i]:output())
    end
  end)
end)
