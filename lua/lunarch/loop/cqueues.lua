-- Waiting under cqueues: a wait yields its own coroutine to the controller that runs it, and nothing else stands still.
--
-- In a coroutine that somebody resumes inside of one of the controller's (a generator) a wait blocks: whoever resumes
-- it would take our yield for one of its values, and a controller cannot be stepped from within.
--
-- Each client that is waited for is followed, in each controller that waits for it, by one coroutine, which reads the
-- client's descriptor and signals the condition of every wait that is over. It ends with the last wait, so that
-- cq:loop() ends too.
--
-- A wait is a table: `is_done`, set by wake, and `cancel`, called when the wait ends otherwise.
local args = require "lunarch.args"

args.is_ours()

local condition = require "cqueues.condition"
local cqueues = require "cqueues"

local world = {}

local pack = table.pack or function(...) return { n = select("#", ...), ... } end
local unpack = table.unpack or unpack
local running = coroutine.running

-- Who catches what interrupts him, and goes on, is held up from then on so that he does not hold up the others.
local PROMPT_RAISES = 10
local HELD_UP_S = 0.02

local methods = {}
local Task, check = args.class("task", methods)

-- By their coroutines.
local tasks = setmetatable({}, { __mode = "k" })

-- Whether this code runs in a coroutine that a controller resumes itself.
function world.is_here()
  local controller, is_its_own = cqueues.running()
  return controller ~= nil and is_its_own
end

function world.controller()
  return (cqueues.running())
end

function world.way()
  return "park"
end

local function current()
  return tasks[running()]
end

-- ---- interruptions ----------------------------------------------------------------------------------------------

local function ask_guard(task)
  if task.interruption or not task.guarded then return end
  local err = task.guarded()
  if err ~= nil then task.interruption = { err = err, n_raised = 0 } end
end

local function raise_interruption(task)
  local interruption = task.interruption
  interruption.n_raised = interruption.n_raised + 1
  if interruption.n_raised > PROMPT_RAISES then cqueues.sleep(HELD_UP_S) end
  error(interruption.err, 0)
end

-- Every call that may wait begins with this: a task that was interrupted raises.
function world.enter()
  local task = current()
  if not task then return end
  ask_guard(task)
  if task.interruption then raise_interruption(task) end
end

-- And every wait that was not cut short ends with this: what to raise then, as `interruption.err`.
function world.leave()
  local task = current()
  if not task then return nil end
  ask_guard(task)
  return task.interruption
end

-- ---- waiting ----------------------------------------------------------------------------------------------------

-- Returns true once wait.is_done, and false after so many seconds. Raises when the task is interrupted, or Lua itself
-- (Ctrl-C), after wait:cancel().
local function suspend(wait, seconds)
  local task = current()
  local until_s = seconds and cqueues.monotime() + seconds
  wait.condition = condition.new()
  if task then task.wait = wait end
  local is_late, ok, err
  repeat
    local left_s = until_s and math.max(0, until_s - cqueues.monotime())
    ok, err = pcall(cqueues.poll, wait.condition, left_s)
    is_late = until_s and cqueues.monotime() >= until_s
  until wait.is_done or not ok or is_late or task and task.interruption
  if task then task.wait = nil end
  if wait.is_done then return true end
  if ok and is_late then return false end
  if wait.cancel then wait:cancel() end
  if not ok then error(err, 0) end
  return raise_interruption(task)
end

world.suspend = suspend

-- Ends a wait, from anywhere: its coroutine goes on later, not now.
function world.wake(wait)
  wait.is_done = true
  wait.condition:signal()
end

local function raise_if_late()
  local interruption = world.leave()
  if interruption then error(interruption.err, 0) end
end

function world.sleep(seconds)
  world.enter()
  suspend({}, seconds)
  raise_if_late()
  return true
end

-- ---- following a client -----------------------------------------------------------------------------------------

local Watch = {}
Watch.__index = Watch

-- What knows of a watch must not keep a controller that everybody else has forgotten.
local WEAK = { __mode = "v" }

