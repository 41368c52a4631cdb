-- The simulated world as lunarch.lab.world drives it: machines are processes of the simulator, "you" are one more,
-- whose program runs in this Lua state (src/lab/open_world.c). Time moves only inside call().
local args = require "lunarch.internal.args"
local instance = require "lunarch.lab.instance"

args.is_ours()

local driver = {}

local Sim = {}
Sim.__index = Sim

local N_MACHINES, MEMBERS = 8, 3
local STEPS_AT_ONCE = 2000
-- A wait that nothing ends is not for ever: so long may a call wait without run().
local LONGEST_WAIT_S = 3600
local SLICES_TO_END = 50
local INTERRUPTED = setmetatable({ code = "cancelled" }, { __tostring = function() return "interrupted" end })

local function load_open()
  local path = assert(package.searchpath("lunarch.sim", package.cpath))
  return assert(package.loadlib(path, "luaopen_lunarch_sim_open"))()
end

-- ---- you --------------------------------------------------------------------------------------------------------

-- A command of the caller's, run by the program of "you".
local function run_command(self, command)
  command.results = table.pack(xpcall(command.fn, function(err)
    if type(err) ~= "string" then return err end
    return { traceback = debug.traceback(err, 2), message = err }
  end, table.unpack(command.args, 1, command.args.n)))
  command.is_over = true
  self.open.halt()
end

local function program(self)
  local tasks = self.loop.tasks
  self.require "lunarch.loop.luv".watch(nil, function() end).ref()
  self.lunarch.run(function()
    while true do
      local command = table.remove(self.queue, 1)
      if command then
        command.task = self.lunarch.spawn(run_command, self, command)
      else
        self.idle = { cancel = function() end }
        tasks.suspend(self.idle)
      end
    end
  end)
end

local function wake(self, wait)
  self.open.as_you(self.loop.tasks.wake, wait)
  self.open.poke()
end

-- Loads what lives in the world, which has to be there.
local function load_instance(self)
  local core, process = self.open.modules()
  self.require = instance {
    ["lunarch.core"] = core, ["lunarch.sim.process"] = process, ["lunarch.internal.args"] = args,
  }
  self.open.as_you(function()
    self.lunarch = self.require "lunarch"
    self.loop = self.require "lunarch.loop"
    local say = self.require "lunarch.internal.say"
    say.is_plain = false
    function say.write(text) self.on_raw(self.open.now(), "you", "warn", (text:gsub("\n$", ""))) end
    self.require "lunarch.loop.luv".on_signal = function()
      local command = self.command
      if command and command.task then command.task:interrupt(self.interruption or INTERRUPTED) end
    end
  end)
end

local function begin(self, seed)
  self.seed, self.queue, self.idle = seed, {}, nil
  self.sim.begin(seed, function(at, who, kind, text) self.on_raw(at, who, kind, text) end)
  load_instance(self)
  self.open.enter(function() program(self) end)
  self.client = nil
end

