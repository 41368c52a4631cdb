-- One key in a line, as it is in etcd: whose it is, and what is wrong with it.
--
-- A place is the key <name>/<lease>, bound to that lease (hexadecimal digits without leading zeros), or with "-" and
-- more behind it. Go's clients, etcdctl and Lunarch make the same keys. In a line every key below <name>/ counts.
require "lunarch.internal.args".is_ours()

local place = {}

local function lease_digits(lease)
  return (lease:gsub("^0+", ""))
end

--- The name of the line in which this key was made as a place; nil: it is none.
---@param kv lunarch.kv
---@return string?
function place.name_of(kv)
  if not kv.lease then return nil end
  local name, tail = kv.key:match "^(.+)/([^/]+)$"
  if not name then return nil end
  local digits = lease_digits(kv.lease)
  if tail == digits or tail:sub(1, #digits + 1) == digits .. "-" then return name end
  return nil
end

local function text_field(json, field)
  return json:match('"' .. field .. '":"([^"]*)"')
end

-- What Lunarch writes for a lock: { name, host, pid }.
local function owner_of(value)
  if value:sub(1, 1) ~= "{" then return nil end
  local name, host, pid = text_field(value, "name"), text_field(value, "host"), value:match '"pid":(%d+)'
  if name and host and pid then return name, host, math.tointeger(tonumber(pid)) end
  return nil
end

local function describe(found, given_name)
  if not found.lease then return "(a key without a lease)" end
  if found.pid then
    local where = given_name == found.host and "" or " on " .. found.host
    return ("%s%s (pid %d)"):format(given_name, where, found.pid)
  end
  return found.value ~= "" and found.value or "(a foreign client)"
end

local function trouble_with(kv, name, own_name)
  if not kv.lease then
    return "is bound to no lease: it stays in the line until it is deleted"
  elseif own_name and own_name ~= name then
    return ("belongs to %s, a name inside of %s: it waits in both lines"):format(own_name, name)
  elseif not own_name then
    return "was made by no lock and no election, and counts as a place all the same"
  end
  return nil
end

--- What a key says as a place in the line of `name`.
---@param kv lunarch.kv
---@param name string
---@return lunarch.look.Place
function place.read(kv, name)
  local own_name = place.name_of(kv)
  local found = {
    key = kv.key, lease = kv.lease, token = kv.create_revision, revision = kv.mod_revision, value = kv.value,
    wrong = trouble_with(kv, name, own_name),
  }
  local given_name
  given_name, found.host, found.pid = owner_of(kv.value)
  if found.pid then
    found.kind = "lock"
  elseif kv.value == "" then
    found.kind, found.is_foreign = "lock", true
  else
    found.kind = "election"
  end
  found.who = describe(found, given_name)
  return found
end

--- The place with the lowest create revision: it holds the line. nil: there is none.
---@param places table<any, { token: integer }>
function place.first_of(places)
  local first
  for _, found in pairs(places) do
    if not first or found.token < first.token then first = found end
  end
  return first
end

return place
