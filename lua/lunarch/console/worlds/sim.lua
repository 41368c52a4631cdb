-- The simulated world of the console: three simulated members, candidates in the simulator, virtual time that stands
-- still between two calls.
local args = require "lunarch.internal.args"
local drivers = require "lunarch.lab.sim"
local events = require "lunarch.lab.events"
local verbs = require "lunarch.console.verbs"
local worlds = require "lunarch.lab.world"

args.is_ours()

local sim = {}

-- ---- what the simulator tells ------------------------------------------------------------------------------------

local MEMBERS = { ["a:1"] = "m1", ["b:1"] = "m2", ["c:1"] = "m3" }

local function machine_of(world, who)
  local index = math.tointeger(tonumber(who:match "^p(%d+)$"))
  return index and world.machines[index]
end

local takes = {}

local MOST_SKEW = 0.1 -- by which the rates of clocks may differ (DESIGN: margin)

-- A traceback of a machine as far as it is the user's.
local function without_ours(text)
  return (text:gsub("\n\t[^\n]*/lunarch/[^\n]+%.lua:[^\n]*", ""):gsub("\n\t%[C%][^\n]*", ""))
end

function takes.verdict(world, at, machine, text, who)
  -- What a script does wrong is no promise that is broken.
  local is_of_script = world.driver.sim.result() == "script"
  local is_beyond = machine and math.abs((machine.rate or 1) - 1) > MOST_SKEW
  local head = is_beyond and "no promise is made for clocks whose rates differ by more than 10 %: "
    or "a promise of lunarch was violated: "
  world:emit {
    at = at, who = machine and machine.name or who, what = "say", level = "error",
    text = is_of_script and without_ours(text) or head .. text,
  }
end

function takes.etcd(world, _, _, text)
  local member, term = text:match "^(%w:1) leads, term (%d+)$"
  if member then world:note_etcd_leader(MEMBERS[member], ("leads etcd, term %s"):format(term)) end
end

function takes.fault(world, _, machine, text)
  if machine and text:find "^runs again" then world:has_resumed(machine) end
end

function takes.life(world, at, machine, text)
  if not machine then return end
  if text:find "^ends" then world:has_ended(machine) end
  world:emit { at = at, who = machine.name, what = "life", text = text }
end

function takes.print(world, at, machine, text)
  if machine then world:emit { at = at, who = machine.name, what = "say", text = text } end
end

local function take_log(level)
  return function(world, at, machine, text, who)
    local event = events.of_log(at, machine and machine.name or who, level, text)
    if event then world:emit(event) end
  end
end

takes.warn, takes.error, takes.info = take_log "warn", take_log "error", take_log "info"

local function note_leader(world)
  local index = world.driver:etcd_leader()
  world:note_etcd_leader(index and "m" .. index)
end

-- ---- playing again -----------------------------------------------------------------------------------------------

-- Raised by seed() and back(): the world that the calling code lives in ends.
local Again = { __tostring = function() return "the world begins again" end }

