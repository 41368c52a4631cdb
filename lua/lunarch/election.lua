-- Elections, and the terms won in them.
local args = require "lunarch.internal.args"
local core = require "lunarch.core"
local handle = require "lunarch.loop.handle"
local loop = require "lunarch.loop"
local operations = require "lunarch.internal.operations"
local watches = require "lunarch.watch"

args.is_ours()

local elections = {}

-- ---- term -------------------------------------------------------------------------------------------------------

local term_methods, term_properties = {}, {}
local Term, check_term = args.class("term", term_methods, term_properties)

function term_properties:token()
  return self._core:token()
end

function term_properties:key()
  return self._core:key()
end

-- nil while the term lasts.
function term_properties:reason()
  return self._core:reason()
end

function term_properties:stop_at()
  return handle.instant(self._core:stop_at())
end

function term_properties:valid_until()
  return handle.instant(self._core:valid_until())
end

function term_methods:remaining()
  check_term(self, "remaining")
  return handle.remaining(self._core:stop_at())
end

local function value_of(call, value)
  return args.string(call, "value", value)
end

handle.add_calls("term", term_methods, check_term, {
  await_loss = {},
  proclaim = { n = 1, convert = value_of },
  txn = { n = 1, convert = operations.txn },
  put = {
    core = "txn", n = 3,
    convert = function(...) return { success = { operations.put(...) } } end,
    finish = function(_, _, result, message, code)
      if not result then return nil, message, code end
      return true, result.revision, result.responses[1].prev_kv
    end,
  },
})

-- By the clock, without a word to anybody, where that is enough. An answer that says so is looked at by the clock as
-- well, for it may have been taken late.
function term_methods:ensure(seconds, timeout)
  check_term(self, "ensure")
  args.seconds("term:ensure", "seconds", seconds)
  local ms = args.timeout("term:ensure", timeout)
  local until_s = ms >= 0 and core.now() + ms / 1000
  loop.enter()
  while true do
    local stop_at, valid_until = self._core:stop_at(), self._core:valid_until()
    if stop_at > 0 and valid_until - core.now() >= seconds then return true end
    local left_ms = until_s and math.max(args.milliseconds(math.max(until_s - core.now(), 0)), 0) or ms
    local ok, message, code = handle.await(self, self._core:ensure(args.milliseconds(seconds), left_ms))
    if not ok then return nil, message, code end
  end
end

function term_methods:hand_over(who, timeout)
  check_term(self, "hand_over")
  if who ~= nil then args.text("term:hand_over", "who", who) end
  args.timeout("term:hand_over", timeout)
  loop.enter()
  return require "lunarch.handover".by_term(self, who, timeout)
end

function term_methods:resign(timeout)
  check_term(self, "resign")
  local ms = args.timeout("term:resign", timeout)
  return handle.await_end(self, self._core:resign(ms))
end

function Term.__tostring(self)
  local reason = self.reason
  return ("lunarch.term: %s, token %d%s"):format(self.election.name, self.token, reason and " (" .. reason .. ")" or "")
end

function Term.__close(self)
  if not self.reason then handle.await_release(self, self._core:resign(handle.CLOSE_MS)) end
end

-- ---- election ---------------------------------------------------------------------------------------------------

local methods = {}
local Election, check = args.class("election", methods)

function elections.new(session, name)
  args.name("session:election", "name", name)
  local core_election, message, code = handle.made(session._core:election(name))
  if not core_election then return nil, message, code end
  return setmetatable({ _client = session._client, session = session, name = name, _core = core_election }, Election)
end

local function is_mine(self, leader)
  local term = self._term
  return term ~= nil and leader.token ~= nil and not term.reason and leader.token == term.token
end

handle.add_calls("election", methods, check, {
  campaign = {
    n = 1,
    convert = value_of,
    finish = function(self, value, core_term, message, code)
      if not core_term then return nil, message, code end
      self._term = setmetatable({ _client = self._client, _core = core_term, election = self, value = value }, Term)
      return self._term
    end,
  },
  position = {},
  leader = {
    finish = function(self, _, leader, message, code)
      if leader == nil then return nil, message, code end
      if not leader then return nil, "no leader", "no_leader" end
      leader.is_me = is_mine(self, leader)
      return leader
    end,
  },
})

-- From memory: the text of what is no candidate of this election and is waited for, or nil.
function methods:blocked_by()
  check(self, "blocked_by")
  return (self._core:blocked_by())
end

-- The fourth value closes the observer when a `for` of Lua 5.4 is left.
function elections.observe(client, call, name, is_me)
  args.name(call, "name", name)
  local core_observer, message, code = handle.made(client._core:observer(name))
  if not core_observer then return nil, message, code end
  local observer = watches.new_observer(client, core_observer, name, is_me)
  return observer, nil, nil, observer
end

function methods:observe()
  check(self, "observe")
  return elections.observe(self._client, "election:observe", self.name, function(leader)
    return is_mine(self, leader)
  end)
end

function Election.__tostring(self)
  return "lunarch.election: " .. self.name
end

return elections
