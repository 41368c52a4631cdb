-- Leaders that are stopped (SIGSTOP) for longer than their TTL, and go on: each a process of its own, whose standbys
-- live together in another.
local clock = require "support.clock"
local etcd = require "support.etcd"
local journal = require "live.support.journal"
local wait = require "support.wait"

local stops = {}

local TTL = 2
local WORK_S = 0.5      -- long enough for most to be stopped in a wait of do_work
local BETWEEN_S = 0.2   -- from one CONT to the next: they must not disturb each other

local function wait_for_leaders(lanes, journals, is_it)
  for _, lane in ipairs(lanes) do
    lane.latest = wait.eventually(function()
      local leader = journal.leader_of(journals, lane.election)
      return leader and is_it(leader, lane) and leader
    end, 10 * TTL, "a leader of " .. lane.election)
  end
end

-- Stops `n` leaders, lets each go on once a standby has taken over, and waits until all have left on_lost.
---@param n integer
---@return table result `terms`, of the stopped ones, each with `continued`; `stop()`
function stops.run(n)
  local server = etcd.start()
  local lanes, leaders = {}, {}
  for i = 1, n do
    local lane = { election = "/stops/" .. i, ttl = TTL, endpoint = server.endpoint, work_s = WORK_S }
    lanes[i] = lane
    leaders[i] = journal.start("leader-" .. i, { lane })
  end
  wait_for_leaders(lanes, leaders, function() return true end)
  local standby = journal.start("standby", lanes)
  local all = table.move(leaders, 1, n, 2, { standby })
  -- The standbys must stand in line, or nobody would take over.
  wait.eventually(function()
    local output = server:etcdctl("get", "--prefix", "--keys-only", "/stops/")
    return select(2, output:gsub("/stops/%d+/%x+", "")) == 2 * n
  end)
  wait.pass(WORK_S)

  local terms = {}
  for i, lane in ipairs(lanes) do
    terms[i] = lane.latest
    leaders[i].process:freeze()
  end
  wait_for_leaders(lanes, all, function(leader) return leader.who == "standby" end)
  for i, term in ipairs(terms) do
    term.continued = clock.now()
    leaders[i].process:thaw()
    wait.eventually(function()
      leaders[i]:update()
      return term.lost
    end, nil, "on_lost of " .. term.who)
    wait.pass(BETWEEN_S)
  end
  return {
    terms = terms, lanes = lanes, server = server,
    stop = function()
      for _, one in ipairs(all) do
        one.process:kill9()
      end
      server:stop()
    end,
  }
end

-- From CONT to the beginning of on_lost, in milliseconds: the median, and the longest.
---@return number median, number longest
function stops.delays_ms(result)
  local delays = {}
  for i, term in ipairs(result.terms) do
    delays[i] = 1000 * (term.losing - term.continued)
  end
  table.sort(delays)
  return delays[(#delays + 1) // 2], delays[#delays]
end

local function each_term(result, visit)
  local complaints = {}
  for _, term in ipairs(result.terms) do
    local complaint = visit(term)
    if complaint then complaints[#complaints + 1] = term.who .. ": " .. complaint end
  end
  return complaints
end

function stops.late_work(result)
  return each_term(result, function(term)
    if term.disorder then return term.disorder end
    local last = term.works[#term.works]
    if last and last.from > term.continued then return "do_work was called after the stop" end
  end)
end

-- What came of the waits that the stop had caught, and of the guarded writes sent after.
function stops.wrong_answers(result)
  return each_term(result, function(term)
    if term.reason ~= "frozen" and term.reason ~= "expired" then return "on_lost was told: " .. term.reason end
    for _, failure in ipairs(term.failures) do
      if not failure.what:find "^lost " then return "a wait failed with: " .. failure.what end
    end
    for _, put in ipairs(term.puts) do
      if put ~= "raised-lost" and put ~= "lost" then return "a guarded write came to: " .. put end
    end
  end)
end

---@return integer
function stops.n_failed_waits(result)
  local n = 0
  for _, term in ipairs(result.terms) do
    n = n + #term.failures
  end
  return n
end

return stops
