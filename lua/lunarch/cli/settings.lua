-- Settings of a script's candidates: flags win over what a candidate{...} says, that over the script's globals.
-- And what a script has misspelt.
local args = require "lunarch.internal.args"
local candidate = require "lunarch.candidate.options"

args.is_ours()

local settings = {}

-- Settings that may stand in a script as globals and on the command line.
settings.known = candidate.settings
settings.handlers = candidate.handlers

-- Names that would be settings, and are none yet.
local NOT_YET = { work_timeout = true }

--- Adds the flags that are settings.
function settings.define(parser)
  local flag = require "lunarch.cli.common.flags"
  parser:option("--election", "the election to stand in"):argname "NAME"
  parser:option("--name", "our name in the log and in etcd (default: host name and pid)"):argname "NAME"
  parser:option("--value", "what a leader makes known to the others (default: its name)"):argname "TEXT"
  parser:option("--ttl", "seconds until a dead leader is replaced (default: 10)")
    :argname("SECONDS"):convert(flag.whole_seconds "--ttl")
  parser:option("--grace", "how long before the end a leader is told to stop (default: TTL/6)")
    :argname("SECONDS"):convert(flag.seconds "--grace")
  parser:option("--interval", "from one do_work to the next, unless it says (default: 1)")
    :argname("SECONDS"):convert(flag.seconds "--interval")
  parser:option("--stop-timeout", "how long on_lost may take (default: 10)")
    :argname("SECONDS"):convert(flag.seconds "--stop-timeout")
  parser:option("--health-interval", "from one call of health and may_stand to the next (default: 5)")
    :argname("SECONDS"):convert(flag.seconds "--health-interval")
  parser:option("--health-timeout", "how long such a call may take (default: the interval)")
    :argname("SECONDS"):convert(flag.seconds "--health-timeout")
  parser:option("--health-failures", "how many failures in a row make a candidate unhealthy (default: 3)")
    :argname("N"):convert(flag.count "--health-failures")
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

local function place_of(fn)
  local info = debug.getinfo(fn, "S")
  return ("%s:%d"):format(info.short_src, info.linedefined)
end

--- Looks at the globals a script has made: handlers and settings whose names are almost right. Each as a sentence.
---@return string[] handlers, string[] settings
function settings.misspelt(globals, known_before)
  local handlers, others = {}, {}
  for name, value in pairs(globals) do
    local is_new = type(name) == "string" and known_before[name] == nil
    if is_new and type(value) == "function" and not candidate.handlers[name] and not candidate.checks[name] then
      local meant = handler_meant_by(name)
      if meant then
        handlers[#handlers + 1] = ("%s: there is no handler '%s': did you mean '%s'? (your own function can be local)")
          :format(place_of(value), name, meant)
      end
    elseif is_new and NOT_YET[name] then
      others[#others + 1] = ("the setting '%s' has no effect yet"):format(name)
    elseif is_new and not candidate.settings[name] and (type(value) == "string" or type(value) == "number") then
      local meant = args.probably(name, candidate.settings)
      if meant then others[#others + 1] = ("there is no setting '%s': did you mean '%s'?"):format(name, meant) end
    end
  end
  table.sort(handlers)
  table.sort(others)
  return handlers, others
end

return settings
