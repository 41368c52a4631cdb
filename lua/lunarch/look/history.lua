-- Who held a line when, from etcd's own history: as far back as it is not compacted. etcd keeps the order of changes
-- (revisions) and no times; those come from logs, or from what was seen here (lunarch.look.recollect).
local args = require "lunarch.internal.args"
local place = require "lunarch.look.place"

args.is_ours()

local history = {}

-- Old events come from a loop of 100 ms; once all is there that etcd has now, so long nothing more is awaited.
local SETTLED_S, EVENT_S = 0.35, 5

---@class lunarch.look.Term
---@field who string
---@field token integer
---@field lease? string
---@field entered? integer the revision at which its place came into the line; nil: before the history begins
---@field began integer the revision at which it held the line
---@field ended? integer the revision at which its place went; nil: it still holds
---@field how_began string
---@field how_ended string

-- ---- reading -----------------------------------------------------------------------------------------------------

local function state_of(kvs)
  local state = {}
  for _, kv in ipairs(kvs) do
    state[kv.key] = kv
  end
  return state
end

local function is_same(state, wanted)
  for key, kv in pairs(wanted) do
    if not state[key] or state[key].create_revision ~= kv.create_revision then return false end
  end
  for key in pairs(state) do
    if not wanted[key] then return false end
  end
  return true
end

local function apply(state, event)
  if event.type == "delete" then
    state[event.key] = nil
    return
  end
  state[event.key] = {
    key = event.key, value = event.value, lease = event.lease, create_revision = event.create_revision,
  }
end

-- The events from `from` on, and whether they are all that etcd has.
local function read_events(client, prefix, state, wanted, revision, from)
  local watch, message, code = client:watch(prefix, { prefix = true, revision = from })
  if not watch then return nil, message, code end
  local events = {}
  while true do
    local event
    event, message, code = watch:next(is_same(state, wanted) and SETTLED_S or EVENT_S)
    if not event or event.revision > revision then break end
    events[#events + 1] = event
    apply(state, event)
  end
  watch:close()
  if code and code ~= "timeout" then return nil, message, code end
  return events
end

local function compacted_at(message)
  return math.tointeger(tonumber(message:match "below (%d+)" or message:match "up to (%d+)"))
end

-- The places at the beginning of the history, its events, and the revision from which on it is known.
local function read(client, name, timeout)
  local prefix = name .. "/"
  local kvs, info, code = client:get(prefix, { prefix = true }, timeout)
  if not kvs then return nil, info, code end
  local wanted, revision = state_of(kvs), info.revision
  local first, from = {}, 1
  for _ = 1, 3 do
    local events, message
    events, message, code = read_events(client, prefix, state_of(first), wanted, revision, from)
    if events then return { first = first, events = events, from = from, revision = revision } end
    local at = code == "compacted" and compacted_at(message)
    if not at then return nil, message, code end
    first, info, code = client:get(prefix, { prefix = true, revision = at }, timeout)
    if not first then return nil, info, code end
    from = at + 1
  end
  return nil, "etcd is being compacted faster than it can be read", "compacted"
end

-- ---- terms -------------------------------------------------------------------------------------------------------

local function new_place(kv, name, entered)
  local found = place.read(kv, name)
  found.entered = entered
  return found
end

local function how_began(before)
  if not before then return "the line was empty" end
  return ("%s's place was gone"):format(before.who)
end

-- After each revision the line has one holder.
local function follow(terms, places, revision, before)
  local holder = place.first_of(places)
  local current = terms[#terms]
  if current and not current.ended then
    if holder and holder.key == current.key and holder.token == current.token then return end
    current.ended = revision
  end
  if not holder then return end
  terms[#terms + 1] = {
    who = holder.who, token = holder.token, lease = holder.lease, key = holder.key, kind = holder.kind,
    entered = holder.entered, began = revision,
    how_began = how_began(current and current.ended == revision and before or nil),
  }
end

local function terms_of(found, name)
  local places, terms = {}, {}
  for _, kv in ipairs(found.first) do
    places[kv.key] = new_place(kv, name)
  end
  if next(places) then
    follow(terms, places, found.from - 1)
    terms[1].how_began, terms[1].is_older = "before the history begins", true
  end
  for _, event in ipairs(found.events) do
    local before = terms[#terms]
    if event.type == "delete" then
      places[event.key] = nil
    else
      local known = places[event.key]
      places[event.key] = new_place(event, name, known and known.entered or event.revision)
    end
    follow(terms, places, event.revision, before)
  end
  return terms
end

-- A lease that lives was not what ended the term.
local function judge_ends(client, terms, timeout)
  local lives = {}
  for i, term in ipairs(terms) do
    if not term.ended then
      term.how_ended = term.kind == "lock" and "holds it" or "leads"
    elseif not term.lease then
      term.how_ended = "the key was deleted"
    else
      if lives[term.lease] == nil then lives[term.lease] = client:ttl(term.lease, timeout) ~= nil end
      local again = terms[i + 1] and terms[i + 1].lease == term.lease
      term.how_ended = (lives[term.lease] or again) and "given up, its session goes on"
        or "given up, or its lease ended (expired or revoked)"
    end
  end
end

--- The terms of a line, in order: { terms =, from = the first revision that is known, revision = of now, is_compacted
--- = }; or nil, message, code. Waits.
---@param client lunarch.client
---@param name string
---@param timeout? number for each request
function history.read(client, name, timeout)
  local found, message, code = read(client, name, timeout)
  if not found then return nil, message, code end
  local terms = terms_of(found, name)
  judge_ends(client, terms, timeout)
  return {
    terms = terms, from = math.min(found.from, found.revision), revision = found.revision,
    is_compacted = found.from > 1,
  }
end

return history
