-- Calls that change something outside of a script, or begin what would go on later: `lunarch check` runs its main part
-- up to the first of them. And what a main part may spoil for the code that goes on after it.
local args = require "lunarch.internal.args"

args.is_ours()

local effects = {}

local running = coroutine.running

local STOP = setmetatable({}, { __tostring = function() return "lunarch check goes no further" end })

-- Those of a module, by its name.
local CALLS = {
  lunarch = { "connect", "exec", "run", "shutdown", "sleep", "spawn" },
  os = { "execute", "exit", "remove", "rename", "tmpname" },
  io = { "popen", "tmpfile", "output" },
}

-- Of luv everything else has effects: it opens, begins, sends, changes, or calls back later.
local HARMLESS = {}
for _, name in ipairs {
  "cpu_info", "cwd", "exepath", "fs_access", "fs_close", "fs_closedir", "fs_fstat", "fs_lstat", "fs_opendir", "fs_read",
  "fs_readdir", "fs_readlink", "fs_realpath", "fs_scandir", "fs_scandir_next", "fs_stat", "fs_statfs",
  "get_constrained_memory", "get_free_memory", "get_process_title", "get_total_memory", "getgid", "getpid",
  "getrusage",
  "gettimeofday", "getuid", "guess_handle", "hrtime", "if_indextoiid", "if_indextoname", "interface_addresses",
  "loadavg", "loop_alive", "loop_mode", "now", "os_environ", "os_get_passwd", "os_getenv", "os_gethostname",
  "os_getpid",
  "os_getppid", "os_getpriority", "os_homedir", "os_tmpdir", "os_uname", "resident_set_memory", "translate_sys_error",
  "update_time", "uptime", "version", "version_string",
} do
  HARMLESS[name] = true
end

local function is_for_writing(mode)
  return type(mode) == "string" and mode:find "[wa+]" ~= nil
end

local function holds_a_function(...)
  for i = 1, select("#", ...) do
    if type((select(i, ...))) == "function" then return true end
  end
  return false
end

-- luv as the script finds it: our own code has the real one.
local function harmless_luv(luv, stop)
  local copy = {}
  for name, value in pairs(luv) do
    copy[name] = value
    if type(value) == "function" then
      copy[name] = function(...)
        local is_reading = name == "fs_open" and (select(2, ...)) == "r"
        if not (HARMLESS[name] or is_reading) or holds_a_function(...) then stop("luv." .. name) end
        return value(...)
      end
    end
  end
  return copy
end

--- From now on such a call ends the script's main part. Returns what allows them again, and then says in words which
--- call it was, or nil.
---@param lunarch table the module
---@return fun(): string?
function effects.refuse(lunarch)
  local found
  local saved = {}
  local modules = { lunarch = lunarch, os = os, io = io }
  local function stop(name)
    local ok, place = pcall(args.place, running())
    found = found or (ok and place and name .. " (" .. place .. ")" or name)
    error(STOP, 0)
  end
  local function replace(table, name, value)
    saved[#saved + 1] = { table, name, table[name] }
    rawset(table, name, value)
  end
  for module, calls in pairs(CALLS) do
    for _, call in ipairs(calls) do
      replace(modules[module], call, function() stop(module .. "." .. call) end)
    end
  end
  local open = io.open
  replace(io, "open", function(path, mode)
    if is_for_writing(mode) then stop "io.open" end
    return open(path, mode)
  end)
  replace(package.loaded, "luv", harmless_luv(require "luv", stop))
  return function()
    for _, entry in ipairs(saved) do
      rawset(entry[1], entry[2], entry[3])
    end
    return found
  end
end

-- ---- what is spoilt ----------------------------------------------------------------------------------------------

local LIBRARIES = { coroutine, debug, io, math, os, package, string, table, utf8 }

--- Returns what gives the standard library back what it has now.
---@return fun()
function effects.keep_library()
  local rawset, next, setlocale = rawset, next, os.setlocale
  local kept = {}
  for i, library in ipairs(LIBRARIES) do
    kept[i] = {}
    for name, value in pairs(library) do
      kept[i][name] = value
    end
  end
  local meta = getmetatable ""
  local strings = meta.__index
  return function()
    for i, library in ipairs(LIBRARIES) do
      for name, value in next, kept[i] do
        rawset(library, name, value)
      end
    end
    debug.setmetatable("", meta)
    meta.__index = strings
    setlocale "C"
  end
end

return effects
