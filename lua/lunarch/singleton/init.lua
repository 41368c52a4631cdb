-- A candidate inside nginx: of all the workers of all the nginx instances that name the same election, one leads and
-- runs do_work.
--
-- By default one worker of each instance *stands* for it, and a shared dict says which (lunarch.singleton.board). The
-- others look at it a few times a second, and one of them stands when that worker has left, or is dead. The lease
-- of a dead worker is revoked, since no process works under it any more. Two that stand at once do no harm: etcd makes
-- one of them lead.
--
-- Questions (is_leader, leader, remaining) read the dict and the clock, nothing else. The deadline is taken out before
-- on_lost runs, and so before the place is given up.
--
-- nginx gives its privileged agent no time to end, so a singleton does not stand there.
local args = require "lunarch.internal.args"

args.is_ours()

if not require("lunarch.loop.is_nginx")() then
  args.misuse("lunarch.singleton: it exists inside nginx only, and not in ngx.run_worker_thread; there: "
    .. "lunarch.candidate")
end

local board = require "lunarch.singleton.board"
local candidacy = require "lunarch.internal.candidacy"
local candidate = require "lunarch.candidate"
local clients = require "lunarch.client"
local connection = require "lunarch.internal.connection"
local fitness = require "lunarch.candidate.fitness"
local ending = require "lunarch.singleton.ending"
local nginx = require "lunarch.loop.nginx"
local process = require "ngx.process"
local times = require "lunarch.internal.times"

local LOOK_S = 0.02        -- how often a worker that does not stand looks whether anybody does
local REVOKE_S = 2
local CLOSE_S = 0.5        -- its session is closed by then, or etcd is silent
local LONGEST_BEAT_S = 0.5
local BEATS_PER_TTL = 20
local PAUSE_S = 1          -- after an unexpected error
local AGENT_LOOKS_S = 10   -- when the privileged agent looks whether a worker stands

local pid = ngx.worker.pid

local methods = {}
local Singleton, check = args.class("singleton", methods)

-- ---- options ----------------------------------------------------------------------------------------------------

local OWN = {
  dict = args.word,
  per = function(call, name, value)
    if value ~= "instance" and value ~= "worker" then args.bad(call, name, "'instance' or 'worker'", value) end
  end,
}

local function dict_of(options)
  if options.per == "worker" then return nil end
  local name = options.dict or "lunarch"
  if not ngx.shared[name] then
    args.misuse("lunarch.singleton: there is no shared dict '%s': nginx.conf needs \"lua_shared_dict %s 1m;\" in its "
      .. "%s block", name, name, ngx.config.subsystem)
  end
  return name
end

local function host_name()
  local file = io.open "/proc/sys/kernel/hostname"
  local name = file and file:read "*l"
  if file then file:close() end
  return name and name ~= "" and name or "nginx"
end

local function logger(name)
  local function writer(level)
    return function(format, ...)
      ngx.log(level, "lunarch: ", name, ": ", select("#", ...) > 0 and format:format(...) or format)
    end
  end
  -- Where nginx's configuration does not say otherwise, nothing below `error` is seen.
  return { info = writer(ngx.NOTICE), warn = writer(ngx.ERR), error = writer(ngx.ERR) }
end

-- ---- what every worker can tell ---------------------------------------------------------------------------------

local function publish_deadline(self)
  self.board:publish_deadline(self.term and self.term:remaining() > 0 and self.term.stop_at or nil)
end

-- Who leads, as this worker knows it: we do, as long as our term lasts; nil: not known.
local function known_leader(self)
  if self.term then return self.term:remaining() > 0 and self.ourselves or nil end
  return self.candidate and self.candidate:_known_leader()
end

local function publish_leader(self)
  if self.stopping then return end
  local leader = known_leader(self)
  if leader then self.board:publish_leader(leader) else self.board:forget_leader() end
end

--- How long this instance certainly leads, in seconds: 0 when it does not. (With per = "worker": this worker.)
function methods:remaining()
  check(self, "remaining")
  local left_s = self.term and self.term:remaining() or 0
  if not self.is_shared or left_s > 0 then return left_s end
  return self.board:remaining()
end

function methods:is_leader()
  check(self, "is_leader")
  return self:remaining() > 0
end

--- Who leads, as far as this instance knows: { value, key, token, is_me }.
function methods:leader()
  check(self, "leader")
  local leader
  if self.is_shared then leader = self.board:leader() else leader = known_leader(self) end
  if leader and leader.is_me and self:remaining() <= 0 then leader = nil end
  if not leader then
    return nil, ("this %s does not know who leads: etcd has not told it yet, or is silent"):format(
      self.is_shared and "nginx" or "worker"), "unavailable"
  end
  if not leader.value then return nil, "no leader", "no_leader" end
  return leader
