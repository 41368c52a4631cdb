-- How a call waits for its answer. The world is chosen at each wait: a task of ours yields; elsewhere the loop is
-- turned, or the thread blocks.
--
-- A hub belongs to one client: it knows who waits for which of the client's operations, and tells them.
local args = require "lunarch.args"
local block = require "lunarch.loop.block"

-- One world for all that runs inside nginx: there every wait asks the phase it is in.
local nginx = _G.ngx and require "lunarch.loop.nginx"
local tasks = nginx or require "lunarch.loop.task"

args.is_ours()

local loop = {}

loop.tasks = tasks
loop.enter = tasks.enter
loop.sleep = tasks.sleep

-- Asked before a client is opened: raises where it could not live.
function loop.connect(call)
  if nginx then nginx.connect(call) end
end

-- `core`: the client of lunarch.core. `on_trace(line)` or nil. `world`: "block" or "luv" instead of choosing at each
-- wait.
function loop.new_hub(core, on_trace, world)
  return { core = core, on_trace = on_trace, world = world, waits = {}, ids = {} }
end

local function report_trace_error(err)
  io.stderr:write("lunarch: the trace function failed: ", debug.traceback(tostring(err), 2), "\n")
end

-- Runs what is due, and wakes whoever waited for it: they go on later, not now. The number of finished operations.
function loop.dispatch(hub)
  local ids = hub.ids
  local n, lines = hub.core:drain(ids)
  for i = 1, n do
    local wait = hub.waits[ids[i]]
    if wait then
      wait:release()
      tasks.wake(wait)
    end
  end
  if lines and hub.on_trace then
    for _, line in ipairs(lines) do
      xpcall(function() hub.on_trace(line) end, report_trace_error)
    end
  end
  return n
end

-- The watch does not keep its client from being collected.
local function watch(hub)
  local weak = setmetatable({ hub = hub }, { __mode = "v" })
  local function on_ready()
    if weak.hub then loop.dispatch(weak.hub) end
  end
  if nginx then return nginx.watch(hub.core, on_ready) end
  return require "lunarch.loop.luv".watch(hub.core:pollfd(), on_ready)
end

local Wait = {}
Wait.__index = Wait

function Wait:release()
  local hub = self.hub
  hub.waits[self.id] = nil
  if not next(hub.waits) and hub.watch then hub.watch:unref() end
end

function Wait:cancel()
  self:release()
  if self.is_kept then self.hub.core:forget(self.id) else self.hub.core:cancel(self.id) end
end

local function wait_in_loop(hub, id, is_kept)
  local wait = setmetatable({ hub = hub, id = id, is_kept = is_kept }, Wait)
  hub.watch = hub.watch or watch(hub)
  hub.waits[id] = wait
  hub.watch:ref()
  tasks.suspend(wait)
end

local function wait_blocking(hub, id, is_kept)
  local ok, err = block.wait(hub.core, id)
  if next(hub.waits) or hub.on_trace then loop.dispatch(hub) end
  if ok then return end
  if is_kept then hub.core:forget(id) else hub.core:cancel(id) end
  error(err, 0)
end

-- Waits for operation `id` and returns what it came to. When the wait is interrupted, or has lasted too long, the
-- operation is cancelled, and what it brought is given back; a release (unlock, resign, close) `is_kept`: it goes on by
-- itself. `token` and `owner` must not be collected before the answer is taken, see lunarch.handle, and are not because
-- they are still needed there: what no later instruction names is already garbage to LuaJIT.
function loop.await(hub, id, is_kept, token, owner)
  local way = tasks.way()
  if not way then
    -- Only releases come here: `enter` lets nobody else begin.
    hub.core:forget(id)
    return true
  elseif hub.world == "block" or way == "block" then
    wait_blocking(hub, id, is_kept)
  else
    wait_in_loop(hub, id, is_kept)
  end
  local interruption = not is_kept and tasks.leave()
  if interruption then
    hub.core:cancel(id)
    error(interruption.err, 0)
  end
  return hub.core:take(id, token, owner)
end

-- The client is closed: its descriptor is about to go.
function loop.close_hub(hub)
  if hub.watch then hub.watch:stop() end
  hub.watch = nil
end

return loop
