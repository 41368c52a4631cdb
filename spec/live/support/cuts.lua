-- Elections side by side whose leaders are cut off from etcd again and again, at random instants; and what must be true
-- of all their terms. Candidate A of every election lives in one process and B in another, each behind a proxy of its
-- own, so that nothing but etcd stands between the two.
--
-- A lane is an election; its weather says what a cut is and what happens else:
--   silent    nothing passes, either way
--   late      for a while before, all replies to the leader are late, by 0 to 1.5 s at random; then nothing passes, or,
--             as often, what had been answered still arrives
--   deaf      requests pass, replies do not: renewals go on reaching etcd
local clock = require "support.clock"
local etcd = require "support.etcd"
local journal = require "live.support.journal"
local onlooker = require "live.support.onlooker"
local proxies = require "support.proxy"
local together = require "live.support.together"

local cuts = {}

local PREFIX = "/cuts"
local LATE_S = 1.5
local TAKEOVER_S = 15    -- beyond two TTLs

local function new_lane(server, ttl, weather, n)
  local lane = {
    ttl = ttl, weather = weather, election = ("%s/%d/%s-%d"):format(PREFIX, ttl, weather, n), cuts = {}, proxies = {},
  }
  for _, who in ipairs { "A", "B" } do
    lane.proxies[who] = proxies.start(server.client_port)
  end
  return lane
end

