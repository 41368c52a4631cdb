-- examples/haproxy on three hosts. From outside: the load comes to one of them, and never do two say that they lead.
local cjson = require "cjson"
local http = require "support.http"
local ports = require "support.ports"
local process = require "support.process"
local stage = require "examples.stage"
local tree = require "support.tree"

local EXAMPLE = tree.root .. "/examples/haproxy"
local TTL, ASK_S, FROZEN_S = 4, 10, 1

local Play = stage.kind("/examples/primary", { "a", "b", "c" })
local stop = Play.stop

local function leads(self, i) return (http.get(self.addresses[i], "/leader", FROZEN_S)) == 200 end

-- Each that leads is asked once more: it may have ended, and the next begun, in between.
local function look(self)
  local leading = {}
  for i in ipairs(self.names) do
    if leads(self, i) then leading[#leading + 1] = i end
  end
  if #leading > 1 and leads(self, leading[1]) then
    self.found[#self.found + 1] = self.names[leading[1]] .. " and another lead at once"
  end
end

-- The host that answers through HAProxy.
function Play:leader()
  look(self)
  local status, body = http.get(self.address, "/status", ASK_S)
  if status ~= 200 then return nil end
  local answering = cjson.decode(body).candidates[1].name
  for i, name in ipairs(self.names) do
    if answering == name then return i end
  end
end

function Play:troubles()
  if not self.proxy:is_running() then self.found[#self.found + 1] = "HAProxy has ended" end
  return self.found
end

function Play:stop()
  self.proxy:kill9()
  stop(self)
end

return function()
  local self = stage.begin(Play)
  self.address, self.addresses = "127.0.0.1:" .. ports.free(), {}
  local env = { BIND = self.address }
  for i, name in ipairs(self.names) do
    local address = "127.0.0.1:" .. ports.free()
    self.addresses[i], env[name:upper()] = address, address
    self:add(function(endpoint)
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
