-- The tasks of a candidate: begun in its name, so that the log knows whose handler speaks, and ended.
require "lunarch.args".is_ours()

local tasks = {}

local INSIST_S = 1         -- how long an interrupted task is waited for

-- What stops the driver's own waits, and the tasks beside it.
tasks.STOP = setmetatable({}, { __tostring = function() return "the candidate is being stopped" end })

-- Which candidate a handler belongs to, by its coroutine.
local owners = setmetatable({}, { __mode = "k" })

--- The candidate whose handler runs here, or nil.
function tasks.current()
  return owners[coroutine.running()]
end

--- Runs fn(candidate, ...) as a task of the candidate's.
function tasks.spawn(candidate, fn, ...)
  -- In nginx there may be no timer for it.
  local task = assert(candidate.lunarch.spawn(function(...)
    owners[coroutine.running()] = candidate
    return fn(candidate, ...)
  end, ...))
  candidate.tasks[task] = true
  return task
end

--- Ends a helper's task. False: its handler did not end, and is abandoned.
function tasks.dismiss(task)
  if not task then return true end
  task:interrupt(tasks.STOP)
  if task:join(INSIST_S) ~= nil then return true end
  task:abandon()
  return false
end

return tasks
