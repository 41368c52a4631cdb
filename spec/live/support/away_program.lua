-- A script for `lunarch`: many candidates of one process, each alone in its election. It says when all are elected,
-- each term that is lost, and how long it takes to renew all sessions once etcd, which was away, answers again.
-- luacheck: globals candidate
--
--   lunarch run away_program.lua --endpoints ... -- N PREFIX
local lunarch = require "lunarch"
local uv = require "luv"

local n, prefix = tonumber(arg[1]), arg[2]
local TTL, MARGIN = 10, 1
local AWAY_S, WELL_S = 3, 1.5 -- the age of the latest renewal of all sessions: etcd is away; it is back
local LOOK_MS = 50

io.stdout:setvbuf "line"
local candidates, n_elected, n_leading = {}, 0, 0

local function resident_kb()
  for line in io.lines "/proc/self/status" do
    local kb = line:match "^VmRSS:%s+(%d+)"
    if kb then return tonumber(kb) end
  end
end

-- What the first candidate of any process costs: the pages of the libraries, threads, a connection.
local function warm_up()
  local client = assert(lunarch.connect {})
  local session = assert(client:session { ttl = TTL })
  local term = assert(session:election(prefix .. "warm"):campaign "first")
  assert(term:resign())
  assert(client:close(5))
  collectgarbage()
end

warm_up()
local before_kb = resident_kb()

for i = 1, n do
  candidates[i] = candidate {
    election = prefix .. i,
    name = "only",
    ttl = TTL,
    on_elected = function()
      n_elected, n_leading = n_elected + 1, n_leading + 1
      if n_elected > n and n_leading == n then print "all lead again" end
      if n_elected == n then
        collectgarbage()
        print(("elected %d, each %.1f kB"):format(n, (resident_kb() - before_kb) / n))
      end
    end,
    on_lost = function(_, reason)
      n_leading = n_leading - 1
      if reason == "stopping" then return end
      print(("lost %s"):format(reason))
    end,
    do_work = function() return 3600 end,
  }
end

-- When the oldest and the latest renewal were sent, as ages.
local function ages()
  local now, oldest, latest = lunarch.now(), 0, math.huge
  for _, one in ipairs(candidates) do
    local valid_until = one.session and one.session.valid_until
    if valid_until then
      local age = now - (valid_until - TTL + MARGIN)
      oldest, latest = math.max(oldest, age), math.min(latest, age)
    end
  end
  return oldest, latest, now
end

local is_away, seen_at, sent_at
local timer = uv.new_timer()
timer:start(LOOK_MS, LOOK_MS, function()
  if n_elected < n then return end
  local oldest, latest, now = ages()
  if not is_away and latest > AWAY_S then
    is_away, seen_at = true, nil
    print "away"
  elseif is_away then
    -- The first that was answered, and all that went out with it or after it.
    if not seen_at and latest < WELL_S then seen_at, sent_at = now - LOOK_MS / 1000, now - latest end
    if seen_at and now - oldest >= sent_at then
      is_away = false
      print(("recovered in %.3f s"):format(now - seen_at))
    end
  end
end)
timer:unref()
