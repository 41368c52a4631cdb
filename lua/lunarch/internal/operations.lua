-- What a script says about keys, brought into the one form that C reads: operations, compares, transactions.
local args = require "lunarch.internal.args"
local each = require "lunarch.internal.each"
local core = require "lunarch.core"

args.is_ours()

local operations = {}

local misuse, bad = args.misuse, args.bad

-- etcd's notation: the end of the range of all keys that begin with `prefix`.
local function end_of_prefix(prefix)
  local head = prefix:match "^(.-)\255*$"
  if head == "" then return "\0" end
  return head:sub(1, -2) .. string.char(head:byte(-1) + 1)
end

-- Key and range_end, from a key and the options `prefix` and `range_end`.
local function range_of(call, key, options)
  args.string(call, "key", key)
  if options.prefix then
    if options.range_end then misuse("%s: 'prefix' and 'range_end' exclude each other", call) end
    return key == "" and "\0" or key, end_of_prefix(key)
  end
  if key == "" then misuse("%s: 'key' must not be empty (for all keys: prefix = true)", call) end
  return key, options.range_end
end

operations.range_of = range_of

local numbers = core.numbers
local KIND, SORT_BY, ORDER = numbers.kind, numbers.sort_by, numbers.order

local function one_of(words)
  local expected = "one of '" .. table.concat(args.sorted_names(words), "', '") .. "'"
  return function(call, name, value)
    if type(value) ~= "string" or not words[value] then bad(call, name, expected, value) end
    return value
  end
end

local GET = {
  prefix = args.boolean, range_end = args.text, limit = args.whole, revision = args.whole, sort_by = one_of(SORT_BY),
  order = one_of(ORDER), keys_only = args.boolean, count_only = args.boolean, serializable = args.boolean,
  min_create_revision = args.whole, max_create_revision = args.whole, min_mod_revision = args.whole,
  max_mod_revision = args.whole,
}
local PUT = { lease = args.lease, prev_kv = args.boolean }
local DELETE = { prefix = args.boolean, range_end = args.text, prev_kv = args.boolean }

function operations.get(call, key, options)
  options = args.options(call, options, GET)
  local first, range_end = range_of(call, key, options)
  return {
    kind = KIND.get, key = first, range_end = range_end, limit = options.limit, revision = options.revision,
    sort_by = options.sort_by and SORT_BY[options.sort_by],
    order = options.order and ORDER[options.order] or options.sort_by and ORDER.ascend,
    keys_only = options.keys_only, count_only = options.count_only, serializable = options.serializable,
    min_create = options.min_create_revision, max_create = options.max_create_revision,
    min_mod = options.min_mod_revision, max_mod = options.max_mod_revision,
  }
end

function operations.put(call, key, value, options)
  options = args.options(call, options, PUT)
  args.text(call, "key", key)
  args.string(call, "value", value)
  return { kind = KIND.put, key = key, value = value, lease = options.lease, prev_kv = options.prev_kv }
end

function operations.delete(call, key, options)
  options = args.options(call, options, DELETE)
  local first, range_end = range_of(call, key, options)
  return { kind = KIND.delete, key = first, range_end = range_end, prev_kv = options.prev_kv }
end

-- ---- transactions -----------------------------------------------------------------------------------------------

local MAX_OPERATIONS, TARGET, RELATION = numbers.most.operations, numbers.target, numbers.relation
local COMPARE = { prefix = args.boolean, range_end = args.text }

local function named_part(item)
  local options
  for name, value in each(item) do
    if type(name) ~= "number" then
      options = options or {}
      options[name] = value
    end
  end
  return options
end

local function compare_of(call, item)
  if type(item) ~= "table" then bad(call, "compare", "{ target, key, relation, value }", item) end
  local target, key, relation, operand = item[1], item[2], item[3], item[4]
  if not TARGET[target] then
    if type(target) == "string" then args.unknown(call, target, TARGET, "target") end
    bad(call, "target", "'create', 'mod', 'version', 'value' or 'lease'", target)
  end
  if not RELATION[relation] then bad(call, "relation", "'=', '~=', '<' or '>'", relation) end
  local options = args.options(call, named_part(item), COMPARE)
  local first, range_end = range_of(call, key, options)
  local compare = { target = TARGET[target], relation = RELATION[relation], key = first, range_end = range_end }
  if target == "value" then
    compare.value = args.string(call, "value", operand)
  elseif target == "lease" then
    if operand ~= 0 then compare.lease = args.lease(call, "lease", operand) end
  else
    compare.number = args.whole(call, target, operand)
  end
  return compare
end

local function operation_of(call, item)
  if type(item) ~= "table" then bad(call, "operation", "a table such as { 'put', key, value }", item) end
  local verb = item[1]
  if verb == "get" or verb == "delete" then
    if item[3] ~= nil and type(item[3]) ~= "table" then bad(call, "options", "a table", item[3]) end
    local options = named_part(item)
    if options and item[3] then misuse("%s: options stand beside each other or in a table, not both", call) end
    return operations[verb](call, item[2], item[3] or options)
  elseif verb == "put" then
    local options = named_part(item)
    if options and item[4] then misuse("%s: options stand beside each other or in a table, not both", call) end
    return operations.put(call, item[2], item[3], item[4] or options)
  end
  return bad(call, "operation", "'get', 'put' or 'delete'", verb)
end

local function list_of(call, list, name, convert)
  if list == nil then return nil end
  if type(list) ~= "table" then bad(call, name, "a list", list) end
  local converted = {}
  for i = 1, #list do
    converted[i] = convert(("%s: %s[%d]"):format(call, name, i), list[i])
  end
  if #list > MAX_OPERATIONS then
    misuse("%s: '%s' holds %d entries, etcd allows %d", call, name, #list, MAX_OPERATIONS)
  end
  for key in each(list) do
    if type(key) ~= "number" or key < 1 or key > #list then
      misuse("%s: '%s' must be a list of tables: it holds a key that is %s", call, name, args.describe(key))
    end
  end
  return converted
end

local function any() end
local TXN = { compare = any, success = any, failure = any }

function operations.txn(call, txn)
  if type(txn) ~= "table" then bad(call, "txn", "a table { compare =, success =, failure = }", txn) end
  args.options(call, txn, TXN)
  return {
    compare = list_of(call, txn.compare, "compare", compare_of),
    success = list_of(call, txn.success, "success", operation_of),
    failure = list_of(call, txn.failure, "failure", operation_of),
  }
end

return operations
