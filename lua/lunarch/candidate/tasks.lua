-- The tasks of a candidate: begun in its name, so that the log knows whose handler speaks, and ended.
local loop = require "lunarch.loop"

require "lunarch.internal.args".is_ours()

local tasks = {}

local INSIST_S = 1         -- how long an interrupted task is waited for

-- What stops the driver's own waits, and the tasks beside it.
tasks.STOP = setmetatable({ is_ending = true }, { __tostring = function() return "the candidate is being stopped" end })

--- The candidate whose handler runs here, or nil. A task keeps its candidate in a field: a table by tasks would keep
--- both for ever on LuaJIT, where a weak key is kept by its own value.
function tasks.current()
  local task = loop.current()
  return task and task.candidate
end

-- Beside the driver, the first of them, wherever this is called: stop() may be called from anywhere.
local function spawn(candidate, ...)
  if candidate.driver then return candidate.driver:beside(...) end
  return candidate.lunarch.spawn(...)
end

--- Runs fn(candidate, ...) as a task of the candidate's.
function tasks.spawn(candidate, fn, ...)
  -- In nginx there may be no timer for it.
  local task = assert(spawn(candidate, fn, candidate, ...))
  task.candidate = candidate
  candidate.tasks[task] = true
  return task
end

local PAUSE_S = 1

local function go_on(candidate, fn, ...)
  while true do
    local ok, err = pcall(fn, candidate, ...)
    if ok then return end
    local task = loop.world().current()
    if err == tasks.STOP or task and task.interruption then error(err, 0) end
    -- Ctrl-C is the main program's, which on LuaJIT it may miss; it may go on, and so do we.
    loop.pass_on(err)
    candidate.log.error("a task beside the handlers failed, and begins anew: %s", tostring(err))
    candidate.lunarch.sleep(PAUSE_S)
  end
end

--- The same, and begins anew after an error, which may be anything: no memory, or on LuaJIT a finalizer that failed.
function tasks.keep(candidate, fn, ...)
  return tasks.spawn(candidate, go_on, fn, ...)
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
