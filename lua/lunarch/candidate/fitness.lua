-- Fitness: whether a candidate may stand, and whether a leader may go on.
--
-- Two checks say so, handlers that the user may give: may_stand() counts before the candidate stands and while it waits
-- in the line; health() counts at all times, also while it leads. An unfit candidate leaves the line and keeps its
-- session; an unhealthy leader steps down.
--
-- A *checker*, a task beside the driver, calls them once per period, and at once when the driver is about to stand. A
-- *timekeeper* interrupts a check that takes too long; where that does not end it, the checker is abandoned, and
-- another begins. So a check that hangs holds up nothing; and no task is begun per check, which nginx would keep in
-- memory.
local args = require "lunarch.internal.args"
local each = require "lunarch.internal.each"
local handlers = require "lunarch.candidate.handlers"
local known = require "lunarch.candidate.options"
local tasks = require "lunarch.candidate.tasks"

args.is_ours()

local fitness = {}

local INTERVAL_S, FAILURES = 5, 3
local INSIST_S = 1           -- how long an interrupted check is waited for

local NUDGE = setmetatable({}, { __tostring = function() return "the checks are wanted now" end })

-- The checker goes on, unless it was told to end.
local function calm(candidate)
  local interruption = candidate.checker.interruption
  if interruption and interruption.err ~= tasks.STOP then candidate.checker:allow() end
end

local function too_late(name, seconds)
  return ("%s has not answered within %g s"):format(name, seconds)
end

--- What is known of a candidate's fitness.
function fitness.new(options)
  local interval = options.health_interval or INTERVAL_S
  return {
    interval = interval, timeout = options.health_timeout or interval, failures = options.health_failures or FAILURES,
    n_failed = 0, n_asked = 0, n_answered = 0,
  }
end

-- ---- commands ----------------------------------------------------------------------------------------------------

-- What a command says of itself, in a line.
local function words_of(result)
  local text = (result.stderr .. "\n" .. result.stdout):match "[^%s][^\n]*"
  local ending = result.signal and ("ended by signal %d"):format(result.signal)
    or ("exit status %d"):format(result.code)
  return text and ("%s (%s)"):format(text, ending) or ending
end

-- The command's own time is over before that of the check.
local TIME_OF_CHECK, KILL_OF_CHECK = 0.8, 0.1

local function run(command, timeout)
  local given = { timeout = TIME_OF_CHECK * timeout, kill_after = KILL_OF_CHECK * timeout }
  for name, value in each(command) do
    given[name] = value
  end
  local result, message = require "lunarch".exec(given)
  if not result then return nil, message end
  if result.code == 0 then return true end
  return nil, words_of(result)
end

--- A check as a function: a command (see lunarch.exec) is content when its exit status is 0. Raises what is wrong with
--- its options.
---@param name string the check's
---@param options table the candidate's
function fitness.callable(name, options)
  local check = options[name]
  if not known.is_command(check) then return check end
  require("lunarch.exec").parse(("lunarch.candidate: '%s'"):format(name), check)
  local timeout = fitness.new(options).timeout
  return function() return run(check, timeout) end
end

local function has_checks(candidate)
  return candidate.handlers.health ~= nil or candidate.handlers.may_stand ~= nil
end

-- ---- the verdicts ------------------------------------------------------------------------------------------------

-- So many failures in a row make it unhealthy; one success makes it healthy. Before the first it is not.
local function judge_health(own, why)
  own.sick_why = why
  if not why then
    own.n_failed, own.is_healthy = 0, true
    return
  end
  own.n_failed = own.n_failed + 1
  if own.n_failed >= own.failures then own.is_healthy = false end
end

local function judge(candidate, name, why)
  local own = candidate.fitness
  if name == "health" then judge_health(own, why) else own.barred_why = why end
  if not why then
    candidate.log.debug("%s says yes", name)
  elseif name == "health" then
    candidate.log.debug("%s (%d in a row; %d make it unhealthy)", why, own.n_failed, own.failures)
  else
    candidate.log.debug("%s", why)
  end
end

--- Why the candidate must not stand, as far as is known, or nil.
function fitness.obstacle(candidate)
  local own = candidate.fitness
  if own.is_paused then return "it is paused" end
  if candidate.line_pause then return candidate.line_pause end
  if candidate.handlers.health and not own.is_healthy then return own.sick_why or "health has not answered yet" end
  return candidate.handlers.may_stand and own.barred_why or nil
end

-- What follows from them.
local function react(candidate)
  local own, state = candidate.fitness, candidate.state
  if state == "leading" then
    if not candidate.handlers.health or own.is_healthy ~= false or candidate.over then return end
    candidate.log.error("steps down: %s (%d times in a row)", own.sick_why, own.n_failed)
    candidate:_step_down "unhealthy"
  elseif own.is_awaited or state == "standing" and fitness.obstacle(candidate) then
    candidate:_look_anew()
  end
end

-- ---- the checker -------------------------------------------------------------------------------------------------

local function answer_of(check)
  local is_good, why = check()
  return { is_good = is_good, why = why }
end

local function trouble_in(name, ok, answer)
  if not ok then return ("%s failed: %s"):format(name, answer.text) end
  if answer.is_good then return nil end
  return ("%s says no%s"):format(name, answer.why ~= nil and ": " .. args.error_text(answer.why) or "")
end

