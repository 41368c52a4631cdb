-- luv in the simulator, as far as failover scripts use it: timers, signals and the clock. Everything else raises.
--
-- A callback is run by the loop, and a wait in one blocks the process, as it does outside; an error in one fails the
-- history.
local args = require "lunarch.internal.args"

args.is_ours()

local loop = require "lunarch.cli.sim.loop"
local process = require "lunarch.sim.process"

local luv = {}

local function traced(err)
  return args.without_ours(debug.traceback(args.error_text(err), 2))
end

local function guarded(callback)
  return function(...)
    loop.enter_callback()
    local ok, err = xpcall(callback, traced, ...)
    loop.leave_callback()
    if not ok then process.fail("error in a callback of luv: " .. err) end
  end
end

-- ---- what all handles have ------------------------------------------------------------------------------------------

local function class(name)
  local methods = {}
  methods.__index, methods.__name = methods, name
  function methods:is_closing() return self.is_closed == true end
  function methods:is_active() return self.is_started == true end
  function methods:ref() end
  function methods:unref() end
  function methods:has_ref() return true end
  function methods:close(callback)
    self:stop()
    self.is_closed = true
    if callback then loop.timer(0, guarded(callback)) end
  end
  return methods
end

-- luv.timer_start(timer, ...) is timer:start(...).
local function add_functions(prefix, methods)
  for name, method in pairs(methods) do
    if type(method) == "function" then luv[prefix .. name] = method end
  end
end

for _, name in ipairs { "close", "is_closing", "is_active", "ref", "unref", "has_ref" } do
  luv[name] = function(handle, ...) return handle[name](handle, ...) end
end

-- ---- timers -------------------------------------------------------------------------------------------------------

local Timer = class "uv_timer_t"

function luv.new_timer()
  return setmetatable({ repeat_ms = 0 }, Timer)
end

local function arm(self, ms)
  self.due_at = process.now() + ms / 1000
  self.is_started = true
  self.cancel = loop.timer(ms / 1000, function()
    if self.repeat_ms > 0 then arm(self, self.repeat_ms) else self.is_started = false end
    self.callback()
  end)
end

function Timer:start(timeout_ms, repeat_ms, callback)
  args.whole("timer:start", "timeout", timeout_ms)
  args.whole("timer:start", "repeat", repeat_ms)
  self:stop()
  self.repeat_ms, self.callback = repeat_ms, guarded(args.callable("timer:start", "callback", callback))
  arm(self, timeout_ms)
  return 0
end

function Timer:stop()
  if self.is_started then self.cancel() end
  self.is_started = false
  return 0
end

function Timer:again()
  if not self.callback then return nil, "EINVAL: invalid argument", "EINVAL" end
  self:stop()
  if self.repeat_ms > 0 then arm(self, self.repeat_ms) end
  return 0
end

function Timer:set_repeat(repeat_ms)
  self.repeat_ms = args.whole("timer:set_repeat", "repeat", repeat_ms)
end

function Timer:get_repeat() return self.repeat_ms end

function Timer:get_due_in()
  return self.is_started and math.max(0, math.floor((self.due_at - process.now()) * 1000)) or 0
end

add_functions("timer_", Timer)

-- ---- signals --------------------------------------------------------------------------------------------------------

local NUMBERS, NAMES = { sighup = 1, sigint = 2, sigusr1 = 10, sigusr2 = 12, sigterm = 15 }, {}

luv.constants = {}
for name, number in pairs(NUMBERS) do
  luv.constants[name:upper()] = number
  NAMES[number] = name
end

local Signal = class "uv_signal_t"

function luv.new_signal()
  return setmetatable({}, Signal)
end

local function listen(self, call, which, callback, is_once)
  local number = NUMBERS[which] or which
  args.whole(call, "signal", number)
  args.callable(call, "callback", callback)
  self:stop()
  self.is_started = true
  local run = guarded(callback)
  self.cancel = loop.watch_signal(number, function()
    if is_once then self:stop() end
    run(NAMES[number] or "unknown")
  end)
  return 0
end

function Signal:start(which, callback)
  return listen(self, "signal:start", which, callback, false)
end

function Signal:start_oneshot(which, callback)
  return listen(self, "signal:start_oneshot", which, callback, true)
end

function Signal:stop()
  if self.is_started then self.cancel() end
  self.is_started = false
  return 0
end

add_functions("signal_", Signal)

-- ---- the clock and the like -----------------------------------------------------------------------------------------

function luv.now() return math.floor(process.now() * 1000) end
function luv.update_time() end
function luv.hrtime() return math.floor(process.now() * 1e9) end
function luv.os_getpid() return 1000 end
function luv.os_gethostname() return process.name() end
function luv.sleep(ms) process.sleep(ms / 1000) end

function luv.gettimeofday()
  local time = process.time()
  return math.floor(time), math.floor(time % 1 * 1e6)
end

return setmetatable(luv, {
  __index = function(_, name)
    error(("luv.%s: of libuv, timers, signals and the clock are in the simulation: wait with lunarch.sleep, "
      .. "lunarch.spawn and lunarch.exec, and write files with io and os"):format(tostring(name)), 2)
  end,
})
