-- A DNS server at 127.0.0.1:53, for a network of its own: it answers while the loop turns.
local uv = require "luv"

-- What is asked for by name: lists of { host =, port =, priority = } (false: no answer at all), and addresses by name.
local dns = { srv = {}, a = {} }

local A, SRV = 1, 33

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
  return table.concat(labels, "."):lower(), packet:sub(13, at + 4), string.unpack(">I2", packet, at + 1)
end

local function record(kind, data)
  return string.pack(">I2I2I2I4s2", 0xc00c, kind, 1, 1, data)
end

local function answers_of(name, kind)
  local found = {}
  for _, one in ipairs(kind == SRV and dns.srv[name] or {}) do
    found[#found + 1] = record(SRV, string.pack(">I2I2I2", one.priority or 0, 0, one.port) .. name_bytes(one.host))
  end
  if kind == A and dns.a[name] then
    found[1] = record(A, string.char(dns.a[name]:match "(%d+)%.(%d+)%.(%d+)%.(%d+)"))
  end
  return found
end

local function answer_to(packet)
  local name, question, kind = question_of(packet)
  if dns.srv[name] == false then return nil end
  local found = answers_of(name, kind)
  local flags = (dns.srv[name] or dns.a[name]) and "\x81\x80" or "\x81\x83"
  local counts = string.pack(">I2I2I2I2", 1, #found, 0, 0)
  return packet:sub(1, 2) .. flags .. counts .. question .. table.concat(found)
end

function dns.serve()
  local socket = assert(uv.new_udp())
  assert(socket:bind("127.0.0.1", 53))
  socket:recv_start(function(_, packet, from)
    local answer = packet and answer_to(packet)
    if answer then socket:send(answer, from.ip, from.port) end
  end)
end

return dns
