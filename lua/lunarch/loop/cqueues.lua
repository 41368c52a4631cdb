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
local common = require "lunarch.loop.common"
local say = require "lunarch.say"

args.is_ours()

local condition = require "cqueues.condition"
local cqueues = require "cqueues"

local world = {}

local running = coroutine.running

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

function world.current()
  return tasks[running()]
end

function world.nap(seconds)
  cqueues.sleep(seconds)
end

function world.enter()
  common.enter(world)
end

function world.leave()
  return common.leave(world)
end

-- ---- waiting ----------------------------------------------------------------------------------------------------

-- Returns true once wait.is_done, and false after so many seconds. Raises when the task is interrupted, or Lua itself
-- (Ctrl-C), after wait:cancel().
function world.suspend(wait, seconds)
  local task = world.current()
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
  return common.raise(world, task.interruption)
end

-- Ends a wait, from anywhere: its coroutine goes on later, not now.
function world.wake(wait)
  wait.is_done = true
  wait.condition:signal()
end

function world.sleep(seconds)
  world.enter()
  world.suspend({}, seconds)
  common.raise_if_late(world)
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

function world.name_of()
  return "in cqueues"
end

function world.report(task)
  say.line("a task failed: %s", task.traceback)
end

function world.rouse(task)
  if task.wait then task.wait.condition:signal() end
end

function world.may_join()
  if not world.is_here() then args.misuse "task:join: this task can be joined in a coroutine of its controller only" end
end

local new_task = common.class(world)

local function body(task, fn, ...)
  tasks[running()] = task
  common.run(world, task, fn, ...)
end

-- A coroutine of the controller that runs now.
function world.spawn(fn, ...)
  local task = new_task {}
  local controller = cqueues.running()
  controller:wrap(body, task, fn, ...)
  return task
end

function world.run()
  args.misuse "lunarch.run: a controller of cqueues runs already: use lunarch.spawn, or call what waits as it is"
end

return world
