-- Locks and background jobs for OpenResty, in its own manner: one client and one session per worker, opened when they
-- are first needed and anew after a loss, shared by all requests.
--
--   local lunarch = require "resty.lunarch"
--   local here = assert(lunarch.new { endpoints = "127.0.0.1:2379", ttl = 10 })
--   local lock, err, code = here:lock("/orders/7", 0.2)      -- waits at most 0.2 s
--   lock:unlock()
--
-- A lock that was taken in a request is given up at its end, however it ends: an internal redirect, a subrequest or an
-- aborted connection makes no difference. In a timer it is kept until it is unlocked, or nothing refers to it any more.
local args = require "lunarch.internal.args"

args.is_ours()

if not require("lunarch.loop.is_nginx")() then
  args.misuse "resty.lunarch: it exists inside nginx only, and not in ngx.run_worker_thread; there: require \"lunarch\""
end

local connection = require "lunarch.internal.connection"
local core = require "lunarch.core"
local each = require "lunarch.internal.each"
local ending = require "lunarch.singleton.ending"
local log = require "lunarch.loop.nginx.log"
local lunarch = require "lunarch"
local mutexes = require "lunarch.mutex"
local nginx = require "lunarch.loop.nginx"
local requests = require "lunarch.loop.nginx.request"
local threads = require "lunarch.loop.nginx.threads"
local times = require "lunarch.internal.times"

local resty = { _VERSION = lunarch.version }

local OPEN_S = 5
local JOIN_S = 1              -- between two looks whether a session's opening has begun
local LOOK_S = 1              -- a lock with no time to wait: etcd's answer is waited for
local MANY = 16               -- more clients than anybody needs in one worker
local FEW_LOCKS = 64          -- of one request, before those that it has unlocked are forgotten

local pack = function(...) return { n = select("#", ...), ... } end

local methods = {}
local Here, check = args.class("worker", methods)

local OPTIONS = {
  endpoints = args.endpoints, name = args.word, ttl = args.ttl, grace = args.seconds, trace = args.callable,
}
for name, check_option in pairs(connection.OPTIONS) do
  OPTIONS[name] = check_option
end

-- One for each set of options, so that a handler may call `new` for every request.
local known, n_known = {}, 0

