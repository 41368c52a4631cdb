-- Tasks: coroutines of ours that wait without holding anybody up, on the loop of libuv.
--
-- Only a coroutine that was started here may yield to the loop: code that resumes a coroutine of the user's own (a
-- generator) would take our yield for one of its values. A wait in such a coroutine, or outside of every task while
-- tasks are alive, *turns the loop itself* until it is over: other tasks go on meanwhile. Two tasks that wait in
-- this way at the same time end their waits in the reverse order of their beginning. Inside a callback of libuv's
-- the loop cannot be turned: there a wait blocks it.
--
-- Tasks are resumed between turns of the loop, never inside one of its callbacks; only where the user turns the loop
-- himself (uv.run) they are resumed by a callback.
--
-- A wait is a table: `is_done`, set by tasks.wake, and `cancel`, called when the task is interrupted first.
local args = require "lunarch.internal.args"
local each = require "lunarch.internal.each"
local block = require "lunarch.loop.block"
local common = require "lunarch.loop.common"
local say = require "lunarch.internal.say"
local insist = require "lunarch.loop.insist"
local luv = require "lunarch.loop.luv"

args.is_ours()

local tasks = {}

local pack = table.pack or function(...) return { n = select("#", ...), ... } end
local unpack = table.unpack or unpack
local running, yield = coroutine.running, coroutine.yield
local is_yieldable = coroutine.isyieldable or function() return true end

local LAST_WAITS_S = 5
local STUCK = "every task waits, and nothing is left that could wake one"

local kick              -- makes ready tasks run where the loop is turned by the user; nil: luv is not loaded yet
local current           -- the task that runs now; nil outside of them
local alive, n_alive = {}, 0
local n_background = 0  -- of those: nobody waits for their end
local n_turners = 0     -- how many waits and runs are turning the loop, one inside the other
local ready, first_ready, last_ready = {}, 1, 0
local first_failed      -- the first task that failed with nobody to join it
local all_interrupted = false
local broken            -- Ctrl-C that Lua has raised inside a task: for the code that turns the loop outside of them

local run_ready

-- Called with the task that runs from now on, or nil, where a program wants to know what holds up its thread.
tasks.on_switch = nil

local function switch(task)
  current = task
  if tasks.on_switch then tasks.on_switch(task) end
end

local function need_luv(call)
  if kick then return end
  luv.load(call)
  kick = luv.kicker(function()
    if n_turners == 0 then run_ready() end
  end)
end

local function make_ready(task)
  if task.is_ready then return end
  task.is_ready = true
  last_ready = last_ready + 1
  ready[last_ready] = task
  if n_turners == 0 then kick() end
end

-- ---- waiting ----------------------------------------------------------------------------------------------------

-- How a wait that begins here will be made: "park" (the task yields), "turn" (it turns the loop), or "block".
function tasks.wait_mode()
  if current and running() == current.thread and is_yieldable() then return "park" end
  if n_alive > 0 and not luv.is_inside() then return "turn" end
  return "block"
end

function tasks.enter()
  common.enter(tasks)
end

function tasks.leave()
  return common.leave(tasks)
end

-- Turns the loop until is_over() says so. False, and why, when that cannot come any more.
local function turn_until(is_over)
  while not is_over() do
    run_ready()
    if broken and n_turners == 1 then
      local err = broken
      broken = nil
      error(err, 0)
    end
    if is_over() then break end
    local is_alive = luv.turn()
    if first_ready > last_ready and not is_over() then
      if not is_alive then return false, STUCK end
      luv.wait()
    end
  end
  return true
end

local function turn_guarded(is_over)
  local outer = current
  switch(nil)
  n_turners = n_turners + 1
  local ok, is_fine, why = pcall(turn_until, is_over)
  n_turners = n_turners - 1
  switch(outer)
  if n_turners == 0 and first_ready <= last_ready then kick() end
  if not ok then return false, is_fine end
  return is_fine, why
end

