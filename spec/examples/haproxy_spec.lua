-- needs: haproxy
-- The example with HAProxy: the load goes to the leader, and to none while there is none.
local cjson = require "cjson"
local etcd = require "support.etcd"
local http = require "support.http"
local ports = require "support.ports"
local process = require "support.process"
local simulate = require "sim.simulate"
local tree = require "support.tree"
local vm = require "support.vm"
local wait = require "support.wait"

local EXAMPLE = tree.root .. "/examples/haproxy"
local HAPROXY = os.getenv "LUNARCH_HAPROXY" or "haproxy"

describe("the example with HAProxy", function()
  local server

  setup(function() server = etcd.start() end)
  teardown(function() server:stop() end)
  after_each(process.end_all)

  it("sends the load to the leader, from start to failover", function()
    local complaint, may_run = vm.shell(tree.quote { HAPROXY, "-v" } .. " 2>&1")
    if not may_run then return pending("HAProxy cannot be run here: " .. complaint) end
    local hosts, address, env = {}, {}, {}
    for _, name in ipairs { "a", "b", "c" } do
      address[name] = "127.0.0.1:" .. ports.free()
      env[name:upper()] = address[name]
    end
    env.BIND = "127.0.0.1:" .. ports.free()
    local function start(name)
      hosts[name] = process.start {
        "lunarch", "run", EXAMPLE .. "/primary.lua", "--endpoints", server.endpoint, "--name", name,
        "--listen", address[name],
      }
    end
    -- The host that answers through HAProxy; nil: none does.
    local function answering()
      local status, body = http.get(env.BIND, "/status", 5)
      return status == 200 and cjson.decode(body).candidates[1].name or nil
    end
    local function answers(is_wanted)
      return wait.eventually(function()
        local name = answering()
        return name and is_wanted(name) and name
      end)
    end
    local proxy = process.start { HAPROXY, "-db", "-f", EXAMPLE .. "/haproxy.cfg", env = env }
    start "a"
    assert.equal("a", answers(function() return true end))
    start "b"
    start "c"
    hosts.a:kill9()
    local second = answers(function(name) return name ~= "a" end)
    hosts[second]:freeze()
    local third = answers(function(name) return name ~= second end)
    hosts[second]:thaw()
    wait.eventually(function() return (http.get(address[second], "/leader")) == 503 end)
    hosts[third]:signal "sigterm"
    assert.equal(0, (hosts[third]:wait_exit()))
    assert.equal(second, answers(function(name) return name ~= third end))
    hosts[second]:signal "sigterm"
    wait.eventually(function() return (http.get(env.BIND, "/status", 5)) == 503 end)
    assert.is_true(proxy:is_running())
  end)

  it("is played in the simulator as it is", function()
    assert.is_nil(simulate.report(tree.read(EXAMPLE .. "/primary.lua"), "--seeds", "1..20").failure)
  end)
end)
