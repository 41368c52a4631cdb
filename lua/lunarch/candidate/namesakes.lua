-- Warns once of another candidate by our name in the same election: the log and `lunarch status` cannot tell them
-- apart.
local requests = require "lunarch.candidate.requests"

require "lunarch.internal.args".is_ours()

local namesakes = {}

local LOOK_AFTER_TTLS = 1.5      -- an earlier run of ours that was killed is gone by then
local MOST_KEYS = 50             -- in a longer line not all are looked at

-- How many candidates of this process run, by election and name.
local running = {}

local function identity_of(candidate)
  local endpoints = table.concat(candidate.client.endpoints or {}, ",")
  return table.concat({ candidate.election_name, candidate.name, endpoints }, "\0")
end

local function look(candidate, ttl)
  local election = candidate.election_name
  for _, kv in ipairs(candidate.client:get(election .. "/", { prefix = true, limit = MOST_KEYS }, ttl) or {}) do
    if kv.value == candidate.value and not requests.is_own(candidate, kv.key) then
      candidate.log.warn("another candidate by the name %s stands in %s (%s): give each a name of its own",
        candidate.value, election, kv.key)
      return
    end
  end
end

--- The candidate has a session of that TTL: its line is to be looked into, once, a while from now.
function namesakes.plan(candidate, ttl)
  if candidate.line_look or candidate.has_shared_name then return end
  candidate.line_look = { at = candidate.lunarch.now() + LOOK_AFTER_TTLS * ttl, ttl = ttl }
end

--- Looks into the line if it is time. Waits. Called now and then, beside the driver: a task that only sleeps until then
--- would cost 2 kB.
function namesakes.look(candidate)
  local due = candidate.line_look
  if not due or due.is_done or candidate.lunarch.now() < due.at then return end
  due.is_done = true
  look(candidate, due.ttl)
end

--- The candidate begins to run.
function namesakes.enter(candidate)
  local identity = identity_of(candidate)
  running[identity] = (running[identity] or 0) + 1
  if running[identity] == 2 and not candidate.has_shared_name then
    candidate.log.warn("two candidates of this process stand in %s by the name %s: give each a name of its own",
      candidate.election_name, candidate.name)
  end
end

--- It has ended.
function namesakes.leave(candidate)
  local identity = identity_of(candidate)
  local n = running[identity]
  running[identity] = n and n > 1 and n - 1 or nil
end

return namesakes
