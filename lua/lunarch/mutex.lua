-- Mutexes.
local args = require "lunarch.internal.args"
local collector = require "lunarch.loop.collector"
local handle = require "lunarch.loop.handle"
local loop = require "lunarch.loop"

args.is_ours()

local mutexes = {}

local pack = table.pack or function(...) return { n = select("#", ...), ... } end
local unpack = table.unpack or unpack

local methods, properties = {}, {}
local Mutex, check = args.class("mutex", methods, properties)

local OPTIONS = { reentrant = args.boolean }

function mutexes.new(session, name, options)
  args.name("session:mutex", "name", name)
  options = args.options("session:mutex", options, OPTIONS)
  local core_mutex, message, code = handle.made(session._core:mutex(name, options.reentrant or false))
  if not core_mutex then return nil, message, code end
  return setmetatable({ _client = session._client, session = session, name = name, _core = core_mutex }, Mutex)
end

function properties:token()
  return self._core:token()
end

function properties:key()
  return self._core:key()
end

function properties:stop_at()
  return handle.instant(self._core:stop_at())
end

-- The same call again, after C has refused it as misuse: an error out of nowhere (Ctrl-C) may have left an earlier call
-- of this object to the collector. It is collected, and its answer taken in, before we say that the object is locked
-- already.
local function ask_again(self, method, ms)
  collector.collect()
  loop.dispatch(self._client._hub)
  return self._core[method](self._core, ms)
end

-- A lock with no time to wait: one look. etcd's answer is waited for, else nothing could ever be locked so.
local LOOK_MS = 1000

local function look(ok, message, code)
  if ok then return true, message end
  return nil, message, code == "locked" and "timeout" or code
end

-- The mutexes of a session that were locked last, by name; and by which coroutine.
local function note_lock(self, ok, ...)
  if not ok then return ok, ... end
  local session = self.session
  session._locked = session._locked or setmetatable({}, { __mode = "v" })
  session._locked[self.name], self._locker = self, coroutine.running() or "main"
  return ok, ...
end

--- The mutex of this session by which the name is locked now, and the coroutine that has locked it, "main" for none.
function mutexes.holder(session, name)
  local holder = session._locked and session._locked[name]
  if holder and holder._core:token() then return holder, holder._locker end
  return nil
end

-- Code that waits for what it has locked itself may do so for ever: another task can unlock it, but none need do so.
local function warn_of_own(self)
  local locked = self.session._locked
  if not locked or locked[self.name] == self then return end
  local holder, locker = mutexes.holder(self.session, self.name)
  if not holder or locker ~= (coroutine.running() or "main") then return end
  self._client._log("warn", ("lock %s: the code that waits for it has locked it itself, by another mutex object; "
    .. "waiting without a limit until that one is unlocked"):format(self.name))
end

local function note_look(self, ...)
  return note_lock(self, look(...))
end

local function ask(self, finish, method, ms)
  local id, message, code = self._core[method](self._core, ms)
  if not id and code == "invalid" then id, message, code = ask_again(self, method, ms) end
  return handle.await_then(self, finish, id, message, code)
end

-- Few variables, and every call the last one: see loop.await.
function methods:lock(timeout)
  check(self, "lock")
  local ms = args.timeout("mutex:lock", timeout)
  loop.enter()
  if ms == 0 then return ask(self, note_look, "try_lock", LOOK_MS) end
  if ms < 0 then warn_of_own(self) end
  return ask(self, note_lock, "lock", ms)
end

function methods:try_lock(timeout)
  check(self, "try_lock")
  local ms = args.timeout("mutex:try_lock", timeout)
  loop.enter()
  return ask(self, note_lock, "try_lock", ms)
end

function methods:unlock(timeout)
  check(self, "unlock")
  local ms = args.timeout("mutex:unlock", timeout)
  return handle.await_release(self, self._core:unlock(ms))
end

handle.add_calls("mutex", methods, check, { owner = {}, position = {}, await_loss = {} })

function methods:is_held()
  check(self, "is_held")
  return self._core:is_held()
end

-- From memory: the text of what is no lock of this name and is waited for, or nil.
function methods:blocked_by()
  check(self, "blocked_by")
  return (self._core:blocked_by())
end

function methods:remaining()
  check(self, "remaining")
  return handle.remaining(self._core:stop_at())
end

--- In nginx the request or the timer may end in the middle of a function that is called under the lock: it is released
--- then. To be called when that function has ended: what is returned.
function mutexes.unless_ended(mutex)
  return loop.unless_ended(function() mutexes.begin_release(mutex) end)
end

-- The error of the function counts more than one of the release.
function methods:with(fn, timeout)
  check(self, "with")
  args.callable("mutex:with", "fn", fn)
  args.timeout("mutex:with", timeout)
  local ok, message, code = self:lock(timeout)
  if not ok then return nil, message, code end
  local unguard = mutexes.unless_ended(self)
  local results = pack(pcall(fn, self))
  unguard()
  local is_released, release_error = pcall(self.unlock, self)
  if not results[1] then error(results[2], 0) end
  if not is_released then error(release_error, 0) end
  return unpack(results, 2, results.n)
end

-- Begins the release of a mutex, if it is locked; it goes on by itself. Does not wait, and raises nothing: for where
-- nobody is left to be told.
function mutexes.begin_release(mutex)
  local id = mutex._core:token() and mutex._core:unlock(handle.CLOSE_MS)
  if id then mutex._client._core:forget(id) end
end

function Mutex.__tostring(self)
  local token = self.token
  return ("lunarch.mutex: %s (%s)"):format(self.name, token and ("locked, token %d"):format(token) or "not locked")
end

function Mutex.__close(self)
  if self.token then handle.await_release(self, self._core:unlock(handle.CLOSE_MS)) end
end

return mutexes
