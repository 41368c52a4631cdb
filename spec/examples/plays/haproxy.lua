-- examples/haproxy on three hosts. From outside: the load comes to one of them, and never do two say that they lead.
local cjson = require "cjson"
local etcd = require "support.etcd"
local faults = require "examples.faults"
local http = require "support.http"
local lunarch = require "lunarch"
local ports = require "support.ports"
local process = require "support.process"
local tree = require "support.tree"

local EXAMPLE = tree.root .. "/examples/haproxy"
local ELECTION, TTL, ASK_S, FROZEN_S = "/examples/primary/", 4, 10, 1
local NAMES = { "a", "b", "c" }

local Play = {}
Play.__index = Play

local function leads(self, i) return (http.get(self.addresses[i], "/leader", FROZEN_S)) == 200 end

-- Each that leads is asked once more: it may have ended, and the next begun, in between.
local function look(self)
  local leading = {}
  for i in ipairs(NAMES) do
    if leads(self, i) then leading[#leading + 1] = i end
  end
  if #leading > 1 and leads(self, leading[1]) then
    self.found[#self.found + 1] = NAMES[leading[1]] .. " and another lead at once"
  end
end

-- The host that answers through HAProxy.
function Play:leader()
  look(self)
  local status, body = http.get(self.address, "/status", ASK_S)
  if status ~= 200 then return nil end
  local answering = cjson.decode(body).candidates[1].name
  for i, name in ipairs(NAMES) do
    if answering == name then return i end
  end
end

function Play:is_whole()
  local _, line = self.client:get(ELECTION, { prefix = true, count_only = true }, ASK_S)
  return line.count == #NAMES
end

function Play:troubles()
  if not self.proxy:is_running() then self.found[#self.found + 1] = "HAProxy has ended" end
  return self.found
end

function Play:stop()
  self.client:close(2)
  for _, host in ipairs(self.hosts) do
    host.child:kill9()
    host.proxy:stop()
  end
  self.proxy:kill9()
  self.server:stop()
end

return function()
  local server = etcd.start()
  local self = setmetatable({ server = server, hosts = {}, addresses = {}, found = {} }, Play)
  self.client = assert(lunarch.connect { endpoints = server.endpoint, loop = "block" })
  self.address = "127.0.0.1:" .. ports.free()
  local env = { BIND = self.address }
  for i, name in ipairs(NAMES) do
    local address = "127.0.0.1:" .. ports.free()
    self.addresses[i], env[name:upper()] = address, address
    self.hosts[i] = faults.host(server.client_port, function(endpoint)
      return {
        "lunarch", "run", EXAMPLE .. "/primary.lua", "--name", name, "--ttl", TTL, "--listen", address,
        "--endpoints", endpoint, "--only-given-endpoints",
      }
    end)
  end
  local program = os.getenv "LUNARCH_HAPROXY" or "haproxy"
  self.proxy = process.start { program, "-db", "-f", EXAMPLE .. "/haproxy.cfg", env = env }
  return self
end
