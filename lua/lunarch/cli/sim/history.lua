-- One seed's history: calm, faults, recovery, a stop in order, and the verdict on it.
local faults = require "lunarch.cli.sim.faults"
local sim = require "lunarch.sim"

local history = {}

local TICK_S = 0.1
local CALM_S, FAULTS_S, MORE_FAULTS_S, LED_S = 4, 12, 30, 3
-- From the last fault until every election is led again, and from SIGTERM until the program has ended.
local RECOVERY_S, STOP_S = 60, 40

-- Lets the world go on. False: there is a verdict, or is_over() did not come about in time, or the plan is given up.
local function pass(plan, seconds, on_tick, is_over)
  local until_s = sim.now() + seconds
  while sim.now() < until_s do
    if not sim.run(math.min(sim.now() + TICK_S, until_s)) then return false end
    if plan.on_tick and not plan.on_tick() then return false end
    if on_tick then on_tick() end
    if is_over and is_over() then return true end
  end
  return not is_over
end

local function is_given_up(plan)
  return plan.on_tick and not plan.on_tick()
end

-- An election that nobody leads; and whether there are any.
local function who_is_not_led()
  local found
  local elections = sim.elections()
  for name, is_led in pairs(elections) do
    if not is_led and (not found or name < found) then found = name end
  end
  return found, next(elections) ~= nil
end

local function who_is_up(n)
  for index = 1, n do
    if (sim.is_up(index)) then return index end
  end
  return nil
end

-- Every election is led, and has been for a while; where there are none, the programs have time to end.
local function recover(plan, own)
  local since
  local bound = RECOVERY_S + 4 * plan.ttl
  local ok = pass(plan, bound, function() own:tick() end, function()
    local not_led, has_elections = who_is_not_led()
    if not has_elections then return not who_is_up(#plan.names) end
    since = not not_led and (since or sim.now()) or nil
    return since and sim.now() - since >= LED_S
  end)
  local name = not ok and not is_given_up(plan) and who_is_not_led()
  if name then sim.fail(("nobody leads %s, %d s after the last fault"):format(name, bound)) end
  return not name and not is_given_up(plan)
end

local function stop_all(plan, n)
  for index = 1, n do
    sim.signal(index)
  end
  return pass(plan, plan.stop_s, nil, function() return not who_is_up(n) end)
end

local function run(plan)
  plan.stop_s = math.ceil(STOP_S + 2 * plan.stop_timeout)
  local n, own = #plan.names, faults.new(plan.faults, #plan.names)
  for index = 1, n do
    sim.start(index)
  end
  if not pass(plan, CALM_S + sim.below(4)) then return end
  sim.phase "faults"
  own:begin()
  if not pass(plan, FAULTS_S + sim.below(MORE_FAULTS_S) + 2 * plan.ttl, function() own:tick() end) then return end
  sim.phase "recovery"
  own:finish()
  if not recover(plan, own) then return end
  sim.phase "stopping"
  if not stop_all(plan, n) then
    local index = not is_given_up(plan) and who_is_up(n)
    if index then
      sim.fail(("%s has not ended %d s after it was told to stop"):format(plan.names[index], plan.stop_s))
    end
    return
  end
  sim.phase "end"
  sim.look()
end

--- Runs a seed. `on_event(at, who, kind, text)`, if given, is called with everything that happens.
---@return table result seed, seconds, verdict (nil: nothing went wrong), reason, culprit, and counts
function history.run(plan, seed, on_event)
  sim.begin(seed, on_event)
  run(plan)
  local verdict, reason, culprit, counts = sim.result()
  local result = { seed = seed, seconds = sim.now(), verdict = verdict, reason = reason, culprit = culprit }
  for name, count in pairs(counts) do
    result[name] = count
  end
  sim.finish()
  return result
end

return history
