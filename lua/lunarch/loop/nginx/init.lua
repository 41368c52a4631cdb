-- Waiting inside nginx: a wait yields its own light thread, and nothing else stands still.
--
-- A task of the user's is a timer of nginx's: whatever runs in that timer, light threads and coroutines included,
-- belongs to the task, and is known by the timer's request (lunarch.loop.nginx.request). What is ours runs in the hub
-- (lunarch.loop.nginx.hub), where a task is known by its coroutine.
--
-- A task whose light thread ends without returning (ngx.exit) has failed, and its join says so.
local args = require "lunarch.internal.args"
local each = require "lunarch.internal.each"
local common = require "lunarch.loop.common"

args.is_ours()

local block = require "lunarch.loop.block"
local core = require "lunarch.core"
local hub = require "lunarch.loop.nginx.hub"
local insist = require "lunarch.loop.insist"
local phase = require "lunarch.loop.nginx.phase"
local requests = require "lunarch.loop.nginx.request"
local semaphore = require "ngx.semaphore"
local threads = require "lunarch.loop.nginx.threads"
local timers = require "lunarch.loop.nginx.timers"
local waits = require "lunarch.loop.nginx.waits"
local yields = require "lunarch.loop.nginx.yields"
local where = require "lunarch.internal.endpoints"

local nginx = {}

local pack = function(...) return { n = select("#", ...), ... } end
local unpack = unpack

local SHORTEST_S = 0.001
local TIMER_LOOKS = 3        -- how often a handler's timer is set again before the handler fails
local RETRY_S = 1
local LONGEST_S = 1e6
local LAST_MS = 3000         -- what the last revocations are given when the worker ends

-- ---- a Lua state for each request ---------------------------------------------------------------------------------

-- The master loads us too, again with each reload.
local function is_in_worker()
  local kind = require("ngx.process").type()
  return kind == "worker" or kind == "privileged agent" or kind == "single" and not phase.is_before_fork()
end

-- http {} and stream {} have one each.
if is_in_worker() and core.count_state(ngx.config.subsystem) == 2 then
  ngx.log(ngx.ERR, "lunarch: a second Lua state of this worker loads lunarch: with lua_code_cache off nginx makes one "
    .. "for each request, and each leaves a client, a lease, threads and descriptors: set lua_code_cache on")
end

-- ---- where we are -------------------------------------------------------------------------------------------------

nginx.wait_mode = phase.wait_mode

-- Lua code of nginx's own that ours calls.
insist.spare(ngx.get_phase)
insist.spare(semaphore.new)
insist.spare(require("resty.core.base").get_request)

-- Raises where nginx is about to fork, or has not begun to.
function nginx.connect(call)
  if phase.is_before_fork() then
    args.misuse("%s: a client opened in init_by_lua* would not survive the start of nginx's workers (require is fine "
      .. "there): open it in init_worker_by_lua* or later", call)
  end
  hub.start()
end

-- What may help where none of `endpoints` answers: nginx hands its workers no environment but what it is told to.
function nginx.hint(endpoints)
  local is_usual = endpoints[1] == where.DEFAULT and not endpoints[2]
  if where.variable() or not is_usual then return "" end
  return " (LUNARCH_ENDPOINTS, if it should count, needs \"env LUNARCH_ENDPOINTS;\" in nginx.conf)"
end

-- The task this code runs in, or nil.
function nginx.current()
  local task = hub.task()
  if task then return task end
  local request = requests.here()
  return request and request.task
end

-- ---- interruptions ------------------------------------------------------------------------------------------------

local Leaving = { __name = "lunarch.leaving", __tostring = function(self) return self.message end }
local LEAVING = setmetatable({
  code = "cancelled", message = "the worker is leaving: nginx was told to reload or to quit",
}, Leaving)

nginx.farewell = LEAVING

function nginx.nap(seconds)
  ngx.sleep(seconds)
end

-- What a handler has spawned is its own affair as long as the handler's task lives, and no longer.
local function is_looked_after(task)
  return task ~= nil and task.is_protected and not (task.elder and task.elder.has_ended)
end

local function is_overdue(task)
  return hub.is_late() and not is_looked_after(task) and phase.is_timer()
end

-- What ends the waits of `task`, or of a light thread that is none. Each task, and each timer that is none, has an
-- interruption of its own: how often one of them has ignored it is not held against the others. It is over with the
-- timer: nginx runs a request in the same coroutine then.
local function interruption_of(task)
  if task and task.interruption then return task.interruption end
  if not is_overdue(task) then return nil end
  local owner = task or requests.keep()
  if not owner.interruption then
    owner.interruption = common.interruption(LEAVING)
    if not task then owner.interruption.is_over = function() return requests.here() ~= owner end end
  end
  return owner.interruption
