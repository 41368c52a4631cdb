-- Who waits in this worker. Each wait has a semaphore of nginx's, which its light thread sleeps on.
--
-- A light thread may be gone before its wait is over: with its request, which nginx tells (lunarch.loop.nginx.request),
-- or alone, when another light thread killed it or left the phase by ngx.exit. The latter leaves a semaphore on which
-- nothing sleeps: that is looked for once a second. The operation of such a wait is cancelled.
local args = require "lunarch.internal.args"
local each = require "lunarch.internal.each"

args.is_ours()

local core = require "lunarch.core"
local requests = require "lunarch.loop.nginx.request"
local semaphore = require "ngx.semaphore"

local waits = {}

local LONGEST_S = 1e6        -- what nginx's timers can count
local SHORTEST_S = 0.001     -- nginx counts in whole milliseconds

local all = {}               -- the dead ones included

--- Whether anything waits.
function waits.is_any()
  return next(all) ~= nil
end

function waits.each()
  return each(all)
end

local function forget(wait)
  all[wait] = nil
  wait.request.waits[wait] = nil
  if wait.task then wait.task.waits[wait] = nil end
  if not next(all) and waits.on_last then waits.on_last() end
end

-- The light thread may have been collected, and its operation been given up with it.
local function give_up(wait)
  forget(wait)
  if not wait.cancel then return end
  local ok, err = pcall(wait.cancel, wait)
  if not ok then ngx.log(ngx.ERR, "lunarch: giving up what a light thread that is gone waited for: ", err) end
end

local function give_up_all(list)
  for _, wait in ipairs(list) do
    give_up(wait)
  end
end

-- A wait that was told is resumed before the loop turns: its light thread is gone if it was not by the next look.
local function is_dead(wait, told_before)
  if wait.is_told then return told_before[wait] == wait.n_told end
  return wait.semaphore:count() >= 0
end

--- Gives up the waits whose light thread is gone. `told_before`: what the last look returned, at least one turn of
--- nginx's loop ago; {} at first.
function waits.look(told_before)
  requests.sweep()
  local dead, told = {}, {}
  for wait in each(all) do
    if is_dead(wait, told_before) then dead[#dead + 1] = wait end
    if wait.is_told then told[wait] = wait.n_told end
  end
  give_up_all(dead)
  return told
end

local function on_request_end(request)
  local dead = {}
  for wait in each(request.waits) do
    dead[#dead + 1] = wait
  end
  give_up_all(dead)
end

--- Has the light thread look again whether its wait is over, or interrupted. From anywhere; it goes on later, not now.
function waits.tell(wait)
  if wait.is_told or not wait.semaphore then return end
  wait.is_told, wait.n_told = true, wait.n_told + 1
  wait.semaphore:post(1)
end

local function begin(wait, task)
  local request = requests.keep()
  if not request.gives_up_waits then
    request.gives_up_waits = true
    table.insert(request.on_end, 1, on_request_end)
  end
  wait.semaphore = assert(semaphore.new())
  wait.task, wait.request, wait.is_told, wait.n_told = task, request, false, 0
  all[wait], request.waits[wait] = true, true
  if task then task.waits[wait] = true end
end

--- Waits until wait.is_done: true; or so many seconds, nil for ever: false; or until `interrupted()` returns something:
--- nil and that. `slice()`: the longest sleep, or nil; after each it is asked again. Yields.
function waits.suspend(wait, task, seconds, interrupted, slice)
  local until_s = seconds and core.now() + seconds
  begin(wait, task)
  local interruption
  while not wait.is_done do
    interruption = interrupted()
    local left_s = until_s and until_s - core.now()
    if interruption or left_s and left_s <= 0 then break end
    local sleep_s = math.min(left_s and left_s + SHORTEST_S or LONGEST_S, slice() or LONGEST_S)
    local ok, err = wait.semaphore:wait(sleep_s)
    wait.is_told = wait.is_done
    if not ok and err ~= "timeout" then
      give_up(wait)
      args.misuse("nothing can wait here, nginx says: %s", tostring(err))
    end
  end
  forget(wait)
  if wait.is_done then return true end
  if interruption then return nil, interruption end
  return false
end

return waits
