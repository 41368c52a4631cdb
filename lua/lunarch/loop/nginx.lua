-- Waiting inside nginx: a wait yields its own light thread, and nothing else stands still.
--
-- The worker's loop cannot watch a descriptor of ours, but a light thread can read a socket: the *reader*, one per
-- worker, in a timer of its own, reads the bytes that a thread of the core writes (core.bell), one per batch of
-- answers, and posts the semaphore of each wait that is over. It begins with the first wait and stays.
--
-- Tasks are timers of nginx's: whatever runs in the timer of a task, light threads and coroutines included, belongs to
-- the task, and is known by ngx.ctx.
--
-- A light thread that waits may vanish without a word: the client went away, or the request was ended by ngx.exit. Its
-- semaphore then has nobody who waits for it: that is looked for once a second, and its operation is cancelled.
--
-- When the worker is told to leave (reload, quit) those who asked for it (nginx.on_leave) are told at once; waits in
-- timers that are nobody's are raised out of a second later; those of requests, and of tasks that see to their end
-- themselves, are waited for. With the last wait the reader goes, and nothing of ours keeps the worker.
local args = require "lunarch.args"
local common = require "lunarch.loop.common"

args.is_ours()

local core = require "lunarch.core"
local semaphore = require "ngx.semaphore"

local get_phase = ngx.get_phase
local is_exiting = ngx.worker.exiting

local nginx = {}

local pack = function(...) return { n = select("#", ...), ... } end
local unpack = unpack

local DEFAULT = "127.0.0.1:2379"
local LONGEST_S = 1e6        -- what nginx's timers can count
local FAR_S = 1e6
local SHORTEST_S = 0.001
local LOOK_S = 1             -- between two looks for waits that nobody waits in
local LEAVE_S = 1
local LINGER_S = 0.02
local LAST_MS = 3000         -- what the last revocations are given when the worker ends
local POLL_S = 0.005         -- where no socket can be had
local POLL_FOR_S = 10        -- before that is tried again

-- The field of ngx.ctx that names the task a timer belongs to.
local TASK = "lunarch.task"

-- ---- phases -----------------------------------------------------------------------------------------------------

local CAN_WAIT = {
  rewrite = true, server_rewrite = true, access = true, content = true, timer = true, preread = true, ssl_cert = true,
  ssl_client_hello = true, ssl_session_fetch = true,
}

-- How a wait that begins here is made: "park", or "block" where nothing else is left to be held up; nil: not at all.
function nginx.way()
  local phase = get_phase()
  return CAN_WAIT[phase] and "park" or phase == "exit_worker" and "block" or nil
end

-- Raises where nginx is about to fork, or has not begun to.
function nginx.connect(call)
  if get_phase() == "init" then
    args.misuse("%s: a client opened in init_by_lua* would not survive the start of nginx's workers (require is fine "
      .. "there): open it in init_worker_by_lua* or later", call)
  end
end

-- What may help where none of `endpoints` answers: nginx hands its workers no environment but what it is told to.
function nginx.hint(endpoints)
  local is_usual = endpoints[1] == DEFAULT and not endpoints[2]
  local is_told = os.getenv "LUNARCH_ENDPOINTS" or os.getenv "ETCDCTL_ENDPOINTS"
  if is_told or not is_usual then return "" end
  return " (LUNARCH_ENDPOINTS, if it should count, needs \"env LUNARCH_ENDPOINTS;\" in nginx.conf)"
end

-- The task this code runs in, or nil.
function nginx.current()
  return get_phase() == "timer" and ngx.ctx[TASK] or nil
end

-- ---- who waits --------------------------------------------------------------------------------------------------

local waits = {}        -- all that wait now, the dead ones included
local is_late = false   -- the worker should have left by now
local ring_reader, start

local function forget(wait)
  waits[wait] = nil
  if wait.task then wait.task.waits[wait] = nil end
  if not next(waits) and is_exiting() then ring_reader() end
end

