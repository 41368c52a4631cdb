-- Journals written by hand, for the specs of those who judge: what candidates would have told, without any process.
local ledger = require "chaos.ledger"
local sets = require "chaos.sets"

local journals = {}

-- A process that has said these lines, as process.lua has them.
local function said(lines)
  local all = {}
  for i, text in ipairs(lines) do
    all[i] = { t = i, from = "out", text = text }
  end
  return { lines = function() return all end }
end

-- The life of a candidate that has told `lines`; `more` sets its other fields.
---@return Life
function journals.life(who, lines, more)
  local process = said(lines)
  local life = {
    process = process, ledger = ledger.follow(who, process), started = 0, stops = {}, end_is_wanted = true,
  }
  for name, value in pairs(more or {}) do
    life[name] = value
  end
  life.ledger:update()
  return life
end

-- The lines of a term; without `lost` it was never told of its end.
---@param term table token, elected; and place ("00ab": its key's end), works ({ from, to } each), claims, losing, lost
---@return string[]
function journals.term(term)
  local lines = {}
  local function add(event, t, more)
    lines[#lines + 1] = ("%s %.6f %s %s %d %s"):format(
      event, t, sets.ELECTION, term.place or "00ab", term.token, more or "")
  end
  add("elected", term.elected)
  for _, work in ipairs(term.works or {}) do
    add("work", work[1])
    if work[2] then add("worked", work[2]) end
  end
  for _, t in ipairs(term.claims or {}) do
    lines[#lines + 1] = ("claim %.6f %s %d"):format(t, sets.ELECTION, term.token)
  end
  if term.losing or term.lost then add("losing", term.losing or term.lost, "expired") end
  if term.lost then add("lost", term.lost) end
  return lines
end

-- What a run would have come to, that saw these lives. `more` sets its other fields.
---@param lives Life[]
---@return Outcome
function journals.outcome(lives, more)
  local outcome = {
    seed = 1, ttl = 3, began = 0, ended = 60, over = 62, is_interrupted = false, faults = {}, terms = {}, ledgers = {},
    lives = lives, leaderships = { { t = 0, index = 1, raft_term = 2 } }, histories = {}, back = {}, complaints = {},
    logs = {}, etcd_version = "3.4.23",
  }
  for _, set in ipairs(sets.list) do
    outcome.histories[set.name] = {}
  end
  for i, life in ipairs(lives) do
    outcome.ledgers[i] = life.ledger
    for _, term in ipairs(life.ledger.journal.terms) do
      term.life, term.died = life, not term.lost and life.ended or nil
      table.insert(outcome.terms, term)
    end
  end
  table.sort(outcome.terms, function(a, b) return a.token < b.token end)
  for name, value in pairs(more or {}) do
    outcome[name] = value
  end
  return outcome
end

return journals
