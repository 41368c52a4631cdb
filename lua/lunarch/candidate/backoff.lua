-- Pauses between attempts, by named policies: each row of failures begins with `first_s`, doubles, and stays below
-- `most_s`. A candidate's option `backoff` may set both for each of them.
local args = require "lunarch.internal.args"
local each = require "lunarch.internal.each"

args.is_ours()

local backoff = {}

backoff.POLICIES = {
  -- No answer from etcd, or none that helps: a session, a place, the leader.
  connect = { first_s = 0.25, most_s = 5 },
  -- A term ended by an error, by do_work's false or as unhealthy: others go first.
  stand = { first_s = 1, most_s = 30 },
  -- do_standby failed.
  standby = { first_s = 1, most_s = 30 },
}

-- How many longest pauses a candidate leaves to others that fail, its own included.
local SHARED_MOST = 2

local Backoff = {}
Backoff.__index = Backoff

-- The next pause in seconds: between half of it and all of it, so that those who failed together do not come back
-- together.
function Backoff:next()
  local full = math.min(self.most_s, self.first_s * 2 ^ self.n)
  self.n = self.n + 1
  return full * (0.5 + 0.5 * math.random())
end

-- The same where `n` failures in a row were those of `n_names` candidates together: a pause that lets each of the
-- others have its own first. Never more than twice the longest. nil: of others nothing is known.
function Backoff:shared(n, n_names)
  if not n then return self:next() end
  self.n = math.max(self.n, n - 1)
  local one = self:next()
  return math.min(one * n_names, self:longest() * (0.5 + 0.5 * math.random()))
end

-- The longest pause of a candidate among others that fail.
function Backoff:longest()
  return SHARED_MOST * self.most_s
end

function Backoff:reset()
  self.n = 0
end

--- Pauses by the policy of this name; `set` is the option `backoff`, or nil.
function backoff.new(name, set)
  local policy = backoff.POLICIES[name]
  local own = set and set[name]
  return setmetatable({
    first_s = own and own[1] or policy.first_s, most_s = own and own[2] or policy.most_s, n = 0,
  }, Backoff)
end

--- Checks the option `backoff`: { connect = { first, most }, stand = ..., standby = ... }, in seconds.
function backoff.check(call, name, value)
  if type(value) ~= "table" then args.bad(call, name, "a table such as { stand = { 1, 30 } }", value) end
  for policy, pair in each(value) do
    if not backoff.POLICIES[policy] then args.unknown(call, tostring(policy), backoff.POLICIES, "back-off") end
    local own = ("%s.%s"):format(name, policy)
    if type(pair) ~= "table" then args.bad(call, own, "two pauses, { 1, 30 } for example", pair) end
    args.seconds(call, own .. "[1]", pair[1])
    args.seconds(call, own .. "[2]", pair[2])
    if pair[1] <= 0 or pair[2] < pair[1] then
      args.misuse("%s: '%s' must be two pauses above 0, the longer one last", call, own)
    end
  end
  return value
end

return backoff
