-- limit: 180 s
-- A leader that stood still for longer than its TTL, and one that is cut off: told in time.
local clock = require "support.clock"
local etcd = require "support.etcd"
local process = require "support.process"
local proxies = require "support.proxy"
local script = require "host.script"
local tree = require "support.tree"
local wait = require "support.wait"

local TTL = 2

local HANDLERS = [[
  function on_elected()
    print "on_elected"
  end
  function do_work(term)
    print("do_work " .. tostring(term:remaining() > 0))
    while true do
      lunarch.sleep(0.01)
      if term:remaining() <= 0 then print "went on" end
    end
  end
  function on_lost(term, reason)
    print("on_lost " .. reason)
    local ok, message, code = term:put("/fenced", "stale")
    print("put " .. tostring(ok) .. " " .. tostring(code))
    print "on_lost returned"
  end
]]

describe("a leader", function()
  local server

  setup(function() server = etcd.start() end)
  teardown(function() server:stop() end)
  after_each(process.end_all)

  local function start(endpoint, election)
    local child = script.start(HANDLERS, { "--endpoints", endpoint, "--election", election, "--ttl", tostring(TTL) })
    child:wait_line "^do_work true"
    return child
  end

  it("frozen beyond its TTL does not work when it wakes, is told, and its write is refused", function()
    local delays = {}
    for i = 1, tree.is_sanitized and 3 or 5 do
      local child = start(server.endpoint, "/frozen/" .. i)
      child:freeze()
      wait.pass(TTL + 1)
      local thawed_at = clock.now()
      child:thaw()
      local lost = child:wait_line "^on_lost"
      child:wait_line "^put nil"
      delays[i] = lost.t - thawed_at
      for _, line in ipairs(child:lines()) do
        assert.falsy(line.text == "do_work false" or line.text == "went on", line.text)
        if line == lost then break end
        assert.truthy(line.t < thawed_at or line.text:find "WARN" or line.text:find "on_lost", line.text)
      end
      child:kill9()
    end
    table.sort(delays)
    print(("on_lost after a thaw: median %.1f ms, worst %.1f ms"):format(
      delays[(#delays + 1) // 2] * 1000, delays[#delays] * 1000))
  end)

  it("cut off has ended its work and its on_lost before etcd lets go of its place", function()
    for i = 1, 3 do
      local proxy = proxies.start(server.client_port)
      local election = "/cut/" .. i
      local child = start(proxy.endpoint, election)
      wait.pass(0.2 * i)
      proxy:go_silent()
      local renewals = proxy:renewals()
      local last = renewals[#renewals] or { t = child:find "^on_elected".t }
      local returned = child:wait_line "^on_lost returned"
      assert.truthy(returned.t < last.t + TTL, ("%.3f s too late"):format(returned.t - last.t - TTL))
      assert.truthy(server:etcdctl("get", "--prefix", "--keys-only", election .. "/"):find(election, 1, true))
      wait.eventually(function()
        return server:etcdctl("get", "--prefix", "--keys-only", election .. "/") == ""
      end)
      child:kill9()
      proxy:stop()
    end
  end)
end)
