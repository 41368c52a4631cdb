-- lunarch console: a prompt for elections and locks, on a real etcd or in a world that may be broken.
local args = require "lunarch.internal.args"
local etcd = require "lunarch.cli.common.etcd"
local exit = require "lunarch.cli.common.exit"
local flag = require "lunarch.cli.common.flags"
local log = require "lunarch.cli.log"
local modules = require "lunarch.cli.common.modules"
local signals = require "lunarch.cli.common.signals"

args.is_ours()

-- What etcd has not answered by then lapses with its lease.
local SHUTDOWN_S = 2
local NEVER_MS = 3600000

local command = {
  summary = "a prompt: look at elections and locks, hold them, try them",
  usage = { "[SCRIPT] [flags]" },
  description = [[
A prompt at which Lua is evaluated, with a client and a session of etcd at hand. Candidates,
observers and tasks go on while a line is being typed. `help` at the prompt lists what there
is; Ctrl-C ends a call that waits; Ctrl-D gives up what is held, and ends the console.

With a SCRIPT its globals are loaded first: candidate() stands with its handlers.]],
  epilog = [[
`lunarch` alone on a terminal is short for `lunarch console`. What comes from a pipe or a
file is evaluated line by line, without a prompt; the exit status is 1 if anything failed.

Environment: as for `lunarch run`; XDG_STATE_HOME, where the history is kept.]],
}

command.rewrite = etcd.rewrite

function command.define(parser)
  parser:argument("script", "a script whose globals are loaded first"):args "?"
  etcd.define(parser)
  parser:flag("--lab", "a private cluster of three members, and candidates as processes of their own: to be broken")
  parser:flag("--sim", "simulated members and candidates; time stands still between two calls")
  parser:option("--seed", "what chance does in the simulated world (default: 1)"):argname("N")
    :convert(flag.whole "--seed")
  parser:option("--ttl", "the TTL of the console's own session (default: 10)")
    :argname("SECONDS"):convert(flag.whole_seconds "--ttl")
  parser:flag("--plain", "read plain lines, without editing and completion")
end

local function world_of(flags)
  local asked = {}
  for _, it in ipairs { { flags.lab, "lab" }, { flags.sim, "sim" }, { flags.dev or flags.dev_name, "dev" },
    { flags.endpoints, "cluster" } } do
    if it[1] then asked[#asked + 1] = it[2] end
  end
  if #asked > 1 then return nil, "give one of --endpoints, --dev, --lab and --sim" end
  return asked[1] or "cluster"
end

local function set_up_loop(own_log)
  local luv = require "lunarch.loop.luv"
  luv.load "lunarch console"
  luv.is_fatal, luv.slice_ms = false, NEVER_MS
  function luv.on_callback_error(text)
    own_log.error("a callback failed: %s", text)
  end
end

---@return integer status
function command.run(flags)
  local world, mistake = world_of(flags)
  if not world then return flag.complain("console", mistake) end
  log.guard_output()
  local lunarch, trouble = modules.load "lunarch"
  if not lunarch then
    log.complain(trouble)
    return exit.USAGE
  end
  local own_log = log.new(function() return nil end)
  set_up_loop(own_log)
  rawset(_G, "lunarch", lunarch)
  rawset(_G, "log", own_log)
  if flags.script then modules.look_beside(flags.script) end
  local console = require "lunarch.console"
  local options = { world = world, flags = flags, script = flags.script, log = own_log }
  local tasks = require "lunarch.loop.task"
  signals.catch(console.stop)
  exit.in_order()

  local status
  local ok, err = pcall(lunarch.run, function()
    status = console.run(options)
    tasks.interrupt_all(console.INTERRUPTED)
  end)
  lunarch.shutdown(SHUTDOWN_S)
  local signal = signals.caught()
  if signal then return exit.SIGNAL + signal end
  if not status and not ok then own_log.error("%s", args.error_text(err)) end
  return status or exit.FAILED
end

return command
