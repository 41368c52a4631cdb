-- A `lunarch` for the spec of candidate.lua: tasks under virtual time, and an election in memory in which the spec
-- decides what happens.
--
--   local world = fake.new()                    world.lunarch stands where require "lunarch" would
--   world:at(5, function() world.term:lose "expired" end)
--   world:run(function() ... end)               until the function has returned; time jumps from one event to the next
--   world.is_open = false                       nobody is elected until it is true again
--   world.stop_at = 7                           when the next term is told to stop
--   world.lasts_s = 2                           how long after that it is certainly ours
--   world.close_s                               how long the session's closing was last waited for
local fake = {}

local World = {}
World.__index = World

-- ---- tasks ------------------------------------------------------------------------------------------------------

local Task = {}
Task.__index = Task

local function raise_if_told(task)
  if not task.interruption and task.guard_fn then
    local err = task.guard_fn()
    if err then task.interruption = { err = err } end
  end
  if task.interruption then error(task.interruption.err, 0) end
end

-- Waits until is_over() or the deadline; true if is_over() came.
function World:wait(is_over, deadline)
  local task = self.current
  raise_if_told(task)
  task.is_over, task.deadline = is_over, deadline
  coroutine.yield()
  task.is_over, task.deadline = nil, nil
  raise_if_told(task)
  return is_over()
end

