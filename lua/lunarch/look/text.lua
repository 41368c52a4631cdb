-- Text that was chosen elsewhere (names, values, keys), as a terminal may show it, and how wide it is there.
require "lunarch.internal.args".is_ours()

local text = {}

local function escaped(bytes)
  return (bytes:gsub(".", function(char) return char == "\n" and "\\n" or ("\\x%02x"):format(char:byte()) end))
end

-- Bytes that are no UTF-8.
local function without_strays(given)
  if utf8.len(given) then return given end
  local parts, from = {}, 1
  while true do
    local len, bad = utf8.len(given, from)
    if len then break end
    parts[#parts + 1] = given:sub(from, bad - 1)
    parts[#parts + 1] = escaped(given:sub(bad, bad))
    from = bad + 1
  end
  parts[#parts + 1] = given:sub(from)
  return table.concat(parts)
end

--- In one line: control characters and what is no UTF-8 are shown, not obeyed.
---@param given string
---@return string
function text.plain(given)
  -- Those of U+0080 to U+009F are control characters, too.
  return (without_strays(given:gsub("%c", escaped)):gsub("\194[\128-\159]", escaped))
end

--- As a string of Lua, with its quotes, in one line.
---@param given string
---@return string
function text.quoted(given)
  return text.plain((("%q"):format(given):gsub("\\\n", "\\n")))
end

--- Several lines, with their tabs; nothing else in them moves the cursor. `indent` stands before all but the first.
---@param given string
---@param indent? string
---@return string
function text.plain_lines(given, indent)
  if not given:find "[%c\128-\255]" then return given end
  return (given:gsub("[^\n\t]+", text.plain):gsub("\n", "\n" .. (indent or "")))
end

-- First and last code points that take two columns of a terminal, and none.
local WIDE = {
  { 0x1100, 0x115f }, { 0x2e80, 0x303e }, { 0x3041, 0xa4cf }, { 0xac00, 0xd7a3 }, { 0xf900, 0xfaff },
  { 0xfe30, 0xfe6f }, { 0xff00, 0xff60 }, { 0xffe0, 0xffe6 }, { 0x1f300, 0x1f64f }, { 0x1f680, 0x1f6ff },
  { 0x1f900, 0x1f9ff }, { 0x20000, 0x3fffd },
}
local NONE = { { 0x300, 0x36f }, { 0x200b, 0x200f }, { 0x20d0, 0x20ff }, { 0xfe00, 0xfe0f } }

local function is_in(ranges, code)
  for _, range in ipairs(ranges) do
    if code <= range[2] then return code >= range[1] end
  end
  return false
end

--- The columns that it takes; what is no UTF-8 counts by bytes.
---@param given string
---@return integer
function text.width(given)
  if not given:find "[\128-\255]" then return #given end
  if not utf8.len(given) then return #given end
  local width = 0
  for _, code in utf8.codes(given) do
    width = width + (is_in(WIDE, code) and 2 or is_in(NONE, code) and 0 or 1)
  end
  return width
end

--- At most so many bytes of it, whole characters, and how much there is where it is longer.
---@param given string
---@param most integer
---@return string
function text.cut(given, most)
  if #given <= most then return given end
  local last = most
  while last > 0 and given:byte(last + 1) >= 0x80 and given:byte(last + 1) < 0xc0 do
    last = last - 1
  end
  return ("%s... (%d bytes)"):format(given:sub(1, last), #given)
end

--- In one line of at most so many columns; "+" stands for the rest.
---@param given string
---@param most integer
---@return string
function text.fit(given, most)
  given = text.plain(given)
  if text.width(given) <= most then return given end
  local kept = ""
  for _, code in utf8.codes(given) do
    local longer = kept .. utf8.char(code)
    if text.width(longer) >= most then break end
    kept = longer
  end
  return kept .. "+"
end

--- With blanks behind it, to that width.
---@param given string
---@param width integer
---@return string
function text.pad(given, width)
  return given .. (" "):rep(width - text.width(given))
end

return text
