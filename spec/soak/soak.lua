-- The long forms of the proofs, and one report: ./dev soak [PART...]
--
--   cuts       40 cuts of leaders at each TTL of 2, 3, 5 and 10, side by side           (about 2 minutes)
--   stops      20 leaders stopped for longer than their TTL                             (about 20 seconds)
--   deaths     100 candidates killed -9 wherever their campaigns are                    (about 20 seconds)
--   members    followers of a cluster of three frozen in turn, 20 times                 (about 3 minutes)
--   nginx      delays inside nginx under load, 50 reloads under load, memory            (about 4 minutes)
--   lines      4,000 waiters for one lock, in one session (in C and in Lua) and in 40
--              processes, etcd as it is and slowed down; 500 beside 4,000; 10,000 that
--              enter; 1,000 that only wait                                              (about 5 minutes)
--   slow       a lock, a term and a session of 15 s where every answer comes 1.2 s late,
--              in plaintext and over mutual TLS                                         (5 minutes)
--   tls        certificates replaced, tokens of 5 s, members that fail one after the
--              other, over TLS and with users               (25 minutes; LUNARCH_MINUTES=n for each of the three)
--   exec       10,000 commands: nothing is left of them                                 (about 3 minutes)
--   requests   switchovers and pauses at random: 1,300 simulated histories; and in
--              processes, against leaders that are stopped                              (about 6 minutes)
--   away       etcd killed, and serving again 5 s after that, 10 times: 1,000
--              candidates in one process, and 50 processes                              (about 6 minutes)
--   examples   each example (spec/examples/plays) 20 times under each of kill -9, SIGSTOP and a cut network, its
--              invariant looked at from outside (about 6 minutes each; LUNARCH_EXAMPLE=name: one of them;
--              LUNARCH_TURNS=n in place of 20)
--   fuzz       senseless arguments in every world, and replies changed on their way     (an hour; LUNARCH_MINUTES=n;
--              only where it is named)
--
-- Without a PART all of them but slow, tls, examples and fuzz. Ends with 0 when every bar was reached. LUNARCH_SEED=n
-- repeats the random instants.
local uv = require "luv"

-- Under the sanitizers (sanitized.lua) this process has them put before it, and gives them on to other Lua VMs alone.
if os.getenv "LD_PRELOAD" then
  uv.os_setenv("LUNARCH_PRELOAD", os.getenv "LD_PRELOAD")
  uv.os_unsetenv "LD_PRELOAD"
end

-- What etcd and the logs write goes here, and goes in the end.
local MEMORY = uv.fs_access("/dev/shm", "W") and "/dev/shm" or "/tmp"
local folder = assert(uv.fs_mkdtemp(MEMORY .. "/lunarch-soak-XXXXXX"))
uv.os_setenv("LUNARCH_TMP", folder)

local changed = require "fuzz.changed"
local cuts = require "live.support.cuts"
local etcd = require "support.etcd"
local followers = require "live.support.followers"
local lunarch = require "lunarch"
local scene = require "live.support.scene"
local slow = require "live.support.slow"
local stops = require "live.support.stops"
local tree = require "support.tree"
local victims = require "live.support.victims"
local wait = require "support.wait"
local watched = require "fuzz.watched"

local CUTS_EACH, STOPS, DEATHS, FREEZES, SESSIONS = 40, 20, 100, 20, 12
local MEDIAN_MS, LONGEST_MS = 10, 50
local FUZZ_CALLS, FUZZ_REPLIES = 10000, 20000

local n_failed = 0

local function say(format, ...)
  print(format:format(...))
  io.stdout:flush()
end

