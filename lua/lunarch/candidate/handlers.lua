-- Calls handlers, and describes their errors.
local args = require "lunarch.args"
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

function handlers.is_lost_error(err)
  return type(err) == "table" and getmetatable(err) == Lost
end

-- The traceback as far as it is the handler's.
local function describe(err)
  local trace = debug.traceback(args.error_text(err), 2):gsub("\n%s*%[C%]: in function 'xpcall'.*", "")
  return { err = err, text = args.without_ours(trace) }
end

--- Calls a handler: true and what it returned, or false and { err =, text = } of its error.
function handlers.attempt(handler, ...)
  local ok, result = xpcall(handler, describe, ...)
  -- Lua asks nobody for a description where memory is lacking.
  if not ok and type(result) ~= "table" then result = { err = result, text = args.error_text(result) } end
  return ok, result
end

--- Calls a handler that is no part of a term's work: its error is told, and nothing else.
function handlers.tell(candidate, name, ...)
  local handler = candidate.handlers[name]
  if not handler then return true end
  candidate.last_handler = name
  local ok, result = handlers.attempt(handler, ...)
  if ok then return true, result end
  if result.err ~= tasks.STOP then candidate.log.error("%s failed: %s", name, result.text) end
  return false
end

local LONGEST_PAUSE_S = 1e9

--- Seconds to the next call, from what do_work or do_standby returned; nil: that was none.
function handlers.pause_after(result, interval)
  if result == nil or result == true then return interval end
  if type(result) == "number" and result >= 0 and result <= LONGEST_PAUSE_S then return result end
  return nil
end

return handlers
