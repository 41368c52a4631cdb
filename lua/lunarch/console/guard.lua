-- Asks before the client of a real cluster changes keys of others: those that exist and were not made from here.
local beside = require "lunarch.internal.beside"

require "lunarch.internal.args".is_ours()

local guard = {}

local LOOK_S = 5
local NAMED = 3
local MOST_KEYS = 100

local function is_own(world, kv)
  local session = world.open_session
  -- What candidates and operators tell each other is theirs to change, by verbs and by handlers.
  if beside.is_one(kv.key) then return true end
  return world.own_keys[kv.key] == kv.create_revision or session and kv.lease == session.lease
end

-- The keys of a range that were not made from here.
local function foreign_keys(world, get, key, options)
  options = options or {}
  local range = options.prefix or options.range_end
  local result, info = get(world.client, key, {
    prefix = options.prefix, range_end = options.range_end, keys_only = range and true or nil,
    limit = range and MOST_KEYS or nil,
  }, LOOK_S)
  local found = {}
  for _, kv in ipairs(range and result or { type(info) == "table" and info or nil }) do
    if not is_own(world, kv) then found[#found + 1] = kv.key end
  end
  return found, #found + (range and type(info) == "table" and info.count - #result or 0)
end

local function ask(world, verb, found, n)
  if not found[1] then return true end
  local names = table.concat(found, ", ", 1, math.min(#found, NAMED))
  local more = n > NAMED and (" and %d more"):format(n - NAMED) or ""
  return world.may(("%s %s%s, which %s not made from here"):format(verb, names, more, n == 1 and "was" or "were"))
end

local REFUSED = "not done: it was not agreed to"

-- Keys that are made from here, by the revision of their making.
local function remember(world, key, revision, options)
  if math.type(revision) and not (options and options.lease) then
    world.own_keys[key] = world.own_keys[key] or revision
  end
end

-- What is misused is told by the transaction itself.
local function add_foreign(world, get, operation, found)
  local kind, key, options = operation[1], operation[2], operation[3]
  if type(key) ~= "string" or kind ~= "put" and kind ~= "delete" then return end
  if kind == "put" then options = nil elseif type(options) ~= "table" then options = operation end
  table.move(foreign_keys(world, get, key, options), 1, MOST_KEYS, #found + 1, found)
end

--- From now on put, delete, txn and revoke of the world's client ask first.
---@param world lunarch.console.World
function guard.watch(world)
  local client = world.client
  local get, put, delete, txn, revoke = client.get, client.put, client.delete, client.txn, client.revoke
  world.revoke_unasked = revoke
  local grant, own_leases = client.lease, {}
  function client.lease(...)
    local granted, message, code = grant(...)
    if granted then own_leases[granted.id] = true end
    return granted, message, code
  end
  function client.revoke(self, lease, timeout)
    local session = world.open_session
    local is_foreign = type(lease) == "string" and not (session and session.lease == lease) and not own_leases[lease]
    if is_foreign and not world.may(("revoke the lease %s: all its keys go with it"):format(lease)) then
      return nil, REFUSED, "cancelled"
    end
    return revoke(self, lease, timeout)
  end
  world.own_keys = {}
  function client.put(self, key, value, options, timeout)
    if type(key) == "string" and key ~= "" then
      local found, n = foreign_keys(world, get, key)
      if not ask(world, "overwrite", found, n) then return nil, REFUSED, "cancelled" end
    end
    local ok, revision, more = put(self, key, value, options, timeout)
    if ok then remember(world, key, revision, options) end
    return ok, revision, more
  end
  function client.delete(self, key, options, timeout)
    if type(key) == "string" and (key ~= "" or options and options.prefix) then
      local found, n = foreign_keys(world, get, key, options)
      if not ask(world, "delete", found, n) then return nil, REFUSED, "cancelled" end
    end
    return delete(self, key, options, timeout)
  end
  function client.txn(self, request, timeout)
    local found = {}
    for _, branch in ipairs { "success", "failure" } do
      for _, operation in ipairs(type(request) == "table" and request[branch] or {}) do
        add_foreign(world, get, operation, found)
      end
    end
    if not ask(world, "change by a transaction", found, #found) then return nil, REFUSED, "cancelled" end
    return txn(self, request, timeout)
  end
end

return guard
