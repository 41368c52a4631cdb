-- Followers of a cluster of three, frozen in turn, and sessions of 3 s that must live on.
local etcd = require "support.etcd"
local keepers = require "live.support.keepers"

local followers = {}

local TTL = 3

-- One try: every session must outlive one follower frozen for 2.5 TTLs.
---@return string line
function followers.try(list, follower)
  follower:freeze()
  local ok, shortest = pcall(keepers.hold, list, 2.5 * TTL)
  follower:thaw()
  if not ok then error(shortest, 0) end
  return ("a follower frozen: %d of %d sessions had noticed; the shortest had %.2f s left"):format(
    keepers.n_affected(list, follower.endpoint), #list, shortest)
end

-- `n` tries on a fresh cluster, the followers in turn.
---@return { n: integer, n_lost: integer, troubles: string[] }
function followers.run(n, sessions)
  local cluster = etcd.cluster(3)
  local result = { n = n, n_lost = 0, troubles = {} }
  local list = keepers.open(keepers.rotations(cluster, sessions), TTL)
  for i = 1, n do
    local both = cluster:followers()
    local ok, line = pcall(followers.try, list, both[i % #both + 1])
    if not ok then
      result.n_lost = result.n_lost + 1
      result.troubles[#result.troubles + 1] = line
      list = keepers.open(keepers.rotations(cluster, sessions), TTL)
    end
  end
  cluster:stop()
  return result
end

return followers