end

-- Every call that may wait begins with this.
function nginx.enter()
  phase.check()
  local task = nginx.current()
  local interruption = task and common.interruption_of(task) or interruption_of(task)
  if interruption then common.raise(nginx, interruption) end
end

function nginx.leave()
  return common.leave(nginx)
end

-- ---- waiting ------------------------------------------------------------------------------------------------------

-- Returns true once wait.is_done, and false after so many seconds. Raises when the task is interrupted, after
-- wait:cancel(); or what wait.doubter:_doubt(), which must not wait, returns: asked when the wait begins, and each
-- second. Nothing of a wait is found by its coroutine: nginx runs the next request in that of one that has ended.
function nginx.suspend(wait, seconds)
  if nginx.wait_mode() == "block" then
    if wait.cancel then wait:cancel() end
    return block.in_vain(seconds)
  end
  hub.start()
  local task = nginx.current()
  local function interrupted()
    local err = wait.doubter and wait.doubter:_doubt()
    return interruption_of(task) or err and common.interruption(err)
  end
  local is_done, interruption = waits.suspend(wait, task, seconds, interrupted, hub.slice)
  if is_done ~= nil then return is_done end
  if wait.cancel then wait:cancel() end
  return common.raise(nginx, interruption)
end

-- Ends a wait, from anywhere: its light thread goes on later, not now.
function nginx.wake(wait)
  wait.is_done = true
  waits.tell(wait)
end

function nginx.sleep(seconds)
  nginx.enter()
  if nginx.wait_mode() == "block" then
    block.sleep(seconds)
  elseif seconds == 0 then
    -- Debian's nginx warns of ngx.sleep(0) in its log each time.
    ngx.sleep(SHORTEST_S)
  else
    nginx.suspend({}, seconds)
    common.raise_if_late(nginx)
  end
  return true
end

-- `fn`, which must not wait, is called if the request that this code runs in ends before the function that is returned
-- is called.
function nginx.unless_ended(fn)
  if nginx.wait_mode() == "block" then return function() end end
  return requests.at_end(fn)
end

-- Calls back whenever the client (of lunarch.core) has something to tell.
function nginx.watch(client, on_ready)
  hub.watch(client, on_ready)
  local watch = { on_ready = on_ready }
  function watch.ref() end
  function watch.unref() end
  function watch.stop() hub.unwatch(on_ready) end
  return watch
end

-- Made before every client, so it is collected after them when the worker ends: leases that are left are revoked.
local last = newproxy(true)
getmetatable(last).__gc = function() core.shutdown(LAST_MS) end
nginx.last = last

-- `fn` is called when the worker is told to leave, and must not wait.
nginx.on_leave = hub.on_leave
nginx.collect_soon = hub.collect_soon

-- ---- tasks --------------------------------------------------------------------------------------------------------

local new_task = common.class(nginx)

function nginx.name_of()
  return "in nginx"
end

function nginx.report(task)
  ngx.log(ngx.ERR, "lunarch: a task failed: ", task.traceback)
end

function nginx.rouse(task)
  for wait in each(task.waits) do
    waits.tell(wait)
  end
end

-- Ends the timers of the task, whatever runs in them.
local function kill(task)
  for thread in each(task.threads) do
    threads.kill(thread)
  end
end

-- What the handlers of a term have left in their timers does not outlive the term: see task.bound of lunarch.candidate.
local function end_rest(task)
  if task.bound and not task.bound.is_after then kill(task) end
end

local DIED = "its light thread ended without returning: ngx.exit, or another call that ends a request, was made in it"

local function die(task)
  if task.has_ended then return end
  common.finish(nginx, task, false, DIED)
  end_rest(task)
  if task.on_death then task.on_death() end
end

hub.on_death = die

-- This timer belongs to the task.
local function adopt(task)
  local request = requests.keep()
  request.task = task
  return request
end

local function make_task(is_protected)
  return new_task { waits = {}, threads = {}, is_protected = is_protected }
end

-- Calls `body` in a light thread of this timer, as a part of the task, which may end it by abandoning the task.
local function run_in(task, thread, body)
  task.threads[thread] = true
  threads.run(thread, function()
    yields.watch(nginx)
    body()
  end)
  task.threads[thread] = nil
end

