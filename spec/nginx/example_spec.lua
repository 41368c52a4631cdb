-- clusters: plain mtls
-- The example for nginx does what it says, started as a newcomer would start it.
local etcd = require "support.etcd"
local nginx = require "support.nginx"
local ports = require "support.ports"
local process = require "support.process"
local tree = require "support.tree"
local uv = require "luv"

describe("the example for nginx", function()
  it("runs its job, tells who leads, serves under a lock, and hands over when it is reloaded and ended", function()
    -- The program does not hand on what the sanitizers would need in nginx.
    if tree.is_sanitized then return pending "not under the sanitizers" end
    local server = etcd.start()
    local port = ports.free()
    local child = process.start {
      "lunarch", tree.root .. "/examples/nginx/start.lua", "--endpoints", server.endpoint, "--", tostring(port),
    }
    local pid = math.tointeger(tonumber(child:wait_line("kill %-HUP %d+").text:match "HUP (%d+)"))
    child:wait_line "the job is ours, token"
    child:wait_line "tick 1 by worker"
    local web = nginx.at(port)
    assert.matches("leader: nginx .*\nis it this instance: yes\nfor another %d%.%d s", select(2, web:get "/leader"))
    assert.matches("served under the lock, token %d+", select(2, web:get "/orders"))
    assert(uv.kill(pid, "sighup"))
    child:wait_line "the job is ours no longer: the worker leaves"
    child:wait_line "the job is ours, token"
    child:signal "sigint"
    child:wait_exit()
    assert.is_truthy(child:find "the job is ours no longer")
    assert.is_false(process.is_running(pid))
    assert.equal(0, #server:etcdctl("get", "--prefix", "/examples/nginx/cron"))
    server:stop()
  end)
end)
