-- One chaos run, from the first process to the last: three members, five candidates, the faults of a schedule, and
-- then quiet, in which everybody must come back. What was seen is judged elsewhere (verdict.lua).
local clock = require "support.clock"
local cluster = require "chaos.cluster"
local crew = require "chaos.crew"
local faults = require "chaos.faults"
local schedule = require "chaos.schedule"
local sets = require "chaos.sets"
local together = require "live.support.together"
local uv = require "luv"
local wait = require "support.wait"

local play = {}

play.SETTLE_S = 75      -- a candidate that stepped back a few times stands again after half a minute
local LOOK_S, ASK_S, SILENCE_S = 0.02, 0.5, 10

---@class Outcome
---@field seed integer
---@field ttl integer
---@field began number
---@field ended number when the faults ended
---@field over number when the records end
---@field is_interrupted boolean
---@field faults Fault[]
---@field terms Term[]
---@field ledgers Ledger[]
---@field leaderships Leadership[]
---@field histories table<string, Version[]> by the set's name
---@field back table<string, number> seconds until a candidate was back in line and at work, by its name
---@field etcd_version string
---@field logs string[] what the members have logged
---@field complaints string[] of the crew: who ended by itself, or not cleanly, or never came back

local Play = {}
Play.__index = Play

-- ---- what is said meanwhile -------------------------------------------------------------------------------------

function Play:say(format, ...)
  self.said_at = clock.now()
  self.options.say(("%6.1f s  "):format(self.said_at - self.began) .. format:format(...))
end

function Play:who_leads()
  local leader, term = self.crew:leader()
  local index, is_leading = self.cluster:leader()
  return ("%s; %s"):format(leader and ("%s leads, token %d"):format(leader.name, term.token) or "nobody leads",
    is_leading and ("m%d leads etcd"):format(index) or "etcd has no leader")
end

local VERBS = {
  kill = "killed", stop = "stopped", quit = "asked to quit", silent = "has a silent network", deaf = "gets no replies",
  slow = "gets late replies", reset = "has its connections reset", move = "has to hand over etcd's leadership",
  majority = "stopped", ["cut off"] = "cut off from the other members",
}

function Play:tell(fault, planned)
  local length = fault.kind == "move" and "" or (", for %.1f s"):format(planned.length)
  if fault.how then length = " " .. fault.how .. length end
  self:say("%-34s  (%s)", table.concat(fault.lanes, " and ") .. " " .. VERBS[fault.kind] .. length, self:who_leads())
end

function Play:count_acked()
  local n = 0
  for _, one in ipairs(self.crew:ledgers()) do
    n = n + #one.acked
  end
  return n
end

-- ---- the loop ---------------------------------------------------------------------------------------------------

-- Who leads on although another was elected may have a lease that etcd itself has revoked: revocation.lua will ask.
function Play:look_at_outlived()
  for _, term in ipairs(self.crew:outlived()) do
    if term.is_lease_gone == nil then
      local text = self.cluster:etcdctl("--command-timeout=2s", "lease", "timetolive", term.lease)
      if text:find "already expired" then
        term.is_lease_gone = true
      elseif text:find "granted" then
        term.is_lease_gone = false
      end
    end
  end
end

-- Once a round: "over" or "interrupted" end what goes on.
function Play:turn()
  uv.run "nowait"
  if self.options.is_interrupted() then return "interrupted" end
  local now = clock.now()
  if now - self.looked_at < LOOK_S then return nil end
  self.looked_at = now
  self.crew:update()
  self.cluster:update()
  self:look_at_outlived()
  if now - self.said_at > SILENCE_S then self:say("%d insertions so far (%s)", self:count_acked(), self:who_leads()) end
  return self.deadline and now >= self.deadline and "over" or nil
end

-- What goes wrong with a fault itself is complained of in the end, and the run goes on.
function Play:try(what, fn, ...)
  local ok, result = pcall(fn, self, ...)
  if ok then return result end
  self:say("%s failed: %s", what, result)
  table.insert(self.crew.complaints, ("%s failed: %s"):format(what, result))
end

function Play:play_fault(planned, story)
  local fault = self:try("to begin: " .. planned.kind, faults.begin, planned)
  if not fault then return end
  self:tell(fault, planned)
  story:pass(planned.length)
  while fault.is_lasting and fault.is_lasting() do
    story:pass(LOOK_S)
  end
  self:try("to undo: " .. planned.kind, faults.undo, fault)
end

function Play:track(planned_faults, story)
  for _, planned in ipairs(planned_faults) do
    story:pass(self.began + planned.at - clock.now())
    self:play_fault(planned, story)
  end
  -- The other track ends with the run.
  while true do
    story:pass(1)
  end
end

-- The faults, until the time is over. True unless interrupted.
function Play:perform()
  self.deadline = self.began + self.options.seconds
  local tracks = { schedule.draw(self.options.seed, self.options.seconds, self.options.ttl) }
  local verdict = together.each(tracks, function(planned, story) self:track(planned, story) end,
    function() return self:turn() end)
  self.deadline = nil
  for _, fault in ipairs(self.faults) do
    if self.undoing[fault] then self:try("to undo: " .. fault.kind, faults.undo, fault) end
  end
  self.cluster:mend()
  self.ended = clock.now()
  return verdict == "over"
