-- on_jeopardy and on_safe, with a real etcd: half a TTL of silence, and its end.
local etcd = require "support.etcd"
local process = require "support.process"
local proxies = require "support.proxy"
local script = require "host.script"

describe("a leader whose etcd falls silent", function()
  local server, proxy

  setup(function() server = etcd.start() end)
  teardown(function() server:stop() end)
  before_each(function() proxy = proxies.start(server.client_port) end)
  after_each(function()
    process.end_all()
    proxy:stop()
  end)

  local function start()
    local child = script.start([[
      function on_elected() print "on_elected" end
      function do_work() return 0.05 end
      function on_jeopardy(term) print("on_jeopardy " .. term.token .. " " .. tostring(term:remaining() > 0)) end
      function on_safe(term) print("on_safe " .. term.token .. " " .. tostring(term:remaining() > 0)) end
      function on_lost(_, reason) print("on_lost " .. reason) end
    ]], { "--endpoints", proxy.endpoint, "--election", "/jeopardy", "--ttl", "12", "--name", "A" })
    child:wait_line "^on_elected"
    return child
  end

  it("hears of jeopardy while it is still safe, and that it is over when etcd answers again", function()
    local child = start()
    for _ = 1, 2 do
      proxy:go_silent()
      child:wait_line "etcd has not answered for half a TTL; safe for %d%.%d s more"
      child:wait_line "^on_jeopardy %d+ true$"
      proxy:heal()
      child:wait_line "etcd answers again"
      child:wait_line "^on_safe %d+ true$"
    end
    assert.is_nil(child:find "^on_lost")
  end)

  it("hears of jeopardy before it is lost where etcd stays silent, and not that it is safe", function()
    local child = start()
    proxy:go_silent()
    child:wait_line "^on_jeopardy"
    child:wait_line "^on_lost expired"
    assert.is_nil(child:find "^on_safe")
  end)
end)
