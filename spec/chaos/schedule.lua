-- Which faults a chaos run is to see, and when: drawn from a seed, all of it beforehand. Two tracks go on side by
-- side, one of the candidates' faults and one of the members'; within a track one fault follows another. Whom a fault
-- hits is said by role, and decided when it comes.
local schedule = {}

---@class PlannedFault
---@field track "candidates"|"members"
---@field kind string see faults.lua
---@field at number seconds after the beginning
---@field length number seconds
---@field role "leader"|"other"
---@field draw number 0 .. 1, which of the others

-- Chance of a kind, and how long it lasts: of the TTL, or in seconds.
local CANDIDATES = {
  { kind = "kill", weight = 4, least = 0.2, most = 4 },
  { kind = "stop", weight = 5, least = 0.1, most = 2.5, is_of_ttl = true },
  { kind = "quit", weight = 2, least = 0.1, most = 1 },
  { kind = "silent", weight = 4, least = 0.3, most = 2.2, is_of_ttl = true },
  { kind = "deaf", weight = 2, least = 0.3, most = 2.2, is_of_ttl = true },
  { kind = "slow", weight = 2, least = 0.5, most = 2, is_of_ttl = true },
  { kind = "reset", weight = 1, least = 0.1, most = 1 },
}

local MEMBERS = {
  { kind = "kill", weight = 3, least = 0.5, most = 5 },
  { kind = "stop", weight = 4, least = 0.5, most = 6 },
  { kind = "move", weight = 3, least = 1, most = 1 },
  { kind = "silent", weight = 3, least = 0.5, most = 6 },
  { kind = "slow", weight = 2, least = 1, most = 6 },
  { kind = "cut off", weight = 2, least = 1, most = 6 },
  { kind = "majority", weight = 1, least = 0.5, most = 5 },
}

local FIRST_AT_S = 2
local GAPS = { candidates = { 0.8, 3.5 }, members = { 2, 7 } }
local LEADER_CHANCE = 0.65

local function between(least, most) return least + math.random() * (most - least) end

local function draw_kind(kinds)
  local total = 0
  for _, one in ipairs(kinds) do
    total = total + one.weight
  end
  local left = math.random() * total
  for _, one in ipairs(kinds) do
    left = left - one.weight
    if left < 0 then return one end
  end
  return kinds[#kinds]
end

local function draw_track(track, kinds, seconds, ttl)
  local list, at = {}, FIRST_AT_S + between(0, GAPS[track][1])
  while at < seconds do
    local one = draw_kind(kinds)
    local length = between(one.least, one.most) * (one.is_of_ttl and ttl or 1)
    list[#list + 1] = {
      track = track, kind = one.kind, at = at, length = length,
      role = math.random() < LEADER_CHANCE and "leader" or "other", draw = math.random(),
    }
    at = at + length + between(table.unpack(GAPS[track]))
  end
  return list
end

-- The faults of both tracks. The same seed, length and TTL give the same faults; a longer run begins like a shorter
-- one.
---@param seed integer
---@param seconds number
---@param ttl integer
---@return PlannedFault[] candidates, PlannedFault[] members
function schedule.draw(seed, seconds, ttl)
  math.randomseed(seed, 1)
  local candidates = draw_track("candidates", CANDIDATES, seconds, ttl)
  math.randomseed(seed, 2)
  local members = draw_track("members", MEMBERS, seconds, ttl)
  return candidates, members
end

return schedule
