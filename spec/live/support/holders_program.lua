-- Sessions that take turns in a few lines for as long as they are told to, in a process of their own, so that what is
-- done to etcd holds none of them up:
--   lua5.4 holders_program.lua SESSIONS CLIENTS TTL LINES PAUSE_S FRESH_S ENDPOINT...
-- Every lane holds a session, and again and again enters its line, holds it for a moment, and leaves it; between two
-- turns it pauses about PAUSE_S. Every fifth lane campaigns instead. With FRESH_S > 0 a client of its own, begun anew
-- each time, takes a lock every FRESH_S. Credentials stand in the environment. Ends when its stdin does.
--
-- Says "ready", "trouble: ..." for whatever must not happen, and in the end one line of JSON, and "over".
local json = require "cjson"
local lunarch = require "lunarch"
local uv = require "luv"

local n_sessions, n_clients, ttl, n_lines = tonumber(arg[1]), tonumber(arg[2]), tonumber(arg[3]), tonumber(arg[4])
local pause_s, fresh_s = tonumber(arg[5]), tonumber(arg[6])
local endpoints = { table.unpack(arg, 7) }
local LIMIT_S, HELD_S, TROUBLES_SHOWN = 60, 0.2, 100

io.stdout:setvbuf "line"
local is_over = false
local result = {
  sessions = n_sessions, lost = 0, turns = 0, failed = 0, overlaps = 0, fresh = 0, longest_wait_s = 0, least_s = ttl,
}
local owners, tokens, n_troubles = {}, {}, 0

local function trouble(format, ...)
  n_troubles = n_troubles + 1
  if n_troubles <= TROUBLES_SHOWN then print("trouble: " .. format:format(...)) end
end

local function connect(number)
  local own = {}
  for i = 1, #endpoints do
    own[i] = endpoints[(number + i) % #endpoints + 1]
  end
  return assert(lunarch.connect { endpoints = own })
end

local function enter(lane)
  if not lane.campaigns then
    local mutex = lane.session:mutex(lane.line)
    local ok, message, code = mutex:lock(LIMIT_S)
    return ok and mutex, message, code
  end
  return lane.session:election(lane.line):campaign("lane " .. lane.number, LIMIT_S)
end

local function leave(lane, held)
  if lane.campaigns then return held:resign(LIMIT_S) end
  return held:unlock(LIMIT_S)
end

local function hold(lane, held)
  if owners[lane.line] then
    result.overlaps = result.overlaps + 1
    trouble("lanes %d and %d hold %s at once", owners[lane.line], lane.number, lane.line)
  end
  if held.token <= (tokens[lane.line] or 0) then trouble("a token of %s has not risen", lane.line) end
  owners[lane.line], tokens[lane.line] = lane.number, held.token
  lunarch.sleep(HELD_S * math.random())
  if owners[lane.line] == lane.number then owners[lane.line] = nil end
end

local function take_turn(lane)
  local began = lunarch.now()
  local held, message, code = enter(lane)
  local took_s = lunarch.now() - began
  result.longest_wait_s = math.max(result.longest_wait_s, took_s)
  local ok = held
  if held then
    hold(lane, held)
    ok, message, code = leave(lane, held)
  end
  if not ok then
    result.failed = result.failed + 1
    trouble("lane %d %s after %.1f s: %s (%s)", lane.number, held and "left" or "entered", took_s, tostring(message),
      tostring(code))
  end
  result.turns = result.turns + 1
end

local function renew(lane)
  local state, reason = lane.session:state()
  if state ~= "lost" and state ~= "closed" then return end
  result.lost = result.lost + 1
  trouble("lane %d lost its session: %s", lane.number, tostring(reason))
  lane.session = assert(lane.client:session({ ttl = ttl }, LIMIT_S))
end

local function run_lane(lane)
  while not is_over do
    take_turn(lane)
    renew(lane)
    if pause_s > 0 then
      local until_s = lunarch.now() + 2 * pause_s * math.random()
      while not is_over and lunarch.now() < until_s do
        lunarch.sleep(math.min(0.2, math.max(0, until_s - lunarch.now())))
      end
    end
  end
end

local function run_fresh()
  while not is_over do
    local client = connect(result.fresh)
    local session, message = client:session({ ttl = ttl }, LIMIT_S)
    local mutex = session and session:mutex "/holders/fresh"
    local ok = mutex
    if mutex then ok, message = mutex:lock(LIMIT_S) end
    if ok then ok, message = mutex:unlock(LIMIT_S) end
    result.fresh = result.fresh + 1
    if not ok then
      result.failed = result.failed + 1
      trouble("a fresh client's lock: %s", tostring(message))
    end
    client:close(5)
    lunarch.sleep(fresh_s)
  end
end

-- The least that ever was left of a session.
local function look(lanes)
  while not is_over do
    for _, lane in ipairs(lanes) do
      if lane.session:state() ~= "lost" then
        result.least_s = math.min(result.least_s, lane.session.valid_until - lunarch.now())
      end
    end
    lunarch.sleep(0.1)
  end
end

lunarch.run(function()
  local clients, lanes, tasks = {}, {}, {}
  for i = 1, n_clients do
    clients[i] = connect(i)
  end
  for i = 1, n_sessions do
    local client = clients[i % n_clients + 1]
    -- Those that campaign meet in lines of their own.
    local campaigns = i % 5 == 0
    lanes[i] = {
      number = i, client = client, session = assert(client:session({ ttl = ttl }, LIMIT_S)), campaigns = campaigns,
      line = ("/holders/%s%d"):format(campaigns and "election" or "lock", i % n_lines),
    }
  end
  local stdin = uv.new_pipe()
  stdin:open(0)
  stdin:read_start(function(_, data) if not data then is_over = true end end)
  print "ready"
  for i, lane in ipairs(lanes) do
    tasks[i] = lunarch.spawn(run_lane, lane)
  end
  tasks[#tasks + 1] = lunarch.spawn(look, lanes)
  if fresh_s > 0 then tasks[#tasks + 1] = lunarch.spawn(run_fresh) end
  while not is_over do lunarch.sleep(0.1) end
  for i, task in ipairs(tasks) do
    local ok, message = task:join(3 * LIMIT_S)
    if not ok then trouble("task %d: %s", i, tostring(message)) end
  end
  stdin:close()
  for _, client in ipairs(clients) do
    client:close(5)
  end
end)
print(json.encode(result))
print "over"
