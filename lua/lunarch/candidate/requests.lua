-- What candidates hear of requests beside their lines (handover.lua), and what they do about them.
--
-- The candidates of a client share one watch, of all keys of requests: there are none as a rule. One of the candidates
-- runs its task; where that one ends, another takes it over. Nothing is read but once at the beginning, and after a
-- loss of the watch.
local args = require "lunarch.internal.args"
local backoff = require "lunarch.candidate.backoff"
local beside = require "lunarch.internal.beside"
local each = require "lunarch.internal.each"
local handover = require "lunarch.handover"
local tasks = require "lunarch.candidate.tasks"

args.is_ours()

local requests = {}

local READ_S = 3
local REFUSED_S = 60
local HOPELESS = { permission_denied = true, unauthenticated = true, invalid = true }
local AT_MOST_S = 60         -- between looks at the clock, which may be set
local MOST_SHOWN_BYTES = 200

-- What others wrote, in a line of the log.
local function shown(text)
  return (text:sub(1, MOST_SHOWN_BYTES):gsub("%c", " "))
end

local function asker(fields) return shown(fields.by or "another") end

local function to_whom(fields) return fields.to and " to " .. shown(fields.to) or "" end

-- ---- what a candidate does ---------------------------------------------------------------------------------------

-- Its own key in the line, by its lease; a second place of the session has a suffix.
local function is_own(candidate, key)
  local place = candidate.place
  return place ~= nil and key ~= nil and (key == place or key:sub(1, #place + 1) == place .. "-")
end

requests.is_own = is_own

local function is_still(candidate, request)
  local kv = candidate.requests.kvs[request.key]
  return kv ~= nil and kv.create_revision == request.id
end

-- Waits until the instant it names, unless the request goes before, or the term: then the task is ended.
local function await_instant(candidate, request)
  local at = beside.number(request.fields.at)
  if at and at > os.time() then
    candidate.log.debug("hands %s over in %.0f s, as %s asked", candidate.election_name, at - os.time(),
      asker(request.fields))
  end
  while at and at > os.time() do
    candidate.lunarch.sleep(math.min(AT_MOST_S, at - os.time()))
  end
  candidate.planned = nil
end

-- Nothing waits for an instant whose request is gone, or whose term is over.
local function end_in_vain(candidate)
  local planned = candidate.planned
  if not planned or planned.term == candidate.term and is_still(candidate, planned.request) then return end
  candidate.planned = nil
  planned.task:interrupt(tasks.STOP)
end

-- What the leader knows while it serves a request; the event `news` is set when anything has changed. One that serves
-- for an earlier term may still be about to end.
local function own_of(candidate, request, term, news)
  local ready_key = handover.ready_key(candidate.election_name)
  return {
    name = candidate.election_name, key = term.key, token = term.token,
    is_over = function() return candidate.term ~= term or candidate.over ~= nil end,
    is_ready = function()
      return is_still(candidate, request) and handover.is_answered(request, candidate.requests.kvs[ready_key])
    end,
    await = function(seconds) news:wait(seconds) end,
  }
end

-- The leader's part.
local function serve(candidate, request)
  local term, fields = candidate.term, request.fields
  await_instant(candidate, request)
  candidate.log.info("asked to hand %s over%s, by %s", candidate.election_name, to_whom(fields), asker(fields))
  local news = candidate.lunarch.event()
  candidate.news = news
  local ok, why -- or for whom
  if fields.token and beside.number(fields.token) ~= term.token then
    why = "the leader has changed"
  else
    ok, why = handover.serve(candidate.client, request, own_of(candidate, request, term, news))
  end
  if candidate.news == news then candidate.news = nil end
  if ok and candidate.term == term then
    candidate:_step_down "handed_over"
    candidate.log.info("hands %s over to %s", candidate.election_name, shown(why))
  elseif not ok then
    candidate.log.warn("does not hand %s over: %s", candidate.election_name, shown(why))
    handover.refuse(candidate.client, request, why)
  end
end

-- A request that is planned is served anew in a later term.
local function is_served(candidate, request)
  return candidate.served == request.id and candidate.served_in == candidate.term
end

local function lead(candidate, request)
  if is_own(candidate, request.fields.place) then
    if candidate.finished ~= request.id then
      candidate.finished = request.id
      candidate.log.debug("leads %s, as %s asked: the request is done", candidate.election_name, asker(request.fields))
      tasks.spawn(candidate, function() handover.finish(candidate.client, request) end)
    end
  elseif request.fields.state == "asked" and not is_served(candidate, request) then
    candidate.served, candidate.served_in = request.id, candidate.term
    candidate.planned = {
      request = request, term = candidate.term, task = tasks.spawn(candidate, serve, request),
    }
  end
end

-- Whether it stands before the place that is to be first. Asks etcd where the request does not say.
local function is_aside(candidate, request)
  local is_said = handover.is_aside(request, function(key) return is_own(candidate, key) end)
  if is_said ~= nil then return is_said end
  local rev = beside.number(request.fields.rev)
  local kvs = candidate.client:get(candidate.place, { prefix = true, keys_only = true }, READ_S)
  for _, kv in ipairs(kvs or {}) do
    if is_own(candidate, kv.key) and rev and kv.create_revision < rev then return true end
  end
  return false
end

-- Leaves the line and enters it anew.
local function step_aside(candidate, request)
  if not is_aside(candidate, request) or candidate.state ~= "standing" then return end
  candidate:_look_anew()
  candidate.log.info("steps aside in %s, as %s asked", candidate.election_name, asker(request.fields))
end

local function acknowledge(candidate, request)
  if handover.acknowledge(candidate.client, request) then return end
  candidate.answered = nil
end

-- The candidate that is to lead answers at once, beside the leader; the others, once both have.
local function stand(candidate, request)
  local state, place = request.fields.state, request.fields.place
  if not place or state ~= "asked" and state ~= "prepared" then return end
  if is_own(candidate, place) then
    if candidate.answered == request.id then return end
    candidate.answered = request.id
    candidate.log.debug("is ready to lead %s, as %s asked", candidate.election_name, asker(request.fields))
    tasks.spawn(candidate, acknowledge, request)
  elseif state == "prepared" and candidate.stepped_aside ~= request.id then
    local kv = candidate.requests.kvs[handover.ready_key(candidate.election_name)]
    if not handover.is_answered(request, kv) then return end
    candidate.stepped_aside = request.id
    tasks.spawn(candidate, step_aside, request)
  end
end

local function heed_pause(candidate)
  local kv = candidate.requests.kvs[handover.pause_key(candidate.election_name)]
  local before = candidate.line_pause
  candidate.line_pause = kv and ("it is paused by %s"):format(asker(beside.decode(kv.value))) or nil
  if candidate.line_pause == before then return end
  if candidate.state == "leading" then
    candidate.log.info("leads on in %s: %s", candidate.election_name, candidate.line_pause or "it is paused no more")
  end
  if candidate.state == "standing" or candidate.state == "unfit" then candidate:_look_anew() end
end

-- At debug: what is asked for, whenever that changes.
local function show(candidate, kv)
  local seen = kv and kv.mod_revision
  if candidate.request_seen == seen then return end
  candidate.request_seen = seen
  if not kv then
    return candidate.log.debug("no switchover of %s is asked for any more", candidate.election_name)
  end
  local fields = beside.decode(kv.value)
  candidate.log.debug("a switchover of %s%s, asked for by %s: %s", candidate.election_name,
    to_whom(fields), asker(fields), shown(fields.state or "?"))
end

--- To be called when a request has changed, when on_elected begins, and when a term is over.
function requests.look(candidate)
  local hub = candidate.requests
  if not hub then return end
  end_in_vain(candidate)
  if not hub.is_known or candidate.stopping then return end
  heed_pause(candidate)
  local kv = hub.kvs[handover.switchover_key(candidate.election_name)]
  show(candidate, kv)
  if candidate.news then candidate.news:set() end
  if not kv then return end
  local request = handover.read(candidate.election_name, kv)
  if candidate.state == "leading" then
    if candidate.is_entered and not candidate.over then lead(candidate, request) end
  elseif candidate.state == "standing" then
    stand(candidate, request)
  end
end

-- ---- hearing -----------------------------------------------------------------------------------------------------

local function tell(hub, key)
  for candidate in each(hub.members) do
    local name = candidate.election_name
    if not key or key == handover.switchover_key(name) or key == handover.ready_key(name)
      or key == handover.pause_key(name) then
      requests.look(candidate)
    end
    if candidate.awaits_requests then candidate:_look_anew() end
  end
end

local function read(hub)
  local kvs, info, code = hub.client:get(handover.PREFIX, { prefix = true }, READ_S)
  hub.is_known = true
  if not kvs then
    tell(hub)
    return nil, info, code
  end
  hub.kvs = {}
  for _, kv in ipairs(kvs) do
    hub.kvs[kv.key] = kv
  end
  tell(hub)
  return info.revision
end

local function take(hub, event)
  local before = hub.kvs[event.key]
  if event.type == "delete" then
    hub.kvs[event.key] = nil
  else
    hub.kvs[event.key] = {
      key = event.key, value = event.value, lease = event.lease, mod_revision = event.revision,
      create_revision = event.create_revision or before and before.create_revision,
    }
  end
  tell(hub, event.key)
end

local function follow(hub, revision)
  local watch, message, code = hub.client:watch(handover.PREFIX, { prefix = true, revision = revision + 1 })
  if not watch then return message, code end
  hub.watch = watch
  while true do
    local event
    event, message, code = watch:next()
    if not event then break end
    take(hub, event)
  end
  watch:close()
  return message, code
end

local function hear(candidate, hub)
  local pauses = backoff.new("connect", candidate.options.backoff)
  while true do
    local revision, message, code = read(hub)
    if revision then
      pauses:reset()
      message, code = follow(hub, revision)
    end
    if code == "closed" then return end
    if HOPELESS[code] and not hub.is_refused then
      hub.is_refused = true
      candidate.log.info("hears no requests (switchover, pause): %s", message)
    end
    if code ~= "compacted" then candidate.lunarch.sleep(HOPELESS[code] and REFUSED_S or pauses:next()) end
  end
end

local function start(candidate, hub)
  hub.owner = candidate
  hub.task = tasks.keep(candidate, hear, hub)
end

--- The candidate begins to run.
function requests.enter(candidate)
  local client = candidate.client
  local hub = client._requests
  if not hub then
    hub = { client = client, members = {}, kvs = {} }
    client._requests = hub
  end
  hub.members[candidate] = true
  candidate.requests = hub
  if not hub.owner then start(candidate, hub) end
end

--- It has ended.
function requests.leave(candidate)
  local hub = candidate.requests
  if not hub then return end
  hub.members[candidate] = nil
  if hub.owner ~= candidate then return end
  tasks.dismiss(hub.task)
  if hub.watch then hub.watch:close() end
  hub.owner, hub.task, hub.watch, hub.is_known = nil, nil, nil, nil
  local another = next(hub.members)
  if another then start(another, hub) end
end

--- Waits until it is known what is asked for, as a rule not at all; for the driver, elected, before it leads: in a line
--- that is paused it does not.
function requests.await(candidate)
  candidate.awaits_requests = true
  while candidate.requests and not candidate.requests.is_known and not candidate.stopping do
    candidate:_sleep(READ_S)
  end
  candidate.awaits_requests = false
end

return requests
