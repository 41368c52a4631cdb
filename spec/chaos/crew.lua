-- The five candidates of a chaos run: processes of `lunarch`, each behind links of its own to every member, and
-- started again whenever they died. Each start is a life.
local clock = require "support.clock"
local ledger = require "chaos.ledger"
local link = require "chaos.link"
local process = require "support.process"
local sets = require "chaos.sets"
local tree = require "support.tree"
local uv = require "luv"
local wire = require "chaos.wire"

local crew = {}

crew.NAMES = { "A", "B", "C", "D", "E" }

local GOODBYE_S = 20

---@class Life
---@field process Process
---@field ledger Ledger
---@field started number
---@field ended number?
---@field stops Stop[]
---@field end_is_wanted boolean

---@class Candidate
---@field name string
---@field links Link[]
---@field wire Wire? where namespaces are allowed
---@field lives Life[]
local Candidate = {}
Candidate.__index = Candidate

---@return Life
function Candidate:life() return self.lives[#self.lives] end

function Candidate:start()
  local endpoints = {}
  for i = 1, #self.links do
    endpoints[i] = self.links[(self.index + i - 2) % #self.links + 1].endpoint
  end
  local command = {
    tree.program, "run", tree.root .. "/spec/chaos/worker.lua", "--election", sets.ELECTION, "--name", self.name,
    "--ttl", self.ttl, "--endpoints", table.concat(endpoints, ","), "--", #self.lives + 1,
  }
  if self.wire then command = { self.wire:inside(table.unpack(command)) } end
  local one = process.start(command)
  self.lives[#self.lives + 1] = {
    process = one, ledger = ledger.follow(self.name, one), started = clock.now(), stops = {}, end_is_wanted = false,
  }
end

-- The process that runs the script, which need not be the one we started.
local function pid_of(life) return life.ledger.pid or life.process.pid end

-- SIGKILL; returns when it is gone.
function Candidate:kill()
  local life = self:life()
  life.end_is_wanted = true
  uv.kill(pid_of(life), "sigkill")
  life.process:wait_exit()
end

-- SIGTERM, does not wait for the end.
function Candidate:ask_to_quit()
  local life = self:life()
  life.end_is_wanted = true
  life.process:signal "sigterm"
end

-- Waits for the end of one that was asked to quit: nil, or what is wrong with it.
---@return string? complaint
function Candidate:await_end()
  local life = self:life()
  local ok, status, signal = pcall(life.process.wait_exit, life.process, GOODBYE_S)
  if not ok then
    self:kill()
    return ("%s did not end within %d s of SIGTERM"):format(self.name, GOODBYE_S)
  elseif status ~= 0 or signal ~= 0 then
    return ("%s ended with status %d, signal %d after SIGTERM:\n%s"):format(
      self.name, status, signal, life.ledger.journal:complaints())
  end
end

-- SIGSTOP; returns when it stands still.
function Candidate:stop()
  local life = self:life()
  table.insert(life.stops, { from = clock.now(), to = math.huge })
  process.freeze(pid_of(life))
end

-- SIGCONT.
function Candidate:continue()
  local life = self:life()
  life.stops[#life.stops].to = clock.now()
  process.thaw(pid_of(life))
end

function Candidate:is_running() return self:life().process:is_running() end

-- Its term that lasts, or nil.
function Candidate:leading() return self:is_running() and self:life().ledger:leading() or nil end

-- Takes in what it said: nil, or what is wrong with it.
---@return string? complaint
function Candidate:update()
  local life = self:life()
  if life.ended then return nil end
  life.ledger:update()
  if life.process:is_running() then return nil end
  life.ledger:update()
  life.ended = life.process.exited.t
  if life.end_is_wanted then return nil end
  return ("%s ended by itself, status %d, signal %d:\n%s"):format(
    self.name, life.process.exited.status, life.process.exited.signal, life.ledger.journal:complaints())
end

-- When the last renewal of a lease was let through, before `t`; nil if none was.
---@return number? seconds
function Candidate:last_renewal(lease, t)
  local latest
  for _, one in ipairs(self.links) do
    for _, renewal in ipairs(one:renewals(lease)) do
      if renewal.t < t and (not latest or renewal.t > latest) then latest = renewal.t end
    end
  end
  return latest
end

local function is_stopped(life)
  local stop = life.stops[#life.stops]
  return stop ~= nil and stop.to == math.huge
end

-- ---- all of them ------------------------------------------------------------------------------------------------

---@class Crew
---@field candidates Candidate[]
---@field complaints string[]
local Crew = {}
Crew.__index = Crew

-- Takes in what all said. Who ended by itself is complained of, and started again.
function Crew:update()
  for _, candidate in ipairs(self.candidates) do
    local complaint = candidate:update()
    if complaint then
      self.complaints[#self.complaints + 1] = complaint
      candidate:start()
    end
  end
end

-- Who leads, by its own word; the one elected last if it is the word of several.
---@return Candidate?, Term?
function Crew:leader()
  local leader, term
  for _, candidate in ipairs(self.candidates) do
    local one = candidate:leading()
    if one and (not term or one.token > term.token) then
      leader, term = candidate, one
    end
  end
  return leader, term
end

-- Terms that last, by the word of those who run, though somebody was elected after them.
---@return Term[]
function Crew:outlived()
  local _, newest = self:leader()
  local list = {}
  for _, candidate in ipairs(self.candidates) do
    local term = not is_stopped(candidate:life()) and candidate:leading()
    if term and term ~= newest then list[#list + 1] = term end
  end
  return list
end

---@return Life[]
function Crew:lives()
  local list = {}
  for _, candidate in ipairs(self.candidates) do
    table.move(candidate.lives, 1, #candidate.lives, #list + 1, list)
  end
  return list
end

---@return Ledger[]
function Crew:ledgers()
  local list = {}
  for i, life in ipairs(self:lives()) do
    list[i] = life.ledger
  end
  return list
end

-- All terms of all lives by their tokens, each with its `life`; `died` where its process did before on_lost returned;
-- and of those that lasted longer than they may, `renewed`: when a renewal was last let through before the next began.
---@return Term[]
function Crew:terms()
  local list = {}
  for _, candidate in ipairs(self.candidates) do
    for _, life in ipairs(candidate.lives) do
      for _, term in ipairs(life.ledger.journal.terms) do
        term.candidate, term.life, term.died = candidate, life, not term.lost and life.ended or nil
        list[#list + 1] = term
      end
    end
  end
  table.sort(list, function(a, b) return a.token < b.token end)
  for i, term in ipairs(list) do
    local next_term, ended = list[i + 1], term.lost or term.died
    if next_term and not (ended and ended <= next_term.elected) then
      term.renewed = term.candidate:last_renewal(term.lease, next_term.elected)
    end
  end
  return list
end

-- Asks all to quit, and complains of those that do not do so cleanly.
function Crew:quit()
  for _, candidate in ipairs(self.candidates) do
    if candidate:is_running() then candidate:ask_to_quit() end
  end
  for _, candidate in ipairs(self.candidates) do
    self.complaints[#self.complaints + 1] = candidate:await_end()
    candidate:update()
  end
end

-- Ends them in whatever state they are, and their links.
function Crew:kill()
  for _, candidate in ipairs(self.candidates) do
    if candidate.lives[1] and candidate:is_running() then candidate:kill() end
    for _, one in ipairs(candidate.links) do
      one:stop()
    end
    if candidate.wire then candidate.wire:stop() end
  end
end

---@param members Etcd[]
---@param ttl integer
---@return Crew
function crew.start(members, ttl)
  local self = setmetatable({ candidates = {}, complaints = {} }, Crew)
  for index, name in ipairs(crew.NAMES) do
    local candidate = setmetatable({ name = name, index = index, ttl = ttl, links = {}, lives = {} }, Candidate)
    candidate.wire = wire.is_at_hand() and wire.lay(index) or nil
    for i, member in ipairs(members) do
      candidate.links[i] = link.start(member, candidate.wire and candidate.wire.host)
    end
    self.candidates[index] = candidate
    candidate:start()
  end
  return self
end

return crew