local function follow(watch, quit)
  local source = { fd = watch.fd }
  function source:pollfd() return self.fd end
  function source:events() return "r" end
  function source:timeout() return nil end
  while watch.is_wanted do
    cqueues.poll(source, quit)
    if watch.is_wanted then watch.on_ready() end
  end
  watch.is_followed = false
end

-- Calls back whenever `fd` is readable, between ref and unref, from the controller that runs now.
function world.watch(fd, on_ready)
  local weak = setmetatable({ controller = (cqueues.running()) }, WEAK)
  return setmetatable({ fd = fd, on_ready = on_ready, weak = weak }, Watch)
end

function Watch:ref()
  self.is_wanted = true
  if self.is_followed then return end
  self.is_followed = true
  local quit = condition.new()
  self.weak.quit = quit
  self.weak.controller:wrap(follow, self, quit)
end

local function quit(self)
  if self.weak.quit then self.weak.quit:signal() end
end

function Watch:unref()
  self.is_wanted = false
  quit(self)
end

-- The descriptor is about to be closed.
function Watch:stop()
  cqueues.cancel(self.fd)
  self.is_wanted = false
  quit(self)
end

-- ---- tasks ------------------------------------------------------------------------------------------------------

-- Called with a task that failed while nobody waited to join it.
function world.on_failure(task)
  io.stderr:write("lunarch: a task failed: ", task.traceback, "\n")
end

local function finish(task, ok, ...)
  task.has_ended = true
  if ok then
    task.results = pack(...)
  else
    task.err = ...
    -- To end by its interruption is no failure.
    local is_interrupted = task.interruption and task.interruption.err == task.err
    if not next(task.joiners) and not is_interrupted then world.on_failure(task) end
  end
  for wait in pairs(task.joiners) do
    world.wake(wait)
  end
  task.joiners = nil
end

local function body(task, fn, ...)
  tasks[running()] = task
  finish(task, xpcall(fn, function(err)
    task.traceback = debug.traceback(tostring(err), 2)
    return err
  end, ...))
end

-- A coroutine of the controller that runs now.
function world.spawn(fn, ...)
  local task = setmetatable({ joiners = {} }, Task)
  local controller = cqueues.running()
  controller:wrap(body, task, fn, ...)
  return task
end

function world.run()
  args.misuse "lunarch.run: a controller of cqueues runs already: use lunarch.spawn, or call what waits as it is"
end

function Task.__tostring(task)
  local state = task == current() and "running" or "waiting"
  if task.has_ended then state = task.traceback and "failed" or "ended" end
  return ("lunarch.task: in cqueues (%s)"):format(state)
end

function methods:is_running()
  check(self, "is_running")
  return not self.has_ended
end

function methods:join(timeout)
  check(self, "join")
  args.timeout("task:join", timeout)
  if not world.is_here() then args.misuse "task:join: this task can be joined in a coroutine of its controller only" end
  world.enter()
  if self == current() then args.misuse "task:join: a task cannot wait for its own end" end
  if not self.has_ended then
    local joiners = self.joiners
    local wait = { cancel = function(wait) joiners[wait] = nil end }
    joiners[wait] = true
    if not suspend(wait, timeout) then
      joiners[wait] = nil
      return nil, ("the task has not ended after %g s"):format(timeout), "timeout"
    end
    raise_if_late()
  end
  if self.traceback then return false, self.traceback, self.err end
  return true, unpack(self.results, 1, self.results.n)
end

function methods:interrupt(err)
  check(self, "interrupt")
  if err == nil then args.bad("task:interrupt", "err", "the error to raise", err) end
  if self.has_ended then return false end
  self.interruption = { err = err, n_raised = 0 }
  if self.wait then self.wait.condition:signal() end
  return true
end

function methods:allow()
  check(self, "allow")
  self.interruption = nil
end

function methods:guard(fn)
  check(self, "guard")
  self.guarded = args.callable("task:guard", "fn", fn)
end

return world
