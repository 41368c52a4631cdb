-- The figures of a chaos run: hand-overs, how long somebody led, what was written, how long it took to be told.
local ledger = require "chaos.ledger"
local losses = require "chaos.losses"
local sets = require "chaos.sets"

local figures = {}

-- A hand-over is laid to a fault of a leader if its term ended until so long after the fault.
local AFTERMATH_S = 2
local CAUSES = { "kill", "stop", "quit", "silent", "deaf" }

---@param samples number[] sorted
local function spread(samples)
  return { n = #samples, median = samples[(#samples + 1) // 2], most = samples[#samples] }
end

local function next_after(terms, t, token)
  local first
  for _, term in ipairs(terms) do
    if term.token > token and term.elected > t and (not first or term.elected < first.elected) then first = term end
  end
  return first
end

local function term_of(terms, token)
  for _, term in ipairs(terms) do
    if term.token == token then return term end
  end
end

-- Was any member out of order between `from` and `to`?
local function is_disturbed(outcome, from, to)
  for _, fault in ipairs(outcome.faults) do
    if fault.track == "members" and fault.from < to and (fault.to or outcome.ended) > from then return true end
  end
  return false
end

-- Seconds from a fault of the leader to the next one's election; nil: the fault did not cost it its place.
local function handover_s(outcome, fault)
  local term = fault.token and term_of(outcome.terms, fault.token)
  local ended = term and (term.losing or term.died)
  if not ended or ended > (fault.to or outcome.ended) + AFTERMATH_S then return nil end
  local successor = next_after(outcome.terms, fault.from, fault.token)
  return successor and successor.elected - fault.from, successor
end

-- By what was done to the leader: in quiet, no member being out of order, and in all.
---@return { cause: string, quiet: table, all: table }[]
function figures.handovers(outcome)
  local rows = {}
  for _, cause in ipairs(CAUSES) do
    local quiet, all = {}, {}
    for _, fault in ipairs(outcome.faults) do
      local seconds, successor = nil, nil
      if fault.track == "candidates" and fault.kind == cause then seconds, successor = handover_s(outcome, fault) end
      if seconds then
        all[#all + 1] = seconds
        if not is_disturbed(outcome, fault.from - AFTERMATH_S, successor.elected) then quiet[#quiet + 1] = seconds end
      end
    end
    table.sort(quiet)
    table.sort(all)
    rows[#rows + 1] = { cause = cause, quiet = spread(quiet), all = spread(all) }
  end
  return rows
end

-- The share of the time in which faults came during which somebody led.
---@param spans Span[]
---@return number
function figures.share_led(outcome, spans)
  local led = 0
  for _, span in ipairs(spans) do
    led = led + math.max(0, math.min(span.to, outcome.ended) - math.max(span.from, outcome.began))
  end
  return led / (outcome.ended - outcome.began)
end

---@return table<string, integer> terms by the reason told to on_lost; "killed" for those who were told nothing
function figures.endings(outcome)
  local count = {}
  for _, term in ipairs(outcome.terms) do
    local reason = term.reason or (term.died and "killed" or "still leading")
    count[reason] = (count[reason] or 0) + 1
  end
  return count
end

-- By set: insertions acknowledged, refused, of unknown fate and of these landed; lost; and for those without a guard
-- what one would have refused.
---@param all_losses table<string, Loss[]>
---@return table[]
function figures.sets(outcome, all_losses)
  local fates = {}
  for _, fate in ipairs { "acked", "refused", "unknown" } do
    fates[fate] = ledger.outcomes(outcome.ledgers, fate)
  end
  local rows = {}
  for i, set in ipairs(sets.list) do
    local history = outcome.histories[set.name]
    rows[i] = {
      name = set.name, how = set.how, guarded = set.guarded, versions = #history,
      acked = #fates.acked[set.name], refused = #fates.refused[set.name], unknown = #fates.unknown[set.name],
      lost = #all_losses[set.name], stale = #losses.disorder(history),
    }
  end
  return rows
end

---@return { works: integer, terms: integer, holds: integer, lives: integer }
function figures.counts(outcome)
  local counts = { works = 0, terms = #outcome.terms, holds = 0, lives = #outcome.lives }
  for _, term in ipairs(outcome.terms) do
    counts.works = counts.works + #term.works
  end
  for _, one in ipairs(outcome.ledgers) do
    counts.holds = counts.holds + #one.holds
  end
  return counts
end

-- How many faults of each kind there were, by track.
---@return table<string, table<string, integer>>
function figures.faults(outcome)
  local count = { candidates = {}, members = {} }
  for _, fault in ipairs(outcome.faults) do
    local own = count[fault.track]
    own[fault.kind] = (own[fault.kind] or 0) + 1
  end
  return count
end

figures.spread = spread

return figures
