-- Looks at what is in etcd: which elections and locks there are, and who stands in a line. The console, `lunarch list`,
-- `status` and `watch` print what is read here. Reading only; every call waits.
--
-- A client may be one of lunarch's or of the simulator's: get, txn, ttl, status and watch are what is called.
local args = require "lunarch.internal.args"
local place = require "lunarch.look.place"

args.is_ours()

local look = {}

-- Keys are read in pages, so that a large store costs etcd no large answer.
local PAGE = 2000
local GETS_PER_TXN = 100
-- More leases are not asked for the time they have left.
local MOST_LEASES = 100
-- Keys without a lease, which may block a line, are remembered up to this number.
local MOST_STRAYS = 20000

---@class lunarch.look.Place
---@field place integer 1: the first of its line
---@field key string
---@field lease? string
---@field token integer the key's create revision
---@field revision integer of its latest change
---@field value string
---@field kind "lock"|"election" as far as the value tells
---@field who string
---@field host? string
---@field pid? integer
---@field is_foreign? boolean made by etcdctl or another client, and says nothing of its owner
---@field left? integer seconds until its lease expires unless it is renewed
---@field ttl? integer
---@field wrong? string

---@class lunarch.look.Line
---@field name string
---@field kind "lock"|"election"
---@field holder? lunarch.look.Place
---@field waiting integer
---@field wrong? string

-- ---- all lines --------------------------------------------------------------------------------------------------

-- Calls fn(kv), without values, for each key below the prefix.
local function each_key(client, prefix, timeout, fn)
  local at, options = prefix, { prefix = true, keys_only = true, limit = PAGE }
  local revision
  while true do
    local kvs, info, code = client:get(at, options, timeout)
    if not kvs then return nil, info, code end
    for _, kv in ipairs(kvs) do
      fn(kv)
    end
    if not info.more or not kvs[1] then return revision or info.revision end
    revision = revision or info.revision
    at = kvs[#kvs].key .. "\0"
    options = { range_end = look.end_of(prefix), keys_only = true, limit = PAGE, revision = revision }
  end
end

--- etcd's notation for the end of the keys that begin with `prefix`.
---@param prefix string
---@return string
function look.end_of(prefix)
  local head = prefix:match "^(.-)\255*$"
  if head == "" then return "\0" end
  return head:sub(1, -2) .. string.char(head:byte(-1) + 1)
end

local function take_place(lines, name, kv)
  local line = lines[name]
  if not line then
    line = { name = name, n = 0 }
    lines[name] = line
  end
  line.n = line.n + 1
  if not line.first or kv.create_revision < line.first.create_revision then line.first = kv end
end

-- What stands in `inner` stands in the line around it, too.
local function count_in(outer, n, first)
  outer.n = outer.n + n
  if first.create_revision < outer.first.create_revision then outer.first = first end
end

local function each_outer(lines, name, fn)
  local outer = name:match "^(.+)/[^/]*$"
  while outer do
    if lines[outer] then fn(lines[outer]) end
    outer = outer:match "^(.+)/[^/]*$"
  end
end

local function join_nested(lines, strays)
  local nested = {}
  for name, line in pairs(lines) do
    each_outer(lines, name, function(outer)
      nested[#nested + 1] = { outer, line.n, line.first }
      outer.wrong = outer.wrong or ("the name %s is inside of it"):format(name)
      line.wrong = ("it is inside of the name %s"):format(outer.name)
    end)
  end
  for _, it in ipairs(nested) do
    count_in(it[1], it[2], it[3])
  end
  for _, kv in ipairs(strays) do
    each_outer(lines, kv.key, function(outer)
      outer.wrong = ("the key %s is bound to no lease, and blocks it until it is deleted"):format(kv.key)
      count_in(outer, 1, kv)
    end)
  end
end

local function read_firsts(client, lines, timeout)
  for from = 1, #lines, GETS_PER_TXN do
    local gets = {}
    for i = from, math.min(from + GETS_PER_TXN - 1, #lines) do
      gets[#gets + 1] = { "get", lines[i].first.key }
    end
    local result, message, code = client:txn({ success = gets }, timeout)
    if not result then return nil, message, code end
    for i, response in ipairs(result.responses) do
      local line, kv = lines[from + i - 1], response.kvs[1]
      if kv then
        line.holder = place.read(kv, line.name)
        line.kind = line.holder.kind
      end
    end
  end
  return true
end

--- The lines whose names begin with `prefix`, in the order of their names: or nil, message, code.
---@param client lunarch.client
---@param prefix? string
---@param timeout? number for each request
---@return lunarch.look.Line[]?, string?, lunarch.code?
function look.lines(client, prefix, timeout)
  local by_name, strays = {}, {}
  local ok, message, code = each_key(client, prefix or "", timeout, function(kv)
    local name = place.name_of(kv)
    if name then
      take_place(by_name, name, kv)
    elseif not kv.lease and #strays < MOST_STRAYS then
      strays[#strays + 1] = kv
    end
  end)
  if not ok then return nil, message, code end
  join_nested(by_name, strays)
  local lines = {}
  for _, line in pairs(by_name) do
    line.waiting = line.n - 1
    lines[#lines + 1] = line
  end
  table.sort(lines, function(a, b) return a.name < b.name end)
  ok, message, code = read_firsts(client, lines, timeout)
  if not ok then return nil, message, code end
  for i, line in ipairs(lines) do
    lines[i] = { name = line.name, kind = line.kind or "lock", holder = line.holder, waiting = line.waiting,
      wrong = line.wrong }
  end
  return lines
end

-- ---- one line ---------------------------------------------------------------------------------------------------

--- The places of one line, in order, and the revision at which they were read: or nil, message, code.
---@param client lunarch.client
---@param name string
---@param timeout? number
---@return lunarch.look.Place[]?, integer|string, lunarch.code?
function look.places(client, name, timeout)
  local kvs, info, code = client:get(name .. "/", { prefix = true, sort_by = "create", order = "ascend" }, timeout)
  if not kvs then return nil, info, code end
  local places = {}
  for i, kv in ipairs(kvs) do
    places[i] = place.read(kv, name)
    places[i].place = i
  end
  return places, info.revision
end

-- A lease of several places is asked for once.
local function ask_leases(client, places, timeout)
  local known, n = {}, 0
  for _, it in ipairs(places) do
    local lease = it.lease
    if lease and not known[lease] and n < MOST_LEASES then
      n = n + 1
      local left, ttl = client:ttl(lease, timeout)
      known[lease] = { left = left, ttl = left and ttl }
    end
    if lease and known[lease] then it.left, it.ttl = known[lease].left, known[lease].ttl end
  end
end

--- The same, with the time that each lease has left.
---@param client lunarch.client
---@param name string
---@param timeout? number
---@return lunarch.look.Place[]?, integer|string, lunarch.code?
function look.line(client, name, timeout)
  local places, revision, code = look.places(client, name, timeout)
  if not places then return nil, revision, code end
  ask_leases(client, places, timeout)
  return places, revision
end

--- The names of the lines, or of those that begin with `prefix`, for completion: or nil, message, code.
---@param prefix? string
---@return string[]?, string?, string?
function look.names(client, timeout, prefix)
  local seen, names = {}, {}
  local ok, message, code = each_key(client, prefix or "", timeout, function(kv)
    local name = place.name_of(kv)
    if name and not seen[name] then
      seen[name] = true
      names[#names + 1] = name
    end
  end)
  if not ok then return nil, message, code end
  table.sort(names)
  return names
end

return look
