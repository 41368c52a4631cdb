-- Futures and events: waits that the program itself ends, from a callback of another library or another task.
local args = require "lunarch.internal.args"
local core = require "lunarch.core"
local loop = require "lunarch.loop"
local waiters = require "lunarch.loop.waiters"

args.is_ours()

local future = {}

local pack = table.pack or function(...) return { n = select("#", ...), ... } end
local unpack = table.unpack or unpack

-- Waits until is_over(); false: not within the timeout, which has been checked.
local function wait_for(self, is_over, timeout)
  loop.enter()
  local until_s = timeout and core.now() + timeout
  while not is_over(self) do
    local left_s = until_s and until_s - core.now()
    if left_s and left_s <= 0 then return false end
    self._waiters:await(left_s)
  end
  return true
end

local function late(call, timeout)
  return nil, ("%s: nothing within %g s"):format(call, timeout), "timeout"
end

-- ---- future -------------------------------------------------------------------------------------------------------

local methods = {}
local Future, check = args.class("future", methods)

local function is_done(self)
  return self._results ~= nil
end

local function finish(self, ...)
  if is_done(self) then return false end
  self._results = pack(...)
  self._waiters:wake()
  return true
end

function methods:set(...)
  check(self, "set")
  return finish(self, ...)
end

function methods:fail(message, code)
  check(self, "fail")
  args.text("future:fail", "message", message)
  if code ~= nil then args.text("future:fail", "code", code) end
  return finish(self, nil, message, code or "cancelled")
end

function methods:is_set()
  check(self, "is_set")
  return is_done(self)
end

function methods:wait(timeout)
  check(self, "wait")
  args.timeout("future:wait", timeout)
  if not wait_for(self, is_done, timeout) then return late("future:wait", timeout) end
  return unpack(self._results, 1, self._results.n)
end

function Future.__tostring(self)
  return "lunarch.future: " .. (is_done(self) and "set" or "not set yet")
end

--- See library/lunarch.d.lua.
function future.new()
  return setmetatable({ _waiters = waiters.new() }, Future)
end

-- ---- event --------------------------------------------------------------------------------------------------------

local event_methods = {}
local Event, check_event = args.class("flag", event_methods)

local function is_set(self)
  return self._is_set
end

function event_methods:set()
  check_event(self, "set")
  self._is_set, self._n_set = true, self._n_set + 1
  self._waiters:wake()
end

function event_methods:clear()
  check_event(self, "clear")
  self._is_set = false
end

function event_methods:is_set()
  check_event(self, "is_set")
  return self._is_set
end

-- What was woken by set() has seen it, also if it was cleared at once.
function event_methods:wait(timeout)
  check_event(self, "wait")
  args.timeout("event:wait", timeout)
  local n = self._n_set
  local function has_been() return is_set(self) or self._n_set ~= n end
  if not wait_for(self, has_been, timeout) then return late("event:wait", timeout) end
  return true
end

function Event.__tostring(self)
  return "lunarch.event: " .. (is_set(self) and "set" or "not set")
end

--- See library/lunarch.d.lua.
function future.new_event()
  return setmetatable({ _waiters = waiters.new(), _is_set = false, _n_set = 0 }, Event)
end

return future
