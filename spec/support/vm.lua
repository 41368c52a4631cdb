-- The Lua VM that this spec runs on: most of spec/module runs on each. What the VMs call differently, for specs and
-- their helpers alone: nothing here is put where the module under test would find it.
local vm = {}

vm.is_luajit = rawget(_G, "jit") ~= nil
-- "lua" in a command of process.lua is this program.
vm.program = vm.is_luajit and assert(os.getenv "LUNARCH_BUILD") .. "/unit/luajit" or "lua5.4"

vm.unpack = table.unpack or unpack
vm.pack = table.pack or function(...) return { n = select("#", ...), ... } end

-- The whole number that a text says, or nil; on 5.4 an integer.
vm.integer = math.tointeger or function(text)
  local number = tonumber(text)
  return number and number == math.floor(number) and number or nil
end

-- What a revision or token must be.
---@param value any
function vm.is_integer(value)
  if math.type then return math.type(value) == "integer" end
  return type(value) == "number" and value == math.floor(value)
end

-- What a command for the shell said, and whether it succeeded.
---@param command string
---@return string output, boolean ok
function vm.shell(command)
  local pipe = assert(io.popen(command .. "; echo $?"))
  local text = pipe:read "*a"
  pipe:close()
  local output, status = text:match "^(.-)(%d+)\n$"
  return output, status == "0"
end

-- The garbage collector at its most aggressive, until vm.rest(). On 5.4 each 64 bytes are followed by as much work as
-- it can be told to do; on LuaJIT each kilobyte by a part of a cycle, and a cycle by the next. Compiled code may then
-- go in circles on LuaJIT: it leaves its traces for the collector, and comes back to them.
function vm.never_rest()
  if not vm.is_luajit then return collectgarbage("incremental", 1, 1000, 6) end
  require "jit".off()
  collectgarbage("setpause", 0)
  collectgarbage("setstepmul", 10000)
end

function vm.rest()
  if not vm.is_luajit then return collectgarbage("incremental", 200, 100, 13) end
  collectgarbage("setpause", 200)
  collectgarbage("setstepmul", 200)
  require "jit".on()
end

-- Calls `fn`, interpreted: compiled code never sees a hook.
---@param fn function
function vm.uncompiled(fn, ...)
  if not vm.is_luajit then return fn(...) end
  local jit = require "jit"
  local was_on = jit.status()
  jit.off()
  jit.flush()
  local results = vm.pack(pcall(fn, ...))
  if was_on then jit.on() end
  if not results[1] then error(results[2], 0) end
  return vm.unpack(results, 2, results.n)
end

-- Collects what is garbage. What LuaJIT has compiled keeps the constants of its traces, functions with all that they
-- know among them: after a loop that went round often enough, as it does on a slow machine, something would stay.
function vm.collect()
  if vm.is_luajit then require "jit".flush() end
  collectgarbage()
  collectgarbage()
end

-- What calls `fn` when it is collected: on LuaJIT a table cannot.
---@param fn function
function vm.finalized(fn)
  if not vm.is_luajit then return setmetatable({}, { __gc = fn }) end
  local guard = newproxy(true) -- luacheck: ignore
  getmetatable(guard).__gc = fn
  return guard
end

return vm
