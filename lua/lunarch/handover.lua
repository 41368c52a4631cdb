-- Handing a line over: what operators, leaders and candidates write to each other in a key beside the line.
--
-- The request /lunarch:request:switchover:<name> is bound to a lease that nobody renews, so that it ends by itself. Its
-- states, each written only if the request is as it was read:
--
--   asked     by an operator, or by the leader itself (term:hand_over)
--   prepared  by the leader, whose token is `from`: `place` and `rev` are the key and create revision of the candidate
--             that is to lead. Each candidate that stands before it leaves the line and enters it anew, behind it: once
--             for this request
--   ready     by the candidate that is to lead: it is alive, and fit
--   going     by the leader, once nobody stands between the two: only now it steps down
--   refused   by the leader, with the reason: nothing was changed
--
-- The candidate that was to lead deletes the request when it does. The line itself decides who leads, as always: a
-- request is advice. /lunarch:request:pause:<name> says that no candidate is to stand.
local args = require "lunarch.internal.args"
local beside = require "lunarch.internal.beside"
local tame = require "lunarch.internal.tame"

args.is_ours()

local handover = {}

local SWITCHOVER, PAUSE = "request:switchover", "request:pause"
local ASK_S = 5              -- one request to etcd
local WITHIN_S = 30          -- how long a switchover may take, unless it says
local PREPARE_S = 5          -- most of it until the leader knows that it can succeed
local SLACK_S = 2            -- the lease outlives the request by that: its maker ends it itself
local SOON_S, LATER_S = 0.002, 0.1
local MOST_TRIES = 5

--- No request lasts longer, a planned one included: the longest lease.
handover.MOST_S = 86400

--- What all keys of requests begin with.
handover.PREFIX = beside.key "request"

function handover.switchover_key(name) return beside.key(SWITCHOVER, name) end

function handover.pause_key(name) return beside.key(PAUSE, name) end

--- Who has a place of a line, in words.
---@param kv lunarch.kv
---@return string
function handover.who(kv)
  return kv.value ~= "" and kv.value or kv.key
end

-- The same in a message.
local function who(kv) return tame(handover.who(kv)) end

--- A request as its key-value says: fields (strings), and what is needed to write it anew. `id` is no other request's.
function handover.read(kv)
  return {
    key = kv.key, id = kv.create_revision, mod = kv.mod_revision, lease = kv.lease, fields = beside.decode(kv.value),
  }
end

-- ---- writing -----------------------------------------------------------------------------------------------------

-- Writes it if it is as it was read; `also`: a further compare. True, or nil and why.
local function write(client, request, changes, also)
  local fields = {}
  for _, from in ipairs { request.fields, changes } do
    for name, value in pairs(from) do
      fields[name] = value
    end
  end
  local answer, message, code = client:txn({
    compare = { { "mod", request.key, "=", request.mod }, also },
    success = { { "put", request.key, beside.encode(fields), lease = request.lease } },
  }, ASK_S)
  if not answer then return nil, message, code end
  if not answer.succeeded then return nil, "the request has changed", "unknown" end
  request.mod, request.fields = answer.revision, fields
  return true
end

local function delete(client, request)
  return client:txn({
    compare = { { "create", request.key, "=", request.id } }, success = { { "delete", request.key } },
  }, ASK_S)
end

-- The request as it is now; nil: it is over.
local function read_again(client, request)
  local value, kv, code = client:get(request.key, nil, ASK_S)
  if code then return nil, kv, code end
  if not value or kv.create_revision ~= request.id then return nil end
  return handover.read(kv)
end

--- The candidate that is to lead says that it is ready. Waits.
function handover.acknowledge(client, request)
  return write(client, request, { state = "ready" })
end

--- It leads, and the request is over. Waits.
handover.finish = delete

--- The leader says why it does not hand over. Waits.
function handover.refuse(client, request, why)
  for _ = 1, MOST_TRIES do
    local now = read_again(client, request)
    if not now or now.fields.state == "refused" then return end
    if write(client, now, { state = "refused", why = why }) then return end
  end
