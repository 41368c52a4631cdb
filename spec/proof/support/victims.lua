-- Candidates that are killed (-9) wherever their campaigns are, and those who come after them.
local clock = require "support.clock"
local lunarch = require "lunarch"
local process = require "support.process"
local scene = require "proof.support.scene"
local tree = require "support.tree"

local victims = {}

victims.TTL = 2

local MOST_S = 0.02     -- by then a campaign has connected, opened its session and won
local AT_ONCE = 16

-- Seconds from one's death until another candidate was elected.
---@return number seconds
function victims.kill_one(server, client, line)
  local one = process.start {
    "lunarch", "run", tree.root .. "/spec/proof/support/campaigner.lua", "--", server.endpoint, line, victims.TTL,
    math.random() * MOST_S,
  }
  scene.eventually(function() return not one:is_running() end, nil, "the victim's end")
  local _, signal, died_at = one:wait_exit()
  assert(signal == 9, one:output())
  local session = assert(client:session())
  assert(session:election(line):campaign("survivor", victims.TTL + 5))
  return clock.now() - died_at
end

-- Kills `n`, each in an election of its own, some at a time. Must be called within a task.
---@return { n: integer, longest: number, n_left: integer } how many had left a place behind
function victims.run(server, n)
  local client = scene.connect(server.endpoint)
  local result, next_one = { n = n, longest = 0, n_left = 0 }, 0
  local function kill_some()
    while next_one < n do
      next_one = next_one + 1
      local waited = victims.kill_one(server, client, "/killed/" .. next_one)
      result.longest = math.max(result.longest, waited)
      if waited > 0.5 then result.n_left = result.n_left + 1 end
    end
  end
  local tasks = {}
  for i = 1, AT_ONCE do
    tasks[i] = lunarch.spawn(kill_some)
  end
  for _, task in ipairs(tasks) do
    local ok, trace = task:join()
    if not ok then error(trace, 0) end
  end
  return result
end

return victims
