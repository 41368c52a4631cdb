-- The three members of a chaos run, and who of them leads since when, as their own logs tell it: a member that is
-- frozen or cut off costs no waiting for its answer.
local clock = require "support.clock"
local partition = require "live.support.partition"
local process = require "support.process"
local tree = require "support.tree"

local cluster = {}

local SIZE = 3

---@class Leadership
---@field t number
---@field index integer
---@field raft_term integer
---@field ended number? when most of the members had lost it, before there was another

---@class ChaosCluster
---@field members Etcd[]
---@field version string of etcd, "3.4.23"
---@field leaderships Leadership[] in the order of their raft terms
local ChaosCluster = {}
ChaosCluster.__index = ChaosCluster

local function note_leader(self, index, raft_term)
  local last = self.leaderships[#self.leaderships]
  if last and last.raft_term >= raft_term then return end
  self.leaderships[#self.leaderships + 1] = { t = clock.now(), index = index, raft_term = raft_term, lost_by = {} }
end

-- A member loses its leader in a later term; only a leader that steps down by itself does so in its own.
local function note_loss(self, index, raft_term)
  local last = self.leaderships[#self.leaderships]
  local is_lost = last and (raft_term > last.raft_term or raft_term == last.raft_term and index == last.index)
  if not is_lost then return end
  last.lost_by[index] = true
  local n = 0
  for _ in pairs(last.lost_by) do n = n + 1 end
  if n > SIZE / 2 then last.ended = last.ended or clock.now() end
end

local function read_log(self, index)
  local file = io.open(self.members[index].folder .. "/log", "r")
  if not file then return end
  file:seek("set", self.read_at[index])
  local text = file:read "a"
  file:close()
  local whole = text:match "^.*\n" or ""
  self.read_at[index] = self.read_at[index] + #whole
  for line in whole:gmatch "[^\n]+" do
    local won = line:match "became leader at term (%d+)"
    local lost = line:match "lost leader %x+ at term (%d+)"
    if won then note_leader(self, index, math.tointeger(won)) end
    if lost then note_loss(self, index, math.tointeger(lost)) end
  end
end

-- Takes in what the logs say since.
function ChaosCluster:update()
  for index in ipairs(self.members) do
    read_log(self, index)
  end
end

-- The index of the member that led last, and whether it does as far as is known.
---@return integer index, boolean leads
function ChaosCluster:leader()
  local last = self.leaderships[#self.leaderships]
  return last.index, last.ended == nil
end

-- Asks the leader to hand over. Does not wait.
---@param index integer of the member to lead
function ChaosCluster:move_leader(index)
  local leader = self.members[self:leader()]
  process.spawn({
    tree.etcdctl, "--endpoints=" .. leader.endpoint, "--command-timeout=3s", "move-leader", self.ids[index],
  }, tree.environment(), {})
end

function ChaosCluster:isolate(index) self.etcd:isolate(self.members[index]) end

function ChaosCluster:join() self.etcd:join() end

-- All members run and none is frozen.
function ChaosCluster:mend()
  for _, member in ipairs(self.members) do
    if not member:is_running() then
      member:restart { no_wait = true }
    elseif member.is_frozen then
      member:thaw()
    end
  end
end

-- What each member has logged.
---@return string[]
function ChaosCluster:logs()
  local logs = {}
  for index, member in ipairs(self.members) do
    logs[index] = member:log()
  end
  return logs
end

---@return string output, boolean ok
function ChaosCluster:etcdctl(...) return self.etcd:etcdctl(...) end

function ChaosCluster:etcdctl_start(...) return self.etcd:etcdctl_start(...) end

-- Ends them and removes what they wrote.
function ChaosCluster:stop() self.etcd:stop() end

local function version_of_etcd()
  local pipe = assert(io.popen(tree.quote { tree.etcd, "--version" }))
  local text = pipe:read "a"
  pipe:close()
  return text:match "etcd Version: (%S+)" or "unknown"
end

---@return ChaosCluster
function cluster.start()
  local etcd = partition.cluster(SIZE)
  local self = setmetatable({
    etcd = etcd, version = version_of_etcd(), members = etcd.members, leaderships = {}, read_at = {}, ids = {},
  }, ChaosCluster)
  local list = etcd:etcdctl("member", "list")
  for index, member in ipairs(etcd.members) do
    self.read_at[index] = 0
    self.ids[index] = assert(list:match("(%x+), started, " .. member.name .. ","), list)
  end
  etcd:leader()
  self:update()
  return self
end

return cluster
