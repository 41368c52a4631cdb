-- Runs the fuzzer of calls in a process of its own and watches over it: a call that does not end is a finding, and so
-- is any end of the process but the one foreseen.
local process = require "support.process"
local tree = require "support.tree"
local uv = require "luv"

local watched = {}

watched.WORLDS = { "plain", "luv", "cqueues", "luajit plain", "luajit luv", "luajit cqueues", "host" }

local STEP_MS = 20

local function command_of(world, server, seed, n_calls, record)
  local kind = world:match "%S+$"
  local program = world:find "^luajit" and tree.build .. "/unit/luajit" or "lua5.4"
  local words = { program, tree.root .. "/spec/fuzz/calls_program.lua", kind }
  if kind == "host" then
    words = { "lunarch", "run", words[2], "--endpoints", server.endpoint, "--", kind }
  end
  for _, word in ipairs { server.endpoint, seed, n_calls, record } do
    words[#words + 1] = word
  end
  return words
end

-- The call that is being made: its number and words.
local function current(record)
  return (tree.read(record):match "^([^\n]-)%s*\n") or "nothing yet"
end

-- The command that repeats a run.
function watched.again(world, seed, n_calls)
  return ("repeat it: LUNARCH_SEED=%d LUNARCH_CALLS=%d ./dev test --filter='world %s' spec/fuzz/calls"):format(
    seed, n_calls, world)
end

---@param limit number seconds that one call may take
---@return string findings empty where there are none
---@return string summary
function watched.run(world, server, seed, n_calls, limit)
  local record = tree.folder() .. "/record"
  local child = process.start(command_of(world, server, seed, n_calls, record))
  local findings, last, since = {}, nil, uv.hrtime()
  while child:is_running() do
    uv.sleep(STEP_MS)
    local now = current(record)
    if now ~= last then last, since = now, uv.hrtime() end
    if (uv.hrtime() - since) / 1e9 > limit then
      findings[#findings + 1] = ("hangs in call %s"):format(now)
      child:kill9()
    end
  end
  local status, signal = child:wait_exit()
  local summary = "no summary"
  for _, line in ipairs(child:lines()) do
    if line.text:find "^finding: " then findings[#findings + 1] = line.text:sub(10) end
    if line.text:find "^%d+ calls, " then summary = line.text end
  end
  -- The host says by its status that a spawned task has failed.
  local is_fine = signal == 0 and (status == 0 or world == "host" and status == 1) and child:find "^over$"
  if not is_fine then
    findings[#findings + 1] = ("ended with status %d, signal %d in call %s:\n%s"):format(
      status, signal, current(record), child:output():sub(-2000))
  end
  return table.concat(findings, "\n"), ("seed %d, %s"):format(seed, summary)
end

return watched
