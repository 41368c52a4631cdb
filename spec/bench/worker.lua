-- The floor's measurements, by way of the Lua module:
--   worker.lua HOST:PORT cycle|par64|first|waiters N, handoff N SETTLE_MS, idle, load WRITES_PER_SECOND
-- Prints the same JSON as lunarch_floor and lunarch_door do. Some block, as plain scripts do, the others use the loop.
local lunarch = require "lunarch"

local WARM_UP, N_LOCKS = 200, 64

local endpoint, mode, n, extra = arg[1], arg[2], tonumber(arg[3] or 1000), tonumber(arg[4] or 5)

local function connect()
  return assert(lunarch.connect { endpoints = { endpoint }, name = "bench" })
end

local function emit(fields)
  local parts = { ('"bench":"lua","mode":"%s"'):format(mode) }
  for _, field in ipairs(fields) do
    parts[#parts + 1] = ('"%s":%s'):format(field[1], field[2])
  end
  print("{" .. table.concat(parts, ",") .. "}")
end

local function quantiles(samples)
  table.sort(samples)
  local function at(q) return ("%.1f"):format(samples[math.max(1, math.ceil(#samples * q))] * 1e6) end
  return at(0.5), at(0.99)
end

local function status_kb(field)
  for line in io.lines "/proc/self/status" do
    local kb = line:match("^" .. field .. ":%s*(%d+)")
    if kb then return tonumber(kb) end
  end
end

local function pid()
  return io.open "/proc/self/stat":read "n"
end

local runs = {}

-- Blocks, as a plain script does.
function runs.cycle(client)
  local session = assert(client:session { ttl = 60 })
  local mutex = session:mutex("/lua/" .. pid())
  local samples, cpu = {}, 0
  for i = 1 - WARM_UP, n do
    if i == 1 then cpu = os.clock() end
    local begin = lunarch.now()
    assert(mutex:lock())
    assert(mutex:unlock())
    if i >= 1 then samples[i] = lunarch.now() - begin end
  end
  cpu = os.clock() - cpu
  local p50, p99 = quantiles(samples)
  emit { { "n", n }, { "p50_us", p50 }, { "p99_us", p99 }, { "cpu_us", ("%.1f"):format(cpu / n * 1e6) } }
end

function runs.handoff(client)
  local mutexes, samples = {}, {}
  for i = 1, 2 do mutexes[i] = assert(client:session { ttl = 60 }):mutex("/lua/" .. pid()) end
  assert(mutexes[1]:lock())
  local holder = 1
  for i = -4, n do
    local waiter, got = mutexes[3 - holder], nil
    local task = lunarch.spawn(function()
      assert(waiter:lock())
      got = lunarch.now()
    end)
    lunarch.sleep(extra / 1000)
    local begin = lunarch.now()
    assert(mutexes[holder]:unlock())
    assert(task:join())
    if i >= 1 then samples[i] = got - begin end
    holder = 3 - holder
  end
  local p50, p99 = quantiles(samples)
  emit { { "n", n }, { "settle_ms", extra }, { "p50_us", p50 }, { "p99_us", p99 } }
end

function runs.par64(client)
  local session = assert(client:session { ttl = 60 })
  local samples, tasks, cpu, begin = {}, {}, os.clock(), lunarch.now()
  local left = n
  for i = 1, N_LOCKS do
    local mutex = session:mutex(("/lua/%d-%d"):format(pid(), i))
    tasks[i] = lunarch.spawn(function()
      while left > 0 do
        left = left - 1
        local start = lunarch.now()
        assert(mutex:lock())
        assert(mutex:unlock())
        samples[#samples + 1] = lunarch.now() - start
      end
    end)
  end
  for i = 1, N_LOCKS do assert(tasks[i]:join()) end
  local wall = lunarch.now() - begin
  cpu = os.clock() - cpu
  local p50, p99 = quantiles(samples)
  emit {
    { "n", n }, { "per_s", ("%.0f"):format(n / wall) }, { "p50_us", p50 }, { "p99_us", p99 },
    { "cpu_us", ("%.1f"):format(cpu / n * 1e6) },
  }
end

function runs.idle(client)
  local session = assert(client:session { ttl = 60 })
  lunarch.sleep(1)
  emit { { "rss_kb", status_kb "VmRSS" }, { "anon_kb", status_kb "RssAnon" }, { "threads", status_kb "Threads" } }
  session:close()
end

-- Half of them first, so that what the first ones grow once is not counted.
function runs.waiters(client)
  local name = "/lua/" .. pid()
  local held = assert(client:session { ttl = 60 }):mutex(name)
  local session = assert(client:session { ttl = 60 })
  assert(held:lock())
  local before
  local function await_standing(count)
    repeat
      local _, info = assert(client:get(name .. "/", { prefix = true, count_only = true }))
    until info.count >= count
  end
  for i = 1, 2 * n do
    if i == n + 1 then
      lunarch.sleep(1)
      collectgarbage()
      before = status_kb "VmRSS"
    end
    local mutex = session:mutex(name)
    lunarch.spawn(function() mutex:lock() end)
    if i % 20 == 0 or i == n or i == 2 * n then await_standing(i + 1) end
  end
  lunarch.sleep(1)
  collectgarbage()
  local after = status_kb "VmRSS"
  emit { { "n", n }, { "bytes_per_waiter", (after - before) * 1024 // n }, { "rss_kb", after } }
  io.stdout:flush()
  client:close()
end

-- Foreign writes, `n` a second, until it is ended.
function runs.load(client)
  local begin, written = lunarch.now(), 0
  print "loading"
  io.stdout:flush()
  while true do
    local due = (lunarch.now() - begin) * n
    while written < due do
      written = written + 1
      assert(client:put("/load", "x"))
    end
    lunarch.sleep(0.0002)
  end
end

-- A process that takes one lock and says so.
function runs.one(client)
  local mutex = assert(client:session { ttl = 60 }):mutex("/lua/" .. pid())
  assert(mutex:lock())
  io.stdout:write "L"
  io.stdout:flush()
  mutex:unlock()
end

function runs.first()
  local samples = {}
  for i = 1, n do
    local begin = lunarch.now()
    local pipe = io.popen(("exec lua5.4 '%s' %s one"):format(arg[0], endpoint))
    assert(pipe:read(1) == "L")
    samples[i] = lunarch.now() - begin
    pipe:close()
  end
  local p50, p99 = quantiles(samples)
  emit { { "n", n }, { "p50_us", p50 }, { "p99_us", p99 } }
end

local blocks = { cycle = true, idle = true, one = true, load = true }
if mode == "first" then
  runs.first()
elseif blocks[mode] then
  local client = connect()
  runs[mode](client)
  client:close()
else
  lunarch.run(function()
    local client = connect()
    runs[mode](client)
    client:close()
  end)
end
lunarch.shutdown(5)
