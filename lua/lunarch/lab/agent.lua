-- What a machine does: it makes the candidate of its specification (handlers, or a script), reports what happens to
-- it, and obeys orders. The same in a process of its own and in the simulator.
--
--   spec    { election =, name =, ttl =, grace =, interval =, script =, words =, do_work = ... }
--   order   { id =, verb = "call" | "resign" | "leave", method =, args = } -> report { what = "answer", id =, results
-- = }
--   report  { what =, at =, text =, level =, ... }: an event of lunarch.lab.world
local ending = require "lunarch.lab.ending"
local known = require "lunarch.candidate.options"
local texts = require "lunarch.look.text"
local times = require "lunarch.internal.times"
local transfer = require "lunarch.lab.transfer"

require "lunarch.internal.args".is_ours()

local SAMPLE_S, PLACE_AFTER_S = 0.1, 0.05

return function(link)
  local lunarch = rawget(_G, "lunarch")
  local state = { n_stood = 0 }

  local function tell(what, text, more)
    local report = more or {}
    report.what, report.text, report.at = what, text, link.instant(lunarch.now())
    link.send(report)
  end

  -- ---- what happens to the candidate ----------------------------------------------------------------------------

  -- The instants of its session, in the world's time; nil where it is over.
  local function instants_of(session)
    local ttl, stop_at, valid_until = session.ttl, session.stop_at, session.valid_until
    if not ttl or not stop_at or not valid_until then return nil end
    return {
      ttl = ttl, stop_at = link.instant(stop_at), valid_until = link.instant(valid_until),
      expiry = link.instant(valid_until + times.margin(ttl)), lease = session.lease,
    }
  end

  local function sample()
    local session = state.candidate and state.candidate.session
    local found = session and instants_of(session)
    local before = state.instants
    if not found or before and math.abs(before.valid_until - found.valid_until) < 0.001
      and before.lease == found.lease then
      return
    end
    state.instants = found
    tell("renewed", nil, found)
  end

  local function keep_sampling()
    while state.candidate.state ~= "ended" do
      sample()
      lunarch.sleep(SAMPLE_S)
    end
  end

  local function copy_of(instants)
    local copy = {}
    for name, value in pairs(instants or {}) do
      copy[name] = value
    end
    return copy
  end

  local observers = {}

  function observers.on_elected(term)
    state.term, state.is_leading = term, true
    sample()
    local more = copy_of(state.instants)
    more.token = term.token
    tell("elected", ("elected, token %d"):format(term.token), more)
  end

  function observers.on_lost(_, reason)
    state.is_leading = false
    local more = copy_of(state.instants)
    more.reason = reason
    local left_s = more.expiry and more.expiry - link.instant(lunarch.now()) or 0
    tell("lost", ending.text(reason, left_s), more)
  end

  function observers.on_leader(leader)
    local is_news = leader.value ~= nil or state.leader ~= nil and state.leader.value ~= nil
    state.leader = leader
    if leader.is_me or not is_news then return end
    tell("leader", leader.value and ("leader is %s"):format(texts.plain(leader.value)) or "there is no leader",
      { leader = leader.value, token = leader.token })
  end

  function observers.on_jeopardy(term)
    local left_s = term and term:remaining() or 0
    if left_s <= 0 then return end
    tell("jeopardy", ("jeopardy: etcd silent for half a TTL, safe for %.1f s"):format(left_s), { level = "warn" })
  end

  function observers.on_safe()
    tell("safe", "safe: etcd answers again")
  end

  -- Which handler it is in: said beside the events.
  local function saying_where(name, handler)
    return function(...)
      tell("works", nil, { handler = name })
      local results = table.pack(handler(...))
      tell("works", nil, { handler = false })
      return table.unpack(results, 1, results.n)
    end
  end

  local WORK = { on_elected = true, do_work = true, on_lost = true }

  local function observed(options)
    local own = {}
    for name, value in pairs(options) do
      own[name] = WORK[name] and saying_where(name, value) or value
    end
    for name, observe in pairs(observers) do
      local handler = own[name]
      own[name] = function(...)
        observe(...)
        if handler then return handler(...) end
      end
    end
    return own
  end

  -- ---- standing again -------------------------------------------------------------------------------------------

  local function tell_place(session, name)
    local key = name .. "/" .. session.lease
    lunarch.sleep(PLACE_AFTER_S)
    local _, kv = session.client:get(key, nil, 1)
    if type(kv) ~= "table" then return end
    -- etcd's count is that of the whole line.
    local before = session.client:get(name .. "/",
      { prefix = true, keys_only = true, max_create_revision = kv.create_revision }, 1)
    local place = #(before or {})
    if place > 1 then tell("joined", ("campaigns again, place %d"):format(place), { place = place }) end
  end

  local function watch_campaigns()
    local elections = require "lunarch.election"
    local new = elections.new
    function elections.new(session, name)
      local election = new(session, name)
      local campaign = election.campaign
      rawset(election, "campaign", function(...)
        state.n_stood = state.n_stood + 1
        if state.n_stood > 1 then lunarch.spawn(tell_place, session, name) end
        return campaign(...)
      end)
      return election
    end
  end

  local function watch_candidates()
    local original = lunarch.candidate
    rawset(lunarch, "candidate", setmetatable({}, {
      __index = original,
      __call = function(_, options)
        if state.candidate then return original(options) end
        state.candidate = original(observed(options))
        lunarch.spawn(keep_sampling)
        return state.candidate
      end,
    }))
  end

  -- ---- orders ---------------------------------------------------------------------------------------------------

  local verbs = {}

  local function not_leader()
    local leader = state.leader
    if not leader or not leader.value then return nil, "not leader: nobody leads", "not_leader" end
    return nil, ("not leader: %s leads (token %d)"):format(texts.plain(leader.value), leader.token), "not_leader"
  end

  -- A call of the term's.
  function verbs.call(order)
    if not state.term then return not_leader() end
    local method = state.term[order.method]
    local results = table.pack(method(state.term, transfer.unpack_all(order.args)))
    local code = results[1] == nil and results[3]
    if (code == "lost" or code == "not_leader") and not state.is_leading then return not_leader() end
    return table.unpack(results, 1, results.n)
  end

  function verbs.resign()
    if not state.is_leading then return not_leader() end
    require "lunarch.candidate.term".stop(state.candidate, "resigned")
    return true
  end

  function verbs.leave()
    if not state.candidate then return nil, "it is no candidate yet", "invalid" end
    state.candidate:stop("left")
    tell("left", "leaves the line")
    return true
  end

  local function obey(order)
    local results = table.pack(pcall(verbs[order.verb], order))
    local report = { what = "answer", id = order.id, ok = results[1] }
    if results[1] then
      report.results = transfer.pack_all("the answer", table.unpack(results, 2, results.n))
    else
      report.trouble = tostring(results[2])
    end
    link.send(report)
  end

  -- ---- its life -------------------------------------------------------------------------------------------------

  local function nothing() end

  local function set_settings(spec)
    for name in pairs(known.settings) do
      if spec[name] ~= nil then rawset(_G, name, spec[name]) end
    end
  end

  local spec = transfer.unpack(link.spec)
  watch_campaigns()
  watch_candidates()
  link.listen(function(order) lunarch.spawn(obey, order) end)
  if spec.script then
    set_settings(spec)
    assert(loadfile(spec.script))(table.unpack(spec.words or {}))
  else
    for name in pairs(known.handlers) do
      if spec[name] then rawset(_G, name, spec[name]) end
    end
    if not spec.on_elected and not spec.do_work then rawset(_G, "on_elected", nothing) end
  end
  set_settings(spec)
end