-- Turns the loop until is_over(), also where no task can: in a callback of libuv's, from which the caller must not
-- return afterwards. False, and why, when that cannot come any more, or Lua was interrupted.
function tasks.drive(is_over)
  return turn_guarded(is_over)
end

-- Before a wait that a callback of libuv's may end.
function tasks.prepare()
  need_luv "this wait"
end

-- Whether nothing can go on here: in a callback of libuv's.
function tasks.is_stuck()
  return kick ~= nil and tasks.wait_mode() == "block" and luv.is_inside()
end

-- Holds up the task that runs, whatever interrupts it.
function tasks.nap(seconds)
  local task = current
  local wait = { task = task }
  luv.timer(seconds, function() tasks.wake(wait) end)
  if tasks.wait_mode() == "park" then
    task.wait = wait
    repeat yield() until current == task and wait.is_done
    task.wait = nil
  else
    turn_guarded(function() return wait.is_done end)
  end
end

local function suspend(wait)
  local task = current
  wait.task = task
  local failure
  if task and task.interruption then
    failure = task.interruption
  elseif tasks.wait_mode() == "park" then
    task.wait = wait
    -- Any other code that resumes this coroutine is sent back.
    repeat yield() until current == task and (wait.is_done or task.interruption)
    task.wait = nil
    failure = task.interruption
  else
    if task then task.turner = running() end
    local ok, err = turn_guarded(function() return wait.is_done or (task and task.interruption) end)
    if task then task.turner = nil end
    failure = task and task.interruption or not ok and { err = err }
  end
  if wait.is_done then return true end
  wait:cancel()
  if task and failure == task.interruption then common.raise(tasks, failure) end
  if failure.err == STUCK then args.misuse(STUCK) end
  error(failure.err, 0)
end

-- The same for the task that runs, where it is "park", without a limit, and with little left on the stack: the task is
-- its own wait, task.entry.cancel(task) ends it, and conclude(task, ...) is what goes on once it is done.
function tasks.park(task, conclude, a, b, c)
  task.wait, task.is_done = task, nil
  while current ~= task or not (task.is_done or task.interruption) do
    yield()
  end
  task.wait = nil
  if task.is_done then return conclude(task, a, b, c) end
  task.entry.cancel(task)
  task.entry = nil
  return common.raise(tasks, task.interruption)
end

-- Ends a wait, from anywhere: its coroutine goes on later, not now.
function tasks.wake(wait)
  wait.is_done = true
  local task = wait.task or wait
  if task.wait == wait then make_ready(task) end
end

-- Returns true once wait.is_done, and false after so many seconds. Raises when the task is interrupted, or Lua itself
-- (Ctrl-C), after wait:cancel().
function tasks.suspend(wait, seconds)
  if not seconds then return suspend(wait) end
  local is_late = false
  local stop = luv.timer(seconds, function()
    is_late = not wait.is_done
    tasks.wake(wait)
  end)
  local cancel = wait.cancel
  wait.cancel = function()
    stop()
    if cancel then cancel(wait) end
  end
  suspend(wait)
  stop()
  return not is_late
end

function tasks.sleep(seconds)
  tasks.enter()
  local mode = tasks.wait_mode()
  if mode == "block" then
    block.sleep(seconds)
  elseif mode == "park" and seconds == 0 then
    yield()
    tasks.enter()
  else
    tasks.suspend({}, seconds)
    common.raise_if_late(tasks)
  end
  return true
end

-- ---- running ----------------------------------------------------------------------------------------------------

-- Called with a task that failed while nobody waited to join it. A program that hosts scripts puts its own here.
function tasks.on_failure(task)
  say.line("a task failed: %s", task.traceback)
end

function tasks.report(task)
  first_failed = first_failed or task
  if task.group then task.group.failed = task.group.failed or task end
  tasks.on_failure(task)
end

local function leave_group(task)
  local group = task.group
  if not group then return end
  group.n = group.n - 1
  if group.wait and (group.n == 0 or task == group.main and task.traceback) then tasks.wake(group.wait) end
