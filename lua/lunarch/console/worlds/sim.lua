-- The simulated world of the console: three simulated members, candidates in the simulator, virtual time that stands
-- still between two calls.
local drivers = require "lunarch.lab.sim"
local events = require "lunarch.lab.events"
local worlds = require "lunarch.lab.world"

require "lunarch.args".is_ours()

local sim = {}

local CLOSE_S = 2

-- ---- what the simulator tells ------------------------------------------------------------------------------------

local MEMBERS = { ["a:1"] = "m1", ["b:1"] = "m2", ["c:1"] = "m3" }

local LEVELS = { warn = "warn", error = "error", print = "info" }

local function machine_of(world, who)
  local index = math.tointeger(tonumber(who:match "^p(%d+)$"))
  return index and world.machines[index]
end

local function take_raw(world, at, who, kind, text)
  local machine = machine_of(world, who)
  if kind == "verdict" then
    world:emit { at = at, who = machine and machine.name or who, what = "say", level = "error",
      text = "a promise of lunarch was violated: " .. text }
  elseif kind == "etcd" then
    local member, term = text:match "^(%w:1) leads, term (%d+)$"
    if member then world:note_etcd_leader(MEMBERS[member], ("leads etcd, term %s"):format(term)) end
  elseif kind == "fault" and text:find "^runs again" and machine then
    world:has_resumed(machine)
  elseif kind == "life" and machine then
    world:emit { at = at, who = machine.name, what = "life", text = text }
  elseif LEVELS[kind] and machine then
    local event = kind == "print" and { at = at, who = machine.name, what = "say", text = text }
      or events.of_log(at, machine.name, kind, text)
    if event then world:emit(event) end
  elseif kind == "error" or kind == "warn" then
    world:emit { at = at, who = who, what = "say", level = kind, text = text }
  end
end

local function note_leader(world)
  local index = world.driver:etcd_leader()
  world:note_etcd_leader(index and "m" .. index)
end

-- ---- playing again -----------------------------------------------------------------------------------------------

-- Raised by seed() and back(): the world that the calling code lives in ends.
local Again = { __tostring = function() return "the world begins again" end }

local function play_again(world, again)
  local journal = world.journal
  world.driver:restart(again.seed)
  world:forget()
  note_leader(world)
  world.journal, world.is_silent = {}, again.is_silent
  local ok, trouble = pcall(world.driver.call, world.driver, function()
    for i = 1, again.n do
      local entry = journal[i]
      world.driver:sleep_until(entry.at)
      if entry.verb == "candidate" then
        local machine = world.by_name[entry.result.name]
        world.driver:start(machine, machine.spec)
      elseif entry.verb == "run" or entry.verb == "step" or entry.verb == "until_" then
        world.driver:sleep_until(entry.ended)
      else
        pcall(world.raw_verbs[entry.verb], world, table.unpack(entry.args, 1, entry.args.n))
      end
      world.journal[#world.journal + 1] = entry
    end
    world.driver:sleep_until(again.till)
  end)
  world.nominal = again.till
  world.is_silent = nil
  if not ok then error(trouble, 0) end
end

-- Candidates that were made by the calls that are taken back are no more.
local function forget_candidates(world, journal, from)
  for i = #journal, from, -1 do
    if journal[i].verb == "candidate" then
      local name = journal[i].result.name
      local machine = world.by_name[name]
      world.by_name[name], world.machines[machine.index] = nil, nil
    end
  end
end

local function add_time_verbs(world)
  local args = require "lunarch.args"
  function world.verbs.back(n)
    n = n or 1
    local journal = world.journal
    if math.type(n) ~= "integer" or n < 1 then args.bad("back", "n", "a whole number of calls, 1 or more", n) end
    if n > #journal then args.misuse("back: only %d calls were made", #journal) end
    local first = #journal - n + 1
    local till = journal[first].at
    forget_candidates(world, journal, first)
    error(setmetatable({ seed = world.driver.seed, n = first - 1, till = till, is_silent = true }, Again), 0)
  end
  function world.verbs.seed(n)
    if math.type(n) ~= "integer" or n < 0 then args.bad("seed", "n", "a whole number", n) end
    local journal = world.journal
    local till = journal[1] and world:now() or 0
    error(setmetatable({ seed = n, n = #journal, till = till }, Again), 0)
  end
end

-- ---- the world of the console ------------------------------------------------------------------------------------

local function new_session(world)
  local session
  return function()
    if session and session.of == world.driver.client and session.is:state() ~= "lost" then return session.is end
    local found, message, code = world.driver:get_client():session()
    if not found then return nil, message, code end
    session = { of = world.driver.client, is = found }
    return found
  end
end

--- Opens it. `options`: seed.
function sim.open(options)
  local driver, trouble = drivers.open { seed = options.seed }
  if not driver then return nil, trouble, 2 end
  local world = worlds.new("sim", driver, {})
  driver.on_raw = function(at, who, kind, text) take_raw(world, at, who, kind, text) end
  driver.on_message = function(index, message)
    if world.machines[index] then world:take_message(world.machines[index], message) end
  end
  add_time_verbs(world)
  note_leader(world)
  world.banner = "three simulated members, time stands still (run, step). help lists what there is."
  world.clock = "world"
  world.prompt = function() return "sim" end
  world.session = new_session(world)
  world.globals = {
    etcd_leader = function()
      local index = driver:etcd_leader()
      return index and "m" .. index
    end,
    now = function() return world:now() end,
  }
  --- Runs a chunk and lets the world go on until it has ended.
  function world.call(fn, ...)
    local results = table.pack(pcall(driver.call, driver, fn, ...))
    if results[1] then return table.unpack(results, 2, results.n) end
    if getmetatable(results[2]) ~= Again then error(results[2], 0) end
    return play_again(world, results[2])
  end
  function world.interrupt() driver:interrupt() end
  function world.close()
    pcall(driver.call, driver, function()
      if driver.client then driver.client:close(CLOSE_S) end
    end)
    driver:close()
    return {}
  end
  return setmetatable(world, {
    __index = function(_, name)
      if name == "client" then return driver:get_client() end
      return worlds.class[name]
    end,
  })
end

return sim
