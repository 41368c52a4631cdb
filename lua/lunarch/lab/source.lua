-- The text of a function: that of its chunk which compiles to the same code.
local args = require "lunarch.internal.args"
local chunk = require "lunarch.console.chunk"

args.is_ours()

local source = {}

-- Where the lines `first` to `last` begin and end.
local function range_of(text, first, last)
  local from, line = 1, 1
  while line < first do
    from, line = (text:find("\n", from, true) or #text) + 1, line + 1
  end
  local to = from
  for _ = first, last do
    to = (text:find("\n", to, true) or #text + 1) + 1
  end
  return from, to - 2
end

-- Whether it is, on the same line. Names from outside of the function are other code: upvalues there, globals here.
local function is_same(text, line, code)
  local fn = load(("\n"):rep(line - 1) .. "return " .. text, "=", "t")
  local ok, found = pcall(fn or error)
  return ok and type(found) == "function" and string.dump(found, true) == code
end

local function find_in(text, info, code)
  local from, to = range_of(text, info.linedefined, info.lastlinedefined)
  for begin in text:sub(1, to):gmatch("()%f[%w_]function%f[^%w_]", from) do
    for over in text:sub(1, to):gmatch("%f[%w_]end%f[^%w_]()", begin) do
      local whole = text:sub(begin, over - 1):gsub("^function[%s%w_.]*%(", "function(", 1)
      if is_same(whole, info.linedefined, code) then return whole end
    end
  end
  return nil
end

local function file_text(path)
  local file = io.open(path)
  local text = file and file:read "a"
  if file then file:close() end
  return text and text:gsub("^#[^\n]*", "")
end

-- The chunks that it may be from.
local function chunks_of(info)
  if info.source == chunk.NAME then return chunk.compiled end
  local path = info.source:match "^@(.*)$"
  return path and { file_text(path) } or {}
end

--- nil: it is written in C, it uses local variables from outside of it, or its chunk is not known any more.
---@param fn function
---@return string?
function source.of(fn)
  local info = debug.getinfo(fn, "S")
  if info.what == "C" then return nil end
  local chunks, code = chunks_of(info), string.dump(fn, true)
  for i = #chunks, 1, -1 do
    local text = find_in(chunks[i], info, code)
    if text then return text end
  end
  return nil
end

return source
