-- The sets that the candidates of a chaos run insert into, all by "read it, wait a little, write it back": what
-- excludes two of them from doing so at once, and what guards the write.
--
-- The whole set is not written each time. A version is "<id> <parent> <token>": the id inserted, the id that the
-- version read before had inserted ("-" for an empty set), and the writer's fencing token. What the set holds is the
-- last version's id, its parent's, and so on: an insertion that was overwritten by somebody who had not read it is no
-- longer in that row.
local sets = {}

sets.PREFIX = "/chaos/sets/"
sets.LOCKS = "/chaos/locks/"
sets.ELECTION = "/chaos/leader"
sets.EMPTY = "-"

---@class ChaosSet
---@field name string
---@field guarded boolean etcd itself refuses the write of a stale owner: nothing may ever be lost
---@field how string for the report
sets.list = {
  { name = "term", guarded = true, how = "by the leader, term:put" },
  { name = "fenced", guarded = true, how = "under a mutex, a txn that compares its token" },
  { name = "checked", guarded = false, how = "under a mutex, is_held() asked, then a plain put" },
  { name = "bare", guarded = false, how = "under a mutex, a plain put" },
}

sets.by_name = {}
for _, set in ipairs(sets.list) do
  set.key, set.lock = sets.PREFIX .. set.name, sets.LOCKS .. set.name
  sets.by_name[set.name] = set
end

---@param value string? of the key as it was read
---@return string id what the set held last
function sets.latest(value) return value and value:match "^%S+" or sets.EMPTY end

---@return string value
function sets.version(id, parent, token) return ("%s %s %d"):format(id, parent, token) end

---@param value string
---@return { id: string, parent: string, token: integer }
function sets.parse(value)
  local id, parent, token = value:match "^(%S+) (%S+) (%d+)$"
  assert(id, "no version of a set: " .. value)
  return { id = id, parent = parent, token = math.tointeger(token) }
end

return sets
