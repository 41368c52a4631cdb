-- Drives the handlers of a candidate: connects, stands, leads, and stands again.
--
--   connect > session > stand > (elected) > on_elected > do_work ... > on_lost > resign > stand ...
--
-- The *driver*, a task, walks along this line; term.lua has the part between being elected and having resigned. Beside
-- it the follower tells on_leader, and one more task calls do_standby while we do not lead (follow.lua).
local args = require "lunarch.internal.args"
local backoff = require "lunarch.candidate.backoff"
local candidacy = require "lunarch.internal.candidacy"
local connection = require "lunarch.internal.connection"
local ending = require "lunarch.loop.ending"
local fitness = require "lunarch.candidate.fitness"
local follow = require "lunarch.candidate.follow"
local handlers = require "lunarch.candidate.handlers"
local loop = require "lunarch.loop"
local known = require "lunarch.candidate.options"
local logs = require "lunarch.candidate.log"
local namesakes = require "lunarch.candidate.namesakes"
local report = require "lunarch.candidate.report"
local requests = require "lunarch.candidate.requests"
local tasks = require "lunarch.candidate.tasks"
local terms = require "lunarch.candidate.term"
local times = require "lunarch.internal.times"

args.is_ours()

local unpack = table.unpack or unpack
local pack = table.pack or function(...) return { n = select("#", ...), ... } end

local CONNECT_S = 3          -- one attempt to get a session
local CLOSE_S = 2
local STOOD_STILL_TTLS = 3
local LOOK_S = 5             -- at most, between looks at what holds everything up
local SAY_AGAIN_S = 60

local STOP = tasks.STOP
local WEAK = { __mode = "k" }

local methods = {}
local Candidate, check_self = args.class("candidate", methods)

-- ---- making and stopping ----------------------------------------------------------------------------------------

local function new(_, options)
  options = args.options("lunarch.candidate", options, known.options)
  candidacy.check("lunarch.candidate", options, "/services/billing")
  times.check("lunarch.candidate", options)
  local self = {
    handlers = {}, options = options, state = "new", complaints = {}, calls = {}, tasks = setmetatable({}, WEAK),
    report = report.new(),
  }
  for _, group in ipairs { known.handlers, known.checks } do
    for name in pairs(group) do
      self.handlers[name] = fitness.callable(name, options)
    end
  end
  if not self.handlers.on_elected and not self.handlers.do_work then
    args.misuse "lunarch.candidate: neither 'on_elected' nor 'do_work' is given: there is nothing to do when elected"
  end
  self.election_name = options.election
  self.name = options.name or options.value or "candidate"
  self.value = options.value or self.name
  self.interval = options.interval or 1
  self.stop_timeout = options.stop_timeout or 10
  self.log = logs.new(options.log, self.name)
  self.connect_backoff = backoff.new("connect", options.backoff)
  self.stand_backoff = backoff.new("stand", options.backoff)
  self.fitness = fitness.new(options)
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
    terms.stop(self, self.stopping)
  elseif self.is_pausing then
    self.driver:interrupt(STOP)
  end
end

--- From now on it does not stand: it leaves the line where it waits, and goes on until its term ends where it leads.
--- Does not wait; may be called from anywhere.
function methods:pause()
  check_self(self, "pause")
  fitness.pause(self, true)
end

--- It stands again.
function methods:resume()
  check_self(self, "resume")
  fitness.pause(self, nil)
end

-- ---- for what runs a candidate on behalf of others ---------------------------------------------------------------

--- The key that it has in the line of its election, by its latest session; nil before the first.
function methods:_key()
  return self.place
end

--- What it does now, in a word or two: "standing", "leading" ...
function methods:_activity()
  return self.state
end

--- Whether the session it has is lost or closed, by the clock.
function methods:_is_session_over()
  local state = self.session and self.session:state()
  return state == "lost" or state == "closed"
end

--- The leader, or that there is none, while it does not lead itself; nil: not known, for etcd is silent.
function methods:_known_leader()
  return follow.known(self)
end

--- Calls these functions with what it does: see lunarch.candidate.report.
function methods:_report_to(given)
  self.report = report.new(given)
  self.report.state(self.state)
end

--- From now on the caller sees to its end: the end of the process finishes nothing of it.
function methods:_end_elsewhere()
  if self.runner then ending.leave(self.runner) end
end

-- What it does from now on.
function methods:_enter(state)
  if state ~= self.state then self.log.debug("%s: now %s", self.election_name, state) end
  self.state = state
  self.report.state(state)
end

--- Its name is said by several on purpose: by the workers of an nginx.
function methods:_share_name()
  self.has_shared_name = true
end

--- What is added to its complaint when etcd has never answered.
function methods:_set_hint(hint)
  self.hint = hint
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

function methods:_sleep(seconds, what)
  if seconds > 0 and what then self.log.debug("%.2f s until %s", seconds, what) end
  return self:_pause(self.lunarch.sleep, seconds)
