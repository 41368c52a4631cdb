-- A cluster whose members can be cut off from each other. Unlike a frozen or dead one, such a member goes on answering
-- its clients.
--
--   local cluster = partition.cluster(3)     a cluster of etcd.lua's, with two methods more
--   cluster:isolate(cluster.members[1])      it hears nothing of the others, nor they of it
--   cluster:join()
local uv = require "luv"
local etcd = require "support.etcd"
local process = require "support.process"
local tree = require "support.tree"

local partition = {}

local function start_process()
  local to, from = uv.pipe(), uv.pipe()
  local pid = process.spawn({ "lua5.4", tree.root .. "/spec/live/support/partition_process.lua" },
    tree.environment(), { to.read, from.write, 2 })
  uv.fs_close(to.read)
  uv.fs_close(from.write)
  return function(...)
    assert(uv.fs_write(to.write, table.concat({ ... }, " ") .. "\n"))
    local verdict, result = assert(uv.fs_read(from.read, 4096)):match "^(%a+) (.*)\n"
    if verdict ~= "ok" then error("the partition refuses: " .. tostring(result), 3) end
    return result
  end, pid
end

---@param size integer
---@param options? table more of them, for etcd.lua
---@return Cluster
function partition.cluster(size, options)
  local ask, pid = start_process()
  local function advertise(peer_port) return math.tointeger(ask("add", peer_port)) end
  local cluster = etcd.cluster(size, setmetatable({ advertise = advertise }, { __index = options }))
  local indices = {}
  for i, member in ipairs(cluster.members) do
    indices[member] = i
    ask("name", i, cluster:etcdctl("member", "list"):match("(%x+), started, " .. member.name .. ","))
  end

  function cluster.isolate(_, member) ask("isolate", indices[member]) end

  function cluster.join() ask "join" end

  local stop = cluster.stop
  function cluster:stop()
    stop(self)
    process.kill9(pid)
  end

  return cluster
end

return partition
