-- What runs in the checker's state: the script once, as far as it goes without the world, for the check(world) it
-- defines; and the view of the world that is given to it.
-- luacheck: ignore 121 122
local world = require "lunarch.sim.world"

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
    local value = type(settings) == "table" and tonumber(settings[name])
    if value and value > (longest[name] or 0) then longest[name] = value end
  end
end

local function set_globals(options)
  _G.lunarch = setmetatable({
    connect = inert, spawn = inert, now = world.now, candidate = setmetatable({}, { __call = inert }),
  }, { __index = function() return stop end })
  package.loaded.lunarch = _G.lunarch
  package.loaded.luv = inert()
  _G.log = { info = ignore, warn = ignore, error = ignore }
  _G.sim = { note = ignore, add = ignore, now = world.now }
  _G.candidate = function(settings)
    remember(settings)
    return inert()
  end
  _G.arg = table.move(options.words, 1, #options.words, 1, { [0] = options.script })
  _G.print = ignore
  local output = setmetatable({}, { __index = function() return function(self) return self end end })
  io.stdout, io.stderr = output, output
  io.output = function() return output end
  io.write = io.output
  os.execute, io.popen, os.exit = stop, stop, stop
  for name, value in pairs(options.given) do
    _G[name] = value
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

local function new_view(options, notes)
  local view = { candidates = {}, notes = notes }
  for i, name in ipairs(options.names) do
    view.candidates[i] = setmetatable({ name = name }, {
      __index = function(_, field) return world.candidate(i, field) end,
    })
  end
  function view.get(_, key) return world.get(key) end
  function view.list(_, prefix) return world.list(prefix) end
  return setmetatable(view, {
    __index = function(_, field)
      if field == "now" then return world.now() end
      if field == "phase" then return world.phase() end
      return nil
    end,
  })
end

return function(options)
  set_globals(options)
  local chunk, trouble = loadfile(options.script)
  if not chunk then error(trouble, 0) end
  local notes = {}
  return {
    ["lunarch.sim.notes"] = notes,
    ["lunarch.sim.view"] = new_view(options, notes),
    -- At the beginning of each history.
    ["lunarch.sim.load"] = function() chunk(table.unpack(options.words)) end,
    ["lunarch.sim.open"] = function()
      local check = _G.check
      if check == nil then complain_of_late_check(options.script) end
      remember(_G)
      if check == nil or type(check) == "function" then return check, longest.ttl, longest.stop_timeout end
      error(("%s: check has to be a function of the world, it is a %s"):format(options.script, type(check)), 0)
    end,
  }
end
