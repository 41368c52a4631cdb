-- What became of the insertions into a set: those that were acknowledged and yet are not in it. See sets.lua.
local sets = require "chaos.sets"

local losses = {}

---@class Version
---@field id string
---@field parent string
---@field token integer

---@class Insertion
---@field id string
---@field who string
---@field t number when it was acknowledged
---@field token integer

---@class Loss
---@field insertion Insertion
---@field by string? the id of the version that overwrote it; nil: it never was in the history

-- The ids that the last version of a history holds.
local function members_of(history, index)
  local members = {}
  local last = history[#history]
  local id = last and last.id or sets.EMPTY
  while id ~= sets.EMPTY and not members[id] do
    members[id] = true
    local at = index[id]
    id = at and history[at].parent or sets.EMPTY
  end
  return members
end

local function index_of(history)
  local index = {}
  for i, version in ipairs(history) do
    index[version.id] = index[version.id] or i
  end
  return index
end

-- Acknowledged insertions that the last version of the history does not hold.
---@param history Version[] all versions of the key, in order
---@param insertions Insertion[] the acknowledged ones
---@return Loss[]
function losses.find(history, insertions)
  local index = index_of(history)
  local members, found = members_of(history, index), {}
  for _, insertion in ipairs(insertions) do
    if not members[insertion.id] then
      local at = index[insertion.id]
      local next_version = at and history[at + 1]
      found[#found + 1] = { insertion = insertion, by = next_version and next_version.id }
    end
  end
  return found
end

-- What may not be in the history of a guarded set even if it cost nothing: a write carried out twice, or one of an
-- owner after a write of its successor.
---@param history Version[]
---@return string[] complaints
function losses.disorder(history)
  local complaints, seen, highest = {}, {}, 0
  for _, version in ipairs(history) do
    if seen[version.id] then complaints[#complaints + 1] = version.id .. " was written twice" end
    if version.token < highest then
      complaints[#complaints + 1] = ("%s, of token %d, was written after a write of token %d"):format(
        version.id, version.token, highest)
    end
    seen[version.id], highest = true, math.max(highest, version.token)
  end
  return complaints
end

return losses
