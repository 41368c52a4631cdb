-- A candidate inside nginx: of all the workers of all the nginx instances that name the same election, one leads and
-- runs do_work.
--
-- By default one worker of each instance *stands* for it, and a shared dict says which:
--
--   ELECTION:standing   "pid lease" of the worker that stands; renewed while it lives, so that one that hangs loses it
--   ELECTION:deadline   until when this instance leads: microseconds of CLOCK_BOOTTIME
--   ELECTION:leader     who leads, as the standing worker was told
--
-- The others look at the first a few times a second, and stand when nobody does: when its worker has left, or is dead.
-- The lease of a dead one is revoked, since nobody is left who could work under it. Two that stand at once do no harm:
-- etcd makes one of them lead.
--
-- Whoever asks reads the dict and the clock, nothing else. The deadline is taken out before on_lost runs, and so before
-- the place is given up.
local args = require "lunarch.args"

args.is_ours()

if not _G.ngx then args.misuse "lunarch.singleton: it exists inside nginx only; elsewhere: lunarch.candidate" end

local candidacy = require "lunarch.candidacy"
local candidate = require "lunarch.candidate"
local clients = require "lunarch.client"
local core = require "lunarch.core"
local nginx = require "lunarch.loop.nginx"
local process = require "ngx.process"

local LOOK_S = 0.02        -- how often a worker that does not stand looks whether anybody does
local STANDING_S = 3       -- a standing that was not renewed for so long is free
local CLAIM_S = 1
local REVOKE_S = 2
local CLOSE_S = 0.5        -- its session is closed by then, or etcd is silent
local LONGEST_BEAT_S = 0.5
local BEATS_PER_TTL = 20
local DEFAULT_TTL_S = 10
local PAUSE_S = 1          -- after an error nobody has foreseen

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
  local dict = ngx.shared[name]
  if not dict then
    args.misuse("lunarch.singleton: there is no shared dict '%s': nginx.conf needs \"lua_shared_dict %s 1m;\" in its "
      .. "http block", name, name)
  end
  return dict
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

-- ---- what every worker can tell ----------------------------------------------------------------------------------

local MICROSECONDS = 1e6

-- Rounded down: nobody believes it a moment too long.
local function publish_deadline(self)
  if not self.dict then return end
  local stop_at = self.term and self.term:remaining() > 0 and self.term.stop_at
  local deadline = stop_at and math.floor(stop_at * MICROSECONDS)
  if deadline then
    self.dict:set(self.keys.deadline, deadline)
  elseif self.published and self.dict:get(self.keys.deadline) == self.published then
    -- Not that of another worker, which may lead since we hung.
    self.dict:delete(self.keys.deadline)
  end
  self.published = deadline
end

