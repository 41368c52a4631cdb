-- Raises an error in a coroutine at its next instruction that is the user's, instead of at its next wait: for one that
-- yields past us, or catches every error and goes on.
--
-- By a hook of the debug library, which on Lua 5.4 is the coroutine's own, and on LuaJIT everybody's.
local args = require "lunarch.internal.args"

args.is_ours()

local insist = {}

local running, getinfo, gethook, sethook = coroutine.running, debug.getinfo, debug.gethook, debug.sethook
local is_shared = rawget(_G, "jit") ~= nil

-- By coroutine: { err =, is_once =, is_over = } and, on Lua 5.4, the hook that was there before.
local armed = setmetatable({}, { __mode = "k" })

local spared = {}            -- by source

--- Nothing is raised in the file in which this Lua function is defined: ours calls it, and would be broken off there.
function insist.spare(fn)
  spared[getinfo(fn, "S").source] = true
end

local function set_hook(thread, ...)
  if is_shared then sethook(...) else sethook(thread, ...) end
end

--- Lets the coroutine alone again.
function insist.disarm(thread)
  local entry = armed[thread]
  if not entry then return end
  armed[thread] = nil
  if not is_shared then
    set_hook(thread, entry.hook, entry.mask, entry.count)
  elseif not next(armed) then
    sethook()
  end
end

local function raise()
  local thread = running()
  local entry = thread and armed[thread]
  if not entry then return end
  local info = getinfo(2, "S")
  if not info or args.holds(info.source) or spared[info.source] then return end
  if entry.is_over and entry.is_over() then return insist.disarm(thread) end
  if entry.is_once then insist.disarm(thread) end
  error(entry.err, 0)
end

local function arm(thread, err, is_once, is_over)
  local entry = armed[thread]
  if not entry then
    entry = {}
    entry.hook, entry.mask, entry.count = gethook(thread)
    armed[thread] = entry
  end
  entry.err, entry.is_once, entry.is_over = err, is_once, is_over
  set_hook(thread, raise, "", 1)
end

--- Raises `err` at its next instruction, and at each one after it until disarm(thread), or is_over() if that is given.
function insist.always(thread, err, is_over)
  arm(thread, err, false, is_over)
end

--- Raises `err` at its next instruction, once.
function insist.once(thread, err)
  if not armed[thread] then arm(thread, err, true) end
end

return insist