-- Gives up the waits whose light thread is gone. One that was told is resumed before the loop turns: it is dead if it
-- was not by the looker's next look, a turn later. Returns what the looker has to remember until then.
local function look(told_before)
  local dead, told = {}, {}
  for wait in pairs(waits) do
    local is_dead
    if wait.is_told then
      is_dead = told_before[wait] == wait.n_told
      told[wait] = wait.n_told
    else
      is_dead = wait.semaphore:count() >= 0
    end
    if is_dead then dead[#dead + 1] = wait end
  end
  for _, wait in ipairs(dead) do
    forget(wait)
    if wait.cancel then wait:cancel() end
  end
  return told
end

-- To be called when a request may just have ended in the middle of a wait.
function nginx.look()
  look {}
end

local function tell(wait)
  if wait.is_told or not wait.semaphore then return end
  wait.is_told, wait.n_told = true, wait.n_told + 1
  wait.semaphore:post(1)
end

-- Ends a wait, from anywhere: its light thread goes on later, not now.
function nginx.wake(wait)
  wait.is_done = true
  tell(wait)
end

-- ---- interruptions ----------------------------------------------------------------------------------------------

local Leaving = { __name = "lunarch.leaving", __tostring = function(self) return self.message end }
local LEAVING = setmetatable({
  code = "cancelled", message = "the worker is leaving: nginx was told to reload or to quit",
}, Leaving)

nginx.farewell = LEAVING
local leaving = common.interruption(LEAVING)

function nginx.nap(seconds)
  ngx.sleep(seconds)
end

local function is_overdue(task)
  return is_late and not (task and task.is_protected) and get_phase() == "timer"
end

-- What ends the waits of `task`, or of a light thread that is none.
local function interruption_of(task)
  return task and task.interruption or is_overdue(task) and leaving or nil
end

local WHERE = { init_worker = "init_worker_by_lua*", set = "set_by_lua*", init = "init_by_lua*" }

-- Every call that may wait begins with this.
function nginx.enter()
  local phase = get_phase()
  if phase == "timer" then
    local task = ngx.ctx[TASK]
    local interruption = task and common.interruption_of(task) or interruption_of(task)
    if interruption then common.raise(nginx, interruption) end
  elseif not CAN_WAIT[phase] and phase ~= "exit_worker" then
    args.misuse("nothing can wait in %s: nginx does not allow it; start a timer that does: "
      .. "ngx.timer.at(0, function() ... end)", WHERE[phase] or phase .. "_by_lua*")
  end
end

function nginx.leave()
  return common.leave(nginx)
end

-- ---- waiting ----------------------------------------------------------------------------------------------------

-- Returns true once wait.is_done, and false after so many seconds. Raises when the task is interrupted, after
-- wait:cancel().
function nginx.suspend(wait, seconds)
  start()
  local task = nginx.current()
  local until_s = seconds and core.now() + seconds
  wait.semaphore = semaphore.new()
  wait.task, wait.is_told, wait.n_told, wait.is_in_timer = task, false, 0, get_phase() == "timer"
  waits[wait] = true
  if task then task.waits[wait] = true end
  local interruption
  while not wait.is_done do
    interruption = interruption_of(task)
    local left_s = until_s and until_s - core.now()
    if interruption or left_s and left_s <= 0 then break end
    -- nginx counts in whole milliseconds.
    local ok, err = wait.semaphore:wait(math.min(left_s and left_s + SHORTEST_S or LONGEST_S, LONGEST_S))
    wait.is_told = wait.is_done
    if not ok and err ~= "timeout" then
      interruption = common.interruption("nginx's semaphore: " .. tostring(err))
      break
    end
  end
  forget(wait)
  if wait.is_done then return true end
  if not interruption then return false end
  if wait.cancel then wait:cancel() end
  return common.raise(nginx, interruption)
end

function nginx.sleep(seconds)
  nginx.enter()
  if nginx.way() == "block" then
    require "lunarch.loop.block".sleep(seconds)
  elseif seconds == 0 then
    -- Debian's nginx warns of ngx.sleep(0) in its log each time.
    ngx.sleep(SHORTEST_S)
  else
    nginx.suspend({}, seconds)
    common.raise_if_late(nginx)
  end
  return true
end

-- ---- the reader -------------------------------------------------------------------------------------------------

-- What to do for each client when it has something to tell. Collected clients go by themselves.
local clients = setmetatable({}, { __mode = "v" })
local bell
local is_reading = false
local n_readers = 0          -- ever started
local has_reader_begun = false

ring_reader = function()
  if bell then bell:ring() end
end

local function dispatch_all()
  for on_ready in pairs(clients) do
    on_ready()
  end
end

local function is_wanted()
  return next(waits) ~= nil or not is_exiting()
end

-- A bell and a socket to hear it by, or nil and why not.
local function connect_bell()
  local path, message
  for _, folder in ipairs { os.getenv "TMPDIR" or "/tmp", "/tmp", "/dev/shm", "/var/tmp" } do
    bell, path = core.bell(folder)
    if bell then break end
    message = message or path
  end
  if not bell then return nil, message end
  for _, client in pairs(clients) do
    bell:watch(client)
  end
  local socket = ngx.socket.tcp()
  socket:settimeouts(10000, 10000, 2^31 - 1)
  local ok, err = socket:connect("unix:" .. path)
  if ok then return socket end
  bell:close()
  bell = nil
  return nil, ("connecting to %s: %s"):format(path, err)
end

local function read_bell(socket)
  while is_wanted() do
    local bytes, err = socket:receiveany(256)
    if not bytes and err ~= "timeout" then return err end
    dispatch_all()
  end
end

local function poll()
  local until_s = core.now() + POLL_FOR_S
  while is_wanted() and core.now() < until_s do
    ngx.sleep(POLL_S)
    dispatch_all()
  end
end

local function read(_, number)
  if number ~= n_readers then return end
  has_reader_begun = true
  local socket, message = connect_bell()
  if not socket then
    ngx.log(ngx.WARN, "lunarch: no socket to be woken by, looking every ", POLL_S * 1000, " ms instead: ", message)
  end
  local ok, failure
  if socket then
    ok, failure = xpcall(read_bell, debug.traceback, socket)
    socket:close()
    bell:close()
    bell = nil
  else
    ok, failure = xpcall(poll, debug.traceback)
  end
  is_reading = false
  if not ok or failure then
    ngx.log(ngx.ERR, "lunarch: what wakes the waiting has failed, and begins anew: ", failure)
    ngx.sleep(POLL_S)
  end
  if is_wanted() then start() end
end

-- ---- leaving ----------------------------------------------------------------------------------------------------

local leavers = {}
local is_watching_exit = false
local is_lingering = false
local leave_by_s

local function is_strange(wait)
  return wait.is_in_timer and not (wait.task and wait.task.is_protected)
end

-- Stays as long as anybody waits: the worker would not end before anyway.
local function linger()
  leave_by_s = leave_by_s or core.now() + LEAVE_S
  local told = {}
  while next(waits) do
    -- Before the first look too: it must not come before the events that stood in line when we began.
    ngx.sleep(LINGER_S)
    told = look(told)
    if not is_late and core.now() >= leave_by_s then
      is_late = true
      for wait in pairs(waits) do
        if is_strange(wait) then tell(wait) end
      end
    end
  end
  is_lingering = false
  ring_reader()
end

local function leave()
  is_lingering = true
  for _, leaver in ipairs(leavers) do
    local ok, err = xpcall(leaver, debug.traceback)
    if not ok then ngx.log(ngx.ERR, "lunarch: on leaving: ", err) end
  end
  linger()
end

local watch_exit

-- Fires early when the worker is told to leave; or when connections run out, and then it is set again.
watch_exit = function()
  local ok, err = ngx.timer.at(FAR_S, function()
    if is_exiting() then return leave() end
    watch_exit()
  end)
  is_watching_exit = ok
  if not ok and err ~= "process exiting" then ngx.log(ngx.ERR, "lunarch: no timer for the worker's end: ", err) end
end

-- `fn` is called when the worker is told to leave, in a timer, and should not wait.
function nginx.on_leave(fn)
  leavers[#leavers + 1] = fn
  start()
end

-- ---- beginning --------------------------------------------------------------------------------------------------

local is_looking = false
local told_at_last_look = {}
local awaited_reader
local bear_unborn

-- nginx drops a timer for which it has no connection or no room (lua_max_running_timers): then another reader is begun,
-- and the task gets another timer.
local function look_now_and_then(premature)
  if premature then return end
  told_at_last_look = look(told_at_last_look)
  bear_unborn()
  if not is_reading or has_reader_begun then return end
  if awaited_reader == n_readers then
    is_reading = false
    start()
  end
  awaited_reader = n_readers
end

local function look_from_now_on()
  is_looking = is_looking or ngx.timer.every(LOOK_S, look_now_and_then)
end

start = function()
  if is_exiting() then
    is_lingering = is_lingering or ngx.timer.at(0, linger)
  else
    if not is_watching_exit then watch_exit() end
    look_from_now_on()
  end
  if is_reading then return end
  n_readers, has_reader_begun = n_readers + 1, false
  local ok, err = ngx.timer.at(0, read, n_readers)
  if not ok then
    args.misuse("nginx starts no timer, without which nothing is told: %s (lua_max_pending_timers, worker_connections)",
      tostring(err))
  end
  is_reading = true
end

-- Calls back whenever the client (of lunarch.core) has something to tell.
function nginx.watch(client, on_ready)
  clients[on_ready] = client
  if bell then bell:watch(client) end
  local watch = { on_ready = on_ready }
  function watch.ref() end
  function watch.unref() end
  function watch.stop() clients[on_ready] = nil end
  return watch
end

-- Made before every client, so it is collected after them when the worker ends: leases that are left are revoked.
local last = newproxy(true)
getmetatable(last).__gc = function() core.shutdown(LAST_MS) end
nginx.last = last

-- ---- tasks ------------------------------------------------------------------------------------------------------

local new_task = common.class(nginx)

function nginx.name_of()
  return "in nginx"
end

function nginx.report(task)
  ngx.log(ngx.ERR, "lunarch: a task failed: ", task.traceback)
end

function nginx.rouse(task)
  for wait in pairs(task.waits) do
    tell(wait)
  end
end

local unborn = {}       -- tasks whose timer has not begun: what they begin with

local function body(_, task)
  local birth = unborn[task]
  if not birth then return end
  unborn[task] = nil
  ngx.ctx[TASK] = task
  common.run(nginx, task, unpack(birth, 1, birth.n))
end

bear_unborn = function()
  for task, birth in pairs(unborn) do
    if birth.was_seen then ngx.timer.at(0, body, task) end
    birth.was_seen = true
  end
end

local function spawn(is_protected, fn, ...)
  local task = new_task { waits = {}, is_protected = is_protected }
  local ok, err = ngx.timer.at(0, body, task)
  if not ok then args.misuse("lunarch.spawn: nginx starts no timer: %s", tostring(err)) end
  unborn[task] = pack(fn, ...)
  if not is_exiting() then look_from_now_on() end
  return task
end

function nginx.spawn(fn, ...)
  local parent = nginx.current()
  return spawn(parent and parent.is_protected or false, fn, ...)
end

-- A task that sees to its end itself when the worker leaves, and so do those that are spawned in it.
function nginx.spawn_protected(fn, ...)
  return spawn(true, fn, ...)
end

-- Calls `fn` in a timer of its own, which still is the same task: what a timer has allocated is freed with its end, and
-- handlers are called for months.
function nginx.apart(fn, ...)
  local task = nginx.current()
  local done, results = semaphore.new(), nil
  local has_begun, is_dropped = false, false
  local ok = ngx.timer.at(0, function(_, ...)
    if is_dropped then return end
    has_begun = true
    ngx.ctx[TASK] = task
    results = pack(xpcall(fn, function(err)
      return type(err) == "string" and debug.traceback(err, 2) or err
    end, ...))
    done:post(1)
  end, ...)
  if not ok then return fn(...) end
  while not results do
    done:wait(has_begun and LONGEST_S or LOOK_S)
    is_dropped = not has_begun
    if is_dropped then return fn(...) end
  end
  if not results[1] then error(results[2], 0) end
  return unpack(results, 2, results.n)
end

function nginx.run()
  args.misuse "lunarch.run: nginx turns the loop already: use lunarch.spawn, or call what waits as it is"
end

return nginx
