-- What the workers of one nginx tell each other of an election, in a shared dict:
--
--   ELECTION:standing   "pid lease since" of the worker that stands; renewed while it lives, so that one that hangs
--                       loses it. `since` is when it began to stand
--   ELECTION:deadline   until when this instance leads: microseconds of CLOCK_BOOTTIME
--   ELECTION:leader     who leads, as the standing worker was told
--
-- A dict that others flush or fill loses this. The worker that stands writes it anew, and says that the dict must be
-- lunarch's own; a second one, which began to stand meanwhile, sees an older `since` and leaves it to the first.
--
-- Without a dict (per = "worker") there is nothing to tell, and every worker stands.
local args = require "lunarch.internal.args"

args.is_ours()

local core = require "lunarch.core"

local MICROSECONDS = 1e6
local STANDING_S = 3       -- a standing that was not renewed for so long is free
local CLAIM_S = 1
local SAY_AGAIN_S = 60
local MOST_TRIES = 30

local pid = ngx.worker.pid

local Board = {}
Board.__index = Board

local function now_us()
  return math.floor(core.now() * MICROSECONDS)
end

-- ---- writing ------------------------------------------------------------------------------------------------------

-- Every trouble of the dict is one error a minute.
function Board:_complain(trouble)
  if self.said_at and core.now() - self.said_at < SAY_AGAIN_S then return end
  self.said_at = core.now()
  self.log.error("the shared dict '%s' %s: give lunarch a dict of its own, which nothing else writes to or flushes: "
    .. "lua_shared_dict %s 1m; in nginx.conf, and the option dict = \"%s\"", self.dict_name, trouble,
    self.dict_name .. "_own", self.dict_name .. "_own")
end

-- Each try drops a few of the oldest entries, until a whole page is free for one of another size.
local function set(dict, key, value, seconds)
  local is_forcible = false
  for _ = 1, MOST_TRIES do
    local ok, err, is_dropping = dict:set(key, value, seconds)
    is_forcible = is_forcible or is_dropping
    if ok or err ~= "no memory" then return ok, err, is_forcible end
    is_forcible = true
  end
  return nil, "no memory"
end

function Board:_set(field, value, seconds)
  local ok, err, is_forcible = set(self.dict, self.keys[field], value, seconds or 0)
  if not ok then
    self:_complain("takes nothing more: " .. tostring(err))
  elseif is_forcible then
    self:_complain "is full, and drops what is in use"
  end
end

--- Publishes until when this instance leads: a term's stop_at, or nil: it does not.
function Board:publish_deadline(stop_at)
  if not self.dict then return end
  -- Rounded down: never a moment too long.
  local deadline = stop_at and math.floor(stop_at * MICROSECONDS)
  if deadline then
    self:_set("deadline", deadline)
  elseif self.published and self.dict:get(self.keys.deadline) == self.published then
    -- Not that of another worker, which may lead since we hung.
    self.dict:delete(self.keys.deadline)
  end
  self.published = deadline
end

