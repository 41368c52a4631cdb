-- examples/postgres on two hosts. From outside: never two servers that accept writes; the tokens in the journal rise.
local etcd = require "support.etcd"
local faults = require "examples.faults"
local lunarch = require "lunarch"
local ports = require "support.ports"
local postgres = require "examples.postgres"
local process = require "support.process"
local vm = require "support.vm"

local ELECTION, N_HOSTS, ASK_S = "/examples/postgres/", 2, 10

local Play = {}
Play.__index = Play

local function psql(self, i, text)
  local output, ok = postgres.ask(self.ports[i], text)
  return ok and output:match "^%S*" or nil
end

-- "f": a primary, "t": a standby.
local function role_of(self, i) return psql(self, i, "SELECT pg_is_in_recovery()") end

-- The first is asked once more: it may have ended, and the second begun, in between.
function Play:leader()
  local first, second = role_of(self, 1) == "f", role_of(self, 2) == "f"
  if first and second and role_of(self, 1) == "f" then self.found[#self.found + 1] = "two primaries at once" end
  return first and 1 or second and 2 or nil
end

function Play:is_whole()
  local _, line = self.client:get(ELECTION, { prefix = true, count_only = true }, ASK_S)
  local roles = { role_of(self, 1), role_of(self, 2) }
  table.sort(roles)
  return line.count == N_HOSTS and roles[1] == "f" and roles[2] == "t"
end

function Play:troubles()
  local wrong = psql(self, self:leader(), [[SELECT count(*) FROM
    (SELECT token, lag(token) OVER (ORDER BY at) AS before FROM journal) AS j WHERE token < before]])
  if wrong ~= "0" then self.found[#self.found + 1] = wrong .. " writes with an older token than the one before" end
  return self.found
end

function Play:stop()
  self.client:close(2)
  for i, host in ipairs(self.hosts) do
    host.child:kill9()
    host.proxy:stop()
    postgres.stop(i, self.folder)
  end
  self.server:stop()
  vm.shell("rm -rf " .. self.folder)
end

return function()
  local server = etcd.start()
  local self = setmetatable({ server = server, hosts = {}, ports = {}, found = {} }, Play)
  self.folder = postgres.folder()
  self.client = assert(lunarch.connect { endpoints = server.endpoint, loop = "block" })
  for i = 1, N_HOSTS do
    self.ports[i] = ports.free()
    local host = faults.host(server.client_port, function(endpoint)
      return postgres.node(i, self.folder, self.ports[i], { "--endpoints", endpoint, "--only-given-endpoints" })
    end)
    -- The program alone: what watches over its server must do so without it.
    function host.pids(own) return process.is_running(own.child.pid) and { own.child.pid } or {} end
    self.hosts[i] = host
  end
  return self
end
