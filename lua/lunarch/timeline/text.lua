-- A story as text for 80 columns: a line for each lane, time going to the right, the faults below it; then what
-- happened, line by line.
--
--        0 s       2         4         6         8
--    A   ==============S-V-X.................-----------
--          ~ cut ~~~~~~~~~~~~~~~~~~~~~~~~~~~~~
--    B   ----------------------=========================
local stories = require "lunarch.timeline.story"
local texts = require "lunarch.look.text"

require "lunarch.internal.args".is_ours()

local text = {}

local WIDTH, LEAST_LABEL, MOST_LABEL = 80, 3, 16
local LEADS, WAITS, FAULT, MEMBER_LEADS, ENDING = "=", "-", "~", "*", "."
local MARKS = { { "stop_at", "S" }, { "valid_until", "V" }, { "expiry", "X" } }
local STEPS = {
  0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400, 43200, 86400,
}

local Chart = {}
Chart.__index = Chart

local function new_chart(story)
  local label = LEAST_LABEL
  for _, lane in ipairs(story.lanes) do
    label = math.max(label, texts.width(texts.plain(lane.name)))
  end
  label = math.min(label, MOST_LABEL)
  return setmetatable({ story = story, label = label, n = WIDTH - label - 5, used = {} }, Chart)
end

-- The column of an instant, from 1.
function Chart:column(at)
  local share = (at - self.story.from) / (self.story.till - self.story.from)
  return math.max(1, math.min(self.n, math.floor(share * self.n) + 1))
end

function Chart:row()
  local cells = {}
  for i = 1, self.n do
    cells[i] = " "
  end
  return cells
end

-- Fills the columns of a span, its last not included unless it is the first as well.
function Chart:fill(cells, span, mark)
  local first, after = self:column(span.from), self:column(span.to)
  if span.to >= self.story.till then after = self.n + 1 end
  for i = first, math.max(first, after - 1) do
    cells[i] = mark
  end
  self.used[mark] = true
end

function Chart:line(name, cells)
  name = texts.pad(texts.fit(name, self.label), self.label)
  return (("  %s   %s"):format(name, table.concat(cells)):gsub("%s+$", ""))
end

-- S, V and X of a term whose lease was not given back: they are drawn apart even where they fall into one column.
function Chart:mark_end(cells, term)
  if term.is_open or not term.expiry then return end
  if not stories.early_by(term) and not term.is_killed then return end
  self:fill(cells, { from = stories.led_until(term), to = math.min(math.max(term.to, term.expiry), self.story.till) },
    ENDING)
  local least = 1
  for _, mark in ipairs(MARKS) do
    local at = term[mark[1]]
    if at and at <= self.story.till then
      local column = math.min(self.n, math.max(least, self:column(at)))
      cells[column] = mark[2]
      least = column + 1
      self.used[mark[2]] = true
    end
  end
end

function Chart:candidate(lane)
  local cells = self:row()
  for _, life in ipairs(lane.lives) do
    self:fill(cells, life, WAITS)
  end
  for _, term in ipairs(lane.terms) do
    self:fill(cells, { from = term.from, to = stories.led_until(term) }, LEADS)
  end
  for _, term in ipairs(lane.terms) do
    self:mark_end(cells, term)
  end
  return self:line(lane.name, cells)
end

function Chart:member(lane)
  local cells = self:row()
  for _, span in ipairs(lane.leads) do
    self:fill(cells, span, MEMBER_LEADS)
  end
  return self:line(lane.name, cells)
end

local WORDS = { down = "killed", crash = "crashed", freeze = "frozen", pause = "paused", fill = "full" }

