-- Who acted as an owner from when to when, on one clock, and where two did at once.
--
-- A process that was stopped (SIGSTOP) for longer than it owned cannot act meanwhile, and cannot be told before it
-- goes on: what it did until the stop counts, and so does everything that it did as an owner afterwards - a do_work
-- begun, an answer of "still ours", or not having entered on_lost within TOLD_S.
local overlap = {}

overlap.TOLD_S = 0.5

---@class Span
---@field who string
---@field token integer
---@field from number seconds of CLOCK_BOOTTIME
---@field to number
---@field excuse_s? number etcd itself gave the place away: how long it may overlap with the next (revocation.lua)

---@class Stop
---@field from number when SIGSTOP was sent
---@field to number when SIGCONT was sent

---@class Overlap
---@field a Span
---@field b Span
---@field from number
---@field to number

-- Every two spans of different tokens that share time. Spans of one token are one owner's.
---@param spans Span[]
---@return Overlap[]
function overlap.find(spans)
  local sorted, found, open = table.move(spans, 1, #spans, 1, {}), {}, {}
  table.sort(sorted, function(a, b) return a.from < b.from end)
  for _, span in ipairs(sorted) do
    local still_open = {}
    for _, earlier in ipairs(open) do
      if earlier.to > span.from then
        still_open[#still_open + 1] = earlier
        if earlier.token ~= span.token then
          found[#found + 1] = { a = earlier, b = span, from = span.from, to = math.min(earlier.to, span.to) }
        end
      end
    end
    still_open[#still_open + 1] = span
    open = still_open
  end
  return found
end

-- Parts them into those that must not be and those that etcd itself has brought about.
---@param overlaps Overlap[]
---@return Overlap[] ours, Overlap[] etcds
function overlap.part(overlaps)
  local ours, etcds = {}, {}
  for _, one in ipairs(overlaps) do
    local earlier = one.a.token < one.b.token and one.a or one.b
    table.insert(earlier.excuse_s and one.to - one.from <= earlier.excuse_s and etcds or ours, one)
  end
  return ours, etcds
end

---@param overlaps Overlap[]
---@return string[]
function overlap.describe(overlaps)
  local lines = {}
  for i, one in ipairs(overlaps) do
    lines[i] = ("%s (token %d) and %s (token %d) for %.1f ms"):format(
      one.a.who, one.a.token, one.b.who, one.b.token, 1000 * (one.to - one.from))
  end
  return lines
end

-- The last moment after `t` at which the term was acted on as if it lasted: a do_work begun after `t`, or an answer of
-- "still ours". Nil: on_lost at most.
---@param term Term with `claims`
---@param t number
---@return number?
function overlap.acted_after(term, t)
  local latest
  for _, claim in ipairs(term.claims) do
    if claim >= t then latest = claim end
  end
  for _, work in ipairs(term.works) do
    if work.from >= t then latest = math.max(latest or t, work.to or work.from) end
  end
  return latest
end

-- The stop in which the term ran out: on_lost came right after it. Nil: there was none.
local function overrun_of(term, stops)
  for _, stop in ipairs(stops) do
    local is_within = stop.from > term.elected and term.losing and stop.to <= term.losing
    if is_within and term.losing - stop.to <= overlap.TOLD_S then return stop end
  end
end

-- The spans of a term, from on_elected entered to on_lost returned, death, or `until_s`; and the seconds from SIGCONT
-- until on_lost was entered, where it ran out while its process was stopped.
---@param term Term with `claims` (instants at which it was asked and said to last) and `died` (of its process)
---@param stops Stop[] of its process, in order
---@param until_s number when the records end
---@return Span[] spans, number? told_s
function overlap.spans_of(term, stops, until_s)
  local function span(from, to)
    return { who = term.who, token = term.token, from = from, to = to, excuse_s = term.excuse_s }
  end
  local ended = term.lost or term.died or until_s
  local stop = overrun_of(term, stops)
  if not stop then return { span(term.elected, ended) } end
  local spans = { span(term.elected, stop.from) }
  local acted = overlap.acted_after(term, stop.to)
  if acted then spans[2] = span(stop.to, acted) end
  return spans, term.losing - stop.to
end

-- The span in which a mutex was held: from lock() returned to the last time that is_held() said so; nil if it never
-- did.
---@param hold { who: string, token: integer, locked: number, claims: number[] }
---@return Span?
function overlap.span_of_hold(hold)
  local latest = hold.claims[#hold.claims]
  if latest and latest > hold.locked then
    return { who = hold.who, token = hold.token, from = hold.locked, to = latest, excuse_s = hold.excuse_s }
  end
end

return overlap
