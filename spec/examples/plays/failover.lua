-- examples/failover.lua on three hosts. From outside: each write to /config/billing bears the name of the candidate
-- that was first in the line at that revision.
local etcd = require "support.etcd"
local faults = require "examples.faults"
local lunarch = require "lunarch"
local tree = require "support.tree"

local ELECTION, KEY, TTL = "/services/billing", "/config/billing", 3
local NAMES = { "A", "B", "C" }
local ASK_S, QUIET_S = 10, 0.2

local Play = {}
Play.__index = Play

local function line_at(client, revision)
  return assert(client:get(ELECTION .. "/", { prefix = true, sort_by = "create", revision = revision }, ASK_S))
end

function Play:leader()
  local first = line_at(self.client)[1]
  for i, name in ipairs(NAMES) do
    if first and first.value == name then return i end
  end
end

function Play:is_whole() return #line_at(self.client) == #NAMES end

-- All writes there were, until none came for a while.
function Play:troubles()
  local found, n = {}, 0
  local watch = assert(self.client:watch(KEY, { revision = 1 }))
  while true do
    local event = watch:next(QUIET_S)
    if not event then break end
    local first = line_at(self.client, event.revision)[1]
    n = n + 1
    if not first or first.value ~= event.value then
      found[#found + 1] = ("%s wrote at revision %d, while %s was first"):format(event.value, event.revision,
        first and first.value or "nobody")
    end
  end
  watch:close()
  if n < #NAMES then found[#found + 1] = ("there were only %d writes"):format(n) end
  return found
end

function Play:stop()
  self.client:close(2)
  for _, host in ipairs(self.hosts) do
    host.child:kill9()
    host.proxy:stop()
  end
  self.server:stop()
end

return function()
  local server = etcd.start()
  local self = setmetatable({ server = server, hosts = {} }, Play)
  self.client = assert(lunarch.connect { endpoints = server.endpoint, loop = "block" })
  for i, name in ipairs(NAMES) do
    self.hosts[i] = faults.host(server.client_port, function(endpoint)
      return {
        "lunarch", "run", tree.root .. "/examples/failover.lua", "--name", name, "--ttl", TTL,
        "--endpoints", endpoint, "--only-given-endpoints",
      }
    end)
  end
  return self
end
