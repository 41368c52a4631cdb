-- Drives the handlers of a candidate: the one place where on_elected, do_work and on_lost are called.
--
--   connect > session > stand > (elected) > on_elected > do_work ... > on_lost > resign > stand ...
--
-- Tasks. The *driver* walks along the line above. During a term a *worker* calls on_elected and do_work, a *watcher*
-- waits for the loss of the term, and on_lost has a task of its own. Beside them a *follower* tells on_leader, and one
-- more task calls do_standby while we do not lead.
--
-- A term ends for one reason, the first that comes (self.over): lost, as the session says; "stopping"; "resigned";
-- "error". Whoever finds it interrupts the worker; the driver, which waits for the worker's end, calls on_lost, and
-- only then gives the place up. The clock is read before each call of a handler, and at the beginning and end of every
-- wait of the worker.
local args = require "lunarch.args"
local candidacy = require "lunarch.candidacy"

args.is_ours()

local unpack = table.unpack or unpack
local pack = table.pack or function(...) return { n = select("#", ...), ... } end

local DEFAULT_TTL_S = 10
local CONNECT_S = 3          -- one attempt to get a session
local RESIGN_S = 3           -- afterwards it goes on in the background
local SILENT_S = 1           -- an etcd that is there would have answered
local CLOSE_S = 2
local INSIST_S = 1           -- how long an interrupted handler outside of the work is waited for
local LONG_TERM_S = 30       -- a term that lasted longer ends a row of failures
local LONGEST_PAUSE_S = 1e9
local STOOD_STILL_TTLS = 3
local SAY_AGAIN_S = 60

-- What stops the driver's own waits.
local STOP = setmetatable({}, { __tostring = function() return "the candidate is being stopped" end })

-- What makes the driver leave work behind that does not end.
local LEAVE = setmetatable({}, { __tostring = function() return "the work does not end" end })

local HANDLERS = {
  on_elected = args.callable, do_work = args.callable, on_lost = args.callable, on_leader = args.callable,
  do_standby = args.callable, on_jeopardy = args.callable, on_safe = args.callable,
}

local SETTINGS = {
  election = args.name, name = args.who, value = args.string, ttl = args.ttl, grace = args.seconds,
  interval = args.seconds, stop_timeout = args.seconds, endpoints = args.endpoints,
}

local LEVELS = { "info", "warn", "error" }

local OPTIONS = {
  client = function(call, name, value)
    if type(value) ~= "table" and type(value) ~= "userdata" then args.bad(call, name, "a client", value) end
  end,
  log = function(call, name, value)
    for _, level in ipairs(LEVELS) do
      if type(value) ~= "table" or not pcall(args.callable, call, level, value[level]) then
        args.bad(call, name, "a table of functions: info, warn, error", value)
      end
    end
  end,
}
for _, group in ipairs { HANDLERS, SETTINGS } do
  for name, check in pairs(group) do
    OPTIONS[name] = check
  end
end

local methods = {}
local Candidate, check_self = args.class("candidate", methods)

-- Which candidate a handler belongs to, by its coroutine: for the log.
local owners = setmetatable({}, { __mode = "k" })

-- ---- small things -----------------------------------------------------------------------------------------------

local Lost = { __name = "lunarch.lost", __tostring = function(self) return self.message end }

-- What the waits of a term raise once it is over.
local function lost_error(reason)
  return setmetatable({ code = "lost", reason = reason, message = "the term is over: " .. reason }, Lost)
end

local function is_lost_error(err)
  return type(err) == "table" and getmetatable(err) == Lost
end

-- The traceback as far as it is the handler's.
local function describe(err)
  local trace = debug.traceback(args.error_text(err), 2):gsub("\n%s*%[C%]: in function 'xpcall'.*", "")
  return { err = err, text = args.without_ours(trace) }
end

-- Calls a handler: true and what it returned, or false and what describe made of its error.
local function attempt(handler, ...)
  local ok, result = xpcall(handler, describe, ...)
  -- Lua asks nobody for a description where memory is lacking.
  if not ok and type(result) ~= "table" then result = { err = result, text = args.error_text(result) } end
  return ok, result
end

local Backoff = {}
Backoff.__index = Backoff

local function new_backoff(first_s, most_s)
  return setmetatable({ first_s = first_s, most_s = most_s, n = 0 }, Backoff)
