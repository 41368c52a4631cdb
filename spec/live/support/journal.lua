-- What candidates have told so far by teller.lua, as terms; and the laws that terms must obey.
local process = require "support.process"
local tree = require "support.tree"

local journal = {}

---@class Term
---@field who string
---@field election string
---@field key string
---@field lease string
---@field token integer
---@field elected number
---@field works { from: number, to: number? }[]
---@field failures { t: number, what: string }[]
---@field puts string[]
---@field losing number?
---@field reason string?
---@field lost number?
---@field disorder string? what came when it must not

---@class Journal
---@field process Process
---@field terms Term[] in the order of their beginning
local Journal = {}
Journal.__index = Journal

-- What a process tells by teller.lua.
---@param one Process
---@return Journal
function journal.follow(who, one)
  return setmetatable({ who = who, process = one, read = 0, terms = {}, open = {} }, Journal)
end

-- Starts a process of candidates: lanes are { election =, ttl =, endpoint =, work_s = (0.03) }.
---@return Journal
function journal.start(who, lanes)
  local command = { "lunarch", "run", tree.root .. "/spec/live/support/candidates.lua", "--", who }
  for _, lane in ipairs(lanes) do
    command[#command + 1] = ("%s,%d,%s,%g"):format(lane.election, lane.ttl, lane.endpoint, lane.work_s or 0.03)
  end
  return journal.follow(who, process.start(command))
end

local events = {}

function events.work(term, t)
  local last = term.works[#term.works]
  if last and not last.to then term.disorder = "do_work began while do_work ran" end
  if term.losing then term.disorder = "do_work began after on_lost" end
  table.insert(term.works, { from = t })
end

function events.worked(term, t)
  term.works[#term.works].to = t
  if term.losing then term.disorder = "do_work ended after on_lost began" end
end

function events.failed(term, t, more) table.insert(term.failures, { t = t, what = more }) end

function events.put(term, _, more) table.insert(term.puts, more) end

function events.losing(term, t, more)
  local last = term.works[#term.works]
  if last and not last.to then term.disorder = "on_lost began while do_work ran" end
  if term.losing then term.disorder = "on_lost was called twice" end
  term.losing, term.reason = t, more
end

function events.lost(term, t)
  if term.lost then term.disorder = "on_lost ended twice" end
  term.lost = t
end

function Journal:obey(line)
  local event, t, election, place, token, more = line.text:match "^(%a+) ([%d.]+) (%S+) ([%x-]+) (%d+) ?(.*)$"
  if not event then return end
  t, token = tonumber(t), math.tointeger(token)
  local id = election .. "@" .. token
  if event == "elected" then
    local term = {
      who = self.who, election = election, lease = place:match "^%x+", key = election .. "/" .. place, token = token,
      elected = t, works = {}, failures = {}, puts = {},
    }
    if self.open[id] then self.open[id].disorder = "on_elected was called twice" end
    self.open[id] = term
    self.terms[#self.terms + 1] = term
  elseif self.open[id] then
    events[event](self.open[id], t, more)
  end
end

-- Takes in what was said since.
function Journal:update()
  local lines = self.process:lines()
  for i = self.read + 1, #lines do
    self:obey(lines[i])
  end
  self.read = #lines
end

-- What was said that is no event: warnings and errors.
---@return string
function Journal:complaints()
  local found = {}
  for _, line in ipairs(self.process:lines()) do
    if line.from == "err" then found[#found + 1] = line.text end
  end
  return table.concat(found, "\n")
end

-- The terms of an election in all these journals, by their tokens.
---@param journals Journal[]
---@return Term[]
function journal.terms_of(journals, election)
  local found = {}
  for _, one in ipairs(journals) do
    one:update()
    for _, term in ipairs(one.terms) do
      if term.election == election then found[#found + 1] = term end
    end
  end
  table.sort(found, function(a, b) return a.token < b.token end)
  return found
end

-- The term that lasts now, or nil.
---@return Term?
function journal.leader_of(journals, election)
  local terms = journal.terms_of(journals, election)
  local last = terms[#terms]
  return last and not last.losing and last or nil
end

-- What is wrong with one term and the one after it: S3, and that no two terms overlap.
---@param complaints string[] is added to
---@param terms Term[]
function journal.judge(terms, complaints)
  local function complain(term, format, ...)
    complaints[#complaints + 1] = ("%s, term %d of %s: "):format(term.election, term.token, term.who)
      .. format:format(...)
  end
  for i, term in ipairs(terms) do
    if term.disorder then complain(term, "%s", term.disorder) end
    local next_term = terms[i + 1]
    if next_term and not term.lost then
      complain(term, "on_lost never returned, and %s was elected", next_term.who)
    elseif next_term and term.lost > next_term.elected then
      local late_ms = 1000 * (term.lost - next_term.elected)
      complain(term, "on_lost returned %.0f ms after %s was elected", late_ms, next_term.who)
    end
  end
end

return journal
