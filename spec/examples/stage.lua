-- What most plays share (faults.lua): an etcd, a client that looks on, and hosts that reach etcd by a proxy each.
--
--   local Play = stage.kind("/examples/nightly", { "a", "b", "c" })    methods of its own come over those of a stage
--   local play = stage.begin(Play)
--   play:add(function(endpoint) return { "lunarch", "run", ... } end)  for each name a host
local etcd = require "support.etcd"
local faults = require "examples.faults"
local lunarch = require "lunarch"
local process = require "support.process"

local stage = {}

local ASK_S = 10

local Stage = {}
Stage.__index = Stage

-- The places in the line, the first one first; at a revision of before, if one is given.
function Stage:line(revision)
  local options = { prefix = true, sort_by = "create", revision = revision }
  return assert(self.client:get(self.election .. "/", options, ASK_S))
end

function Stage:leader()
  local first = self:line()[1]
  for i, name in ipairs(self.names) do
    if first and first.value == name then return i end
  end
end

function Stage:is_whole() return #self:line() == #self.names end

function Stage:troubles() return self.found end

function Stage:stop()
  self.client:close(2)
  for _, host in ipairs(self.hosts) do
    host.child:kill9()
    host.proxy:stop()
  end
  self.server:stop()
end

function Stage:add(command)
  local host = faults.host(self.server.client_port, command)
  self.hosts[#self.hosts + 1] = host
  return host
end

-- The same, but what befalls it befalls the program alone: what watches over its commands must do so without it.
function Stage:add_program(command)
  local host = self:add(command)
  function host.pids(own) return process.is_running(own.child.pid) and { own.child.pid } or {} end
end

---@param election string
---@param names string[] of the hosts, as they stand in the line
function stage.kind(election, names)
  local Play = setmetatable({ election = election, names = names }, Stage)
  Play.__index = Play
  return Play
end

function stage.begin(Play)
  local server = etcd.start()
  local client = assert(lunarch.connect { endpoints = server.endpoint, loop = "block" })
  return setmetatable({ server = server, client = client, hosts = {}, found = {} }, Play)
end

return stage
