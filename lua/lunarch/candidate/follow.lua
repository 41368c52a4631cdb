-- Beside the election: a *follower* observes the leader and tells on_leader, and one more task calls do_standby while
-- we do not lead.
local handlers = require "lunarch.candidate.handlers"
local new_backoff = require "lunarch.candidate.backoff"
local tasks = require "lunarch.candidate.tasks"

require "lunarch.args".is_ours()

local follow = {}

local function stand_by(candidate)
  local backoff = new_backoff(1, 30)
  while true do
    local ok, result = handlers.tell(candidate, "do_standby", candidate.leader)
    if ok then backoff:reset() end
    candidate.lunarch.sleep(ok and handlers.pause_after(result, candidate.interval) or backoff:next())
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

--- False: do_standby goes on all the same.
function follow.end_standby(candidate)
  local has_ended = tasks.dismiss(candidate.standby)
  if has_ended then candidate.standby = nil end
  return has_ended
end

local function observe(candidate)
  local backoff = new_backoff(0.25, 5)
  while true do
    local observer, message = candidate.client:observe(candidate.election_name)
    while observer do
      local leader
      leader, message = observer:next()
      if not leader then break end
      backoff:reset()
      leader.is_me = candidate.place ~= nil and leader.key == candidate.place
      candidate.leader = leader
      handlers.tell(candidate, "on_leader", leader)
      follow.start_standby(candidate)
    end
    if observer then observer:close() end
    local seconds = backoff:next()
    candidate:_complain("cannot tell who leads: " .. tostring(message), seconds)
    candidate.lunarch.sleep(seconds)
  end
end

--- Observes as long as the candidate runs, where a handler wants to know.
function follow.start(candidate)
  if not candidate.handlers.on_leader and not candidate.handlers.do_standby then return end
  candidate.follower = tasks.spawn(candidate, observe)
end

function follow.stop(candidate)
  follow.end_standby(candidate)
  tasks.dismiss(candidate.follower)
end

return follow
