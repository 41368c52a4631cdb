-- Keys beside a line: what candidates and operators tell each other about it, outside of it.
--
--   /lunarch:<kind>:<name of the line, with %2F for each slash>
--
-- The line of NAME is every key below NAME/. A key whose only slash is its first byte is below no name, so that no line
-- of anybody can hold it; and the slash at its beginning keeps it inside of a client's prefix. It is bound to a lease,
-- and ends with it. What it says is advice, never a proof of leadership.
--
-- Its value is fields, "name=value" separated by blanks, all of it written as in URLs.
local args = require "lunarch.internal.args"

args.is_ours()

local beside = {}

local PREFIX = "/lunarch:"

local function escape(text)
  return (text:gsub("[%c %%/=]", function(c) return ("%%%02X"):format(c:byte()) end))
end

local function unescape(text)
  return (text:gsub("%%(%x%x)", function(digits) return string.char(tonumber(digits, 16)) end))
end

--- The key of this kind beside the line of `name`; without a name, what all keys of this kind begin with.
---@param kind string
---@param name? string
---@return string
function beside.key(kind, name)
  return PREFIX .. kind .. ":" .. (name and escape(name) or "")
end

--- Whether a key is beside a line.
---@param key string
function beside.is_one(key)
  return key:sub(1, #PREFIX) == PREFIX
end

--- Fields as a value: a table of strings and numbers by plain names.
---@param fields table<string, string|number>
---@return string
function beside.encode(fields)
  local parts = {}
  for i, name in ipairs(args.sorted_names(fields)) do
    parts[i] = name .. "=" .. escape(tostring(fields[name]))
  end
  return table.concat(parts, " ")
end

--- The fields of a value, all of them strings. What cannot be read is left out.
---@param value? string
---@return table<string, string>
function beside.decode(value)
  local fields = {}
  for name, text in (value or ""):gmatch "([%w_]+)=(%S*)" do
    fields[name] = unescape(text)
  end
  return fields
end

--- A field as a number, or nil where it is none: LuaJIT takes "nan" and "inf" for numbers.
---@param text? string
---@return number?
function beside.number(text)
  local value = tonumber(text)
  return value and math.abs(value) < math.huge and value or nil
end

return beside
