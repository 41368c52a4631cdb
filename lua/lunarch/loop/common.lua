-- What a task is in every world: how it is joined and interrupted, and what becomes of it when it ends. In nginx and in
-- cqueues another scheduler resumes its coroutine, elsewhere we do (lunarch.loop.task).
--
-- The world it lives in offers
--   name_of(task)             what it is called in messages
--   current()                 the task that this code runs in, or nil
--   suspend(wait, seconds)    true once wait.is_done, false after so many seconds; raises when the task is interrupted
--   park(task, conclude, ...) optional: see lunarch.loop.task
--   wake(wait)                ends a wait, from anywhere
--   rouse(task)               what waits in the task looks again whether it was interrupted
--   nap(seconds)              holds up nobody but the caller
--   spawn_beside(task, fn, ...)  begins a task where `task` lives, from anywhere
--   enter(), leave()          as common.enter and common.leave, with what else there is to say here
--   report(task)              tells of a task that failed while nobody waited to join it
--   abandon(task)            the task counts as ended, and never goes on: see common.abandon
--   may_join(task)            optional: raises where nothing can wait for it
--   on_joined(task)           optional: a joiner is about to get its outcome
--   farewell                  optional: an error that a task may end by without having failed
local args = require "lunarch.internal.args"
local each = require "lunarch.internal.each"
local core = require "lunarch.core"
local insist = require "lunarch.loop.insist"

args.is_ours()

local common = {}

local running = coroutine.running

-- What the standalone Lua raises for Ctrl-C: as it is, or with the place that it was raised at, with what caught it has
-- put before it, or with a traceback.
function common.is_ctrl_c(err)
  if type(err) ~= "string" then return false end
  return err:find "^interrupted!$" ~= nil or err:find "^interrupted!\n" ~= nil or err:find ": interrupted!$" ~= nil
    or err:find ": interrupted!\n" ~= nil
end

local pack = table.pack or function(...) return { n = select("#", ...), ... } end
local unpack = table.unpack or unpack

-- A task that catches its interruption so often is held up each time, so that it does not hold up the others; and after
-- so long the error is raised at every instruction of it, until it ends.
local PROMPT_RAISES = 10
local HELD_UP_S = 0.02
local PATIENCE_S = 1

local NONE = {}

-- ---- interruptions ----------------------------------------------------------------------------------------------

function common.interruption(err)
  return { err = err, n_raised = 0, began_at = core.now() }
end

-- Whether the task has caught it again and again.
local function is_ignored(interruption)
  interruption.n_raised = interruption.n_raised + 1
  return interruption.n_raised > PROMPT_RAISES
end

local function is_patience_over(interruption)
  return core.now() - interruption.began_at > PATIENCE_S
end

-- From now on the interruption is raised wherever `thread` is.
local function insist_on(interruption, thread)
  if not thread then return end
  insist.always(thread, interruption.err, interruption.is_over)
  interruption.threads = interruption.threads or {}
  interruption.threads[thread] = true
end

-- The task may go on without being interrupted.
function common.calm(task)
  local interruption = task.interruption
  if not interruption or not interruption.threads then return end
  for thread in each(interruption.threads) do
    insist.disarm(thread)
  end
  interruption.threads = nil
end

-- What interrupts the task, its guard being asked first; nil: nothing. A guard that fails does so itself: it is asked
-- wherever the task is, and others must not fail for it.
function common.interruption_of(task)
  if not task.interruption and task.guarded then
    local ok, err = pcall(task.guarded)
    if not ok and common.is_ctrl_c(err) then error(err, 0) end
    if not ok and err == nil then err = "the task's guard failed" end
    if err ~= nil then task.interruption = common.interruption(err) end
  end
  return task.interruption
end

function common.raise(world, interruption)
  if is_ignored(interruption) then
    world.nap(HELD_UP_S)
    if is_patience_over(interruption) then
      local task = world.current()
      insist_on(interruption, running())
      insist_on(interruption, task and task.thread)
    end
  end
  error(interruption.err, 0)
end

-- The task was resumed, or is about to be, from a yield that is none of our waits: `thread` is its coroutine.
function common.raise_in(thread, interruption)
  if is_ignored(interruption) and is_patience_over(interruption) then
    insist_on(interruption, thread)
  else
    insist.once(thread, interruption.err)
  end
end

-- Every call that may wait begins with this: a task that was interrupted raises.
function common.enter(world)
  local task = world.current()
  local interruption = task and common.interruption_of(task)
  if interruption then common.raise(world, interruption) end
end

-- And every wait that was not cut short ends with this: the guard may find that it lasted too long. What to raise then,
-- as `interruption.err`. Who was merely interrupted keeps an answer that has come.
function common.leave(world)
  local task = world.current()
  return task and task.guarded and common.interruption_of(task)
end

function common.raise_if_late(world)
  local interruption = world.leave()
  if interruption then error(interruption.err, 0) end
end

-- ---- beginning and ending ---------------------------------------------------------------------------------------

-- The task counts as ended, whatever it is doing: its coroutine never goes on, or raises at once where it would.
function common.abandon(world, task)
  if task.has_ended then return end
  local thread = task.thread
  task.interruption = common.interruption_of(task) or common.interruption "the task was abandoned"
  if thread and thread ~= running() and coroutine.status(thread) ~= "dead" then
    insist.always(thread, task.interruption.err)
  end
  common.finish(world, task, true)
