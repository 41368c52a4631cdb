-- Locks and background jobs for OpenResty, in its own manner: one client and one session per worker, opened when they
-- are first needed and anew after a loss, shared by all requests.
--
--   local lunarch = require "resty.lunarch"
--   local here = assert(lunarch.new { endpoints = "127.0.0.1:2379", ttl = 10 })
--   local lock, err, code = here:lock("/orders/7", 0.2)      -- waits at most 0.2 s
--   lock:unlock()
--
-- A lock that was taken in a request is given up at its end, however it ends: an internal redirect, a subrequest or an
-- aborted connection makes no difference. In a timer it is kept until it is unlocked.
local args = require "lunarch.internal.args"

args.is_ours()

if not require("lunarch.loop.is_nginx")() then
  args.misuse "resty.lunarch: it exists inside nginx only, and not in ngx.run_worker_thread; there: require \"lunarch\""
end

local connection = require "lunarch.internal.connection"
local core = require "lunarch.core"
local each = require "lunarch.internal.each"
local ending = require "lunarch.singleton.ending"
local lunarch = require "lunarch"
local mutexes = require "lunarch.mutex"
local nginx = require "lunarch.loop.nginx"
local requests = require "lunarch.loop.nginx.request"

local resty = { _VERSION = lunarch.version }

local OPEN_S = 5
local JOIN_S = 1              -- between two looks whether a session's opening has begun

local methods = {}
local Here, check = args.class("worker", methods)

local OPTIONS = {
  endpoints = args.endpoints, name = args.word, ttl = args.ttl, grace = args.seconds, trace = args.callable,
}
for name, check_option in pairs(connection.OPTIONS) do
  OPTIONS[name] = check_option
end

-- One for each set of options, so that a handler may call `new` for every request.
local known = {}

local function key_of(options)
  local endpoints = options.endpoints
  if type(endpoints) == "table" then endpoints = table.concat(endpoints, ",") end
  local parts = { tostring(endpoints), tostring(options.name), tostring(options.ttl), tostring(options.grace) }
  for _, row in ipairs(connection.ROWS) do
    parts[#parts + 1] = tostring(options[row.name])
  end
  return table.concat(parts, " ")
end

--- What this worker has: nil, message, code when there is no memory, or no thread can be created.
function resty.new(options)
  options = args.options("resty.lunarch.new", options, OPTIONS)
  local key = key_of(options)
  if known[key] then return known[key] end
  local own = connection.pick(options)
  own.trace = options.trace
  local client, message, code = lunarch.connect(own)
  if not client then return nil, message, code end
  known[key] = setmetatable({ client = client, ttl = options.ttl, grace = options.grace }, Here)
  return known[key]
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

--- The session of this worker, opened if there is none that serves.
function methods:session(timeout)
  check(self, "session")
  args.timeout("worker:session", timeout)
  if is_usable(self.current) then return self.current end
  self.opening = self.opening or nginx.spawn_ours(open, self, OPEN_S)
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
  error(session, 0)
end

local function release_all(request)
  for mutex in each(request.locks) do
    mutexes.begin_release(mutex)
  end
  request.locks = {}
end

-- The request gives it up when it ends, if it has it by then. A timer is the user's to keep it beyond.
local function remember(mutex)
  if ngx.get_phase() == "timer" then return end
  local request = requests.keep()
  if not request.locks then
    request.locks = {}
    table.insert(request.on_end, release_all)
  end
  request.locks[mutex] = true
  mutex._request, mutex._is_in_subrequest = request, ngx.is_subrequest
end

-- Whether this request has the lock, and nothing else of it would unlock it: it was locked by this very code, by code
-- that has ended (an earlier phase, one before an internal redirect, a subrequest), or by what waits for this
-- subrequest.
local function waits_for_itself(session, name)
  local holder, locker = mutexes.holder(session, name)
  if not holder or not holder._request or holder._request.group ~= requests.keep().group then return false end
  if locker == coroutine.running() or coroutine.status(locker) == "dead" then return true end
  return ngx.is_subrequest and not holder._is_in_subrequest
end

--- Locks a name: a mutex of the worker's session, locked; or nil, message, code. Waits at most `timeout` seconds, nil:
--- for ever.
function methods:lock(name, timeout)
  check(self, "lock")
  args.name("worker:lock", "name", name)
  args.timeout("worker:lock", timeout)
  local until_s = timeout and core.now() + timeout
  local session, message, code = self:session(timeout)
  if not session then return nil, message, code end
  if waits_for_itself(session, name) then
    return nil, ("%s is locked by this request itself: a second lock would wait for the first"):format(name), "locked"
  end
  local mutex
  mutex, message, code = session:mutex(name)
  if not mutex then return nil, message, code end
  remember(mutex)
  local ok
  ok, message, code = mutex:lock(until_s and math.max(until_s - core.now(), 0))
  if not ok then return nil, message, code end
  return mutex
end

--- Locks a name around a function; what it returns, or nil, message, code. Released however the function ends.
function methods:with(name, timeout, fn)
  check(self, "with")
  args.callable("worker:with", "fn", fn)
  local mutex, message, code = self:lock(name, timeout)
  if not mutex then return nil, message, code end
  local results = { n = 0 }
  local function keep(...)
    results = { n = select("#", ...), ... }
  end
  keep(pcall(fn, mutex))
  if mutex.token then mutex:unlock() end
  if not results[1] then error(results[2], 0) end
  return unpack(results, 2, results.n)
end

--- Gives up the locks of this request now. Not needed at its end, where that happens by itself; waits for nothing.
function resty.release()
  local request = requests.here()
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
  known = {}
end

function Here.__tostring(self)
  return ("resty.lunarch: %s"):format(tostring(self.client))
end

resty.singleton = require "lunarch.singleton"

return resty
