-- Sessions: a lease kept alive, and the knowledge of how long it certainly is.
local args = require "lunarch.internal.args"
local core = require "lunarch.core"
local elections = require "lunarch.election"
local handle = require "lunarch.loop.handle"
local loop = require "lunarch.loop"
local mutexes = require "lunarch.mutex"

args.is_ours()

local sessions = {}

local methods, properties = {}, {}
local Session, check = args.class("session", methods, properties)

local OPTIONS = { ttl = args.ttl, grace = args.seconds, lease = args.lease }

function sessions.open(client, options, timeout)
  options = args.options("client:session", options, OPTIONS)
  if options.ttl and options.lease then
    args.misuse "client:session: 'ttl' and 'lease' exclude each other: an existing lease has its TTL already"
  end
  local ms = args.timeout("client:session", timeout)
  loop.enter()
  local grace_ms = options.grace and args.milliseconds(options.grace) or -1
  local core_session, message, code =
    handle.await(client, client._core:session(options.ttl or 0, grace_ms, options.lease, ms))
  if not core_session then return nil, message, code end
  return setmetatable({ _client = client, client = client, _core = core_session }, Session)
end

function properties:lease()
  return self._core:lease()
end

properties.id = properties.lease

function properties:ttl()
  return self._core:ttl()
end

function properties:stop_at()
  return handle.instant(self._core:stop_at())
end

function properties:valid_until()
  return handle.instant(self._core:valid_until())
end

function properties:away_limit()
  return self._core:away_limit()
end

function methods:mutex(name, options)
  check(self, "mutex")
  return mutexes.new(self, name, options)
end

function methods:election(name)
  check(self, "election")
  return elections.new(self, name)
end

-- The state, and for a session that is over the reason, and what etcd said if it refused to renew it.
function methods:state()
  check(self, "state")
  return self._core:state()
end

function methods:remaining()
  check(self, "remaining")
  return handle.remaining(self._core:stop_at())
end

local function state_number(call, state)
  local number = core.numbers.state[state]
  if not number then args.bad(call, "state", "the state known: 'alive', 'jeopardy', 'lost' or 'closed'", state) end
  return number
end

handle.add_calls("session", methods, check, { await = { n = 1, convert = state_number } })

local CLOSE = { revoke = args.boolean }

local function close(self, is_revoked, ms)
  return handle.await_end(self, self._core:close(is_revoked, ms))
end

function methods:close(options, timeout)
  check(self, "close")
  if type(options) == "number" and timeout == nil then
    options, timeout = nil, options
  end
  options = args.options("session:close", options, CLOSE)
  return close(self, options.revoke or false, args.timeout("session:close", timeout))
end

function methods:orphan()
  check(self, "orphan")
  return self._core:orphan()
end

function Session.__tostring(self)
  local state, reason = self:state()
  return ("lunarch.session: lease %s (%s%s)"):format(self.lease, state, reason and ", " .. reason or "")
end

function Session.__close(self)
  if self:state() ~= "closed" then close(self, false, handle.CLOSE_MS) end
end

return sessions
