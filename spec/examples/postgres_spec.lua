-- limit: 300 s
-- needs: postgres
-- The example of PostgreSQL with real servers: never two primaries, whatever happens to the program that leads.
local etcd = require "support.etcd"
local ports = require "support.ports"
local postgres = require "examples.postgres"
local process = require "support.process"
local simulate = require "sim.simulate"
local tree = require "support.tree"
local vm = require "support.vm"
local wait = require "support.wait"

local EXAMPLE = tree.root .. "/examples/postgres"

describe("the example of PostgreSQL", function()
  local server, folder
  local port = {}
  local problem = postgres.problem()

  setup(function()
    if problem then return end
    server = etcd.start()
    folder = postgres.folder()
    for i = 1, 2 do port[i] = ports.free() end
  end)
  teardown(function()
    if problem then return end
    for i = 1, 2 do
      postgres.stop(i, folder)
    end
    server:stop()
    vm.shell("rm -rf " .. folder)
  end)
  after_each(process.end_all)

  local function start(i)
    return process.start(postgres.node(i, folder, port[i], { "--endpoints", server.endpoint }))
  end

  local function psql(i, text)
    local output, ok = postgres.ask(port[i], text)
    return ok and output, output
  end

  local function accepts_writes(i)
    return psql(i, "SELECT pg_is_in_recovery()") == "f\n"
  end

  -- While it starts, a server answers nothing.
  local function n_written(i)
    return wait.eventually(function()
      local answer = psql(i, "SELECT count(*) FROM journal")
      return answer and tonumber(answer)
    end, nil, "server " .. i .. " to answer")
  end

  -- The first is asked once more: it may have ended, and the second begun, in between.
  local function the_primary()
    local first, second = accepts_writes(1), accepts_writes(2)
    assert.is_false(first and second and accepts_writes(1), "two primaries")
    return first and 1 or second and 2
  end

  local function becomes_primary(i)
    wait.eventually(function()
      local found = the_primary()
      return found == i
    end, nil, "server " .. i .. " to be the primary")
  end

  local function follows(child)
    child:wait_line "follows 127.0.0.1"
  end

  local function wanted(name, fn)
    it(name, function()
      if problem then return pending(problem) end
      fn()
    end)
  end

  wanted("has one primary, and stops its server when the program is killed or stopped", function()
    local one = start(1)
    becomes_primary(1)
    one:wait_line "is the primary, token"
    local two = start(2)
    follows(two)
    wait.eventually(function() return (n_written(2) or 0) > 0 end)
    assert.truthy(select(2, psql(1, "BEGIN; SELECT guarded(1); COMMIT")):find("token 1 is too old", 1, true))

    one:kill9()
    becomes_primary(2)
    assert.is_false(accepts_writes(1))
    local written = n_written(2)
    assert.is_true(written > 0)

    one = start(1)
    follows(one)
    two:wait_line "is the primary, token"
    process.freeze(two.pid)
    becomes_primary(1)
    assert.is_false(accepts_writes(2))
    assert.is_true(n_written(1) >= written)
    process.thaw(two.pid)
    two:wait_line "no primary any more"
    follows(two)

    one:signal "sigterm"
    assert.equal(0, (one:wait_exit()))
    becomes_primary(2)
  end)

  it("is proven in the simulator, and caught where a server is left to itself", function()
    local text = tree.read(EXAMPLE .. "/failover.lua")
    assert.is_nil(simulate.report(text, "--seeds", "1..6").failure)
    local careless = text:gsub("PORT, term = term", "PORT"):gsub("local function stop%(%)\n", "%0  do return end\n")
    assert.not_equal(text, careless)
    assert.truthy(simulate.report(careless, "--seeds", "1..10").failure)
  end)

  it("never begins anew where another has written: the simulator catches a server without data that leads", function()
    local text = tree.read(EXAMPLE .. "/failover.lua")
    local careless = text:gsub("if not may_lead%b() then", "if false then")
      :gsub("not latest and not has_data", "not has_data")
    assert.not_equal(text, careless)
    local failure = simulate.report(careless, "--seeds", "1..10").failure
    assert.matches("lacks all that earlier primaries have written", failure.reason)
  end)
end)
