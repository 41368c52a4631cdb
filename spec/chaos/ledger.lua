-- What one life of a candidate (worker.lua) has told so far: its terms, what it held, and what came of its insertions.
local journal = require "live.support.journal"
local sets = require "chaos.sets"

local ledger = {}

---@class Hold
---@field who string
---@field set string
---@field token integer
---@field locked number
---@field claims number[]
---@field freed number?
---@field was_there boolean? it was there to be unlocked
---@field is_lease_gone boolean? it was not: whether its lease was gone too

---@class Outcome: Insertion
---@field set string
---@field code string? of what was not acknowledged

---@class Ledger
---@field who string
---@field pid integer? as it said itself
---@field journal Journal
---@field holds Hold[]
---@field acked Outcome[]
---@field refused Outcome[]
---@field unknown Outcome[]
local Ledger = {}
Ledger.__index = Ledger

---@param who string
---@param process Process
---@return Ledger
function ledger.follow(who, process)
  return setmetatable({
    who = who, process = process, journal = journal.follow(who, process), read = 0,
    holds = {}, open = {}, acked = {}, refused = {}, unknown = {},
  }, Ledger)
end

local events = {}

function events.locked(self, t, set, token)
  local hold = { who = self.who, set = set, token = token, locked = t, claims = {} }
  self.open[set] = hold
  table.insert(self.holds, hold)
end

function events.claim(self, t, set) table.insert(self.open[set].claims, t) end

function events.freed(self, t, set)
  self.open[set].freed, self.open[set].was_there = t, true
end

function events.gone(self, t, set)
  self.open[set].freed, self.open[set].was_there = t, false
end

for _, fate in ipairs { "acked", "refused", "unknown" } do
  events[fate] = function(self, t, set, token, id, code)
    table.insert(self[fate], { who = self.who, t = t, set = set, token = token, id = id, code = code })
  end
end

local function of_token(list, token)
  for i = #list, 1, -1 do
    if list[i].token == token then return list[i] end
  end
end

function Ledger:obey(text)
  local event, t, set, token, id, code = text:match "^set (%a+) ([%d.]+) (%a+) (%d+) ?(%S*) ?(%S*)$"
  if event then return events[event](self, tonumber(t), set, math.tointeger(token), id, code) end
  t, token = text:match "^claim ([%d.]+) %S+ (%d+)$"
  if t then return table.insert(of_token(self.journal.terms, math.tointeger(token)).claims, tonumber(t)) end
  local what, state
  what, token, state = text:match "^lease (%S+) (%d+) (%a+)$"
  if what then
    local place = what == sets.ELECTION and of_token(self.journal.terms, math.tointeger(token)) or self.open[what]
    place.is_lease_gone = state == "gone"
    return
  end
  self.pid = self.pid or math.tointeger(text:match "^pid (%d+)$")
end

-- Takes in what was said since.
function Ledger:update()
  -- Before the journal does: of what is said meanwhile it must know all that we know.
  local lines = self.process:lines()
  local n_lines = #lines
  self.journal:update()
  -- Two fields more than other candidates' terms have: `claims`, and `is_lease_gone` if it was lost.
  for _, term in ipairs(self.journal.terms) do
    term.claims = term.claims or {}
  end
  for i = self.read + 1, n_lines do
    self:obey(lines[i].text)
  end
  self.read = n_lines
end

-- Its term that lasts, or nil.
---@return Term?
function Ledger:leading()
  local term = self.journal.terms[#self.journal.terms]
  return term and not term.losing and term or nil
end

---@param ledgers Ledger[]
---@param fate "acked"|"refused"|"unknown"
---@return table<string, Outcome[]> by the set's name, in the order of their time
function ledger.outcomes(ledgers, fate)
  local found = {}
  for _, set in ipairs(sets.list) do
    found[set.name] = {}
  end
  for _, one in ipairs(ledgers) do
    for _, outcome in ipairs(one[fate]) do
      table.insert(found[outcome.set], outcome)
    end
  end
  for _, list in pairs(found) do
    table.sort(list, function(a, b) return a.t < b.t end)
  end
  return found
end

return ledger
