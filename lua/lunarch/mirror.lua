-- Mirrors: all keys below a prefix, kept in step with etcd by a task.
--
--   read --all pages, at one revision--> follow --a watch broke, compaction, an etcd begun anew--> read (after a pause)
--
-- What a new reading finds different is told like events. A watch that resumes on an etcd begun anew could wait for a
-- revision that is far ahead: so now and then etcd's revision is asked for, by a read of one key.
local args = require "lunarch.internal.args"
local common = require "lunarch.loop.common"
local core = require "lunarch.core"
local each = require "lunarch.internal.each"
local loop = require "lunarch.loop"
local say = require "lunarch.internal.say"
local values = require "lunarch.internal.values"
local waiters = require "lunarch.loop.waiters"

args.is_ours()

local mirrors = {}

local PAGE_KEYS = 1000
local MOST_KEYS = 100000
local FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 5
local LOOK_S = 10
local CALL_S = 10
local SILENT_S = 10
-- What etcd answers for as long as nobody changes its users.
local REFUSED = { permission_denied = true, unauthenticated = true }

local methods = {}
local Mirror, check = args.class("mirror", methods)

local OPTIONS = { on_change = args.callable, max_keys = args.whole }

-- ---- what it holds ------------------------------------------------------------------------------------------------

-- An error of the program's own function ends nothing.
local function tell(self, key, kv)
  if not self._on_change or self._is_closed then return end
  local ok, failure = common.attempt(self._on_change, key, kv and kv.value, kv)
  if ok then return end
  if common.is_ctrl_c(failure.err) then return loop.pass_on(failure.err) end
  say.line("mirror of %s: on_change failed: %s", self.prefix, failure.text)
end

local function change(self, key, kv)
  local had = self._kvs[key]
  self._kvs[key] = kv
  self.values[key] = kv and kv.value
  self.n_keys = self.n_keys + (kv and 1 or 0) - (had and 1 or 0)
end

local function too_many(self)
  return nil, ("client:mirror: more than %d keys below %s (max_keys)"):format(self._max_keys, self.prefix), "invalid"
end

-- ---- reading ------------------------------------------------------------------------------------------------------

