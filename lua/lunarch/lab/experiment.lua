-- Plays an experiment in a world: a file with the verbs of the console and expect(condition, text).
local args = require "lunarch.internal.args"
local verbs = require "lunarch.console.verbs"

args.is_ours()

local experiment = {}

-- What the file did, and not how we came to call it.
local function without_us(err)
  return (args.error_text(err):gsub("\nstack traceback:.*$", ""))
end

-- As the prompt prints; what was recorded there is played here.
local function show(world, ...)
  local text = require "lunarch.console.show".values(table.pack(...), world)
  if text then print(text) end
end

local function environment(world, globals)
  local own = {
    expect = function(...) return world:expect(...) end, world = world, show = function(...) show(world, ...) end,
  }
  for name, verb in pairs(world.verbs) do
    own[name] = verb
  end
  for name, value in pairs(world.globals or {}) do
    own[name] = value
  end
  for name, value in pairs(globals or {}) do
    own[name] = value
  end
  for _, name in ipairs { "back", "seed" } do
    own[name] = function() error(name .. ": not in an experiment, because the world would begin again below it", 2) end
  end
  for name, verb in pairs(verbs.by_name) do
    if not verbs.exists(verb, world.name) then
      own[name] = function() error(verbs.sentence_without(verb, world), 2) end
    end
  end
  return setmetatable({}, {
    __index = function(_, name)
      if own[name] ~= nil then return own[name] end
      if name == "client" then return world.client end
      if name == "session" then return world.session() end
      return _G[name]
    end,
  })
end

--- The file as a function of a world; nil and what is wrong with it.
function experiment.load(path)
  local file, trouble = io.open(path)
  if not file then return nil, trouble end
  local text = file:read "a":gsub("^#[^\n]*", "")
  file:close()
  local found, mistake = load(text, "@" .. path, "t", {})
  if not found then return nil, mistake end
  return function(world)
    return assert(load(text, "@" .. path, "t", environment(world)))()
  end
end

--- Plays it: true, or false and the error that ended it.
function experiment.play(world, run)
  local ok, trouble = pcall(world.call, run, world)
  if ok then return true end
  return false, without_us(trouble)
end

--- How many of its expectations were met, and those that were not.
---@return integer n, table[] failed
function experiment.judge(world)
  local failed = {}
  for _, expectation in ipairs(world.expectations) do
    if not expectation.is_met then failed[#failed + 1] = expectation end
  end
  return #world.expectations, failed
end

return experiment
