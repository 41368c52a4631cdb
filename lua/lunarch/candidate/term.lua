-- A term, from being elected to having given the place up.
--
-- A *worker* calls on_elected and do_work, a *watcher* waits for the loss of the term, and on_lost has a task of its
-- own. A term ends for one reason, the first that comes (candidate.over): lost, as the session says; "stopping";
-- "resigned"; "error"; "exit"; "unhealthy"; "handed_over". What finds it interrupts the worker; the driver, which waits
-- for the worker's end, calls on_lost, and only then gives the place up. The clock is read before each call of a
-- handler, and at the beginning and end of every wait of the worker. A worker that does not end is abandoned
-- (overdue.lua): on_lost follows in any case.
local args = require "lunarch.internal.args"
local block = require "lunarch.loop.block"
local failures = require "lunarch.candidate.failures"
local fitness = require "lunarch.candidate.fitness"
local follow = require "lunarch.candidate.follow"
local handlers = require "lunarch.candidate.handlers"
local loop = require "lunarch.loop"
local overdue = require "lunarch.candidate.overdue"
local requests = require "lunarch.candidate.requests"
local tasks = require "lunarch.candidate.tasks"

args.is_ours()

local terms = {}

local unpack = table.unpack or unpack
local pack = table.pack or function(...) return { n = select("#", ...), ... } end

local RESIGN_S = 3           -- afterwards it goes on in the background
local SILENT_S = 1           -- an etcd that is there would have answered
local INSIST_S = 1           -- how long an interrupted on_lost is waited for
local HANDED_OVER_S = 0.05   -- the next one is in the line already
local LONG_TERM_S = 30       -- a term that lasted longer ends a row of failures
local LOOK_S = 1             -- between looks whether there is a do_work
local HEAR_S = 0.001         -- a turn of the loop: what has come is heard

-- A term that a handler gave up is over as "closed" for its session.
local function reason_of(term)
  local reason = term.reason or "expired"
  return reason == "closed" and "resigned" or reason
end

-- ---- the work ---------------------------------------------------------------------------------------------------

-- A handler's task that was told to end.
local function oversee(candidate, term, task, name_of, is_work)
  return overdue.start(candidate, {
    task = task, term = term, name = name_of, abandon = is_work, patience_s = candidate.stop_timeout,
    reason = function() return candidate.over end, is_lost = function() return term:remaining() <= 0 end,
  })
end

-- The first reason counts.
local function set_over(candidate, reason)
  if candidate.over then return end
  candidate.over = reason
  candidate.log.debug("the work of the term has to end: %s", reason)
  candidate.report.over(reason)
end

--- Ends the work of the present term; the first reason counts.
function terms.stop(candidate, reason)
  local worker = candidate.worker
  if not worker then return end
  if not candidate.over then
    set_over(candidate, reason)
    worker:interrupt(handlers.lost_error(reason))
  end
  if candidate.overseer then return end
  candidate.overseer = oversee(candidate, candidate.term, worker, function() return candidate.working end, true)
end

-- Asked at the beginning and end of every wait of the worker: an error to raise, or nil.
local function guard(candidate, term)
  if not candidate.over and term:remaining() <= 0 then set_over(candidate, reason_of(term)) end
  return candidate.over and handlers.lost_error(candidate.over)
end

-- Made by a function that returns: see loop.unless_ended.
local function guard_of(candidate, term)
  return function() return guard(candidate, term) end
end

-- The first call of a term: from here on on_lost will follow.
local function enter(candidate)
  if candidate.is_entered then return end
  candidate.is_entered = true
  candidate.report.entered()
  follow.enter(candidate)
  requests.look(candidate)
end

-- A handler has failed: what ends the term has perhaps come before, and waits to be heard.
local function hear(candidate, err)
  pcall(candidate.lunarch.sleep, HEAR_S)
  if handlers.is_told_to_end(err) then candidate:stop() end
end

-- Calls a handler inside the term. False: the work is over.
local function call(candidate, name, term)
  local handler = candidate.handlers[name]
  if guard(candidate, term) then return false end
  enter(candidate)
  if not handler then return true end
  candidate.working = name
  local ok, result = handlers.attempt(candidate, name, handler, term)
  if not ok and not candidate.over then hear(candidate, result.err) end
  if guard(candidate, term) then
    if not ok and result.is_failure then
      candidate.log.warn("%s failed while it was told to stop (%s): %s", name, candidate.over, result.text)
    end
    return false
  elseif not ok then
    set_over(candidate, "error")
    candidate.log.error("%s failed: %s", name, result.text)
    return false
  end
  return true, result
