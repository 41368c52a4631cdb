-- Settings of a script's candidates: flags win over what a candidate{...} says, that over the script's globals.
-- And what a script has misspelt.
local args = require "lunarch.internal.args"
local candidate = require "lunarch.candidate.options"

args.is_ours()

local settings = {}

-- Settings that may stand in a script as globals and on the command line.
settings.known = candidate.settings
settings.handlers = candidate.handlers

-- Names that would be settings, and are none.
local NOT_YET = { work_timeout = true }
local FLAGS_ONLY = { listen = "--listen", log_level = "--log-level", dev = "--dev", dev_name = "--dev=NAME" }
local NEVER = {
  priority = "the candidate that has waited longest is the next one, and `lunarch switchover --to` names another",
}

-- Flag, what stands behind it, help, the converter of lunarch.cli.common.flags.
local FLAGS = {
  { "--election", "NAME", "the election to stand in" },
  { "--name", "NAME", "our name in the log and in etcd (default: host name and pid)" },
  { "--value", "TEXT", "what a leader makes known to the others (default: its name)" },
  { "--ttl", "SECONDS", "seconds until a dead leader is replaced (default: 10)", "whole_seconds" },
  { "--grace", "SECONDS", "how long before the end a leader is told to stop (default: TTL/6)", "seconds" },
  { "--interval", "SECONDS", "from one do_work to the next, unless it says (default: 1)", "seconds" },
  { "--stop-timeout", "SECONDS", "how long on_lost may take (default: 10)", "seconds" },
  { "--health-interval", "SECONDS", "from one call of health and may_stand to the next (default: 5)", "seconds" },
  { "--health-timeout", "SECONDS", "how long such a call may take (default: the interval)", "seconds" },
  { "--health-failures", "N", "how many failures in a row make a candidate unhealthy (default: 3)", "count" },
}

--- Adds the flags that are settings.
function settings.define(parser)
  local flag = require "lunarch.cli.common.flags"
  for _, row in ipairs(FLAGS) do
    local name, value, help, converter = table.unpack(row)
    local option = parser:option(name, help):argname(value)
    if converter then option:convert(flag[converter](name)) end
  end
end

local function reads(name, value)
  local ok, message = pcall(candidate.settings[name], "setting", name, value)
  return ok, not ok and message:gsub("^.-setting: ", "") or nil
end

--- What the flags say, by the settings' names.
function settings.of_flags(flags)
  local found = {}
  for name in pairs(candidate.settings) do
    found[name] = flags[name]
  end
  return found
end

--- Checks the flags that are settings: nil, or what is wrong with one.
function settings.trouble_in(given)
  for name, value in pairs(given) do
    local ok, message = reads(name, value)
    if not ok then return ("--%s: %s"):format(name:gsub("_", "-"), message) end
  end
  return nil
end

--- The options of a candidate: `own` are those of a candidate{...}, or nothing.
function settings.merge(given, own, globals)
  local options = {}
  for name, value in pairs(own) do
    options[name] = value
  end
  for name in pairs(candidate.settings) do
    if options[name] == nil then options[name] = rawget(globals, name) end
    if given[name] ~= nil then options[name] = given[name] end
  end
  return options
end

-- onElected, OnElected, ON_ELECTED
local function plain(name)
  return (name:lower():gsub("[^%a]", ""))
end

local function handler_meant_by(name)
  for _, group in ipairs { candidate.handlers, candidate.checks } do
    for handler in pairs(group) do
      if plain(handler) == plain(name) then return handler end
    end
  end
  return name:lower():match "^[od][no]_" and args.probably(name, candidate.handlers) or nil
end

local function is_value(value)
  local kind = type(value)
  return kind == "string" or kind == "number" or kind == "boolean"
end

local function place_of(fn)
  local info = debug.getinfo(fn, "S")
  return ("%s:%d"):format(info.short_src, info.linedefined)
end

--- Looks at the globals a script has made: handlers and settings that there are not, or whose names are almost right.
--- Each as a sentence: those that a candidate cannot do without, and others.
---@return string[] mistakes, string[] others
function settings.misspelt(globals, known_before)
  local mistakes, others = {}, {}
  for name, value in pairs(globals) do
    local is_new = type(name) == "string" and known_before[name] == nil
    if is_new and type(value) == "function" and not candidate.handlers[name] and not candidate.checks[name] then
      local meant = handler_meant_by(name)
      if meant then
        mistakes[#mistakes + 1] = ("%s: there is no handler '%s': did you mean '%s'? (your own function can be local)")
          :format(place_of(value), name, meant)
      end
    elseif is_new and NOT_YET[name] then
      others[#others + 1] = ("the setting '%s' has no effect yet"):format(name)
    elseif is_new and FLAGS_ONLY[name] and is_value(value) then
      others[#others + 1] = ("'%s' is no setting of a script: give the flag %s"):format(name, FLAGS_ONLY[name])
    elseif is_new and NEVER[name] and is_value(value) then
      mistakes[#mistakes + 1] = ("there is no setting '%s': %s (a variable of your own can be local)"):format(name,
        NEVER[name])
    elseif is_new and not candidate.settings[name] and (type(value) == "string" or type(value) == "number") then
      local meant = args.probably(name, candidate.settings)
      if meant then others[#others + 1] = ("there is no setting '%s': did you mean '%s'?"):format(name, meant) end
    end
  end
  table.sort(mistakes)
  table.sort(others)
  return mistakes, others
end

return settings
