-- What a timeline shows, made of events: a lane for each candidate and each member that something happened to, with its
-- terms, what was done to it, and the instants at which a term had to end.
--
--   event   { at =, who =, what =, text =, ... } as lunarch.lab.events has them:
--             "elected" { token, stop_at, valid_until, expiry }   "lost" { reason, and the same }   "renewed" { the
-- same }
--             "fault" { lane, fault = "cut" ..., begins = true | false }   "life" { text = "starts" | "ends" }
--             "say", "etcd" { etcd_leader = "m1" }
--   story   { from =, till =, origin =, unit =, events =, lanes = { lane ... }, by_name = }
--   lane    { name =, is_member =, terms = { term ... }, faults = { span ... }, lives = { span ... }: in a line, or on
--             its way there, leads = { span ... } }
--   term    { from =, to =, token =, reason =, stop_at =, valid_until =, expiry =, is_open =, is_killed = }
--   span    { from =, to =, what = }
require "lunarch.internal.args".is_ours()

local stories = {}

local INSTANTS = { "stop_at", "valid_until", "expiry" }
-- heal() ends these.
local HEALED = { cut = true, slow = true, pause = true, freeze = true, fill = true }

local Story = {}
Story.__index = Story

local function is_member_name(name)
  return name:match "^m%d+$" ~= nil or name:match "^%w:1$" ~= nil or name == "etcd"
end

