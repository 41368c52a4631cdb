-- limit: 180 s
-- clusters: plain mtls
-- Every example does what it says, run as a newcomer would run it.
local etcd = require "support.etcd"
local process = require "support.process"
local secured = require "support.secured"
local tree = require "support.tree"
local uv = require "luv"
local wait = require "support.wait"

describe("the example", function()
  local server

  setup(function() server = etcd.start() end)
  teardown(function() server:stop() end)
  after_each(process.end_all)

  local seen = {}

  local function start(name, ...)
    seen[name] = true
    return process.start {
      "lunarch", tree.root .. "/examples/" .. name .. ".lua", "--endpoints", server.endpoint, ...,
    }
  end

  local function run(name, ...)
    local child = start(name, ...)
    local status = child:wait_exit(2 * wait.LIMIT)
    assert.equal(0, status, child:output())
    return child:output()
  end

  it("failover.lua elects one, and another when it stops", function()
    local a = start("failover", "--name", "A")
    a:wait_line "A: elected, token %d+"
    a:wait_line "A: working: written"
    local b = start("failover", "--name", "B")
    b:wait_line "B: leader is A"
    a:signal "sigint"
    a:wait_line "A: lost: stopping"
    b:wait_line "B: elected"
    assert.equal(0, (a:wait_exit()))
  end)

  it("failover.lua is the one of the README", function()
    local readme = tree.read(tree.root .. "/README.md"):match "%-%- failover.lua\n(.-)```"
    local example = tree.read(tree.root .. "/examples/failover.lua"):gsub("^.-\n(election =)", "%1")
    assert.equal(readme, example)
  end)

  it("command.lua runs its commands, ends the slow one, and undoes all at the end", function()
    local a = start("command", "--name", "A")
    a:wait_line "promoted, token %d+"
    a:wait_line "serving at"
    a:wait_line "backup: step 1"
    a:wait_line "backup: .*took longer than 2.5 s"
    a:signal "sigint"
    a:wait_line "demoted: stopping"
    assert.equal(0, (a:wait_exit()))
  end)

  it("standby.lua stops its work when it is told, and says so", function()
    local primary = start "standby"
    local lease = primary:wait_line("^primary").text:match "lease revoke (%x+)"
    primary:wait_line "^working"
    local standby = start "standby"
    standby:wait_line "^standby"
    wait.pass(0.5)
    assert.is_nil(standby:find "^primary")
    server:etcdctl("lease", "revoke", lease)
    primary:wait_line "^lost %(%l[%l_]+%): the work has stopped"
    standby:wait_line "^primary"
    local was_lost = false
    for _, line in ipairs(primary:lines()) do
      was_lost = was_lost or line.text:find "^lost"
      if was_lost then assert.falsy(line.text == "working") end
    end
  end)

  it("counter.lua counts to a hundred with a lock, and not without", function()
    local output = run "counter"
    local without = tonumber(output:match "without a lock: +(%d+) of 100")
    assert.truthy(without < 100)
    assert.truthy(output:find "with a lock: +100 of 100")
    assert.truthy(output:find "with a lock, in 4 processes: +100 of 100")
  end)

  it("timeout.lua frees the lock of a dead holder, and of no other", function()
    local output = run "timeout"
    assert.truthy(output:find "after [%d.]+ s%s+a live holder keeps its lock: .*locked by")
    assert.truthy(output:find "after [%d.]+ s%s+the lock of a dead holder is free")
  end)

  it("trylock.lua says at once who has it", function()
    local output = run "trylock"
    assert.truthy(output:find "web%-2: nil, locked by web%-1.* %(locked%)")
    local first, second = output:match "web%-1: I have it, token (%d+).*web%-2: now I have it, token (%d+)"
    assert.truthy(tonumber(second) > tonumber(first))
  end)

  it("patient.lua waits without writing", function()
    -- On a server of its own: leases of other specs that run out grow the index too.
    local shared = server
    server = etcd.start()
    local ok, output = pcall(run, "patient")
    server:stop()
    server = shared
    assert.is_true(ok, output)
    local grown = output:match "1000 attempts found the lock taken; .*: it grew by (%d+)\n"
    assert.truthy(grown, output)
    -- With users, the client's token may be asked for meanwhile, which etcd writes down.
    if not secured.is_wanted() or grown ~= "1" then assert.equal("0", grown, output) end
    assert.truthy(output:find "grew by 0 in a second of waiting", output)
    assert.truthy(output:find "all 20 had their turn")
  end)

  it("election.lua says who is master and who is slave, and hands over on Ctrl-C", function()
    local a = start("election", "--name", "A")
    a:wait_line "the master is A: I am the master"
    local b = start("election", "--name", "B")
    b:wait_line "the master is A: I am a slave"
    a:signal "sigint"
    b:wait_line "the master is B: I am the master"
    assert.equal(0, (a:wait_exit()))
  end)

  it("txn_lock.lua lets the same client in again, and no other", function()
    local output = run "txn_lock"
    assert.equal(table.concat {
      "A: taken\n", "A: mine already\n", "B: held by A\n", "B gives up what is not its own: false\n",
      "A gives up: true\n", "B: taken\n",
    }, output)
  end)

  it("is run here, whichever it is", function()
    local scan = uv.fs_scandir(tree.root .. "/examples")
    while true do
      local file, kind = uv.fs_scandir_next(scan)
      if not file then break end
      local name = file:match "^(.*)%.lua$"
      -- What lies in a folder has specs of its own.
      assert.truthy(kind == "directory" or not name or seen[name] or name == "demo", file .. " is run by no spec")
    end
  end)
end)
