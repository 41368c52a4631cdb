-- Beside the election: a *follower* observes the leader, on_leader is called with it, and one more task calls
-- do_standby while we do not lead.
--
-- on_leader fits in with the handlers of a term (DESIGN.md, S3): it is called with us once on_elected has begun, and of
-- another, or of no leader, once our on_lost has returned. Until then the latest leader is kept; where a later one is
-- observed first, the earlier one is never told.
local backoff = require "lunarch.candidate.backoff"
local handlers = require "lunarch.candidate.handlers"
local requests = require "lunarch.candidate.requests"
local tasks = require "lunarch.candidate.tasks"

require "lunarch.internal.args".is_ours()

local follow = {}

-- ---- do_standby -------------------------------------------------------------------------------------------------

local function stand_by(candidate)
  local pauses = backoff.new("standby", candidate.options.backoff)
  while true do
    local ok, result = handlers.tell(candidate, "do_standby", candidate.leader)
    if ok then pauses:reset() end
    candidate.lunarch.sleep(ok and handlers.pause_after(result, candidate.interval) or pauses:next())
  end
end

--- do_standby needs to know of a leader, or that there is none, and stays away from a term.
function follow.start_standby(candidate)
  if not candidate.handlers.do_standby or candidate.standby or not candidate.leader or candidate.is_elected
    or candidate.stopping then
    return
  end
  candidate.standby = tasks.spawn(candidate, stand_by)
end

--- False: do_standby did not end, and is abandoned.
function follow.end_standby(candidate)
  local task = candidate.standby
  candidate.standby = nil
  return tasks.dismiss(task)
end

-- ---- on_leader --------------------------------------------------------------------------------------------------

local function is_due(candidate, leader)
  local term = candidate.term
  if not leader.is_me then return term == nil end
  return term ~= nil and candidate.is_entered and leader.token == term.token
end

local function tell_due(candidate)
  while candidate.observed and is_due(candidate, candidate.observed) do
    local leader = candidate.observed
    candidate.observed, candidate.leader = nil, leader
    handlers.tell(candidate, "on_leader", leader)
    follow.start_standby(candidate)
  end
  candidate.teller = nil
end

--- To be called when a leader was observed, on_elected begins, or on_lost has returned.
function follow.look(candidate)
  if candidate.teller or candidate.stopping or not candidate.observed then return end
  if is_due(candidate, candidate.observed) then candidate.teller = tasks.keep(candidate, tell_due) end
end

--- The term is over, and with it what was known of us as the leader.
function follow.forget(candidate, term)
  if candidate.leader and candidate.leader.token == term.token then candidate.leader = nil end
  follow.look(candidate)
end

local function observe(candidate)
  local pauses = backoff.new("connect", candidate.options.backoff)
  while true do
    local observer, message = candidate.client:observe(candidate.election_name)
    while observer do
      local leader
      leader, message = observer:next()
      if not leader then break end
      pauses:reset()
      candidate.log.debug("the leader is %s", leader.value or "nobody")
      leader.is_me = requests.is_own(candidate, leader.key)
      candidate.observed = leader
      follow.look(candidate)
    end
    if observer then observer:close() end
    local seconds = pauses:next()
    candidate:_complain("cannot tell who leads: " .. tostring(message), seconds)
    candidate.lunarch.sleep(seconds)
  end
end

--- Observes as long as the candidate runs, where a handler wants to know.
function follow.start(candidate)
  if not candidate.handlers.on_leader and not candidate.handlers.do_standby then return end
  candidate.follower = tasks.keep(candidate, observe)
end

function follow.stop(candidate)
  follow.end_standby(candidate)
  tasks.dismiss(candidate.teller)
  tasks.dismiss(candidate.follower)
end

return follow
