-- Candidates that are killed (-9) wherever their campaigns are, and those who come after them.
local clock = require "support.clock"
local lunarch = require "lunarch"
local process = require "support.process"
local scene = require "live.support.scene"
local tree = require "support.tree"

local victims = {}

victims.TTL = 2

local MOST_S = 0.02     -- by then a campaign has connected, opened its session and won
local AT_ONCE = 16

local function start(server, line)
  return process.start {
    "lunarch", "run", tree.root .. "/spec/live/support/campaigner.lua", "--", server.endpoint, line, victims.TTL,
    math.random() * MOST_S,
  }
end

-- Seconds from one's death until another candidate was elected.
local function outlive(client, one, line)
  scene.eventually(function() return not one:is_running() end, nil, "the victim's end")
  local _, signal, died_at = one:wait_exit()
  assert(signal == 9, one:output())
  local session = assert(client:session())
  assert(session:election(line):campaign("survivor", scene.LIMIT))
  local waited = clock.now() - died_at
  session:close(5)
  return waited
end

-- To start a process blocks, and who blocks measures wrongly: some are started, and only then anything is awaited.
local function run_some(server, client, from, to, result)
  local started, tasks = {}, {}
  for i = from, to do
    started[i] = start(server, "/killed/" .. i)
  end
  for i = from, to do
    tasks[#tasks + 1] = lunarch.spawn(outlive, client, started[i], "/killed/" .. i)
  end
  for _, task in ipairs(tasks) do
    local waited = scene.join(task)
    result.longest = math.max(result.longest, waited)
    if waited > 1 then result.n_left = result.n_left + 1 end
  end
end

-- Kills `n`, each in an election of its own, some at a time. Must be called within a task.
---@return { n: integer, longest: number, n_left: integer } how many had left a place behind
function victims.run(server, n)
  local client = scene.connect(server.endpoint)
  local result = { n = n, longest = 0, n_left = 0 }
  for from = 1, n, AT_ONCE do
    run_some(server, client, from, math.min(n, from + AT_ONCE - 1), result)
  end
  return result
end

return victims