--- Publishes who leads: { value =, key =, token =, is_me = }; value nil: no leader.
function Board:publish_leader(leader)
  if not self.dict then return end
  local text = ""
  if leader.value then
    text = ("%.0f %d %d %s%s"):format(leader.token, leader.is_me and 1 or 0, #leader.key, leader.key, leader.value)
  end
  self:_set("leader", text, STANDING_S)
  self.published_leader = text
end

--- It is not known any more.
function Board:forget_leader()
  -- Not what another worker has published, which may stand since we hung.
  if self.published_leader and self.dict:get(self.keys.leader) == self.published_leader then
    self.dict:delete(self.keys.leader)
  end
  self.published_leader = nil
end

-- ---- reading ------------------------------------------------------------------------------------------------------

--- How long this instance certainly leads, in seconds; 0: it does not.
function Board:remaining()
  local deadline = self.dict:get(self.keys.deadline)
  local left = deadline and deadline / MICROSECONDS - core.now() or 0
  return left > 0 and left or 0
end

--- Who leads; value nil: no leader; nil: nothing was published in the last seconds.
function Board:leader()
  local text = self.dict:get(self.keys.leader)
  if not text then return nil end
  local token, is_me, length, rest = text:match "^(%d+) (%d) (%d+) (.*)$"
  if not token then return {} end
  length = tonumber(length)
  return { token = tonumber(token), is_me = is_me == "1", key = rest:sub(1, length), value = rest:sub(length + 1) }
end

-- ---- standing -----------------------------------------------------------------------------------------------------

-- { pid =, lease = or nil, since = }, or nil.
local function parse(record)
  if not record then return nil end
  local owner, lease, since = record:match "^(%d+) (%S+) (%d+)$"
  return owner and { pid = tonumber(owner), lease = lease ~= "-" and lease or nil, since = tonumber(since) }
end

function Board:_standing()
  return parse(self.dict:get(self.keys.standing))
end

local function is_ours(record)
  return record and record.pid == pid()
end

function Board:_record(lease)
  return ("%d %s %.0f"):format(pid(), lease or "-", self.since)
end

function Board:_write_standing(lease)
  self:_set("standing", self:_record(lease), STANDING_S)
  self.renewed_at = core.now()
end

-- What a dead worker of this instance has left: its deadline, and the lease, under which no process works any more.
function Board:_bury(record)
  self.dict:delete(self.keys.deadline)
  self.dict:delete(self.keys.leader)
  return true, record.lease
end

-- The worker that stands has died: takes its standing, unless another worker is doing so.
function Board:_inherit(record)
  if not self.dict:add(self.keys.claim, pid(), CLAIM_S) then return false end
  -- It may have changed hands while we looked.
  local standing = self:_standing()
  local is_same = standing and standing.pid == record.pid and standing.since == record.since
  if is_same then self:_write_standing() end
  self.dict:delete(self.keys.claim)
  if is_same then return self:_bury(record) end
  return false
end

--- Whether this worker stands from now on; and the lease that a dead worker has left, if there is one.
function Board:claim()
  self.since = now_us()
  if not self.dict then return true end
  local record = self:_standing()
  if is_ours(record) then
    self:_write_standing()
    return true
  elseif record then
    if core.process_exists(record.pid) then return false end
    return self:_inherit(record)
  end
  local ok, err = self.dict:add(self.keys.standing, self:_record(), STANDING_S)
  if not ok and err == "exists" then return false end
  -- A second one that stands does no harm.
  if not ok then self:_complain("takes nothing more: " .. tostring(err)) end
  self.renewed_at = core.now()
  return true
end

--- Renews the standing. Nil and why where this worker is to stand no more.
function Board:renew(lease)
  if not self.dict then return true end
  local record = self:_standing()
  local is_fresh = core.now() - self.renewed_at < STANDING_S
  if record and not is_ours(record) then
    if not is_fresh then
      return nil, ("this worker was not heard of for %g s, and another worker of this nginx stands"):format(STANDING_S)
    elseif record.since < self.since then
      return nil, "another worker of this nginx was there first"
    end
  end
  if is_fresh and not is_ours(record) then self:_complain "has lost what was in it" end
  self:_write_standing(lease)
  return true
end

--- The standing is free from now on, unless it is that of another board of this worker: of a singleton made since.
function Board:leave()
  local record = self.dict and self:_standing()
  if is_ours(record) and record.since == self.since then self.dict:delete(self.keys.standing) end
end

--- Whether a worker stands.
function Board:is_anybody_standing()
  return self:_standing() ~= nil
end

--- `dict_name`: of a shared dict, or nil. `log`: a candidate's.
return function(dict_name, election, log)
  local self = setmetatable({
    dict = dict_name and ngx.shared[dict_name], dict_name = dict_name, log = log, keys = {},
  }, Board)
  for _, field in ipairs { "standing", "claim", "deadline", "leader" } do
    self.keys[field] = ("%s:%s"):format(election, field)
  end
  return self
end
