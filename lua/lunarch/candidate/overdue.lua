-- Reports a handler of a term that goes on although it was told to end: how long the place is still ours, and when it
-- may be another's. Work is abandoned then: it is not resumed any more, so that on_lost can be called.
local tasks = require "lunarch.candidate.tasks"

require "lunarch.internal.args".is_ours()

local overdue = {}

local SOON_S = 0.25          -- a handler that ends within that time after the end of its term is not talked about
local SOON_OF_REST = 0.25    -- but no more than this part of what is left
local LONG_S = 1             -- the same, where the term could go on
local LOOK_S = 0.25

-- How long a handler is given before it is talked about.
local function soon_for(overseen, rest_s)
  if not overseen.is_lost() then return LONG_S end
  return rest_s == 0 and SOON_S or math.min(SOON_S, rest_s * SOON_OF_REST)
end

local function rest_of(term, now)
  return math.max(0, (term.valid_until or now) - now)
end

local function say_that_it_goes_on(candidate, overseen, rest_s)
  local name, log = overseen.name(), candidate.log
  if rest_s == 0 then return end
  if overseen.is_lost() then
    if candidate.report.may_say "goes on" == false then return end
    log.warn("%s goes on after the end of its term (%s): %.1f s until the place may be another's", name,
      overseen.reason(), rest_s)
  elseif overseen.abandon then
    log.warn("%s goes on though it was told to stop (%s): waiting for it, %g s at most", name, overseen.reason(),
      overseen.patience_s)
  end
end

local function abandon(candidate, overseen, why)
  candidate.log.error("%s %s: it is not resumed any more", overseen.name(), why)
  overseen.task:abandon()
end

-- Sees to one task until it has ended.
local function oversee(candidate, overseen)
  local now, task, term = candidate.lunarch.now, overseen.task, overseen.term
  local patience_until = now() + overseen.patience_s
  local lost_for_s = rest_of(term, now()) == 0 and LONG_S or 0
  local lapsed_at
  candidate.lunarch.sleep(math.min(soon_for(overseen, rest_of(term, now())), overseen.patience_s))
  if not task:is_running() then return end
  say_that_it_goes_on(candidate, overseen, rest_of(term, now()))
  while task:is_running() do
    local rest_s = rest_of(term, now())
    if rest_s == 0 and not lapsed_at then
      lapsed_at = now()
      if candidate.report.may_say "lapsed" ~= false then
        candidate.log.error("%s still goes on: another may lead now", overseen.name())
      end
    end
    if overseen.abandon and lapsed_at and now() >= lapsed_at + lost_for_s then
      return abandon(candidate, overseen, "did not end with its term")
    elseif overseen.abandon and now() >= patience_until then
      return abandon(candidate, overseen,
        ("has not ended %g s after it was told to (%s)"):format(overseen.patience_s, overseen.reason()))
    end
    candidate.lunarch.sleep(math.min(LOOK_S, lapsed_at and LOOK_S or rest_s, math.max(patience_until - now(), 0.01)))
  end
end

--- Oversees a task that was told to end. `overseen`: task, term, name() of the handler, reason() that it was told,
--- is_lost() - whether the term has ended by itself - patience_s, and abandon, whether it is abandoned in the end.
function overdue.start(candidate, overseen)
  return tasks.spawn(candidate, oversee, overseen)
end

return overdue
