-- A file in the simulator, as a script holds it open: what `io.open` gives, without a file of the machine.
local args = require "lunarch.internal.args"

args.is_ours()

local stream = {}

local File = { __name = "FILE*" }
File.__index = File

--- `content.text` is what is in it, for all who have opened it, and content:keep() is called after each write.
function stream.new(content, can_read, can_write)
  return setmetatable({ content = content, at = 1, can_read = can_read, can_write = can_write }, File)
end

local function keep_nowhere() end

local function check_open(self)
  if type(self) ~= "table" or getmetatable(self) ~= File then args.misuse "a file is expected: file:read()" end
  if self.is_closed then args.misuse "attempt to use a closed file" end
end

local function read_number(self)
  local first, last = self.content.text:find("^%s*[+-]?[%w.]+", self.at)
  local number = first and tonumber(self.content.text:sub(first, last))
  if number then self.at = last + 1 end
  return number
end

local function read_line(self, keeps_end)
  if self.at > #self.content.text then return nil end
  local last = self.content.text:find("\n", self.at, true)
  local line = self.content.text:sub(self.at, (last or #self.content.text) - (last and not keeps_end and 1 or 0))
  self.at = (last or #self.content.text) + 1
  return line
end

local function read_bytes(self, n)
  if self.at > #self.content.text and n > 0 then return nil end
  local text = self.content.text:sub(self.at, self.at + n - 1)
  self.at = self.at + #text
  return text
end

local function read_one(self, format)
  if type(format) == "number" then return read_bytes(self, format) end
  format = tostring(format):gsub("^%*", ""):sub(1, 1)
  if format == "a" then return read_bytes(self, #self.content.text) or "" end
  if format == "n" then return read_number(self) end
  if format ~= "l" and format ~= "L" then args.misuse "bad argument to 'read' (invalid format)" end
  return read_line(self, format == "L")
end

function File:read(...)
  check_open(self)
  if not self.can_read then return nil, "Bad file descriptor", 9 end
  local formats, results = table.pack(...), {}
  if formats.n == 0 then return read_line(self, false) end
  for i = 1, formats.n do
    results[i] = read_one(self, formats[i])
    if results[i] == nil then return table.unpack(results, 1, i) end
  end
  return table.unpack(results, 1, formats.n)
end

function File:lines(...)
  check_open(self)
  local formats = table.pack(...)
  return function() return self:read(table.unpack(formats, 1, formats.n)) end
end

local function to_be_written(...)
  local parts = table.pack(...)
  for i = 1, parts.n do
    local part = parts[i]
    if math.type(part) == "float" then parts[i] = ("%.14g"):format(part) end
    if type(part) ~= "string" and type(part) ~= "number" then
      args.misuse("bad argument #%d to 'write' (string expected, got %s)", i, type(part))
    end
  end
  return table.concat(parts)
end

function File:write(...)
  check_open(self)
  if not self.can_write then return nil, "Bad file descriptor", 9 end
  local text = to_be_written(...)
  local content = self.content
  if self.appends then self.at = #content.text + 1 end
  local gap = ("\0"):rep(self.at - 1 - #content.text)
  content.text = content.text:sub(1, self.at - 1) .. gap .. text .. content.text:sub(self.at + #text)
  self.at = self.at + #text
  content:keep()
  return self
end

function File:flush()
  check_open(self)
  return self
end

function File:seek(whence, offset)
  check_open(self)
  local from = { set = 0, cur = self.at - 1, ["end"] = #self.content.text }
  local base = from[whence or "cur"]
  if not base then args.misuse "bad argument to 'seek' (invalid option)" end
  local at = base + (offset or 0)
  if at < 0 then return nil, "Invalid argument", 22 end
  self.at = at + 1
  return at
end

function File.setvbuf() return true end

function File:close()
  check_open(self)
  self.is_closed = true
  if self.on_close then return self.on_close() end
  return true
end

File.__close = function(self) if not self.is_closed then self:close() end end

function File:__tostring()
  return self.is_closed and "file (closed)" or "file (simulated)"
end

function stream.is_one(value) return getmetatable(value) == File end

--- In memory alone, holding `text` to begin with, nil: nothing.
function stream.in_memory(text, can_read, can_write)
  return stream.new({ text = text or "", keep = keep_nowhere }, can_read, can_write)
end

--- A pipe: `text` is what there is to be read, nil: it is written to, in vain; `close()` returns what `on_close` does.
function stream.pipe(text, on_close)
  local pipe = stream.in_memory(text, text ~= nil, text == nil)
  pipe.on_close = on_close
  return pipe
end

return stream