end

local function finish(task, ok, ...)
  if task.has_ended then return end
  alive[task] = nil
  n_alive = n_alive - 1
  if task.is_background then n_background = n_background - 1 end
  if not ok then task.traceback = task.traceback or debug.traceback(task.thread, args.error_text((...))) end
  common.finish(tasks, task, ok, ...)
  if not ok then tasks.pass_on(task.err) end
  leave_group(task)
end

-- Ctrl-C, which on LuaJIT is raised wherever the program is, was raised inside a task: it is raised once more, outside.
function tasks.pass_on(err)
  if n_turners > 0 and common.is_ctrl_c(err) then broken = err end
end

-- A task that is parked is not resumed any more; one that turns the loop, below us on the stack, raises where it would
-- go on.
function tasks.abandon(task)
  if task.has_ended then return end
  local wait = task.wait
  task.wait = nil
  local cancel = wait and not wait.is_done and (wait.entry or wait).cancel
  if cancel then cancel(wait) end
  task.interruption = common.interruption_of(task) or common.interruption "the task was abandoned"
  finish(task, true)
  if coroutine.status(task.thread) ~= "normal" then return end
  insist.always(task.thread, task.interruption.err)
  if task.turner then insist.always(task.turner, task.interruption.err) end
end

-- Without the last line, which is ours: the xpcall at the bottom of every task.
local function traceback_of(err)
  if common.is_ending(err) then return args.error_text(err) end
  local trace = debug.traceback(args.error_text(err), 3):gsub("\n[^\n]*$", "")
  return args.without_ours(trace)
end

-- Called in a task, where its error is raised.
local function on_error(err)
  current.traceback = traceback_of(err)
  return err
end

local new_task = common.class(tasks)

-- Takes what coroutine.resume has returned: what xpcall returned, an error that it could not catch, or nothing: the
-- task has yielded.
local function settle(task, ok, ...)
  if task.has_ended then return end
  if coroutine.status(task.thread) == "dead" then
    if ok then finish(task, ...) else finish(task, false, ...) end
  elseif not task.wait then
    -- A bare yield(): let the others have a turn.
    local interruption = common.interruption_of(task)
    if interruption then common.raise_in(task.thread, interruption) end
    make_ready(task)
  end
end

local function leave_task(outer, ...)
  switch(outer)
  return ...
end

local function resume(task, ...)
  local outer = current
  switch(task)
  settle(task, leave_task(outer, coroutine.resume(task.thread, ...)))
end

-- Those that are ready now. One of them may turn the loop itself, and so run the rest before its turn here has ended.
run_ready = function()
  local last = last_ready
  while first_ready <= last do
    local task = ready[first_ready]
    ready[first_ready] = nil
    first_ready = first_ready + 1
    local start, given = task.start, task.given
    task.is_ready, task.start, task.given = nil, nil, nil
    if not task.has_ended then
      if given then
        resume(task, start, on_error, unpack(given, 1, given.n))
      elseif start then
        resume(task, start, on_error)
      else
        resume(task)
      end
    end
  end
end

-- Its coroutine is xpcall itself: a waiting task is little more than its stack, and each level of calls counts.
local function spawn_in(group, fn, ...)
  local task = new_task { thread = coroutine.create(xpcall), start = fn, group = group }
  if select("#", ...) > 0 then task.given = pack(...) end
  alive[task] = true
  n_alive = n_alive + 1
  if group then group.n = group.n + 1 end
  make_ready(task)
  return task
end

function tasks.spawn(fn, ...)
  need_luv "lunarch.spawn"
  return spawn_in(current and current.group, fn, ...)
end

function tasks.spawn_beside(task, fn, ...)
  return spawn_in(task.group, fn, ...)
end

-- For interrupt_all. What has to be done to its end (task.ends_by_itself: on_lost) goes on, with limits of its own.
local function tell_to_end(task, err)
  task.is_quiet = true
  if not task.ends_by_itself then task:interrupt(err) end
