-- The hub: one timer per worker, in which everything runs that is ours and not the user's. It begins with the first
-- wait, and ends when the worker leaves and nothing waits any more. Its light threads are
--
--   the reader   reads a socket to which a thread of the core writes a byte whenever a client has answers or a request
--                has ended (core.bell), and ends the waits: nginx's loop can watch no descriptor of ours;
--   the keeper   looks once a second for what has died or was dropped, starts helpers, and sees to the worker's end;
--   the helpers  each runs one job after another (hub.run): the tasks of candidates. They are kept, because what nginx
--                allocates for a light thread is freed with its timer only.
--
-- Where the hub has not begun, or its timer was dropped, the light threads that wait dispatch answers themselves, every
-- few milliseconds (hub.slice).
--
-- When the worker is told to leave (reload, quit) those who asked for it (hub.on_leave) are told at once; waits in
-- timers that belong to no task are interrupted a second later; those of requests, and of tasks that see to their end
-- themselves, are waited for.
local args = require "lunarch.internal.args"
local each = require "lunarch.internal.each"

args.is_ours()

local core = require "lunarch.core"
local log = require "lunarch.loop.nginx.log"
local requests = require "lunarch.loop.nginx.request"
local semaphore = require "ngx.semaphore"
local timers = require "lunarch.loop.nginx.timers"
local waits = require "lunarch.loop.nginx.waits"

local is_exiting = ngx.worker.exiting
local running = coroutine.running

local hub = {}

local LOOK_S = 1             -- between two looks
local LEAVE_S = 1            -- before waits in timers are interrupted
local LINGER_S = 0.02        -- between two looks when the worker leaves
local POLL_S = 0.005         -- where no socket can be connected
local POLL_FOR_S = 10        -- before that is tried again
local LONGEST_S = 1e6
local READ_TIMEOUT_MS = 2^31 - 1

local clients = setmetatable({}, { __mode = "v" })  -- of lunarch.core, by what to call when one has something to tell
local leavers = {}
local bell

-- ---- whether it is there ------------------------------------------------------------------------------------------

local n_begun = 0            -- hubs ever begun
local asked_at               -- when the latest was; nil: it has ended
local current                -- the hub that runs; nil: none
local is_supervised = false
local is_starved = false     -- nginx has refused or dropped its timer
local is_leaving, is_late = false, false
local queue = {}             -- jobs that no helper has taken yet
local n_busy = 0
local run

local function is_wanted()
  return not is_leaving or waits.is_any() or n_busy > 0 or queue[1] ~= nil
end

-- Everything that sleeps in the hub looks what there is to do.
local function ring(self)
  if bell then bell:ring() end
  self.keeper:post(1)
  if self.n_idle > 0 then self.idle:post(self.n_idle) end
end

waits.on_last = function()
  if current and is_leaving then ring(current) end
end

local start

-- nginx may drop the hub's timer; and nothing else would notice that the hub has died.
local function supervise()
  requests.sweep()
  if not current then
    start()
  elseif is_exiting() then
    ring(current)
  end
end

start = function()
  if current and is_supervised then return end
  local phase = ngx.get_phase()
  -- No timer can be started there, and none is needed: every wait blocks.
  if phase == "exit_worker" then return end
  -- However long the worker takes to begin, nginx has not come to its timers.
  if phase == "init_worker" and asked_at then
    asked_at = core.now()
    return
  end
  if not is_supervised and not is_exiting() then
    is_supervised = ngx.timer.every(LOOK_S, supervise)
  end
  if current or asked_at and core.now() - asked_at < LOOK_S then return end
  n_begun = n_begun + 1
  local ok, err = ngx.timer.at(0, run, n_begun)
  is_starved = not ok or asked_at ~= nil
  if ok and asked_at then
    log.seldom("running", "nginx dropped the timer that all of lunarch runs in: set lua_max_running_timers (256 unless "
      .. "set) or worker_connections higher in nginx.conf; trying again each second")
  elseif not ok then
    log.seldom("pending", "nginx starts no timer: ", err, ": set lua_max_pending_timers (1024 unless set) higher in "
      .. "nginx.conf; trying again each second")
  end
  asked_at = core.now()
