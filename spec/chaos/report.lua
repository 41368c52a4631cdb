-- The report of a chaos run, for people, for programs, and as a picture.
local crew = require "chaos.crew"
local figures = require "chaos.figures"
local json = require "cjson"
local overlap = require "chaos.overlap"
local timeline = require "chaos.timeline"
local tree = require "support.tree"
local uv = require "luv"

local report = {}

local SHOWN_TROUBLES = 20
local VERSION = 1
-- Debian's cjson takes an empty table for an object.
local EMPTY = "@an empty list@"

local function commas(number)
  local text = tostring(number):reverse():gsub("(%d%d%d)", "%1,"):reverse()
  return (text:gsub("^,", ""))
end

local function counted(count)
  local names, parts = {}, {}
  for name in pairs(count) do
    names[#names + 1] = name
  end
  table.sort(names, function(a, b)
    if count[a] ~= count[b] then return count[a] > count[b] end
    return a < b
  end)
  for i, name in ipairs(names) do
    parts[i] = count[name] .. " " .. name
  end
  return #parts > 0 and table.concat(parts, ", ") or "none"
end

local Text = {}
Text.__index = Text

function Text:add(format, ...)
  self[#self + 1] = select("#", ...) > 0 and format:format(...) or format
end

function Text:add_laws(judged)
  for _, law in ipairs(judged.laws) do
    self:add("  %-4s %s", #law.troubles == 0 and "ok" or "FAIL", law.what)
    for i, trouble in ipairs(law.troubles) do
      if i > SHOWN_TROUBLES then
        self:add("       and %d more", #law.troubles - SHOWN_TROUBLES)
        break
      end
      self:add("       %s", (trouble:gsub("\n", "\n       ")))
    end
  end
end

-- What etcd did of its own, see revocation.lua.
function Text:add_revoked(outcome, judged)
  local revoked = judged.revoked
  if revoked.terms + revoked.holds == 0 then return end
  self:add("  etcd %s itself revoked living leases when a stopped leader of its own went on: terms ended so %d, "
    .. "holds %d", outcome.etcd_version, revoked.terms, revoked.holds)
  self:add("  (its issue 15247, more seldom since 3.4.31 and 3.5.13: "
    .. "as after an operator's revocation, one is told at once)")
  if #judged.handed_on > 0 then
    self:add("  before on_lost was over, the next one had begun (%d of them still at work): %s", judged.n_at_work,
      table.concat(overlap.describe(judged.handed_on), ", "))
  end
end

function Text:add_handovers(outcome)
  local rows = {}
  for _, row in ipairs(figures.handovers(outcome)) do
    if row.all.n > 0 then rows[#rows + 1] = row end
  end
  if #rows == 0 then return end
  self:add "  hand-over from a fault of the leader to the next one's on_elected, in seconds"
  self:add "                 no member out of order        all of them"
  self:add "                  n  median  longest          n  median  longest"
  local function cells(one)
    if one.n == 0 then return ("%3d       -        -"):format(0) end
    return ("%3d  %6.2f  %7.2f"):format(one.n, one.median, one.most)
  end
  for _, row in ipairs(rows) do
    self:add("         %-7s%s        %s", row.cause, cells(row.quiet), cells(row.all))
  end
end

function Text:add_sets(outcome, judged)
  self:add "  insertions      acknowledged    lost   refused  unknown"
  for _, row in ipairs(figures.sets(outcome, judged.losses)) do
    self:add("         %-7s  %12s  %6d  %8d  %7d    %s, %s", row.name, commas(row.acked), row.lost, row.refused,
      row.unknown, row.guarded and "guarded" or "unguarded", row.how)
  end
end

local function back_line(outcome)
  local parts = {}
  for _, name in ipairs(crew.NAMES) do
    parts[#parts + 1] = outcome.back[name] and ("%s %.1f s"):format(name, outcome.back[name])
  end
  return table.concat(parts, ", ")
end

---@param outcome Outcome
---@param judged Verdict
---@return string
function report.text(outcome, judged)
  local text = setmetatable({}, Text)
  local counts = figures.counts(outcome)
  local faults = figures.faults(outcome)
  text:add("chaos: %.0f s of faults%s, TTL %d s, seed %d: %s", outcome.ended - outcome.began,
    outcome.is_interrupted and " (interrupted)" or "", outcome.ttl, outcome.seed,
    judged.is_fine and "all that must hold has held" or "NOT all that must hold has held")
  text:add_laws(judged)
  text:add("  faults of candidates: %s", counted(faults.candidates))
  text:add("  faults of members: %s", counted(faults.members))
  text:add("  %s terms and %s holds of mutexes in %d lives of candidates, %s calls of do_work", commas(counts.terms),
    commas(counts.holds), counts.lives, commas(counts.works))
  text:add("  somebody led %.0f %% of the time; etcd's leader changed %d times",
    100 * figures.share_led(outcome, judged.spans), #outcome.leaderships - 1)
  text:add("  terms ended: %s", counted(figures.endings(outcome)))
  local told = figures.spread(judged.told_s)
  if told.n > 0 then
    text:add("  stopped for longer than it led: on_lost began %.1f ms after SIGCONT at the median of %d, %.1f at most",
      1000 * told.median, told.n, 1000 * told.most)
  end
  text:add_revoked(outcome, judged)
  text:add_handovers(outcome)
  text:add_sets(outcome, judged)
  if next(outcome.back) then text:add("  back in line and at work after the last fault: %s", back_line(outcome)) end
  return table.concat(text, "\n")
end

-- The same for programs. Instants are seconds since the beginning.
---@param outcome Outcome
---@param judged Verdict
---@return string
function report.json(outcome, judged)
  local function since(t) return t and math.floor(1e6 * (t - outcome.began) + 0.5) / 1e6 or json.null end
  local function list(items) return #items > 0 and items or EMPTY end
  local laws, faults, terms = {}, {}, {}
  for i, law in ipairs(judged.laws) do
    laws[i] = { what = law.what, holds = #law.troubles == 0, troubles = list(law.troubles) }
  end
  for i, fault in ipairs(outcome.faults) do
    faults[i] = {
      track = fault.track, kind = fault.kind, lanes = fault.lanes, from = since(fault.from), to = since(fault.to),
      token = fault.token or json.null, how = fault.how or json.null,
    }
  end
  for i, term in ipairs(outcome.terms) do
    terms[i] = {
      who = term.who, token = term.token, elected = since(term.elected), losing = since(term.losing),
      lost = since(term.lost), died = since(term.died), reason = term.reason or json.null, works = #term.works,
    }
  end
  local told = figures.spread(judged.told_s)
  local text = json.encode {
    version = VERSION, seed = outcome.seed, ttl = outcome.ttl, seconds = since(outcome.ended),
    interrupted = outcome.is_interrupted, fine = judged.is_fine, laws = laws, faults = list(faults),
    terms = list(terms),
    counts = figures.counts(outcome), endings = figures.endings(outcome),
    share_led = figures.share_led(outcome, judged.spans), leader_changes = #outcome.leaderships - 1,
    told_after_continue = { n = told.n, median = told.median, most = told.most },
    etcd = outcome.etcd_version, revoked_by_etcd = judged.revoked, handed_on_by_etcd = #judged.handed_on,
    handed_on_at_work = judged.n_at_work,
    handovers = figures.handovers(outcome), sets = figures.sets(outcome, judged.losses), back = outcome.back,
  }
  return (text:gsub('"' .. EMPTY .. '"', "[]"))
end

local function write_file(path, text)
  local file, why = io.open(path, "w")
  if not file then error("cannot write the report: " .. why, 0) end
  file:write(text, "\n")
  file:close()
end

-- What each life has told, and each member logged, for whoever wants to know how it came.
local function write_journals(outcome, folder)
  uv.fs_mkdir(folder, 493)
  local count = {}
  for _, life in ipairs(outcome.lives) do
    local who = life.ledger.who
    count[who] = (count[who] or 0) + 1
    local lines = {}
    for i, line in ipairs(life.process:lines()) do
      lines[i] = ("%.6f %s %s"):format(line.t - outcome.began, line.from, line.text)
    end
    write_file(("%s/%s%d.log"):format(folder, who, count[who]), table.concat(lines, "\n"))
  end
  for index, log in ipairs(outcome.logs) do
    write_file(("%s/m%d.log"):format(folder, index), log)
  end
end

-- Writes report.txt, report.json, timeline.svg and the journals; returns the text, which names the folder.
---@param outcome Outcome
---@param judged Verdict
---@param options { out: string? }
---@return string
function report.write(outcome, judged, options)
  local folder = options.out or tree.build:gsub("/[^/]*$", "") .. "/chaos"
  os.execute("mkdir -p " .. tree.quote { folder })
  local text = report.text(outcome, judged)
  write_file(folder .. "/report.txt", text)
  write_file(folder .. "/report.json", report.json(outcome, judged))
  write_file(folder .. "/timeline.svg", timeline.svg(outcome, judged))
  write_journals(outcome, folder .. "/journals")
  return ("%s\n  %s/timeline.svg shows it; report.txt, report.json and journals/ lie beside it"):format(text, folder)
end

return report
