-- What a client does all day, through a proxy that changes replies:
--   lua5.4 replies_program.lua ENDPOINT SEED CALLS RECORD
-- Every call has a limit, and must end by it. When all are made it says "heal", waits for a line, and must then be
-- served again: "over". What each lane calls is by the seed.
local lunarch = require "lunarch"
local randoms = require "fuzz.random"

local endpoint, seed, most_calls, record = arg[1], tonumber(arg[2]), tonumber(arg[3]), assert(io.open(arg[4], "w"))
local CALL_S, LIMIT_S, LANES, STEPS_PER_CLIENT = 0.3, 60, 6, 60

io.stdout:setvbuf "line"
local n_calls, n_fine = 0, 0

local function note(what)
  n_calls = n_calls + 1
  record:seek "set"
  record:write(("%-80s\n"):format(n_calls .. " " .. what))
  record:flush()
end

-- Each takes what the lane has, and says nothing about how it ends.
local steps = {
  get = function(lane) return lane.client:get("/replies/" .. lane.random:below(5), nil, CALL_S) end,
  range = function(lane) return lane.client:get("/replies", { prefix = true, limit = 5 }, CALL_S) end,
  put = function(lane) return lane.client:put("/replies/" .. lane.random:below(5), "v", nil, CALL_S) end,
  delete = function(lane)
    return lane.client:delete("/replies/" .. lane.random:below(5), { prev_kv = true }, CALL_S)
  end,
  txn = function(lane)
    return lane.client:txn({
      compare = { { "create", "/replies/1", "=", 0 } }, success = { { "put", "/replies/1", "v" } },
      failure = { { "get", "/replies/1" }, { "delete", "/replies/2" } },
    }, CALL_S)
  end,
  lease = function(lane)
    local lease = lane.client:lease({ ttl = 5 }, CALL_S)
    return lease and lane.client:ttl(lease.id, CALL_S)
  end,
  status = function(lane) return lane.client:status(CALL_S) end,
  session = function(lane)
    lane.session = lane.client:session({ ttl = lane.random:pick { 2, 5, 60 } }, CALL_S) or lane.session
    return lane.session
  end,
  lock = function(lane)
    local mutex = lane.session and lane.session:mutex("/replies/lock" .. lane.random:below(3))
    if not mutex or not mutex:lock(CALL_S) then return nil end
    tostring(mutex)
    return mutex:unlock(CALL_S)
  end,
  campaign = function(lane)
    local election = lane.session and lane.session:election("/replies/election" .. lane.random:below(3))
    local term = election and election:campaign("x", CALL_S)
    if not term then return nil end
    term:put("/replies/led", "x", nil, CALL_S)
    term:proclaim("y", CALL_S)
    election:leader(CALL_S)
    return term:resign(CALL_S)
  end,
  watch = function(lane)
    local watch = lane.client:watch("/replies", { prefix = true, prev_kv = true, revision = lane.random:pick { 1, 5 } })
    if not watch then return nil end
    for _ = 1, 5 do watch:next(CALL_S / 5) end
    return watch:close()
  end,
  observe = function(lane)
    local observer = lane.client:observe("/replies/election" .. lane.random:below(3))
    if not observer then return nil end
    observer:next(CALL_S)
    return observer:close()
  end,
  close = function(lane)
    if lane.session then lane.session:close({}, CALL_S) end
    lane.session = nil
    return true
  end,
}
local names = {}
for name in pairs(steps) do
  names[#names + 1] = name
end
table.sort(names)

local function run_lane(number)
  local random = randoms.new(seed * LANES + number)
  for _ = 1, math.ceil(most_calls / LANES / STEPS_PER_CLIENT) do
    local lane = { random = random, client = assert(lunarch.connect { endpoints = endpoint }) }
    for _ = 1, STEPS_PER_CLIENT do
      local name = random:pick(names)
      note(name)
      if steps[name](lane) then n_fine = n_fine + 1 end
    end
    lane.client:close(CALL_S)
  end
end

lunarch.run(function()
  local tasks = {}
  for i = 1, LANES do
    tasks[i] = lunarch.spawn(run_lane, i)
  end
  for _, task in ipairs(tasks) do
    local ok, traceback = task:join(CALL_S * most_calls + LIMIT_S)
    if ok == nil then print "finding: a lane has not ended" end
    if ok == false then print("finding: " .. traceback:gsub("\n", " | ")) end
  end
end)
print(("%d calls, %d as if nothing were wrong"):format(n_calls, n_fine))
print "heal"
io.stdin:read()
local client = assert(lunarch.connect { endpoints = endpoint })
local session = assert(client:session({ ttl = 60 }, LIMIT_S))
local mutex = assert(session:mutex "/healed")
assert(mutex:lock(LIMIT_S))
assert(mutex:unlock(LIMIT_S))
client:close(5)
collectgarbage()
lunarch.shutdown(10)
print "over"