end

-- ---- the leader --------------------------------------------------------------------------------------------------

--- Which of the places of a line, in their order, is to lead: its index, or nil, message, code.
---@param places lunarch.kv[]
---@param name string the line's
---@param to? string whose place; nil: the next one
function handover.target(places, name, to)
  if not places[1] then return nil, ("nobody leads %s"):format(name), "no_leader" end
  for i, kv in ipairs(places) do
    if to and kv.value == to or not to and i == 2 then return i end
  end
  return nil, ("%s does not stand in %s"):format(to or "nobody else", name):gsub("^nobody else does not stand",
    "nobody else stands"), "refused"
end

--- The places of a line, in their order: or nil, message, code.
function handover.places(client, name)
  local kvs, message, code = client:get(name .. "/", { prefix = true, sort_by = "create", order = "ascend" }, ASK_S)
  if not kvs then return nil, message, code end
  return kvs
end

-- How it stands: whether it can be done now; nil and why it cannot any more; or false and what is waited for.
local function look(client, request, own, target)
  local answer, message = client:txn({ success = {
    { "get", request.key }, { "get", target.key },
    { "get", own.name .. "/", prefix = true, min_create_revision = own.token + 1,
      max_create_revision = target.create_revision - 1, limit = 1 },
  } }, ASK_S)
  if not answer then return false, message end
  local now, there, between = answer.responses[1].kvs[1], answer.responses[2].kvs[1], answer.responses[3].kvs[1]
  if not now or now.create_revision ~= request.id then return nil, "the request was withdrawn, or is too old" end
  if not there or there.create_revision ~= target.create_revision then
    return nil, ("%s has left the line"):format(who(target))
  end
  local known = handover.read(now)
  request.mod, request.fields = known.mod, known.fields
  if known.fields.state == "going" then return true end -- the answer to our writing it was lost
  if between then return false, ("%s stands before %s, and does not step aside"):format(who(between), who(target)) end
  if request.fields.state ~= "ready" then
    return false, ("%s does not answer: it is no candidate of lunarch's, or it is stuck"):format(who(target))
  end
  return true
end

local function prepare(client, request, own)
  local places, message = handover.places(client, own.name)
  if not places then return nil, message end
  local first = places[1]
  if not first or first.key ~= own.key then return nil, "the leader has changed" end
  own.token = first.create_revision
  local index, why = handover.target(places, own.name, request.fields.to)
  if not index then return nil, why end
  local target = places[index]
  if index == 1 then return nil, ("%s leads already"):format(who(target)) end
  local ok
  ok, message = write(client, request, {
    state = "prepared", place = target.key, rev = target.create_revision, from = own.token,
  })
  if not ok then return nil, message end
  return target
end

-- The point of no return: the request is as it was read, and the candidate stands.
local function go(client, request, target)
  return request.fields.state == "going"
    or write(client, request, { state = "going" }, { "create", target.key, "=", target.create_revision })
end

--- The leader's part: true and for whom once it is to step down, or nil and why it is not. Waits, some seconds at most.
---@param request table as of handover.read
---@param own { name: string, key: string, is_over: function } the line, the leader's key, whether it leads no more
function handover.serve(client, request, own)
  local lunarch = require "lunarch"
  local within = beside.number(request.fields.within) or WITHIN_S
  local until_s = lunarch.now() + math.min(PREPARE_S, within / 2)
  local target, why = prepare(client, request, own)
  if not target then return nil, why end
  local pause = SOON_S
  while true do
    if own.is_over() then return nil, "the leader has changed" end
    local is_due
    is_due, why = look(client, request, own, target)
    if is_due and go(client, request, target) then return true, who(target) end
    if is_due == nil or lunarch.now() >= until_s then return nil, why or "etcd does not answer" end
    lunarch.sleep(pause)
    pause = math.min(LATER_S, 2 * pause)
  end
end

-- ---- asking ------------------------------------------------------------------------------------------------------