-- What happens is told to on_message(machine's index, message), on_raw(at, who, kind, text).
function driver.open(options)
  local self = setmetatable({ open = load_open(), sim = require "lunarch.sim", members = MEMBERS }, Sim)
  self.on_raw, self.on_message = function(_, _, _, _) end, function(_, _) end
  local names = {}
  for i = 1, N_MACHINES do
    names[i] = "p" .. i
  end
  local found, trouble = self.sim.prepare {
    names = names, script = assert(package.searchpath("lunarch.lab.machine", package.path)), words = {}, given = {},
  }
  if not found then return nil, trouble end
  self.max_machines = N_MACHINES
  self.open.on_answer(function(index, message) self.on_message(index, message) end)
  begin(self, options.seed or 1)
  return self
end

-- What is still held of a world that ends says "closed", and asks it nothing.
local function close_client(self)
  if not self.client then return end
  local on_raw = self.on_raw
  self.on_raw = function() end
  pcall(self.call, self, self.client.close, self.client, 0)
  self.on_raw = on_raw
end

function Sim:restart(seed)
  close_client(self)
  self.open.leave()
  begin(self, seed)
end

function Sim:close()
  self.open.leave()
end

-- ---- time -------------------------------------------------------------------------------------------------------

function Sim:now() return self.open.now() end

-- From the clock of a machine, which reports instants of the world.
function Sim.instant(_, at) return at end

-- Inside a call.
function Sim:sleep_until(at)
  if at <= self.open.now() then return end
  local command = assert(self.command, "inside a call only")
  command.until_s, command.wait = at, { cancel = function() command.until_s = nil end }
  self.open.halt()
  self.loop.tasks.suspend(command.wait)
  command.wait = nil
end

--- Calls fn after so many seconds of the world. Inside a call.
function Sim:later(seconds, fn)
  self.lunarch.spawn(function()
    self.lunarch.sleep(seconds)
    fn()
  end)
end

function Sim.suspend(self, wait, seconds) return self.loop.tasks.suspend(wait, seconds) end

function Sim.wake(self, wait) self.loop.tasks.wake(wait) end

local function advance(self, command)
  local horizon = command.until_s or command.idle_since + LONGEST_WAIT_S
  local _, has_come = self.open.run(horizon, STEPS_AT_ONCE)
  if command.is_over or not has_come then return end
  if command.until_s then
    command.until_s, command.idle_since = nil, self.open.now()
    wake(self, command.wait)
  elseif command.is_given_up then
    error(("what was called does not end, not even %d s after it was interrupted"):format(LONGEST_WAIT_S), 0)
  else
    command.is_given_up, command.idle_since, self.interruption = true, self.open.now(), nil
    self.open.interrupt()
  end
end

local function conclude(command)
  local results = command.results
  if results[1] then return table.unpack(results, 2, results.n) end
  local err = results[2]
  if command.is_given_up and err == INTERRUPTED then
    error(("nothing has ended this wait for %d s of the world"):format(LONGEST_WAIT_S), 0)
  end
  if type(err) == "table" and err.traceback then
    error(err.message, 0)
  end
  error(err, 0)
end

-- Where real time has a loop, it turns now and then: Ctrl-C is heard there.
local function breathe()
  local lunarch = package.loaded.lunarch
  local loop = lunarch and package.loaded["lunarch.loop"]
  if loop and loop.world().current() then lunarch.sleep(0) end
end

local function drive(self, command)
  while not command.is_over do
    advance(self, command)
    breathe()
  end
end

-- Something ended the driving itself: what was called ends as with Ctrl-C, and soon.
local function give_up(self, command)
  self.open.interrupt()
  for _ = 1, SLICES_TO_END do
    if command.is_over then return end
    pcall(advance, self, command)
  end
end

--- Runs fn(...) as "you" and lets the world go on until it has ended.
function Sim:call(fn, ...)
  if self.command then return fn(...) end
  local command = { fn = fn, args = table.pack(...), idle_since = self.open.now() }
  self.command = command
  self.queue[#self.queue + 1] = command
  if self.idle then wake(self, self.idle) end
  local ok, trouble = pcall(drive, self, command)
  if not ok then give_up(self, command) end
  self.command = nil
  if not ok then error(trouble, 0) end
  return conclude(command)
end

--- Ends what is being called with `err`, or as interrupted.
function Sim:interrupt(err)
  self.interruption = err
  if self.command then self.open.interrupt() end
end

function Sim:get_client()
  if not self.client then self.client = assert(self.lunarch.connect { name = "you" }) end
  return self.client
end

-- ---- machines ---------------------------------------------------------------------------------------------------

function Sim:start(machine, spec)
  self.open.outside(self.open.start, machine.index, spec)
end

function Sim:send(machine, order) return self.open.send(machine.index, order) end

function Sim:is_up(machine)
  local is_up, is_paused = self.sim.is_up(machine.index)
  return is_up, is_paused
end

function Sim:kill(machine) self.open.outside(self.sim.kill, machine.index) end

function Sim:stop(machine) self.open.outside(self.sim.signal, machine.index) end

function Sim:pause(machine, seconds) self.open.outside(self.sim.pause, machine.index, seconds) end

function Sim:resume(machine) self.open.outside(self.sim.resume, machine.index) end

function Sim:cut(machine, member, is_cut) self.open.cut(machine.index, member, is_cut) end

function Sim:slow(machine, member, seconds) self.open.slow(machine.index, member, seconds) end

function Sim:skew(machine, rate) self.open.skew(machine.index, rate) end

-- ---- members ----------------------------------------------------------------------------------------------------

local ACTS = { freeze = "freeze", thaw = "thaw", crash = "stop", start = "start" }

function Sim:member(act, index) self.sim.member(ACTS[act], index - 1) end

function Sim:fill(is_full) self.open.fill(is_full) end

function Sim:etcd_leader()
  local index = self.sim.leader()
  return index >= 0 and self.sim.is_well(index) and index + 1 or nil
end

return driver