-- The timers of the task end; what waits in it elsewhere raises.
function nginx.abandon(task)
  if task.has_ended then return end
  common.abandon(nginx, task)
  kill(task)
  nginx.rouse(task)
end

-- The whole life of a task, in its light thread.
local function live(task, fn, given)
  common.run(nginx, task, fn, unpack(given, 1, given.n))
  end_rest(task)
end

local function spawn_in_timer(is_protected, fn, ...)
  local task, given = make_task(is_protected), pack(...)
  local ok, message, code = timers.begin(function()
    table.insert(adopt(task).on_end, function() die(task) end)
    run_in(task, {}, function() live(task, fn, given) end)
  end)
  if not ok then return nil, "lunarch.spawn: " .. message, code end
  -- It is the hub that finds a dropped timer.
  hub.start()
  return task
end

-- A task of our own code, in the hub: it needs no timer.
local function spawn_in_hub(is_protected, fn, ...)
  local task, given = make_task(is_protected), pack(...)
  task.is_in_hub = true
  hub.run(task, function() live(task, fn, given) end)
  return task
end

nginx.spawn_ours = function(fn, ...) return spawn_in_hub(false, fn, ...) end

-- Whether such a task would wait for ever: nginx has no timer for the hub.
nginx.is_starved = hub.is_starved

-- A task of our own code that sees to its end itself when the worker leaves, and so do those that are spawned in it.
-- Its field `on_death` may be set: called, and must not wait, if its light thread ends without returning.
nginx.spawn_protected = function(fn, ...) return spawn_in_hub(true, fn, ...) end

-- The task, or nil, message, code: nginx refuses the timer.
function nginx.spawn(fn, ...)
  local ours = hub.task()
  if ours then return spawn_in_hub(ours.is_protected, fn, ...) end
  local parent = nginx.current()
  local task, message, code = spawn_in_timer(parent and parent.is_protected or false, fn, ...)
  if task and parent then task.elder = parent.elder or parent end
  return task, message, code
end

function nginx.spawn_beside(task, fn, ...)
  return (task.is_in_hub and spawn_in_hub or spawn_in_timer)(task.is_protected, fn, ...)
end

-- ---- handlers -----------------------------------------------------------------------------------------------------

local function traced(err)
  return type(err) == "string" and debug.traceback(err, 2) or err
end

local function begin_apart(call)
  return timers.begin(function()
    call.has_begun = true
    table.insert(adopt(call.task).on_end, function()
      if call.results then return end
      call.results = { false, DIED, n = 2 }
      call.done:post(1)
    end)
    run_in(call.task, call, function()
      call.results = pack(xpcall(call.fn, traced, unpack(call.given, 1, call.given.n)))
      common.calm(call.task)
      call.done:post(1)
    end)
  end, TIMER_LOOKS, function(message)
    call.refusal = message
    call.done:post(1)
  end)
end

-- What timers.begin returns.
local function set_apart(call)
  local birth, message
  for _ = 1, TIMER_LOOKS do
    birth, message = begin_apart(call)
    if birth or call.task.interruption then break end
    ngx.sleep(RETRY_S)
  end
  return birth, message
end

-- Until there are call.results, or call.refusal.
local function await_apart(call)
  local birth, message = set_apart(call)
  if not birth then call.refusal = message end
  while not call.results and not call.refusal do
    call.done:wait(call.has_begun and LONGEST_S or RETRY_S)
    if call.task.interruption and timers.forget(birth) then call.refusal = "nginx had no timer for it" end
  end
end

local function raise_end(task)
  error(task.interruption and task.interruption.err or DIED, 0)
end

-- Calls `fn` in a timer of its own, which still is the same task: what a timer has allocated is freed with its end, and
-- handlers are called for months; and ngx.exit ends that timer alone. What `fn` returns, or raises; an error too when
-- the task is abandoned. Where nginx has no timer for it, for some seconds or until the task is interrupted: an error;
-- but what `is_urgent` is called here, in the hub.
function nginx.apart(is_urgent, fn, ...)
  local task = nginx.current()
  if task.has_ended then raise_end(task) end
  local call = { task = task, fn = fn, given = pack(...), done = assert(semaphore.new()) }
  await_apart(call)
  if call.refusal then
    if is_urgent then return fn(...) end
    error(call.refusal, 0)
  end
  if call.is_killed then raise_end(task) end
  if not call.results[1] then error(call.results[2], 0) end
  return unpack(call.results, 2, call.results.n)
end

function nginx.run()
  args.misuse "lunarch.run: nginx turns the loop already: use lunarch.spawn, or call what waits as it is"
end

return nginx
