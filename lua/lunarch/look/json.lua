-- JSON for programs: what the looks know, one value a line. Revisions, which may pass 2^53, are numbers as etcd's own
-- JSON has them not: as integers.
local args = require "lunarch.internal.args"
local log = require "lunarch.cli.log"

args.is_ours()

local json = {}

local encode

local function is_list(value)
  local n = 0
  for _ in pairs(value) do
    n = n + 1
  end
  return n == #value
end

local function list(value)
  local parts = {}
  for i, item in ipairs(value) do
    parts[i] = encode(item)
  end
  return "[" .. table.concat(parts, ",") .. "]"
end

local function object(value)
  local names, parts = {}, {}
  for name in pairs(value) do
    if type(name) == "string" and not name:find "^_" then names[#names + 1] = name end
  end
  table.sort(names)
  for i, name in ipairs(names) do
    parts[i] = log.json_string(name) .. ":" .. encode(value[name])
  end
  return "{" .. table.concat(parts, ",") .. "}"
end

--- A value as JSON: fields in the order of their names, an empty table as a list. What is no data becomes null.
---@param value any
---@return string
function encode(value)
  local kind = type(value)
  if kind == "string" then return log.json_string(value) end
  if kind == "boolean" or math.type(value) == "integer" then return tostring(value) end
  if kind == "number" and math.abs(value) < math.huge then return args.decimal("%.14g", value) end
  if kind ~= "table" then return "null" end
  return is_list(value) and list(value) or object(value)
end

json.encode = encode

return json