end

hub.start = start

--- Whether it is not there, for want of a timer.
function hub.is_starved()
  return is_starved and not current
end

-- ---- the reader ---------------------------------------------------------------------------------------------------

local function dispatch()
  requests.sweep()
  for on_ready in each(clients) do
    on_ready()
  end
end

--- The longest that a wait may sleep before it calls hub.slice again; nil: as long as it likes.
function hub.slice()
  if current then return nil end
  start()
  dispatch()
  return POLL_S
end

requests.on_open = function(fd)
  if bell then bell:hear(fd) end
end

local function open_bell()
  local message
  for _, folder in ipairs { os.getenv "TMPDIR" or "/tmp", "/tmp", "/dev/shm", "/var/tmp" } do
    local found, path = core.bell(folder)
    if found then return found, path end
    message = message or path
  end
  return nil, message
end

local function close_bell()
  if bell then bell:close() end
  bell = nil
end

-- A socket to hear the bell by, or nil and why not.
local function connect_bell()
  local path
  bell, path = open_bell()
  if not bell then return nil, path end
  for _, client in each(clients) do
    bell:hear(client:pollfd())
  end
  bell:hear(requests.fd())
  local socket = ngx.socket.tcp()
  socket:settimeouts(10000, 10000, READ_TIMEOUT_MS)
  local ok, err = socket:connect("unix:" .. path)
  if ok then return socket end
  close_bell()
  return nil, ("connecting to %s: %s"):format(path, err)
end

-- Returns why it cannot go on; nil: the hub is not wanted any more.
local function read_bell(socket)
  while is_wanted() do
    local bytes, err = socket:receiveany(256)
    if not bytes and err ~= "timeout" then return err end
    dispatch()
  end
end

local function poll()
  local until_s = core.now() + POLL_FOR_S
  while is_wanted() and core.now() < until_s do
    ngx.sleep(POLL_S)
    dispatch()
  end
end

-- worker_shutdown_timeout closes the sockets of a worker that leaves, ours too.
local function report(failure)
  if is_exiting() then return end
  log.seldom("reader", "what wakes those that wait has failed, and begins anew: ", failure)
end

local function listen(socket)
  local ok, failure = xpcall(read_bell, debug.traceback, socket)
  socket:close()
  close_bell()
  if ok and not failure then return end
  report(failure)
  if is_exiting() then poll() else ngx.sleep(POLL_S) end
end

local function keep_reading()
  while is_wanted() do
    local socket, message = connect_bell()
    if socket then
      listen(socket)
    else
      if not is_exiting() then
        ngx.log(ngx.WARN, "lunarch: no socket to be woken by, looking every ", POLL_S * 1000, " ms instead: ", message)
      end
      local ok, failure = xpcall(poll, debug.traceback)
      if not ok then report(failure) end
    end
  end
end

-- ---- the helpers --------------------------------------------------------------------------------------------------

local function work(self, job)
  local thread = running()
  n_busy = n_busy + 1
  self.tasks[thread] = job.task
  local ok, err = xpcall(job.fn, debug.traceback)
  self.tasks[thread] = nil
  n_busy = n_busy - 1
  if not ok then ngx.log(ngx.ERR, "lunarch: ", err) end
end

local function help(self)
  while self == current do
    local job = table.remove(queue, 1)
    if job then
      work(self, job)
    else
      if not is_wanted() and bell then bell:ring() end
      self.n_idle = self.n_idle + 1
      self.idle:wait(LONGEST_S)
      self.n_idle = self.n_idle - 1
    end
  end
end

local function start_helpers(self)
  for _ = 1, #queue - self.n_idle do
    ngx.thread.spawn(help, self)
  end
end