-- What is there in the way of a further request.
local function taken(name, responses)
  for i, text in ipairs { "a switchover of %s is under way, asked for by %s", "%s is paused, by %s" } do
    local kv = responses[i].kvs[1]
    if kv then return text:format(name, beside.decode(kv.value).by or "another") end
  end
  return ("the requests for %s have just changed: try again"):format(name)
end

-- Puts a request that ends with a lease of its own, where the line has none, or in the place of the pause that was last
-- written at `pause_mod`: in the middle of a switchover a pause would leave nobody. The request, or nil, message, code.
local function put(client, name, key, fields, seconds, pause_mod)
  local switchover_key, pause_key = handover.switchover_key(name), handover.pause_key(name)
  if seconds > handover.MOST_S then
    return nil, ("a request lasts %d s at most"):format(handover.MOST_S), "invalid"
  end
  local granted, message, code = client:lease({ ttl = math.max(1, math.ceil(seconds)) }, ASK_S)
  if not granted then return nil, message, code end
  local lease, answer = granted.id
  answer, message, code = client:txn({
    compare = { { "create", switchover_key, "=", 0 }, { "mod", pause_key, "=", pause_mod or 0 } },
    success = { { "put", key, beside.encode(fields), lease = lease } },
    failure = { { "get", switchover_key }, { "get", pause_key } },
  }, ASK_S)
  if answer and answer.succeeded then
    return { key = key, id = answer.revision, mod = answer.revision, lease = lease, fields = fields }
  end
  client:revoke(lease, ASK_S)
  if not answer then return nil, message, code end
  return nil, taken(name, answer.responses), "refused"
end

--- Asks the leader of `name` to hand it over: a request for handover.await, or nil, message, code. Waits.
---@param options { to?: string, by: string, at?: number, within?: number, token?: integer } whom; who asks; when, in
--- seconds since 1970; how long it may take; only of the leader with this token
function handover.ask(client, name, options)
  local within = options.within or WITHIN_S
  local delay = options.at and math.max(0, options.at - os.time()) or 0
  local fields = {
    state = "asked", to = options.to, by = options.by, at = options.at, within = within, token = options.token,
  }
  local request, message, code = put(client, name, handover.switchover_key(name), fields, within + delay + SLACK_S)
  if not request then return nil, message, code end
  request.name = name
  return request
end

-- Deletes a request, and leaves its lease alone, which may be another's: the fields it had; false: there was none; or
-- nil, message, code.
local function take_away(client, key)
  local value, kv, code = client:get(key, nil, ASK_S)
  if code then return nil, kv, code end
  if not value then return false end
  local request = handover.read(kv)
  local answer, message
  answer, message, code = delete(client, request)
  if not answer then return nil, message, code end
  return request.fields
end

--- Withdraws the request that is beside the line: the fields it had; false: there was none.
function handover.cancel(client, name)
  return take_away(client, handover.switchover_key(name))
end

-- Gives a request up, unless the leader has begun to step down: true then.
local function withdraw(client, request)
  for _ = 1, MOST_TRIES do
    local now = read_again(client, request)
    if not now then return true end
    if now.fields.state == "going" then return false end
    local answer = client:txn({
      compare = { { "mod", now.key, "=", now.mod } }, success = { { "delete", now.key } },
    }, ASK_S)
    if answer and answer.succeeded then return true end
  end
  return true
end

-- Waits until the request is going, or over: its fields, or nil, message, code.
local function await_state(client, request, until_s)
  local lunarch = require "lunarch"
  local watch, message, code = client:watch(request.key, { revision = request.id + 1 })
  if not watch then return nil, message, code end
  local event
  local state = "asked"
  repeat
    event, message, code = watch:next(math.max(0, until_s - lunarch.now()))
    local is_put = event and event.type == "put"
    if is_put then request.fields = beside.decode(event.value) end
    state = is_put and request.fields.state or state
  until not is_put or state == "going" or state == "refused"
  watch:close()
  if state == "going" then return request.fields end
  if state == "refused" then
    delete(client, request)
    return nil, tame(request.fields.why or "refused"), "refused"
  end
  if event then return nil, "the request is over", "cancelled" end
  return nil, message, code
