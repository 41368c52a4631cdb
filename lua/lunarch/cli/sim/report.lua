-- What came of it, for people or as JSON: a summary, and the timeline of the lowest seed that failed.
local history = require "lunarch.cli.sim.history"
local host = require "lunarch.host"
local json = require "lunarch.look.json"
local timeline = require "lunarch.cli.sim.timeline"

local FAILED = 1

local function grouped(n)
  local text = ("%d"):format(n):reverse():gsub("(%d%d%d)", "%1,"):reverse()
  return (text:gsub("^,", ""))
end

-- ---- the command that repeats it --------------------------------------------------------------------------------

local function quoted(word)
  if word:match "^[%w_./:=,+-]+$" then return word end
  return "'" .. word:gsub("'", "'\\''") .. "'"
end

local function command_of(plan, seed)
  local flags, words = plan.flags, { "lunarch", "sim", quoted(plan.script), "--seeds", ("%d"):format(seed) }
  local function add(name, value)
    if value == nil then return end
    words[#words + 1] = name
    words[#words + 1] = quoted(tostring(value))
  end
  add("--candidates", flags.candidates)
  add("--ttl", flags.ttl)
  add("--election", flags.election)
  if flags.faults then
    local kinds = {}
    for kind in pairs(flags.faults) do
      kinds[#kinds + 1] = kind
    end
    table.sort(kinds)
    add("--faults", kinds[1] and table.concat(kinds, ",") or "none")
  end
  if plan.words[1] then words[#words + 1] = "--" end
  for _, word in ipairs(plan.words) do
    words[#words + 1] = quoted(word)
  end
  return table.concat(words, " ")
end

-- ---- the timeline of one seed --------------------------------------------------------------------------------------

-- What the script did, and not how we came to call it.
local function without_us(text)
  text = text:gsub("\n[^\n]*/lunarch/cli/sim/boot%.lua:.*$", "")
  return (text:gsub("\n%s*%[C%]: in function 'xpcall'.*$", ""))
end

local function run_again(plan, seed)
  local events = {}
  plan.on_tick = function() return not host.caught_signal() end
  local result = history.run(plan, seed, function(at, who, kind, text)
    -- The store tells of the same.
    if kind == "etcd" and text:match " deleted by " then return end
    events[#events + 1] = { at = at, who = who, kind = kind, text = without_us(text) }
  end)
  result.reason = without_us(result.reason)
  return result, events
end

-- ---- for people -------------------------------------------------------------------------------------------------

local function print_summary(plan, outcome)
  local n_failed = #outcome.failed
  local what = outcome.crash and "not all were run" or "nothing went wrong"
  if n_failed > 0 then
    what = plan.goes_on and ("%s failed"):format(grouped(n_failed)) or ("seed %d failed"):format(outcome.first)
  end
  local n = outcome.n_run
  print(("%s: %s %s of %d candidate%s: %s%s"):format(plan.script, grouped(n), n == 1 and "history" or "histories",
    #plan.names, #plan.names == 1 and "" or "s", what, outcome.signal and " before it was interrupted" or ""))
  local counts = outcome.counts
  print(("  %.1f simulated hours in %.1f s (%.0f seeds/s): %s terms, %s candidates killed, %s paused"):format(
    outcome.seconds / 3600, outcome.took, n / math.max(outcome.took, 0.001), grouped(counts.elected),
    grouped(counts.kills), grouped(counts.pauses)))
  if not plan.has_check then
    print "  no check(world) in it: only what the simulator itself looks for was looked for (lunarch sim --help)"
  end
  if plan.goes_on and n_failed > 0 then
    local seeds = {}
    for i = 1, math.min(n_failed, 20) do
      seeds[i] = ("%d"):format(outcome.failed[i])
    end
    print(("  seeds that failed: %s%s"):format(table.concat(seeds, " "), n_failed > 20 and " ..." or ""))
  end
end

-- Who led when, at a glance.
local function print_chart(plan, events, seconds)
  local timelines = require "lunarch.timeline"
  local found = require "lunarch.timeline.simulated".events(events)
  print()
  for _, line in ipairs(timelines.chart(timelines.story(found, { names = plan.names, till = seconds }))) do
    print(line)
  end
  print()
end

local BY = { lunarch = "lunarch broke its word: " }

local function print_failure(plan, seed)
  local result, events = run_again(plan, seed)
  if not result.verdict then
    print(("\nseed %d did not fail when it was run again: does the script use anything outside of the simulation?")
      :format(seed))
    return
  end
  print_chart(plan, events, result.seconds)
  timeline.print(plan, events)
  print(("\nseed %d, after %.3f s: %s%s%s"):format(seed, result.seconds,
    result.culprit ~= "" and result.culprit .. ": " or "", BY[result.verdict] or "", result.reason))
  print("again:  " .. command_of(plan, seed))
end

local function report_to_people(plan, outcome)
  print_summary(plan, outcome)
  if outcome.first then
    print_failure(plan, outcome.first)
  elseif plan.flags.timeline and outcome.n_run == 1 then
    local result, events = run_again(plan, plan.seeds.from)
    print_chart(plan, events, result.seconds)
    timeline.print(plan, events)
  end
end

-- ---- for programs -----------------------------------------------------------------------------------------------

local function report_to_programs(plan, outcome)
  local report = {
    script = plan.script, candidates = #plan.names, seeds = { from = plan.seeds.from, to = plan.seeds.to },
    run = outcome.n_run, failed = outcome.failed,
    simulated_seconds = outcome.seconds, seconds = outcome.took,
    terms = outcome.counts.elected, kills = outcome.counts.kills, pauses = outcome.counts.pauses,
    has_check = plan.has_check, interrupted = outcome.signal ~= nil,
  }
  local seed = outcome.first or plan.flags.timeline and outcome.n_run == 1 and plan.seeds.from
  if seed then
    local result, events = run_again(plan, seed)
    report.timeline = events
    if result.verdict then
      report.failure = {
        seed = seed, at = result.seconds, by = result.verdict, who = result.culprit, reason = result.reason,
        again = command_of(plan, seed),
      }
    end
  end
  print(json.encode(report))
end

---@return integer status
return function(plan, outcome)
  if plan.flags.json then report_to_programs(plan, outcome) else report_to_people(plan, outcome) end
  if outcome.crash then io.stderr:write("lunarch sim: ", outcome.crash, "\n") end
  if outcome.first or outcome.crash then return FAILED end
  return outcome.signal and 128 + outcome.signal or 0
end