-- One line of the report, and what was wrong below it.
local function verdict(is_fine, what, troubles)
  say("  %-4s %s", is_fine and "ok" or "FAIL", what)
  if is_fine then return end
  n_failed = n_failed + 1
  for i, trouble in ipairs(troubles or {}) do
    say("       %s", (trouble:gsub("\n", "\n       ")))
    if i == 20 then return say("       and %d more", #troubles - i) end
  end
end

local function law(what, complaints) verdict(#complaints == 0, what, complaints) end

local parts = {}

-- Ten elections at each TTL, four cuts each.
function parts.cuts()
  say("cuts: the network of a leader cut at random instants, %d times at each TTL", CUTS_EACH)
  local plan = {}
  for _, ttl in ipairs { 2, 3, 5, 10 } do
    plan[#plan + 1] = { ttl = ttl, weather = "silent", lanes = 5, rounds = CUTS_EACH // 10 }
    plan[#plan + 1] = { ttl = ttl, weather = "late", lanes = 4, rounds = CUTS_EACH // 10 }
    plan[#plan + 1] = { ttl = ttl, weather = "deaf", lanes = 1, rounds = CUTS_EACH // 10 }
  end
  local result = cuts.run(plan)
  for _, row in ipairs(cuts.figures(result)) do
    verdict(row.cuts >= CUTS_EACH, cuts.line_of(row))
  end
  law("no two leaders at once, handlers in order", cuts.disorder(result))
  law("work stopped and on_lost over before the lease could end", cuts.lateness(result))
  law("the key seen to go only after on_lost", cuts.early_deletions(result))
  result.stop()
end

function parts.stops()
  say("stops: %d leaders stopped for longer than their TTL, and going on", STOPS)
  local result = stops.run(STOPS)
  law("do_work was not called again", stops.late_work(result))
  law("waits failed, guarded writes were refused", stops.wrong_answers(result))
  local median, longest = stops.delays_ms(result)
  local line = ("on_lost began %.1f ms after CONT at the median, %.1f at most (bars: %d, %d); %d had been stopped in "
    .. "a wait"):format(median, longest, MEDIAN_MS, LONGEST_MS, stops.n_failed_waits(result))
  verdict(median <= MEDIAN_MS and longest <= LONGEST_MS, line)
  result.stop()
end

function parts.members()
  say("members: one follower of three frozen for 2.5 TTLs at TTL 3, %d times, %d sessions", FREEZES, SESSIONS)
  local result
  scene.play(function() result = followers.run(FREEZES, SESSIONS) end)()
  verdict(result.n_lost == 0, ("sessions were lost in %d of %d"):format(result.n_lost, result.n), result.troubles)
end

function parts.exec() require "soak.exec"(say, verdict) end

function parts.deaths()
  say("deaths: %d candidates of TTL %d killed -9 wherever their campaigns are", DEATHS, victims.TTL)
  local server, result = etcd.start(), nil
  scene.play(function() result = victims.run(server, DEATHS) end)()
  server:stop()
  local bar_s = victims.TTL + 1
  verdict(result.longest <= bar_s, ("the next one waited %.2f s at most (bar: %d); %d had left a place"):format(
    result.longest, bar_s, result.n_left))
end

function parts.nginx() require "nginx.support.report"(say, verdict, law) end

function parts.lines() require "soak.lines"(say, verdict) end

function parts.requests() require "soak.requests"(say, verdict) end

function parts.slow()
  local seconds = 60 * (tonumber(os.getenv "LUNARCH_MINUTES") or 5)
  say("slow: every answer comes 1.2 s late, for %d s", seconds)
  local pki = require("support.pki").usual()
  scene.play(function()
    local tasks = {}
    for _, its_pki in ipairs { false, pki } do
      local options = { delay_s = 1.2, ttl = 15, seconds = seconds, pki = its_pki or nil }
      tasks[#tasks + 1] = { options, lunarch.spawn(slow.run, options) }
    end
    for _, task in ipairs(tasks) do
      local ok, result = task[2]:join()
      verdict(ok and not result.trouble, ok and slow.line(task[1], result) or "failed",
        { ok and result.trouble or tostring(result) })
    end
  end)()
  tree.remove(pki.folder)
end

function parts.away() require "soak.away"(say, verdict) end

function parts.tls() require "soak.tls"(say, verdict) end

function parts.examples() require "soak.examples"(say, verdict, law) end

-- Rounds for each world and for the replies, each with a seed of its own.
function parts.fuzz()
  local minutes = tonumber(os.getenv "LUNARCH_MINUTES") or 60
  say("fuzz: senseless arguments and changed replies, %g minutes", minutes)
  local until_s = uv.hrtime() / 1e9 + 60 * minutes
  local function round(what, again, run)
    local server = etcd.start()
    local ok, findings, summary = pcall(run, server)
    server:stop()
    local is_fine = ok and findings == ""
    verdict(is_fine, what .. ": " .. tostring(summary), { tostring(findings), again })
  end
  while uv.hrtime() / 1e9 < until_s do
    for _, world in ipairs(watched.WORLDS) do
      local round_seed = math.random(1 << 30)
      round(world, watched.again(world, round_seed, FUZZ_CALLS),
        function(server) return watched.run(world, server, round_seed, FUZZ_CALLS, wait.LIMIT) end)
    end
    local round_seed = math.random(1 << 30)
    round("replies", changed.again(round_seed, FUZZ_REPLIES),
      function(server) return changed.run(server, round_seed, FUZZ_REPLIES, wait.LIMIT) end)
  end
end

local ORDER = {
  "stops", "cuts", "deaths", "members", "exec", "nginx", "lines", "requests", "away", "slow", "tls", "examples", "fuzz",
}
local ONLY_BY_NAME = { slow = true, tls = true, examples = true, fuzz = true }

local function wanted(name)
  if #arg == 0 then return not ONLY_BY_NAME[name] end
  for _, word in ipairs(arg) do
    if word == name then return true end
  end
  return false
end

for _, word in ipairs(arg) do
  if not parts[word] then
    tree.remove(folder)
    io.stderr:write("soak: there is no part '", word, "': ", table.concat(ORDER, ", "), "\n")
    os.exit(2)
  end
end

local seed = tonumber(os.getenv "LUNARCH_SEED") or os.time()
math.randomseed(seed)
say("seed %d", seed)
for _, name in ipairs(ORDER) do
  if wanted(name) then
    local ok, err = pcall(parts[name])
    if not ok then verdict(false, name .. " broke off", { tostring(err) }) end
  end
end
tree.remove(folder)
say(n_failed == 0 and "every bar was reached" or "%d bars were not reached", n_failed)
lunarch.shutdown(5)
os.exit(n_failed == 0 and 0 or 1)