local function play_entry(world, entry)
  world.driver:sleep_until(entry.at)
  world.entry = entry
  if entry.verb == "candidate" then
    local machine = world.by_name[entry.result.name]
    world.driver:start(machine, machine.spec)
  elseif not verbs.passes_time[entry.verb] then
    pcall(world.raw_verbs[entry.verb], world, table.unpack(entry.args, 1, entry.args.n))
  end
  world.journal[#world.journal + 1] = entry
end

local function play_again(world, again)
  local journal = world.journal
  world.driver:restart(again.seed)
  world.own = nil
  world:forget()
  world.journal, world.is_silent = {}, again.is_silent
  note_leader(world)
  local ok, trouble = pcall(world.driver.call, world.driver, function()
    for i = 1, again.n do
      play_entry(world, journal[i])
    end
    world.driver:sleep_until(again.till)
  end)
  world.nominal, world.is_silent = again.till, nil
  if not ok then error(trouble, 0) end
end

-- Candidates that were made by the calls that are taken back are no more.
local function forget_candidates(world, from)
  for i = #world.journal, from, -1 do
    local entry = world.journal[i]
    local machine = entry.verb == "candidate" and world.by_name[entry.result.name]
    if machine then world.by_name[machine.name], world.machines[machine.index] = nil, nil end
  end
end

local function add_time_verbs(world)
  --- Back to before the last n calls.
  function world.verbs.back(n)
    n = n or 1
    if math.type(n) ~= "integer" or n < 1 then args.bad("back", "n", "a whole number of calls, 1 or more", n) end
    if n > #world.journal then args.misuse("back: only %d calls were made", #world.journal) end
    local first = #world.journal - n + 1
    local till = world.journal[first].at
    forget_candidates(world, first)
    error(setmetatable({ seed = world.driver.seed, n = first - 1, till = till, is_silent = true }, Again), 0)
  end
  --- Begins again with another seed, and plays what was done until now.
  function world.verbs.seed(n)
    if math.type(n) ~= "integer" or n < 0 then args.bad("seed", "n", "a whole number", n) end
    local till = world.journal[1] and world:now() or 0
    error(setmetatable({ seed = n, n = #world.journal, till = till }, Again), 0)
  end
end

-- ---- looks, locks and the session --------------------------------------------------------------------------------

-- They live in the world, so they are those of its instance of our modules; made anew when the world begins again.
local function own_of(world)
  if not world.own then
    world.own = worlds.on_client(world, world.driver.require "lunarch.console.worlds.etcd")
  end
  return world.own
end

local function as_you(world, fn, ...) return world.driver.open.as_you(fn, ...) end

local function prompt(world)
  return world.own and as_you(world, world.own.prompt) or "sim"
end

--- Objects of the world's own instance, whose clock is the world's.
local function describe(world, value)
  return as_you(world, world.driver.require "lunarch.console.describe".object, value)
end

local function close(world, seconds)
  local ok, said = pcall(world.driver.call, world.driver, function()
    return world.own and world.own.close(seconds) or {}
  end)
  world.driver:close()
  return ok and said or {}
end

-- ---- opening -----------------------------------------------------------------------------------------------------

local function watch(world, driver)
  function driver.on_raw(at, who, kind, text)
    if takes[kind] then takes[kind](world, at, machine_of(world, who), text, who) end
  end
  function driver.on_message(index, message)
    if world.machines[index] then world:take_message(world.machines[index], message) end
  end
end

local function call(world, fn, ...)
  local results = table.pack(pcall(world.driver.call, world.driver, fn, ...))
  if results[1] then return table.unpack(results, 2, results.n) end
  if getmetatable(results[2]) ~= Again then error(results[2], 0) end
  return play_again(world, results[2])
end

-- What is typed lives in the world: its `lunarch` is the one that waits for the world's time, and that of the next
-- world once this one begins again.
local function env_of(driver)
  local own = {
    lunarch = function() return driver.lunarch end,
    require = function() return driver.require end,
  }
  return setmetatable({}, {
    __index = function(_, name)
      if own[name] then return own[name]() end
      return _G[name]
    end,
    __newindex = function(env, name, value)
      if own[name] then rawset(env, name, value) else _G[name] = value end
    end,
  })
end

--- Opens it. `options`: flags.seed, flags.ttl. Or nil, what is wrong, exit status.
function sim.open(options)
  local flags = options.flags or options
  local driver, trouble = drivers.open { seed = flags.seed }
  if not driver then return nil, trouble, 2 end
  local world = worlds.new("sim", driver, flags.ttl)
  watch(world, driver)
  worlds.share(world, function() return own_of(world) end)
  add_time_verbs(world)
  note_leader(world)
  world.banner = "with three simulated members; time stands still (run, step)"
  world.env = env_of(driver)
  function world.require(name) return driver.require(name) end
  function world.prompt() return prompt(world) end
  function world.describe(value) return describe(world, value) end
  function world.call(fn, ...) return call(world, fn, ...) end
  function world.interrupt(_, err) driver:interrupt(err) end
  function world.close(seconds) return close(world, seconds) end
  return world
end

return sim
