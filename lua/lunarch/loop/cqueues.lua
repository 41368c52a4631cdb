-- Waiting under cqueues: a wait yields its own coroutine to the controller that runs it, and nothing else stands still.
--
-- In a coroutine that is resumed inside one of the controller's (a generator) a wait blocks: what resumes it would take
-- our yield for one of its values, and a controller cannot be stepped from within. Where C has called Lua (table.sort,
-- string.gsub, on LuaJIT a metamethod) nothing can yield: a wait raises there, and a release blocks.
--
-- Each client that is waited for is followed, in each controller that waits for it, by one coroutine, which reads the
-- client's descriptor and signals the condition of every wait that is over. It ends with the last wait, so that
-- cq:loop() ends too.
--
-- A wait is a table: `is_done`, set by wake, and `cancel`, called when the wait ends otherwise.
local args = require "lunarch.internal.args"
local block = require "lunarch.loop.block"
local common = require "lunarch.loop.common"
local say = require "lunarch.internal.say"
local core = require "lunarch.core"

args.is_ours()

local cqueues, condition    -- loaded by the program, which then may wait in them

local world = {}

local running = coroutine.running
local is_yieldable = coroutine.isyieldable or function() return true end

-- By their coroutines, which keep them. Weak values too: on LuaJIT a weak key is kept by its own value, and a task
-- knows its coroutine.
local tasks = setmetatable({}, { __mode = "kv" })

-- Called once the program has loaded cqueues.
function world.load()
  cqueues, condition = require "cqueues", require "cqueues.condition"
end


-- Whether this code runs in a coroutine that a controller resumes itself.
function world.is_here()
  local controller, is_its_own = cqueues.running()
  return controller ~= nil and is_its_own
end

function world.controller()
  return (cqueues.running())
end

function world.wait_mode()
  return is_yieldable() and "park" or "block"
end

function world.current()
  return tasks[running()]
end

function world.nap(seconds)
  if world.wait_mode() == "park" then cqueues.sleep(seconds) else block.sleep(seconds) end
end

function world.enter()
  if not is_yieldable() then
    args.misuse("nothing can wait here: C has called this function (table.sort, string.gsub, a metamethod), and "
      .. "cqueues cannot yield across it: wait before or after")
  end
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
  if world.wait_mode() == "block" then
    block.sleep(seconds)
  else
    world.suspend({}, seconds)
  end
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

-- One that waits in cqueues' own calls is interrupted when these return.
function world.rouse(task)
  local thread = task.thread
  if task.wait then
    task.wait.condition:signal()
  elseif thread and coroutine.status(thread) == "suspended" then
    common.raise_in(thread, task.interruption)
  end
end

function world.abandon(task)
  common.abandon(world, task)
  if task.wait then task.wait.condition:signal() end
end

-- Where the program that runs scripts catches signals itself, in a loop which a script's own controller does not turn:
-- `fd`, readable with the first; take() -> its number; finish(number) ends the process for it.
world.program_signals = nil

local function watch_signal(fd, callback, take, finish)
  local watch = world.watch(fd, function() callback(take(), finish) end)
  watch:ref()
  return watch
end

-- Calls back, with what is to end the process or nil, when a signal that nobody handles would end the process. Returns
-- what ends the watch, not the catching.
function world.watch_signals(callback)
  local fd, program = core.catch_signals(), world.program_signals
  local own = fd and watch_signal(fd, callback, core.caught_signal)
  local others = program and watch_signal(program.fd, callback, program.take, program.finish)
  return function()
    if own then own:stop() end
    if others then others:stop() end
  end
end

function world.may_join()
  if not world.is_here() then args.misuse "task:join: this task can be joined in a coroutine of its controller only" end
end

local new_task = common.class(world)

local function body(task, fn, ...)
  if task.has_ended then return end
  task.thread = running()
  tasks[task.thread] = task
  common.run(world, task, fn, ...)
end

local function spawn_in(controller, fn, ...)
  local task = new_task { weak = setmetatable({ controller = controller }, WEAK) }
  controller:wrap(body, task, fn, ...)
  return task
end

-- A coroutine of the controller that runs now.
function world.spawn(fn, ...)
  return spawn_in(cqueues.running(), fn, ...)
end

function world.spawn_beside(task, fn, ...)
  local controller = task.weak.controller
  if not controller then args.misuse "task:beside: the controller of this task is gone" end
  return spawn_in(controller, fn, ...)
end

function world.run()
  args.misuse "lunarch.run: a controller of cqueues runs already: use lunarch.spawn, or call what waits as it is"
end

return world