end

-- A task has returned this, or has failed: then task.traceback is set, if there is one.
function common.finish(world, task, ok, ...)
  if task.has_ended then return end
  common.calm(task)
  -- Lua asks nobody for a traceback where memory is lacking. Before anything is said to have ended: what the user's
  -- __tostring does may be the end of this coroutine.
  if not ok then task.traceback = task.traceback or args.error_text((...)) end
  task.has_ended = true
  if ok then
    task.results = pack(...)
  else
    task.err = ...
    -- To end by its interruption is no failure.
    local is_interrupted = task.interruption and task.interruption.err == task.err
    local is_expected = is_interrupted or task.is_quiet or world.farewell and task.err == world.farewell
    if not task.joiners and not is_expected then world.report(task) end
  end
  for wait in each(task.joiners or NONE) do
    world.wake(wait)
  end
  task.joiners = nil
end

--- Whether a task has failed by what it was to be ended by: where it was at that instant is of no interest, and a
--- traceback costs ten times as much as all else of its end.
function common.is_ending(err)
  return type(err) == "table" and rawget(err, "is_ending") == true
end

-- Runs a task in the coroutine that another scheduler has given it.
function common.run(world, task, fn, ...)
  common.finish(world, task, xpcall(fn, function(err)
    local text = args.error_text(err)
    task.traceback = common.is_ending(err) and text or debug.traceback(text, 2)
    return err
  end, ...))
end

local function describe(err)
  return { err = err, text = args.without_ours(debug.traceback(args.error_text(err), 2)) }
end

-- Calls a function of the program's: true and what it returned first, or false and { err =, text = } of its error.
-- Ctrl-C may be one, which LuaJIT raises in whatever runs: it is the program's.
function common.attempt(fn, ...)
  local ok, result = xpcall(fn, describe, ...)
  if ok or type(result) == "table" then return ok, result end
  -- Lua asks nobody for a description where memory is lacking.
  return false, { err = result, text = args.error_text(result) }
end

-- ---- task objects -----------------------------------------------------------------------------------------------

-- task.joiners: the waits of those that join it, a set; nil: there are none.
local function add_joiner(task, wait)
  task.joiners = task.joiners or {}
  task.joiners[wait] = true
end

local function remove_joiner(task, wait)
  if not task.joiners then return end
  task.joiners[wait] = nil
  if not next(task.joiners) then task.joiners = nil end
end

-- No closure: nginx empties the variables of a light thread that it has killed, those that functions share included.
local function cancel_join(wait)
  remove_joiner(wait.joined, wait)
end

local function join(world, task, timeout)
  local ms = args.timeout("task:join", timeout)
  world.enter()
  if task == world.current() then args.misuse "task:join: a task cannot wait for its own end" end
  if world.may_join then world.may_join(task) end
  if not task.has_ended then
    local wait = { cancel = cancel_join, joined = task }
    add_joiner(task, wait)
    if not world.suspend(wait, ms >= 0 and timeout or nil) then
      remove_joiner(task, wait)
      return nil, ("the task has not ended after %g s"):format(timeout), "timeout"
    end
    common.raise_if_late(world)
  end
  if world.on_joined then world.on_joined(task) end
  if task.traceback then return false, task.traceback, task.err end
  return true, unpack(task.results, 1, task.results.n)
end

local function methods_of(world, methods, check)
  function methods:is_running()
    check(self, "is_running")
    return not self.has_ended
  end

  function methods:join(timeout)
    check(self, "join")
    return join(world, self, timeout)
  end

  function methods:interrupt(err)
    check(self, "interrupt")
    if err == nil then args.bad("task:interrupt", "err", "the error to raise", err) end
    if self.has_ended then return false end
    self.interruption = common.interruption(err)
    world.rouse(self)
    return true
  end

  function methods:allow()
    check(self, "allow")
    common.calm(self)
    self.interruption = nil
  end

  -- Begins another task where this one lives, whatever code calls it.
  function methods:beside(fn, ...)
    check(self, "beside")
    return world.spawn_beside(self, args.callable("task:beside", "fn", fn), ...)
  end

  -- The task counts as ended from now on, without a failure, and never goes on: see common.abandon.
  function methods:abandon()
    check(self, "abandon")
    if world.abandon then world.abandon(self) else common.abandon(world, self) end
  end

  -- From now on `fn` is asked whenever a wait of the task begins or ends: an error other than nil, returned or raised,
  -- interrupts the task. It must not wait.
  function methods:guard(fn)
    check(self, "guard")
    self.guarded = args.callable("task:guard", "fn", fn)
  end
end

-- What makes the tasks of a world: new_task(fields).
function common.class(world)
  local methods = {}
  local Task, check = args.class("task", methods)
  methods_of(world, methods, check)

  function Task.__tostring(task)
    local state = task == world.current() and "running" or "waiting"
    if task.has_ended then state = task.traceback and "failed" or "ended" end
    return ("lunarch.task: %s (%s)"):format(world.name_of(task), state)
  end

  return function(fields)
    return setmetatable(fields, Task)
  end
end

return common
