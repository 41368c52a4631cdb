-- The verbs that break a world (lunarch.lab.world), and heal it: of candidates, of their connections, of members of
-- etcd. Each is fn(world, ...).
local args = require "lunarch.internal.args"
local seconds = require "lunarch.lab.seconds"

args.is_ours()

local breaking = {}

-- Whether it is paused; raises where it is down.
local function check_up(self, verb, machine)
  local is_up, is_paused = self.driver:is_up(machine)
  if not is_up then args.misuse("%s: candidate %s is down", verb, machine.name) end
  return is_paused
end

local FOR_EVER_S = 1e6

function breaking.pause(self, x, s)
  local machine = self:machine("pause", x)
  seconds("pause", "s", s)
  local is_paused = check_up(self, "pause", machine)
  if is_paused then return nil, ("candidate %s is paused already"):format(machine.name), "invalid" end
  self:fault(machine.name, s and ("paused for %g s (SIGSTOP)"):format(s) or "paused (SIGSTOP)",
    { fault = "pause", lane = machine.name, begins = true })
  self.driver:pause(machine, s or FOR_EVER_S)
end

function breaking.resume(self, x)
  local machine = self:machine("resume", x)
  local is_paused = check_up(self, "resume", machine)
  if not is_paused then return nil, ("candidate %s is not paused"):format(machine.name), "invalid" end
  self.driver:resume(machine)
end

function breaking.kill(self, x)
  local machine = self:machine("kill", x)
  check_up(self, "kill", machine)
  self:fault(machine.name, "killed (SIGKILL)", { fault = "down", lane = machine.name, begins = true, is_kill = true })
  self:has_ended(machine)
  self.driver:kill(machine)
end

function breaking.stop(self, x)
  local machine = self:machine("stop", x)
  check_up(self, "stop", machine)
  self:fault(machine.name, "told to stop (SIGTERM)", { fault = "stop", lane = machine.name })
  self.driver:stop(machine)
end

function breaking.cut(self, x, member)
  local machine = self:machine("cut", x)
  if member ~= nil then
    local index = self:member("cut", member)
    self.driver:cut(machine, index, true)
    return self:fault(machine.name, ("cut off from m%d"):format(index),
      { fault = "cut", lane = machine.name, begins = true })
  end
  for index = 1, self.driver.members do
    self.driver:cut(machine, index, true)
  end
  self:fault(machine.name, "cut off from etcd", { fault = "cut", lane = machine.name, begins = true })
end

function breaking.slow(self, x, s)
  local machine = self:machine("slow", x)
  if s == nil then args.bad("slow", "s", "a number of seconds", s) end
  seconds("slow", "s", s)
  for index = 1, self.driver.members do
    self.driver:slow(machine, index, s)
  end
  self:fault(machine.name, ("its messages take %g s longer"):format(s),
    { fault = "slow", lane = machine.name, begins = s > 0 })
end

function breaking.freeze(self, member, s)
  local index = self:member("freeze", member)
  seconds("freeze", "s", s)
  local name = "m" .. index
  self:fault(name, s and ("frozen for %g s"):format(s) or "frozen", { fault = "freeze", lane = name, begins = true })
  self.driver:member("freeze", index)
  local own = {}
  self.frozen[index] = own
  if s then
    self.driver:later(s, function()
      if self.frozen[index] == own then self:thaw(index) end
    end)
  end
end

function breaking.crash(self, member)
  local index = self:member("crash", member)
  local name = "m" .. index
  self.frozen[index] = nil
  self:fault(name, "crashed", { fault = "crash", lane = name, begins = true })
  self.driver:member("crash", index)
end

-- The candidate that is meant: itself, its name, a row of line(), its key or its lease. nil: another's place.
local function machine_meant(self, x)
  local meant = self:find(x)
  if meant then return meant end
  local lease = type(x) == "table" and rawget(x, "lease") or type(x) == "string" and x:match "[^/]*$"
  for _, machine in ipairs(self.machines) do
    if machine.instants and machine.instants.lease == lease then return machine end
  end
end

function breaking.revoke(self, x)
  local machine = machine_meant(self, x)
  if not machine then return self.own_of().verbs.revoke(x) end
  -- In another history the lease is another one.
  if self.entry.verb == "revoke" then self.entry.args = table.pack(machine.handle) end
  local lease = machine.instants and machine.instants.lease
  if not lease then return nil, ("candidate %s has no lease yet"):format(machine.name), "invalid" end
  self:fault(machine.name, "its lease is revoked by an operator", { fault = "revoke", lane = machine.name })
  return self.own_of().verbs.revoke(lease)
end

function breaking.fill(self)
  self.is_full = true
  self:fault("etcd", "its database is full (alarm NOSPACE)", { fault = "fill", lane = "etcd", begins = true })
  self.driver:fill(true)
end

function breaking.skew(self, x, rate)
  local machine = self:machine("skew", x)
  if type(rate) ~= "number" or rate <= 0 or rate > 2 then
    args.bad("skew", "rate", "how fast its clock goes: 1 as the world's, 1.1 for 10 % faster", rate)
  end
  self.driver:skew(machine, rate - 1)
  machine.rate = rate
  self:fault(machine.name, ("its clock goes at %g times the rate"):format(rate),
    { fault = "skew", lane = machine.name, begins = rate ~= 1 })
end

local function heal_machine(self, machine)
  for index = 1, self.driver.members do
    self.driver:cut(machine, index, false)
    self.driver:slow(machine, index, 0)
  end
  local is_up, is_paused = self.driver:is_up(machine)
  if is_up and is_paused then self.driver:resume(machine) end
end

function breaking.heal(self)
  self:fault(nil, "every cut, delay and pause is over", { fault = "all", begins = false })
  for _, machine in ipairs(self.machines) do
    heal_machine(self, machine)
  end
  for index = 1, self.driver.members do
    self:thaw(index)
  end
  if self.is_full then
    self.is_full = false
    self.driver:fill(false)
  end
end

return breaking