end

-- Between half of it and all of it, so that those who failed together do not come back together.
function Backoff:next()
  local full = math.min(self.most_s, self.first_s * 2 ^ self.n)
  self.n = self.n + 1
  return full * (0.5 + 0.5 * math.random())
end

function Backoff:reset()
  self.n = 0
end

local function stderr_log(name)
  local log = {}
  for _, level in ipairs(LEVELS) do
    log[level] = function(format, ...)
      if level == "info" then return end
      local text = select("#", ...) > 0 and format:format(...) or format
      io.stderr:write(("lunarch: %s: %s: %s\n"):format(name, level, text))
    end
  end
  return log
end

-- ---- making and stopping ----------------------------------------------------------------------------------------

local function new(_, options)
  options = args.options("lunarch.candidate", options, OPTIONS)
  candidacy.check("lunarch.candidate", options, "/services/billing")
  local ttl = options.ttl or DEFAULT_TTL_S
  if options.grace and options.grace > ttl / 2 then
    args.misuse("lunarch.candidate: 'grace' must be at most half the ttl of %d s, not %g", ttl, options.grace)
  end
  local self = { handlers = {}, options = options, state = "new", complaints = {} }
  for name in pairs(HANDLERS) do
    self.handlers[name] = options[name]
  end
  if not self.handlers.on_elected and not self.handlers.do_work then
    args.misuse "lunarch.candidate: neither 'on_elected' nor 'do_work' is given: there is nothing to do when elected"
  end
  self.election_name = options.election
  self.name = options.name or options.value or "candidate"
  self.value = options.value or self.name
  self.interval = options.interval or 1
  self.stop_timeout = options.stop_timeout or 10
  self.log = options.log or stderr_log(self.name)
  self.connect_backoff = new_backoff(0.25, 5)
  self.stand_backoff = new_backoff(1, 30)
  return setmetatable(self, Candidate)
end

function Candidate.__tostring(self)
  return ("lunarch.candidate: %s in %s (%s)"):format(self.name, self.election_name, self.state)
end

--- Stops the work, calls on_lost, gives the place up and lets run() return. Does not wait; may be called from anywhere.
function methods:stop(reason)
  check_self(self, "stop")
  if reason ~= nil then args.text("candidate:stop", "reason", reason) end
  if self.stopping then return end
  self.stopping = reason or "stopping"
  if self.worker then
    self:_end_term(self.stopping)
  elseif self.is_pausing then
    self.driver:interrupt(STOP)
  end
end

-- One wait of the driver that stop() ends: nil, message, "cancelled" then.
function methods:_pause(fn, ...)
  if not self.stopping then
    self.is_pausing = true
    local results = pack(pcall(fn, ...))
    self.is_pausing = false
    self.driver:allow()
    if results[1] then return unpack(results, 2, results.n) end
    if results[2] ~= STOP then error(results[2], 0) end
  end
  return nil, tostring(STOP), "cancelled"
end

function methods:_sleep(seconds)
  return self:_pause(self.lunarch.sleep, seconds)
end

-- A spawned task in which the log knows whose it is.
function methods:_spawn(method, ...)
  return self.lunarch.spawn(function(...)
    owners[coroutine.running()] = self
    return method(self, ...)
  end, ...)
end

-- ---- handlers ---------------------------------------------------------------------------------------------------

-- Calls a handler that is no part of a term's work: its error is told, and nothing else.
function methods:_tell(name, ...)
  local handler = self.handlers[name]
  if not handler then return true end
  self.last_handler = name
  local ok, result = attempt(handler, ...)
  if ok then return true, result end
  if result.err ~= STOP then self.log.error("%s failed: %s", name, result.text) end
  return false
end

-- Ends the work of the present term; the first reason counts.
function methods:_end_term(reason)
  if not self.worker then return end
  self.insister = self.insister or self:_spawn(methods._insist)
  if self.over then return end
  self.over = reason
  self.worker:interrupt(lost_error(reason))
end

-- Work that goes on although it is over keeps the place until the deadline takes it: nothing may overlap with it, not
-- even on_lost. Only who stops for good does not wait for it.
function methods:_insist()
  local worker = self.worker
  self.lunarch.sleep(self.stop_timeout)
  if not worker:is_running() then return end
  self.log.error("%s has not ended %g s after it was told to (%s): the place is left to lapse with its lease",
    self.last_handler, self.stop_timeout, self.over)
  self.session:orphan()
  while not self.stopping do
    self.lunarch.sleep(INSIST_S)
  end
  if worker:is_running() then self.driver:interrupt(LEAVE) end
