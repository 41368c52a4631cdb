-- What goes wrong in a history, and when it is made good again. Everything is drawn from the seed.
local kinds = require "lunarch.cli.sim.kinds"
local sim = require "lunarch.sim"

local faults = {}

local function chance(per_mille)
  return sim.below(1000) < per_mille
end

local function seconds(least, most)
  return least + sim.below(math.floor((most - least) * 1000) + 1) / 1000
end

local Faults = {}
Faults.__index = Faults

--- Faults of one history: `wanted` is a set of kinds, `n` the number of processes.
function faults.new(wanted, n)
  local self = setmetatable({
    wanted = wanted, n = n, cures = {}, weights = {}, total = 0, is_stopping = {}, is_restarting = {},
  }, Faults)
  self.per_mille = 20 + sim.below(120)
  for _, kind in ipairs(kinds.all) do
    -- Not every history knows every fault: some only show when little else happens.
    local weight = chance(550) and 1 + sim.below(4) or 0
    if wanted[kind] and Faults[kind] then
      self.weights[#self.weights + 1] = { kind = kind, weight = weight }
      self.total = self.total + weight
    end
  end
  return self
end

function Faults:begin()
  if self.wanted.delay then sim.delays(chance(500) and 1 + sim.below(40) or 0) end
  local wanted = self.wanted
  local function upto(per_mille, most)
    return wanted.messages and chance(per_mille) and 1 + sim.below(most) or 0
  end
  sim.messages {
    far = wanted.far and chance(wanted.messages and 80 or 500) and seconds(0.3, 3) or 0,
    reply_lost = upto(500, chance(300) and 100 or 25), request_lost = upto(500, 25), delayed = upto(600, 60),
    late_after_cancel = upto(600, 300), event_dropped = upto(300, 50),
  }
end

-- ---- cures ------------------------------------------------------------------------------------------------------

function Faults:later(after, cure)
  self.cures[#self.cures + 1] = { at = sim.now() + after, cure = cure }
end

function Faults:run_cures(are_all_due)
  local now, left, due = sim.now(), {}, {}
  for _, entry in ipairs(self.cures) do
    local list = (are_all_due or entry.at <= now) and due or left
    list[#list + 1] = entry
  end
  self.cures = left
  for _, entry in ipairs(due) do
    entry.cure()
  end
end

-- ---- kinds ------------------------------------------------------------------------------------------------------

local function any_member()
  local leader = sim.leader()
  return chance(500) and leader >= 0 and leader or sim.below(sim.members)
end

-- Mostly only one member is unwell at a time.
local function may_hurt(member)
  for other = 0, sim.members - 1 do
    if other ~= member and not sim.is_well(other) then return chance(150) end
  end
  return sim.is_well(member)
end

function Faults:hurt_member(act, cure, most)
  local member = any_member()
  if not may_hurt(member) then return end
  sim.member(act, member)
  self:later(seconds(0.1, most), function() sim.member(cure, member) end)
end

function Faults:freeze()
  self:hurt_member("freeze", "thaw", chance(300) and 16 or 6)
end

function Faults:partition()
  self:hurt_member("cut", "join", 8)
end

function Faults:restart()
  self:hurt_member("stop", "start", 5)
end

-- The index of a process that is up and runs; nil when the one drawn is not.
function Faults:any_process()
  local index = 1 + sim.below(self.n)
  local is_up, is_paused = sim.is_up(index)
  return is_up and not is_paused and index or nil
end

-- Between two steps of its script: where it waits just now, or right before one of its next requests is sent.
function Faults:pause()
  local index = self:any_process()
  if not index then return end
  local length = seconds(0.05, chance(400) and 14 or 3)
  if chance(500) then sim.pause(index, length) else sim.pause_later(index, 1 + sim.below(8), length) end
end

function Faults:start_later(index)
  self:later(seconds(0, 3), function() sim.start(index) end)
end

function Faults:kill()
  local index = self:any_process()
  if not index then return end
  sim.kill(index)
  self:start_later(index)
end

function Faults:stop()
  local index = self:any_process()
  if not index or self.is_stopping[index] then return end
  self.is_stopping[index] = true
  sim.signal(index)
  local function start_once_ended()
    local is_up = sim.is_up(index)
    if is_up then return self:later(1, start_once_ended) end
    self.is_stopping[index] = nil
    sim.start(index)
  end
  self:later(seconds(1, 4), start_once_ended)
end

-- Everything comes late for a while, and then nothing comes at all; or one way to one member is silent.
function Faults:network()
  local index = self:any_process()
  if not index then return end
  if chance(300) then
    sim.reset(index, sim.below(sim.members))
  elseif chance(400) then
    local late = seconds(0.3, 1.3)
    for member = 0, sim.members - 1 do
      sim.lag(index, member, late)
    end
    self:later(late, function()
      if self.is_over then return end
      local silent = seconds(3, 15)
      for member = 0, sim.members - 1 do
        sim.hold(index, member, silent)
      end
    end)
  else
    sim.hold(index, any_member(), seconds(0.05, 4))
  end
end

function Faults:compact()
  sim.compact()
end

function Faults:revoke()
  sim.rob(chance(500))
end

-- ---- a history --------------------------------------------------------------------------------------------------

--- A program that failed is started again, as a service manager does; one that ended well is left alone.
function Faults:supervise()
  for index = 1, self.n do
    local _, _, status = sim.is_up(index)
    if status and status ~= 0 and not self.is_restarting[index] then
      self.is_restarting[index] = true
      self:later(seconds(1, 3), function()
        self.is_restarting[index] = nil
        sim.start(index)
      end)
    end
  end
end

--- To be called ten times a second: what is due is cured, and now and then something is hurt.
function Faults:tick()
  self:supervise()
  self:run_cures(false)
  if self.is_over or self.total == 0 or not chance(self.per_mille) then return end
  local at = sim.below(self.total)
  for _, entry in ipairs(self.weights) do
    if at < entry.weight then
      self[entry.kind](self)
      return
    end
    at = at - entry.weight
  end
end

--- No more of them: everything is made good.
function Faults:finish()
  self.is_over = true
  sim.messages {}
  sim.delays(0)
  for index = 1, self.n do
    sim.resume(index)
    for member = 0, sim.members - 1 do
      sim.hold(index, member, 0)
    end
  end
  self:run_cures(true)
end

return faults
