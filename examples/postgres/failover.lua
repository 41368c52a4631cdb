-- PostgreSQL: the server whose candidate leads is the primary, the others follow it as standbys.
--
--   PGDATA=/srv/pg PGPORT=5432 lunarch run failover.lua --name db-1:5432   on every host, as the user of the server
--
-- A candidate is called by the address of its server. A primary lives no longer than its term: the server is a command
-- that belongs to the term, and is stopped with it, also where this program is killed or stopped. And each write shows
-- its token to the database, which refuses one older than the newest it has seen, inside the same transaction.
local lunarch = require "lunarch"

election     = "/examples/postgres"
ttl          = 5
stop_timeout = 20

-- In etcd: which server was the primary last, and since which token. Its writes are in itself, and in those that were
-- copied from it since.
local LATEST = "/examples/postgres-primary"
local DATA, PORT = os.getenv "PGDATA" or "/srv/postgres", os.getenv "PGPORT" or "5432"
local BIN = os.getenv "PGBIN" or "/usr/lib/postgresql/15/bin"

local function run(seconds, ...)
  local result, message = lunarch.exec { timeout = seconds, ... }
  if not result then return nil, message end
  return result.code == 0, table.concat({ ... }, " ") .. ": " .. result.stderr
end

local function pg(seconds, program, ...) return run(seconds, BIN .. "/" .. program, ...) end

-- A command that could not be run, or not in time, is no answer.
local function ask(...)
  local answer, message = run(10, ...)
  if answer == nil then error(message) end
  return answer
end

local function has_data() return ask("test", "-f", DATA .. "/PG_VERSION") end
local function is_standby() return ask("test", "-f", DATA .. "/standby.signal") end

-- Of `latest`, from whose server it was copied since that is the primary.
local function is_standby_of(latest)
  return is_standby() and ask("grep", "-qxF", latest, DATA .. "/standby_of")
end

-- In the foreground, so that it is ours to end: SIGTERM becomes an immediate shutdown.
local SERVER = [[
  trap 'kill -QUIT $!; wait; exit' TERM
  "$0" -D "$1" -p "$2" -h 127.0.0.1 -k '' >>"$1/log" 2>&1 & wait $!]]
local client = assert(lunarch.connect())
---@type lunarch.task?, string?
local server, followed       -- the task that runs it, and what LATEST was when it was copied

local function is_running() return server ~= nil and server:is_running() end

local function stop()
  if not server then return end
  server:interrupt "the server is to be stopped"
  server:join()
  server, followed = nil, nil
end

-- `term` nil: a standby.
local function start(term)
  server = lunarch.spawn(function()
    lunarch.exec { "sh", "-c", SERVER, BIN .. "/postgres", DATA, PORT, term = term, kill_after = 5 }
  end)
  while not pg(5, "pg_isready", "-q", "-h", "127.0.0.1", "-p", PORT) do
    if not is_running() then error("the server has ended: see " .. DATA .. "/log") end
    lunarch.sleep(0.2)
  end
end

local function psql(text)
  return pg(20, "psql", "-qtA", "-h", "127.0.0.1", "-p", PORT, "-U", "postgres", "-d", "postgres",
    "-v", "ON_ERROR_STOP=1", "-c", text)
end

-- A copy is made beside the data, and replaces it once it is complete: a part of a copy is never started, and a copy
-- that fails costs no data.
local NEW = DATA .. ".new"
local NOTE = [[echo "$1" >"$0/standby_of"]]
local REPLACE = [[rm -rf "$0.old" && if [ -e "$0" ]; then mv "$0" "$0.old"; fi && mv "$0.new" "$0" && rm -rf "$0.old"]]

local function make(seconds, program, ...)
  assert(run(60, "rm", "-rf", NEW))
  assert(pg(seconds, program, "-D", NEW, ...))
end

local function put_in_place()
  stop()
  assert(run(60, "sh", "-c", REPLACE, DATA))
end

-- ---- the primary --------------------------------------------------------------------------------------------------

local TABLES = [[
  CREATE TABLE IF NOT EXISTS fence (token bigint NOT NULL);
  INSERT INTO fence SELECT 0 WHERE NOT EXISTS (SELECT FROM fence);
  CREATE TABLE IF NOT EXISTS journal (token bigint, at timestamptz DEFAULT clock_timestamp());
  CREATE OR REPLACE FUNCTION guarded(mine bigint) RETURNS void LANGUAGE plpgsql AS $$
  BEGIN
    UPDATE fence SET token = mine WHERE token <= mine;
    IF NOT FOUND THEN RAISE EXCEPTION 'token % is too old: another leads now', mine; END IF;
  END $$]]

-- Whether `latest` is of this server: "NAME since token N", or nil.
local function names(latest, name)
  return latest ~= nil and tostring(latest):match "^%S+" == name
end

-- Whether this server has all that the latest primary has written; if there was none, a new one has.
local function may_lead(latest, name)
  if not latest then return true end
  if names(latest, name) then return has_data() end
  return is_standby_of(latest)
end

function on_elected(term)
  local latest, message, code = client:get(LATEST)
  if code then error(message) end
  if not may_lead(latest, term.value) then
    log.warn("this server lacks what %s has written: others go first", latest)
    term:resign()
    return
  end
  stop()
  if not latest and not has_data() then
    make(60, "initdb", "-A", "trust", "-U", "postgres")
    put_in_place()
  end
  start(term)
  -- Before the promotion: a server that was promoted and fails then is no standby any more, and still the one to lead.
  if not names(latest, term.value) then
    assert(term:put(LATEST, ("%s since token %d"):format(term.value, term.token)))
  end
  if is_standby() then assert(pg(60, "pg_ctl", "promote", "-w", "-D", DATA)) end
  assert(psql(TABLES))
  assert(psql(("SELECT guarded(%d)"):format(term.token)))
  log.info("%s is the primary, token %d", term.value, term.token)
