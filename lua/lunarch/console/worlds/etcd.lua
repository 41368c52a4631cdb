-- What the two worlds on a real etcd share: a cluster of others (cluster.lua) and a private one (dev.lua).
--
-- Reading is free. What is held or stood for here belongs to one session, which is opened when it is first needed.
local args = require "lunarch.internal.args"
local etcd = require "lunarch.cli.common.etcd"
local host = require "lunarch.host"
local asking = require "lunarch.console.asking"
local lazy = require "lunarch.console.lazy"
local lunarch = require "lunarch"
local await = require "lunarch.lab.await"
local check_seconds = require "lunarch.lab.seconds"

args.is_ours()

local candidates, columns = lazy "lunarch.console.candidate", lazy "lunarch.look.columns"
local follow, histories, look = lazy "lunarch.look.follow", lazy "lunarch.look.history", lazy "lunarch.look"

local worlds = {}

local LOOK_S = 5
local SILENCE_S = 2
local SESSION_S = 5
local STOP_S = 12
-- Of a timeline: what comes later is printed and not drawn.
local MOST_EVENTS = 10000

-- ---- events -----------------------------------------------------------------------------------------------------

local function emit(world, event)
  event.at = event.at or world.now()
  if world.story and #world.story < MOST_EVENTS then world.story[#world.story + 1] = event end
  for _, fn in ipairs(world.listeners) do
    fn(event)
  end
end

local Said = { __name = "lunarch.console.said" }

function Said.__tostring(said)
  return table.concat(said, "\n")
end

-- ---- the session ------------------------------------------------------------------------------------------------

local function is_alive(session)
  if not session then return false end
  local state = session:state()
  return state == "alive" or state == "jeopardy"
end

local function watch_session(world, session)
  local state = "alive"
  while true do
    state = session:await(state)
    if state == "jeopardy" then
      emit(world, { what = "jeopardy", who = "session", level = "warn",
        text = ("jeopardy: etcd silent for half a TTL, safe for %.1f s"):format(session:remaining()) })
    elseif state == "alive" then
      emit(world, { what = "safe", who = "session", text = "safe: etcd answers again" })
    else
      local _, reason = session:state()
      if state == "lost" then
        emit(world, { what = "lost", who = "session", level = "error", text = ("lost (%s)"):format(reason) })
      end
      return
    end
  end
end

local function session_of(world)
  if is_alive(world.open_session) then return world.open_session end
  local session, message, code = world.client:session({ ttl = world.ttl }, SESSION_S)
  if not session then return nil, message, code end
  world.open_session = session
  lunarch.spawn(watch_session, world, session)
  return session
end

-- ---- looking ----------------------------------------------------------------------------------------------------

