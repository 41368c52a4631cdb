-- lunarch explain: who held a line when, and how each term began and ended: from etcd's history and from logs.
local looks = require "lunarch.cli.common.looks"

require "lunarch.internal.args".is_ours()

local OTHERS = "(%d %s of the logs %s not JSON: explain reads what `lunarch run --log json` writes)"

local command = {
  summary = "explain who held an election or a lock when, and how each term ended",
  usage = { "NAME [--log FILE]... [flags]" },
  description = [[
Shows who held an election or a lock, as far back as etcd's history goes, and how each term
began and ended. etcd keeps the order of changes and no times: give the logs of the
candidates (lunarch run --log json) to see times, and what they logged, on one timeline.

A line of a log that contains "token N" tells when that term began; the next line of the same
candidate that contains "lost" tells when it ended, and why.]],
  epilog = looks.EPILOG,
  rewrite = looks.rewrite,
}

function command.define(parser)
  parser:argument("name", "the election or the lock"):args "?"
  parser:option("--log", "a log in JSON, of one candidate or of several; may be given again"):argname "FILE"
    :count "*":target "logs"
  parser:option("--svg", "write the timeline as a picture"):argname "FILE"
  looks.define(parser)
end

local function others(n)
  return OTHERS:format(n, n == 1 and "line" or "lines", n == 1 and "is" or "are")
end

-- The terms by revision, where no log tells the times.
local function events_by_revision(found)
  local events = {}
  for _, term in ipairs(found.terms) do
    events[#events + 1] = { at = term.began, who = term.who, what = "elected", token = term.token,
      text = ("held it, token %d: %s"):format(term.token, term.how_began) }
    if term.ended then
      events[#events + 1] = { at = term.ended, who = term.who, what = "lost", text = term.how_ended }
    end
  end
  return events
end

-- A candidate whose log ends leaves open when its term did: at the next one's beginning, at the latest.
local function close_terms(events, terms)
  for i, term in ipairs(terms) do
    local after = terms[i + 1]
    if term.at and term.ended and not term.lost_at and after and after.at then
      events[#events + 1] = { at = after.at, who = term.who, what = "lost", token = term.token,
        text = "its term is over: " .. term.how_ended }
    end
  end
  local function rank(event) return event.what == "lost" and 0 or 1 end
  table.sort(events, function(a, b)
    if a.at ~= b.at then return a.at < b.at end
    if rank(a) ~= rank(b) then return rank(a) < rank(b) end
    return (a.number or 0) < (b.number or 0)
  end)
end

-- What is said at the level debug, and is no part of a term.
local function without_details(events)
  local kept = {}
  for _, event in ipairs(events) do
    if event.what ~= "say" or event.level ~= "debug" then kept[#kept + 1] = event end
  end
  return kept
end

-- Whether the logs say when a term began.
local function has_times(found)
  for _, term in ipairs(found.terms) do
    if term.at then return true end
  end
  return false
end

local function story_of(found, events)
  local timeline = require "lunarch.timeline"
  local names, seen = {}, {}
  for _, term in ipairs(found.terms) do
    if not seen[term.who] then
      names[#names + 1], seen[term.who] = term.who, true
    end
  end
  if not has_times(found) then
    events = events_by_revision(found)
    local from = events[1] and events[1].at or found.from
    return timeline.story(events, { names = names, from = from, till = found.revision + 1, unit = "" })
  end
  local from, till = events[1].at, events[#events].at
  return timeline.story(events, { names = names, from = from, till = math.max(till, from + 1), origin = from })
end

local function time_text(at)
  return os.date("%H:%M:%S", math.floor(at)) .. ("%.3f"):format(at % 1):sub(2)
end

local function summary(name, found)
  local n = #found.terms
  return ("%s: %s in etcd's history, revisions %d to %d%s"):format(name,
    n == 0 and "no term" or n == 1 and "1 term" or ("%d terms"):format(n), found.from, found.revision,
    found.is_compacted and "; what was before is compacted" or "")
end

local function print_table(found)
  local rows = {}
  for i, term in ipairs(found.terms) do
    rows[i] = {}
    for field, value in pairs(term) do
      rows[i][field] = value
    end
    rows[i].at = term.at and time_text(term.at)
  end
  print(tostring(require "lunarch.look.columns".rows("history", rows)))
end

local NO_TIMES = "by etcd's revisions (give --log for times):"
local NO_TOKENS = [[
by etcd's revisions (no line of the logs names the token of a term: lunarch writes one with
--log-level debug, a script with log.info("elected, token %d", term.token)):]]

local function print_story(story, found, events)
  local timeline = require "lunarch.timeline"
  print()
  local is_timed = has_times(found)
  print(is_timed and ("0 s is %s"):format(os.date("%Y-%m-%d %H:%M:%S %z", math.floor(story.origin)))
    or events[1] and NO_TOKENS or NO_TIMES)
  for _, line in ipairs(is_timed and timeline.lines(story) or timeline.chart(story)) do
    print(line)
  end
end

local function run(client, flags)
  local logs = require "lunarch.timeline.logs"
  local events, n_others = logs.read(flags.logs or {})
  if not events then return nil, n_others, "invalid" end
  local found, message, code = require "lunarch.look.history".read(client, flags.name, looks.timeout(flags))
  if not found then return nil, message, code end
  logs.match(events, found.terms, flags.name)
  events = without_details(events)
  close_terms(events, found.terms)
  local story = story_of(found, events)
  if flags.json then
    print(require "lunarch.look.json".encode { name = flags.name, from = found.from, revision = found.revision,
      is_compacted = found.is_compacted, terms = found.terms })
  else
    print(summary(flags.name, found))
    if n_others > 0 then print(others(n_others)) end
    if found.terms[1] then
      print_table(found)
      print_story(story, found, events)
    end
  end
  if flags.svg then
    local ok, trouble = require "lunarch.timeline".write(story, flags.svg, flags.name)
    if not ok then return nil, trouble, "invalid" end
  end
  local last = found.terms[#found.terms]
  return last and not last.ended and 0 or looks.NONE
end

---@return integer status
function command.run(flags)
  return looks.run_named("explain", flags, run)
end

return command
