-- What a candidate may be given: handlers, settings, and the rest, each with its check. Loads nothing else of lunarch:
-- the program's help needs it, and no gRPC.
local args = require "lunarch.internal.args"
local backoff = require "lunarch.candidate.backoff"
local connection = require "lunarch.internal.connection"

args.is_ours()

local options = {}

options.LEVELS = { "info", "warn", "error" }

options.handlers = {
  on_elected = args.callable, do_work = args.callable, on_lost = args.callable, on_leader = args.callable,
  do_standby = args.callable, on_jeopardy = args.callable, on_safe = args.callable,
  on_reload = args.callable,
}

local CHECK = 'a function, or a command such as { "pg_isready", "-q" }'

--- Whether a check is a command, and no function or what can be called like one.
function options.is_command(check)
  return type(check) == "table" and not getmetatable(check)
end

-- Settings of a script, too, but named like handlers: a program that uses such a name itself is no candidate yet.
local function check_or_command(call, name, value)
  if options.is_command(value) then
    if type(value[1]) == "string" and value[1] ~= "" then return value end
    args.misuse("%s: '%s' must be %s", call, name, CHECK)
  end
  if not pcall(args.callable, call, name, value) then args.bad(call, name, CHECK, value) end
  return value
end

options.checks = { may_stand = check_or_command, health = check_or_command }

local function positive_seconds(call, name, value)
  if args.seconds(call, name, value) == 0 then args.bad(call, name, "a number of seconds above 0", value) end
  return value
end

local function positive(call, name, value)
  if args.whole(call, name, value) == 0 then args.bad(call, name, "a whole number, 1 or more", value) end
  return value
end

options.settings = {
  election = args.name, name = args.who, value = args.string, ttl = args.ttl, grace = args.seconds,
  interval = args.seconds, stop_timeout = args.seconds, endpoints = args.endpoints,
  may_stand = options.checks.may_stand, health = options.checks.health, health_interval = positive_seconds,
  health_timeout = positive_seconds, health_failures = positive,
}

-- By name, all of them.
options.options = {
  backoff = backoff.check,
  client = function(call, name, value)
    if type(value) ~= "table" and type(value) ~= "userdata" then args.bad(call, name, "a client", value) end
  end,
  log = function(call, name, value)
    for _, level in ipairs(options.LEVELS) do
      if type(value) ~= "table" or not pcall(args.callable, call, level, value[level]) then
        args.bad(call, name, "a table of functions: info, warn, error", value)
      end
    end
    if value.debug ~= nil then args.callable(call, name .. ".debug", value.debug) end
  end,
}
for _, group in ipairs { options.handlers, options.settings, connection.OPTIONS } do
  for name, check in pairs(group) do
    options.options[name] = check
  end
end

return options
