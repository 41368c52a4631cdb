-- Calls handlers, describes their errors, and remembers how long they took.
local args = require "lunarch.internal.args"
local common = require "lunarch.loop.common"
local ending = require "lunarch.loop.ending"
local loop = require "lunarch.loop"
local tasks = require "lunarch.candidate.tasks"

args.is_ours()

local handlers = {}

local Lost = { __name = "lunarch.lost", __tostring = function(self) return self.message end }

-- What the waits of a term raise once it is over.
function handlers.lost_error(reason)
  return setmetatable({ code = "lost", reason = reason, message = "the term is over: " .. reason }, Lost)
end

-- What the waits of on_lost raise once its time has passed.
function handlers.late_error()
  return setmetatable({ code = "timeout", message = "on_lost took longer than its stop_timeout" }, Lost)
end

-- What the waits of may_stand and health raise once their time has passed.
function handlers.check_error(message)
  return setmetatable({ code = "timeout", message = message }, Lost)
end

function handlers.is_lost_error(err)
  return type(err) == "table" and getmetatable(err) == Lost
end

-- What the program interrupts a task by, or nil. A term or a check whose time is over is something else.
local function interruption_of(task)
  local interruption = task and task.interruption
  return interruption and not handlers.is_lost_error(interruption.err) and interruption or nil
end

-- Whether an error in this task is no failure of what it calls: it has been interrupted by it.
local function is_interruption(err)
  if err == tasks.STOP or common.is_ctrl_c(err) or handlers.is_lost_error(err) then return true end
  local interruption = interruption_of(loop.current())
  return interruption ~= nil and interruption.err == err
end

--- Whether a task (nil: this one) that failed has to end: we have dismissed it, or the program ends all that it runs,
--- by interrupting it or by Ctrl-C, also where it has caught that and fails by another error. A term or a check whose
--- time is over is something else.
function handlers.is_told_to_end(err, task)
  return err == tasks.STOP or common.is_ctrl_c(err) or interruption_of(task or loop.current()) ~= nil
end

--- Calls a handler: true and what it returned, or false and { err =, text =, is_failure = } of its error: not one that
--- it was interrupted by. Ctrl-C goes to the main program as well.
function handlers.attempt(candidate, name, handler, ...)
  local call = { began_at = candidate.lunarch.now() }
  candidate.calls[name] = call
  ending.remember()
  candidate.report.handler(name, true)
  candidate.log.debug("%s is called", name)
  local ok, result = common.attempt(handler, ...)
  call.ended_at = candidate.lunarch.now()
  candidate.report.handler(name, false)
  candidate.log.debug("%s has %s after %.3f s", name, ok and "returned" or "failed", call.ended_at - call.began_at)
  loop.calm()
  if ok then return true, result end
  -- The traceback as far as it is the handler's.
  result.text = result.text:gsub("\n%s*%[C%]: in function 'xpcall'.*", "")
  if common.is_ctrl_c(result.err) then loop.pass_on(result.err) end
  result.is_failure = not is_interruption(result.err)
  if result.is_failure then candidate.report.failed(name) end
  return false, result
end

-- In nginx the task of a handler that was abandoned ends like others.
local function is_abandoned()
  local task = loop.current()
  return task ~= nil and task.has_ended
end

--- Calls a handler that is no part of a term's work: its error is told, and nothing else.
function handlers.tell(candidate, name, ...)
  local handler = candidate.handlers[name]
  if not handler then return true end
  local ok, result = handlers.attempt(candidate, name, handler, ...)
  if ok then return true, result end
  if (result.is_failure or handlers.is_lost_error(result.err)) and not is_abandoned() then
    candidate.log.error("%s failed: %s", name, result.text)
  end
  return false
end

-- How much of the time since `from` a call lasted.
local function share_of(call, from, now)
  return math.min(call.ended_at or now, now) - math.max(call.began_at, from)
end

-- Those of a term come first where several were at it.
local NAMES = { "do_work", "on_elected", "on_lost", "on_jeopardy", "on_safe", "on_leader", "do_standby", "on_reload",
  "health", "may_stand" }

--- The handler that was at it the longest since `from`, one that has returned since first: what held everything up.
function handlers.busiest_since(candidate, from)
  local now = candidate.lunarch.now()
  local best, best_share, has_returned = nil, 0, false
  for _, name in ipairs(NAMES) do
    local call = candidate.calls[name]
    local share = call and share_of(call, from, now) or 0
    local is_returned = call and call.ended_at ~= nil
    if share > best_share and (is_returned or not has_returned) or share > 0 and is_returned and not has_returned then
      best, best_share, has_returned = name, share, is_returned
    end
  end
  return best
end

local LONGEST_PAUSE_S = 1e9

--- Seconds to the next call, from what do_work or do_standby returned; nil: that was none.
function handlers.pause_after(result, interval)
  if result == nil or result == true then return interval end
  if type(result) == "number" and result >= 0 and result <= LONGEST_PAUSE_S then return result end
  return nil
end

return handlers