end

-- Interrupts every task there is; their failures are told to nobody but their joiners.
function tasks.interrupt_all(err)
  all_interrupted = true
  for task in each(alive) do
    tell_to_end(task, err)
  end
end

-- No lunarch.run waits for the end of this task any more.
function tasks.put_in_background(task)
  if task.has_ended or task.is_background then return end
  leave_group(task)
  task.group, task.is_background = nil, true
  n_background = n_background + 1
end

-- The task this code runs in, or nil.
function tasks.current()
  return current
end

-- The results of a main task whose tasks have all ended, or their error.
local function conclude(main, failed)
  broken = nil
  if main.traceback then error(type(main.err) == "string" and main.traceback or main.err, 0) end
  if failed then
    if first_failed == failed then first_failed = nil end
    error("a spawned task failed: " .. failed.traceback, 0)
  end
  return unpack(main.results, 1, main.results.n)
end

-- A main task inside another task: it waits for those that were spawned in it, while everything else goes on.
local function run_inside(fn, ...)
  tasks.enter()
  local group = { n = 0 }
  group.main = spawn_in(group, fn, ...)
  group.main.is_quiet = true
  local function interrupt_all(err)
    for task in each(alive) do
      if task.group == group then tell_to_end(task, err) end
    end
  end
  while group.n > 0 and not group.main.traceback do
    group.wait = { cancel = function() interrupt_all "the task that called lunarch.run was interrupted" end }
    tasks.suspend(group.wait)
  end
  if group.n > 0 then
    interrupt_all "the main task failed"
    group.wait = {}
    tasks.suspend(group.wait, LAST_WAITS_S)
  end
  return conclude(group.main, group.failed)
end

-- Where one of them waits: the main task, unless it has ended.
local function stuck_at(main)
  local task = main
  for other in each(alive) do
    if task.has_ended and not other.is_background then task = other end
  end
  return args.placed(task.thread, STUCK)
end

local function run_outside(fn, ...)
  local main = spawn_in(nil, fn, ...)
  main.is_quiet = true
  all_interrupted = false
  local ok, why = turn_guarded(function()
    return n_alive == n_background or main.has_ended and (main.traceback or all_interrupted)
  end)
  if ok and n_alive > n_background then
    if main.traceback then tasks.interrupt_all "the main task failed" end
    local is_late = false
    local stop = luv.timer(LAST_WAITS_S, function() is_late = true end)
    ok, why = turn_guarded(function() return n_alive == n_background or is_late end)
    stop()
  end
  if not ok and not main.traceback then error(why == STUCK and stuck_at(main) or why, 0) end
  return conclude(main, first_failed)
end

function tasks.run(fn, ...)
  need_luv "lunarch.run"
  if current then return run_inside(fn, ...) end
  if n_turners > 0 or luv.is_inside() then
    args.misuse "lunarch.run: inside a callback of libuv's nothing can wait for a task: use lunarch.spawn"
  end
  return run_outside(fn, ...)
end

-- ---- signals ----------------------------------------------------------------------------------------------------

-- Calls back when a signal that nobody handles would end the process. Returns what ends the watch, not the catching.
function tasks.watch_signals(callback)
  return luv.watch_signals and luv.watch_signals(callback)
end

-- ---- task objects -----------------------------------------------------------------------------------------------

function tasks.name_of(task)
  return tostring(task.thread):match "0x%x+" or "?"
end

function tasks.rouse(task)
  if task.wait then make_ready(task) end
end

function tasks.may_join(task)
  if not task.has_ended and tasks.wait_mode() == "block" then
    args.misuse "task:join: inside a callback of libuv's nothing can wait for a task: spawn one that does"
  end
end

-- Its joiner sees to its failure.
function tasks.on_joined(task)
  if first_failed == task then first_failed = nil end
  if task.group and task.group.failed == task then task.group.failed = nil end
end

return tasks
