-- What stands ready at the prompt: the verbs of the world, its client and its session, and the console's own. They are
-- found where a global is not set, so that a script may use each of these names for something of its own.
local args = require "lunarch.internal.args"
local verbs = require "lunarch.console.verbs"

args.is_ours()

local globals = {}

local refusals = {}

-- A verb that this world does not have says why when it is called.
local function refusal(world, verb)
  refusals[verb.name] = refusals[verb.name] or function()
    args.misuse("%s", verbs.sentence_without(verb, globals.world or world))
  end
  return refusals[verb.name]
end

--- What stands for a verb that this world does not have, where it was named already.
---@param name string
function globals.refused(name) return refusals[name] end

local function session_of(world)
  local session, message = world.session()
  if not session then args.misuse("%s", message) end
  return session
end

--- The global of this name in a world, or nil.
---@param world lunarch.console.World
---@param own table<string, any> of the console itself
---@param name string
function globals.find(world, own, name)
  if own[name] ~= nil then return own[name] end
  if name == "client" then return world.client end
  if name == "session" then return world.session and session_of(world) end
  local verb = world.verbs[name]
  if verb ~= nil then return verb end
  if world.globals and world.globals[name] ~= nil then return world.globals[name] end
  local known = verbs.by_name[name]
  return known and refusal(world, known) or nil
end

--- Makes them globals. `world_of()` -> the world, which may be opened then.
---@param world_of fun(): lunarch.console.World
---@param own table<string, any>
function globals.install(world_of, own)
  globals.own = own
  local meta = getmetatable(_G) or {}
  local before = meta.__index
  function meta.__index(env, name)
    if own[name] ~= nil then return own[name] end
    local is_ready = name == "client" or name == "session" or verbs.by_name[name]
    local world = is_ready and world_of() or globals.world
    local found = world and globals.find(world, own, name)
    if found ~= nil then return found end
    if type(before) == "function" then return before(env, name) end
    return before and before[name]
  end
  setmetatable(_G, meta)
end

--- The names that may be typed, for the completion.
---@param world lunarch.console.World
---@return table<string, true>
function globals.names(world, own)
  local names = { client = true, session = true }
  for _, list in ipairs { own, world.verbs, world.globals or {}, _G } do
    for name in pairs(list) do
      if type(name) == "string" then names[name] = true end
    end
  end
  return names
end

return globals
