-- The part `lines` of ./dev soak: long lines of waiters, in one session and in many processes, etcd as it is and slowed
-- down to a tenth; what etcd needs for it; what a hand-over takes in a short line and in a long one; how soon 10,000
-- have entered; and what waiters cost that only wait.
local etcd = require "support.etcd"
local json = require "cjson"
local median = require "support.median"
local process = require "support.process"
local tree = require "support.tree"
local uv = require "luv"

local WAITERS, PROCESSES, FEW = 4000, 40, 500
local MANY, MANY_ENTER_S = 10000, 60
local IDLE, IDLE_S, IDLE_PERCENT = 1000, 30, 0.5
local ROUNDS, MOST_TIMES = 5, 4
-- etcd's memory at its peak, in MB: where each waiter's reads grow with the line, it is gigabytes.
local MOST_MB = 400
local STOPPED_MS, RUNNING_MS = 90, 10
local LIMIT_S = 1800

-- Runs the measuring program to its end; meanwhile etcd runs one millisecond of ten, if it is to be slow.
local function finish(child, server, is_slow)
  local began = uv.hrtime()
  while child:is_running() and (uv.hrtime() - began) / 1e9 < LIMIT_S do
    if is_slow then
      uv.kill(server.pid, "sigstop")
      uv.sleep(STOPPED_MS)
      uv.kill(server.pid, "sigcont")
    end
    uv.sleep(is_slow and RUNNING_MS or 100)
  end
  if child:is_running() then
    child:kill9()
    return nil, "it has not ended after " .. LIMIT_S .. " s"
  end
  local line = child:find "^{"
  if not line then return nil, child:output() end
  return json.decode(line.text), child:output()
end

-- `case.mode` with its words, by an etcd of its own: what was measured, and etcd's memory at its peak in MB.
local function measure(case)
  local server = etcd.start()
  local in_lua = { "lua5.4", tree.root .. "/spec/bench/line.lua", server.endpoint, case[2] }
  local in_c = { tree.build .. "/bench/lunarch_line", server.endpoint, server.pid, table.unpack(case) }
  local result, output = finish(process.start(case.is_lua and in_lua or in_c), server, case.is_slow)
  local peak_kb = tree.read("/proc/" .. server.pid .. "/status"):match "VmHWM:%s+(%d+)"
  server:stop()
  return result, (tonumber(peak_kb) or 0) / 1024, output
end

local function chain(case, verdict)
  local result, peak_mb, output = measure(case)
  local n_processes = case[3] or 1
  local where = ("%s%s, etcd %s"):format(case.is_lua and "tasks in Lua, " or "",
    n_processes == 1 and "one session" or n_processes .. " processes",
    case.is_slow and "stopped nine tenths of the time" or "as it is")
  if not result then return verdict(false, where .. ": broke off", { tostring(output) }) end
  verdict(result.failed == 0 and peak_mb <= MOST_MB, ("%s: entered in %.1f s, a hand-over takes %.0f us, %d not "
    .. "served; etcd's memory %.0f MB at its peak (bar: %d)%s"):format(where, result.entered_s, result.per_handoff_us,
    result.failed, peak_mb, MOST_MB, result.bytes_per_waiter and ("; %d bytes a waiter"):format(result.bytes_per_waiter)
    or ""))
end

-- In turn, and the median of it: a busy machine disturbs both.
local function lengths(verdict)
  local times = {}
  for i = 1, ROUNDS do
    local few, _, output = measure { "chain", FEW }
    local many
    if few then many, _, output = measure { "chain", WAITERS } end
    if not many then return verdict(false, "short and long lines: broke off", { tostring(output) }) end
    times[i] = many.per_handoff_us / few.per_handoff_us
  end
  times = median(times)
  verdict(times <= MOST_TIMES, ("a hand-over takes %.2f times as long among %d as among %d (bar: %d)"):format(times,
    WAITERS, FEW, MOST_TIMES))
end

local function waiting(n, seconds, verdict, judge)
  local result, _, output = measure { "idle", n, seconds }
  if not result then return verdict(false, n .. " that only wait: broke off", { tostring(output) }) end
  verdict(judge(result))
end

local function is_entered(result)
  return result.entered_s <= MANY_ENTER_S,
    ("%d have entered after %.1f s (bar: %d)"):format(MANY, result.entered_s, MANY_ENTER_S)
end

local function is_cheap(result)
  return result.idle_percent <= IDLE_PERCENT, ("%d that only wait cost etcd %.2f %% of a core beside the renewals "
    .. "(bar: %.1f)"):format(IDLE, result.idle_percent, IDLE_PERCENT)
end

---@param say fun(format: string, ...)
---@param verdict fun(is_fine: boolean, what: string, troubles?: string[])
return function(say, verdict)
  say("lines: %d waiters for one lock", WAITERS)
  for _, case in ipairs {
    { "chain", WAITERS }, { "chain", WAITERS, is_lua = true }, { "chain", WAITERS, PROCESSES },
    { "chain", WAITERS, is_slow = true }, { "chain", WAITERS, PROCESSES, is_slow = true },
  } do
    chain(case, verdict)
  end
  lengths(verdict)
  waiting(MANY, 1, verdict, is_entered)
  waiting(IDLE, IDLE_S, verdict, is_cheap)
end
