-- Handing a line over: what operators, leaders and candidates write to each other in keys beside the line.
--
-- The request /lunarch:request:switchover:<name> is bound to a lease that nobody renews, so that it ends by itself. Its
-- states, each written only if the request is as it was read:
--
--   asked     by an operator, or by the leader itself (term:hand_over). `place` and `rev` are the key and create
--             revision of the candidate that is to lead, `aside` the places before it; not where it is planned
--   prepared  by the leader, whose token is `from`: it steps down once the candidate that is to lead has answered, and
--             nobody stands between the two. From here on only the leader, or --cancel, takes the request back
--   refused   by the leader, with the reason: nothing was changed
--
-- While the leader writes that it is prepared, the candidate that is to lead answers beside it, in the key
-- /lunarch:request:ready:<name>: it is alive, and fit. Once both are there, each candidate that stands before it leaves
-- the line and enters it anew, behind it: once for this request. So two writes, one after the other, come before the
-- leader steps down for the next one: the request, and what the two answer at the same time.
--
-- That nobody stands between two places stays true once it is: places come at the end of a line. The candidate that was
-- to lead deletes the request when it does. The line itself decides who leads, as always: a request is advice.
-- /lunarch:request:pause:<name> says that no candidate is to stand.
local args = require "lunarch.internal.args"
local beside = require "lunarch.internal.beside"
local tame = require "lunarch.internal.tame"
local values = require "lunarch.internal.values"

args.is_ours()

local handover = {}

local SWITCHOVER, READY, PAUSE = "request:switchover", "request:ready", "request:pause"
local ASK_S = 5              -- one request to etcd
local WITHIN_S = 30          -- how long a switchover may take, unless it says
local PREPARE_S = 5          -- most of it until the leader knows that it can succeed
local SLACK_S = 2            -- the lease outlives the request by that: its maker ends it itself
local SOON_S, LATER_S = 0.0005, 0.1
local LOOK_S = 0.5           -- between looks at who leads, once the leader is prepared
local MOST_TRIES = 5
local MOST_ASIDE = 50        -- of more places that stand before the named one each looks for itself

--- No request lasts longer, a planned one included: the longest lease.
handover.MOST_S = 86400

--- What all keys of requests begin with.
handover.PREFIX = beside.key "request"

function handover.switchover_key(name) return beside.key(SWITCHOVER, name) end

--- Where the candidate that is to lead answers.
function handover.ready_key(name) return beside.key(READY, name) end

function handover.pause_key(name) return beside.key(PAUSE, name) end

--- Who has a place of a line, in words.
---@param kv lunarch.kv
---@return string
function handover.who(kv)
  return kv.value ~= "" and kv.value or kv.key
end

-- The same in a message.
local function who(kv) return tame(handover.who(kv)) end

--- A request for the line `name` as its key-value says: fields, all of them strings, and what is needed to write it
--- anew. `id` is no other request's.
function handover.read(name, kv)
  return {
    name = name, key = kv.key, id = kv.create_revision, mod = kv.mod_revision, lease = kv.lease,
    fields = beside.decode(kv.value),
  }
end

-- ---- writing -----------------------------------------------------------------------------------------------------

-- Its fields with these changes.
local function changed(request, changes)
  local fields = {}
  for _, from in ipairs { request.fields, changes } do
    for name, value in pairs(from) do
      fields[name] = value
    end
  end
  return fields
end

-- Deletes it, and what was answered to it, if the compare holds.
local function delete_if(client, request, compare)
  local success = { { "delete", request.key } }
  if request.key ~= handover.pause_key(request.name) then
    success[2] = { "delete", handover.ready_key(request.name) }
  end
  return client:txn({ compare = { compare }, success = success }, ASK_S)
end

local function delete(client, request)
  return delete_if(client, request, { "create", request.key, "=", request.id })
end

