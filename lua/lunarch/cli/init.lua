-- The command line of `lunarch`: which flags there are, and what to do.
local args = require "lunarch.args"
local host = require "lunarch.host"

args.is_ours()

local USAGE_ERROR = 2

local DESCRIPTION = [[
Runs a Lua script that takes part in elections on etcd.

A script that declares handlers (on_elected, do_work, on_lost, on_leader, do_standby,
on_jeopardy, on_safe) stands as a candidate until it is stopped; candidate{...} declares
further ones. Any other script is an ordinary program that may use `lunarch` and `log`,
and ends when it and everything it spawned have ended.

`lunarch sim SCRIPT` plays the same script against a simulated etcd, with faults, under
virtual time (lunarch sim --help).]]

local EPILOG = [[
A setting may stand in the script as a global (election, name, ttl, interval ...): flags
win over the environment, the environment over the script.

Environment: LUNARCH_ENDPOINTS, ETCDCTL_ENDPOINTS, NO_COLOR; with --dev ETCD, the etcd
program to use (otherwise the one on the PATH).

Exit status: 0 done, or stopped by a first signal as a candidate; 1 the script failed;
2 wrong usage; 128 + n ended by signal n.]]

local function is_seconds(value)
  return value and value >= 0 and value < math.huge
end

local function seconds_of(flag)
  return function(text)
    local value = tonumber(text)
    if not is_seconds(value) then return nil, ("%s: '%s' is no number of seconds"):format(flag, text) end
    return value
  end
end

local function whole_seconds_of(flag)
  return function(text)
    local value = math.tointeger(tonumber(text))
    if not value or value < 1 then
      return nil, ("%s: '%s' is no whole number of seconds, 1 or more"):format(flag, text)
    end
    return value
  end
end

local function endpoints_of(text)
  if not text:find "[^,%s]" then return nil, ("--endpoints: there is none in '%s'"):format(text) end
  return text
end

local function make_parser()
  local parser = require "argparse"("lunarch")
    :usage "usage: lunarch [run] SCRIPT [flags] [arguments of the script]\n       lunarch sim SCRIPT [flags]"
    :description(DESCRIPTION)
    :epilog(EPILOG)
    :add_help(false)
  parser:argument("script", "the script to run"):args "?"
  parser:argument("args", "what the script finds in `arg`; put -- before what begins with a dash"):args "*"
  parser:option("--election", "the election to stand in"):argname "NAME"
  parser:option("--name", "who we are to the others (default: host name and pid)"):argname "NAME"
  parser:option("--value", "what a leader makes known to the others (default: its name)"):argname "TEXT"
  parser:option("--ttl", "seconds until a dead leader is replaced (default: 10)")
    :argname("SECONDS"):convert(whole_seconds_of "--ttl")
  parser:option("--grace", "how long before the end a leader is told to stop (default: TTL/6)")
    :argname("SECONDS"):convert(seconds_of "--grace")
  parser:option("--interval", "from one do_work to the next, unless it says (default: 1)")
    :argname("SECONDS"):convert(seconds_of "--interval")
  parser:option("--stop-timeout", "how long on_lost may take (default: 10)")
    :argname("SECONDS"):convert(seconds_of "--stop-timeout")
  parser:option("--endpoints", "etcd's members, host:port,host:port (default: 127.0.0.1:2379)")
    :argname("LIST"):convert(endpoints_of)
  parser:flag("--dev", "use a private etcd: started on demand, gone after its last user")
  parser:option("--log", "how to write the log to stderr: text or json (default: text)")
    :argname("FORMAT"):choices { "text", "json" }
  parser:flag("-h --help", "show this and exit")
  parser:flag("--version", "show the version and exit")
  return parser
end

-- `lunarch sim X` has flags of its own; a script that is itself called "sim" is ./sim.
local function command_of(argv)
  if argv[1] ~= "sim" then return nil end
  return require "lunarch.cli.sim", table.move(argv, 2, #argv, 1, {})
end

-- The parser takes what begins with a dash for an option, and a help that nobody asked for as what was meant.
local function explain(text)
  local value = text:match "^unknown option '(%-[%d.]%S*)'"
  if value then return ("'%s' is no value of a setting: none may be negative"):format(value) end
  text = text:gsub("\nDid you mean '%-h'%?$", "")
  return text
end

local function complain(text)
  io.stderr:write("lunarch: ", text, "\nTry: lunarch --help\n")
  return USAGE_ERROR
end

-- `lunarch run X` and `lunarch X` are the same; a script that is itself called "run" is ./run.
local function without_command(argv)
  if argv[1] == "run" then return table.move(argv, 2, #argv, 1, {}), true end
  return argv, false
end

---@param argv string[]
---@return integer status
return function(argv)
  local command, rest = command_of(argv)
  if command then return command(rest) end
  local words, is_run = without_command(argv)
  local parser = make_parser()
  local ok, flags = parser:pparse(words)
  if not ok then return complain(explain(flags)) end
  if flags.help then
    io.stdout:write(parser:get_help(), "\n")
    return 0
  elseif flags.version then
    print("lunarch " .. host.version)
    return 0
  elseif not flags.script and not is_run and #words == 0 then
    io.stderr:write(parser:get_help(), "\n")
    return USAGE_ERROR
  elseif not flags.script then
    return complain "which script?"
  elseif flags.dev and flags.endpoints then
    return complain "--dev brings its own etcd: give either --dev or --endpoints"
  end
  return require "lunarch.cli.run"(flags)
end
