-- Calls that change something outside of a script: `lunarch check` runs its main part up to the first of them.
local args = require "lunarch.internal.args"

args.is_ours()

local effects = {}

local STOP = setmetatable({}, { __tostring = function() return "lunarch check goes no further" end })

-- Those of a module, by its name.
local CALLS = {
  lunarch = { "connect", "exec", "run", "sleep", "spawn" },
  os = { "execute", "exit", "remove", "rename", "tmpname" },
  io = { "popen", "tmpfile", "output" },
  luv = {
    "spawn", "run", "kill", "fs_write", "fs_unlink", "fs_rename", "fs_mkdir", "fs_rmdir", "fs_mkdtemp", "fs_mkstemp",
    "fs_copyfile", "fs_symlink", "fs_link", "fs_chmod", "fs_chown", "fs_ftruncate", "fs_sendfile",
  },
}

-- Where the script is, in words: the first function on the stack that is not ours.
local function place()
  for level = 3, 20 do
    local info = debug.getinfo(level, "Sl")
    if not info then break end
    if info.currentline > 0 and not info.source:find "/lunarch/cli/" then
      return (" (%s:%d)"):format(info.short_src, info.currentline)
    end
  end
  return ""
end

local function is_for_writing(mode)
  return type(mode) == "string" and mode:find "[wa+]" ~= nil
end

--- From now on such a call ends the script's main part. Returns what allows them again, and then says in words which
--- call it was, or nil.
---@param lunarch table the module
---@return fun(): string?
function effects.refuse(lunarch)
  local found
  local saved = {}
  local modules = { lunarch = lunarch, os = os, io = io, luv = require "luv" }
  local function stop(name)
    found = found or name .. place()
    error(STOP, 0)
  end
  local function replace(module, call, fn)
    saved[#saved + 1] = { modules[module], call, modules[module][call] }
    rawset(modules[module], call, fn)
  end
  for module, calls in pairs(CALLS) do
    for _, call in ipairs(calls) do
      if modules[module][call] then
        replace(module, call, setmetatable({}, { __call = function() stop(module .. "." .. call) end }))
      end
    end
  end
  local open = io.open
  replace("io", "open", function(path, mode)
    if is_for_writing(mode) then stop "io.open" end
    return open(path, mode)
  end)
  return function()
    for _, entry in ipairs(saved) do
      rawset(entry[1], entry[2], entry[3])
    end
    return found
  end
end

return effects
