-- How a call waits for its answer. The world is chosen at each wait: a coroutine of cqueues' or a task of ours yields;
-- elsewhere the loop is turned, or the thread blocks.
--
-- A hub belongs to one client: it knows who waits for which of the client's operations, and tells them.
local args = require "lunarch.internal.args"
local each = require "lunarch.internal.each"
local say = require "lunarch.internal.say"
local block = require "lunarch.loop.block"
local common = require "lunarch.loop.common"
local foreign = require "lunarch.loop.foreign"
local collector = require "lunarch.loop.collector"

-- One world for all that runs inside nginx: there every wait asks the phase it is in.
local nginx = require "lunarch.loop.is_nginx"() and require "lunarch.loop.nginx"

local tasks = nginx or require "lunarch.loop.task"
local luv = not nginx and require "lunarch.loop.luv"
local own_cqueues = not nginx and require "lunarch.loop.cqueues"

args.is_ours()

local loop = {}

loop.tasks = tasks

-- lunarch.loop.cqueues, from when the program has loaded cqueues.
local cqueues

local function is_in_cqueues()
  if not cqueues then
    if nginx or not package.loaded.cqueues then return false end
    cqueues = own_cqueues
    cqueues.load()
  end
  return cqueues.is_here()
end

-- Once the Lua state closes, or the process is about to end with no loop to turn.
local last
local is_blocking = false

-- Where this code runs: whose tasks, and whose way of waiting.
local function here()
  if is_blocking then return last end
  return is_in_cqueues() and cqueues or tasks
end

-- The coroutine that runs a trace function now: it may be the one that tells others of their answers.
local tracing

local function running()
  return coroutine.running() or "main"
end

-- How a wait is made here: as the world says; but a trace function blocks, and a finalizer, which comes in the middle
-- of anything, turns no loop.
local function mode_in(world)
  local mode = world.wait_mode()
  if not mode or mode == "block" then return mode end
  if tracing and tracing == running() then return "block" end
  if collector.is_in_finalizer() then return nil end
  return mode
end

function loop.enter()
  local world = here()
  if collector.is_in_finalizer() and not mode_in(world) then
    args.misuse "nothing but a release can be called in a finalizer (__gc) here: nothing may wait in it"
  end
  return world.enter()
end
loop.world = here

-- The task that runs here, or nil.
function loop.current()
  local world = here()
  return world.current and world.current()
end

loop.luv = luv

local function nothing() end

local function refuse()
  args.misuse "the process is ending: nothing can be spawned any more"
end

last = { enter = nothing, leave = nothing, current = nothing, spawn = refuse, run = refuse }

function last.wait_mode() return "block" end

function last.sleep(seconds)
  block.sleep(seconds)
  return true
end

-- From now on every wait blocks, and no task goes on.
function loop.block_from_now_on()
  is_blocking = true
end

function loop.sleep(seconds) return here().sleep(seconds) end

function loop.spawn(fn, ...) return here().spawn(fn, ...) end

function loop.run(fn, ...) return here().run(fn, ...) end

-- The task that runs here has ended what it was interrupted in: nothing insists on it any more.
function loop.calm()
  local task = loop.current()
  if task then common.calm(task) end
end

-- Ctrl-C was raised in a task, and is raised once more in what turns the loop.
function loop.pass_on(err)
  local pass_on = here().pass_on
  if pass_on then pass_on(err) end
end

-- Where what runs here may end in the middle of a call (in nginx a request or a timer): `fn`, which must not wait, is
-- called then, unless the function that is returned is called before. `fn` is to be made by a function that returns:
-- nginx uses the stack of a coroutine that has ended again, and the local variables of what ran there are overwritten.
function loop.unless_ended(fn)
  local unless_ended = here().unless_ended
  return unless_ended and unless_ended(fn) or nothing
end

-- Asked before a client is opened: raises where it could not live.
function loop.connect(call)
  if nginx then nginx.connect(call) end
end

-- `core`: the client of lunarch.core. `on_trace(line)` or nil. `wish`: "block", "luv" or "cqueues" instead of choosing
-- at each wait, or a table, see lunarch.loop.foreign.
function loop.new_hub(core, on_trace, wish)
  local watches = setmetatable({}, { __mode = "k" }) -- by what runs the loop
  local own = type(wish) == "table" and foreign.new(wish) or nil
  return { core = core, on_trace = on_trace, wish = wish, own = own, ids = {}, watches = watches }
