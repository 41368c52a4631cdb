-- Changes a protobuf message by chance: bits, swapped and doubled bytes, truncation, and, where it can be read as
-- fields, extremes in place of a number, fields left out, repeated or exchanged, at any depth.
local mutate = {}

local EXTREMES = {
  0, 1, -1, math.maxinteger, math.mininteger, 1 << 31, (1 << 31) - 1, -(1 << 31), 1 << 32, 1 << 53, 9223372037, 300, 7,
}
local VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5

local function varint(value)
  local bytes = {}
  repeat
    local low = value & 127
    value = value >> 7
    bytes[#bytes + 1] = string.char(value ~= 0 and low | 128 or low)
  until value == 0
  return table.concat(bytes)
end

local function read_varint(text, at)
  local value, shift = 0, 0
  while true do
    local byte = text:byte(at)
    if not byte or shift > 63 then return nil end
    value = value | (byte & 127) << shift
    at, shift = at + 1, shift + 7
    if byte < 128 then return value, at end
  end
end

-- The fields of a message, those of messages inside it too; nil where it is none.
local function parse(text)
  local fields, at = {}, 1
  while at <= #text do
    local tag, value
    tag, at = read_varint(text, at)
    if not tag or tag >> 3 == 0 then return nil end
    local field = { tag = tag, kind = tag & 7 }
    if field.kind == VARINT then
      value, at = read_varint(text, at)
      if not value then return nil end
      field.value = value
    elseif field.kind == BYTES then
      value, at = read_varint(text, at)
      if not value or value < 0 or at + value - 1 > #text then return nil end
      field.text = text:sub(at, at + value - 1)
      field.fields = #field.text > 1 and parse(field.text) or nil
      at = at + value
    else
      local n = field.kind == FIXED64 and 8 or field.kind == FIXED32 and 4
      if not n or at + n - 1 > #text then return nil end
      field.text = text:sub(at, at + n - 1)
      at = at + n
    end
    fields[#fields + 1] = field
  end
  return fields
end

local function pack(fields)
  local parts = {}
  for i, field in ipairs(fields) do
    local body
    if field.kind == VARINT then
      body = varint(field.value)
    else
      body = field.fields and pack(field.fields) or field.text
      if field.kind == BYTES then body = varint(#body) .. body end
    end
    parts[i] = varint(field.tag) .. body
  end
  return table.concat(parts)
end

local function collect(fields, numbers, lists)
  if #fields > 0 then lists[#lists + 1] = fields end
  for _, field in ipairs(fields) do
    if field.kind == VARINT then numbers[#numbers + 1] = field end
    if field.fields then collect(field.fields, numbers, lists) end
  end
end

local function change_fields(random, fields)
  local numbers, lists = {}, {}
  collect(fields, numbers, lists)
  if #numbers > 0 and random:chance(60) then
    random:pick(numbers).value = random:pick(EXTREMES)
  elseif #lists > 0 then
    local list = random:pick(lists)
    local i, j, kind = random:below(#list) + 1, random:below(#list) + 1, random:below(4)
    if kind == 0 then
      table.remove(list, i)
    elseif kind == 1 then
      for _ = 1, random:pick { 1, 1, 1, 50 } do table.insert(list, list[i]) end
    elseif kind == 2 then
      list[i], list[j] = list[j], list[i]
    else
      list[i] = { tag = (random:below(30) + 1) << 3 | list[i].tag & 7, kind = list[i].kind, value = list[i].value,
        text = list[i].text, fields = list[i].fields }
    end
  end
  return pack(fields)
end

local bytes = {
  function(random, text)
    local at = random:below(#text) + 1
    return text:sub(1, at - 1) .. string.char(text:byte(at) ~ 1 << random:below(8)) .. text:sub(at + 1)
  end,
  function(random, text) return text:sub(1, random:below(#text)) end,
  function(random, text)
    local from, n = random:below(#text) + 1, random:below(8) + 1
    return text:sub(1, from - 1) .. text:sub(from + n) .. text:sub(from, from + n - 1)
  end,
  function(random, text)
    local at, n = random:below(#text) + 1, random:below(10) + 1
    return text:sub(1, at - 1) .. ("\255"):rep(n) .. text:sub(at + n)
  end,
  function(random, text) return text .. text:sub(random:below(#text) + 1) end,
}

---@param random table
---@param text string a packed message
---@return string
function mutate.message(random, text)
  if #text == 0 then return random:chance(50) and "\8\1" or "\255" end
  local fields = random:chance(70) and parse(text)
  if fields then return change_fields(random, fields) end
  return random:pick(bytes)(random, text)
end

return mutate