end

-- ---- afterwards -------------------------------------------------------------------------------------------------

function Play:is_at_work(candidate)
  local served = {}
  for _, outcome in ipairs(candidate:life().ledger.acked) do
    if outcome.t > self.ended then served[outcome.set] = true end
  end
  for _, set in ipairs(sets.list) do
    -- Only the leader inserts into that one.
    if set.name ~= "term" and not served[set.name] then return false end
  end
  return true
end

function Play:note_who_is_back()
  local names = "\n" .. self.cluster:etcdctl("get", "--prefix", "--print-value-only", sets.ELECTION .. "/")
  local n = 0
  for _, candidate in ipairs(self.crew.candidates) do
    local is_back = names:find("\n" .. candidate.name .. "\n", 1, true) and self:is_at_work(candidate)
    if is_back and not self.back[candidate.name] then self.back[candidate.name] = clock.now() - self.ended end
    if self.back[candidate.name] then n = n + 1 end
  end
  return n == #self.crew.candidates and self.crew:leader() ~= nil
end

-- Waits until everybody is back. False when interrupted.
function Play:settle()
  self:say("the faults are over; waiting for everybody to come back")
  local limit = clock.now() + play.SETTLE_S
  local verdict = together.each({ true }, function(_, story)
    while not self:note_who_is_back() and clock.now() < limit do
      story:pass(ASK_S)
    end
  end, function() return self:turn() end)
  if verdict then return false end
  for _, candidate in ipairs(self.crew.candidates) do
    if not self.back[candidate.name] then
      table.insert(self.crew.complaints, ("%s was not back in line and at work %d s after the last fault"):format(
        candidate.name, play.SETTLE_S))
    end
  end
  if not self.crew:leader() then table.insert(self.crew.complaints, "in the end nobody leads") end
  return true
end

-- Asks all to quit; then no place may be left.
function Play:leave()
  self:say("everybody is asked to quit")
  self.crew:quit()
  local left = ""
  local ok = pcall(wait.eventually, function()
    left = self.cluster:etcdctl("get", "--prefix", "--keys-only", sets.ELECTION .. "/")
      .. self.cluster:etcdctl("get", "--prefix", "--keys-only", sets.LOCKS)
    return not left:find "%S"
  end, self.options.ttl + 3)
  if not ok then table.insert(self.crew.complaints, "places were left behind: " .. left:gsub("%s+", " ")) end
end

-- All versions of all sets, as etcd has kept them.
function Play:read_histories()
  local FINISH = sets.PREFIX .. "~"
  wait.eventually(function() return select(2, self.cluster:etcdctl("put", FINISH, "end")) end)
  local reader = self.cluster:etcdctl_start("watch", "--prefix", sets.PREFIX, "--rev=1")
  wait.eventually(function() return reader:find("^" .. FINISH .. "$") end, 6 * wait.LIMIT, "the history of the sets")
  reader:kill9()
  local lines = reader:lines()
  for i = 1, #lines - 2 do
    local set = lines[i].text == "PUT" and sets.by_name[lines[i + 1].text:sub(#sets.PREFIX + 1)]
    if set then table.insert(self.histories[set.name], sets.parse(lines[i + 2].text)) end
  end
end

function Play:outcome(is_interrupted)
  self.crew:update()
  return {
    seed = self.options.seed, ttl = self.options.ttl, began = self.began, ended = self.ended, over = clock.now(),
    is_interrupted = is_interrupted, faults = self.faults, terms = self.crew:terms(), ledgers = self.crew:ledgers(),
    lives = self.crew:lives(), leaderships = self.cluster.leaderships, histories = self.histories, back = self.back,
    complaints = self.crew.complaints, logs = self.cluster:logs(),
    etcd_version = self.cluster.version,
  }
end

local function new(options)
  local self = setmetatable({
    options = options, faults = {}, undoing = {}, back = {}, histories = {}, looked_at = 0, said_at = clock.now(),
    began = clock.now(),
  }, Play)
  for _, set in ipairs(sets.list) do
    self.histories[set.name] = {}
  end
  return self
end

function Play:run()
  self.cluster = cluster.start()
  self.crew = crew.start(self.cluster.members, self.options.ttl)
  self.began, self.said_at = clock.now(), clock.now()
  local is_whole = self:perform() and self:settle()
  self:leave()
  self:read_histories()
  return self:outcome(not is_whole)
end

-- Plays it all, and ends all that it started, whatever happens.
---@param options table seconds, ttl, seed; say(line), is_interrupted()
---@return Outcome
function play.run(options)
  local self = new(options)
  local ok, result = xpcall(self.run, debug.traceback, self)
  if self.crew then self.crew:kill() end
  if self.cluster then self.cluster:stop() end
  if not ok then error(result, 0) end
  return result
end

return play