-- Each fault with its name in it; those that overlap get a line each.
function Chart:faults(lane)
  local rows, lines = {}, {}
  for _, span in ipairs(lane.faults) do
    local word = WORDS[span.what] or span.what
    local first = self:column(span.from)
    local last = math.max(self:column(span.to), first)
    local label = span.to > span.from and FAULT .. " " .. word .. " " or "^ " .. word
    local last_used = math.min(self.n, math.max(last, first + #label - 1))
    local row
    for _, one in ipairs(rows) do
      if one.last < first then row = one end
    end
    if not row then
      row = { cells = self:row() }
      rows[#rows + 1] = row
    end
    if span.to > span.from then self:fill(row.cells, span, FAULT) end
    first = math.min(first, self.n - #label + 1)
    for i = 1, #label do
      row.cells[first + i - 1] = label:sub(i, i)
    end
    row.last = last_used + 1
  end
  for i, row in ipairs(rows) do
    lines[i] = self:line("", row.cells)
  end
  return lines
end

local function step_of(seconds, n)
  for _, step in ipairs(STEPS) do
    if step / seconds * n >= 8 then return step end
  end
  return seconds
end

function Chart:axis()
  local cells = self:row()
  local story = self.story
  local step = step_of(story.till - story.from, self.n)
  local at = story.origin + math.ceil((story.from - story.origin) / step) * step
  local is_first = true
  while at <= story.till do
    local label = ("%g"):format(at - story.origin) .. (is_first and story.unit or "")
    local column = self:column(at)
    if column + #label - 1 <= self.n then
      for i = 1, #label do
        cells[column + i - 1] = label:sub(i, i)
      end
    end
    is_first, at = false, at + step
  end
  return self:line("", cells)
end

local LEGEND = {
  { LEADS, "leads" }, { WAITS, "waits" }, { MEMBER_LEADS, "leads etcd" }, { FAULT, "fault" }, { "S", "stop_at" },
  { "V", "valid_until" }, { "X", "expiry: another may lead" },
}

function Chart:legend()
  local parts = {}
  for _, one in ipairs(LEGEND) do
    if self.used[one[1]] then parts[#parts + 1] = one[1] .. " " .. one[2] end
  end
  local lines, line = {}, " "
  for _, part in ipairs(parts) do
    if #line + 2 + #part > WIDTH then
      lines[#lines + 1], line = line, " "
    end
    line = line .. (line == " " and " " or "   ") .. part
  end
  if parts[1] then lines[#lines + 1] = line end
  return lines
end

--- The chart alone.
---@return string[]
function text.chart(story)
  local chart, lines = new_chart(story), {}
  lines[1] = chart:axis()
  for _, lane in ipairs(story.lanes) do
    lines[#lines + 1] = lane.is_member and chart:member(lane) or chart:candidate(lane)
    for _, line in ipairs(chart:faults(lane)) do
      lines[#lines + 1] = line
    end
  end
  local legend = chart:legend()
  if legend[1] then lines[#lines + 1] = "" end
  return table.move(legend, 1, #legend, #lines + 1, lines)
end

local SHOWN = { elected = true, lost = true, leader = true, jeopardy = true, safe = true, joined = true, left = true,
  fault = true, say = true }

local function fold(line, indent)
  local lines = {}
  while #line > WIDTH do
    local at = line:sub(1, WIDTH + 1):match "^.*() " or WIDTH + 1
    if at <= indent + 8 then at = WIDTH + 1 end
    lines[#lines + 1] = (line:sub(1, at - 1):gsub("%s+$", ""))
    line = (" "):rep(indent) .. line:sub(at):gsub("^ +", "")
  end
  lines[#lines + 1] = line
  return lines
end

--- What happened, line by line.
---@return string[]
function text.events(story)
  local lines = {}
  local label = LEAST_LABEL
  for _, event in ipairs(story.events) do
    if SHOWN[event.what] then label = math.min(MOST_LABEL, math.max(label, texts.width(event.who or ""))) end
  end
  for _, event in ipairs(story.events) do
    if SHOWN[event.what] then
      local what = texts.plain((event.text or ""):gsub("\n.*", ""):gsub("%c", " "))
      local who = texts.pad(texts.fit(event.who or "", label), label)
      local line = ("  %8.3f  %s  %s"):format(event.at - story.origin, who, what)
      for _, part in ipairs(fold(line, 14 + label)) do
        lines[#lines + 1] = part
      end
    end
  end
  return lines
end

--- The chart, and what happened.
---@return string[]
function text.lines(story)
  local lines, events = story.lanes[1] and text.chart(story) or {}, text.events(story)
  if lines[1] and events[1] then lines[#lines + 1] = "" end
  table.move(events, 1, #events, #lines + 1, lines)
  return lines[1] and lines or { "nothing has happened" }
end

return text
