-- A lock made by hand, from one transaction: if the key is not there, put it under our lease; else read who has it.
--
--   lunarch examples/txn_lock.lua --dev
--
-- The value is the client's id, so that the same client may take the lock again. This is what etcd offers to everybody,
-- and enough for a try; for waiting in line, and for losing in time, there is session:mutex().
local lunarch = require "lunarch"

local KEY = "/examples/txn_lock"
local client = assert(lunarch.connect())

local function new_user(id)
  return { id = id, session = assert(client:session()) }
end

-- True, or false and the id of the owner.
local function take(user)
  local result = assert(client:txn {
    compare = { { "create", KEY, "=", 0 } },
    success = { { "put", KEY, user.id, lease = user.session.lease } },
    failure = { { "get", KEY } },
  })
  if result.succeeded then return true end
  local owner = result.responses[1].kvs[1].value
  return owner == user.id, owner
end

-- Only one's own: deleting what another has put there is how locks break.
local function give_up(user)
  local result = assert(client:txn {
    compare = { { "value", KEY, "=", user.id } },
    success = { { "delete", KEY } },
  })
  return result.succeeded
end

local function show(user)
  local ok, owner = take(user)
  print(("%s: %s"):format(user.id, ok and (owner and "mine already" or "taken") or "held by " .. owner))
end

local a, b = new_user "A", new_user "B"
show(a)
show(a)
show(b)
print("B gives up what is not its own: " .. tostring(give_up(b)))
print("A gives up: " .. tostring(give_up(a)))
show(b)
