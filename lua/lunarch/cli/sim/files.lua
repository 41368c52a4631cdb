-- Files in the simulator: what a script writes, renames and removes stays in the world, on the disk of its host, which
-- outlives the process. What it only reads may be the machine's.
--
-- A disk is a table by path: what is in a file, or false: it was removed. Each write is on the disk at once. No file of
-- the machine stays open: the state of a process is put back by copying, which closes nothing.
-- luacheck: ignore 122
local args = require "lunarch.internal.args"
local stream = require "lunarch.cli.sim.stream"

args.is_ours()

local files = {}

local ENOENT, ENXIO, EACCES, EISDIR, EFBIG = 2, 6, 13, 21, 27
local MOST_BYTES = 4 * 1024 * 1024 -- of a file of the machine
local RANDOM_BYTES = 4096
local RANDOM = { ["/dev/random"] = true, ["/dev/urandom"] = true }
-- Of the process, which has no terminal, and nothing to read.
local STREAMS = {
  ["/dev/stdin"] = "stdin", ["/dev/fd/0"] = "stdin", ["/proc/self/fd/0"] = "stdin",
  ["/dev/stdout"] = "stdout", ["/dev/fd/1"] = "stdout", ["/proc/self/fd/1"] = "stdout",
  ["/dev/stderr"] = "stderr", ["/dev/fd/2"] = "stderr", ["/proc/self/fd/2"] = "stderr",
}
local open_machine = io.open

local function refuse(path, text, code)
  return nil, ("%s: %s"):format(path, text), code
end

-- One name for each file; relative names stay relative.
local function plain(path)
  path = path:gsub("//+", "/")
  local n
  repeat
    path, n = path:gsub("/%./", "/")
  until n == 0
  return (path:gsub("^%./(.)", "%1"))
end

local function random_text()
  local bytes = {}
  for i = 1, RANDOM_BYTES do
    bytes[i] = string.char(math.random(0, 255))
  end
  return table.concat(bytes)
end

-- What is in a file of the machine, or nil, message, number.
local function read_machine(path)
  if RANDOM[path] then return random_text() end
  local file, message, code = open_machine(path, "rb")
  if not file then return nil, message, code end
  local text
  text, message, code = file:read(MOST_BYTES + 1)
  file:close()
  if code then return refuse(path, message, code) end
  if text and #text > MOST_BYTES then return refuse(path, "File too large for the simulator", EFBIG) end
  return text or ""
end

-- No file is opened for it: to open a device can have effects.
local function is_folder(path)
  local folder = open_machine(path .. "/.", "rb")
  if folder then folder:close() end
  return folder ~= nil
end

-- What is in a file of the disk: each write is kept there.
local Content = setmetatable({}, { __index = stream.content_methods })
Content.__index = Content

function Content:load() return self.disk.read(self.path) end

function Content:keep(text)
  if self.path then self.disk.write(self.path, text) end -- nil: it was removed
end

function Content:keep_more(text)
  if self.path then self.disk.append(self.path, text) end
end

local function new_content(text)
  return setmetatable(stream.content(text), Content)
end

-- Is found under this path from now on.
local function place(disk, path, content)
  content.disk, content.path, disk.opened[path] = disk, path, content
end

-- What was under this path is no longer to be found: it stays with those that have opened it.
local function unlink(disk, path)
  local opened = disk.opened[path]
  if not opened then return end
  opened:text()
  opened.path, disk.opened[path] = nil, nil
end

-- Is on the disk from now on.
local function link(disk, path, content)
  unlink(disk, path)
  place(disk, path, content)
  content:keep(content:text())
end

-- What is under this path, or nil, message, number. `is_there`: as disk.has() gives it. Its text is read later.
local function find(disk, path, is_there)
  if is_there == false then return refuse(path, "No such file or directory", ENOENT) end
  if not is_there then
    local found, message, code = read_machine(path)
    return found and new_content(found), message, code
  end
  local content = disk.opened[path]
  if not content then
    content = new_content()
    place(disk, path, content)
  end
  content.parts = nil -- what was there may have changed
  return content
end

-- The same for writing: it is on the disk then.
local function find_or_make(disk, path, is_there, is_empty)
  if is_there == nil and is_folder(path) then return refuse(path, "Is a directory", EISDIR) end
  local content, message, code
  if is_empty and not is_there then
    content = new_content ""
  else
    content, message, code = find(disk, path, is_there)
    if not content and code ~= ENOENT then return nil, message, code or EACCES end
    content = content or new_content ""
  end
  if not content.path then
    link(disk, path, content)
  elseif is_empty then
    content:write ""
  end
  return content
end

