-- A hundred workers add one to the same number in etcd: read it, add one, write it back.
--
--   lunarch examples/counter.lua --dev
--
-- Without a lock they overwrite each other's result; with it the sum is right, whether the workers are coroutines of
-- one program or spread over several processes.
local lunarch = require "lunarch"
local uv = require "luv"

local WORKERS, PROCESSES = 100, 4
local KEY = "/examples/counter"

local client = assert(lunarch.connect())
local session = assert(client:session())

local function add_one()
  local count = tonumber((client:get(KEY)))
  client:put(KEY, tostring(count + 1))
end

local function add_one_under_the_lock()
  -- One mutex object is one owner: each worker makes its own.
  local mutex = session:mutex "/examples/counter-lock"
  assert(mutex:with(function()
    add_one()
    return true
  end))
end

local function all_at_once(n, worker)
  local tasks = {}
  for i = 1, n do
    tasks[i] = lunarch.spawn(worker)
  end
  for _, task in ipairs(tasks) do
    assert(task:join())
  end
end

local function measure(what, fn)
  client:put(KEY, "0")
  fn()
  print(("%-36s %3s of %d"):format(what, client:get(KEY), WORKERS))
end

-- Started by ourselves, below, as one of several processes.
if arg[1] == "share" then return all_at_once(tonumber(arg[2]), add_one_under_the_lock) end

local function in_processes()
  local n_running, failures = PROCESSES, 0
  for _ = 1, PROCESSES do
    assert(uv.spawn(arg[-1], {
      args = { arg[0], "share", tostring(WORKERS // PROCESSES) },
      stdio = { nil, 1, 2 },
    }, function(status)
      n_running = n_running - 1
      failures = failures + status
    end))
  end
  while n_running > 0 do
    lunarch.sleep(0.01)
  end
  assert(failures == 0, "a process failed")
end

measure("without a lock:", function() all_at_once(WORKERS, add_one) end)
measure("with a lock:", function() all_at_once(WORKERS, add_one_under_the_lock) end)
measure(("with a lock, in %d processes:"):format(PROCESSES), in_processes)
