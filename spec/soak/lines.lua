-- The part `lines` of ./dev soak: long lines of waiters, in one session and in many processes, etcd as it is and slowed
-- down to a tenth; and what etcd needs for it.
local etcd = require "support.etcd"
local json = require "cjson"
local process = require "support.process"
local tree = require "support.tree"
local uv = require "luv"

local WAITERS, PROCESSES = 4000, 40
-- etcd's memory at its peak, in MB: where each waiter's reads grow with the line, it is gigabytes.
local MOST_MB = 400
local STOPPED_MS, RUNNING_MS = 90, 10
local LIMIT_S = 1800

-- Runs the measuring program to its end; meanwhile etcd runs one millisecond of ten, if it is to be slow.
local function measure(server, case)
  local is_slow = case.is_slow
  local in_lua = { "lua5.4", tree.root .. "/spec/bench/line.lua", server.endpoint, WAITERS }
  local child = process.start(case.is_lua and in_lua
    or { tree.build .. "/bench/lunarch_line", server.endpoint, server.pid, "chain", WAITERS, case.processes })
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

---@param say fun(format: string, ...)
---@param verdict fun(is_fine: boolean, what: string, troubles?: string[])
return function(say, verdict)
  say("lines: %d waiters for one lock", WAITERS)
  for _, case in ipairs {
    { processes = 1 }, { processes = 1, is_lua = true }, { processes = PROCESSES }, { processes = 1, is_slow = true },
    { processes = PROCESSES, is_slow = true },
  } do
    local server = etcd.start()
    local result, output = measure(server, case)
    local peak_mb = (tonumber(tree.read("/proc/" .. server.pid .. "/status"):match "VmHWM:%s+(%d+)") or 0) / 1024
    server:stop()
    local where = ("%s%s, etcd %s"):format(case.is_lua and "tasks in Lua, " or "",
      case.processes == 1 and "one session" or case.processes .. " processes",
      case.is_slow and "stopped nine tenths of the time" or "as it is")
    if not result then
      verdict(false, where .. ": broke off", { tostring(output) })
    else
      verdict(result.failed == 0 and peak_mb <= MOST_MB, ("%s: entered in %.1f s, a hand-over takes %.0f us, %d not "
        .. "served; etcd's memory %.0f MB at its peak (bar: %d)%s"):format(where, result.entered_s,
        result.per_handoff_us, result.failed, peak_mb, MOST_MB, result.bytes_per_waiter
        and ("; %d bytes a waiter"):format(result.bytes_per_waiter) or ""))
    end
  end
end
