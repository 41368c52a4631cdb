-- A limit for Lua code of others: past it an error is raised every few thousand instructions, in whatever coroutine.
-- Code that blocks in C is not reached.
local args = require "lunarch.internal.args"
local core = require "lunarch.core"

args.is_ours()

local patience = {}

local LOOK_EVERY = 10000     -- instructions

local create, resume, running = coroutine.create, coroutine.resume, coroutine.running
local sethook = debug.sethook

local function results(ok, ...)
  if not ok then error((...), 0) end
  return ...
end

--- Calls fn() in this coroutine, which has so many seconds; past them on_late(place) is called once, and fn ends by an
--- error, unless it catches it each time. Returns what pcall does.
---@param seconds number
---@param on_late fun(place: string?)
---@return boolean ok, any err
function patience.call(seconds, on_late, fn, ...)
  local until_s, is_late = core.now() + seconds, false
  local function look()
    if core.now() < until_s then return end
    if not is_late then
      is_late = true
      on_late(args.place(running()))
    end
    error("the time is over", 0)
  end
  local function create_watched(...)
    local thread = create(...)
    sethook(thread, look, "", LOOK_EVERY)
    return thread
  end
  local saved_create, saved_wrap = coroutine.create, coroutine.wrap
  rawset(coroutine, "create", create_watched)
  rawset(coroutine, "wrap", function(...)
    local watched = create_watched(...)
    return function(...) return results(resume(watched, ...)) end
  end)
  local thread = running()
  sethook(thread, look, "", LOOK_EVERY)
  local ok, err = pcall(fn, ...)
  sethook(thread)
  rawset(coroutine, "create", saved_create)
  rawset(coroutine, "wrap", saved_wrap)
  return ok, err
end

return patience
