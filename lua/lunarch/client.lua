-- Clients: the connection to etcd, and the plain store.
local args = require "lunarch.internal.args"
local connection = require "lunarch.internal.connection"
local core = require "lunarch.core"
local elections = require "lunarch.election"
local endpoints = require "lunarch.internal.endpoints"
local handle = require "lunarch.loop.handle"
local loop = require "lunarch.loop"
local mirrors = require "lunarch.mirror"
local operations = require "lunarch.internal.operations"
local say = require "lunarch.internal.say"
local sessions = require "lunarch.session"
local watches = require "lunarch.watch"

args.is_ours()

local clients = {}

local methods = {}
local Client, check = args.class("client", methods)

-- ---- connecting -------------------------------------------------------------------------------------------------

local function endpoints_check(call, name, value)
  if type(value) == "string" then return args.word(call, name, value) end
  if type(value) ~= "table" then args.bad(call, name, "a list of endpoints that is not empty", value) end
  if #value == 0 then args.misuse("%s: '%s' must be a list of endpoints, and is an empty table", call, name) end
  for i = 1, #value do
    args.word(call, ("%s[%d]"):format(name, i), value[i])
  end
  return value
end

local WORLDS = { auto = true, block = true, luv = true, cqueues = true }
local FOREIGN = { suspend = args.callable, wake = args.callable, is_here = args.callable }

local function world_check(call, name, value)
  if type(value) == "table" then
    args.options(call .. ": loop", value, FOREIGN)
    args.callable(call, "loop.suspend", value.suspend)
    args.callable(call, "loop.wake", value.wake)
  elseif not WORLDS[value] then
    args.bad(call, name, "'auto', 'block', 'luv', 'cqueues' or a table of functions", value)
  end
  return value
end

local OPTIONS = {
  endpoints = endpoints_check, name = args.who, loop = world_check, trace = args.callable,
  log = args.callable,
}
for name, check_option in pairs(connection.OPTIONS) do
  OPTIONS[name] = check_option
end

local function trace_of(option)
  if option then return option end
  local wish = os.getenv "LUNARCH_TRACE"
  if not wish or wish == "" or wish == "0" then return nil end
  return function(line) say.write(line .. "\n") end
end

local STATUS_S = 2

local function say_level(_, message)
  say.warn(message)
end

-- Tells the log, once, that no etcd answers the first call of a client. The client may be collected meanwhile.
local function watch_silence(client, log, is_given)
  if not log then return end
  local weak = setmetatable({ client = client }, { __mode = "v" })
  client._hub.on_silence = function()
    local self = weak.client
    local members = self and self:status(STATUS_S)
    for _, member in ipairs(members or {}) do
      if not member.error then return end
    end
    if not members or #members == 0 then return end
    log("warn", ("no etcd answers at %s: %s; still waiting for it%s"):format(table.concat(self.endpoints, ","),
      members[1].error, is_given and "" or " (connect { endpoints = ... } or LUNARCH_ENDPOINTS sets its address)"))
  end
end

local function refused(_, message, code) return nil, message, code end

-- Then what is refused is what this machine has not got: an authority that etcd's certificate is checked against.
local function are_secure(members)
  for _, member in ipairs(members) do
    if not member:find "^https://" then return false end
  end
  return true
end

-- Where etcd is, as options say it; nil: they do not.
local function address_of(options)
  local domain, name = options.discovery_srv, options.discovery_srv_name
  if name and not domain then
    args.misuse("lunarch.connect: 'discovery_srv_name' is of use with 'discovery_srv' only")
  end
  if not domain then return options.endpoints end
  if options.endpoints then args.misuse("lunarch.connect: give either 'endpoints' or 'discovery_srv'") end
  return endpoints.of_domain(domain, name)
end

function clients.connect(options)
  options = args.options("lunarch.connect", options, OPTIONS)
  loop.connect "lunarch.connect"
  local on_trace = trace_of(options.trace)
  local found, why = connection.of(options)
  if not found then return nil, why, "invalid" end
  -- A variable, or a file that is not there, is no mistake in the program.
  local given = address_of(options)
  local refuse = (next(found) or not given and endpoints.variable()) and refused or handle.made
  local members, variable, wrong = endpoints.of(given)
  if not members then return refuse(nil, variable, wrong) end
  local core_client, message, code = core.connect(members, options.name, on_trace ~= nil, found)
  if not core_client then return (are_secure(members) and refused or refuse)(nil, message, code) end
  local client = setmetatable({
    _core = core_client, _hub = loop.new_hub(core_client, on_trace, options.loop), endpoints = members,
    prefix = found.prefix,
  }, Client)
  client._log = options.log or say_level
  local log = options.log or say.is_plain and say_level or nil
  watch_silence(client, log, given or variable)
  client._hub.on_warning = log and function(sentence) log("warn", sentence) end
  return client