end

local function report_trace_error(err)
  say.line("the trace function failed: %s", debug.traceback(tostring(err), 2))
end

local function end_trace(hub, outer)
  tracing, hub.n_untold = outer, nil
end

-- What a trace function that ends the request it runs in leaves.
local function end_trace_where_ended(hub, outer)
  return loop.unless_ended(function() end_trace(hub, outer) end)
end

-- What is traced because the trace function itself asks the client is counted, and told no further: else it would never
-- end. `tell` is the function for these lines: of the trace, or of warnings.
local function trace(hub, lines, tell)
  if hub.n_untold then
    hub.n_untold = hub.n_untold + #lines
    return
  end
  local outer = tracing
  local unguard = end_trace_where_ended(hub, outer)
  tracing, hub.n_untold = running(), 0
  for _, line in ipairs(lines) do
    xpcall(function() tell(line) end, report_trace_error)
  end
  local n_untold = hub.n_untold
  if n_untold > 0 then
    local line = ("(%d lines dropped, which came while the trace function waited)"):format(n_untold)
    xpcall(function() tell(line) end, report_trace_error)
  end
  unguard()
  end_trace(hub, outer)
end

-- The wait for operation `id`, and the entry of the loop that it is in.
local function find_wait(hub, id)
  for _, entry in each(hub.watches) do
    local wait = entry.waits[id]
    if wait then return wait, entry end
  end
  return nil
end

-- An error out of nowhere (Ctrl-C) may end either of them anywhere: then another wait lets the loop end.
local function register(entry, id, wait)
  entry.waits[id] = wait
  if entry.is_referenced then return end
  entry.watch:ref()
  entry.is_referenced = true
end

local function unregister(entry, id)
  entry.waits[id] = nil
  if next(entry.waits) or not entry.watch then return end
  entry.is_referenced = false
  entry.watch:unref()
end

local function has_waits(hub)
  if not next(hub.watches) then return false end
  for _, entry in each(hub.watches) do
    if next(entry.waits) then return true end
  end
  return false
end

-- Runs what is due, and wakes what waited for it: that goes on later, not now. The number of finished operations. A
-- trace function or a finalizer may come here in the middle of it.
function loop.dispatch(hub)
  local ids = hub.ids or {}
  hub.ids = nil
  local n, lines, warnings = hub.core:drain(ids)
  for i = 1, n do
    local wait, entry = find_wait(hub, ids[i])
    if wait and not is_blocking then
      unregister(entry, ids[i])
      -- A task that such an error has torn out of one wait may be in another.
      if wait.id == ids[i] and wait.entry == entry then entry.world.wake(wait) end
    end
  end
  hub.ids = ids
  if lines and hub.on_trace then trace(hub, lines, hub.on_trace) end
  if warnings and hub.on_warning then trace(hub, warnings, hub.on_warning) end
  return n
end

-- The watch does not keep its client from being collected. A weak key, not a weak value: what waits in a finalizer, its
-- client being collected in the same cycle, still finds its hub.
local function new_watch(hub, world)
  local weak = setmetatable({ [hub] = true }, { __mode = "k" })
  local function on_ready()
    local it = next(weak)
    if it then loop.dispatch(it) end
  end
  if world == hub.own then return world.watch() end
  if nginx then return nginx.watch(hub.core, on_ready) end
  if world == cqueues then return cqueues.watch(hub.core:pollfd(), on_ready) end
  return luv.watch(hub.core:pollfd(), on_ready)
end

-- The operation of a wait that was cut short is given up; one that `is_kept` goes on by itself.
local function cancel(wait)
  local hub = wait.entry.hub
  unregister(wait.entry, wait.id)
  if wait.is_kept then hub.core:forget(wait.id) else hub.core:cancel(wait.id) end
end

-- What watches the client in the loop that runs here, and the waits it is needed for.
local function watching(hub, world)
  local owner = world == cqueues and cqueues.controller() or world
  local entry = hub.watches[owner]
  if not entry then
    entry = { hub = hub, world = world, watch = new_watch(hub, world), waits = {}, cancel = cancel }
    hub.watches[owner] = entry
  end
  return entry
end