-- What is no file, nor stays what was written to it; nil: it is none of these.
local function open_device(path)
  if path == "/dev/null" then return stream.in_memory("", true, true) end
  if path == "/dev/tty" then return refuse(path, "No such device or address", ENXIO) end
  return STREAMS[path] and io[STREAMS[path]]
end

local function open(disk, path, mode)
  path = plain(args.string("io.open", "path", path))
  mode = mode or "r"
  if type(mode) ~= "string" or not mode:find "^[rwa]%+?b?$" then
    args.misuse("bad argument #2 to 'open' (invalid mode)")
  end
  local device, message, code = open_device(path)
  if device or code then return device, message, code end
  local content
  local is_there = disk.has(path)
  if mode:find "^r" then
    content, message, code = find(disk, path, is_there)
    if content and mode:find "+" and not content.path then link(disk, path, content) end
  else
    content, message, code = find_or_make(disk, path, is_there, mode:find "^w" ~= nil)
  end
  if not content then return nil, message, code end
  return stream.new(content, mode:find "[r+]" ~= nil, not mode:find "^rb?$", mode:find "^a" ~= nil)
end

-- To be read; it is an error if it cannot be.
local function must_open(disk, path)
  local file, message = open(disk, path, "r")
  if not file then args.misuse("%s", message) end
  return file
end

local function take_away(disk, path)
  unlink(disk, path)
  disk.write(path, false)
end

local function remove(disk, path)
  path = plain(args.string("os.remove", "path", path))
  local content, message, code = find(disk, path, disk.has(path))
  if not content then return nil, message, code end
  take_away(disk, path)
  return true
end

local function rename(disk, from, to)
  from, to = plain(args.string("os.rename", "from", from)), plain(args.string("os.rename", "to", to))
  local content, message, code = find(disk, from, disk.has(from))
  if not content then return nil, message, code end
  if from == to then return true end
  take_away(disk, from)
  link(disk, to, content)
  return true
end

-- A chunk that the script has written; what it has not is the machine's.
local function load_file(disk, path, ...)
  if path == nil or STREAMS[path] == "stdin" then return table.pack(load(io.stdin:read "a", "=stdin", ...)) end
  if type(path) ~= "string" then return nil end
  local text = disk.read(plain(path))
  if text == nil then return nil end
  if not text then return { n = 2, nil, ("cannot open %s"):format(path) } end
  return table.pack(load((text:gsub("^#[^\n]*", "")), "@" .. path, ...))
end

-- `opened`: what the program has opened, by path.
local function new_disk(store, name)
  return {
    opened = setmetatable({}, { __mode = "v" }),
    has = function(path) return store.has_file(name, path) end,
    read = function(path) return store.read_file(name, path) end,
    write = function(path, text) store.write_file(name, path, text) end,
    append = function(path, text) store.append_to_file(name, path, text) end,
  }
end

--- Puts the functions of `io` and `os` that open, rename and remove files in place. The disk is the note `name` of
--- `store` (lunarch.cli.sim.noted).
function files.install(store, name)
  local disk = new_disk(store, name)
  local n_temporary, loadfile_, close_, type_ = 0, loadfile, io.close, io.type
  function io.open(path, mode) return open(disk, path, mode) end
  function io.lines(path, ...)
    if path == nil then return io.input():lines(...) end
    return must_open(disk, path):lines(...)
  end
  io.stdin = stream.in_memory("", true, false)
  function debug.debug() end -- reads standard input as well
  local input = io.stdin
  function io.input(file)
    if type(file) == "string" then file = must_open(disk, file) end
    input = file or input
    return input
  end
  function io.read(...) return input:read(...) end
  function io.tmpfile()
    return stream.in_memory("", true, true)
  end
  function io.close(file)
    if file == nil then file = io.output() end
    if not stream.is_one(file) then return file == io.stdout or file == io.stderr or close_(file) end
    return file:close()
  end
  function io.type(file)
    if not stream.is_one(file) then return type_(file) end
    return file.is_closed and "closed file" or "file"
  end
  function os.remove(path) return remove(disk, path) end
  function os.rename(from, to) return rename(disk, from, to) end
  function os.tmpname()
    local path
    repeat
      n_temporary = n_temporary + 1
      path = ("/tmp/lua_%06d"):format(n_temporary)
    until not disk.has(path)
    link(disk, path, new_content "")
    return path
  end
  function _G.loadfile(path, ...)
    local found = load_file(disk, path, ...)
    if not found then return loadfile_(path, ...) end
    return table.unpack(found, 1, found.n)
  end
  function _G.dofile(path)
    local chunk, message = _G.loadfile(path)
    if not chunk then error(message, 0) end
    return chunk()
  end
end

return files
