-- Places that etcd itself has given away while they were alive.
--
-- A member of etcd that led, was stopped and goes on still holds itself for the leader's lessor: it revokes what ran
-- out by its own reckoning, also what the leader after it has renewed all the time (etcd issue 15247, pull request
-- 16822). Before 3.4.31 and 3.5.13 it sends sixteen revocations at a time, and the next ones when a request's limit of
-- 7 s is over. Since then it first asks whether it still leads, and is mistaken more seldom, at once or not at all: on
-- a busy machine most living leases were gone after 6 of 25 such pauses with 3.5.35, and after 10 of 25 with 3.6.16. To
-- the owner this is what an operator's `lease revoke` is: it is told as soon as it can be, and the next one may be
-- elected before that.
--
-- Such an end is laid to etcd only if it came in that time; after a renewal on which the lease should have lived on;
-- and if the lease was gone when somebody asked at once: a key that one of us deleted leaves its lease behind. An
-- owner whose network let it hear of this is to be told within NOTICE_S; any other believes its own clock.
local revocation = {}

-- From a member's going on until the last of its revocations: of those that go on and on, and of the others.
local LONG_S, SHORT_S = 8.5, 1

local NOTICE_S = 1

-- The versions that ask first.
local MENDED = { ["3.4"] = 31, ["3.5"] = 13 }

-- For how long a leader that goes on may revoke living leases.
---@param version string "3.4.23"
---@return number seconds 0: an unknown version is to be judged by what we promise
function revocation.window_s(version)
  local major, minor, patch = version:match "^(%d+)%.(%d+)%.(%d+)"
  if not major then return 0 end
  local mended = MENDED[major .. "." .. minor]
  if mended then return tonumber(patch) < mended and LONG_S or SHORT_S end
  local is_older = tonumber(major) < 3 or tonumber(major) == 3 and tonumber(minor) < 4
  return is_older and LONG_S or SHORT_S
end

-- Whether a stopped leader of etcd had gone on shortly before some moment between `from` and `to`.
local function is_after_a_thaw(outcome, from, to)
  local window_s = revocation.window_s(outcome.etcd_version)
  if window_s == 0 then return false end
  for _, fault in ipairs(outcome.faults) do
    if fault.has_stopped_leader and fault.to and to >= fault.to and from <= fault.to + window_s then return true end
  end
  return false
end

local function successor_of(outcome, term)
  for _, other in ipairs(outcome.terms) do
    if other.token > term.token then return other end
  end
end

-- Whether etcd revoked the term's living lease.
---@param outcome Outcome
---@param term Term
---@return boolean
function revocation.has_ended_term(outcome, term)
  local successor = successor_of(outcome, term)
  if not (successor and term.is_lease_gone) then return false end
  local is_early = successor.elected < (term.renewed or term.elected) + outcome.ttl
  return is_early and is_after_a_thaw(outcome, successor.elected, successor.elected)
end

-- The same of a hold that was not there to be unlocked, or whose unlocking was not answered.
---@param outcome Outcome
---@param hold Hold
---@return boolean
function revocation.has_ended_hold(outcome, hold)
  return hold.was_there == false and hold.is_lease_gone ~= false
    and is_after_a_thaw(outcome, hold.locked, hold.freed)
end

-- How long two may then be owners at once.
---@param outcome Outcome
---@param reason string? told to the earlier one, if any was
---@return number seconds
function revocation.longest_s(outcome, reason)
  return (reason == "key_deleted" or reason == "revoked") and NOTICE_S or outcome.ttl
end

return revocation