end

local function work(candidate, term)
  if not call(candidate, "on_elected", term) then return end
  candidate.report.ready()
  while true do
    -- One may come with a script that is loaded anew.
    while not candidate.handlers.do_work do
      candidate.lunarch.sleep(LOOK_S)
    end
    local ok, result = call(candidate, "do_work", term)
    if not ok then return end
    if result == false then
      set_over(candidate, "resigned")
      return
    end
    local seconds = handlers.pause_after(result, candidate.interval)
    if not seconds then
      set_over(candidate, "error")
      candidate.log.error(
        "do_work returned %s: it has to be the seconds to its next call, nothing, or false to resign",
        args.describe(result))
      return
    end
    candidate.lunarch.sleep(seconds)
  end
end

-- ---- beside the work --------------------------------------------------------------------------------------------

local function watch_term(candidate, term)
  term:await_loss()
  terms.stop(candidate, reason_of(term))
end

local function watch_session(candidate, session)
  local state = "alive"
  while true do
    state = session:await(state)
    candidate.log.debug("the session is %s", state)
    if state == "jeopardy" then
      local left_s = session:remaining()
      if left_s > 0 then
        candidate.log.warn("etcd has not answered for half a TTL; safe for %.1f s more", left_s)
      end
      handlers.tell(candidate, "on_jeopardy", candidate.term)
    elseif state == "alive" then
      candidate.log.info "etcd answers again"
      handlers.tell(candidate, "on_safe", candidate.term)
    else
      return
    end
  end
end

-- ---- from the beginning to the end ------------------------------------------------------------------------------

-- Waits for a task of ours. What interrupts the driver itself (lunarch.run does so with all tasks when its main task
-- fails) has us stop, in order all the same. Ctrl-C, which LuaJIT raises in whatever runs, goes to the main program,
-- too.
local function join(candidate, task, timeout)
  local results = pack(pcall(task.join, task, timeout))
  if results[1] then return unpack(results, 2, results.n) end
  loop.pass_on(results[2])
  candidate.driver:allow()
  candidate:stop()
  return join(candidate, task, timeout)
end

-- Runs the work to its end, whatever ends it.
local function serve(candidate, session, term)
  local worker = tasks.spawn(candidate, work, term)
  worker:guard(guard_of(candidate, term))
  -- What they run (lunarch.exec) ends with the session.
  worker.bound = { session = session }
  candidate.worker, candidate.overseer, candidate.working = worker, nil, "on_elected"
  local watcher = tasks.keep(candidate, watch_term, term)
  local session_watcher = tasks.keep(candidate, watch_session, session)
  session_watcher.bound = worker.bound
  -- stop() came between the last look and the worker's birth.
  if candidate.stopping then terms.stop(candidate, candidate.stopping) end
  local ok, trace, err = join(candidate, worker)
  if ok == false and handlers.is_told_to_end(err, worker) then
    -- The program interrupts all its tasks, this one before the driver.
    candidate:stop()
  elseif ok == false and not handlers.is_lost_error(err) then
    set_over(candidate, "error")
    candidate.log.error("the work failed: %s", trace)
  end
  -- The clock spoke first; by now the session may know why.
  if candidate.over == "expired" then candidate.over = reason_of(term) end
  set_over(candidate, "error")
  candidate.worker = nil
  tasks.dismiss(candidate.overseer)
  tasks.dismiss(watcher)
  tasks.dismiss(session_watcher)
end

local function on_lost() return "on_lost" end

local function tell_loss(candidate, term)
  candidate.loses = true
  handlers.tell(candidate, "on_lost", term, candidate.over)
  candidate.loses, candidate.is_entered = false, false
end

-- on_lost is given its time, then interrupted at every wait. One that goes on all the same is abandoned, and the place
-- left until the deadline takes it: what on_lost had to undo may still be there. False then.
local function lose(candidate, session, term)
  local task = tasks.spawn(candidate, tell_loss, term)
  task.bound = { session = session, is_after = true }
  task.ends_by_itself = true
  candidate.loser = task
  local overseer = candidate.handlers.on_lost and oversee(candidate, term, task, on_lost, false)
  local has_ended = join(candidate, task, candidate.stop_timeout) ~= nil
  if not has_ended then
    candidate.log.warn("on_lost has not ended within %g s: interrupting it", candidate.stop_timeout)
    task:interrupt(handlers.late_error())
    has_ended = join(candidate, task, INSIST_S) ~= nil
  end
  if not has_ended then
    candidate.log.error "on_lost does not end: it is not resumed any more, and the place lapses with its lease"
    session:orphan()
    task:abandon()
  end
  candidate.is_entered, candidate.loser, candidate.loses = false, nil, nil
  tasks.dismiss(overseer)
  return has_ended