--- Calls `fn` in a light thread of the hub, later; the code in it is known as `task`. It must not be the user's:
--- ngx.exit would end all of the hub.
function hub.run(task, fn)
  queue[#queue + 1] = { task = task, fn = fn }
  if not current then return start() end
  if current.n_idle >= #queue then current.idle:post(1) else current.keeper:post(1) end
end

--- The task of the helper that this code runs in, or nil.
function hub.task()
  return current and current.tasks[running()]
end

-- ---- the keeper ---------------------------------------------------------------------------------------------------

--- `fn` is called when the worker is told to leave, and must not wait.
function hub.on_leave(fn)
  leavers[#leavers + 1] = fn
  start()
end

--- Whether the worker should have left by now.
function hub.is_late()
  return is_late
end

local function leave()
  is_leaving = true
  for _, leaver in ipairs(leavers) do
    local ok, err = xpcall(leaver, debug.traceback)
    if not ok then ngx.log(ngx.ERR, "lunarch: on leaving: ", err) end
  end
end

local function be_late()
  is_late = true
  for wait in waits.each() do
    waits.tell(wait)
  end
end

-- Those of tasks whose elder has ended since are late too.
local function tell_left_behind()
  for wait in waits.each() do
    local elder = wait.task and wait.task.elder
    if elder and elder.has_ended then waits.tell(wait) end
  end
end

local function tell_doubtful()
  for wait in waits.each() do
    if wait.doubter then waits.tell(wait) end
  end
end

local is_collecting = false

--- Has the collector go round within a second or so, where something is probably garbage that must not wait for it.
function hub.collect_soon()
  is_collecting = true
end

local function collect()
  if not is_collecting then return end
  is_collecting = false
  collectgarbage()
end

local function look(told)
  timers.look()
  collect()
  tell_doubtful()
  if is_late then tell_left_behind() end
  return waits.look(told)
end

local function keep(self)
  local told, look_at, late_at = {}, core.now() + LOOK_S, nil
  -- What was given before the hub had begun.
  start_helpers(self)
  while self == current do
    self.keeper:wait(math.max(look_at - core.now(), LINGER_S))
    if is_exiting() and not is_leaving then leave() end
    late_at = late_at or is_leaving and core.now() + LEAVE_S
    start_helpers(self)
    if late_at and not is_late and core.now() >= late_at then be_late() end
    if core.now() >= look_at then
      told = look(told)
      look_at = core.now() + (is_leaving and LINGER_S or LOOK_S)
    end
    if not is_wanted() and bell then bell:ring() end
  end
end

-- ---- its timer ----------------------------------------------------------------------------------------------------

-- The reader ends it: whatever begins later begins another.
local function close(self)
  current, asked_at = nil, nil
  ring(self)
end

-- The hub's own code does not end it: a user's function for the log or the trace has called ngx.exit.
local function on_end(request)
  local self = request.hub
  if self ~= current then return end
  close_bell()
  current, asked_at = nil, nil
  n_busy = 0
  ngx.log(ngx.ERR, "lunarch: the timer that all of lunarch runs in was ended, by ngx.exit in a function that it calls: "
    .. "beginning anew")
  for _, task in each(self.tasks) do
    hub.on_death(task)
  end
  start()
end

run = function(_, number)
  if number ~= n_begun or current then return end
  local self = {
    idle = assert(semaphore.new()), keeper = assert(semaphore.new()), n_idle = 0,
    tasks = {},              -- what each helper runs now, by its coroutine
  }
  current, is_starved = self, false
  local request = requests.keep()
  request.hub = self
  table.insert(request.on_end, on_end)
  ngx.thread.spawn(keep, self)
  keep_reading()
  close(self)
end

-- ---- clients --------------------------------------------------------------------------------------------------------

--- `on_ready` is called whenever the client (of lunarch.core) has something to tell, until hub.unwatch(on_ready).
function hub.watch(client, on_ready)
  clients[on_ready] = client
  if bell then bell:hear(client:pollfd()) end
end

function hub.unwatch(on_ready)
  clients[on_ready] = nil
end

return hub
