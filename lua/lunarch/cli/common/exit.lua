-- How the program ends: the statuses, and the end in order of what a script holds.
local args = require "lunarch.internal.args"

args.is_ours()

local exit = {
  DONE = 0,
  FAILED = 1,           -- trying again may help: a service is started again
  USAGE = 2,            -- trying again cannot help: a flag, a script or a setting is wrong, or a part is not installed
  NONE = 3,             -- nobody leads or holds
  SIGNAL = 128,         -- and its number
}

-- luv 1.44 crashes in lua_close() while the closing of a handle is still to be reported.
local function may_close_lua()
  local is_safe = true
  require "luv".walk(function(handle)
    if handle:is_closing() then is_safe = false end
  end)
  return is_safe
end

--- Before Lua is closed: one turn of the loop reports what is closing. Whatever else is due there comes with it.
function exit.settle()
  if package.loaded.luv and not may_close_lua() then pcall(require "luv".run, "nowait") end
end

--- A script that ends by os.exit gives up what it holds, as one that comes to its end: only a closed Lua does that.
function exit.in_order()
  local os_exit = os.exit
  rawset(os, "exit", function(status, is_closing)
    if is_closing == nil then is_closing = may_close_lua() end
    os_exit(status, is_closing)
  end)
end

return exit
