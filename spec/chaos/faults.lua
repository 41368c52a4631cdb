-- What is done to candidates and to members, by the names that schedule.lua uses: each fault begins, lasts, and is
-- undone.
local clock = require "support.clock"

local faults = {}

---@class Fault
---@field track "candidates"|"members"
---@field kind string
---@field lanes string[] whom it hits: "A" .. "E", "m1" .. "m3"
---@field from number
---@field to number? nil while it lasts
---@field token integer? of the term that it found its victim in
---@field has_stopped_leader? boolean a member that led etcd stands still meanwhile
---@field how? string where there is more than one way
---@field is_lasting? fun(): boolean it cannot be undone yet

---@class Stage
---@field cluster ChaosCluster
---@field crew Crew
---@field faults Fault[]
---@field undoing table<Fault, fun()> what ends each fault that lasts

local function member_name(index) return "m" .. index end

-- ---- candidates: begin(candidate, stage, planned) returns what undoes it---------------------------------------------

local candidates = {}

function candidates.kill(candidate)
  candidate:kill()
  return function() candidate:start() end
end

function candidates.stop(candidate)
  candidate:stop()
  return function() candidate:continue() end
end

function candidates.quit(candidate, stage)
  candidate:ask_to_quit()
  return function()
    local complaints = stage.crew.complaints
    complaints[#complaints + 1] = candidate:await_end()
    candidate:update()
    candidate:start()
  end
end

-- A silent or slow network is the kernel's doing every other time, where there is a wire; else that of the proxies.
local WIRE = { silent = "drop", slow = "slow" }

for _, weather in ipairs { "silent", "deaf", "slow", "reset" } do
  candidates[weather] = function(candidate, _, planned)
    local wire = candidate.wire
    if wire and WIRE[weather] and planned.draw < 0.5 then
      wire[WIRE[weather]](wire)
      return function() wire:pass() end, "by the kernel"
    end
    for _, link in ipairs(candidate.links) do
      link:impose(weather)
    end
    return function()
      for _, link in ipairs(candidate.links) do
        link:lift(weather)
      end
    end
  end
end

local function pick_candidate(stage, planned)
  local leader, term = stage.crew:leader()
  if planned.role == "leader" and leader then return leader, term end
  local others = {}
  for _, candidate in ipairs(stage.crew.candidates) do
    if candidate ~= leader then others[#others + 1] = candidate end
  end
  return others[math.ceil(planned.draw * #others)] or others[1]
end

-- ---- members: begin(stage, index) returns what undoes it, and the indices of those hit ---------------------------

local members = {}

function members.kill(stage, index)
  stage.cluster.members[index]:kill9()
  return function() stage.cluster.members[index]:restart { no_wait = true } end
end

function members.stop(stage, index)
  stage.cluster.members[index]:freeze()
  return function() stage.cluster.members[index]:thaw() end
end

-- `index` and the one after it: the third is alone.
function members.majority(stage, index)
  local hit = { index, index % #stage.cluster.members + 1 }
  for _, i in ipairs(hit) do
    stage.cluster.members[i]:freeze()
  end
  return function()
    for _, i in ipairs(hit) do
      stage.cluster.members[i]:thaw()
    end
  end, hit
end

-- The leader hands over; `index` is the one to lead, or the leader itself, and then the next one is.
function members.move(stage, index)
  local leader = stage.cluster:leader()
  if index == leader then index = index % #stage.cluster.members + 1 end
  stage.cluster:move_leader(index)
  return function() end, { leader }
end

members["cut off"] = function(stage, index)
  stage.cluster:isolate(index)
  return function() stage.cluster:join() end
end

for _, weather in ipairs { "silent", "slow" } do
  members[weather] = function(stage, index)
    local links = {}
    for i, candidate in ipairs(stage.crew.candidates) do
      links[i] = candidate.links[index]
      links[i]:impose(weather)
    end
    return function()
      for _, link in ipairs(links) do
        link:lift(weather)
      end
    end
  end
end

local function pick_member(stage, planned)
  local leader = stage.cluster:leader()
  if planned.role == "leader" then return leader end
  local others = {}
  for index in ipairs(stage.cluster.members) do
    if index ~= leader then others[#others + 1] = index end
  end
  return others[math.ceil(planned.draw * #others)] or others[1]
end

-- ---- both -------------------------------------------------------------------------------------------------------

local function begin_on_candidate(stage, planned)
  local candidate, term = pick_candidate(stage, planned)
  local fault = { lanes = { candidate.name }, from = clock.now(), token = term and term.token }
  if planned.kind == "quit" then
    fault.is_lasting = function() return candidate:is_running() end
  end
  local undo
  undo, fault.how = candidates[planned.kind](candidate, stage, planned)
  return fault, undo
end

local function begin_on_member(stage, planned)
  local index, leader = pick_member(stage, planned), stage.cluster:leader()
  local fault = { from = clock.now(), has_stopped_leader = false }
  local undo, hit = members[planned.kind](stage, index)
  fault.lanes = {}
  for i, one in ipairs(hit or { index }) do
    fault.lanes[i] = member_name(one)
    local is_stopped = planned.kind == "stop" or planned.kind == "majority"
    fault.has_stopped_leader = fault.has_stopped_leader or (is_stopped and one == leader)
  end
  return fault, undo
end

-- Begins a planned fault.
---@param stage Stage
---@param planned PlannedFault
---@return Fault
function faults.begin(stage, planned)
  local begin = planned.track == "candidates" and begin_on_candidate or begin_on_member
  local fault, undo = begin(stage, planned)
  fault.track, fault.kind = planned.track, planned.kind
  stage.undoing[fault] = undo
  table.insert(stage.faults, fault)
  return fault
end

-- Ends it.
---@param stage Stage
---@param fault Fault
function faults.undo(stage, fault)
  local undo = stage.undoing[fault]
  stage.undoing[fault] = nil
  fault.to = clock.now()
  undo()
end

return faults
