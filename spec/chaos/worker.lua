-- A script for `lunarch`: one of the candidates of a chaos run. As a leader it inserts into a set by guarded writes;
-- beside that it contends for the mutexes of the other sets (sets.lua). ledger.lua reads what it tells:
--
--   lunarch run worker.lua --endpoints LIST --name WHO --ttl S -- LIFE
--
--   pid <pid>                                      once
--   events of terms, as teller.lua has them, and "claim <t> ...": at t it was asked, and said, that the term lasts
--   set <event> <t> <set> <token> [<id> [<code>]]  locked, claim; freed, or gone when there was no
--                                                  answer, or nothing to unlock; acked, refused, unknown: an insertion
--   lease <set or election> <token> gone|there     after a place was lost: whether its lease lives, asked at once
-- luacheck: globals name ttl on_elected do_work on_lost
local lunarch = require "lunarch"
local sets = require "chaos.sets"
local teller = require "live.support.teller"
local uv = require "luv"

local LIFE = arg[1]
local CALL_S, LOCK_S = 2, 10
local WORK_S, PAUSE_S, FAREWELL_S = 0.05, 0.05, 0.02
local LEAST_HOLD_S, MOST_HOLD_S = 0.03, 0.12
local RETRY_S = 0.3

-- What the answer to a write may be when the write was not carried out, and never will be.
local REFUSED = { not_leader = true, lost = true, not_owner = true }

local n_ids = 0

local function new_id()
  n_ids = n_ids + 1
  return ("%s%s.%d"):format(name, LIFE, n_ids)
end

local function say(event, at, set, token, ...)
  local words = { "set", event, ("%.6f"):format(at), set.name, ("%d"):format(token), ... }
  io.stdout:write(table.concat(words, " "), "\n")
end

-- One insertion: `write(value)` sends it. True, false for refused, nil for a write whose fate is not known.
local function insert(client, set, token, hold_s, write)
  local value, message, code = client:get(set.key, nil, CALL_S)
  if code then error(message, 0) end
  local parent = sets.latest(value)
  lunarch.sleep(hold_s)
  local id = new_id()
  local is_called, ok, _, why = pcall(write, sets.version(id, parent, token))
  if is_called and ok then
    say("acked", lunarch.now(), set, token, id)
    return true
  end
  -- A wait of a term that is over raises.
  why = is_called and why or "raised"
  say(REFUSED[why] and "refused" or "unknown", lunarch.now(), set, token, id, why)
  if REFUSED[why] then return false end
  return nil
end

-- Who deleted a place? Whoever deletes the key alone leaves the lease.
local function tell_of_lease(client, what, token, lease)
  local left, _, code = client:ttl(lease, CALL_S)
  if left or code == "lost" then
    io.stdout:write(("lease %s %d %s\n"):format(what, token, left and "there" or "gone"))
  end
end

-- ---- as a leader ------------------------------------------------------------------------------------------------

local leader_client = assert(lunarch.connect())

function on_elected(term) teller.say("elected", sets.ELECTION, term) end

-- The instant before the question: it was a leader then, if the answer is yes, wherever it was stopped in between.
local function claim(term)
  local at = lunarch.now()
  if term:remaining() > 0 then
    io.stdout:write(("claim %.6f %s %d\n"):format(at, sets.ELECTION, term.token))
  end
end

local function work(term)
  local set = sets.by_name.term
  local done = insert(leader_client, set, term.token, WORK_S, function(value)
    return term:put(set.key, value, nil, CALL_S)
  end)
  claim(term)
  -- A late copy of a write whose fate is not known must not meet a later one of ours: with the place it is refused.
  if done == nil then return false end
  return PAUSE_S
end

function do_work(term)
  teller.say("work", sets.ELECTION, term)
  claim(term)
  local ok, result = pcall(work, term)
  teller.say("worked", sets.ELECTION, term)
  if ok then return result end
  -- A read that failed is no reason to step down; what ended the term is told by itself.
  if type(result) == "table" and result.code == "lost" then error(result, 0) end
  return PAUSE_S
end

function on_lost(term, reason)
  teller.say("losing", sets.ELECTION, term, reason)
  lunarch.sleep(FAREWELL_S)
  teller.say("lost", sets.ELECTION, term)
  if reason == "key_deleted" or reason == "revoked" then
    lunarch.spawn(tell_of_lease, leader_client, sets.ELECTION, term.token, term.election.session.lease)
  end
end

-- ---- under a mutex ----------------------------------------------------------------------------------------------

local client = assert(lunarch.connect())

local writers = {}

function writers.fenced(set, mutex, token)
  local key = mutex.key
  return function(value)
    local result, message, code = client:txn({
      compare = { { "create", key, "=", token } },
      success = { { "put", set.key, value } },
    }, CALL_S)
    if result and not result.succeeded then return nil, "the lock is not ours any more", "not_owner" end
    return result, message, code
  end
end

function writers.bare(set)
  return function(value) return client:put(set.key, value, nil, CALL_S) end
end

function writers.checked(set, mutex)
  local put = writers.bare(set)
  return function(value)
    if not mutex:is_held() then return nil, "the lock is not held any more", "not_owner" end
    return put(value)
  end
end

local function hold(set, mutex, token)
  local write = writers[set.name](set, mutex, token)
  local hold_s = LEAST_HOLD_S + math.random() * (MOST_HOLD_S - LEAST_HOLD_S)
  pcall(insert, client, set, token, hold_s, write)
  local at = lunarch.now()
  if mutex:is_held() then say("claim", at, set, token) end
end

local function contend_once(set, mutex)
  local ok, token = mutex:lock(LOCK_S)
  if not ok then return false end
  say("locked", lunarch.now(), set, token)
  hold(set, mutex, token)
  local is_freed = mutex:unlock(CALL_S)
  say(is_freed and "freed" or "gone", lunarch.now(), set, token)
  if not is_freed then tell_of_lease(client, set.name, token, mutex.session.lease) end
  return true
end

local function contend(set)
  while true do
    local session = client:session({ ttl = ttl }, CALL_S)
    local mutex = session and assert(session:mutex(set.lock))
    while session and session:remaining() > 0 do
      if not contend_once(set, mutex) then break end
      lunarch.sleep(math.random() * LEAST_HOLD_S)
    end
    if session then session:close({}, CALL_S) end
    lunarch.sleep(RETRY_S * (0.5 + math.random()))
  end
end

io.stdout:write(("pid %d\n"):format(uv.os_getpid()))
for _, set in ipairs(sets.list) do
  if set.name ~= "term" then lunarch.spawn(contend, set) end
end
