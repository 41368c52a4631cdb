-- What lunarch_line chain measures, with the waiters as tasks in Lua, each of a mutex of its own, in one session:
--   lua5.4 line.lua ENDPOINT WAITERS      (or luajit)
-- One line of JSON: seconds until all had entered, bytes of memory a waiter (the process's and of them Lua's), and
-- microseconds a hand-over.
local json = require "cjson"
local lunarch = require "lunarch"
local uv = require "luv"

local endpoint, n = arg[1], tonumber(arg[2])
local TTL, POLL_S = 60, 0.1
local n_served, n_failed = 0, 0

local function rss_bytes()
  for line in io.lines "/proc/self/status" do
    local kb = line:match "^VmRSS:%s+(%d+)"
    if kb then return tonumber(kb) * 1024 end
  end
end

local function lua_bytes()
  collectgarbage()
  collectgarbage()
  return math.floor(collectgarbage "count" * 1024)
end

-- Freed here, so that the caller keeps nothing of a waiter but its task.
local function wait_in(session, name)
  local mutex = session:mutex(name)
  local ok, message = mutex:lock()
  if ok then ok, message = mutex:unlock() end
  if ok then n_served = n_served + 1 else n_failed = n_failed + 1 end
  if not ok then io.stderr:write("line: ", tostring(message), "\n") end
end

local function await_standing(client, name, count)
  while true do
    local _, info = assert(client:get(name .. "/", { prefix = true, count_only = true }))
    if info.count >= count then return end
    lunarch.sleep(POLL_S)
  end
end

lunarch.run(function()
  local client = assert(lunarch.connect { endpoints = endpoint, name = "line" })
  local name = "/line/" .. uv.os_getpid()
  local held = assert(client:session { ttl = TTL }):mutex(name)
  local session = assert(client:session { ttl = TTL })
  assert(held:lock())
  local lua_before = lua_bytes()
  local rss_before, begin = rss_bytes(), lunarch.now()
  for _ = 1, n do
    lunarch.spawn(wait_in, session, name)
  end
  await_standing(client, name, n + 1)
  local result = { bench = "line", mode = "chain", vm = jit and jit.version or _VERSION, n = n }
  result.entered_s = lunarch.now() - begin
  lunarch.sleep(1)
  result.lua_bytes_per_waiter = math.floor((lua_bytes() - lua_before) / n)
  result.bytes_per_waiter = math.floor((rss_bytes() - rss_before) / n)
  begin = lunarch.now()
  assert(held:unlock())
  while n_served + n_failed < n do
    lunarch.sleep(POLL_S)
  end
  result.chain_s = lunarch.now() - begin
  result.per_handoff_us, result.failed = result.chain_s / n * 1e6, n_failed
  print(json.encode(result))
  client:close(5)
end)
lunarch.shutdown(5)
