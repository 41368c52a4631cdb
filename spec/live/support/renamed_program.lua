-- The name of etcd's host changes its address under a living client, in a network of its own (discovery_spec.lua). Ends
-- with status 0 when all is as it should be.
local dns = require "live.support.dns"
local etcd = require "support.etcd"
local lunarch = require "lunarch"
local wait = require "support.wait"

lunarch.run(function()
  dns.serve()
  dns.a["etcd.lunarch.test"] = "127.0.0.1"
  local server = etcd.start()
  local client = assert(lunarch.connect { endpoints = "etcd.lunarch.test:" .. server.client_port })
  local mutex = assert(client:session { ttl = 30 }):mutex "/renamed"
  assert(mutex:lock())

  server:kill9()
  server.options.flags = { "--listen-client-urls", "http://127.0.0.2:" .. server.client_port }
  server.options.skips_probe = true
  server:restart()
  dns.a["etcd.lunarch.test"] = "127.0.0.2"
  local deadline = lunarch.now() + 3 * wait.LIMIT
  repeat
    local ok, message = client:put("/renamed-value", "x", nil, 5)
    assert(ok or lunarch.now() < deadline, message)
  until ok
  assert(mutex:is_held())
  assert(mutex:unlock())
  server:stop()
  os.exit(0)
end)