end

--- Whether this very worker is the one that stands.
function methods:is_standing()
  check(self, "is_standing")
  return self.candidate ~= nil
end

-- ---- standing -----------------------------------------------------------------------------------------------------

local function lease_of(own)
  local key = own and own:_key()
  return key and key:match "([^/]+)$"
end

-- Nobody is left who works under it.
local function revoke(self, lease)
  local ok, message = self:_client():revoke(lease, REVOKE_S)
  if not ok then self.log.info("the lease of a worker that died: %s", message) end
end

-- Whether we stand from now on.
local function claim(self)
  local stands, lease = self.board:claim()
  if stands and lease then revoke(self, lease) end
  return stands
end

-- Renews the standing and what is published, as long as the candidate runs.
local function beat(self, own)
  while self.candidate == own and not self.stopping do
    local ok, why = self.board:renew(lease_of(own))
    if not ok then
      self.log.warn("%s: this one steps back", why)
      own:stop "another worker stands"
      return
    end
    publish_deadline(self)
    publish_leader(self)
    self.lunarch.sleep(own:_key() and self.beat_s or LOOK_S)
  end
end

-- Handlers run in timers of their own, so that a handler may be called for months.
local function handlers_of(self)
  local handlers = {}
  for _, group in ipairs { candidate.handlers, candidate.checks } do
    for name in pairs(group) do
      local handler = fitness.callable(name, self.options)
      handlers[name] = handler and function(...) return nginx.apart(name == "on_lost", handler, ...) end
    end
  end
  local on_elected, on_lost = handlers.on_elected, handlers.on_lost
  function handlers.on_elected(term)
    self.term = term
    self.ourselves = { value = self.value, key = term.key, token = term.token, is_me = true }
    -- Before the deadline: where this instance is seen to lead, its name is seen too.
    publish_leader(self)
    publish_deadline(self)
    if not self.stopping then self.board:renew(lease_of(self.candidate)) end
    self.is_entered = true
    if on_elected then on_elected(term) end
  end
  function handlers.on_lost(term, reason)
    self.term, self.is_entered = nil, false
    publish_deadline(self)
    -- Once this worker is no longer the leader it does not know who is.
    publish_leader(self)
    if on_lost then on_lost(term, reason) end
  end
  -- The candidate follows the leader where there is this handler.
  handlers.on_leader = handlers.on_leader or function() end
  return handlers
end

local function candidate_of(self)
  local options = {}
  for name, value in pairs(self.options) do
    if not OWN[name] and name ~= "endpoints" and not connection.OPTIONS[name] then options[name] = value end
  end
  for name, handler in pairs(handlers_of(self)) do
    options[name] = handler
  end
  options.client, options.log, options.name, options.value = self:_client(), self.log, self.name, self.value
  local own = candidate(options)
  own:_share_name()
  own:_report_to { leader = function() publish_leader(self) end }
  own:_set_hint(nginx.hint(options.client.endpoints))
  return own
end

local function stand(self)
  local own = candidate_of(self)
  self.candidate = own
  local beater = self.lunarch.spawn(beat, self, own)
  local ok, err = pcall(own.run, own)
  beater:interrupt "the candidate has ended"
  if not ok then error(err, 0) end
end

-- Whatever happened: it leads no more.
local function stand_no_more(self)
  self.term = nil
  publish_deadline(self)
  self.candidate = nil
  self.board:leave()
end

local function stand_or_look(self)
  if claim(self) then stand(self) else self.lunarch.sleep(LOOK_S) end
end

-- The hub has ended in the middle of a term: what its candidate would have done.
local function recover(self)
  local term, on_lost = self.term, self.options.on_lost
  local was_entered = self.is_entered
  self.is_entered = false
  if self.candidate then self.candidate:_end_elsewhere() end
  stand_no_more(self)
  if not was_entered then return end
  local ok, err = pcall(nginx.apart, true, on_lost or function() end, term, "error")
  if not ok then self.log.error("on_lost failed: %s", err) end
  term:resign(CLOSE_S)
end

local function keep(self)
  recover(self)
  while not self.stopping do
    local ok, err = pcall(stand_or_look, self)
    if self.candidate then stand_no_more(self) end
    if not ok then
      self.log.error("the candidate broke off: %s", err)
      self.lunarch.sleep(PAUSE_S)
    end
  end
  if self.own_client then self.own_client:close(CLOSE_S) end
end

local function begin(self)
  nginx.spawn_protected(keep, self).on_death = function() begin(self) end
