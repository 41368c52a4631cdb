-- A candidate that stands from the console: lunarch.candidate, whose handlers say what happens before they do what the
-- user's handlers do.
local args = require "lunarch.internal.args"
local describe = require "lunarch.console.describe"
local ending = require "lunarch.lab.ending"
local host = require "lunarch.host"
local known = require "lunarch.candidate.options"
local lunarch = require "lunarch"
local texts = require "lunarch.look.text"
local times = require "lunarch.internal.times"

args.is_ours()

local candidates = {}

-- Settings that say who and where are given beside them.
local SETTINGS = {}
for name in pairs(known.settings) do
  if name ~= "election" and name ~= "name" and name ~= "endpoints" then SETTINGS[name] = true end
end

local Candidate, properties = {}, {}
local meta = { __name = "lunarch.console.candidate" }

function meta.__index(self, name)
  if Candidate[name] then return Candidate[name] end
  return properties[name] and properties[name](self)
end

-- ---- what it is made of -----------------------------------------------------------------------------------------

-- The globals of a script, which sees ours as well.
local function load_script(path)
  local env = setmetatable({}, { __index = _G })
  local chunk, message = loadfile(path, "t", env)
  if not chunk then args.misuse("candidate: %s", message) end
  chunk()
  return env
end

local function merge(own)
  local env = own.script and load_script(own.script)
  local options = {}
  for name, value in pairs(own) do
    if name ~= "script" then options[name] = value end
  end
  for _, list in ipairs { known.handlers, SETTINGS } do
    for name in pairs(list) do
      if options[name] == nil and env then options[name] = rawget(env, name) end
      if options[name] == nil and not env then options[name] = rawget(_G, name) end
    end
  end
  return options, env
end

-- The instants of a term by the clock of events, as far as they are known: for the timeline.
local function instants_of(self, term)
  local session = self.driver.session
  local stop_at, valid_until = term.stop_at, term.valid_until
  if not session or not stop_at or not valid_until then return self.instants or {} end
  local offset = host.time() - lunarch.now()
  self.instants = {
    stop_at = stop_at + offset, valid_until = valid_until + offset,
    expiry = valid_until + offset + times.margin(session.ttl),
  }
  return self.instants
end

local function end_term(self, reason, instants)
  local latest = self.terms[#self.terms]
  if not latest then return end
  latest.lost, latest.reason = host.time(), reason
  latest.stop_at, latest.valid_until, latest.expiry = instants.stop_at, instants.valid_until, instants.expiry
end

-- Handlers that tell of themselves first.
local function told_handlers(self, options, tell)
  local own = {}
  for name in pairs(known.handlers) do
    own[name] = options[name]
  end
  self.handlers = own
  function options.on_elected(term)
    self.term = term
    self.terms[#self.terms + 1] = { token = term.token, elected = host.time() }
    tell("elected", ("elected, token %d"):format(term.token), "info", { token = term.token }, instants_of(self, term))
    if own.on_elected then return own.on_elected(term) end
  end
  function options.on_lost(term, reason)
    local instants = instants_of(self, term)
    end_term(self, reason, instants)
    local left_s = instants.expiry and instants.expiry - host.time() or 0
    tell("lost", ending.text(reason, left_s), "warn", { token = term.token, reason = reason }, instants)
    if own.on_lost then return own.on_lost(term, reason) end
  end
  function options.on_leader(leader)
    if not leader.is_me then
      tell("leader", leader.value and "leader is " .. texts.plain(leader.value) or "there is no leader")
    end
    if own.on_leader then return own.on_leader(leader) end
  end
  function options.on_jeopardy(term)
    instants_of(self, term)
    tell("jeopardy", ("jeopardy: etcd silent for half a TTL, safe for %.1f s"):format(term:remaining()), "warn")
    if own.on_jeopardy then return own.on_jeopardy(term) end
  end
  function options.on_safe(term)
    tell("safe", "safe: etcd answers again")
    if own.on_safe then return own.on_safe(term) end
  end
end

-- What on_jeopardy and on_safe say themselves.
local SAID = { "^etcd has not answered for half a TTL", "^etcd answers again" }

local function is_said(text)
  for _, pattern in ipairs(SAID) do
    if text:find(pattern) then return true end
  end
  return false
end

local function log_of(tell)
  local log = {}
  for _, level in ipairs { "info", "warn", "error" } do
    log[level] = function(format, ...)
      local text = select("#", ...) > 0 and format:format(...) or tostring(format)
      local stands = text:match "^(stands in .*TTL %d+ s)"
      if stands then
        tell("joined", stands, level)
      elseif not is_said(text) then
        tell("say", text, level)
      end
    end
  end
  return log
end

--- Makes one; it does not stand yet. `emit(event)` is told what happens.
---@param client lunarch.client
---@param election string
---@param who string
---@param own table what the user gave
function candidates.new(client, election, who, own, emit)
  local options, env = merge(own)
  local self = setmetatable({ name = who, script = own.script, terms = {} }, meta)
  local function tell(what, text, level, ...)
    local event = { who = who, what = what, text = text, level = level or "info" }
    for _, more in ipairs { ... } do
      for field, value in pairs(more) do
        event[field] = value
      end
    end
    emit(event)
  end
  options.election, options.name, options.client = election or env and env.election, who, client
  options.log = log_of(tell)
  told_handlers(self, options, tell)
  self.election, self.driver = options.election, lunarch.candidate(options)
  return self
end

-- ---- what can be asked of it ------------------------------------------------------------------------------------

-- What candidates of a lab have, too.

-- By the clock, now; not while it steps down.
function properties.leads(self)
  local latest = self.terms[#self.terms]
  return latest ~= nil and not latest.lost and self.term.reason == nil and self.term:remaining() > 0
end

function properties.is_up(self) return not self.has_ended end

function properties.is_paused() return false end

function properties.token(self) return self.term and self.term.token end

function properties.lease(self) return self.driver.session and self.driver.session.lease end

local function last(self) return self.terms[#self.terms] or {} end

function properties.elected_at(self) return last(self).elected end

function properties.lost_at(self) return last(self).lost end

function properties.reason(self) return last(self).reason end

function properties.expiry(self)
  return last(self).expiry or self.leads and instants_of(self, self.term).expiry or nil
end

--- Stands until it is stopped. Waits.
function Candidate:run()
  local _ <close> = setmetatable({}, { __close = function() self.has_ended = true end })
  return self.driver:run()
end

--- Stops it in order. Does not wait.
function Candidate:stop()
  self.driver:stop()
end

--- Gives its term up and waits behind the others. false: it does not lead.
function Candidate:resign()
  if not self.leads then return false end
  return self.term:resign()
end

function meta.__tostring(self)
  local driver = self.driver
  local head = ("candidate %s in %s: "):format(self.name, self.election)
  if self.leads then
    local working = driver.working and self.handlers[driver.working] and ", in " .. driver.working or ""
    return head .. ("leads, token %d%s; %s"):format(self.term.token, working, describe.instants(self.term))
  end
  local activity = driver:_activity()
  return head .. (activity == "new" and "about to stand" or activity)
end

return candidates
