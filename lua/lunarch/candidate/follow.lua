-- Beside the election: a *follower* observes the leader, on_leader is called with it, and one more task calls
-- do_standby while we do not lead.
--
-- on_leader fits in with the handlers of a term (DESIGN.md, S3): it is called with us once on_elected has begun, and of
-- another, or of no leader, once our on_lost has returned. Until then the latest leader is kept; where a later one is
-- observed first, the earlier one is never told.
--
-- What was observed is true no longer than etcd can be asked: it is dropped, and observed anew, when a term of ours
-- ends, when the session is lost, and when none can be opened. A leader that is the same as before is not told again.
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
  -- By the clock: the driver, which has the leader observed anew then, comes to know of it later.
  if not leader.is_me then return term == nil and not candidate:_is_session_over() end
  return term ~= nil and candidate.is_entered and leader.token == term.token
end

local function is_same(leader, other)
  return other ~= nil and leader.key == other.key and leader.token == other.token and leader.revision == other.revision
end

local function tell_due(candidate)
  while candidate.observed and is_due(candidate, candidate.observed) do
    local leader = candidate.observed
    local is_news = not is_same(leader, candidate.told)
    candidate.observed, candidate.leader, candidate.told = nil, leader, leader
    candidate.known = not leader.is_me and leader or nil
    candidate.report.leader(leader)
    if is_news then handlers.tell(candidate, "on_leader", leader) end
    follow.start_standby(candidate)
  end
  candidate.teller = nil
end

--- Who leads while we do not: the leader that was told last. Nil: not known, etcd has been silent since for as long as
--- a term would have lasted.
function follow.known(candidate)
  local session = candidate.session
  local is_silent = session ~= nil and session:remaining() <= 0
  return not is_silent and candidate.known or nil
end

--- To be called when a leader was observed, on_elected begins, or on_lost has returned.
function follow.look(candidate)
  if candidate.teller or candidate.stopping or not candidate.observed then return end
  if is_due(candidate, candidate.observed) then candidate.teller = tasks.keep(candidate, tell_due) end
end

--- The term is entered: whatever leader follows is news.
function follow.enter(candidate)
  candidate.told, candidate.known = nil, nil
  follow.look(candidate)
end

--- What was observed may be true no more: it is observed anew, which lasts until etcd answers.
function follow.begin_anew(candidate)
  local observer = candidate.observer
  candidate.observed, candidate.known, candidate.observer = nil, nil, nil
  candidate.report.leader(nil)
  if observer then observer:close() end
end

--- A term of ours is over, and what was known is from before it, or of us.
function follow.forget(candidate)
  candidate.leader = nil
  follow.begin_anew(candidate)
end

local function take(candidate, leader)
  candidate.log.debug("the leader is %s", leader.value or "nobody")
  -- The place of the session before this one, which was lost, has not lapsed yet.
  if leader.key and leader.key == candidate.former_place then return end
  leader.is_me = requests.is_own(candidate, leader.key)
  candidate.observed = leader
  follow.look(candidate)
end

-- Until it is closed by follow.begin_anew, or fails: nil and why.
local function observe_with(candidate, observer, pauses)
  while candidate.observer == observer do
    local leader, message = observer:next()
    if not leader then return nil, message end
    pauses:reset()
    if candidate.observer == observer then take(candidate, leader) end
  end
end

local function observe(candidate)
  local pauses = backoff.new("connect", candidate.options.backoff)
  while true do
    local observer, message = candidate.client:observe(candidate.election_name)
    candidate.observer = observer
    if observer then
      message = select(2, observe_with(candidate, observer, pauses))
      observer:close()
    end
    if candidate.observer == observer then
      candidate.observer = nil
      local seconds = pauses:next()
      candidate:_complain("cannot tell who leads: " .. tostring(message), seconds)
      candidate.lunarch.sleep(seconds)
    end
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
  if candidate.observer then candidate.observer:close() end
end

return follow