end

-- ---- the store --------------------------------------------------------------------------------------------------

handle.add_calls("client", methods, check, {
  get = {
    core = "kv", n = 2, convert = operations.get,
    finish = function(_, get, result, message, code)
      if not result then return nil, message, code end
      if get.range_end then
        return result.kvs, { count = result.count, more = result.more, revision = result.revision }
      end
      local kv = result.kvs[1]
      if kv then return kv.value, kv end
      return nil
    end,
  },
  put = {
    core = "kv", n = 3, convert = operations.put,
    finish = function(_, _, result, message, code)
      if not result then return nil, message, code end
      return true, result.revision, result.prev_kv
    end,
  },
  delete = {
    core = "kv", n = 2, convert = operations.delete,
    finish = function(_, _, result, message, code)
      if not result then return nil, message, code end
      return result.deleted, result.prev_kvs
    end,
  },
  txn = { n = 1, convert = operations.txn },
})

local WATCH = {
  prefix = args.boolean, range_end = args.text, revision = args.whole, prev_kv = args.boolean,
  deletes_only = args.boolean,
}

function methods:watch(key, options)
  check(self, "watch")
  options = args.options("client:watch", options, WATCH)
  local first, range_end = operations.range_of("client:watch", key, options)
  local core_watch, message, code = handle.made(self._core:watch(first, range_end, options.revision or 0,
    options.prev_kv or false, options.deletes_only or false))
  if not core_watch then return nil, message, code end
  return watches.new_watch(self, core_watch, key)
end

-- ---- leases -----------------------------------------------------------------------------------------------------

local LEASE = { ttl = args.whole_seconds, id = args.lease }

local function lease_of(call, lease)
  return args.lease(call, "lease", lease)
end

handle.add_calls("client", methods, check, {
  lease = {
    core = "lease_grant", n = 1, takes_two = true,
    convert = function(call, options)
      options = args.options(call, options, LEASE)
      if not options.ttl then args.bad(call, "ttl", "a whole number of seconds, 1 or more", nil) end
      return options.id, options.ttl
    end,
  },
  revoke = { core = "lease_revoke", n = 1, convert = lease_of },
  ttl = {
    core = "lease_ttl", n = 1, convert = lease_of,
    finish = function(_, lease, left, granted, code)
      if not left then return nil, granted, code end
      if left < 0 then return nil, ("lease %s does not exist: it has expired or was revoked"):format(lease), "lost" end
      return left, granted
    end,
  },
  status = {},
  members = { core = "status" },
})

-- ---- more -------------------------------------------------------------------------------------------------------

function methods:mirror(prefix, options, timeout)
  check(self, "mirror")
  return mirrors.open(self, prefix, options, timeout)
end

function methods:session(options, timeout)
  check(self, "session")
  return sessions.open(self, options, timeout)
end

-- From memory.
function methods:stats()
  check(self, "stats")
  return self._core:stats()
end

function methods:observe(name)
  check(self, "observe")
  return elections.observe(self, "client:observe", name)
end

local function close(self, ms)
  if self._is_closed then return true end
  local ok, message, code = handle.await_release(self, self._core:close(ms))
  if not ok then return nil, message, code end
  self._is_closed = true
  loop.dispatch(self._hub)
  loop.close_hub(self._hub)
  return true
end

function methods:close(timeout)
  check(self, "close")
  return close(self, args.timeout("client:close", timeout))
end

-- ---- for loops of others ----------------------------------------------------------------------------------------

function methods:pollfd()
  check(self, "pollfd")
  return self._core:pollfd()
end

function methods:events()
  check(self, "events")
  return "r"
end

function methods:timeout()
  check(self, "timeout")
  return nil
end

function methods:dispatch()
  check(self, "dispatch")
  return loop.dispatch(self._hub)
end

function Client.__tostring(self)
  return ("lunarch.client: %s%s%s"):format(table.concat(self.endpoints, ","),
    self.prefix and ", prefix " .. self.prefix or "", self._is_closed and " (closed)" or "")
end

function Client.__close(self)
  close(self, handle.CLOSE_MS)
end

return clients
