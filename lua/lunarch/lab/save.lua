-- What was done in a world, as an experiment: the calls of its journal, with the time between them.
local args = require "lunarch.internal.args"
local handles = require "lunarch.lab.candidate"
local source = require "lunarch.lab.source"
local verbs = require "lunarch.console.verbs"

args.is_ours()

local save = {}

local LEADS_S = 10
-- What took less is no time that was waited.
local NO_TIME_S = 0.1

-- Of the world that is written: variables by the names of candidates, which are in use, and how many functions are not
-- written.
local variables, used, n_missing

local function is_free(variable)
  return not used[variable] and not verbs.by_name[variable] and load("local " .. variable, "=", "t") ~= nil
end

-- A name of Lua's, of no verb, and of no other candidate.
local function variable_of(name)
  if variables[name] then return variables[name] end
  local plain = name:lower():gsub("[^%w_]", "_")
  local variable, n = plain, 1
  while not is_free(variable) do
    variable, n = ("c%s_%s"):format(n > 1 and n or "", plain), n + 1
  end
  variables[name], used[variable] = variable, true
  return variable
end

local literal

local function fields_of(value)
  local keys, parts = {}, {}
  for key in pairs(value) do
    keys[#keys + 1] = key
  end
  table.sort(keys, function(a, b) return tostring(a) < tostring(b) end)
  for _, key in ipairs(keys) do
    local name = type(key) == "string" and key:match "^[%a_][%w_]*$" and key or ("[%s]"):format(literal(key))
    parts[#parts + 1] = ("%s = %s"):format(name, literal(value[key]))
  end
  return parts
end

local function function_text(fn)
  local text = source.of(fn)
  if text then return text end
  n_missing = n_missing + 1
  return "function() end --[[ to be written: it uses local variables from outside of it ]]"
end

literal = function(value)
  local machine = handles.machine(value)
  if machine then return variable_of(machine.name) end
  if type(value) == "string" then return (("%q"):format(value):gsub("\\\n", "\\n")) end
  if type(value) == "number" then return args.decimal("%.14g", value) end
  if type(value) == "table" then return "{ " .. table.concat(fields_of(value), ", ") .. " }" end
  if type(value) == "function" then return function_text(value) end
  return tostring(value)
end

local function list_of(values, n)
  local parts = {}
  for i = 1, n do
    parts[i] = literal(values[i])
  end
  return table.concat(parts, ", ")
end

-- With the options that stood as globals.
local function candidate_line(machine)
  local has_options = next(machine.options) ~= nil
  return ("local %s = candidate(%s)"):format(variable_of(machine.name),
    list_of({ machine.spec.election, machine.name, machine.options }, has_options and 3 or 2))
end

local function line_of(entry)
  if entry.verb == "candidate" then return candidate_line(handles.machine(entry.result)) end
  return ("%s(%s)"):format(entry.verb, list_of(entry.args, entry.args.n))
end

local function round(seconds) return math.floor(seconds * 100 + 0.5) / 100 end

local function add_pause(lines, seconds)
  if seconds >= NO_TIME_S then lines[#lines + 1] = args.decimal("run(%g)", round(seconds)) end
end

-- What stands when it is saved is what is to be expected: who leads first, which real processes may need a moment
-- longer for.
local function expectations_of(world)
  local lines, others = {}, {}
  for _, machine in ipairs(world.machines) do
    local variable = variable_of(machine.name)
    if machine.handle.leads then
      lines[#lines + 1] = ("expect(until_(function() return %s.leads end, %d), %q)"):format(variable, LEADS_S,
        machine.name .. " leads")
    else
      others[#others + 1] = ("expect(not %s.leads, %q)"):format(variable, machine.name .. " does not lead")
    end
  end
  return table.move(others, 1, #others, #lines + 1, lines)
end

--- The lines of the experiment.
function save.lines(world)
  local lines = { "-- Saved from a console: what was done, and who leads in the end." }
  local at = 0
  variables, used, n_missing = {}, { expect = true, client = true, world = true }, 0
  for _, entry in ipairs(world.journal) do
    if not verbs.passes_time[entry.verb] then
      add_pause(lines, entry.at - at)
      lines[#lines + 1] = line_of(entry)
      at = math.max(at, entry.ended)
    end
  end
  add_pause(lines, world:now() - at)
  lines[#lines + 1] = ""
  return table.move(expectations_of(world), 1, #world.machines, #lines + 1, lines)
end

--- Writes it: a sentence; nil and what is wrong.
function save.write(world, path)
  args.text("save", "path", path)
  local file, trouble = io.open(path, "w")
  if not file then return nil, trouble, "invalid" end
  file:write(table.concat(save.lines(world), "\n"), "\n")
  file:close()
  local lines = { ("%s: play it with `%s`"):format(path, world:command(path)) }
  if n_missing > 0 then
    local told = "functions that are not in it, because they use local variables: %d; search for 'to be written'"
    lines[2] = told:format(n_missing)
  end
  return require "lunarch.lab.said"(lines)
end

return save
