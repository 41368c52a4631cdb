-- The lab of the console: a private cluster of three members, and named candidates as real processes. Time is real.
local drivers = require "lunarch.lab.processes"
local events = require "lunarch.lab.events"
local worlds = require "lunarch.lab.world"

require "lunarch.internal.args".is_ours()

local lab = {}

-- How often the leader of etcd is looked for, soon after something was broken, and else.
local LOOK_S, LIVELY_S, IDLE_S = 0.3, 15, 5

-- ---- what the processes tell -------------------------------------------------------------------------------------

local function take_log(world, machine, level, text)
  if level == "print" then return world:emit { who = machine.name, what = "say", text = text } end
  local event = events.of_log(world:now(), machine.name, level, text)
  if event then world:emit(event) end
end

local function take_life(world, machine, status, signal)
  world:has_ended(machine)
  local text = signal ~= 0 and ("ended by signal %d"):format(signal) or "ends"
  world:emit { who = machine.name, what = "life", text = text }
  if signal == 0 and status ~= 0 then
    world:emit { who = machine.name, what = "say", level = "error", text = ("ended with status %d"):format(status) }
  end
end

local function watch(world, driver)
  function driver.on_message(machine, message) world:take_message(machine, message) end
  function driver.on_log(machine, level, text) take_log(world, machine, level, text) end
  function driver.on_life(machine, status, signal) take_life(world, machine, status, signal) end
  function driver.on_resumed(machine) world:has_resumed(machine) end
end

-- Until it is time to look again, or something is broken.
local function await_look(world, lunarch)
  if world:now() - world.broken_at < LIVELY_S then return lunarch.sleep(LOOK_S) end
  local wait = { cancel = function() world.look = nil end }
  world.look = wait
  world.driver:suspend(wait, IDLE_S)
  world.look = nil
end

-- Who leads etcd, as long as the lab is open.
local function watch_members(world, lunarch)
  while not world.is_closed do
    local index = world.driver:etcd_leader()
    if not world.is_closed then world:note_etcd_leader(index and "m" .. index) end
    await_look(world, lunarch)
  end
end

local function watch_faults(world)
  world.broken_at = world:now()
  world.on_event(function(event)
    if event.what ~= "fault" then return end
    world.broken_at = world:now()
    if world.look then world.driver:wake(world.look) end
  end)
end

-- ---- opening -----------------------------------------------------------------------------------------------------

--- Opens it, and waits until etcd serves. Or nil, what is wrong, exit status.
function lab.open(options)
  local driver, trouble = drivers.open()
  if not driver then return nil, trouble, 2 end
  local flags = options.flags or options
  local world = worlds.new("lab", driver, flags.ttl)
  watch(world, driver)
  local own = worlds.on_client(world, require "lunarch.console.worlds.etcd")
  worlds.share(world, function() return own end)
  world.banner = ("with three members of etcd at %s; candidates are processes"):format(
    table.concat(driver.cluster:endpoints(), ","))
  world.prompt = own.prompt
  function world.call(fn, ...) return fn(...) end
  watch_faults(world)
  local watcher = driver.lunarch.spawn(watch_members, world, driver.lunarch)
  function world.close(seconds)
    world.is_closed, world.is_silent = true, true
    watcher:abandon()
    local said = own.close(seconds)
    driver:close()
    return said
  end
  return world
end

return lab
