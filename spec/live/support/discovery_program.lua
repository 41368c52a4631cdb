-- Members by DNS, in a network of its own (discovery_spec.lua): a DNS server at 127.0.0.1:53, and an etcd behind its
-- records. Ends with status 0 when all is as it should be.
local dns = require "live.support.dns"
local etcd = require "support.etcd"
local lunarch = require "lunarch"
local wait = require "support.wait"

local function expect(message, text)
  assert(message and message:find(text, 1, true), ("%s; expected: %s"):format(message, text))
end

local records = dns.srv

lunarch.run(function()
  dns.serve()
  local first = etcd.start()
  records["_etcd-client._tcp.lunarch.test"] = {
    { priority = 20, host = "127.0.0.1", port = 1 }, { priority = 10, host = "127.0.0.1", port = first.client_port },
  }
  records["_etcd-client-blue._tcp.lunarch.test"] = { { host = "127.0.0.1", port = first.client_port } }
  records["_etcd-client-ssl._tcp.secure.test"] = { { host = "127.0.0.1", port = first.client_port } }
  records["_etcd-client._tcp.silent.test"] = false

  local client = assert(lunarch.connect { discovery_srv = "lunarch.test" })
  assert(client:put("/discovery", "first"))
  local members = assert(client:members())
  assert(#members == 2 and members[1].endpoint == "127.0.0.1:" .. first.client_port and not members[1].is_learnt)
  assert(members[2].error)
  local blue = assert(lunarch.connect { endpoints = "srv://lunarch.test/blue" })
  assert(blue:get "/discovery" == "first")

  local function trouble(domain)
    local _, message = assert(lunarch.connect { discovery_srv = domain }):get("/x", nil, 6)
    return message
  end
  expect(trouble "nothing.test", "DNS has no such SRV record (_etcd-client._tcp.nothing.test)")
  expect(trouble "secure.test", "DNS has records of members that speak TLS alone: set cacert")
  expect(trouble "silent.test", "no DNS server has answered")

  first:kill9()
  local second = etcd.start()
  records["_etcd-client._tcp.lunarch.test"] = { { host = "127.0.0.1", port = second.client_port } }
  local deadline = lunarch.now() + 3 * wait.LIMIT
  repeat
    local ok, message = client:put("/discovery", "second", nil, 5)
    assert(ok or lunarch.now() < deadline, message)
  until ok
  assert(client:get "/discovery" == "second")
  first:stop()
  second:stop()
  os.exit(0)
end)