end

-- ---- beginning and ending ---------------------------------------------------------------------------------------

-- Only workers that stand have a connection.
function methods:_client()
  if self.options.client then return self.options.client end
  if not self.own_client then
    local options = connection.pick(self.options)
    options.name = self.name
    self.own_client = assert(clients.connect(options))
  end
  return self.own_client
end

--- Gives the place up, and does not stand again; does not wait. Called by itself when the worker is told to leave: the
--- standing is free at once, so that another worker is in line when on_lost has returned.
function methods:stop(reason)
  check(self, "stop")
  if self.stopping then return end
  self.stopping = reason or "stopping"
  self.board:leave()
  if self.candidate then self.candidate:stop(self.stopping) end
end

function Singleton.__tostring(self)
  local state = self.candidate and self.candidate:_activity() or "not standing"
  return ("lunarch.singleton: %s (%s)"):format(self.options.election, state)
end

-- The singletons of this worker that share a dict with its others, by name: two of one name would contradict each other
-- in what they publish.
local made = {}

local function refuse_second(options)
  local key = ("%s %s"):format(options.dict or "lunarch", options.election)
  if made[key] and not made[key].stopping then
    args.misuse("lunarch.singleton: this worker has one for '%s' already: use that one, or name another shared dict "
      .. "(dict = ...) for the second", options.election)
  end
  return key
end

-- A handler has no say over the worker, which serves requests: its os.exit is an error, and ends its term in order.
local function guard_exit()
  local exit = os.exit
  rawset(os, "exit", function(...)
    local task = nginx.current()
    if task and task.is_protected then
      args.misuse("os.exit would end this worker of nginx, requests and all: a handler that wants no more returns "
        .. "false from do_work, or calls singleton:stop()")
    end
    return exit(...)
  end)
end

local is_exit_guarded = false

-- on_lost of a term that nginx gives no time to end in order; `until_s`: for the rest.
local function end_at_once(self, until_s)
  self.stopping = self.stopping or "the worker leaves"
  if self.candidate then self.candidate:_end_elsewhere() end
  local term, on_lost = self.term, self.options.on_lost
  if self.is_entered then
    self.term, self.is_entered = nil, false
    publish_deadline(self)
    local ok, err = xpcall(function() if on_lost then on_lost(term, self.stopping) end end, debug.traceback)
    if not ok then self.log.error("on_lost failed: %s", err) end
  end
  self.board:leave()
  if self.own_client then self.own_client:close(math.max(until_s - self.lunarch.now(), 0)) end
end

-- The privileged agent runs init_worker_by_lua* too, like the workers.
local function watch_from_agent(self)
  self.log.info "a singleton does not stand in the privileged agent: the workers stand"
  ngx.timer.at(AGENT_LOOKS_S, function(premature)
    if premature or self.is_shared and self.board:is_anybody_standing() then return end
    self.log.error("no worker stands: a singleton does not stand in the privileged agent, to which nginx gives no time "
      .. "to end in order: make it in init_worker_by_lua* of the workers too")
  end)
end

return function(options)
  if type(options) ~= "table" then args.bad("lunarch.singleton", "options", "a table", options) end
  local known = {}
  for _, group in ipairs { OWN, candidate.options } do
    for name, check_option in pairs(group) do
      known[name] = check_option
    end
  end
  args.options("lunarch.singleton", options, known)
  candidacy.check("lunarch.singleton", options, "/cron/nightly")
  if not options.do_work and not options.on_elected then
    args.misuse "lunarch.singleton: neither 'do_work' nor 'on_elected' is given: there is nothing to do when elected"
  end
  nginx.connect "lunarch.singleton"
  local dict_name = dict_of(options)
  local key = dict_name and refuse_second(options)
  local election = options.election
  local name = options.name or ("nginx worker %d"):format(pid())
  local log = options.log or logger(election)
  local self = setmetatable({
    options = options, name = name, value = options.value or host_name(), log = log, lunarch = require "lunarch",
    board = board(dict_name, election, log), is_shared = dict_name ~= nil,
    beat_s = math.min(LONGEST_BEAT_S, times.ttl(options) / BEATS_PER_TTL),
  }, Singleton)
  if key then made[key] = self end
  local kind = process.type()
  if kind == "privileged agent" then
    watch_from_agent(self)
  elseif kind == "worker" or kind == "single" then
    ending.add(function(until_s) end_at_once(self, until_s) end)
    if not is_exit_guarded then guard_exit() end
    is_exit_guarded = true
    begin(self)
    nginx.on_leave(function() self:stop "the worker leaves" end)
  end
  return self
end
