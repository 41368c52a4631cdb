-- The lab of the console: a private cluster of three members, and named candidates as real processes. Time is real.
local drivers = require "lunarch.lab.processes"
local events = require "lunarch.lab.events"
local worlds = require "lunarch.lab.world"

require "lunarch.args".is_ours()

local lab = {}

local MISSING = {
  step = "step: not here, because real time does not wait for events; `lunarch console --sim` can",
  back = "back: not here, because real time does not go back; `lunarch console --sim` can",
  seed = "seed: not here, because real processes follow no seed; `lunarch console --sim` can",
  skew = "skew: not here, because all processes of a machine have one clock; `lunarch console --sim` can",
}

local function take_log(world, machine, level, text)
  if level == "print" then
    return world:emit { who = machine.name, what = "say", text = text }
  end
  local event = events.of_log(world:now(), machine.name, level, text)
  if event then world:emit(event) end
end

local function take_life(world, machine, status, signal)
  local text = signal ~= 0 and ("ended by signal %d"):format(signal) or "ends"
  world:emit { who = machine.name, what = "life", text = text }
  if signal == 0 and status ~= 0 then
    world:emit { who = machine.name, what = "say", level = "error", text = ("ended with status %d"):format(status) }
  end
end

local LOOK_S = 0.3

-- Who leads etcd, as long as the lab is open.
local function watch_members(world, lunarch)
  while not world.is_closed do
    local index = world.driver:etcd_leader()
    if not world.is_closed then world:note_etcd_leader(index and "m" .. index) end
    lunarch.sleep(LOOK_S)
  end
end

local function new_session(client)
  local session
  return function()
    if session and session:state() ~= "lost" then return session end
    local message, code
    session, message, code = client:session()
    return session, message, code
  end
end

--- Opens it, and waits until etcd serves.
function lab.open()
  local driver, trouble = drivers.open()
  if not driver then return nil, trouble, 2 end
  local world = worlds.new("lab", driver, MISSING)
  function driver.on_message(machine, message) world:take_message(machine, message) end
  function driver.on_log(machine, level, text) take_log(world, machine, level, text) end
  function driver.on_life(machine, status, signal) take_life(world, machine, status, signal) end
  function driver.on_resumed(machine) world:has_resumed(machine) end
  world.banner = ("three members of etcd at %s; candidates are processes. help lists what there is."):format(
    table.concat(driver.cluster:endpoints(), ","))
  world.clock = "world"
  world.prompt = function() return "lab" end
  world.client = driver:get_client()
  world.session = new_session(world.client)
  world.globals = {
    etcd_leader = function()
      local index = driver:etcd_leader()
      return index and "m" .. index
    end,
    now = function() return world:now() end,
  }
  function world.call(fn, ...)
    return fn(...)
  end
  local watcher = driver.lunarch.spawn(watch_members, world, driver.lunarch)
  function world.close()
    world.is_closed, world.is_silent = true, true
    watcher:abandon()
    driver:close()
    return {}
  end
  return world
end

return lab
