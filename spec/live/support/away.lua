-- An etcd that is killed, and serves again so many seconds after the kill, while candidates lead: how many lose their
-- term, and how long it takes until all sessions are renewed.
local etcd = require "support.etcd"
local process = require "support.process"
local tree = require "support.tree"
local uv = require "luv"
local wait = require "support.wait"

local away = {}

-- How much later than asked for it may serve before the try does not count.
local LATE_S = 0.25
local TRIES = 5
local SETTLED_S = 2

local function start_process(server, i, n)
  return process.start {
    tree.build .. "/bin/lunarch", "run", tree.root .. "/spec/live/support/away_program.lua",
    "--endpoints", server.endpoint, "--", n, ("/away/%d/"):format(i),
  }
end

---@class Away
---@field children Process[]
local Away = {}
Away.__index = Away

---@param n_processes integer
---@param n_candidates integer of each
---@return Away
function away.start(n_processes, n_candidates)
  local self = setmetatable({ server = etcd.start(), children = {}, n_candidates = n_candidates, start_s = 1 }, Away)
  for i = 1, n_processes do
    self.children[i] = start_process(self.server, i, n_candidates)
  end
  local limit = wait.LIMIT * (4 + n_processes)
  for _, child in ipairs(self.children) do
    child:wait_line("^elected", limit)
  end
  return self
end

local function seconds() return uv.hrtime() / 1e9 end

-- Kills it; it serves again as near as it can be to `away_s` after that. How long it was away.
local function be_away(self, away_s)
  local server = self.server
  local killed_at = seconds()
  server:kill9()
  uv.sleep(math.max(0, math.floor((away_s - self.start_s) * 1000)))
  local started_at = seconds()
  server:restart { no_wait = true }
  local from = server.log_from
  wait.eventually(function()
    return server:log():find("serving client traffic", from, true)
  end, 3 * wait.LIMIT, "etcd to serve again")
  local now = seconds()
  self.start_s = now - started_at
  return now - killed_at
end

local function count(child, pattern, from)
  local n = 0
  for i, line in ipairs(child:lines()) do
    if i > from and line.text:find(pattern) then n = n + 1 end
  end
  return n
end

-- Memory of one candidate in the first process, with all that serves it.
function Away:kb_each()
  return tonumber(self.children[1]:find("^elected").text:match "each ([%d.]+) kB")
end

-- What is lost is lost soon after the others are renewed; a candidate that has lost leads again before the next try.
local function settle(children, seen)
  for i, child in ipairs(children) do
    wait.eventually(function()
      return count(child, "^recovered", seen[i]) > 0 or count(child, "^lost", seen[i]) > 0
    end, 3 * wait.LIMIT, "sessions to be renewed")
  end
  wait.pass(SETTLED_S)
  local lost = 0
  for i, child in ipairs(children) do
    local n = count(child, "^lost", seen[i])
    lost = lost + n
    if n > 0 then
      wait.eventually(function() return count(child, "^all lead again", seen[i]) > 0 end, 6 * wait.LIMIT, "all to lead")
    end
  end
  return lost
end

-- One try. A machine that lets etcd start much too late is no proof of anything: then it is made again.
---@return { lost: integer, away_s: number, recovered_s: number }
function Away:try(away_s)
  for _ = 1, TRIES do
    local seen = {}
    for i, child in ipairs(self.children) do
      seen[i] = #child:lines()
    end
    local result = { away_s = be_away(self, away_s), recovered_s = 0 }
    result.lost = settle(self.children, seen)
    for i, child in ipairs(self.children) do
      for j, line in ipairs(child:lines()) do
        local took = j > seen[i] and line.text:match "^recovered in ([%d.]+) s"
        result.recovered_s = math.max(result.recovered_s, tonumber(took) or 0)
      end
    end
    if result.away_s <= away_s + LATE_S or result.lost == 0 then return result end
  end
  error(("etcd did not serve again within %.1f s, %d times"):format(away_s + LATE_S, TRIES), 2)
end

-- In a few words.
function away.line_of(result)
  return ("etcd away for %.2f s: %d terms lost; from its first answer to the last renewal %.2f s"):format(result.away_s,
    result.lost, result.recovered_s)
end

function Away:stop()
  for _, child in ipairs(self.children) do
    child:signal "sigterm"
  end
  for _, child in ipairs(self.children) do
    child:wait_exit(6 * wait.LIMIT)
  end
  self.server:stop()
end

return away