local function publish_leader(self)
  local leader = self.known_leader
  if not self.dict or not leader or self.stopping then return end
  local text = ""
  if leader.value then
    text = ("%.0f %d %d %s%s"):format(leader.token, leader.is_me and 1 or 0, #leader.key, leader.key, leader.value)
  end
  self.dict:set(self.keys.leader, text, STANDING_S)
end

-- Once we are no longer the leader nobody has told us who is.
local function forget_ourselves(self)
  if not self.known_leader or not self.known_leader.is_me then return end
  self.known_leader = nil
  if self.dict then self.dict:delete(self.keys.leader) end
end

local function parse_leader(text)
  local token, is_me, length, rest = text:match "^(%d+) (%d) (%d+) (.*)$"
  if not token then return nil end
  length = tonumber(length)
  return { token = tonumber(token), is_me = is_me == "1", key = rest:sub(1, length), value = rest:sub(length + 1) }
end

--- How long this instance certainly leads, in seconds: 0 when it does not. (With per = "worker": this worker.)
function methods:remaining()
  check(self, "remaining")
  if not self.dict then return self.term and self.term:remaining() or 0 end
  local deadline = self.dict:get(self.keys.deadline)
  local left = deadline and deadline / MICROSECONDS - core.now() or 0
  return left > 0 and left or 0
end

function methods:is_leader()
  check(self, "is_leader")
  return self:remaining() > 0
end

--- Who leads, as far as this instance knows: { value, key, token, is_me }.
function methods:leader()
  check(self, "leader")
  local leader
  if self.dict then
    local text = self.dict:get(self.keys.leader)
    if not text then return nil, "no worker of this nginx has been told yet who leads", "unavailable" end
    leader = parse_leader(text)
  else
    leader = self.known_leader
    if not leader then return nil, "this worker has not been told yet who leads", "unavailable" end
  end
  if not leader or not leader.value then return nil, "no leader", "no_leader" end
  return leader
end

--- Whether this very worker is the one that stands.
function methods:is_standing()
  check(self, "is_standing")
  return self.candidate ~= nil
end

-- ---- standing ---------------------------------------------------------------------------------------------------

local function standing_record(self)
  local place = self.candidate and self.candidate.place
  return ("%d %s"):format(pid(), place and place:match "([^/]+)$" or "-")
end

local function is_ours(record)
  return record ~= nil and tonumber(record:match "^%d+") == pid()
end

-- What a dead worker of this instance has left: its deadline, and the lease under which nobody works any more.
local function bury(self, record)
  self.dict:delete(self.keys.deadline)
  self.dict:delete(self.keys.leader)
  local lease = record:match " (%x+)$"
  if not lease then return end
  local ok, message = self:_client():revoke(lease, REVOKE_S)
  if not ok then self.log.info("the lease of a worker that died: %s", message) end
end

-- Whether we stand from now on.
local function claim(self)
  if not self.dict then return true end
  local dict, keys = self.dict, self.keys
  local record = dict:get(keys.standing)
  if not record then return dict:add(keys.standing, standing_record(self), STANDING_S) == true end
  if is_ours(record) then return true end
  local is_alive = core.process_exists(tonumber(record:match "^%d+"))
  if is_alive or not dict:add(keys.claim, pid(), CLAIM_S) then return false end
  -- It may have changed hands while we looked.
  local is_same = dict:get(keys.standing) == record
  if is_same then dict:set(keys.standing, standing_record(self), STANDING_S) end
  dict:delete(keys.claim)
  if is_same then bury(self, record) end
  return is_same
end

local function renew_standing(self)
  if not self.dict or self.stopping then return end
  local record = self.dict:get(self.keys.standing)
  if not record or is_ours(record) then self.dict:set(self.keys.standing, standing_record(self), STANDING_S) end
end

local function leave_standing(self)
  if self.dict and is_ours(self.dict:get(self.keys.standing)) then self.dict:delete(self.keys.standing) end
end

-- Renews the standing and what is published, as long as the candidate runs.
local function beat(self, own)
  while self.candidate == own and not self.stopping do
    if self.dict then
      local record = self.dict:get(self.keys.standing)
      if record and not is_ours(record) then
        self.log.warn("another worker of this nginx stands since this one was not heard of for %g s", STANDING_S)
        own:stop "another worker stands"
        return
      end
      renew_standing(self)
      publish_deadline(self)
      publish_leader(self)
    end
    self.lunarch.sleep(own.place and self.beat_s or LOOK_S)
  end
end

-- Handlers run in timers of their own, so that a handler may be called for months.
local function handlers_of(self)
  local handlers = {}
  for name in pairs(candidate.handlers) do
    local handler = self.options[name]
    handlers[name] = handler and function(...) return nginx.apart(name == "on_lost", handler, ...) end
  end
  local on_elected, on_lost, on_leader = handlers.on_elected, handlers.on_lost, handlers.on_leader
  function handlers.on_elected(term)
    self.term = term
    -- Before the deadline: whoever sees that we lead sees who that is.
    self.known_leader = { value = self.value, key = term.key, token = term.token, is_me = true }
    publish_leader(self)
    publish_deadline(self)
    renew_standing(self)
    if on_elected then on_elected(term) end
  end
  function handlers.on_lost(term, reason)
    self.term = nil
    publish_deadline(self)
    forget_ourselves(self)
    if on_lost then on_lost(term, reason) end
  end
  function handlers.on_leader(leader)
    self.known_leader = leader
    publish_leader(self)
    if on_leader then on_leader(leader) end
  end
  return handlers
end

local function candidate_of(self)
  local options = {}
  for name, value in pairs(self.options) do
    if not OWN[name] and name ~= "endpoints" then options[name] = value end
  end
  for name, handler in pairs(handlers_of(self)) do
    options[name] = handler
  end
  options.client, options.log, options.name, options.value = self:_client(), self.log, self.name, self.value
  local own = candidate(options)
  own.hint = nginx.hint(options.client.endpoints)
  return own
end

local function stand(self)
  local own = candidate_of(self)
  self.candidate = own
  local beater = self.lunarch.spawn(beat, self, own)
  local ok, err = pcall(own.run, own)
  beater:interrupt "the candidate has ended"
  -- Whatever happened: it leads no more.
  self.term = nil
  publish_deadline(self)
  self.candidate, self.known_leader = nil, nil
  leave_standing(self)
  if not ok then
    self.log.error("the candidate broke off: %s", err)
    self.lunarch.sleep(PAUSE_S)
  end
end

local function keep(self)
  while not self.stopping do
    if claim(self) then stand(self) else self.lunarch.sleep(LOOK_S) end
  end
  if self.own_client then self.own_client:close(CLOSE_S) end
end

-- ---- beginning and ending ---------------------------------------------------------------------------------------

-- Only workers that stand have a connection.
function methods:_client()
  if self.options.client then return self.options.client end
  if not self.own_client then
    self.own_client = assert(clients.connect { endpoints = self.options.endpoints, name = self.name })
  end
  return self.own_client
end

--- Gives the place up, and does not stand again; does not wait. Called by itself when the worker is told to leave: the
--- standing is free at once, so that another worker is in line when on_lost has returned.
function methods:stop(reason)
  check(self, "stop")
  if self.stopping then return end
  self.stopping = reason or "stopping"
  leave_standing(self)
  if self.candidate then self.candidate:stop(self.stopping) end
end

function Singleton.__tostring(self)
  local state = self.candidate and self.candidate.state or "not standing"
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

local function is_worker()
  local kind = process.type()
  return kind == "worker" or kind == "single"
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
  local dict = dict_of(options)
  local key = dict and refuse_second(options)
  local election = options.election
  local name = options.name or ("nginx worker %d"):format(pid())
  local self = setmetatable({
    options = options, dict = dict, name = name, value = options.value or host_name(),
    log = options.log or logger(election), lunarch = require "lunarch",
    beat_s = math.min(LONGEST_BEAT_S, (options.ttl or DEFAULT_TTL_S) / BEATS_PER_TTL), keys = {},
  }, Singleton)
  if key then made[key] = self end
  for _, field in ipairs { "standing", "claim", "deadline", "leader" } do
    self.keys[field] = ("%s:%s"):format(election, field)
  end
  if not is_worker() then return self end
  nginx.spawn_protected(keep, self)
  nginx.on_leave(function() self:stop "the worker leaves" end)
  return self
end
