-- examples/cron on three hosts, a period a second. From outside: no period has begun twice.
local etcd = require "support.etcd"
local faults = require "examples.faults"
local lunarch = require "lunarch"
local process = require "support.process"
local tree = require "support.tree"

local ELECTION, TTL, ASK_S = "/examples/nightly", 3, 10
local NAMES = { "a", "b", "c" }

local Play = {}
Play.__index = Play

local function line(self)
  return assert(self.client:get(ELECTION .. "/", { prefix = true, sort_by = "create" }, ASK_S))
end

function Play:leader()
  local first = line(self)[1]
  for i, name in ipairs(NAMES) do
    if first and first.value == name then return i end
  end
end

function Play:is_whole() return #line(self) == #NAMES end

function Play:troubles()
  local found, n_runs, n_hosts, seen = {}, 0, 0, {}
  for period, host in tree.read(self.file):gmatch "(%d+) (%a)\n" do
    if seen[period] then found[#found + 1] = ("period %s began on %s and on %s"):format(period, seen[period], host) end
    n_hosts = n_hosts + (seen[host] and 0 or 1)
    n_runs, seen[period], seen[host] = n_runs + 1, host, true
  end
  if n_hosts < 2 then found[#found + 1] = ("%d periods, on %d hosts only"):format(n_runs, n_hosts) end
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
  local self = setmetatable({ server = server, hosts = {}, file = tree.folder() .. "/runs" }, Play)
  self.client = assert(lunarch.connect { endpoints = server.endpoint, loop = "block" })
  for i, name in ipairs(NAMES) do
    local host = faults.host(server.client_port, function(endpoint)
      return {
        "lunarch", "run", tree.root .. "/examples/cron/nightly.lua", "--name", name, "--ttl", TTL,
        "--endpoints", endpoint, "--only-given-endpoints", "--",
        "1", "sh", "-c", ("echo $PERIOD %s >> %s"):format(name, self.file),
      }
    end)
    -- The program alone: what watches over its commands must do so without it.
    function host.pids(own) return process.is_running(own.child.pid) and { own.child.pid } or {} end
    self.hosts[i] = host
  end
  return self
end
