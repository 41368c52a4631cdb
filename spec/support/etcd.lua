-- Private etcds for specs: on free ports of 127.0.0.1, their data in memory, ended with the spec file whatever happens.
--
--   local server = require("support.etcd").start()            one member, serving when this returns
--   server.endpoint, server.client_port                       "127.0.0.1:<port>"
--   server:etcdctl("put", "k", "v")                           its output, true; or its output, false
--   server:kill9()  server:restart()                          the same data and ports
--   server:freeze() server:thaw()                             SIGSTOP, SIGCONT
--   server:begin_anew { snapshot = server:save(), token = "..." }   wiped, or restored, under the same address
--   server:stop()
--   local cluster = require("support.etcd").cluster(3)
--   cluster.members[1] ...  cluster.endpoints  cluster:leader()  cluster:followers()
--   cluster:replace(1)                                        another member, with other ports, in place of the first
--   cluster:etcdctl(...)  cluster:stop()
--
-- Options of both: heartbeat_ms (100), election_ms (1000), flags (list of more flags for etcd), advertise (the port
-- that other members are told, from a member's own peer port: a proxy's), tls ({ cert, key, cacert, wants_client =
-- true }: clients speak TLS; with wants_client they show certificates, and etcdctl shows ctl_cert, ctl_key),
-- skips_probe (nobody asks it whether it serves: etcdctl would not trust it), ctl_user ("name:password", etcdctl's).
--
-- Where the suite or the option is_secured wants a secured cluster (secured.lua), both start one, unless `tls` says
-- what a spec needs; what `start` gives is then a cluster whose `endpoint` is the list of all, and to kill, freeze or
-- restart it is to do so to every member.
local uv = require "luv"
local ports = require "support.ports"
local process = require "support.process"
local secured = require "support.secured"
local tree = require "support.tree"
local users = require "support.users"
local vm = require "support.vm"
local wait = require "support.wait"

local etcd = {}

local START_TRIES = 3
local RETRY_MS = 100
local PROBE_TIMEOUT = "2s"

-- ---- one member -------------------------------------------------------------------------------------------------

---@class Etcd
---@field endpoint string
---@field client_port integer
---@field pid integer
local Etcd = {}
Etcd.__index = Etcd

local function url(port) return "http://127.0.0.1:" .. port end

local function client_url(member)
  return (member.options.tls and "https" or "http") .. "://127.0.0.1:" .. member.client_port
end

local function tls_flags(tls)
  local flags = { "--cert-file", tls.cert, "--key-file", tls.key }
  if tls.wants_client then
    for _, flag in ipairs { "--client-cert-auth", "--trusted-ca-file", tls.cacert } do
      flags[#flags + 1] = flag
    end
  end
  return flags
end

local function new_member(name, options)
  local member = setmetatable({
    name = name,
    options = options,
    client_port = ports.free(),
    peer_port = ports.free(),
    folder = tree.folder(),
  }, Etcd)
  member.endpoint = (options.tls and "https://" or "") .. "127.0.0.1:" .. member.client_port
  member.advertised_port = options.advertise and options.advertise(member.peer_port) or member.peer_port
  return member
end

local function command_of(member)
  local command = {
    tree.etcd,
    "--name", member.name,
    "--data-dir", member.folder .. "/data",
    "--listen-client-urls", client_url(member),
    "--advertise-client-urls", client_url(member),
    "--listen-peer-urls", url(member.peer_port),
    "--initial-advertise-peer-urls", url(member.advertised_port),
    "--initial-cluster", member.initial_cluster,
    "--heartbeat-interval", tostring(member.options.heartbeat_ms or 100),
    "--election-timeout", tostring(member.options.election_ms or 1000),
    "--logger", "zap",
    "--log-outputs", "stderr",
  }
  if member.is_joining then command[#command + 1] = "--initial-cluster-state=existing" end
  if member.token then command[#command + 1] = "--initial-cluster-token=" .. member.token end
  for _, flags in ipairs { member.options.flags or {}, member.options.tls and tls_flags(member.options.tls) or {} } do
    for _, flag in ipairs(flags) do
      command[#command + 1] = flag
    end
  end
  return command
end

local function spawn(member)
  local fd = assert(uv.fs_open(member.folder .. "/log", "a", 420))
  member.pid = process.spawn(command_of(member), tree.environment(), { nil, fd, fd })
  uv.fs_close(fd)
end

-- etcdctl with the words that take it to `endpoints`.
local function etcdctl_command(endpoints, options, words)
  local command, tls = { tree.etcdctl, "--endpoints=" .. endpoints }, options.tls
  if options.ctl_user then
    for _, word in ipairs(users.login(options.ctl_user)) do
      command[#command + 1] = word
    end
  end
  if tls then
    command[#command + 1] = "--cacert=" .. tls.cacert
    if tls.wants_client then
      command[#command + 1] = "--cert=" .. tls.ctl_cert
      command[#command + 1] = "--key=" .. tls.ctl_key
    end
  end
  for _, word in ipairs(words) do
    command[#command + 1] = word
  end
  return command
end

-- What it printed (errors too), and whether it succeeded.
local function etcdctl(endpoints, options, words)
  return vm.shell(tree.quote(etcdctl_command(endpoints, options, words)) .. " 2>&1 </dev/null")
end

-- A linearizable read through this very member: its port answers long before that.
function Etcd:is_serving()
  local _, ok = etcdctl(self.endpoint, self.options, {
    "--dial-timeout=" .. PROBE_TIMEOUT, "--command-timeout=" .. PROBE_TIMEOUT, "get", "is-it-serving",
  })
  return ok
end

function Etcd:is_running()
  return self.pid ~= nil and process.is_running(self.pid)
end

-- What etcd has logged since it was first started.
function Etcd:log()
  return tree.read(self.folder .. "/log")
end

local function fail_with_log(member, what)
  error(("%s %s; the end of its log:\n%s"):format(member.name, what, member:log():sub(-2000)), 3)
end

-- False when it ended instead.
local function wait_serving(member)
  local ok, result = pcall(wait.eventually, function()
    if not member:is_running() then return "ended" end
    -- Cheap first: to ask costs a process of its own.
    local log = member:log():sub(member.log_from)
    local is_open = log:find("serving client traffic", 1, true)
    return is_open and (member.options.skips_probe or member:is_serving()) and "serving"
  end, 3 * wait.LIMIT)
  if not ok then fail_with_log(member, "does not serve") end
  return result == "serving"
end

local function begin(member)
  member.log_from = #member:log() + 1
  spawn(member)
end

local function found_port_taken(member)
  return member:log():find("address already in use", member.log_from, true) ~= nil
end

local function start_all(members)
  for _, member in ipairs(members) do
    begin(member)
  end
  for _, member in ipairs(members) do
    if not wait_serving(member) then return member end
  end
end

-- SIGTERM, waits for the end, removes the data. A member that is frozen or does not end is killed.
function Etcd:stop()
  if self:is_running() then
    uv.kill(self.pid, "sigterm")
    uv.kill(self.pid, "sigcont")
    if not pcall(wait.eventually, function() return not process.is_running(self.pid) end) then
      process.kill9(self.pid)
    end
  end
  tree.remove(self.folder)
end

-- kill -9; returns when it is gone. The data stay.
function Etcd:kill9()
  process.kill9(self.pid)
end

-- Starts it again on the same data and ports; ends it first if it runs. Returns when it serves again, unless told
-- not to wait (a member of a cluster serves only when most of them run). Its ports are ours (ports.lua), but a program
-- of another kind may hold one for a moment.
---@param options? { no_wait: boolean }
function Etcd:restart(options)
  if self:is_running() then self:kill9() end
  begin(self)
  if options and options.no_wait then return end
  while not wait_serving(self) do
    if not found_port_taken(self) then fail_with_log(self, "ended instead of starting again") end
    uv.sleep(RETRY_MS)
    begin(self)
  end
end

-- Another etcd under the same address: empty, or restored from the file that `save` wrote; of another cluster id where
-- a token is given.
---@param options? { snapshot: string, token: string }
function Etcd:begin_anew(options)
  options = options or {}
  if self:is_running() then self:kill9() end
  tree.remove(self.folder .. "/data")
  self.token = options.token
  if options.snapshot then
    local command = {
      tree.restorer(), "snapshot", "restore", options.snapshot,
      "--data-dir", self.folder .. "/data", "--name", self.name,
      "--initial-cluster", self.initial_cluster, "--initial-advertise-peer-urls", url(self.advertised_port),
    }
    if options.token then command[#command + 1] = "--initial-cluster-token=" .. options.token end
    local output, ok = vm.shell(tree.quote(command) .. " 2>&1 </dev/null")
    if not ok then error("the snapshot was not restored: " .. output, 2) end
  end
  self:restart()
end

---@return string snapshot the path of a file
function Etcd:save()
  local path = self.folder .. "/snapshot"
  os.remove(path)
  local output, ok = self:etcdctl("snapshot", "save", path)
  if not ok then error("no snapshot was saved: " .. output, 2) end
  return path
end

function Etcd:freeze()
  process.freeze(self.pid)
  self.is_frozen = true
end

function Etcd:thaw()
  process.thaw(self.pid)
  self.is_frozen = false
end

---@return string output, boolean ok
function Etcd:etcdctl(...)
  return etcdctl(self.endpoint, self.options, { ... })
end

-- etcdctl as a process that goes on: server:etcdctl_start("lock", "/name"). See process.lua.
---@return Process
function Etcd:etcdctl_start(...)
  return process.start(etcdctl_command(self.endpoint, self.options, { ... }))
end

-- What this member says of itself, or nil if it does not answer.
---@return { revision: integer, raft_index: integer, raft_term: integer, member_id: string, is_leader: boolean }?
function Etcd:status()
  local output, ok = etcdctl(self.endpoint, self.options, {
    "--dial-timeout=" .. PROBE_TIMEOUT, "--command-timeout=" .. PROBE_TIMEOUT, "endpoint", "status", "-w", "fields",
  })
  if not ok then return nil end
  local fields = {}
  for name, value in output:gmatch '"(%w+)" : (%S+)' do
    fields[name] = value
  end
  return {
    revision = vm.integer(fields.Revision),
    raft_index = vm.integer(fields.RaftIndex),
    raft_term = vm.integer(fields.RaftTerm),
    member_id = fields.MemberID,
    is_leader = fields.Leader == fields.MemberID,
  }
end

local function is_to_be_secured(options)
  return (secured.is_wanted() or options and options.is_secured) and not (options and options.tls)
end

-- One etcd, serving when this returns.
---@param options? table
---@return Etcd
function etcd.start(options)
  if is_to_be_secured(options) then return etcd.cluster(secured.SIZE, options) end
  for _ = 1, START_TRIES do
    local member = new_member("spec", options or {})
    member.initial_cluster = member.name .. "=" .. url(member.advertised_port)
    -- It ends at once if somebody took one of its ports in the meantime.
    local ended = start_all { member }
    if not ended then return member end
    if not found_port_taken(member) then fail_with_log(member, "ended at its start") end
    member:stop()
  end
  error("etcd found no free ports in " .. START_TRIES .. " tries", 2)
end

-- ---- several ----------------------------------------------------------------------------------------------------

---@class Cluster
---@field members Etcd[]
---@field endpoints string[]
local Cluster = {}
Cluster.__index = Cluster

local function new_cluster(size, options)
  local cluster = setmetatable({ members = {}, endpoints = {}, options = options }, Cluster)
  local initial = {}
  for i = 1, size do
    local member = new_member("spec" .. i, options)
    cluster.members[i] = member
    cluster.endpoints[i] = member.endpoint
    initial[i] = member.name .. "=" .. url(member.advertised_port)
  end
  for _, member in ipairs(cluster.members) do
    member.initial_cluster = table.concat(initial, ",")
  end
  cluster.endpoint = table.concat(cluster.endpoints, ",")
  return cluster
end

function Cluster:stop()
  for _, member in ipairs(self.members) do
    if member:is_running() then process.kill9(member.pid) end
    tree.remove(member.folder)
  end
end

---@return string output, boolean ok
function Cluster:etcdctl(...)
  return etcdctl(self.endpoint, self.options, { ... })
end

Cluster.etcdctl_start = Etcd.etcdctl_start

local function each(name)
  return function(self)
    for _, member in ipairs(self.members) do
      member[name](member)
    end
  end
end

Cluster.kill9, Cluster.freeze, Cluster.thaw = each "kill9", each "freeze", each "thaw"

-- All of them, on the same data and ports.
function Cluster:restart()
  self:kill9()
  local ended = start_all(self.members)
  if ended then fail_with_log(ended, "ended instead of starting again") end
end

-- What the first member says of itself that answers: what is asked here is the same in all.
function Cluster:status()
  for _, member in ipairs(self.members) do
    local status = member:status()
    if status then return status end
  end
end

local function leader_now(cluster)
  local leader
  for _, member in ipairs(cluster.members) do
    if member:is_running() and not member.is_frozen then
      local status = member:status()
      if status and status.is_leader then
        -- Two that think so: one of them has not heard yet.
        if leader then return nil end
        leader = member
      end
    end
  end
  return leader
end

-- Who leads now among the members that run and are not frozen; waits until somebody does.
---@return Etcd
function Cluster:leader()
  return wait.eventually(function() return leader_now(self) end, 3 * wait.LIMIT, "a leader of the cluster")
end

---@return Etcd[]
function Cluster:followers()
  local leader = self:leader()
  local followers = {}
  for _, member in ipairs(self.members) do
    if member ~= leader then followers[#followers + 1] = member end
  end
  return followers
end

-- The id of a member in hex, as etcdctl wants it.
local function id_of(cluster, name)
  local output = cluster:etcdctl("member", "list")
  return output:match("(%x+), %a+, " .. name .. ",") or error("no member " .. name .. " in:\n" .. output, 3)
end

local function etcdctl_patiently(cluster, ...)
  local words = table.pack(...)
  wait.eventually(function()
    local _, ok = cluster:etcdctl(table.unpack(words))
    return ok
  end, 3 * wait.LIMIT, "etcdctl " .. table.concat(words, " "))
end

-- The `index`-th member is killed and removed, and another one, with ports of its own, is added and serves when this
-- returns. The cluster's `endpoints` are those of the members of now.
---@return Etcd
function Cluster:replace(index)
  local old, new = self.members[index], new_member(("%s-%d"):format(self.members[index].name, index), self.options)
  local id = id_of(self, old.name)
  old:kill9()
  etcdctl_patiently(self, "member", "remove", id)
  etcdctl_patiently(self, "member", "add", new.name, "--peer-urls=" .. url(new.advertised_port))
  tree.remove(old.folder)
  self.members[index], self.endpoints[index], new.is_joining = new, new.endpoint, true
  self.endpoint = table.concat(self.endpoints, ",")
  local initial = {}
  for i, member in ipairs(self.members) do
    initial[i] = member.name .. "=" .. url(member.advertised_port)
  end
  new.initial_cluster = table.concat(initial, ",")
  local ended = start_all { new }
  if ended then fail_with_log(ended, "ended instead of joining") end
  return new
end

-- A cluster of `size` members, all serving when this returns.
---@param size? integer 3 where not said
---@param options? table
---@return Cluster
function etcd.cluster(size, options)
  local is_secured = is_to_be_secured(options)
  for _ = 1, START_TRIES do
    local cluster = new_cluster(size or 3, is_secured and secured.options(options or {}) or options or {})
    local ended = start_all(cluster.members)
    if not ended then
      if is_secured then secured.close_doors(cluster) end
      return cluster
    end
    if not found_port_taken(ended) then fail_with_log(ended, "ended at its start") end
    cluster:stop()
  end
  error("etcd found no free ports in " .. START_TRIES .. " tries", 2)
end

return etcd
