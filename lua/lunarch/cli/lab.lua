-- lunarch lab: plays an experiment with real processes, or in the simulator.
local args = require "lunarch.internal.args"
local exit = require "lunarch.cli.common.exit"
local flag = require "lunarch.cli.common.flags"
local host = require "lunarch.host"
local log = require "lunarch.cli.log"

args.is_ours()

local command = {
  summary = "play an experiment: candidates, faults, and what is expected",
  usage = { "EXPERIMENT [flags]" },
  description = [[
Plays an experiment: a Lua file with the verbs of the console (candidate, run, pause, kill,
stop, cut, slow, heal, freeze, crash, start ...) and expect(condition, text). With real
processes: a private cluster of three members of etcd, and each candidate a `lunarch`. With
--sim in the simulator, in milliseconds.]],
  epilog = [[
Exit status: 0 everything expected has come about; 1 something has not, or the file failed
(then the timeline is printed); 2 wrong usage or no such file.]],
}

function command.define(parser)
  parser:argument("experiment", "the experiment to play"):args "?"
  parser:flag("--sim", "in the simulator instead of with real processes")
  parser:option("--seed", "with --sim: which history (default: 1)"):argname("N"):convert(flag.whole "--seed")
  parser:flag("--timeline", "print the timeline even if everything expected has come about")
  parser:option("--svg", "write the timeline as a picture"):argname "FILE"
  parser:flag("--quiet", "print no events")
end

local function print_events(world)
  local compose = require "lunarch.console.events".composer(world, log.is_coloured(1))
  world.on_event(function(event) print(compose(event)) end)
end

local function report(world, flags, ok, trouble, took_s)
  local experiment = require "lunarch.lab.experiment"
  local n, failed = experiment.judge(world)
  local is_fine = ok and #failed == 0
  if not is_fine or flags.timeline then
    print()
    print(tostring(world.timeline()))
    print()
  end
  for _, one in ipairs(failed) do
    print(("%8.3f  expected: %s%s"):format(one.at, one.text, one.trouble and (" (%s)"):format(one.trouble) or ""))
  end
  if not ok then print("error: " .. trouble) end
  if n == 0 and ok then print "nothing was expected: write expect(condition, text)" end
  local seed = world.driver.seed and (" (seed %d)"):format(world.driver.seed) or ""
  print(("%s: %d of %d expectations met, %.1f s in %.1f s%s"):format(flags.experiment, n - #failed, n, world:now(),
    took_s, seed))
  if flags.svg then
    local is_drawn, wrong = world:show_timeline(flags.svg)
    if not is_drawn then
      log.complain("--svg: " .. wrong)
      return exit.USAGE
    end
  end
  return is_fine and exit.DONE or exit.FAILED
end

local function play(flags, run)
  local began = host.time()
  local world, trouble, status = require("lunarch.console.worlds." .. (flags.sim and "sim" or "lab")).open(flags)
  if not world then
    log.complain(trouble)
    return status or exit.USAGE
  end
  if not flags.quiet then print_events(world) end
  local ok, why = require "lunarch.lab.experiment".play(world, run)
  local found, result = pcall(report, world, flags, ok, why, host.time() - began)
  world.close(2)
  if not found then error(result, 0) end
  return result
end

---@param flags table
---@return integer status
function command.run(flags)
  if not flags.experiment then return flag.complain("lab", "which experiment?") end
  if flags.seed and not flags.sim then return flag.complain("lab", "--seed is for --sim: real processes have none") end
  local run, trouble = require "lunarch.lab.experiment".load(flags.experiment)
  if not run then
    log.complain(trouble)
    return exit.USAGE
  end
  if flags.sim then return play(flags, run) end
  return require "lunarch".run(play, flags, run)
end

return command