function Story:lane(name)
  local lane = self.by_name[name]
  if not lane then
    lane = { name = name, is_member = is_member_name(name), terms = {}, faults = {}, lives = {}, leads = {} }
    self.by_name[name] = lane
    self.lanes[#self.lanes + 1] = lane
  end
  return lane
end

local function last(list) return list[#list] end

local function open_span(list, at, what)
  list[#list + 1] = { from = at, what = what, is_open = true }
end

local function close_spans(list, at, what)
  for _, span in ipairs(list) do
    if span.is_open and (what == nil or span.what == what) then
      span.to, span.is_open = at, nil
    end
  end
end

local function has_open(list, what)
  for _, span in ipairs(list) do
    if span.is_open and span.what == what then return true end
  end
  return false
end

local function take_instants(term, event)
  for _, name in ipairs(INSTANTS) do
    term[name] = event[name] or term[name]
  end
end

local function end_term(lane, at)
  local term = last(lane.terms)
  if term and term.is_open then
    term.to, term.is_open = at, nil
    return term
  end
end

local takes = {}

-- It is in the line, or on its way there, from now on.
local function be_in_line(lane, at)
  local is_first = not last(lane.lives)
  if is_first or lane.is_out and not has_open(lane.lives) then open_span(lane.lives, at) end
  lane.is_out = nil
end

-- It is in the line no more, until it comes back.
local function be_out(lane, at)
  close_spans(lane.lives, at)
  lane.is_out = true
end

function takes.elected(self, event)
  local lane = self:lane(event.who)
  local term = last(lane.terms)
  -- Told by the candidate, and seen in etcd.
  if term and term.is_open and event.token and term.token == event.token then return take_instants(term, event) end
  end_term(lane, event.at)
  lane.terms[#lane.terms + 1] = { from = event.at, token = event.token, is_open = true }
  take_instants(last(lane.terms), event)
  be_in_line(lane, event.at)
end

function takes.renewed(self, event)
  local lane = self:lane(event.who)
  local term = last(lane.terms)
  if term and term.is_open then take_instants(term, event) end
  be_in_line(lane, event.at)
  lane.is_sampled = true
end

-- Terms that end while the session goes on.
local GIVEN_UP = { resigned = true, error = true, exit = true, handed_over = true }

-- Its session is over with the term: it waits nowhere until there is another one, as far as sessions are told.
local function leave_line(lane, term)
  if not lane.is_sampled or GIVEN_UP[term.reason] then return end
  be_out(lane, stories.led_until(term))
end

function takes.lost(self, event)
  local lane = self:lane(event.who)
  local term = end_term(lane, event.at)
  if not term then return end
  term.reason = event.reason
  take_instants(term, event)
  if event.reason == "stopping" then return close_spans(lane.lives, event.at) end
  -- Seen in etcd: its key is gone.
  if event.place then return be_out(lane, event.at) end
  leave_line(lane, term)
end

function takes.joined(self, event)
  be_in_line(self:lane(event.who), event.at)
end

function takes.left(self, event)
  be_out(self:lane(event.who), event.at)
end

function takes.life(self, event)
  local lane = self:lane(event.who)
  if event.text:find "^starts" then
    close_spans(lane.faults, event.at, "down")
    if not has_open(lane.lives) then open_span(lane.lives, event.at) end
  else
    close_spans(lane.lives, event.at)
    local term = end_term(lane, event.at)
    if term then term.is_killed = true end
  end
end

local function begin_fault(lane, event)
  if event.fault == "down" then
    local term = end_term(lane, event.at)
    if term then term.is_killed = true end
    close_spans(lane.lives, event.at)
    lane.is_out = nil
  end
  if not has_open(lane.faults, event.fault) then open_span(lane.faults, event.at, event.fault) end
end

function takes.fault(self, event)
  if event.fault == "all" then
    for _, lane in ipairs(self.lanes) do
      for what in pairs(HEALED) do
        close_spans(lane.faults, event.at, what)
      end
    end
    return
  end
  if not event.lane then return end
  local lane = self:lane(event.lane)
  if event.begins then
    begin_fault(lane, event)
  elseif event.begins == false then
    close_spans(lane.faults, event.at, event.fault)
    if event.fault == "down" and not has_open(lane.lives) then open_span(lane.lives, event.at) end
  else
    lane.faults[#lane.faults + 1] = { from = event.at, to = event.at, what = event.fault }
  end
end

function takes.say(self, event)
  if not event.etcd_leader or has_open(self:lane(event.etcd_leader).leads) then return end
  for _, lane in ipairs(self.lanes) do
    close_spans(lane.leads, event.at)
  end
  open_span(self:lane(event.etcd_leader).leads, event.at)
end

takes.etcd = takes.say

local function close_all(self)
  for _, lane in ipairs(self.lanes) do
    for _, list in ipairs { lane.terms, lane.faults, lane.lives, lane.leads } do
      for _, span in ipairs(list) do
        span.to = span.to or self.till
      end
    end
  end
end

-- Members to which nothing has happened are left out.
local function drop_quiet_members(self)
  local n_leads, has_faults = 0, false
  for _, lane in ipairs(self.lanes) do
    n_leads = n_leads + #lane.leads
    has_faults = has_faults or lane.is_member and lane.faults[1] ~= nil
  end
  if n_leads > 1 or has_faults then return end
  for i = #self.lanes, 1, -1 do
    if self.lanes[i].is_member then table.remove(self.lanes, i) end
  end
end

-- Candidates in the order given, members below.
local function order_lanes(self)
  local at = {}
  for i, lane in ipairs(self.lanes) do
    at[lane] = i
  end
  table.sort(self.lanes, function(a, b)
    if a.is_member ~= b.is_member then return b.is_member end
    if a.is_member then return a.name < b.name end
    return at[a] < at[b]
  end)
end

--- The story of these events. `options`: names (of candidates, in order), till (its end; default: the last event),
--- from (default: 0), origin (what is called 0, default: 0), unit (of the axis, default: " s").
---@param events table[]
---@param options? { names?: string[], till?: number, from?: number }
function stories.new(events, options)
  options = options or {}
  local self = setmetatable({ lanes = {}, by_name = {}, events = events }, Story)
  for _, name in ipairs(options.names or {}) do
    self:lane(name)
  end
  self.from, self.till, self.origin = options.from or 0, options.till or 0, options.origin or 0
  self.unit = options.unit or " s"
  for _, event in ipairs(events) do
    if not options.till then self.till = math.max(self.till, event.at) end
    if takes[event.what] then takes[event.what](self, event) end
  end
  if self.till <= self.from then self.till = self.from + 1 end
  close_all(self)
  drop_quiet_members(self)
  order_lanes(self)
  return self
end

--- When a term was over for everybody who asked: at valid_until, also where the process was not running and learnt it
--- later.
function stories.led_until(term)
  if term.valid_until and not term.is_open then return math.max(term.from, math.min(term.to, term.valid_until)) end
  return term.to
end

--- Of a term that ended for want of renewals: how long before the lease could end it was over, or nil.
---@return number? seconds
function stories.early_by(term)
  if term.is_killed or term.is_open or not term.expiry or not term.to then return nil end
  if term.reason ~= "expired" and term.reason ~= "frozen" then return nil end
  return term.expiry - term.to
end

return stories
