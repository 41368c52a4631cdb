-- Members by DNS, in a network of its own (discovery_spec.lua): a DNS server at 127.0.0.1:53, and an etcd behind its
-- records. Ends with status 0 when all is as it should be.
local etcd = require "support.etcd"
local lunarch = require "lunarch"
local uv = require "luv"
local wait = require "support.wait"

local SRV = 33

-- Host and port by the name asked for; false: no answer.
local records = {}

local function name_bytes(name)
  return (name:gsub("[^.]+%.?", function(label)
    label = label:gsub("%.$", "")
    return string.char(#label) .. label
  end)) .. "\0"
end

local function question_of(packet)
  local labels, at = {}, 13
  while packet:byte(at) ~= 0 do
    local len = packet:byte(at)
    labels[#labels + 1] = packet:sub(at + 1, at + len)
    at = at + len + 1
  end
  return table.concat(labels, "."), packet:sub(13, at + 4), string.unpack(">I2", packet, at + 1)
end

local function answer_to(packet)
  local name, question, kind = question_of(packet)
  local found = records[name]
  if found == false then return nil end
  local of_kind = kind == SRV and found or {}
  local flags, counts = found and "\x81\x80" or "\x81\x83", string.pack(">I2I2I2I2", 1, #of_kind, 0, 0)
  local parts = { packet:sub(1, 2), flags, counts, question }
  for _, record in ipairs(of_kind) do
    local data = string.pack(">I2I2I2", record.priority or 0, 0, record.port) .. name_bytes(record.host)
    parts[#parts + 1] = string.pack(">I2I2I2I4s2", 0xc00c, SRV, 1, 1, data)
  end
  return table.concat(parts)
end

local function serve()
  local socket = assert(uv.new_udp())
  assert(socket:bind("127.0.0.1", 53))
  socket:recv_start(function(_, packet, from)
    local answer = packet and answer_to(packet)
    if answer then socket:send(answer, from.ip, from.port) end
  end)
end

local function expect(message, text)
  assert(message and message:find(text, 1, true), ("%s; expected: %s"):format(message, text))
end

lunarch.run(function()
  serve()
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