-- Calls a check, and judges its answer.
local function call(candidate, name)
  local own = candidate.fitness
  own.calling, own.due_at, own.is_late = name, candidate.lunarch.now() + own.timeout, false
  local ok, answer = handlers.attempt(candidate, name, answer_of, candidate.handlers[name])
  own.calling, own.due_at = nil, nil
  if not ok and handlers.is_told_to_end(answer.err) then
    if answer.is_failure then candidate.log.warn("%s failed while it was told to end: %s", name, answer.text) end
    error(answer.err, 0)
  end
  if own.is_late then calm(candidate) end
  judge(candidate, name, own.is_late and too_late(name, own.timeout) or trouble_in(name, ok, answer))
end

local function look(candidate)
  local is_leading = candidate.state == "leading"
  if candidate.stopping or candidate.fitness.is_paused and not is_leading then return end
  if candidate.handlers.health then call(candidate, "health") end
  if candidate.handlers.may_stand and not is_leading then call(candidate, "may_stand") end
end

-- A period; the driver may end it.
local function wait(candidate)
  local own = candidate.fitness
  own.is_idle = true
  local ok, err = pcall(candidate.lunarch.sleep, own.interval)
  own.is_idle = false
  if not ok and err ~= NUDGE then error(err, 0) end
  calm(candidate)
end

local function check(candidate)
  local own = candidate.fitness
  while true do
    local n_asked = own.n_asked
    look(candidate)
    own.n_answered = n_asked
    react(candidate)
    if own.n_asked == n_asked then wait(candidate) end
  end
end

-- ---- the timekeeper ----------------------------------------------------------------------------------------------

local function start_checker(candidate)
  candidate.fitness.is_idle = false
  candidate.checker = tasks.keep(candidate, check)
end

-- A check is late: it is interrupted, and abandoned if it does not end by that.
local function expire(candidate)
  local own, checker = candidate.fitness, candidate.checker
  local name, due_at = own.calling, own.due_at
  own.is_late = true
  checker:interrupt(handlers.check_error(too_late(name, own.timeout)))
  candidate.lunarch.sleep(math.min(INSIST_S, own.timeout))
  if own.due_at ~= due_at then return end
  candidate.log.error("%s does not end: it is not resumed any more", name)
  checker:abandon()
  own.calling, own.due_at = nil, nil
  judge(candidate, name, too_late(name, own.timeout))
  own.n_answered = own.n_asked
  react(candidate)
  start_checker(candidate)
end

local function keep_time(candidate)
  local own = candidate.fitness
  while true do
    local rest_s = own.due_at and own.due_at - candidate.lunarch.now() or own.timeout
    if rest_s > 0 then candidate.lunarch.sleep(rest_s) else expire(candidate) end
  end
end

--- Checks as long as the candidate runs, where there is a check.
function fitness.start(candidate)
  if not has_checks(candidate) then return end
  start_checker(candidate)
  candidate.timekeeper = tasks.keep(candidate, keep_time)
end

function fitness.stop(candidate)
  tasks.dismiss(candidate.timekeeper)
  tasks.dismiss(candidate.checker)
end

-- ---- the driver --------------------------------------------------------------------------------------------------

local function is_held(candidate)
  return candidate.fitness.is_paused or candidate.line_pause ~= nil
end

local function must_go(candidate)
  return candidate.stopping or candidate:_is_session_over()
end

-- Until the driver is interrupted, or the state of its session changes.
local function rest(candidate)
  local session = candidate.session
  candidate:_pause(session.await, session, (session:state()))
end

-- Waits until the checks were called after this: at once, or when they are due.
local function await_checks(candidate, is_at_once)
  local own = candidate.fitness
  own.n_asked = own.n_asked + 1
  own.is_awaited = true
  if is_at_once and own.is_idle then candidate.checker:interrupt(NUDGE) end
  while own.n_answered < own.n_asked and not is_held(candidate) and not must_go(candidate) do
    rest(candidate)
  end
  own.is_awaited = false
end

-- Said when it begins, and when another reason comes.
local function say_unfit(candidate, why)
  local own = candidate.fitness
  local kind = why:match "^[%w_]+ %w+" or why
  if own.said == kind then return end
  own.said = kind
  candidate.log.warn("does not stand in %s: %s", candidate.election_name, why)
end

local function say_fit(candidate)
  if not candidate.fitness.said then return end
  candidate.fitness.said = nil
  candidate.log.info("stands again in %s", candidate.election_name)
end

--- Returns true once the candidate is fit, false when it is being stopped, or its session is over. Waits; for the
--- driver, before it stands.
function fitness.admit(candidate)
  local is_at_once = true
  while not must_go(candidate) do
    if has_checks(candidate) and not is_held(candidate) then await_checks(candidate, is_at_once) end
    if must_go(candidate) then break end
    local why = fitness.obstacle(candidate)
    if not why then
      say_fit(candidate)
      return true
    end
    say_unfit(candidate, why)
    candidate:_enter "unfit"
    is_at_once = is_held(candidate)
    if is_at_once then rest(candidate) end
  end
  return false
end

--- candidate:pause() and resume().
function fitness.pause(candidate, is_paused)
  local own = candidate.fitness
  if own.is_paused == is_paused then return end
  own.is_paused = is_paused
  candidate.log.debug("%s: %s by its program", candidate.election_name, is_paused and "paused" or "resumed")
  if own.is_awaited or candidate.state == "standing" or candidate.state == "unfit" then candidate:_look_anew() end
end

return fitness
