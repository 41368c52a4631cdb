-- What `lunarch list`, `status`, `watch` and `observe` share: flags, a client, the end. They read, and hold nothing.
local args = require "lunarch.internal.args"
local etcd = require "lunarch.cli.common.etcd"
local exit = require "lunarch.cli.common.exit"
local flag = require "lunarch.cli.common.flags"
local host = require "lunarch.host"
local log = require "lunarch.cli.log"
local modules = require "lunarch.cli.common.modules"
local signals = require "lunarch.cli.common.signals"

args.is_ours()

local looks = {}

looks.NONE = exit.NONE

local CLOSE_S, SHUTDOWN_S = 1, 2

looks.EPILOG = [[
Exit status: 0 there is a leader, or a holder; 3 there is none; 1 etcd does not answer;
2 something is wrong that trying again cannot help.]]

--- The flags of all of them.
function looks.define(parser)
  parser:flag("--json", "for programs: one JSON value a line")
  etcd.define(parser)
  parser:option("--timeout", "how long etcd may take to answer (default: 5)")
    :argname("SECONDS"):convert(flag.seconds "--timeout")
end

looks.rewrite = etcd.rewrite

local silent = { info = function() end, warn = function() end, error = function() end }

local INTERRUPTED = setmetatable({ code = "cancelled" }, { __tostring = function() return "interrupted" end })

-- Trying again cannot help against these.
local HOPELESS = { invalid = true, unauthenticated = true, permission_denied = true }

--- Whether trying again cannot help.
function looks.is_hopeless(code) return HOPELESS[code] == true end

local function complain(is_default, message, code)
  local hint = is_default and (code == "unavailable" or code == "timeout") and etcd.HINT or ""
  log.complain((message or "?") .. hint)
  return HOPELESS[code] and exit.USAGE or exit.FAILED
end

local function prepare()
  assert(host.guard_output())
  local say = require "lunarch.internal.say"
  say.write, say.is_plain = host.log, false
  return modules.load "lunarch"
end

-- Runs fn(client, flags, lunarch) in the loop.
local function run_in_loop(lunarch, flags, is_default, fn)
  local status
  local ok, err = pcall(lunarch.run, function()
    local client, message, code = lunarch.connect {}
    if not client then
      status = complain(false, message, code)
      return
    end
    local found, text
    found, text, code = fn(client, flags, lunarch)
    client:close(CLOSE_S)
    status = found or complain(is_default, text, code)
  end)
  if not status and not ok and err ~= INTERRUPTED then
    log.complain(args.error_text(err))
    status = exit.USAGE
  end
  return status or exit.FAILED
end

--- Does one: fn(client, flags, lunarch) -> exit status, or nil, message, code. It may wait.
---@return integer status
function looks.run(name, flags, fn)
  local mistake = etcd.trouble_in(flags)
  if mistake then return flag.complain(name, mistake) end
  local lunarch, trouble = prepare()
  if not lunarch then
    log.complain(trouble)
    return exit.USAGE
  end
  local endpoints, wrong, status = etcd.find(flags, silent)
  if endpoints == nil then
    log.complain(wrong)
    return status
  end
  local tasks = require "lunarch.loop.task"
  signals.catch(function() tasks.interrupt_all(INTERRUPTED) end)
  status = run_in_loop(lunarch, flags, etcd.is_default(flags.endpoints), fn)
  lunarch.shutdown(SHUTDOWN_S)
  local signal = signals.caught()
  return signal and exit.SIGNAL + signal or status
end

--- A name as all commands take it: or nil and what is wrong with it.
function looks.name_of(flags)
  if not flags.name then return nil, "which name?" end
  local ok, message = pcall(args.name, "NAME", "NAME", flags.name)
  if ok then return flags.name end
  return nil, (args.error_text(message):gsub("^.-NAME: ", ""))
end

--- The same as looks.run, of a command that is given a name.
---@return integer status
function looks.run_named(command, flags, fn)
  local name, wrong = looks.name_of(flags)
  if not name then return flag.complain(command, wrong) end
  return looks.run(command, flags, fn)
end

--- An instant in UTC, for programs.
---@param at number seconds since 1970
function looks.stamp(at)
  return os.date("!%Y-%m-%dT%H:%M:%S", math.floor(at)) .. ("%.3fZ"):format(at % 1):sub(2)
end

--- The seconds that a request may take.
function looks.timeout(flags)
  return flags.timeout or 5
end

return looks