-- A program that blocks on an etcd which is not there should not do so without a word: hub.on_silence is called if the
-- first wait of a client is not over after SILENT_S.
local SILENT_S, SILENT_STEP_MS = 3, 250

local function first_wait(hub, id)
  local on_silence = hub.on_silence
  hub.on_silence = nil
  for _ = 1, SILENT_S * 1000 / SILENT_STEP_MS do
    local is_done, _, code = hub.core:wait(id, SILENT_STEP_MS)
    if is_done or code == "closed" then return end
  end
  on_silence()
end

local function wait_blocking(hub, id, is_kept)
  local ok, err = true, nil
  if hub.on_silence then ok, err = pcall(first_wait, hub, id) end
  if ok then ok, err = block.wait(hub.core, id) end
  if has_waits(hub) or hub.core:has_lines() then loop.dispatch(hub) end
  if ok then return end
  if is_kept then hub.core:forget(id) else hub.core:cancel(id) end
  error(err, 0)
end

-- A wish for another world than this one leaves nothing but to block.
local function mode_of(hub, world)
  if is_blocking then return "block" end
  local wish = hub.wish
  local is_elsewhere = wish == "luv" and world == cqueues or wish == "cqueues" and world ~= cqueues
  return (wish == "block" or is_elsewhere) and "block" or mode_in(world)
end

-- Takes the answer of an operation, once there is one.
local function answer(hub, world, id, is_kept, token, owner, finish)
  local interruption = not is_kept and world.leave()
  if interruption then
    hub.core:cancel(id)
    error(interruption.err, 0)
  end
  if finish then return finish(owner, hub.core:take(id, token, owner)) end
  return hub.core:take(id, token, owner)
end

-- An owner may have a doubt (owner._doubt), which nginx asks.
local function wait_in_loop(hub, id, is_kept, world, owner)
  local wait = { entry = watching(hub, world), id = id, is_kept = is_kept or nil, cancel = cancel }
  wait.doubter = owner._doubt and owner
  register(wait.entry, id, wait)
  return world.suspend(wait)
end

local function await_elsewhere(world, hub, id, is_kept, token, owner, finish)
  if hub.own and not is_blocking then world = hub.own end
  local mode = mode_of(hub, world)
  if not mode then
    -- Only releases come here: `enter` lets nobody else begin.
    hub.core:forget(id)
    return true
  elseif mode == "block" then
    wait_blocking(hub, id, is_kept)
  else
    wait_in_loop(hub, id, is_kept, world, owner)
  end
  return answer(hub, world, id, is_kept, token, owner, finish)
end

-- A task waits as its own wait.
local function own_wait(hub, id, is_kept, world)
  local task = world.current()
  task.entry, task.id, task.is_kept = watching(hub, world), id, is_kept or nil
  register(task.entry, id, task)
  return task
end

-- It goes on.
local function conclude(task, token, owner, finish)
  local entry, is_kept = task.entry, task.is_kept
  task.entry, task.is_kept = nil, nil
  return answer(entry.hub, entry.world, task.id, is_kept, token, owner, finish)
end

-- Waits for operation `id` and returns what it came to, or what `finish(owner, that...)` makes of it. When the wait is
-- interrupted, or has lasted too long, the operation is cancelled, and what it brought is given back; a release
-- (unlock, resign, close) `is_kept`: it goes on by itself. `token` and `owner` must not be collected before the answer
-- is taken, see loop/handle.lua: hence they are named there: what no later instruction names is already garbage to
-- LuaJIT.
--
-- There may be very many waits, and a task that waits is little more than its stack: Lua 5.4 begins one with 40 slots,
-- and doubles it where a C function is called with fewer than 20 left. So each function on the way ends in a call of
-- the next, and yields from few variables.
function loop.await(hub, id, is_kept, token, owner, finish)
  local world = here()
  -- A task that may yield is in no finalizer.
  if hub.wish or tracing or not world.park or world.wait_mode() ~= "park" then
    return await_elsewhere(world, hub, id, is_kept, token, owner, finish)
  end
  return world.park(own_wait(hub, id, is_kept, world), conclude, token, owner, finish)
end

-- The client is closed: its descriptor is about to go.
function loop.close_hub(hub)
  for owner, entry in each(hub.watches) do
    entry.watch:stop()
    entry.watch = nil
    hub.watches[owner] = nil
  end
end

return loop