-- plan: { { ttl =, weather =, lanes =, rounds = }, ... }
local function lanes_of(server, plan)
  local lanes = {}
  for _, part in ipairs(plan) do
    for n = 1, part.lanes do
      local lane = new_lane(server, part.ttl, part.weather, n)
      lane.rounds = part.rounds
      lanes[#lanes + 1] = lane
    end
  end
  return lanes
end

local function start_candidates(who, lanes)
  local wanted = {}
  for i, lane in ipairs(lanes) do
    wanted[i] = { election = lane.election, ttl = lane.ttl, endpoint = lane.proxies[who].endpoint }
  end
  return journal.start(who, wanted)
end

local function cut(lane, proxy)
  if lane.weather == "deaf" then
    proxy:hold_replies()
  elseif lane.weather == "late" and math.random() < 0.5 then
    proxy:hold_requests()
  else
    proxy:go_silent()
  end
  return clock.now()
end

-- One cut, from a leader's being elected to the next one's.
local function go_round(lane, journals, story)
  local limit = 2 * lane.ttl + TAKEOVER_S
  local leader = story:eventually(function() return journal.leader_of(journals, lane.election) end, limit,
    "a leader of " .. lane.election)
  local proxy = lane.proxies[leader.who]
  -- Anywhere between two renewals.
  story:pass(math.random() * (lane.ttl / 3 + 0.2))
  if lane.weather == "late" then
    proxy:delay_replies(0, LATE_S)
    -- Long enough for a renewal and its confirmation to be believed late.
    story:pass(math.random() * (lane.ttl / 3 + LATE_S))
  end
  journal.terms_of(journals, lane.election)
  -- Late replies alone may have cost it its place: then this is no cut of a leader.
  local is_alive = leader.losing == nil
  table.insert(lane.cuts, { t = cut(lane, proxy), token = leader.token, is_alive = is_alive })
  story:eventually(function()
    local terms = journal.terms_of(journals, lane.election)
    return terms[#terms].token > leader.token
  end, limit, "a successor in " .. lane.election)
  proxy:delay_replies(0)
  proxy:heal()
end

local function run_lane(lane, journals, story)
  local n_alive, n_rounds = 0, 0
  while n_alive < lane.rounds and n_rounds < 3 * lane.rounds do
    go_round(lane, journals, story)
    n_rounds = n_rounds + 1
    if lane.cuts[#lane.cuts].is_alive then n_alive = n_alive + 1 end
  end
end

local function add_renewals(lanes, terms)
  for _, lane in ipairs(lanes) do
    lane.terms = terms(lane)
    for _, term in ipairs(lane.terms) do
      term.ttl = lane.ttl
      for _, renewal in ipairs(lane.proxies[term.who]:renewals(term.lease)) do
        -- What a silent proxy held was let through when nobody led any more.
        if not term.losing or renewal.t <= term.losing then term.renewed = renewal.t end
      end
    end
  end
end

---@param plan { ttl: integer, weather: string, lanes: integer, rounds: integer }[]
---@return table result lanes, each with its terms and cuts; the onlooker
function cuts.run(plan)
  local server = etcd.start()
  local eye = onlooker.start(server, PREFIX)
  local lanes = lanes_of(server, plan)
  local journals = { start_candidates("A", lanes), start_candidates("B", lanes) }
  local function terms(lane) return journal.terms_of(journals, lane.election) end

  local ok, err = pcall(together.each, lanes, function(lane, story) run_lane(lane, journals, story) end)
  for _, one in ipairs(journals) do
    one.process:signal "sigterm"
  end
  for _, one in ipairs(journals) do
    one.status = one.process:wait_exit()
  end
  add_renewals(lanes, terms)
  if not ok then
    error(("%s\nA said:\n%s\nB said:\n%s"):format(err, journals[1]:complaints(), journals[2]:complaints()), 0)
  end
  return {
    lanes = lanes, onlooker = eye, journals = journals,
    stop = function()
      eye:stop()
      for _, lane in ipairs(lanes) do
        for _, proxy in pairs(lane.proxies) do
          proxy:stop()
        end
      end
      server:stop()
    end,
  }
end

-- ---- the laws ---------------------------------------------------------------------------------------------------

local function each_term(result, visit)
  local complaints = {}
  for _, lane in ipairs(result.lanes) do
    for _, term in ipairs(lane.terms) do
      local complaint = visit(term, lane)
      if complaint then
        complaints[#complaints + 1] = ("%s, term %d of %s: %s"):format(lane.election, term.token, term.who, complaint)
      end
    end
  end
  return complaints
end

-- S3, and that no two terms of an election overlap.
function cuts.disorder(result)
  local complaints = {}
  for _, lane in ipairs(result.lanes) do
    journal.judge(lane.terms, complaints)
  end
  return complaints
end

-- How long before the earliest end of the lease on_lost had returned; nil for a term that ended otherwise.
---@return number? seconds
function cuts.reserve_of(term)
  if not term.lost or term.reason == "stopping" then return nil end
  return (term.renewed or term.elected) + term.ttl - term.lost
end

-- do_work had stopped and on_lost returned before the last renewal that was let through could lapse.
function cuts.lateness(result)
  return each_term(result, function(term)
    local reserve = cuts.reserve_of(term)
    if not term.lost then return "on_lost never returned" end
    if reserve and reserve <= 0 then
      return ("on_lost returned %.0f ms after the lease could end"):format(-1000 * reserve)
    end
  end)
end

-- The independent watcher saw the key go only after on_lost had returned.
function cuts.early_deletions(result)
  return each_term(result, function(term)
    for _, t in ipairs(result.onlooker:deletions(term.key)) do
      -- The same lease may have borne an earlier place.
      if t > term.elected and term.lost and t < term.lost then
        return ("its key was deleted %.0f ms before on_lost returned"):format(1000 * (term.lost - t))
      end
    end
  end)
end

-- Figures by TTL: cuts of living leaders, terms, and the least and median reserve (of deaf ones it says nothing).
---@return { ttl: integer, cuts: integer, terms: integer, least: number, median: number, by_themselves: integer }[]
function cuts.figures(result)
  local figures, list = {}, {}
  for _, lane in ipairs(result.lanes) do
    local row = figures[lane.ttl] or { ttl = lane.ttl, cuts = 0, terms = 0, by_themselves = 0, reserves = {} }
    figures[lane.ttl] = row
    for _, one in ipairs(lane.cuts) do
      if one.is_alive then row.cuts = row.cuts + 1 else row.by_themselves = row.by_themselves + 1 end
    end
    for _, term in ipairs(lane.terms) do
      row.terms = row.terms + 1
      if lane.weather ~= "deaf" then row.reserves[#row.reserves + 1] = cuts.reserve_of(term) end
    end
  end
  for _, row in pairs(figures) do
    list[#list + 1] = row
    table.sort(row.reserves)
    row.least, row.median = row.reserves[1], row.reserves[(#row.reserves + 1) // 2]
  end
  table.sort(list, function(a, b) return a.ttl < b.ttl end)
  return list
end

---@return string
function cuts.line_of(row)
  return ("TTL %2d: %d cuts of leaders (%d more had lost by themselves), %d terms; on_lost had returned %.3f s before "
    .. "the lease could end at least, %.3f s at the median"):format(
    row.ttl, row.cuts, row.by_themselves, row.terms, row.least, row.median)
end

return cuts
