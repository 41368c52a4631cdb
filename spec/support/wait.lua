-- How specs wait: for a condition, with a limit. None of these is a bare sleep but `pass`, whose point is time itself.
local uv = require "luv"
local clock = require "support.clock"

local wait = {}

-- Seconds that anything may take which is expected to happen. So generous that no machine is too slow or too busy for
-- it: a spec that wants to know whether something happens *in time* makes the wrong way take longer than this.
wait.LIMIT = 60

local STEP_MS = 2

-- Lets a little time go by; what the spec itself hung into libuv goes on meanwhile.
local function step()
  if not uv.loop_mode() then uv.run "nowait" end
  uv.sleep(STEP_MS)
end

-- The first true result of `fn`, asked again and again. An error it raises means "not yet", and is told in the end.
---@param fn fun(): any
---@param limit? number seconds
---@param what? string for the message: "the key to vanish"
function wait.eventually(fn, limit, what)
  limit = limit or wait.LIMIT
  local deadline = clock.now() + limit
  while true do
    local ok, result = pcall(fn)
    if ok and result then return result end
    if clock.now() >= deadline then
      local last = not ok and "; the last error: " .. tostring(result) or ""
      error(("waited %g s in vain%s%s"):format(limit, what and " for " .. what or "", last), 2)
    end
    step()
  end
end

-- Waits until `fn`, full of assertions, raises nothing.
---@param fn fun()
---@param limit? number seconds
function wait.passes(fn, limit)
  return wait.eventually(function()
    fn()
    return true
  end, limit)
end

-- `fn` must stay true for `seconds`.
---@param fn fun(): any
---@param seconds number
---@param what? string
function wait.holds(fn, seconds, what)
  local started = clock.now()
  repeat
    if not fn() then
      error(("%s ended after %.3f of %g s"):format(what or "the condition", clock.now() - started, seconds), 2)
    end
    step()
  until clock.now() - started >= seconds
end

-- Lets `seconds` pass, where the passing of time is what the spec is about.
---@param seconds number
function wait.pass(seconds)
  local deadline = clock.now() + seconds
  while clock.now() < deadline do
    step()
  end
end

return wait
