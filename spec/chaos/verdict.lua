-- What a chaos run must show, and whether it did.
local ledger = require "chaos.ledger"
local losses = require "chaos.losses"
local overlap = require "chaos.overlap"
local revocation = require "chaos.revocation"
local sets = require "chaos.sets"

local verdict = {}

---@class Law
---@field what string what must be so
---@field troubles string[] what was not

---@class Verdict
---@field laws Law[]
---@field overlaps Overlap[] of terms and of holds
---@field handed_on Overlap[] those for which etcd itself gave a living place away
---@field revoked { terms: integer, holds: integer } how often it did that
---@field n_at_work integer for how many of handed_on's terms the earlier owner went on with its work
---@field losses table<string, Loss[]> by the set's name
---@field told_s number[] from SIGCONT to on_lost, where a term ran out while its process was stopped
---@field spans Span[] of terms
---@field is_fine boolean

local function spans_of_terms(outcome)
  local spans, told = {}, {}
  for _, term in ipairs(outcome.terms) do
    term.excuse_s = revocation.has_ended_term(outcome, term) and revocation.longest_s(outcome, term.reason) or nil
    local own, told_s = overlap.spans_of(term, term.life.stops, outcome.over)
    table.move(own, 1, #own, #spans + 1, spans)
    told[#told + 1] = told_s
  end
  table.sort(told)
  return spans, told
end

local function spans_of_holds(outcome, set)
  local spans = {}
  for _, one in ipairs(outcome.ledgers) do
    for _, hold in ipairs(one.holds) do
      hold.excuse_s = revocation.has_ended_hold(outcome, hold) and revocation.longest_s(outcome) or nil
      if hold.set == set.name then spans[#spans + 1] = overlap.span_of_hold(hold) end
    end
  end
  return spans
end

local function overlaps_of_holds(outcome)
  local found = {}
  for _, set in ipairs(sets.list) do
    local own = overlap.find(spans_of_holds(outcome, set))
    table.move(own, 1, #own, #found + 1, found)
  end
  return found
end

-- S3, and S5: the order within a term, and of the tokens.
local function disorder_of_terms(terms)
  local troubles = {}
  for _, term in ipairs(terms) do
    if term.disorder then
      troubles[#troubles + 1] = ("term %d of %s: %s"):format(term.token, term.who, term.disorder)
    end
  end
  for i = 2, #terms do
    if terms[i].elected < terms[i - 1].elected then
      troubles[#troubles + 1] = ("%s was elected with token %d after %s with %d"):format(
        terms[i - 1].who, terms[i - 1].token, terms[i].who, terms[i].token)
    end
  end
  return troubles
end

local function describe_loss(set, loss)
  return ("%s by %s into %s (token %d): %s"):format(
    loss.insertion.id, loss.insertion.who, set.name, loss.insertion.token,
    loss.by and "overwritten by " .. loss.by or "etcd has never had it")
end

local function losses_of(outcome)
  local acked, all = ledger.outcomes(outcome.ledgers, "acked"), {}
  for _, set in ipairs(sets.list) do
    all[set.name] = losses.find(outcome.histories[set.name], acked[set.name])
  end
  return all
end

local function troubles_of_guarded(outcome, found)
  local lost, disorder = {}, {}
  for _, set in ipairs(sets.list) do
    if set.guarded then
      for _, loss in ipairs(found[set.name]) do
        lost[#lost + 1] = describe_loss(set, loss)
      end
      for _, line in ipairs(losses.disorder(outcome.histories[set.name])) do
        disorder[#disorder + 1] = set.name .. ": " .. line
      end
    end
  end
  return lost, disorder
end

local function count_revoked(outcome)
  local revoked = { terms = 0, holds = 0 }
  for _, term in ipairs(outcome.terms) do
    if term.excuse_s then revoked.terms = revoked.terms + 1 end
  end
  for _, one in ipairs(outcome.ledgers) do
    for _, hold in ipairs(one.holds) do
      if hold.excuse_s then revoked.holds = revoked.holds + 1 end
    end
  end
  return revoked
end

local function count_at_work(outcome, overlaps)
  local by_token, n = {}, 0
  for _, term in ipairs(outcome.terms) do
    by_token[term.token] = term
  end
  for _, one in ipairs(overlaps) do
    local earlier = by_token[math.min(one.a.token, one.b.token)]
    if overlap.acted_after(earlier, one.from) then n = n + 1 end
  end
  return n
end

local function join(first, second)
  return table.move(second, 1, #second, #first + 1, table.move(first, 1, #first, 1, {}))
end

-- What was never tried cannot have failed.
local function idleness(outcome)
  local troubles, acked = {}, ledger.outcomes(outcome.ledgers, "acked")
  if #outcome.terms == 0 then troubles[1] = "nobody was ever elected" end
  for _, set in ipairs(sets.list) do
    if #acked[set.name] == 0 then troubles[#troubles + 1] = "nothing was ever inserted into " .. set.name end
  end
  return troubles
end

---@param outcome Outcome
---@return Verdict
function verdict.of(outcome)
  local spans, told_s = spans_of_terms(outcome)
  local of_terms, terms_handed_on = overlap.part(overlap.find(spans))
  local of_holds, holds_handed_on = overlap.part(overlaps_of_holds(outcome))
  local found = losses_of(outcome)
  local lost, disorder = troubles_of_guarded(outcome, found)
  local laws = {
    { what = "no two terms at once", troubles = overlap.describe(of_terms) },
    { what = "no mutex held by two at once", troubles = overlap.describe(of_holds) },
    { what = "handlers in order, tokens rising", troubles = disorder_of_terms(outcome.terms) },
    { what = "no acknowledged guarded write lost", troubles = lost },
    { what = "no guarded write twice, or of a stale owner", troubles = disorder },
  }
  if not outcome.is_interrupted then
    table.insert(laws, { what = "there was work to disturb", troubles = idleness(outcome) })
    table.insert(laws, { what = "everybody back in line and at work afterwards, and gone cleanly",
      troubles = outcome.complaints })
  elseif #outcome.complaints > 0 then
    table.insert(laws, { what = "nobody ended by itself", troubles = outcome.complaints })
  end
  local is_fine = true
  for _, law in ipairs(laws) do
    is_fine = is_fine and #law.troubles == 0
  end
  return {
    laws = laws, overlaps = join(of_terms, of_holds), handed_on = join(terms_handed_on, holds_handed_on),
    revoked = count_revoked(outcome), n_at_work = count_at_work(outcome, terms_handed_on), losses = found,
    told_s = told_s, spans = spans, is_fine = is_fine,
  }
end

return verdict