local function lines_of(world, call, prefix, kind, name)
  if prefix ~= nil then args.string(call, "prefix", prefix) end
  local lines, message, code = look.lines(world.client, prefix, LOOK_S)
  if not lines then return nil, message, code end
  local rows = {}
  for _, line in ipairs(lines) do
    if line.kind == kind then rows[#rows + 1] = line end
  end
  return columns.rows(name, rows)
end

local function time_of_day(at)
  return at and os.date("%H:%M:%S", math.floor(at)) or nil
end

local looking = {}

function looking.elections(world, prefix)
  return lines_of(world, "elections", prefix, "election", "elections")
end

function looking.locks(world, prefix)
  return lines_of(world, "locks", prefix, "lock", "locks")
end

-- When a place came is known of the lines that are followed.
local function add_since(world, name, places)
  local follower = world.followed[name]
  for _, place in ipairs(places) do
    local known = follower and follower.places[place.key]
    if known and known.token == place.token then place.since = time_of_day(known.since) end
  end
end

function looking.line(world, name)
  args.name("line", "name", name)
  local places, message, code = look.line(world.client, name, LOOK_S)
  if not places then return nil, message, code end
  add_since(world, name, places)
  return columns.rows("line", places)
end

-- What was seen here of a term, by its token: when it began, and how it ended.
local function add_seen(world, terms)
  for _, term in ipairs(terms) do
    local seen = world.seen and world.seen(term.token)
    if seen then
      term.at = seen.at
      if seen.how_ended and term.ended then term.how_ended = seen.how_ended end
    end
  end
end

function looking.history(world, name)
  args.name("history", "name", name)
  local found, message, code = histories.read(world.client, name, LOOK_S)
  if not found then return nil, message, code end
  add_seen(world, found.terms)
  return columns.rows("history", found.terms)
end

function looking.members(world)
  local members, message, code = world.client:status(LOOK_S)
  if not members then return nil, message, code end
  return columns.rows("members", members)
end

local function run_follower(world, name, follower)
  local ok, message = follower:run()
  if world.followed[name] == follower then world.followed[name] = nil end
  if ok then return end
  emit(world, { what = "fault", who = name, text = "no longer followed: " .. message, level = "error" })
end

function looking.follow(world, name)
  args.name("follow", "name", name)
  if world.followed[name] then return true end
  local follower = follow.new(world.client, name, {
    now = world.now, sleep = lunarch.sleep,
    on_event = function(event)
      event.text = ("%s: %s"):format(name, event.text)
      emit(world, event)
    end,
  })
  world.followed[name] = follower
  lunarch.spawn(run_follower, world, name, follower)
end

function looking.unfollow(world, name)
  if name ~= nil then args.name("unfollow", "name", name) end
  local n = 0
  for followed, follower in pairs(world.followed) do
    if name == nil or name == followed then
      follower:stop()
      world.followed[followed] = nil
      n = n + 1
    end
  end
  if name and n == 0 then return nil, ("%s is not followed"):format(name), "invalid" end
end

-- The candidates that stood here and the lines that were followed, since the world was opened.
local function timeline_of(world, path)
  local timeline = require "lunarch.timeline"
  local events, names = {}, {}
  for i, event in ipairs(world.story) do
    local copy = {}
    for field, value in pairs(event) do
      copy[field] = value
    end
    for _, field in ipairs { "at", "stop_at", "valid_until", "expiry" } do
      copy[field] = event[field] and event[field] - world.began_at
    end
    events[i] = copy
  end
  for i, name in ipairs(world.names_stood) do
    names[i] = name
  end
  local story = timeline.story(events, { till = world.now() - world.began_at, names = names })
  if path ~= nil then return timeline.write(story, args.text("timeline", "path", path)) end
  return setmetatable(timeline.lines(story), Said)
end

-- ---- standing ---------------------------------------------------------------------------------------------------

local standing = {}

local function run_candidate(world, candidate)
  local ok, message = pcall(candidate.run, candidate)
  world.candidates[candidate] = nil
  local is_interrupted = type(message) == "table" and message.code == "cancelled"
  if not ok and not is_interrupted then
    emit(world, { what = "fault", who = candidate.name, text = "ended: " .. args.error_text(message), level = "error" })
  else
    emit(world, { what = "left", who = candidate.name, text = "stopped, and left the line of " .. candidate.election })
  end
end

function standing.candidate(world, name, who, options)
  if type(name) == "table" then
    options = name
    name, who = options.election, options.name
  end
  if options ~= nil and type(options) ~= "table" then args.bad("candidate", "options", "a table", options) end
  if name == nil and not (options and options.script) then name = rawget(_G, "election") end
  if who ~= nil then args.who("candidate", "who", who) end
  host.stand()
  who = who or rawget(_G, "name") or world.default_name
  local candidate = candidates.new(world.client, name, who, options or {}, function(event) emit(world, event) end)
  world.n_candidates = world.n_candidates + 1
  world.candidates[candidate] = world.n_candidates
  world.names_stood[#world.names_stood + 1] = who
  lunarch.spawn(run_candidate, world, candidate)
  return candidate
end

local function watch_mutex(world, mutex)
  local reason = mutex:await_loss()
  if world.mutexes[mutex.name] ~= mutex then return end
  world.mutexes[mutex.name] = nil
  if reason and reason ~= "closed" then
    emit(world, { what = "lost", who = mutex.name, level = "error", text = ("the lock is lost (%s)"):format(reason) })
  end
end

local function new_mutex(world, call, name)
  args.name(call, "name", name)
  local held = world.mutexes[name]
  if held and held:is_held() then return nil, "it is held here already", "locked" end
  host.stand()
  local session, message, code = session_of(world)
  if not session then return nil, message, code end
  return session:mutex(name)
end

local function keep_mutex(world, mutex)
  world.mutexes[mutex.name] = mutex
  lunarch.spawn(watch_mutex, world, mutex)
  return mutex
end

function standing.try(world, name)
  local mutex, message, code = new_mutex(world, "try", name)
  if not mutex then return nil, message, code end
  local ok
  ok, message, code = mutex:try_lock(LOOK_S)
  if not ok then return nil, message, code end
  return keep_mutex(world, mutex)
end

function standing.lock(world, name, seconds)
  args.timeout("lock", seconds, "seconds")
  local mutex, message, code = new_mutex(world, "lock", name)
  if not mutex then return nil, message, code end
  local ok
  ok, message, code = mutex:lock(seconds)
  if not ok then return nil, message, code end
  return keep_mutex(world, mutex)
end

-- The locks and candidates of ours that are meant by `x`: an object, a name, or all.
local function ours_of(world, x)
  local found = {}
  for name, mutex in pairs(world.mutexes) do
    if x == nil or x == mutex or x == name then found[#found + 1] = mutex end
  end
  local list = {}
  for candidate in pairs(world.candidates) do
    if x == nil or x == candidate or x == candidate.name or x == candidate.election then
      list[#list + 1] = candidate
    end
  end
  table.sort(list, function(a, b) return world.candidates[a] < world.candidates[b] end)
  table.sort(found, function(a, b) return a.name < b.name end)
  return found, list
end

local function release(world, mutex)
  world.mutexes[mutex.name] = nil
  local ok, message = mutex:unlock(SESSION_S)
  return ok and ("unlocked %s"):format(mutex.name) or message
end

local function await_stopped(world, candidate, until_s)
  while world.candidates[candidate] and lunarch.now() < until_s do
    lunarch.sleep(0.01)
  end
  return world.candidates[candidate] == nil
end

-- All of them at once; sentences that say so.
local function stop(world, list, said)
  local had_led, until_s = {}, lunarch.now() + STOP_S
  for i, candidate in ipairs(list) do
    had_led[i] = candidate.leads
    candidate:stop()
  end
  for i, candidate in ipairs(list) do
    local has_ended = await_stopped(world, candidate, until_s)
    said[#said + 1] = not has_ended and ("%s does not stop"):format(candidate.name)
      or ("%s %s %s"):format(candidate.name, had_led[i] and "gave up" or "left", candidate.election)
  end
end

local function leave(world, x)
  local mutexes, list = ours_of(world, x)
  local said = setmetatable({}, Said)
  stop(world, list, said)
  for _, mutex in ipairs(mutexes) do
    said[#said + 1] = release(world, mutex)
  end
  return said
end

function standing.leave(world, x)
  local said = leave(world, x)
  if said[1] then return said end
  if x == nil then return nil, "nothing is held here, and no candidate stands", "not_owner" end
  local what = type(x) == "string" and x or "that"
  return nil, ("%s is not held here, and no candidate stands in it"):format(what), "not_owner"
end

function standing.resign(world, x)
  local _, list = ours_of(world, x)
  local said = setmetatable({}, Said)
  for _, candidate in ipairs(list) do
    local ok, message = candidate:resign()
    if ok then
      said[#said + 1] = ("%s resigned from %s"):format(candidate.name, candidate.election)
    elseif ok == nil then
      said[#said + 1] = ("%s: %s"):format(candidate.name, message)
    end
  end
  if said[1] then return said end
  return nil, "no candidate leads here", "not_leader"
end

-- ---- what belongs to others -------------------------------------------------------------------------------------

local breaking = {}

local function is_lease(text)
  return text:find "^%x+$" and #text <= 16
end

-- The lease that is meant, and what it is, in words: a row of line(), a candidate, a lease, a key.
local function lease_of(world, x)
  if type(x) == "table" and type(x.lease) == "string" then return x.lease, x.who and ("of %s"):format(x.who) or "" end
  if type(x) == "table" and x.driver then
    local session = x.driver.session
    if session then return session.lease, ("of the candidate %s"):format(x.name) end
    return nil, "that candidate has no session", "invalid"
  end
  if type(x) == "table" and type(x.key) == "string" then
    return nil, ("the key %s is bound to no lease"):format(x.key), "invalid"
  end
  if type(x) ~= "string" or x == "" then
    args.bad("revoke", "x", "a candidate, a place of line(), a key or a lease", x)
  end
  if is_lease(x) then return x, "" end
  local _, kv, code = world.client:get(x, nil, LOOK_S)
  if code then return nil, kv, code end
  if type(kv) == "table" and kv.lease then return kv.lease, ("of the key %s"):format(x) end
  return nil, ("there is no key %s bound to a lease"):format(x), "invalid"
end

function breaking.revoke(world, x)
  local lease, what, code = lease_of(world, x)
  if not lease then return nil, what, code end
  if what ~= "" then what = " " .. what end
  if not world.may(("revoke the lease %s%s: all its keys go with it"):format(lease, what)) then
    return nil, "not revoked", "cancelled"
  end
  local client = world.client
  return (world.revoke_unasked or client.revoke)(client, lease, LOOK_S)
end

-- ---- time -------------------------------------------------------------------------------------------------------

local passing = {}

function passing.run(_, s)
  if s == nil then args.bad("run", "seconds", "a number of seconds", s) end
  lunarch.sleep(check_seconds("run", "seconds", s))
end

function passing.until_(_, fn, limit)
  return await(fn, limit, lunarch.now, lunarch.sleep)
end

-- ---- the prompt and the end -------------------------------------------------------------------------------------

-- What is held, with the seconds until work under it has to stop; those that have the least first.
local function holdings(world)
  local list = {}
  for name, mutex in pairs(world.mutexes) do
    if mutex:is_held() then list[#list + 1] = { name = name, left = mutex:remaining() } end
  end
  for candidate in pairs(world.candidates) do
    if candidate.leads then list[#list + 1] = { name = candidate.election, left = candidate.term:remaining() } end
  end
  table.sort(list, function(a, b) return a.left < b.left or a.left == b.left and a.name < b.name end)
  return list
end

local function prompt(world)
  local list = holdings(world)
  if not list[1] then return world.label end
  local more = #list > 1 and (" +%d"):format(#list - 1) or ""
  return ("%s[%s %.1fs%s]"):format(world.label and world.label .. " " or "", list[1].name, list[1].left, more)
end

local function close(world, seconds)
  looking.unfollow(world)
  local said = leave(world)
  local session = world.open_session
  if is_alive(session) then
    local ok, message = session:close(seconds)
    said[#said + 1] = ok and ("the session is closed, lease %s revoked"):format(session.lease)
      or ("closing the session: %s"):format(message)
  end
  if rawget(world, "client") then world.client:close(seconds) end
  return said
end

-- ---- etcd itself --------------------------------------------------------------------------------------------------

-- The client is made when it is first needed: the first line can be typed before.
local LAZY = {
  __index = function(world, name)
    if name ~= "client" then return nil end
    local client, message = lunarch.connect {}
    if not client then args.misuse("%s", message) end
    rawset(world, "client", client)
    if world.on_client then world.on_client(world) end
    return client
  end,
}

-- Why no member of etcd answers, or nil: one does.
local function silence_of(world)
  local members, message, code = world.client:status(SILENCE_S)
  if code == "closed" then return nil end
  for _, member in ipairs(members or {}) do
    if not member.error then return nil end
  end
  return members and members[1] and members[1].error or message
end

-- ---- opening ----------------------------------------------------------------------------------------------------

local function bind(world, groups)
  local verbs = {}
  for _, group in ipairs(groups) do
    for name, fn in pairs(group) do
      verbs[name] = function(...) return fn(world, ...) end
    end
  end
  return verbs
end

-- What every world on a client has to begin with.
local function begin(world)
  world.listeners, world.followed, world.candidates, world.mutexes = {}, {}, {}, {}
  world.n_candidates, world.now = 0, world.now or host.time
  function world.session() return session_of(world) end
  function world.prompt() return prompt(world) end
  function world.on_event(fn) world.listeners[#world.listeners + 1] = fn end
  function world.close(seconds) return close(world, seconds) end
  function world.holds() return next(world.mutexes) ~= nil or next(world.candidates) ~= nil end
  return world
end

--- What a world that makes candidates in its own way has on its client all the same: looks, locks, the session. `own`:
--- client, now() -> the instant of an event, label, ttl, seen(token) -> { at = text, how_ended = } or nil,
--- on_asked(text) of what was asked of a line. Returns it with verbs, session, prompt, on_event, close.
function worlds.on_client(own)
  local world = begin(own)
  world.may = function() return true end
  local locks = { try = standing.try, lock = standing.lock, leave = standing.leave }
  world.verbs = bind(world, { looking, asking, breaking, locks })
  return world
end

--- A world on the etcd that the flags name: or nil, what is wrong, exit status. `own`: name, label, may(question) ->
--- whether something of others may be changed.
function worlds.open(options, own)
  local endpoints, trouble, status = etcd.find(options.flags, options.log)
  if endpoints == nil then return nil, trouble, status end
  local world = begin(setmetatable({
    name = own.name, label = own.label, clock = "wall", ttl = options.flags.ttl, banner = own.banner,
    default_name = etcd.default_name(),
    is_default = not own.label and etcd.is_default(options.flags.endpoints), on_client = own.on_client,
  }, LAZY))
  world.may = own.may or function() return true end
  world.story, world.names_stood, world.began_at = {}, {}, world.now()
  world.verbs = bind(world, { looking, standing, asking, breaking, passing, { timeline = timeline_of } })
  function world.timeline() return timeline_of(world) end
  function world.call(fn, ...) return fn(...) end
  function world.silence() return silence_of(world) end
  return world
end

return worlds