function World:spawn(fn, ...)
  local task = setmetatable({ world = self }, Task)
  local values = table.pack(...)
  task.thread = coroutine.create(function()
    task.results = table.pack(xpcall(fn, function(err)
      task.err = err
      return debug.traceback(tostring(err), 2)
    end, table.unpack(values, 1, values.n)))
    task.ok = task.results[1]
    task.has_ended = true
  end)
  self.tasks[#self.tasks + 1] = task
  return task
end

function Task:join(timeout)
  local world = self.world
  local ended = world:wait(function() return self.has_ended end, timeout and world.time + timeout)
  if not ended then return nil, "not yet", "timeout" end
  if self.ok then return true, table.unpack(self.results, 2, self.results.n) end
  return false, self.results[2], self.err
end

function Task:interrupt(err) self.interruption = { err = err } end

function Task:beside(...) return self.world:spawn(...) end

function Task:allow() self.interruption = nil end

function Task:guard(fn) self.guard_fn = fn end

function Task:is_running() return not self.has_ended end

-- It counts as ended, and is never resumed.
function Task:abandon()
  self.has_ended, self.ok, self.results = true, true, { true, n = 1 }
end

function World:is_ready(task)
  return task.interruption or not task.is_over or task.is_over() or (task.deadline and task.deadline <= self.time)
end

function World:resume_ready()
  local any = false
  for _, task in ipairs { table.unpack(self.tasks) } do
    if not task.has_ended and self:is_ready(task) then
      any = true
      self.current = task
      assert(coroutine.resume(task.thread))
      self.current = nil
    end
  end
  for i = #self.tasks, 1, -1 do
    if self.tasks[i].has_ended then table.remove(self.tasks, i) end
  end
  return any
end

function World:next_time()
  local earliest
  local function consider(time)
    if time and (not earliest or time < earliest) then earliest = time end
  end
  for _, task in ipairs(self.tasks) do consider(task.deadline) end
  for _, event in ipairs(self.events) do consider(event.time) end
  return earliest
end

function World:run_events()
  for i = #self.events, 1, -1 do
    local event = self.events[i]
    if event.time <= self.time then
      table.remove(self.events, i)
      event.fn()
    end
  end
end

-- Lets the task that runs wait again.
function World:allow() self.current:allow() end

function World:at(time, fn)
  table.insert(self.events, 1, { time = time, fn = fn })
end

local LONGEST_RUN_S = 100000

-- Raises what the function raised, or when nothing can happen any more.
function World:run(fn)
  local main = self:spawn(fn)
  while not main.has_ended do
    if not self:resume_ready() then
      local time = self:next_time()
      assert(time and time < LONGEST_RUN_S, "every task waits for ever")
      self.time = math.max(self.time, time)
      self:run_events()
    end
  end
  if not main.ok then error(main.results[2], 0) end
end

-- The clock goes on, and nothing runs: what a handler that does not yield does.
function World:block(seconds)
  self.time = self.time + seconds
end

-- ---- etcd -------------------------------------------------------------------------------------------------------

local Term = {}
Term.__index = Term

function Term:remaining()
  if self.reason then return 0 end
  return math.max(0, self.stop_at - self.world.time)
end

function Term:lose(reason)
  self.reason, self.valid_until = self.reason or reason, nil
end

function Term:await_loss()
  self.world:wait(function() return self:remaining() == 0 end, self.stop_at < math.huge and self.stop_at or nil)
  return self.reason or "expired"
end

-- With world.is_silent etcd answers nothing any more.
local function await_silence(world, seconds)
  world.lunarch.sleep(seconds)
  return nil, "silence", "timeout"
end

function Term:resign(seconds)
  self.world:note("resign", self.token)
  if self.world.is_silent then return await_silence(self.world, seconds) end
  self:lose "closed"
  return true
end

local Election = {}
Election.__index = Election

function Election:campaign(value)
  local world, session = self.world, self.session
  world:note("campaign", value)
  world:wait(function() return world.is_open or session.reason end)
  if session.reason then return nil, "the session is " .. session.reason, "lost" end
  world.token = world.token + 1
  local stop_at = world.stop_at or math.huge
  world.term = setmetatable({
    world = world, token = world.token, stop_at = stop_at, valid_until = stop_at + (world.lasts_s or 1),
  }, Term)
  world.stop_at = nil
  return world.term
end

-- What an election waits for, if that is no candidate: `world.obstacle`.
function Election:blocked_by()
  return self.world.obstacle
end

local Session = {}
Session.__index = Session

function Session:election()
  return setmetatable({ world = self.world, session = self }, Election)
end

function Session:set_state(state)
  self.state_now = state
end

function Session:await(known)
  self.world:wait(function() return self.state_now ~= known end)
  return self.state_now
end

function Session:remaining() return self.reason and 0 or 5 end

function Session:state() return self.state_now, self.reason, self.refusal end

-- `refusal`: what etcd said, where it was etcd's users that ended it.
function Session:lose(reason, refusal)
  self.reason, self.state_now, self.refusal = reason, "lost", refusal
  if self.world.term then self.world.term:lose(reason) end
end

function Session:orphan()
  self.world:note "orphan"
  self:lose "closed"
end

function Session:close(seconds)
  self.world:note "close session"
  self.world.close_s = seconds
  if self.world.is_silent then return await_silence(self.world, seconds) end
  self.reason, self.state_now = self.reason or "closed", "closed"
  return true
end

local Client = { endpoints = { "fake:2379" } }
Client.__index = Client

function Client:session(options, timeout)
  local world = self.world
  world.session_options = options
  local trouble = table.remove(world.session_troubles, 1)
  world:note(trouble and "no session" or "session")
  if trouble == "silence" then
    world:wait(function() return false end, world.time + timeout)
    return nil, "no answer", "timeout"
  elseif trouble then
    return nil, trouble, "unavailable"
  end
  world.session = setmetatable({
    world = world, state_now = "alive", lease = world.lease or "1234567890abcdef", ttl = math.max(2, options.ttl or 10),
    stop_at = world.time + 7, valid_until = world.time + 8.5, away_limit = 0.59,
  }, Session)
  return world.session
end

function Client:observe()
  local world = self.world
  local told, is_closed
  return {
    next = function()
      world:wait(function() return is_closed or world.leader ~= told and not world.is_silent end)
      if is_closed then return nil, "closed", "closed" end
      told = world.leader
      return told
    end,
    close = function()
      is_closed = true
      world:note "close observer"
    end,
  }
end

-- Nothing else stands in any line; keys beside it are in world.keys.
function Client:get(key, options)
  if options and options.prefix then return {}, { revision = self.world.revision } end
  local kv = self.world.keys[key]
  if kv then return kv.value, kv end
  return nil
end

-- As far as candidates use it: compare one key's mod revision, put one key.
function Client:txn(given)
  local keys, compare, put = self.world.keys, given.compare[1], given.success[1]
  local kv = keys[compare[2]]
  if (kv and kv.mod_revision or 0) ~= compare[4] then return { succeeded = false } end
  self.world.revision = self.world.revision + 1
  keys[put[2]] = { value = put[3], mod_revision = self.world.revision, lease = put.lease }
  return { succeeded = true }
end

-- Nobody asks anything.
function Client:watch()
  local world = self.world
  return { next = function() world:wait(function() return false end) end, close = function() end }
end

function Client:close()
  self.world:note "close client"
  return true
end

-- ---- the world --------------------------------------------------------------------------------------------------

-- What happened, in order: { time, what, ... }.
function World:note(...)
  self.notes[#self.notes + 1] = { self.time, ... }
end

-- The notes of these kinds alone, as "what argument" texts.
function World:said(...)
  local wanted, texts = {}, {}
  for _, what in ipairs { ... } do wanted[what] = true end
  for _, note in ipairs(self.notes) do
    if wanted[note[2]] then texts[#texts + 1] = table.concat({ table.unpack(note, 2) }, " ") end
  end
  return texts
end

-- The time of the n-th note of this kind.
function World:time_of(what, n)
  for _, note in ipairs(self.notes) do
    if note[2] == what then
      n = (n or 1) - 1
      if n == 0 then return note[1] end
    end
  end
end

function fake.new()
  local world = setmetatable({
    time = 0, tasks = {}, events = {}, notes = {}, token = 0, is_open = true, session_troubles = {}, logged = {},
    keys = {}, revision = 1,
  }, World)
  world.log = { debug = function() end }
  for _, level in ipairs { "info", "warn", "error" } do
    world.log[level] = function(format, ...)
      local text = select("#", ...) > 0 and format:format(...) or format
      world.logged[#world.logged + 1] = level .. ": " .. text
    end
  end
  world.lunarch = {
    now = function() return world.time end,
    sleep = function(seconds)
      world:wait(function() return false end, world.time + seconds)
      return true
    end,
    spawn = function(...) return world:spawn(...) end,
    connect = function(options)
      world.connect_options = options
      return setmetatable({ world = world }, Client)
    end,
  }
  return world
end

-- Whether something like this was logged.
function World:has_logged(pattern)
  for _, text in ipairs(self.logged) do
    if text:find(pattern) then return text end
  end
  return nil
end

return fake
