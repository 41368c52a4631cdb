-- lunarch sim: runs a script against a simulated etcd, seed after seed, and shows the first that goes wrong.
local args = require "lunarch.internal.args"
local exit = require "lunarch.cli.common.exit"
local flag = require "lunarch.cli.common.flags"
local host = require "lunarch.host"
local kinds = require "lunarch.cli.sim.kinds"
local modules = require "lunarch.cli.common.modules"
local times = require "lunarch.internal.times"

args.is_ours()

local DEFAULT_CANDIDATES, DEFAULT_SEEDS = 3, "1..1000"
local MOST_TTL_S, DEFAULT_STOP_TIMEOUT_S = 3600, 10
local MOST_SEED = 1000000000

local command = {
  summary = "play a script against a simulated etcd, with faults",
  usage = { "SCRIPT [flags] [arguments of the script]" },
}

command.description = [[
Runs a script against a simulated etcd, under virtual time, with faults: requests and
answers delayed or lost, members frozen, cut off, restarted or seconds away, candidates
paused, killed and stopped. Each seed is one history, and always the same one.

The script may define check(world), called after every step: it fails a history by an error,
or by returning false and a reason. Found without it: two leaders at once, handlers out of
order, errors in the script, a program that does not wait or does not end, nobody leading
once the faults are over.]]

command.epilog = ([[
world.now, world.phase (calm, faults, recovery, stopping, end), world:get(key), world:list(prefix),
world.notes (what the script noted with sim.note(name, value) and sim.add(name, n)), and
world.candidates[i] with name, is_up, is_paused, leads (by its own clock), is_elected (between
on_elected and the end of on_lost), token, handler, election, lives, now (by its own clock).

Kinds of faults: %s;
without --faults all but revoke: an operator who takes keys away can make two leaders.

Exit status: 0 nothing went wrong; 1 something did; 2 wrong usage or no such script;
128 + n ended by signal n.]]):format(table.concat(kinds.all, ", "))

local function say(text)
  io.stderr:write("lunarch sim: ", text, "\n")
end

-- ---- the command line -------------------------------------------------------------------------------------------

local function whole(name, most)
  return function(text)
    local value = math.tointeger(tonumber(text))
    if not value or value < 1 then return nil, ("%s: '%s' is not a whole number, 1 or more"):format(name, text) end
    if value > most then return nil, ("%s: %d is too many: at most %d"):format(name, value, most) end
    return value
  end
end

local function candidates_of(text)
  local sim = modules.load "lunarch.sim"
  return whole("--candidates", sim and sim.max_candidates or DEFAULT_CANDIDATES)(text)
end

local function seeds_of(text)
  local from, to = text:match "^(%d+)%.%.(%d+)$"
  from = math.tointeger(tonumber(from or text:match "^%d+$"))
  to = to and math.tointeger(tonumber(to)) or from
  if not from or not to then
    return nil, ("--seeds: '%s' is neither a number nor a range such as 1..1000"):format(text)
  end
  if to < from then return nil, ("--seeds: %d..%d ends before it begins"):format(from, to) end
  if to > MOST_SEED then return nil, ("--seeds: %d is too high: at most %d"):format(to, MOST_SEED) end
  return { from = from, to = to }
end

local function faults_of(text)
  local known, wanted = {}, {}
  for _, kind in ipairs(kinds.all) do
    known[kind] = true
  end
  if text == "all" then return known end
  if text == "none" then return wanted end
  for kind in text:gmatch "[^,]+" do
    if not known[kind] then
      local meant = args.probably(kind, known)
      return nil, ("--faults: there is no kind '%s'%s; the kinds are %s, or all, or none"):format(kind,
        meant and (": did you mean '%s'?"):format(meant) or "", table.concat(kinds.all, ", "))
    end
    wanted[kind] = true
  end
  return wanted
end

function command.define(parser)
  parser:argument("script", "the script to run"):args "?"
  parser:argument("args", "what the script finds in `arg`; put -- before what begins with a dash"):args "*"
  parser:option("--candidates", ("how many processes run it (default: %d)"):format(DEFAULT_CANDIDATES))
    :argname("N"):convert(candidates_of)
  parser:option("--seeds", ("which histories: a seed, or a range (default: %s)"):format(DEFAULT_SEEDS))
    :argname("A..B"):convert(seeds_of)
  parser:option("--ttl", "seconds until a dead leader is replaced (default: what the script says, or 10)")
    :argname("SECONDS"):convert(whole("--ttl", MOST_TTL_S))
  parser:option("--election", "the election to stand in"):argname "NAME"
  parser:option("--faults", "which kinds of faults, separated by commas; all; none")
    :argname("LIST"):convert(faults_of)
  parser:option("--jobs", "how many seeds at once (default: one for each core)")
    :argname("N"):convert(whole("--jobs", 64))
  parser:flag("--all", "go on after a seed that fails, and count")
  parser:flag("--timeline", "print the timeline of a single seed even if nothing goes wrong")
  parser:flag("--full", "print the whole timeline")
  parser:flag("--json", "print one JSON object instead, for programs")
end

-- ---- from the flags to the end ----------------------------------------------------------------------------------

local function names_of(n)
  local names = {}
  for i = 1, n do
    names[i] = string.char(("A"):byte() + i - 1)
  end
  return names
end

local function plan_of(flags)
  return {
    script = flags.script, words = flags.args, names = names_of(flags.candidates or DEFAULT_CANDIDATES),
    faults = flags.faults or faults_of(kinds.usual),
    seeds = flags.seeds or seeds_of(DEFAULT_SEEDS), jobs = flags.jobs, goes_on = flags.all,
    given = { ttl = flags.ttl, election = flags.election }, flags = flags,
  }
end

local function prepare(sim, plan)
  local found, trouble = sim.prepare {
    names = plan.names, script = plan.script, words = plan.words, given = plan.given, own_paths = plan.own_paths,
  }
  if not found then
    say(trouble)
    return false
  end
  plan.has_check = found.has_check
  plan.ttl = math.min(plan.given.ttl or found.ttl > 0 and found.ttl or times.DEFAULT_TTL_S, MOST_TTL_S)
  plan.stop_timeout = found.stop_timeout > 0 and found.stop_timeout or DEFAULT_STOP_TIMEOUT_S
  if not found.is_repeatable then
    say "this build of Lua hashes strings differently in every run: a seed may not give the same history twice"
  end
  return true
end

---@param flags table
---@return integer status
function command.run(flags)
  if not flags.script then return flag.complain("sim", "which script?") end
  local sim, trouble = modules.load "lunarch.sim"
  if not sim then
    say(trouble)
    return exit.USAGE
  end
  local plan = plan_of(flags)
  plan.own_paths = modules.look_beside_in_sim(flags.script)
  if not prepare(sim, plan) then return exit.USAGE end
  assert(host.catch_signals())
  local outcome = require "lunarch.cli.sim.workers".run(plan)
  return require "lunarch.cli.sim.report"(plan, outcome)
end

return command
