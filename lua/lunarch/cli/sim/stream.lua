-- A file in the simulator, as a script holds it open: what `io.open` gives, without a file of the machine.
local args = require "lunarch.internal.args"

args.is_ours()

local stream = {}

local File = { __name = "FILE*" }
File.__index = File

--- `content`: a stream.content, or what has its methods. `appends`: whatever is written goes to the end.
function stream.new(content, can_read, can_write, appends)
  local self = { content = content, at = 1, can_read = can_read, can_write = can_write, appends = appends }
  return setmetatable(self, File)
end

--- What is in a file, for all that have opened it. What is appended is kept in parts, and joined when it is read.
local Content = {}
Content.__index = Content
stream.content_methods = Content

--- `text` nil: it is not known yet; load() gives it.
function stream.content(text)
  return setmetatable({ parts = text and { text }, n_bytes = text and #text }, Content)
end

function Content:load() end
function Content:keep() end
function Content:keep_more() end

function Content:text()
  if not self.parts then self:set_text(self:load()) end
  if #self.parts > 1 then self.parts = { table.concat(self.parts) } end
  return self.parts[1]
end

function Content:size()
  return self.parts and self.n_bytes or #self:text()
end

--- As it is found: nothing is kept.
function Content:set_text(text)
  self.parts, self.n_bytes = { text }, #text
end

function Content:write(text)
  self:set_text(text)
  self:keep(text)
end

function Content:append(text)
  if self.parts then
    self.parts[#self.parts + 1], self.n_bytes = text, self.n_bytes + #text
  end
  self:keep_more(text)
end

local function check_open(self)
  if type(self) ~= "table" or getmetatable(self) ~= File then args.misuse "a file is expected: file:read()" end
  if self.is_closed then args.misuse "attempt to use a closed file" end
end

local function read_number(self)
  local text = self.content:text()
  local first, last = text:find("^%s*[+-]?[%w.]+", self.at)
  local number = first and tonumber(text:sub(first, last))
  if number then self.at = last + 1 end
  return number
end

local function read_line(self, keeps_end)
  local text = self.content:text()
  if self.at > #text then return nil end
  local last = text:find("\n", self.at, true)
  local line = text:sub(self.at, (last or #text) - (last and not keeps_end and 1 or 0))
  self.at = (last or #text) + 1
  return line
end

local function read_bytes(self, n)
  local text = self.content:text()
  if self.at > #text and n > 0 then return nil end
  local bytes = text:sub(self.at, self.at + n - 1)
  self.at = self.at + #bytes
  return bytes
end

local function read_one(self, format)
  if type(format) == "number" then return read_bytes(self, format) end
  format = tostring(format):gsub("^%*", ""):sub(1, 1)
  if format == "a" then return read_bytes(self, self.content:size()) or "" end
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

-- In the middle, or beyond the end.
local function write_over(self, before, text)
  local gap = ("\0"):rep(self.at - 1 - #before)
  self.content:write(before:sub(1, self.at - 1) .. gap .. text .. before:sub(self.at + #text))
  self.at = self.at + #text
end

function File:write(...)
  check_open(self)
  if not self.can_write then return nil, "Bad file descriptor", 9 end
  local text, content = to_be_written(...), self.content
  if self.appends then
    content:append(text)
    self.at = self.can_read and content:size() + 1 or nil
  elseif self.at == content:size() + 1 then
    content:append(text)
    self.at = self.at + #text
  else
    write_over(self, content:text(), text)
  end
  return self
end

function File:flush()
  check_open(self)
  return self
end

function File:seek(whence, offset)
  check_open(self)
  local size = self.content:size()
  local from = { set = 0, cur = (self.at or size + 1) - 1, ["end"] = size }
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
  return stream.new(stream.content(text or ""), can_read, can_write)
end

--- A pipe: `text` is what there is to be read, nil: it is written to, in vain; `close()` returns what `on_close` does.
function stream.pipe(text, on_close)
  local pipe = stream.in_memory(text, text ~= nil, text == nil)
  pipe.on_close = on_close
  return pipe
end

return stream