-- No option holds a zero byte.
local function key_of(options)
  local endpoints = options.endpoints
  if type(endpoints) == "table" then endpoints = table.concat(endpoints, ",") end
  local parts = { endpoints or "", options.name or "", tostring(options.ttl), tostring(options.grace) }
  for _, row in ipairs(connection.ROWS) do
    local value = options[row.name]
    parts[#parts + 1] = value == nil and "" or tostring(value)
  end
  return table.concat(parts, "\0")
end

local function remember_worker(key, here)
  known[key], n_known = here, n_known + 1
  if n_known <= MANY then return end
  log.seldom("clients", "resty.lunarch.new has made ", n_known, " clients in this worker, one for each set of options, "
    .. "and each keeps a lease, threads and descriptors: call it with the same options in every request")
end

--- What this worker has: nil, message, code when there is no memory, or no thread can be created.
function resty.new(options)
  options = args.options("resty.lunarch.new", options, OPTIONS)
  times.check("resty.lunarch.new", options)
  local key = key_of(options)
  local here = known[key]
  if here and not here.client._is_closed then return here end
  local own = connection.pick(options)
  own.trace = options.trace
  local client, message, code = lunarch.connect(own)
  if not client then return nil, message, code end
  if not here then
    here = setmetatable({ ttl = options.ttl, grace = options.grace }, Here)
    remember_worker(key, here)
  end
  here.client, here.current, here.opening = client, nil, nil
  return here
end

local function is_usable(session)
  local state = session and session:state()
  return state == "alive" or state == "jeopardy"
end

-- In a task, where there can be one: the request that wants it first may go away.
local function open(self, timeout)
  local session, message, code = self.client:session({ ttl = self.ttl, grace = self.grace }, timeout)
  self.current, self.opening, self.trouble = session, nil, message
  return session, message, code
end

-- What `opening:join` returns; but where its task cannot begin, for want of a timer, we open the session ourselves.
local function join(self, opening, timeout)
  local until_s = timeout and core.now() + timeout
  while true do
    local left_s = until_s and math.max(until_s - core.now(), 0)
    if nginx.is_starved() then return true, open(self, math.min(left_s or OPEN_S, OPEN_S)) end
    local ok, session, message, code = opening:join(math.min(left_s or JOIN_S, JOIN_S))
    if ok ~= nil or left_s and left_s <= JOIN_S then return ok, session, message, code end
  end
end

-- The hub, in which the session is opened, may end under it, and begins anew.
local function begin_opening(self)
  local opening = nginx.spawn_ours(open, self, OPEN_S)
  opening.on_death = function() opening.has_died = true end
  return opening
end

--- The session of this worker, opened if there is none that serves.
function methods:session(timeout)
  check(self, "session")
  args.timeout("worker:session", timeout)
  if is_usable(self.current) then return self.current end
  if nginx.wait_mode() == "block" then return open(self, math.min(timeout or OPEN_S, OPEN_S)) end
  local until_s = timeout and core.now() + timeout
  self.opening = self.opening or begin_opening(self)
  local opening = self.opening
  local ok, session, message, code = join(self, opening, timeout)
  if ok then return session, message, code end
  if ok == nil then
    local endpoints = self.client.endpoints
    return nil, ("no session with %s within %g s: %s%s"):format(table.concat(endpoints, ","), timeout,
      self.trouble or "not answered yet", nginx.hint(endpoints)), "unavailable"
  end
  -- It failed, which the next one may not.
  if self.opening == opening then self.opening = nil end
  if opening.has_died then return self:session(until_s and math.max(until_s - core.now(), 0)) end
  error(session, 0)
end

local WEAK = { __mode = "k" }

local function forget_locks(request)
  request.locks, request.seen, request.n_locks, request.most_locks = {}, setmetatable({}, WEAK), 0, FEW_LOCKS
end

local function add_lock(request, mutex)
  request.locks[mutex], request.n_locks = true, request.n_locks + 1
end

local function release_all(request)
  for _, group in ipairs { request.locks, request.seen } do
    for mutex in each(group) do
      mutexes.begin_release(mutex)
    end
  end
  forget_locks(request)
end

-- A request may last, and lock again and again: what it has unlocked is not kept, but seen as long as it is there, for
-- mutex:lock may have locked it once more.
local function sort_out(request)
  local sorted = {} -- aside: where memory is lacking in the middle, no lock is forgotten
  forget_locks(sorted)
  for _, group in ipairs { request.locks, request.seen } do
    for mutex in each(group) do
      if mutex.token or mutex._doubt then add_lock(sorted, mutex) else sorted.seen[mutex] = true end
    end
  end
  request.locks, request.seen, request.n_locks = sorted.locks, sorted.seen, sorted.n_locks
  request.most_locks = math.max(FEW_LOCKS, 2 * sorted.n_locks)
end

local function read_is_subrequest() return ngx.is_subrequest end

-- A phase of TLS has no subrequests, and OpenResty raises where they are asked for.
local function is_subrequest()
  local ok, answer = pcall(read_is_subrequest)
  return ok and answer
end

local function collect_held(timer)
  for mutex in each(timer.locked) do
    if mutex.token then return nginx.collect_soon() end
  end
end

-- A timer may hand it on; what nobody has got after its end, because it has failed, say, is released with the garbage.
local function remember_in_timer(mutex)
  local timer = requests.keep()
  if not timer.locked then
    timer.locked = setmetatable({}, WEAK)
    table.insert(timer.on_end, collect_held)
  end
  timer.locked[mutex] = true
end

-- The request gives it up when it ends, if it has it by then.
local function remember(mutex)
  if ngx.get_phase() == "timer" then return remember_in_timer(mutex) end
  local request = requests.shared()
  if not request.locks then
    forget_locks(request)
    table.insert(request.on_end, release_all)
  end
  if request.n_locks >= request.most_locks then sort_out(request) end
  add_lock(request, mutex)
  mutex._request, mutex._is_in_subrequest = request, is_subrequest()
end

-- Whether this request has the lock, and nothing else of it would unlock it: it was locked by this very code, by code
-- that has ended (an earlier phase, one before an internal redirect, a subrequest), or by what waits for this
-- subrequest.
local function waits_for_itself(session, name)
  local holder, locker = mutexes.holder(session, name)
  if not holder or not holder._request or holder._request.group ~= requests.keep().group then return false end
  if locker == (coroutine.running() or "main") or threads.has_ended(locker) then return true end
  return is_subrequest() and not holder._is_in_subrequest
end

local OWN = {}

local function doubt(mutex)
  return waits_for_itself(mutex.session, mutex.name) and OWN
end

local function held_by_itself(name)
  local message = ("%s is locked by this request itself: a second lock would wait for the first"):format(name)
  return nil, message, "locked"
end

-- mutex:lock, but for a wait for what this request itself holds, or comes to hold by another of its light threads or
-- subrequests.
local function lock(mutex, timeout)
  mutex._doubt = doubt
  local ok, is_locked, message, code = pcall(mutex.lock, mutex, timeout)
  mutex._doubt = nil
  if ok then return is_locked, message, code end
  if is_locked ~= OWN then error(is_locked, 0) end
  return held_by_itself(mutex.name)
end

--- Locks a name: a mutex of the worker's session, locked; or nil, message, code. Waits at most `timeout` seconds, nil:
--- for ever.
function methods:lock(name, timeout)
  check(self, "lock")
  args.name("worker:lock", "name", name)
  args.timeout("worker:lock", timeout)
  nginx.enter()
  local until_s = timeout and core.now() + timeout
  local session, message, code = self:session(timeout == 0 and LOOK_S or timeout)
  if not session then return nil, message, code end
  if waits_for_itself(session, name) then return held_by_itself(name) end
  local mutex
  mutex, message, code = session:mutex(name)
  if not mutex then return nil, message, code end
  remember(mutex)
  local ok
  ok, message, code = lock(mutex, until_s and math.max(until_s - core.now(), 0))
  if not ok then return nil, message, code end
  return mutex
end

--- Locks a name around a function; what it returns, or nil, message, code. Released however the function ends.
function methods:with(name, timeout, fn)
  check(self, "with")
  args.callable("worker:with", "fn", fn)
  local mutex, message, code = self:lock(name, timeout)
  if not mutex then return nil, message, code end
  local unguard = mutexes.unless_ended(mutex)
  local results = pack(pcall(fn, mutex))
  unguard()
  if mutex.token then mutex:unlock() end
  if not results[1] then error(results[2], 0) end
  return unpack(results, 2, results.n)
end

--- Gives up the locks of this request now. Not needed at its end, where that happens by itself; waits for nothing.
function resty.release()
  local request = requests.shared()
  if request and request.locks then release_all(request) end
end

--- Gives up everything of this worker, for at most so many seconds: in exit_worker_by_lua*, where it may hold the
--- worker up. What is not closed here is closed when the worker's Lua ends, which takes three seconds at most.
function resty.exit_worker(seconds)
  args.timeout("resty.lunarch.exit_worker", seconds)
  if ngx.get_phase() ~= "exit_worker" then
    args.misuse "resty.lunarch.exit_worker: in exit_worker_by_lua* only: nothing of lunarch goes on after it"
  end
  local until_s = core.now() + (seconds or 1)
  ending.exit_worker(seconds or 1)
  for _, here in each(known) do
    here.client:close(math.max(until_s - core.now(), 0))
  end
  known, n_known = {}, 0
end

function Here.__tostring(self)
  return ("resty.lunarch: %s"):format(tostring(self.client))
end

resty.singleton = require "lunarch.singleton"

return resty