end

local function await_leader(client, request, until_s)
  local lunarch = require "lunarch"
  local observer, message, code = client:observe(request.name)
  if not observer then return nil, message, code end
  local place, from = request.fields.place, beside.number(request.fields.from)
  local leader
  repeat
    leader, message, code = observer:next(math.max(0, until_s - lunarch.now()))
  until not leader or leader.token and leader.token ~= from
  observer:close()
  if not leader then return nil, message, code end
  if leader.key == place then return leader end
  return nil, ("%s was elected instead"):format(who(leader)), "unknown"
end

-- The request is gone before the leader has begun to step down: it was withdrawn, unless the named one leads by now,
-- and has deleted it.
local function leads_all_the_same(client, request)
  local places = request.fields.place and handover.places(client, request.name)
  local first = places and places[1]
  if not first or first.key ~= request.fields.place then return nil, "the request was withdrawn", "cancelled" end
  return { key = first.key, value = first.value, token = first.create_revision }
end

--- Waits until the switchover is done: the new leader, or nil, message, code. What has not begun when its time is over
--- is withdrawn, and changes nothing.
---@param request table as of handover.ask
function handover.await(client, request)
  local until_s = require "lunarch".now() + request.fields.within
  local fields, message, code = await_state(client, request, until_s)
  if code == "cancelled" then return leads_all_the_same(client, request) end
  if not fields then
    if code ~= "timeout" or withdraw(client, request) then
      if code == "timeout" then message = "the leader does not answer: nothing was changed" end
      return nil, message, code
    end
  end
  local leader
  leader, message, code = await_leader(client, request, until_s)
  if leader then
    client:revoke(request.lease, ASK_S)
    return leader
  end
  if code == "timeout" then message = "the leader has not stepped down yet: it has begun to" end
  return nil, message, code
end

--- term:hand_over: nil, message, code where it cannot be done. A candidate's term ends by it, as "handed_over".
function handover.by_term(term, to, within)
  local election = term.election
  local client, name = election.session.client, election.name
  local request, message, code = handover.ask(client, name, { to = to, by = term.value, within = within })
  if not request then return nil, message, code end
  if term._is_driven then
    local leader
    leader, message, code = handover.await(client, request)
    if not leader then return nil, message, code end
    return true
  end
  local ok, why = handover.serve(client, request, {
    name = name, key = term.key, is_over = function() return term.reason ~= nil end,
  })
  if not ok then
    delete(client, request)
    return nil, why, "refused"
  end
  return term:resign()
end

--- What is asked of a line now: { pause = fields, switchover = fields }, each nil where there is none; or nil, message,
--- code. Waits.
function handover.requests(client, name)
  local answer, message, code = client:txn({
    success = { { "get", handover.switchover_key(name) }, { "get", handover.pause_key(name) } },
  }, ASK_S)
  if not answer then return nil, message, code end
  local switchover, pause = answer.responses[1].kvs[1], answer.responses[2].kvs[1]
  return { switchover = switchover and beside.decode(switchover.value), pause = pause and beside.decode(pause.value) }
end

-- ---- pausing -----------------------------------------------------------------------------------------------------

--- Pauses a line for so many seconds, from now on, also where it is paused: true, or nil, message, code. Waits.
---@param options { by: string, seconds: number }
function handover.pause(client, name, options)
  local key = handover.pause_key(name)
  local value, kv, code = client:get(key, nil, ASK_S)
  if code then return nil, kv, code end
  local fields = { by = options.by, seconds = options.seconds }
  return put(client, name, key, fields, options.seconds, value and kv.mod_revision)
end

--- Ends a pause: the fields it had; false: there was none; or nil, message, code. Waits.
function handover.resume(client, name)
  return take_away(client, handover.pause_key(name))
end

return handover
