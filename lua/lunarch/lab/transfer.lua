-- Values that go from one Lua state to another: as a plain value (functions by their code), and as one line of text.
require "lunarch.internal.args".is_ours()

local transfer = {}

local CODE = "lunarch.code"
local DEEPEST = 16

local pack

-- A function goes as its code, with the values that it uses from outside of it.
local function pack_function(name, fn, depth)
  local ok, code = pcall(string.dump, fn)
  if not ok then error(("%s: this function is written in C: it cannot be sent to another process"):format(name), 0) end
  local packed = { [CODE] = code, n = 0, upvalues = {} }
  for i = 1, 255 do
    local upvalue, value = debug.getupvalue(fn, i)
    if not upvalue then break end
    packed.n = i
    if upvalue == "_ENV" then
      packed.upvalues[i] = { is_env = true }
    else
      packed.upvalues[i] = { value = pack(("%s uses '%s'"):format(name, upvalue), value, depth + 1) }
    end
  end
  return packed
end

local function pack_table(name, value, depth)
  if getmetatable(value) ~= nil then
    error(("%s, which lives here: a handler runs in the candidate's own process; use its arguments and globals")
      :format(name), 0)
  end
  local packed = {}
  for key, item in pairs(value) do
    packed[key] = pack(name, item, depth + 1)
  end
  return packed
end

--- A plain value for `value`, which may contain functions. Raises, naming `name`, where it contains something else.
---@param name string
pack = function(name, value, depth)
  local kind = type(value)
  depth = depth or 0
  if depth > DEEPEST then error(("%s: it is nested too deep"):format(name), 0) end
  if kind == "function" then return pack_function(name, value, depth) end
  if kind == "table" then return pack_table(name, value, depth) end
  if kind == "userdata" or kind == "thread" then
    error(("%s, which lives here (a %s): a handler runs in the candidate's own process"):format(name, kind), 0)
  end
  return value
end

transfer.pack = pack

local function unpack_function(packed)
  local fn = assert(load(packed[CODE], "=handler", "b", _G))
  for i = 1, packed.n do
    local upvalue = packed.upvalues[i]
    debug.setupvalue(fn, i, upvalue.is_env and _G or transfer.unpack(upvalue.value))
  end
  return fn
end

--- What was packed.
function transfer.unpack(value)
  if type(value) ~= "table" then return value end
  if value[CODE] then return unpack_function(value) end
  local found = {}
  for key, item in pairs(value) do
    found[key] = transfer.unpack(item)
  end
  return found
end

--- Values, nils among them, as a plain list.
function transfer.pack_all(name, ...)
  local list = {}
  for i = 1, select("#", ...) do
    list[i] = { value = pack(name, (select(i, ...))) }
  end
  return list
end

--- The values of such a list.
function transfer.unpack_all(list)
  local values = {}
  for i, item in ipairs(list) do
    values[i] = transfer.unpack(item.value)
  end
  return table.unpack(values, 1, #list)
end

--- A plain value as one line of text.
---@return string
function transfer.encode(value)
  local kind = type(value)
  if kind == "string" then return (("%q"):format(value):gsub("\\\n", "\\n"):gsub("\r", "\\r")) end
  if kind == "number" then return ("%q"):format(value) end
  if kind ~= "table" then return (kind == "boolean" or kind == "nil") and tostring(value) or "nil" end
  local parts = {}
  for key, item in pairs(value) do
    parts[#parts + 1] = ("[%s]=%s"):format(transfer.encode(key), transfer.encode(item))
  end
  return "{" .. table.concat(parts, ",") .. "}"
end

--- The value of such a line: nil and what is wrong with it.
function transfer.decode(line)
  local chunk, trouble = load("return " .. line, "=message", "t", {})
  if not chunk then return nil, trouble end
  return chunk()
end

return transfer
