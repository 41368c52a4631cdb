-- Files in the simulator: what a script writes, renames and removes stays in the world, on the disk of its host, which
-- outlives the process. What it only reads may be the machine's.
--
-- A disk is a table by path: what is in a file, or false: it was removed. Each write is on the disk at once.
-- luacheck: ignore 122
local args = require "lunarch.internal.args"

args.is_ours()

local files = {}

local ENOENT, EACCES = 2, 13
local open_machine, type_of = io.open, io.type

-- ---- a file ---------------------------------------------------------------------------------------------------------

local File = { __name = "FILE*" }
File.__index = File

-- `text`: what is in it; `can_read`; `keep(text)` takes what is in it after each write, nil: it cannot be written to.
local function new_file(text, can_read, keep)
  return setmetatable({ text = text, at = 1, can_read = can_read, keep = keep }, File)
end

local function check_open(self)
  if type(self) ~= "table" or getmetatable(self) ~= File then args.misuse "a file is expected: file:read()" end
  if self.is_closed then args.misuse "attempt to use a closed file" end
end

local function read_number(self)
  local first, last = self.text:find("^%s*[+-]?[%w.]+", self.at)
  local number = first and tonumber(self.text:sub(first, last))
  if number then self.at = last + 1 end
  return number
end

local function read_line(self, keeps_end)
  if self.at > #self.text then return nil end
  local last = self.text:find("\n", self.at, true)
  local line = self.text:sub(self.at, (last or #self.text) - (last and not keeps_end and 1 or 0))
  self.at = (last or #self.text) + 1
  return line
end

local function read_bytes(self, n)
  if self.at > #self.text and n > 0 then return nil end
  local text = self.text:sub(self.at, self.at + n - 1)
  self.at = self.at + #text
  return text
end

local function read_one(self, format)
  if type(format) == "number" then return read_bytes(self, format) end
  format = tostring(format):gsub("^%*", ""):sub(1, 1)
  if format == "a" then return read_bytes(self, #self.text) or "" end
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

function File:write(...)
  check_open(self)
  if not self.keep then return nil, "Bad file descriptor", 9 end
  local text = table.concat({ ... })
  if self.appends then self.at = #self.text + 1 end
  local gap = ("\0"):rep(self.at - 1 - #self.text)
  self.text = self.text:sub(1, self.at - 1) .. gap .. text .. self.text:sub(self.at + #text)
  self.at = self.at + #text
  self.keep(self.text)
  return self
end

function File:flush()
  check_open(self)
  return self
end

function File:seek(whence, offset)
  check_open(self)
  local from = { set = 0, cur = self.at - 1, ["end"] = #self.text }
  local at = from[whence or "cur"] + (offset or 0)
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

--- A pipe: `text` is what there is to be read, nil: it is written to, in vain; `close()` returns what `on_close` does.
function files.pipe(text, on_close)
  local file = new_file(text or "", text ~= nil, not text and function() end or nil)
  file.on_close = on_close
  return file
end

-- ---- a disk ---------------------------------------------------------------------------------------------------------

local function refuse(path, text, code)
  return nil, ("%s: %s"):format(path, text), code
end

-- What is in a file of the machine, or nil, message, number.
local function read_machine(path)
  local file, message, code = open_machine(path, "rb")
  if not file then return nil, message, code end
  local text
  text, message, code = file:read "a"
  file:close()
  return text, message, code
end

local function read_disk(disk, path)
  local text = disk.get()[path]
  if text == false then return refuse(path, "No such file or directory", ENOENT) end
  if text then return text end
  return read_machine(path)
end

local function put(disk, path, text)
  local all = disk.get()
  all[path] = text
  disk.set(all)
end

local function open(disk, path, mode)
  args.string("io.open", "path", path)
  mode = mode or "r"
  if type(mode) ~= "string" or not mode:find "^[rwa]%+?b?$" then
    args.misuse("bad argument #2 to 'open' (invalid mode)")
  end
  if mode:find "^rb?$" and disk.get()[path] == nil then return open_machine(path, mode) end
  local text, message, code = read_disk(disk, path)
  if not text and (mode:find "^r" or code ~= ENOENT) then return nil, message, code or EACCES end
  local is_new = mode:find "^w" or not text
  local function keep(it) put(disk, path, it) end
  local file = new_file(is_new and "" or text, mode:find "[r+]" ~= nil, not mode:find "^rb?$" and keep or nil)
  file.appends = mode:find "^a" ~= nil
  if is_new then keep "" end
  return file
end

local function remove(disk, path)
  args.string("os.remove", "path", path)
  local text, message, code = read_disk(disk, path)
  if not text then return nil, message, code end
  put(disk, path, false)
  return true
end

local function rename(disk, from, to)
  args.string("os.rename", "from", from)
  args.string("os.rename", "to", to)
  local text, message, code = read_disk(disk, from)
  if not text then return nil, message, code end
  put(disk, to, text)
  if from ~= to then put(disk, from, false) end
  return true
end

--- Puts the functions of `io` and `os` that open, rename and remove files in place. `disk.get()` gives the table by
--- path, `disk.set(it)` keeps it.
function files.install(disk)
  local n_temporary = 0
  function io.open(path, mode) return open(disk, path, mode) end
  function io.lines(path, ...)
    if path == nil then return io.input():lines(...) end
    local file, message = open(disk, path, "r")
    if not file then args.misuse("%s", message) end
    return file:lines(...)
  end
  local input = io.stdin
  function io.input(file)
    if type(file) == "string" then
      local message
      file, message = open(disk, file, "r")
      if not file then args.misuse("%s", message) end
    end
    input = file or input
    return input
  end
  function io.read(...) return input:read(...) end
  function io.tmpfile()
    return new_file("", true, function() end)
  end
  function io.type(file)
    if getmetatable(file) ~= File then return type_of(file) end
    return file.is_closed and "closed file" or "file"
  end
  function os.remove(path) return remove(disk, path) end
  function os.rename(from, to) return rename(disk, from, to) end
  function os.tmpname()
    n_temporary = n_temporary + 1
    local path = ("/tmp/lua_%06d"):format(n_temporary)
    put(disk, path, "")
    return path
  end
end

return files
