-- Runs the fuzzer of replies: the proxy, and the client behind it, each a process of its own.
local process = require "support.process"
local tree = require "support.tree"
local uv = require "luv"

local changed = {}

local PERCENT, STEP_MS = 10, 20

-- The command that repeats a run, as far as the order of connections is the same.
function changed.again(seed, n_calls)
  return ("repeat it: LUNARCH_SEED=%d LUNARCH_CALLS=%d ./dev test spec/fuzz/replies"):format(seed, n_calls)
end

---@param limit number seconds that one call may take
---@return string findings empty where there are none
---@return string summary
function changed.run(server, seed, n_calls, limit)
  local folder = tree.root .. "/spec/fuzz/"
  local proxy = process.start {
    "lua5.4", folder .. "replies_proxy.lua", server.client_port, seed, PERCENT, stdin = true,
  }
  local endpoint = "127.0.0.1:" .. proxy:wait_line("^port ").text:match "%d+"
  local record = tree.folder() .. "/record"
  local child = process.start {
    "lua", folder .. "replies_program.lua", endpoint, seed, n_calls, record, stdin = true,
  }
  local findings, last, since, is_healed = {}, nil, uv.hrtime(), false
  while child:is_running() do
    uv.sleep(STEP_MS)
    local now = tree.read(record)
    if now ~= last then last, since = now, uv.hrtime() end
    if not is_healed and child:find "^heal$" then
      is_healed = true
      proxy:write "0\n"
      child:write "go on\n"
    end
    if (uv.hrtime() - since) / 1e9 > 3 * limit then
      findings[#findings + 1] = "hangs after call " .. now
      child:kill9()
    end
  end
  local status, signal = child:wait_exit()
  local summary = "no summary"
  for _, line in ipairs(child:lines()) do
    if line.text:find "^finding: " then findings[#findings + 1] = line.text:sub(10) end
    if line.text:find "^%d+ calls, " then summary = line.text end
  end
  if status ~= 0 or signal ~= 0 or not child:find "^over$" then
    findings[#findings + 1] = ("ended with status %d, signal %d after call %s:\n%s"):format(
      status, signal, last or "none", child:output():sub(-2000))
  end
  proxy:kill9()
  return table.concat(findings, "\n"), ("seed %d, %s"):format(seed, summary)
end

return changed