-- The request as it is now; nil: it is over.
local function read_again(client, request)
  local value, kv, code = client:get(request.key, nil, ASK_S)
  if code then return nil, kv, code end
  if not value or kv.create_revision ~= request.id then return nil end
  return handover.read(request.name, kv)
end

--- The candidate that is to lead answers: it is alive, and fit. Waits; true once etcd has it.
function handover.acknowledge(client, request)
  local fields = request.fields
  local answer = client:txn({
    compare = {
      { "create", request.key, "=", request.id },
      { "create", fields.place, "=", beside.number(fields.rev) or 0 },
    },
    success = {
      { "put", handover.ready_key(request.name), beside.encode { id = request.id }, lease = request.lease },
    },
  }, ASK_S)
  return answer ~= nil and answer.succeeded
end

--- Whether that is what a key-value says, or nil, of this request.
function handover.is_answered(request, kv)
  return kv ~= nil and beside.number(beside.decode(kv.value).id) == request.id
end

--- It leads, and the request is over. Waits.
handover.finish = delete

--- The leader says why it does not hand over. Waits.
function handover.refuse(client, request, why)
  for _ = 1, MOST_TRIES do
    local now = read_again(client, request)
    if not now or now.fields.state == "refused" then return end
    local answer = client:txn({
      compare = { { "mod", now.key, "=", now.mod } },
      success = {
        { "put", now.key, beside.encode(changed(now, { state = "refused", why = why })), lease = now.lease },
      },
    }, ASK_S)
    if answer and answer.succeeded then return end
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

--- The places of a line, in their order, now or at a revision: or nil, message, code.
function handover.places(client, name, revision)
  local kvs, message, code = client:get(name .. "/", {
    prefix = true, sort_by = "create", order = "ascend", revision = revision,
  }, ASK_S)
  if not kvs then return nil, message, code end
  return kvs
end

-- The places between the two that are to change, as an operation of a transaction.
local function between(own, rev)
  return {
    "get", own.name .. "/", prefix = true, limit = 1,
    min_create_revision = own.token + 1, max_create_revision = rev - 1,
  }
end