end

-- Whatever the leader writes, it writes like this.
function do_work(term)
  local token = term.token
  assert(psql(("BEGIN; SELECT guarded(%d); INSERT INTO journal (token) VALUES (%d); COMMIT"):format(token, token)))
  return 0.5
end

function on_lost(_, reason)
  stop()
  log.warn("no primary any more (%s)", reason)
end

-- ---- a standby ----------------------------------------------------------------------------------------------------

-- A copy from the primary, also in place of what an old primary has: safe, if not quick (pg_rewind is).
local function follow(primary, latest)
  local host, port = primary:match "^(.-):?(%d*)$"
  make(600, "pg_basebackup", "-R", "-c", "fast", "-h", host, "-p", port, "-U", "postgres")
  assert(run(10, "sh", "-c", NOTE, NEW, latest))
  put_in_place()
  start()
  followed = latest
  log.info("follows %s", primary)
end

function do_standby(leader)
  if not leader.value then return 1 end
  local latest = client:get(LATEST)
  -- A leader that LATEST does not name has no primary yet, and may never have.
  if not names(latest, leader.value) then return 1 end
  if followed ~= latest or not is_running() then
    local ok, message = pcall(follow, leader.value, latest)
    if not ok then log.warn("cannot follow %s yet: %s", leader.value, tostring(message)) end
  end
  return 1
end

-- ---- in `lunarch sim` ---------------------------------------------------------------------------------------------

-- The word of a command after `flag`.
local function after(command, flag)
  for i, word in ipairs(command) do
    if word == flag then return command[i + 1] end
  end
end

-- What the commands do to the server of a host, and to what is made beside it. As in PostgreSQL, what was made anew has
-- an identifier of its own, which copies share.
local EFFECTS = {
  rm = function(db) db.new = nil end,
  initdb = function(db, _, world) db.new = { system = ("%s %d"):format(world.name, db.n), is_standby = false } end,
  pg_basebackup = function(db, command, world)
    local from = world.notes["db of " .. after(command, "-h")]
    db.new = { system = from and from.system, is_standby = true }
  end,
  note = function(db, command) db.new.standby_of = command[5] end,
  replace = function(db)
    local new = db.new
    db.system, db.is_standby, db.standby_of, db.new = new.system, new.is_standby, new.standby_of, nil
  end,
  promote = function(db) db.role, db.is_standby = "primary", false end,
  server = function(db) db.role = "down" end,
}
local ANSWERS = {
  PG_VERSION = function(db) return db.system ~= nil end,
  ["standby.signal"] = function(db) return db.is_standby end,
  grep = function(db, command) return db.standby_of == command[3] end,
  pg_isready = function(db) return db.role ~= "down" end,
}

local SHELL = { [SERVER] = "server", [REPLACE] = "replace", [NOTE] = "note" }

local function name_of(command)
  local program = command[1]:match "[^/]+$"
  if program == "sh" then return SHELL[command[3]] end
  if program == "test" then return command[3]:match "[^/]+$" end
  return program == "pg_ctl" and command[2] or program
end

if sim then
  local is_first = true
  sim.exec(function(command, world)
    local name, what = "db of " .. world.name, name_of(command)
    local db = world.notes[name] or { is_standby = false, n = 0 }
    local function put()
      db.n = db.n + 1
      world.notes[name] = db
    end
    -- The server of an earlier life was stopped when that ended.
    if is_first then db.role = "down" end
    is_first = false
    if what == "server" then db.role = db.is_standby and "standby" or "primary" end
    put()
    if ANSWERS[what] then return { code = ANSWERS[what](db, command) and 0 or 1, after = 0.01 } end
    local is_faulty = world.phase ~= "recovery"
    return {
      hangs = what == "server", code = is_faulty and world.chance(50) and 1 or 0,
      after = world.random(0.05, is_faulty and world.chance(100) and 20 or 1),
      on_end = function(_, how)
        db = world.notes[name]
        if EFFECTS[what] and (how.code == 0 or what == "server") then EFFECTS[what](db, command, world) end
        put()
      end,
    }
  end)
end

-- A server that is a primary though its candidate's term is over counts, too: the script forgot to stop it. One whose
-- program was killed does not: its fence has stopped it.
local lives = {}
local system                 -- of the first primary

function check(world)
  local primaries = {}
  for _, candidate in ipairs(world.candidates) do
    local name = candidate.name
    local db = world.notes["db of " .. name]
    if db and (not lives[name] or lives[name].n ~= db.n) then lives[name] = { n = db.n, life = candidate.lives } end
    local is_left = candidate.is_up and not candidate.is_paused and not candidate.is_elected
      and lives[name] and lives[name].life == candidate.lives
    local is_primary = db and db.role == "primary"
    if is_primary and candidate.leads and (world:get(LATEST) or ""):match "^%S*" == name then
      system = system or db.system
      if db.system ~= system then return false, name .. " lacks all that earlier primaries have written" end
    end
    if is_primary and (candidate.leads or is_left) then primaries[#primaries + 1] = name end
  end
  return #primaries <= 1, "two primaries: " .. table.concat(primaries, " and ")
end