end

-- Ends the driver's wait, in the line or beside it: it looks anew whether it may stand.
function methods:_look_anew()
  if self.is_pausing then self.driver:interrupt(STOP) end
end

function methods:_step_down(reason)
  terms.stop(self, reason)
end

-- ---- what the log is told ---------------------------------------------------------------------------------------

-- A trouble that lasts is told when it begins, when it changes, and once a minute.
function methods:_complain(text, seconds)
  local now = self.lunarch.now()
  local said_at = self.complaints[text]
  if not said_at or now - said_at > SAY_AGAIN_S then
    self.complaints[text] = now
    self.log.warn("%s; trying again in %.1f s, and so on", text, seconds)
  end
end

-- What this candidate waits for is no candidate: data below the election's name, which stays, or another's place.
function methods:_say_obstacle()
  local text = self.state == "standing" and self.standing and self.standing:blocked_by()
  local now = self.lunarch.now()
  if not text or text == self.obstacle and now - self.obstacle_said_at < SAY_AGAIN_S then return end
  self.obstacle, self.obstacle_said_at = text, now
  self.log.warn("cannot be elected in %s: %s", self.election_name, text)
end

function methods:_is_well()
  if not next(self.complaints) then return end
  self.complaints = {}
  self.log.info "etcd answers again"
end

local function names_of(endpoints)
  return type(endpoints) == "table" and table.concat(endpoints, ",") or endpoints or "etcd"
end

-- What a reader of the log needs to know of a session, once for each TTL: how long etcd may be away, whenever that
-- begins, and the three instants, counted from the latest renewal.
function methods:_introduce(session)
  local ttl, stop_at, valid_until = session.ttl, session.stop_at, session.valid_until
  if not ttl or not stop_at or not valid_until or ttl == self.introduced_ttl then return end
  self.introduced_ttl = ttl
  local asked = times.ttl(self.options)
  local lost_s = ttl - times.margin(ttl)
  self.log.info("stands in %s as %s: TTL %d s%s; etcd may be away for %.1f s; told to stop after %.1f s without a "
    .. "renewal, lost after %.1f s, replaced after %d s at the earliest; etcd at %s",
    self.election_name, self.name, ttl,
    asked ~= ttl and (" (%d s was asked for)"):format(asked) or "", math.floor(session.away_limit * 10) / 10,
    lost_s - (valid_until - stop_at), lost_s, ttl, names_of(self.client.endpoints))
end

-- ---- the driver -------------------------------------------------------------------------------------------------

function methods:_open_session()
  self:_enter "connecting"
  while not self.stopping do
    local session, message, code = self:_pause(self.client.session, self.client,
      { ttl = self.options.ttl, grace = self.options.grace }, CONNECT_S)
    if session then
      self.log.debug("session with lease %s, TTL %d s", session.lease, session.ttl or 0)
      self:_is_well()
      self:_introduce(session)
      namesakes.plan(self, session.ttl or times.ttl(self.options))
      self.connect_backoff:reset()
      self.hint = nil
      return session
    end
    if code ~= "cancelled" then
      local seconds = self.connect_backoff:next()
      local is_silent = code == "unavailable" or code == "timeout"
      if is_silent then follow.begin_anew(self) end
      -- Where etcd has answered something, or did before, its address is not what is wrong.
      local hint = is_silent and self.hint or ""
      self:_complain(("no session with %s: %s%s"):format(names_of(self.client.endpoints), message, hint), seconds)
      self:_sleep(seconds, "the next attempt to get a session")
    end
  end
end

-- Stands again and again, as long as the session serves.
function methods:_stand(session)
  local election = assert(session:election(self.election_name))
  self.former_place = self.place
  self.session, self.place, self.standing = session, self.election_name .. "/" .. session.lease, election
  while fitness.admit(self) do
    self.is_silent = nil
    self:_enter "standing"
    local term, message, code = self:_pause(election.campaign, election, self.value)
    if term then
      self.is_elected = true
      local seconds, is_stepping_back = terms.lead(self, session, term)
      self.is_elected = false
      if not seconds then return end
      follow.start_standby(self)
      self:_enter "stepped back"
      if is_stepping_back and not self.stopping then
        self.log.info("standing again in %.1f s, so that others go first", seconds)
      end
      self:_sleep(seconds, "it stands again")
    elseif code == "lost" or code == "closed" then
      if not self.stopping then self.log.warn("the session is gone: %s", (message:gsub("; open a new one$", ""))) end
      return
    elseif code ~= "cancelled" then
      local seconds = self.connect_backoff:next()
      self:_complain(("cannot stand in %s: %s"):format(self.election_name, message), seconds)
      self:_sleep(seconds, "it tries to stand again")
    end
  end
  if not self.stopping then self.log.warn("the session is gone: %s", (select(2, session:state())) or "closed") end