end

-- A term that a handler gave up is over as "closed" for its session.
local function reason_of(term)
  local reason = term.reason or "expired"
  return reason == "closed" and "resigned" or reason
end

-- Asked at the beginning and end of every wait of the worker: an error to raise, or nil.
function methods:_guard(term)
  if not self.over and term:remaining() <= 0 then self.over = reason_of(term) end
  return self.over and lost_error(self.over)
end

-- Calls a handler inside the term. False: the work is over.
function methods:_call(name, term)
  local handler = self.handlers[name]
  if self:_guard(term) then return false end
  self.is_entered = true
  if not handler then return true end
  self.last_handler = name
  local ok, result = attempt(handler, term)
  if self.over then
    if not ok and not is_lost_error(result.err) then
      self.log.warn("%s failed while it was told to stop (%s): %s", name, self.over, result.text)
    end
    return false
  elseif not ok then
    self.over = "error"
    self.log.error("%s failed: %s", name, result.text)
    return false
  end
  return true, result
end

-- Seconds to the next call, from what do_work returned; nil: that was none.
local function pause_after(result, interval)
  if result == nil or result == true then return interval end
  if type(result) == "number" and result >= 0 and result <= LONGEST_PAUSE_S then return result end
  return nil
end

function methods:_work(term)
  if not self:_call("on_elected", term) then return end
  if not self.handlers.do_work then
    while self.lunarch.sleep(3600) do end
  end
  while true do
    local ok, result = self:_call("do_work", term)
    if not ok then return end
    if result == false then
      self.over = "resigned"
      return
    end
    local seconds = pause_after(result, self.interval)
    if not seconds then
      self.over = "error"
      self.log.error("do_work returned %s: it has to be the seconds to its next call, nothing, or false to resign",
        args.describe(result))
      return
    end
    self.lunarch.sleep(seconds)
  end
end

-- ---- a term -----------------------------------------------------------------------------------------------------

function methods:_watch_term(term)
  term:await_loss()
  self:_end_term(reason_of(term))
end

function methods:_watch_session(session)
  local state = "alive"
  while true do
    state = session:await(state)
    if state == "jeopardy" then
      local left_s = session:remaining()
      if left_s > 0 then self.log.warn("etcd has not answered for half a TTL; safe for %.1f s more", left_s) end
      self:_tell("on_jeopardy", self.term)
    elseif state == "alive" then
      self.log.info "etcd answers again"
      self:_tell("on_safe", self.term)
    else
      return
    end
  end
end

-- Ends a helper's task. False: the handler in it goes on all the same.
local function dismiss(task)
  if not task then return true end
  task:interrupt(STOP)
  return task:join(INSIST_S) ~= nil
end

-- Waits for a task of ours. Whoever interrupts the driver itself (lunarch.run does so with all when its main task
-- fails) has us stop, in order all the same.
function methods:_join(task)
  local results = pack(pcall(task.join, task))
  if results[1] then return unpack(results, 2, results.n) end
  self.driver:allow()
  if results[2] == LEAVE then return nil end
  self:stop()
  return self:_join(task)
end

-- Runs the work to its end, whatever ends it. False: it does not end, and we are to stop.
function methods:_serve_term(session, term)
  local worker = self:_spawn(methods._work, term)
  worker:guard(function() return self:_guard(term) end)
  self.worker, self.session, self.insister = worker, session, nil
  local watcher = self:_spawn(methods._watch_term, term)
  local session_watcher = self:_spawn(methods._watch_session, session)
  -- stop() came between the last look and the worker's birth.
  if self.stopping then self:_end_term(self.stopping) end
  local ok, trace, err = self:_join(worker)
  if ok == false and not is_lost_error(err) then
    self.over = self.over or "error"
    self.log.error("the work failed: %s", trace)
  end
  -- The clock spoke first; by now the session may know why.
  if self.over == "expired" then self.over = reason_of(term) end
  self.over = self.over or "error"
  self.worker = nil
  dismiss(self.insister)
  dismiss(watcher)
  dismiss(session_watcher)
  return ok ~= nil
