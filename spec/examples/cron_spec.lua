-- The example of a cron job: every period once at most, whatever happens to the host that runs it.
local etcd = require "support.etcd"
local process = require "support.process"
local simulate = require "sim.simulate"
local tree = require "support.tree"
local wait = require "support.wait"

local SCRIPT = tree.root .. "/examples/cron/nightly.lua"

describe("the example of a cron job", function()
  local server, file

  setup(function() server = etcd.start() end)
  teardown(function() server:stop() end)
  before_each(function() file = tree.folder() .. "/runs" end)
  after_each(process.end_all)

  local function start(name)
    return process.start {
      "lunarch", "run", SCRIPT, "--endpoints", server.endpoint, "--name", name, "--ttl", "2", "--",
      "1", "sh", "-c", ("echo $PERIOD %s >> %s"):format(name, file),
    }
  end

  -- How many runs there were, by host; no period twice.
  local function runs()
    local seen, by_host, all = {}, {}, 0
    for period, host in tree.read(file):gmatch "(%d+) (%a)\n" do
      assert.is_nil(seen[period], ("period %s ran twice"):format(period))
      seen[period] = host
      by_host[host] = (by_host[host] or 0) + 1
      all = all + 1
    end
    return by_host, all
  end

  local function goes_on(host)
    local _, before = runs()
    wait.eventually(function()
      local by_host, all = runs()
      return all > before and (by_host[host] or 0) > 0
    end)
  end

  it("runs on one host, and on another once that is killed, stopped or told to stop", function()
    local a = start "a"
    goes_on "a"
    local b = start "b"
    a:kill9()
    goes_on "b"
    local c = start "c"
    b:freeze()
    goes_on "c"
    b:thaw()
    c:signal "sigterm"
    assert.equal(0, (c:wait_exit()))
    goes_on "b"
    runs()
  end)

  it("logs what the command says and how it ended, and refuses what is no number of seconds", function()
    local flags = { "lunarch", "run", SCRIPT, "--endpoints", server.endpoint, "--election", "/cron/output", "--" }
    local function with(...) return table.move({ ... }, 1, select("#", ...), #flags + 1, { table.unpack(flags) }) end
    local child = process.start(with("1", "sh", "-c", "echo said $PERIOD; exit 3"))
    child:wait_line "sh, period %d+: said %d+"
    child:wait_line "ERROR .*sh, period %d+: ended with status 3"
    local output, status = process.run(with("daily", "true"))
    assert.equal(1, status, output)
    assert.matches("usage: nightly.lua %-%- SECONDS COMMAND", output)
  end)

  it("is proven in the simulator, and caught where a period is marked too late", function()
    local text = tree.read(SCRIPT)
    assert.is_nil(simulate.report(text, "--seeds", "1..30").failure)
    local late, n = text:gsub("if begin%(term, period%) then run%(period%) end", "run(period) begin(term, period)")
    assert.equal(1, n)
    assert.truthy(simulate.report(late, "--seeds", "1..30").failure)
  end)
end)
