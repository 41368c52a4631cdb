-- Objects of Lunarch as sentences: what they are, and what happens to them unless etcd answers.
local core = require "lunarch.core"

require "lunarch.internal.args".is_ours()

local describe = {}

local function seconds_to(instant)
  return math.max(0, instant - core.now())
end

--- "told to stop in 3.6 s, lost in 4.4 s if etcd stays silent", or nil where there are no instants.
---@param it { stop_at: number?, valid_until: number? }
---@return string?
function describe.instants(it)
  local stop_at, valid_until = it.stop_at, it.valid_until
  if not valid_until then return nil end
  if not stop_at or seconds_to(stop_at) == 0 then
    return ("told to stop; lost in %.1f s"):format(seconds_to(valid_until))
  end
  return ("told to stop in %.1f s, lost in %.1f s if etcd stays silent"):format(seconds_to(stop_at),
    seconds_to(valid_until))
end

local sentences = {}

function sentences.session(session)
  local state, reason = session:state()
  if state == "lost" or state == "closed" then
    return ("session %s: %s%s"):format(session.lease, state, reason and reason ~= "closed" and ", " .. reason or "")
  end
  return ("session %s: %s, TTL %d s; %s"):format(session.lease, state, session.ttl, describe.instants(session))
end

function sentences.mutex(mutex)
  local token = mutex.token
  if not token then return ("lock %s: not held"):format(mutex.name) end
  if not mutex:is_held() then return ("lock %s: lost (it had token %d)"):format(mutex.name, token) end
  return ("lock %s: held, token %d; %s"):format(mutex.name, token,
    describe.instants { stop_at = mutex.stop_at, valid_until = mutex.session.valid_until })
end

function sentences.term(term)
  if term.reason then
    return ("term of %s in %s: over (%s), token %d"):format(term.value, term.election.name, term.reason, term.token)
  end
  return ("term of %s in %s: leads, token %d; %s"):format(term.value, term.election.name, term.token,
    describe.instants(term))
end

function sentences.election(election)
  return ("election %s"):format(election.name)
end

function sentences.client(client)
  return (tostring(client):gsub("^lunarch%.client: ", "client of etcd at "))
end

--- The sentence of an object of Lunarch's, or nil.
---@param value any
---@return string?
function describe.object(value)
  local meta = type(value) == "table" and getmetatable(value)
  local name = type(meta) == "table" and rawget(meta, "__name")
  local class = type(name) == "string" and name:match "^lunarch%.(%w+)$"
  local sentence = class and sentences[class]
  if not sentence then return nil end
  local ok, text = pcall(sentence, value)
  return ok and text or nil
end

return describe
