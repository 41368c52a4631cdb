-- The verbs of the console in a script: for `lunarch -e CODE`, `lunarch -`, and what `record` has written. The world is
-- opened by the first verb that is called, on the etcd that the flags and the environment name.
local args = require "lunarch.internal.args"
local events = require "lunarch.console.events"
local globals = require "lunarch.console.globals"
local log = require "lunarch.cli.log"
local show = require "lunarch.console.show"
local verbs = require "lunarch.console.verbs"

args.is_ours()

local code = {}

local CLOSE_S = 5
local LOOK_S = 1

local world
local has_failed

local function print_values(...)
  local text = show.values(table.pack(...), world)
  if text then io.stdout:write(text, "\n") end
end

local function open()
  if world then return world end
  local found, trouble = require("lunarch.console.worlds.etcd").open({ flags = {}, log = log.new(function() end) }, {
    name = "script",
  })
  if not found then args.misuse("%s", trouble) end
  world = found
  globals.world = world
  local compose = events.composer(world, log.is_coloured(1))
  world.on_event(function(event) io.stdout:write(compose(event), "\n") end)
  return world
end

--- Makes the verbs, `client`, `session`, `show` and `help` globals.
function code.globals()
  local own = { show = print_values }
  setmetatable(own, { __index = function(_, name)
    if name ~= "help" then return nil end
    return require("lunarch.console.help").new { world = open(), own = own }
  end })
  globals.install(open, own)
end

-- A call that has failed is a failure of the program.
local function conclude(...)
  has_failed = verbs.is_failure(...)
  print_values(...)
end

--- A chunk of `text` that prints its values where it is an expression: or nil and what is wrong with it.
---@param text string
---@param name string as load takes it
---@return function?, string?
function code.load(text, name)
  local fn = load("return " .. text, name)
  if fn then return function(...) conclude(fn(...)) end end
  return load(text, name)
end

-- Candidates stand and lines are followed until the program is stopped.
local function await_idle()
  local lunarch = require "lunarch"
  while world and (next(world.candidates) or next(world.followed)) do
    lunarch.sleep(LOOK_S)
  end
end

-- A script's own candidate{...} stays what it is; candidate(name, who) is the verb.
local function add_verb_to_declaration()
  local declare = rawget(_G, "candidate")
  if not declare then return end
  rawset(_G, "candidate", function(first, ...)
    if type(first) == "table" then return declare(first) end
    return open().verbs.candidate(first, ...)
  end)
end

--- Runs a chunk, and gives up what it holds when it has ended, or was interrupted. Waits.
---@param chunk function
function code.run(chunk, ...)
  add_verb_to_declaration()
  local ok, err = pcall(chunk, ...)
  if ok then ok, err = pcall(await_idle) end
  if world then
    local task = require("lunarch.loop.task").current()
    if task then task:allow() end
    world.close(CLOSE_S)
  end
  if not ok then error(err, 0) end
  if has_failed then os.exit(1) end
end

return code