-- All of it at one revision, within `timeout` or for ever: kvs by key, and the revision; nil, message, code.
local function read(self, timeout)
  local found, n, revision = {}, 0, nil
  local first, range_end = self._first, self._range_end
  local until_s = timeout and core.now() + timeout
  while true do
    local kvs, info, code = self._client:get(first, {
      range_end = range_end, limit = PAGE_KEYS, revision = revision,
    }, until_s and math.max(until_s - core.now(), 0))
    if code == "compacted" and revision then return read(self, until_s and math.max(until_s - core.now(), 0)) end
    if not kvs then return nil, info, code end
    revision = revision or info.revision
    for _, kv in ipairs(kvs) do
      found[kv.key], n = kv, n + 1
    end
    if n > self._max_keys then return too_many(self) end
    if not info.more then return found, revision end
    first = kvs[#kvs].key .. "\0"
  end
end

-- Takes a reading in; what is new in it is told after all of it is there.
local function take(self, found, revision)
  local changed = {}
  for key in each(self._kvs) do
    if not found[key] then changed[#changed + 1] = key end
  end
  for key, kv in each(found) do
    local had = self._kvs[key]
    if not had or had.mod_revision ~= kv.mod_revision or had.value ~= kv.value then changed[#changed + 1] = key end
  end
  table.sort(changed)
  for _, key in ipairs(changed) do
    change(self, key, found[key])
  end
  self.revision = revision
  self._waiters:wake()
  for _, key in ipairs(changed) do
    tell(self, key, found[key])
  end
end

-- ---- trouble ------------------------------------------------------------------------------------------------------

-- Not in step with etcd, and why. Said once for each code: at once where etcd refuses it, else when it has lasted for
-- SILENT_S.
local function note_trouble(self, message, code)
  local trouble = self._trouble or { since = core.now(), said = {} }
  self._trouble, trouble.message, trouble.code = trouble, message, code
  local is_due = REFUSED[code] or core.now() - trouble.since > SILENT_S
  if is_due and not trouble.said[code] then
    trouble.said[code] = true
    say.warn(("mirror of %s: it does not follow etcd, and tries again: %s"):format(self.prefix, message))
  end
  if REFUSED[code] then self._waiters:wake() end
end

local function end_trouble(self)
  local trouble = self._trouble
  self._trouble = nil
  if trouble and next(trouble.said) then say.warn(("mirror of %s: it follows etcd again"):format(self.prefix)) end
end

-- ---- following ----------------------------------------------------------------------------------------------------

-- Whether etcd has begun anew, as far as one read can tell; false, message, code where it cannot be read.
local function is_anew(self)
  local _, kv, code = self._client:get(self._first, { count_only = true, range_end = self._first .. "\0" }, CALL_S)
  if code then return false, kv, code end
  return type(kv) == "table" and kv.revision ~= nil and kv.revision < self.revision
end

local function kv_of(event)
  if event.type ~= "put" then return nil end
  return setmetatable({
    key = event.key, value = event.value, create_revision = event.create_revision, mod_revision = event.revision,
    version = event.version, lease = event.lease,
  }, values.kv)
end

-- False: all is to be read again.
local function take_event(self, event)
  if event.revision < self.revision then return false end
  change(self, event.key, kv_of(event))
  self.revision = event.revision
  self._waiters:wake()
  tell(self, event.key, self._kvs[event.key])
  return self.n_keys <= self._max_keys
end

-- Until the watch has ended, or is not believed any more: why, and in words. "closed": nothing is left to be done.
local function follow(self, watch)
  while not self._is_closed do
    local event, message, code = watch:next(LOOK_S)
    if event then
      end_trouble(self)
      if not take_event(self, event) then return "again" end
    elseif code ~= "timeout" then
      return code, message
    else
      local is_other, trouble, trouble_code = is_anew(self)
      if is_other then return "again" end
      if trouble_code then note_trouble(self, trouble, trouble_code) else end_trouble(self) end
    end
  end
  return "closed"
end

local function end_watch(self)
  if self._watch then self._watch:close() end
  self._watch = nil
end

-- A watch from right after what is held.
local function start_watch(self)
  local message, code
  self._watch, message, code = self._client:watch(self._first, {
    range_end = self._range_end, revision = self.revision + 1,
  })
  return self._watch, message, code
end

local function finish(self, message, code)
  if code == "invalid" then say.warn(("mirror of %s: it has ended: %s"):format(self.prefix, message)) end
  self._is_closed, self._message, self._code = true, self._message or message, self._code or code
  end_watch(self)
  self._waiters:wake()
end

-- The task: never two requests at a time, and pauses that grow between attempts, until a watch has lasted for the
-- longest of them: a reading that succeeds says nothing of the watch after it.
local function keep(self)
  local pause_s = FIRST_PAUSE_S
  while not self._is_closed do
    local began_at = core.now()
    local code, message = "again", nil
    if self._watch then code, message = follow(self, self._watch) end
    end_watch(self)
    if self._is_closed or code == "closed" then break end
    if message and code ~= "compacted" then note_trouble(self, message, code) end
    if core.now() - began_at > LONGEST_PAUSE_S then pause_s = FIRST_PAUSE_S end
    loop.sleep(pause_s * (0.5 + math.random()))
    local found, revision, failure = read(self, CALL_S)
    pause_s = math.min(pause_s * 2, LONGEST_PAUSE_S)
    if found then
      take(self, found, revision)
      local watch, why, why_code = start_watch(self)
      if not watch then note_trouble(self, why, why_code) end
    elseif failure == "closed" or failure == "invalid" then
      return finish(self, revision, failure)
    else
      note_trouble(self, revision, failure)
    end
  end
  finish(self, "the mirror or its client is closed", "closed")
end

local function keep_to_the_end(self)
  local ok, err = xpcall(keep, debug.traceback, self)
  if ok then return end
  finish(self, "the mirror's task was ended", "cancelled")
  error(err, 0)
end

-- ---- the object ---------------------------------------------------------------------------------------------------

local function range_of(prefix)
  local operations = require "lunarch.internal.operations"
  return operations.range_of("client:mirror", prefix, { prefix = true })
end

--- client:mirror: see library/lunarch.d.lua.
function mirrors.open(client, prefix, options, timeout)
  options = args.options("client:mirror", options, OPTIONS)
  local first, range_end = range_of(args.string("client:mirror", "prefix", prefix))
  args.timeout("client:mirror", timeout)
  local self = setmetatable({
    _client = client, prefix = prefix, _first = first, _range_end = range_end, _kvs = {}, values = {}, n_keys = 0,
    revision = 0, _on_change = options.on_change, _max_keys = options.max_keys or MOST_KEYS, _waiters = waiters.new(),
  }, Mirror)
  local found, revision, code = read(self, timeout)
  if not found then return nil, revision, code end
  take(self, found, revision)
  local watch, message, why = start_watch(self)
  if not watch then return nil, message, why end
  local task
  task, message, why = loop.spawn(keep_to_the_end, self)
  if not task then
    end_watch(self)
    return nil, message, why
  end
  -- In nginx on_change may end it by ngx.exit.
  task.on_death = function() finish(self, "the mirror's task was ended", "cancelled") end
  local world = loop.world()
  if world.put_in_background then world.put_in_background(task) end
  return self
end

--- The value of a key, and all that etcd says of it; nil: it does not exist.
function methods:get(key)
  check(self, "get")
  args.text("mirror:get", "key", key)
  local kv = self._kvs[key]
  return kv and kv.value, kv
end

function methods:wait(key, timeout)
  check(self, "wait")
  args.text("mirror:wait", "key", key)
  args.timeout("mirror:wait", timeout)
  loop.enter()
  local until_s = timeout and core.now() + timeout
  while not self._kvs[key] do
    if self._is_closed then return nil, self._message, self._code end
    local trouble = self._trouble
    if trouble and REFUSED[trouble.code] then return nil, trouble.message, trouble.code end
    local left_s = until_s and until_s - core.now()
    if left_s and left_s <= 0 then
      local why = trouble and "; it does not follow etcd: " .. trouble.message or ""
      return nil, ("mirror:wait: no key %s within %g s%s"):format(key, timeout, why), "timeout"
    end
    self._waiters:await(left_s)
  end
  return self._kvs[key].value, self._kvs[key]
end

function methods:close()
  check(self, "close")
  if not self._is_closed then finish(self, "the mirror is closed", "closed") end
  return true
end

function Mirror.__tostring(self)
  local s = self.n_keys == 1 and "" or "s"
  return ("lunarch.mirror: %s, %d key%s, revision %d%s"):format(self.prefix, self.n_keys, s, self.revision,
    self._is_closed and " (closed)" or "")
end

Mirror.__close = methods.close

return mirrors
