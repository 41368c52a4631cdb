-- What runs in the checker's state: the script once, as far as it goes without the world, for the check(world) it
-- defines; and the view of the world that is given to it.
-- luacheck: ignore 121 122 _ENV
local _ENV = require "lunarch.cli.sim.own"
local args = require "lunarch.internal.args"
local facts = require "lunarch.cli.sim.facts"
local files = require "lunarch.cli.sim.files"
local foreign = require "lunarch.cli.sim.foreign"
local modules = require "lunarch.cli.common.modules"
local noted = require "lunarch.cli.sim.noted"
local world = require "lunarch.sim.world"

args.is_ours()

-- The script is left where it wants something of the world.
local STOP = setmetatable({}, { __tostring = function() return "the script goes no further here" end })

local stopped_at

local function stop()
  local info = debug.getinfo(2, "l")
  stopped_at = stopped_at or info and info.currentline
  error(STOP, 0)
end

-- Whatever is made with it, called on it or asked of it goes no further.
local function inert()
  return setmetatable({}, { __index = function() return stop end, __call = stop })
end

local function ignore() end

-- The longest that the script says, of its globals and of each candidate{}.
local longest = {}

local function remember(settings)
  for _, name in ipairs { "ttl", "stop_timeout" } do
    local value = type(settings) == "table" and tonumber(rawget(settings, name))
    if value and value > (longest[name] or 0) then longest[name] = value end
  end
end

local function set_globals(options)
  _G.lunarch = setmetatable({
    connect = inert, spawn = inert, now = world.now, candidate = setmetatable({}, { __call = inert }),
  }, { __index = function() return stop end })
  package.loaded.lunarch = _G.lunarch
  package.loaded.luv = inert()
  foreign.refuse()
  _G.log = { info = ignore, warn = ignore, error = ignore }
  _G.sim = facts.new { note = ignore, add = ignore, now = world.now, exec = ignore }
  _G.candidate = function(settings)
    remember(settings)
    return inert()
  end
  _G.arg = table.move(options.words, 1, #options.words, 1, { [0] = options.script })
  _G.print = ignore
  local output = setmetatable({}, { __index = function() return function(self) return self end end })
  files.install(noted.new {}, "files")
  io.stdout, io.stderr = output, output
  io.output = function() return output end
  io.write = io.output
  os.execute, io.popen, os.exit = stop, stop, stop
  rawset(_G, "name", options.names[1])
  for name, value in pairs(options.given) do
    rawset(_G, name, value)
  end
end

-- A check that the script would define further down.
local function complain_of_late_check(path)
  local number = 0
  for line in io.lines(path) do
    number = number + 1
    if number > (stopped_at or number) and line:match "^%s*function%s+check%s*%(" then
      error(("%s:%d: check(world) has to be defined before the script waits for the first time (line %d)"):format(
        path, number, stopped_at), 0)
    end
  end
end

-- A table that has these fields and no others, `read(name)` giving what they hold, and that nothing can be written to.
local function record(what, known, read)
  return setmetatable({}, {
    __index = function(_, name)
      if not known[name] then args.unknown(what, tostring(name), known, "field") end
      return read(name)
    end,
    __newindex = function(_, name)
      args.misuse("%s: it is read-only: '%s' cannot be set", what, tostring(name))
    end,
  })
end

local function set_of(names)
  local set = {}
  for _, name in ipairs(names) do
    set[name] = true
  end
  return set
end

local CANDIDATE = set_of {
  "name", "is_up", "is_paused", "leads", "is_elected", "token", "handler", "election", "lives", "now",
}
local WORLD = set_of { "now", "phase", "candidates", "notes", "get", "list" }

local function new_candidate(index, name)
  return record("candidate", CANDIDATE, function(field)
    if field == "name" then return name end
    return world.candidate(index, field)
  end)
end

local function new_view(options, notes)
  local own = { candidates = {}, notes = notes }
  for i, name in ipairs(options.names) do
    own.candidates[i] = new_candidate(i, name)
  end
  local view = record("world", WORLD, function(field)
    if own[field] ~= nil then return own[field] end
    return world[field]()
  end)
  local function check(self, call, n, ...)
    if self ~= view then args.misuse("%s: call it with a colon", call) end
    if select("#", ...) > n then args.misuse("%s: it takes %d argument, not %d", call, n, (select("#", ...))) end
    return ...
  end
  function own.get(self, ...)
    return world.get(args.string("world:get", "key", (check(self, "world:get", 1, ...))))
  end
  function own.list(self, ...)
    local prefix = check(self, "world:list", 1, ...)
    if prefix ~= nil then args.string("world:list", "prefix", prefix) end
    return world.list(prefix)
  end
  return view
end

-- What check(world) may return.
local function checked(check, all)
  return check and function(view)
    all.join_all()
    local ok, why = check(view)
    if ok ~= nil and type(ok) ~= "boolean" then
      error(("it returned %s: return nothing or true if all is well, else false and a reason"):format(
        args.describe(ok)), 0)
    end
    return ok, why
  end
end

return function(options)
  set_globals(options)
  if options.own_paths then modules.never_itself(options.own_paths) end
  local chunk, trouble = loadfile(options.script)
  if not chunk then error(trouble, 0) end
  local notes = {}
  local all = noted.new(notes)
  return {
    ["lunarch.sim.noted"] = all,
    ["lunarch.sim.view"] = new_view(options, notes),
    -- At the beginning of each history.
    ["lunarch.sim.load"] = function() chunk(table.unpack(options.words)) end,
    ["lunarch.sim.open"] = function()
      local check = rawget(_G, "check")
      if check == nil then complain_of_late_check(options.script) end
      remember(_G)
      if check == nil or type(check) == "function" then
        return checked(check, all), longest.ttl, longest.stop_timeout
      end
      error(("%s: check has to be a function of the world, it is a %s"):format(options.script, type(check)), 0)
    end,
  }
end
