-- What a value is called: the name of a function, class or module by which the library explains it.
local annotations = require "lunarch.console.annotations"
local args = require "lunarch.internal.args"
local globals = require "lunarch.console.globals"
local verbs = require "lunarch.console.verbs"

args.is_ours()

local names = {}

local function module_of(world)
  return (world and world.require or require) "lunarch"
end

-- In the tables of the world and of the console.
local function name_of_verb(world, own, fn)
  for _, list in ipairs { world and world.verbs or {}, own or {}, world and world.globals or {} } do
    for name, value in pairs(list) do
      if value == fn then return name end
    end
  end
  for name in pairs(verbs.by_name) do
    if rawget(_G, name) == fn or globals.refused(name) == fn then return name end
  end
  return nil
end

local function name_of_method(fn)
  for _, it in ipairs(args.classes()) do
    for name, value in pairs(it.methods) do
      if value == fn then return it.name:gsub("^lunarch%.", "") .. ":" .. name end
    end
  end
  return nil
end

local LIBRARIES = { "string", "table", "math", "os", "io", "coroutine", "utf8", "debug" }

local function name_of_lua(fn)
  for name, value in pairs(_G) do
    if value == fn and type(name) == "string" then return name end
  end
  for _, library in ipairs(LIBRARIES) do
    for name, value in pairs(rawget(_G, library) or {}) do
      if value == fn then return library .. "." .. name end
    end
  end
  return nil
end

--- The name of a function: "lock", "lunarch.connect", "client:get", "string.format"; nil: it has none.
---@param world? lunarch.console.World
---@param own? table<string, any> of the console itself
function names.of_function(world, own, fn)
  local name = name_of_verb(world, own, fn)
  if name then return name end
  for field, value in pairs(module_of(world)) do
    if value == fn then return "lunarch." .. field end
  end
  return name_of_method(fn) or name_of_lua(fn)
end

--- The name of the module or of what it holds, of a class, or of a function; nil: it has none.
function names.of(world, own, x)
  if type(x) == "function" then return names.of_function(world, own, x) end
  local lunarch = module_of(world)
  if x == lunarch then return "lunarch" end
  if x == lunarch.candidate then return "lunarch.candidate" end
  local meta = type(x) == "table" and debug.getmetatable(x)
  local name = type(meta) == "table" and rawget(meta, "__name")
  return type(name) == "string" and name or nil
end

-- ---- as the prompt shows it --------------------------------------------------------------------------------------

local function first_sentence(comment)
  local text = table.concat(comment, " ")
  return text:match "^(.-[^%.]%.)%s" or text:match "^(.-)%.?$"
end

local function usage_of(world, name)
  local verb = verbs.by_name[name]
  if verb and world and not world.verbs[name] then return verbs.sentence_without(verb, world) end
  if verb then return ("%s: %s"):format(verb.usage, verb.summary) end
  local entry = annotations.find(name)[1]
  if not entry or not entry.signature then return nil end
  local sentence = first_sentence(entry.comment)
  return sentence ~= "" and ("%s: %s"):format(entry.signature, sentence) or entry.signature
end

--- A function as one line: how it is called, and what it does.
---@param world? lunarch.console.World
---@param own? table<string, any>
---@return string
function names.function_text(world, own, fn)
  local name = names.of_function(world, own, fn)
  local usage = name and usage_of(world, name)
  if usage then return usage end
  if name then return "function " .. name end
  local info = debug.getinfo(fn, "S")
  if info.what == "C" then return tostring(fn) end
  return ("function (%s:%d)"):format(info.short_src, info.linedefined)
end

--- The module `lunarch`, or its `candidate`, as one line; nil: it is neither.
function names.module_text(world, x)
  local lunarch = module_of(world)
  if x == lunarch.candidate then return usage_of(world, "lunarch.candidate") or "lunarch.candidate" end
  if x ~= lunarch then return nil end
  local found = {}
  for name in pairs(lunarch) do
    if not name:find "^_" then found[#found + 1] = name end
  end
  table.sort(found)
  return ("lunarch %s: %s; help(lunarch.%s) explains one"):format(lunarch.version, table.concat(found, ", "), found[1])
end

return names
