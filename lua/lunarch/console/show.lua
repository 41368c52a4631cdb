-- How values print at the prompt: tables as tables, objects as a sentence, the rest as it stands in Lua.
local args = require "lunarch.internal.args"
local describe = require "lunarch.console.describe"
local globals = require "lunarch.console.globals"
local lazy = require "lunarch.console.lazy"
local tables = require "lunarch.look.table"
local texts = require "lunarch.look.text"

args.is_ours()

local names = lazy "lunarch.console.names"

local show = {}

local WIDTH = 100
local MOST_ENTRIES = 40
local MOST_DEPTH = 5
local MOST_COLUMNS = 8
local MOST_BYTES = 4000 -- of a string

local KEYWORDS = {}
for word in ("and break do else elseif end false for function goto if in local nil not or repeat return then true "
  .. "until while"):gmatch "%a+" do
  KEYWORDS[word] = true
end

local text_of

local function quoted(text)
  local more = ""
  if #text > MOST_BYTES then
    text, more = texts.cut(text, MOST_BYTES):match "^(.*)(%.%.%. %(%d+ bytes%))$"
  end
  return texts.quoted(text) .. more
end

local function is_name(key)
  return type(key) == "string" and key:find "^[%a_][%w_]*$" and not KEYWORDS[key]
end

-- What an object says of itself; nil: it is a plain table, or says nothing.
local function said_by(value, world)
  local own = world and world.describe and world.describe(value)
  if own then return own end
  local meta = debug.getmetatable(value)
  if type(meta) ~= "table" then return nil end
  local say = rawget(meta, "__console")
  if type(say) == "function" then return say(value) end
  local known = describe.object(value)
  if known then return known end
  if type(rawget(meta, "__tostring")) ~= "function" then return nil end
  local ok, text = pcall(tostring, value)
  return ok and text or ("a value whose __tostring fails: %s"):format(args.error_text(text))
end

-- An object's sentence, which may hold names that were chosen elsewhere.
local function sentence(value, world)
  local text = said_by(value, world)
  return text and texts.plain_lines(text)
end

local function sorted_keys(value)
  local keys = {}
  for key in next, value do
    keys[#keys + 1] = key
  end
  table.sort(keys, function(a, b)
    if math.type(a) and math.type(b) then return a < b end
    if type(a) == "number" or type(b) == "number" then return type(a) == "number" and type(b) ~= "number" end
    if type(a) ~= type(b) then return type(a) < type(b) end
    return type(a) == "string" and a < b
  end)
  return keys
end

local function entries_of(value, world, depth, seen)
  local parts, n_list = {}, rawlen(value)
  local keys = sorted_keys(value)
  for i, key in ipairs(keys) do
    if i > MOST_ENTRIES then
      parts[#parts + 1] = ("... %d more"):format(#keys - MOST_ENTRIES)
      break
    end
    local item = text_of(rawget(value, key), world, depth + 1, seen)
    if math.type(key) == "integer" and key >= 1 and key <= n_list then
      parts[#parts + 1] = item
    else
      local name = is_name(key) and key or "[" .. text_of(key, world, depth + 1, seen) .. "]"
      parts[#parts + 1] = name .. " = " .. item
    end
  end
  return parts
end

local function constructor(value, world, depth, seen)
  if seen[value] then return "{ the table itself }" end
  if depth >= MOST_DEPTH then return "{ ... }" end
  seen[value] = true
  local parts = entries_of(value, world, depth, seen)
  seen[value] = nil
  if not parts[1] then return "{}" end
  local line = "{ " .. table.concat(parts, ", ") .. " }"
  if #line + 2 * depth <= WIDTH and not line:find "\n" then return line end
  local indent = ("  "):rep(depth + 1)
  return "{\n" .. indent .. table.concat(parts, ",\n" .. indent) .. "\n" .. ("  "):rep(depth) .. "}"
end

-- The columns of a list of records whose fields are all plain, or nil.
local function columns_of(list)
  local titles, seen, n = {}, {}, 0
  for key, row in next, list do
    n = n + 1
    if math.type(key) ~= "integer" or type(row) ~= "table" or not next(row) or getmetatable(row) then return nil end
    for name, value in next, row do
      if not is_name(name) or type(value) == "table" or type(value) == "function" then return nil end
      if not seen[name] then titles[#titles + 1], seen[name] = name, true end
    end
  end
  if n < 2 or n ~= rawlen(list) or #titles < 2 or #titles > MOST_COLUMNS then return nil end
  table.sort(titles)
  local columns = {}
  for i, name in ipairs(titles) do
    columns[i] = { name, name:upper(), is_right = type(list[1][name]) == "number" }
  end
  return columns
end

-- A function among other values: its name, where it has one.
local function name_of(world, fn)
  local name = names.of_function(world, globals.own, fn)
  return name and "function " .. name or tostring(fn)
end

function text_of(value, world, depth, seen)
  local kind = type(value)
  if kind == "string" then return quoted(value) end
  if kind == "table" or kind == "userdata" then
    local own = sentence(value, world) or kind == "table" and names.module_text(world, value)
    if own then return own end
  end
  if kind == "function" then
    return depth == 0 and names.function_text(world, globals.own, value) or name_of(world, value)
  end
  if kind ~= "table" then return tostring(value) end
  if depth == 0 then
    local columns = columns_of(value)
    if columns then return tables.render(columns, value) end
  end
  return constructor(value, world, depth, seen)
end

--- The text of one value, without a newline at the end.
---@param value any
---@param world? lunarch.console.World
---@return string
function show.value(value, world)
  return text_of(value, world, 0, {})
end

--- The text of what a call returned; nil: it returned nothing.
---@param values table packed
---@return string?
function show.values(values, world)
  if values.n == 0 then return nil end
  local parts, is_long = {}, false
  for i = 1, values.n do
    parts[i] = show.value(values[i], world)
    is_long = is_long or parts[i]:find "\n" ~= nil
  end
  return table.concat(parts, is_long and "\n" or ", ")
end

return show
