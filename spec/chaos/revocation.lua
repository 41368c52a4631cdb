-- Places that etcd itself has given away while they were alive.
--
-- A member of etcd before 3.4.31 and 3.5.13 that led, was stopped and goes on still holds itself for the leader's
-- lessor: it revokes what ran out by its own reckoning, also what the leader after it has renewed all the time (etcd
-- issue 15247, pull request 16822). It sends sixteen revocations at a time, and the next ones when a request's limit of
-- 7 s is over. To the owner this is what an operator's `lease revoke` is: it is told as soon as it can be, and the next
-- one may be elected before that.
--
-- Such an end is laid to etcd only if it came in that time, with that version, and the lease was gone when its owner
-- asked at once: a key that one of us deleted leaves its lease behind.
local revocation = {}

-- From a member's going on until the last of its revocations; and how long its victim may take to hear of one.
revocation.AFTER_S = 8.5
revocation.NOTICE_S = 1

local FIXED = { ["3.4"] = 31, ["3.5"] = 13 }

-- Whether this version revokes living leases.
---@param version string "3.4.23"
function revocation.is_to_be_expected(version)
  local major, minor, patch = version:match "^(%d+)%.(%d+)%.(%d+)"
  if not major then return false end
  local fixed = FIXED[major .. "." .. minor]
  if fixed then return tonumber(patch) < fixed end
  return tonumber(major) < 3 or tonumber(major) == 3 and tonumber(minor) < 4
end

local REASONS = { key_deleted = true, revoked = true }

local function is_after_a_thaw(outcome, t)
  for _, fault in ipairs(outcome.faults) do
    if fault.has_stopped_leader and fault.to and t >= fault.to and t <= fault.to + revocation.AFTER_S then
      return true
    end
  end
  return false
end

---@param outcome Outcome
---@param term Term
function revocation.has_ended_term(outcome, term)
  return revocation.is_to_be_expected(outcome.etcd_version) and term.is_lease_gone == true
    and REASONS[term.reason] == true and is_after_a_thaw(outcome, term.losing)
end

---@param outcome Outcome
---@param hold Hold
function revocation.has_ended_hold(outcome, hold)
  return revocation.is_to_be_expected(outcome.etcd_version) and hold.is_lease_gone == true
    and is_after_a_thaw(outcome, hold.freed)
end

return revocation
