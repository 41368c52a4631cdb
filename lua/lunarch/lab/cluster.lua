-- A private cluster of etcd: three members as processes, on free ports, their data in memory where there is room.
local folders = require "lunarch.lab.folder"
local processes = require "lunarch.lab.process"
local uv = require "luv"

require "lunarch.internal.args".is_ours()

local clusters = {}

local Cluster = {}
Cluster.__index = Cluster

local SIZE = 3
local READY_S, LOOK_S, ASK_S = 30, 0.05, 0.5
local TRIES = 3
local HOST = "127.0.0.1"
local MOST_WORDS = 200

-- Where the loopback is down (a namespace of its own), an address is bound, but nothing that is sent there arrives.
local function is_down()
  local interfaces = uv.interface_addresses()
  for _, addresses in pairs(interfaces or {}) do
    for _, address in ipairs(addresses) do
      if address.ip == HOST then return false end
    end
  end
  return interfaces ~= nil
end

-- Kept bound until all are known, so that they differ. Or nil and what is wrong.
local function free_ports(n)
  local sockets, ports, why = {}, {}, nil
  for i = 1, n do
    sockets[i] = uv.new_tcp()
    local ok, trouble = sockets[i]:bind(HOST, 0)
    why = not ok and trouble or why
    ports[i] = not why and sockets[i]:getsockname().port or nil
  end
  for _, socket in ipairs(sockets) do
    socket:close()
  end
  if why then return nil, ("a lab's members cannot listen at %s: %s"):format(HOST, why) end
  return ports
end

local function url(port) return ("http://%s:%d"):format(HOST, port) end

local function words_of(self, member)
  return {
    self.program, "--name", member.name, "--data-dir", self.folder .. "/" .. member.name, "--log-level", "error",
    "--listen-client-urls", url(member.port), "--advertise-client-urls", url(member.port),
    "--listen-peer-urls", url(member.peer_port), "--initial-advertise-peer-urls", url(member.peer_port),
    "--initial-cluster", self.initial, "--initial-cluster-state", "new", "--logger", "zap",
  }
end

local function start(self, member)
  local log = assert(uv.fs_open(self.folder .. "/" .. member.name .. ".log", "a", 384))
  local ok, trouble = pcall(function()
    member.process = processes.start(words_of(self, member), { nil, log, log })
  end)
  uv.fs_close(log)
  if not ok then error(trouble, 0) end
end

local function is_ready(client)
  local members = client:status(ASK_S)
  local n, has_leader = 0, false
  for _, member in ipairs(members or {}) do
    n = n + (member.error and 0 or 1)
    has_leader = has_leader or member.is_leader == true
  end
  return n == SIZE and has_leader
end

--- The addresses of the members themselves.
function Cluster:endpoints()
  local list = {}
  for i, member in ipairs(self.members) do
    list[i] = ("%s:%d"):format(HOST, member.port)
  end
  return list
end

function Cluster:signal(index, signal)
  self.members[index].process.kill(signal)
end

--- Begins a member anew that has ended or was killed, once its process is gone; waits for that. One that runs stays.
function Cluster:start_again(index)
  local member = self.members[index]
  if not member.process.is_killed and not member.process.has_ended then return end
  while not member.process.has_ended do
    require "lunarch".sleep(LOOK_S)
  end
  start(self, member)
end

--- Ends them and removes their data.
function Cluster:close()
  for _, member in ipairs(self.members) do
    if member.process then member.process.kill "sigkill" end
  end
  require "lunarch".sleep(LOOK_S)
  folders.remove(self.folder)
end

-- What a member that ended has said last.
local function last_words(self, member)
  local file = io.open(self.folder .. "/" .. member.name .. ".log")
  local text = file and file:read "a" or ""
  if file then file:close() end
  local line = text:match "([^\n]+)\n*$"
  return line and (": " .. (line:match '"error":"(.-)"' or line:match '"msg":"(.-)"' or line):sub(1, MOST_WORDS)) or ""
end

-- Whether all serve in the end; else what is wrong, and whether a member ended by itself: as a rule for a port that
-- another program took after we had found it free.
local function await(self)
  local lunarch = require "lunarch"
  local till = lunarch.now() + READY_S
  while not is_ready(self.client) do
    lunarch.sleep(LOOK_S)
    for _, member in ipairs(self.members) do
      if member.process.has_ended then
        return false, ("etcd %s ends by itself%s"):format(member.name, last_words(self, member)), true
      end
    end
    if lunarch.now() > till then return false, ("etcd does not serve within %d s"):format(READY_S) end
  end
  return true
end

-- One attempt, on ports of its own.
local function try(program, folder)
  local ports, why = free_ports(2 * SIZE)
  if not ports then
    folders.remove(folder)
    return nil, why
  end
  local self = setmetatable({ members = {}, folder = folder, program = program }, Cluster)
  local initial = {}
  for i = 1, SIZE do
    self.members[i] = { name = "m" .. i, port = ports[i], peer_port = ports[SIZE + i] }
    initial[i] = ("m%d=%s"):format(i, url(ports[SIZE + i]))
  end
  self.initial = table.concat(initial, ",")
  local ok, trouble, has_ended = pcall(function()
    for _, member in ipairs(self.members) do
      start(self, member)
    end
  end)
  if ok then
    self.client, trouble = require "lunarch".connect { endpoints = self:endpoints(), name = "you" }
    if self.client then
      ok, trouble, has_ended = await(self)
      if ok then return self end
      self.client:close()
    end
  end
  self:close()
  return nil, trouble, has_ended
end

--- Starts one and waits until it serves: or nil and what is wrong. Waits.
function clusters.open()
  if is_down() then return nil, ("a lab's members need %s: no interface has it (ip link set lo up)"):format(HOST) end
  local program, why = require "lunarch.cli.dev".program()
  if not program then return nil, why end
  local self, trouble, has_ended
  for _ = 1, TRIES do
    local folder = folders.new()
    if not folder then return nil, "there is no folder for the data of etcd" end
    self, trouble, has_ended = try(program, folder)
    if self then return self end
    if not has_ended then break end
  end
  return nil, ("%s (the program is %s)"):format(trouble, program)
end

return clusters