end

-- on_lost is given its time, then interrupted at every wait. One that goes on all the same keeps the place until the
-- deadline takes it: the session is renewed no more.
function methods:_lose_term(session, term)
  local task = self:_spawn(methods._tell, "on_lost", term, self.over)
  if task:join(self.stop_timeout) ~= nil then return true end
  self.log.warn("on_lost has not ended within %g s: interrupting it", self.stop_timeout)
  task:interrupt(setmetatable({ code = "timeout", message = "on_lost took longer than its stop_timeout" }, Lost))
  if task:join(INSIST_S) ~= nil then return true end
  self.log.error("on_lost does not end: the place is left to lapse with its lease")
  session:orphan()
  if not self.stopping then task:join() end
  return false
end

-- From being elected to having given the place up. The seconds until we stand again, and whether they are there so that
-- others go first; nil: the session is given up.
function methods:_lead(session, term)
  if not self:_end_standby() then
    self.log.error "do_standby does not end: the place is given up, so that others go first"
    term:resign(RESIGN_S)
    return self.stand_backoff:next(), true
  end
  -- Not entered, so there is nothing to be told as lost.
  if self.stopping or term:remaining() <= 0 then
    term:resign(RESIGN_S)
    return self.connect_backoff:next()
  end
  self.state, self.term, self.over, self.is_entered = "leading", term, nil, false
  local began_at = self.lunarch.now()
  local has_ended = self:_serve_term(session, term)
  self.state = "stepping down"
  -- Who was not told of winning is not told of losing.
  local is_ours_to_give = has_ended and (not self.is_entered or self:_lose_term(session, term))
  local reason = self.over
  self.term, self.over = nil, nil
  if self.leader and self.leader.token == term.token then self.leader = nil end
  if not is_ours_to_give then return nil end
  local asked_at = self.lunarch.now()
  local ok, message, code = term:resign(RESIGN_S)
  self.is_silent = self.lunarch.now() - asked_at > SILENT_S
  if not ok and code ~= "lost" and code ~= "closed" then self.log.warn("giving the place up: %s", message) end
  if self.lunarch.now() - began_at > LONG_TERM_S then self.stand_backoff:reset() end
  if reason == "error" or reason == "resigned" then return self.stand_backoff:next(), true end
  return self.connect_backoff:next()
end

-- ---- following --------------------------------------------------------------------------------------------------

function methods:_follow()
  local backoff = new_backoff(0.25, 5)
  while true do
    local observer, message = self.client:observe(self.election_name)
    while observer do
      local leader
      leader, message = observer:next()
      if not leader then break end
      backoff:reset()
      leader.is_me = self.place ~= nil and leader.key == self.place
      self.leader = leader
      self:_tell("on_leader", leader)
      self:_start_standby()
    end
    if observer then observer:close() end
    local seconds = backoff:next()
    self:_complain("cannot tell who leads: " .. tostring(message), seconds)
    self.lunarch.sleep(seconds)
  end
end

function methods:_standby()
  local backoff = new_backoff(1, 30)
  while true do
    local ok, result = self:_tell("do_standby", self.leader)
    if ok then backoff:reset() end
    self.lunarch.sleep(ok and pause_after(result, self.interval) or backoff:next())
  end
end

-- do_standby needs to know of a leader, or that there is none, and stays away from a term.
function methods:_start_standby()
  if not self.handlers.do_standby or self.standby or not self.leader or self.is_elected or self.stopping then return end
  self.standby = self:_spawn(methods._standby)
end

function methods:_end_standby()
  local has_ended = dismiss(self.standby)
  if has_ended then self.standby = nil end
  return has_ended
end

-- ---- the driver -------------------------------------------------------------------------------------------------

-- A trouble that lasts is told when it begins, when it changes, and once a minute.
function methods:_complain(text, seconds)
  local now = self.lunarch.now()
  local said_at = self.complaints[text]
  if not said_at or now - said_at > SAY_AGAIN_S then
    self.complaints[text] = now
    self.log.warn("%s; trying again in %.1f s, and so on", text, seconds)
  end
end

function methods:_is_well()
  if not next(self.complaints) then return end
  self.complaints = {}
  self.log.info "etcd answers again"
end

