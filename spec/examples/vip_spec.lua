-- limit: 240 s
-- needs: network
-- The example of a virtual IP, in network namespaces: the address on one host at most, whatever happens to the leader.
local process = require "support.process"
local simulate = require "sim.simulate"
local tree = require "support.tree"
local uv = require "luv"
local vm = require "support.vm"
local wait = require "support.wait"

local EXAMPLE = tree.root .. "/examples/vip"
local LAN = ("vip%d"):format(uv.os_getpid())

describe("the example of a virtual IP", function()
  local env = { LAN = LAN, LUNARCH = tree.program, ETCD = os.getenv "ETCD" or "etcd", TMPDIR = tree.folder() }
  local complaint, may_run = vm.shell(("{ ip netns add %s && nsenter --net=/run/netns/%s arping -V && ping -V; } 2>&1")
    :format(LAN, LAN))
  vm.shell(("ip netns del %s 2>/dev/null"):format(LAN))

  local function lan(...)
    local output, status = process.run { EXAMPLE .. "/lan.sh", env = env, ... }
    assert.equal(0, status, output)
    return output
  end

  local function holders()
    local found = {}
    for host in lan("who"):gmatch "%a+" do
      found[#found + 1] = host
    end
    return found
  end

  setup(function() if may_run then lan "up" end end)
  teardown(function() if may_run then lan "down" end end)
  after_each(process.end_all)

  local function start(host)
    return process.start { EXAMPLE .. "/lan.sh", "run", host, env = env }
  end

  -- Until the address is on a host that `is_wanted` names; never on two.
  local function moves(is_wanted)
    return wait.eventually(function()
      local found = holders()
      assert.is_true(#found <= 1, table.concat(found, " and "))
      return found[1] and is_wanted(found[1]) and found[1]
    end, nil, "the address to move")
  end

  -- `ping` waits for one second.
  local function answers()
    wait.eventually(function()
      return select(2, process.run { EXAMPLE .. "/lan.sh", "ping", env = env }) == 0
    end, nil, "the address to answer")
  end

  local function wanted(name, fn)
    it(name, function()
      if not may_run then return pending("no network of our own here: " .. complaint) end
      fn()
    end)
  end

  it("says what to do where its hosts are not there", function()
    local output, status = process.run { EXAMPLE .. "/lan.sh", "who", env = { LAN = LAN .. "none" } }
    assert.same({ 1, "lan.sh: there are no hosts yet: lan.sh up" }, { status, (output:gsub("%s+$", "")) })
  end)

  wanted("moves it when the leader is told to stop, killed, stopped, or cut off", function()
    local hosts = {}
    for _, host in ipairs { "a", "b", "c" } do
      hosts[host] = start(host)
    end
    local function another_than(host) return function(found) return found ~= host end end
    local leader = moves(another_than(nil))
    answers()
    hosts[leader]:signal "sigterm"
    local second = moves(another_than(leader))
    assert.equal(0, (hosts[leader]:wait_exit()))
    hosts[leader] = start(leader)
    hosts[second]:kill9()
    local third = moves(another_than(second))
    hosts[second] = start(second)
    process.freeze(hosts[third].pid)
    local fourth = moves(another_than(third))
    process.thaw(hosts[third].pid)
    lan("cut", fourth)
    moves(another_than(fourth))
    answers()
    lan("heal", fourth)
  end)

  it("is proven in the simulator, and caught where the address is kept too long", function()
    local text = tree.read(EXAMPLE .. "/vip.lua")
    local report = simulate.report(text, "--seeds", "1..20")
    assert.is_nil(report.failure)
    assert.truthy(simulate.report(text:gsub("SLACK_S = COMMAND_S", "SLACK_S = -2"), "--seeds", "1..20").failure)
  end)
end)