-- Says in the request which of the places is to lead.
local function name_place(fields, name, places, index)
  fields.place, fields.rev = places[index].key, places[index].create_revision
  if index - 2 > MOST_ASIDE then return end
  local keys = {}
  for i = 2, index - 1 do
    keys[#keys + 1] = places[i].key:sub(#name + 2)
  end
  fields.aside = table.concat(keys, ",")
end

--- Whether a place for which is_own(key) holds stands before the one that is to lead; nil: that is not said.
---@param is_own fun(key: string): boolean
function handover.is_aside(request, is_own)
  if not request.fields.aside then return nil end
  for tail in request.fields.aside:gmatch "[^,]+" do
    if is_own(request.name .. "/" .. tail) then return true end
  end
  return false
end

-- Which candidate is to lead, where the request does not say it yet: its fields, or nil and why not.
local function choose(client, request, own)
  if request.fields.place then return changed(request, {}) end
  local places, message = handover.places(client, own.name)
  if not places then return nil, message end
  if not places[1] or places[1].key ~= own.key then return nil, "the leader has changed" end
  local index, why = handover.target(places, own.name, request.fields.to)
  if not index then return nil, why end
  local fields = changed(request, {})
  name_place(fields, own.name, places, index)
  return fields
end

local function called(fields)
  return fields.to and tame(fields.to) or "the next one"
end

-- Why the leader cannot be prepared, from what is there instead.
local function why_not(request, fields, responses)
  local now, there = responses[1].kvs[1], responses[2].kvs[1]
  if not now or now.create_revision ~= request.id then return "the request was withdrawn, or is too old" end
  if not there or tostring(there.create_revision) ~= tostring(fields.rev) then
    return ("%s has left the line"):format(called(fields))
  end
  return "the request has changed"
end

-- The leader commits itself: whether others stand between, or nil and why it does not.
local function prepare(client, request, own)
  local fields, why = choose(client, request, own)
  if not fields then return nil, why end
  local rev = beside.number(fields.rev)
  if fields.place == own.key then return nil, ("%s leads already"):format(called(fields)) end
  if not rev or rev <= own.token then return nil, "the request cannot be read" end
  fields.state, fields.from = "prepared", own.token
  local answer, message = client:txn({
    compare = { { "mod", request.key, "=", request.mod }, { "create", fields.place, "=", rev } },
    success = { { "put", request.key, beside.encode(fields), lease = request.lease }, between(own, rev) },
    failure = { { "get", request.key }, { "get", fields.place } },
  }, ASK_S)
  if not answer then return nil, message end
  if not answer.succeeded then return nil, why_not(request, fields, answer.responses) end
  request.mod, request.fields = answer.revision, fields
  return answer.responses[2].kvs[1] ~= nil
end

-- How it stands: whether all is done that the leader waits for; nil and why that cannot come any more; or false and
-- what is missing, and whether others still stand between.
local function look(client, request, own)
  local fields = request.fields
  local answer, message = client:txn({ success = {
    { "get", request.key }, { "get", handover.ready_key(own.name) }, { "get", fields.place },
    between(own, beside.number(fields.rev)),
  } }, ASK_S)
  if not answer then return false, message, true end
  local now, ready = answer.responses[1].kvs[1], answer.responses[2].kvs[1]
  local there, in_between = answer.responses[3].kvs[1], answer.responses[4].kvs[1]
  if not now or now.create_revision ~= request.id then return nil, "the request was withdrawn, or is too old" end
  if not there or there.create_revision ~= beside.number(fields.rev) then
    return nil, ("%s has left the line"):format(called(fields))
  end
  if not handover.is_answered(request, ready) then
    return false, ("%s does not answer: it is no candidate of lunarch's, or it is stuck"):format(who(there)),
      in_between ~= nil
  end
  if in_between then
    return false, ("%s stands before %s, and does not step aside"):format(who(in_between), who(there)), true
  end
  return true
end

--- The leader's part: true and for whom once it is to step down, or nil and why it is not. Waits, some seconds at most.
---@param request table as of handover.read
---@param own { name: string, key: string, token: integer, is_over: (fun(): boolean), is_ready?: (fun(): boolean),
--- await?: fun(seconds: number) } the line, the leader's key and token, and whether it leads no more; whether the one
--- that is to lead has answered, as far as is known without asking etcd, and a wait that such news ends
function handover.serve(client, request, own)
  local lunarch = require "lunarch"
  local until_s = lunarch.now() + math.min(PREPARE_S, (beside.number(request.fields.within) or WITHIN_S) / 2)
  local is_held, why = prepare(client, request, own)
  if is_held == nil then return nil, why or "etcd does not answer" end
  local function is_ready() return own.is_ready ~= nil and own.is_ready() end
  local is_due, pause = false, SOON_S
  while true do
    if own.is_over() then return nil, "the leader has changed" end
    if lunarch.now() >= until_s then return nil, why or "etcd does not answer" end
    if is_due or not is_held and is_ready() then return true, called(request.fields) end
    if own.await and not is_ready() then
      own.await(LATER_S)
    else
      lunarch.sleep(pause)
      pause = math.min(LATER_S, 1.5 * pause)
    end
    if is_held or not is_ready() then
      local is_held_yet
      is_due, why, is_held_yet = look(client, request, own)
      if is_due == nil then return nil, why end
      is_held = is_held and is_held_yet
    end
  end
end

-- ---- asking ------------------------------------------------------------------------------------------------------

-- What is there in the way of a further request.
local function taken(name, responses)
  for i, text in ipairs { "a switchover of %s is under way, asked for by %s", "%s is paused, by %s" } do
    local kv = responses[i].kvs[1]
    if kv then return text:format(name, beside.decode(kv.value).by or "another") end
  end
  return ("the requests for %s, or its candidates, have just changed: try again"):format(name)
end

-- Deletes a request that was refused, which nobody needs any more: its maker has ended. True where there was one.
local function clear_refused(client, name, responses)
  local kv = responses[1].kvs[1]
  if not kv or beside.decode(kv.value).state ~= "refused" then return false end
  local answer = delete(client, handover.read(name, kv))
  return answer ~= nil and answer.succeeded
end

-- Puts a request that ends with a lease of its own, where the line has none, or in the place of the pause that was last
-- written at `pause_mod`: in the middle of a switchover a pause would leave nobody. `also`: further compares. The
-- request, or nil, message, code.
local function put(client, name, key, fields, seconds, pause_mod, also)
  local switchover_key, pause_key = handover.switchover_key(name), handover.pause_key(name)
  if seconds > handover.MOST_S then
    return nil, ("a request lasts %d s at most"):format(handover.MOST_S), "invalid"
  end
  local granted, message, code = client:lease({ ttl = math.max(1, math.ceil(seconds)) }, ASK_S)
  if not granted then return nil, message, code end
  local lease, answer = granted.id
  local compare = { { "create", switchover_key, "=", 0 }, { "mod", pause_key, "=", pause_mod or 0 } }
  for _, one in ipairs(also or {}) do
    compare[#compare + 1] = one
  end
  repeat
    answer, message, code = client:txn({
      compare = compare,
      success = { { "put", key, beside.encode(fields), lease = lease } },
      failure = { { "get", switchover_key }, { "get", pause_key } },
    }, ASK_S)
  until not answer or answer.succeeded or not clear_refused(client, name, answer.responses)
  if answer and answer.succeeded then
    return { name = name, key = key, id = answer.revision, mod = answer.revision, lease = lease, fields = fields }
  end
  client:revoke(lease, ASK_S)
  if not answer then return nil, message, code end
  return nil, taken(name, answer.responses), "refused"
end

-- Names the candidate that is to lead in the fields of a request: what has to hold when it is put, or nil, message,
-- code.
local function choose_now(client, name, fields, places)
  local message, code
  if not places then
    places, message, code = handover.places(client, name)
    if not places then return nil, message, code end
  end
  local index
  index, message, code = handover.target(places, name, fields.to)
  if not index then return nil, message, code end
  if index == 1 then return nil, ("%s leads already"):format(who(places[1])), "refused" end
  name_place(fields, name, places, index)
  fields.token = fields.token or places[1].create_revision
  return {
    { "create", places[1].key, "=", fields.token }, { "create", fields.place, "=", fields.rev },
  }
end

--- Asks the leader of `name` to hand it over: a request for handover.await, or nil, message, code. Waits.
---@param options { to?: string, by: string, at?: number, within?: number, token?: integer, places?: lunarch.kv[] }
--- whom; who asks; when, in seconds since 1970; how long it may take; only of the leader with this token; the places of
--- the line, where they are known
function handover.ask(client, name, options)
  local within = options.within or WITHIN_S
  local delay = options.at and math.max(0, options.at - os.time()) or 0
  local fields = {
    state = "asked", to = options.to, by = options.by, at = options.at, within = within, token = options.token,
  }
  local also, message, code
  if not options.at then
    also, message, code = choose_now(client, name, fields, options.places)
    if not also then return nil, message, code end
  end
  return put(client, name, handover.switchover_key(name), fields, within + delay + SLACK_S, nil, also)
end

-- Deletes a request, and leaves its lease alone, which may be another's: the fields it had; false: there was none; or
-- nil, message, code.
local function take_away(client, name, key)
  local value, kv, code = client:get(key, nil, ASK_S)
  if code then return nil, kv, code end
  if not value then return false end
  local request = handover.read(name, kv)
  local answer, message
  answer, message, code = delete(client, request)
  if not answer then return nil, message, code end
  return request.fields
end

--- Withdraws the request that is beside the line: the fields it had; false: there was none.
function handover.cancel(client, name)
  return take_away(client, name, handover.switchover_key(name))
end

-- Gives a request up, unless the leader is prepared: false then.
local function withdraw(client, request)
  for _ = 1, MOST_TRIES do
    local now = read_again(client, request)
    if not now or now.fields.state == "refused" then break end
    if now.fields.state == "prepared" then return false end
    local answer = delete_if(client, now, { "mod", now.key, "=", now.mod })
    if answer and answer.succeeded then break end
  end
  return true
end

-- Whether another leads than did, when the request was deleted, or now: the new leader; nil, message, "unknown" where
-- it is not the one that was to; false while nothing has changed, as far as etcd answers.
local function outcome(client, request, revision)
  local places = handover.places(client, request.name, revision)
  local first, fields = places and places[1], request.fields
  if not first then return false end
  if first.key == fields.place and first.create_revision == beside.number(fields.rev) then
    return setmetatable({ key = first.key, value = first.value, token = first.create_revision }, values.leader)
  end
  if first.create_revision == beside.number(fields.token) then return false end
  return nil, ("%s was elected instead"):format(who(first)), "unknown"
end

-- The time of a request is over.
local function give_up(client, request)
  if withdraw(client, request) then return nil, "the leader does not answer: nothing was changed", "timeout" end
  return nil, "the leader has not stepped down yet: it has begun to", "timeout"
end

-- Waits until the request is over, by the words of its watch: as handover.await.
local function await_end(client, request, watch, until_s)
  local lunarch = require "lunarch"
  while true do
    local event, message, code = watch:next(math.max(0, math.min(LOOK_S, until_s - lunarch.now())))
    if not event and code ~= "timeout" then return nil, message, code end
    local is_news = event and event.revision > request.id
    -- A put of another request: ours has ended, and we have not seen how.
    if is_news and event.type == "put" and event.create_revision == request.id then
      request.fields = beside.decode(event.value)
      if request.fields.state == "refused" then
        delete(client, request)
        return nil, tame(request.fields.why or "refused"), "refused"
      end
    elseif is_news or not event then
      local leader, why, kind = outcome(client, request, event and event.revision)
      if leader or leader == nil then return leader, why, kind end
      if event then return nil, "the request was withdrawn", "cancelled" end
      if lunarch.now() >= until_s then return give_up(client, request) end
    end
  end
end

--- Waits until the switchover is done: the new leader, or nil, message, code. What has not begun when its time is over
--- is withdrawn, and changes nothing.
---@param request table as of handover.ask
---@param watch? lunarch.watch of its key, opened before it was put: it is closed
function handover.await(client, request, watch)
  local until_s = require "lunarch".now() + request.fields.within
  local leader, message, code
  if not watch then
    watch, message, code = client:watch(request.key, { revision = request.id + 1 })
    if not watch then return nil, message, code end
  end
  leader, message, code = await_end(client, request, watch, until_s)
  watch:close()
  if not leader then return nil, message, code end
  client:revoke(request.lease, ASK_S)
  return leader
end

--- Asks, and waits: the new leader, or nil, message, code. The options as of handover.ask.
function handover.switch_over(client, name, options)
  local request
  local watch, message, code = client:watch(handover.switchover_key(name))
  if not watch then return nil, message, code end
  request, message, code = handover.ask(client, name, options)
  if request then return handover.await(client, request, watch) end
  watch:close()
  return nil, message, code
end

--- term:hand_over: nil, message, code where it cannot be done. A candidate's term ends by it, as "handed_over".
function handover.by_term(term, to, within)
  local election = term.election
  local client, name = election.session.client, election.name
  local options = { to = to, by = term.value, within = within, token = term.token }
  if term._is_driven then
    local leader, message, code = handover.switch_over(client, name, options)
    if not leader then return nil, message, code end
    return true
  end
  local request, message, code = handover.ask(client, name, options)
  if not request then return nil, message, code end
  local ok, why = handover.serve(client, request, {
    name = name, key = term.key, token = term.token, is_over = function() return term.reason ~= nil end,
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
  return take_away(client, name, handover.pause_key(name))
end

return handover