local function names_of(endpoints)
  return type(endpoints) == "table" and table.concat(endpoints, ",") or endpoints or "etcd"
end

function methods:_open_session()
  self.state = "connecting"
  while not self.stopping do
    local session, message, code = self:_pause(self.client.session, self.client,
      { ttl = self.options.ttl, grace = self.options.grace }, CONNECT_S)
    if session then
      self:_is_well()
      self.connect_backoff:reset()
      return session
    end
    if code ~= "cancelled" then
      local seconds = self.connect_backoff:next()
      self:_complain(("no session with %s: %s%s"):format(names_of(self.client.endpoints), message, self.hint or ""),
        seconds)
      self:_sleep(seconds)
    end
  end
end

-- Stands again and again, as long as the session serves.
function methods:_stand(session)
  local election = assert(session:election(self.election_name))
  self.place = self.election_name .. "/" .. session.lease
  while not self.stopping do
    self.state, self.is_silent = "standing", nil
    local term, message, code = self:_pause(election.campaign, election, self.value)
    if term then
      self.is_elected = true
      local seconds, is_stepping_back = self:_lead(session, term)
      self.is_elected = false
      if not seconds then return end
      self:_start_standby()
      self.state = "stepped back"
      if is_stepping_back and not self.stopping then
        self.log.info("standing again in %.1f s, so that others go first", seconds)
      end
      self:_sleep(seconds)
    elseif code == "lost" or code == "closed" then
      if not self.stopping then self.log.warn("the session is gone: %s", message) end
      return
    elseif code ~= "cancelled" then
      local seconds = self.connect_backoff:next()
      self:_complain(("cannot stand in %s: %s"):format(self.election_name, message), seconds)
      self:_sleep(seconds)
    end
  end
end

-- Tells of handlers that held everything up: no renewal needs us, but no handler can be stopped meanwhile.
function methods:_watch_loop()
  local step = (self.options.ttl or 10) / 2
  while true do
    local before = self.lunarch.now()
    self.lunarch.sleep(step)
    local still_s = self.lunarch.now() - before - step
    if still_s > STOOD_STILL_TTLS * 2 * step then
      local where = self.last_handler and " in " .. self.last_handler or ""
      self.log.warn("nothing moved for %.1f s%s: a handler has to wait with lunarch.sleep and the like", still_s, where)
    end
  end
end

function methods:_drive()
  self.follower = (self.handlers.on_leader or self.handlers.do_standby) and self:_spawn(methods._follow)
  self.loop_watcher = self:_spawn(methods._watch_loop)
  while not self.stopping do
    local session = self:_open_session()
    if session then
      self:_stand(session)
      -- Who is stopping has waited for etcd once, and once is enough: the rest goes on in the background.
      local is_waiting = not (self.stopping and self.is_silent)
      local ok, message, code = session:close(is_waiting and CLOSE_S or 0)
      if not ok and is_waiting and code ~= "lost" and code ~= "closed" then
        self.log.warn("closing the session: %s", message)
      end
      self:_sleep(self.stopping and 0 or self.connect_backoff:next())
    end
  end
  self.state = "stopping"
  self:_dismiss_helpers()
end

function methods:_dismiss_helpers()
  self:_end_standby()
  dismiss(self.follower)
  dismiss(self.loop_watcher)
end

--- Stands, leads, loses and stands again until stop() is called. Waits; returns true.
function methods:run()
  check_self(self, "run")
  if self.driver then args.misuse "candidate:run: it runs already, or has run: make another one" end
  local lunarch = require "lunarch"
  self.lunarch = lunarch
  self.client = self.options.client
    or assert(lunarch.connect { endpoints = self.options.endpoints, name = self.options.name })
  self.driver = self:_spawn(methods._drive)
  local joined, ok, trace = pcall(self.driver.join, self.driver)
  if not joined then
    -- We were interrupted ourselves: the rest goes on without us.
    self:stop()
    error(ok, 0)
  end
  if not ok then self:_dismiss_helpers() end
  if not self.options.client then self.client:close(CLOSE_S) end
  self.state = "ended"
  if not ok then error(trace, 0) end
  return true
end

return setmetatable({
  handlers = HANDLERS,
  settings = SETTINGS,
  options = OPTIONS,

  --- The candidate whose handler runs here, or nil.
  current = function() return owners[coroutine.running()] end,
}, { __call = new })
