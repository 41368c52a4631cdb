-- etcd's members by DNS: what an option, the environment and a flag say of it, and a client on a DNS server of the
-- spec's own.
-- limit: 240 s
-- needs: network
local lunarch = require "lunarch"
local tree = require "support.tree"
local vm = require "support.vm"

local function can_isolate()
  local _, ok = vm.shell "unshare --net --mount ip link set lo up 2>/dev/null"
  return ok
end

-- Runs a program in a network whose only DNS server is at 127.0.0.1.
local function run_isolated(name)
  local resolv, program = tree.folder() .. "/resolv.conf", tree.root .. "/spec/live/support/" .. name
  tree.write(resolv, "nameserver 127.0.0.1\n")
  local script = ("ip link set lo up && mount --bind %s /etc/resolv.conf && exec lua5.4 %s"):format(
    tree.quote { resolv }, tree.quote { program })
  local output, ok = vm.shell("timeout 200 unshare --net --mount sh -c " .. tree.quote { script } .. " 2>&1")
  assert(ok, output)
end

describe("a name whose address changes", function()
  it("is asked for again: the session goes on at the new address", function()
    if not can_isolate() then return pending "no network of its own can be made here" end
    run_isolated "renamed_program.lua"
  end)
end)

describe("members by DNS", function()
  it("are found, used by their priority, and asked for again when all are gone; what is wrong is said", function()
    if not can_isolate() then return pending "no network of its own can be made here" end
    run_isolated "discovery_program.lua"
  end)

  it("are one way to say where etcd is, endpoints another", function()
    local ok, message = pcall(lunarch.connect, { discovery_srv = "example.com", endpoints = "127.0.0.1:1" })
    assert.is_false(ok)
    assert.matches("give either 'endpoints' or 'discovery_srv'", message)
    ok, message = pcall(lunarch.connect, { discovery_srv_name = "blue" })
    assert.is_false(ok)
    assert.matches("'discovery_srv_name' is of use with 'discovery_srv' only", message)
    local _, refusal = lunarch.connect { discovery_srv = "not a domain" }
    assert.matches("no domain is written like this", refusal)
    ok, message = pcall(lunarch.connect, { endpoints = "srv://example.com,127.0.0.1:1" })
    assert.is_false(ok)
    assert.matches("where DNS names the members, no other endpoint can be given", message)
  end)

  it("come before endpoints in the environment, as in etcdctl, and after a flag", function()
    local function list(variables, flags)
      local program = tree.quote { tree.program }
      return (vm.shell(variables .. " " .. program .. " list --timeout 0.5 " .. flags .. " 2>&1 </dev/null"))
    end
    local srv = "LUNARCH_DISCOVERY_SRV=lunarch.invalid LUNARCH_DISCOVERY_SRV_NAME=blue"
    assert.matches("srv://lunarch%.invalid/blue", list(srv .. " LUNARCH_ENDPOINTS=127.0.0.1:1", ""))
    local etcdctl = "ETCDCTL_DISCOVERY_SRV=lunarch.invalid "
    assert.matches("srv://lunarch%.invalid", list(etcdctl .. "ETCDCTL_ENDPOINTS=127.0.0.1:1", ""))
    assert.not_matches("srv://", list(etcdctl .. "LUNARCH_ENDPOINTS=127.0.0.1:1", ""))
    assert.not_matches("srv://", list(srv, "--endpoints 127.0.0.1:1"))
    assert.matches("srv://lunarch%.invalid", list("LUNARCH_ENDPOINTS=127.0.0.1:1", "--discovery-srv lunarch.invalid"))
    assert.matches("give it without %-%-endpoints", list("", "--discovery-srv x --endpoints 127.0.0.1:1"))
  end)
end)