end

-- Reports handlers that held everything up (no renewal needs us, but no handler can be stopped meanwhile), what
-- keeps us from being elected for ever, and namesakes.
local function watch_loop(self)
  local ttl = times.ttl(self.options)
  local step = math.min(ttl / 2, LOOK_S)
  while true do
    local before = self.lunarch.now()
    self.lunarch.sleep(step)
    self:_say_obstacle()
    local still_s = self.lunarch.now() - before - step
    if still_s > STOOD_STILL_TTLS * ttl then
      local name = handlers.busiest_since(self, before)
      self.log.warn("nothing moved for %.1f s%s: a handler has to wait with lunarch.sleep and the like", still_s,
        name and " in " .. name or "")
    end
    namesakes.look(self)
  end
end

local function drive(self)
  requests.enter(self)
  follow.start(self)
  fitness.start(self)
  self.loop_watcher = tasks.keep(self, watch_loop)
  while not self.stopping do
    local session = self:_open_session()
    if session then
      self:_stand(session)
      self.session = nil
      if not self.stopping then follow.begin_anew(self) end
      -- One that is stopping has waited for etcd once, and once is enough: the rest goes on in the background.
      local is_waiting = not (self.stopping and self.is_silent)
      local ok, message, code = session:close(is_waiting and CLOSE_S or 0)
      if not ok and is_waiting and code ~= "lost" and code ~= "closed" then
        self.log.warn("closing the session: %s", message)
      end
      self:_sleep(self.stopping and 0 or self.connect_backoff:next(), "it takes a session again")
    end
  end
  self:_enter "stopping"
end

local MOST_TRIES = 3

-- The driver has failed, by an interruption or by an error that may come again (no memory): the term ends in order, and
-- nothing of us stays in the line.
local function recover(self)
  self.driver:allow()
  for _ = 1, MOST_TRIES do
    if pcall(terms.recover, self) then break end
  end
  if self.session then pcall(self.session.close, self.session, CLOSE_S) end
end

-- The driver's task, whatever it ends by.
local function drive_to_the_end(self, runner)
  local ok, failure = xpcall(drive, function(err)
    return type(err) == "string" and args.without_ours(debug.traceback(err, 2)) or err
  end, self)
  if not ok then recover(self) end
  follow.stop(self)
  fitness.stop(self)
  requests.leave(self)
  tasks.dismiss(self.loop_watcher)
  namesakes.leave(self)
  self.report.client(nil)
  if not self.options.client then self.client:close(CLOSE_S) end
  self:_enter "ended"
  ending.leave(runner)
  if not ok then error(failure, 0) end
end

-- What the end of the process needs to know of us (lunarch.loop.ending).
local function new_runner(self)
  return {
    stop = function(reason) self:stop(reason) end,
    retire = function(task)
      if task == self.driver then return false end
      if self.tasks[task] then task:abandon() end
      return true
    end,
    finish = function(reason, rest)
      terms.finish(self, reason, rest)
      if self.session then self.session:close(rest(CLOSE_S)) end
      if not self.options.client then self.client:close(rest(CLOSE_S)) end
    end,
  }
end

-- We were interrupted: what we do ends in order all the same, unless we are interrupted once more.
local function end_in_order(self, err)
  local current = loop.world().current
  local task = current and current()
  self:stop()
  if task then task:allow() end
  pcall(self.driver.join, self.driver)
  if task then task:interrupt(err) end
  error(err, 0)
end

-- What the client has to say goes where the candidate's own words go.
local function own_client_options(self)
  local options = connection.pick(self.options)
  options.log = function(level, sentence) self.log[level]("%s", sentence) end
  return options
end

-- What no client can be made of raises at the caller's line, as misuse does.
local function own_client(self)
  local client, message = self.lunarch.connect(own_client_options(self))
  if not client then args.misuse("candidate:run: %s", message) end
  return client
end

--- Stands, leads, loses and stands again until stop() is called. Waits; returns true.
function methods:run()
  check_self(self, "run")
  if self.driver then args.misuse "candidate:run: it runs already, or has run: make another one" end
  local lunarch = require "lunarch"
  self.lunarch = lunarch
  self.client = self.options.client or own_client(self)
  self.report.client(self.client)
  local runner = new_runner(self)
  self.driver = tasks.spawn(self, drive_to_the_end, runner)
  self.runner = runner
  ending.enter(runner)
  namesakes.enter(self)
  local joined, ok, _, err = pcall(self.driver.join, self.driver)
  if not joined then end_in_order(self, ok) end
  if not ok then error(err, 0) end
  return true
end

return setmetatable({
  handlers = known.handlers,
  checks = known.checks,
  settings = known.settings,
  options = known.options,

  --- The candidate whose handler runs here, or nil.
  current = tasks.current,
}, { __call = new })