end

local function resign(candidate, term)
  local asked_at = candidate.lunarch.now()
  local ok, message, code = term:resign(RESIGN_S)
  candidate.is_silent = candidate.lunarch.now() - asked_at > SILENT_S
  candidate.log.debug("the place was given up: %s", ok and "etcd has answered" or message)
  if not ok and code ~= "lost" and code ~= "closed" then
    candidate.log.warn("giving the place up: %s", message)
  end
end

-- Why etcd does not renew the session any more, where it is etcd's users that keep it from that.
local function say_refusal(candidate, session)
  local _, _, refusal = session:state()
  if refusal then candidate.log.error("the term ends: %s: %s", candidate.over, refusal) end
end

--- From being elected to having given the place up. Waits. The seconds until we stand again, and whether they are there
--- so that others go first; nil: the session is given up.
function terms.lead(candidate, session, term)
  if not follow.end_standby(candidate) then
    candidate.log.error "do_standby does not end: the place is given up, so that others go first"
    term:resign(RESIGN_S)
    return candidate.stand_backoff:next(), true
  end
  requests.await(candidate)
  -- Not entered, so there is nothing to be told as lost.
  local obstacle = candidate.stopping or term:remaining() <= 0 and "its time is over" or fitness.obstacle(candidate)
  if obstacle then
    candidate.log.debug("elected in %s, and gives the place up at once: %s", candidate.election_name, obstacle)
    term:resign(RESIGN_S)
    return candidate.connect_backoff:next()
  end
  candidate.term, candidate.over, candidate.is_entered = term, nil, false
  term._is_driven = true
  candidate:_enter "leading"
  candidate.report.elected(term)
  candidate.log.debug("elected in %s, token %d; %.2f s until it has to stop unless etcd renews the lease",
    candidate.election_name, term.token, term:remaining())
  local began_at = candidate.lunarch.now()
  serve(candidate, session, term)
  candidate:_enter "stepping down"
  -- on_lost is called only where on_elected was entered.
  say_refusal(candidate, session)
  local is_ours_to_give = not candidate.is_entered or lose(candidate, session, term)
  local reason = candidate.over
  candidate.term, candidate.over = nil, nil
  requests.look(candidate)
  follow.forget(candidate)
  if is_ours_to_give then resign(candidate, term) end
  candidate.report.left(reason)
  if not is_ours_to_give then return nil end
  local was_long = candidate.lunarch.now() - began_at > LONG_TERM_S
  if was_long then candidate.stand_backoff:reset() end
  if reason == "error" then return failures.pause(candidate, session, was_long), true end
  if reason == "handed_over" then return HANDED_OVER_S end
  if reason == "resigned" or reason == "unhealthy" then return candidate.stand_backoff:next(), true end
  return candidate.connect_backoff:next()
end

--- The driver has failed in the middle of a term: the work is ended, on_lost is called if it was not, and the place is
--- given up. May be called again if it fails itself.
function terms.recover(candidate)
  local term = candidate.term
  if not term then return end
  terms.stop(candidate, "error")
  if candidate.worker then join(candidate, candidate.worker) end
  candidate.worker = nil
  set_over(candidate, "error")
  if candidate.loser then
    join(candidate, candidate.loser, candidate.stop_timeout)
    candidate.loser:abandon()
  elseif candidate.is_entered then
    lose(candidate, candidate.session, term)
  end
  candidate.is_entered, candidate.loser, candidate.loses, candidate.term = false, nil, nil, nil
  requests.look(candidate)
  resign(candidate, term)
  candidate.report.left(candidate.over)
end

--- The rest of the term where no task goes on any more (lunarch.loop.ending): every wait blocks. rest(seconds): as many
--- of these as are left after on_lost.
function terms.finish(candidate, reason, rest)
  local term = candidate.term
  if not term then return end
  if candidate.loses then
    candidate.log.error "the program ends, and on_lost does not go on: the place lapses with its lease"
    candidate.session:orphan()
    candidate.report.left(candidate.over)
    return
  end
  if candidate.is_entered then
    block.limit(candidate.stop_timeout, handlers.late_error())
    set_over(candidate, reason)
    tell_loss(candidate, term)
    block.limit(nil)
  end
  candidate.term = nil
  term:resign(rest(RESIGN_S))
  candidate.report.left(candidate.over or reason)
end

return terms
