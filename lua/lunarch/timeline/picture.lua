-- A story as a picture: a lane for each candidate and member, time going to the right. A term is a bar; where it ended
-- without its place being given back, the bar is followed by what is left of its lease, with the three instants: so one
-- sees that "lost" comes before "another may lead". Light or dark, as the reader's screen is.
local args = require "lunarch.internal.args"
local drawing = require "lunarch.timeline.drawing"
local stories = require "lunarch.timeline.story"
local texts = require "lunarch.look.text"

args.is_ours()

local picture = {}

local WIDTH, RIGHT, TOP, BOTTOM = 820, 24, 16, 14
local TITLE_H, AXIS_H, LANE_H, FAULT_H, INSTANT_H, GAP, LEGEND_H = 30, 22, 24, 17, 15, 12, 24
local CHAR_W, SMALL_W, LEAST_LEFT, MOST_LEFT = 7.4, 5.6, 48, 150
local MARKS = { "expiry", "valid_until", "stop_at" } -- from the highest row to the lowest
local STEPS = {
  0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400, 43200, 86400,
}
local MOST_TICKS = 12

local STYLE = [[<style>
.page{fill:#ffffff}.ink{fill:#1f2328}.pale{fill:#59636e}.grid{stroke:#d8dee4}.lane{fill:#f3f5f8}
.waits{stroke:#8c959f;stroke-width:3}.leads{fill:#1a7f64}.on-leads{fill:#ffffff}
.ending{fill:#1a7f64;fill-opacity:.16;stroke:#1a7f64;stroke-dasharray:3 2}
.fault{fill:#f6c344;fill-opacity:.75}.on-fault{fill:#3d2e00}.member{fill:#7a6fc9}
.stop_at{stroke:#bf8700;stroke-width:2}.valid_until{stroke:#cf5a1b;stroke-width:2}.expiry{stroke:#c81e2c;stroke-width:2}
.stop_at-text{fill:#8f6400}.valid_until-text{fill:#a8430c}.expiry-text{fill:#b3131f}
.mark{stroke:#1f2328;stroke-width:2}
@media (prefers-color-scheme: dark){
.page{fill:#0d1117}.ink{fill:#e6edf3}.pale{fill:#9198a1}.grid{stroke:#2b323b}.lane{fill:#161c24}
.waits{stroke:#6e7681}.leads{fill:#3fb68f}.on-leads{fill:#04150f}
.ending{fill:#3fb68f;fill-opacity:.2;stroke:#3fb68f}
.fault{fill:#8a6a12;fill-opacity:.9}.on-fault{fill:#fff3d0}.member{fill:#8f86d8}
.stop_at{stroke:#e3b341}.valid_until{stroke:#f0883e}.expiry{stroke:#ff6b70}
.stop_at-text{fill:#e3b341}.valid_until-text{fill:#f0883e}.expiry-text{fill:#ff8a8e}
.mark{stroke:#e6edf3}
}
</style>]]

local Page = {}
Page.__index = Page

function Page:x(at)
  local share = (at - self.story.from) / (self.story.till - self.story.from)
  return self.left + math.max(0, math.min(1, share)) * (WIDTH - self.left - RIGHT)
end

function Page:seconds(at)
  local format = self.story.unit == " s" and "%.2f%s" or "%g%s"
  return format:format(at - self.story.origin, self.story.unit)
end

function Page:text(x, y, text, class, more)
  local style = more or {}
  style.class = class
  self.drawing:text(x, y, text, style)
end

-- ---- how much room a lane needs ----------------------------------------------------------------------------------

-- The lease of this term was not given back.
local function has_ending(term)
  return not term.is_open and term.expiry ~= nil and (term.is_killed or stories.early_by(term) ~= nil)
end

local WORDS = { down = "killed", crash = "crashed", freeze = "frozen", pause = "paused", fill = "full", cut = "cut off",
  stop = "told to stop", revoke = "lease revoked" }

local function word_of(span) return WORDS[span.what] or span.what end

-- Faults that overlap go below each other.
local function rows_of(page, faults)
  local rows = {}
  for _, span in ipairs(faults) do
    local first = page:x(span.from)
    local last = page:x(span.to) + SMALL_W * #word_of(span) + 8
    local row
    for _, one in ipairs(rows) do
      if one.last + 4 < first then
        row = one
        break
      end
    end
    if not row then
      row = {}
      rows[#rows + 1] = row
    end
    row[#row + 1], row.last = span, last
  end
  return rows
end

local function measure(page, lane)
  local own = { lane = lane, rows = rows_of(page, lane.faults) }
  for _, term in ipairs(lane.terms) do
    own.has_ending = own.has_ending or has_ending(term)
  end
  own.height = LANE_H + #own.rows * FAULT_H + (own.has_ending and #MARKS * INSTANT_H + 4 or 0)
  return own
end

-- ---- what is drawn -----------------------------------------------------------------------------------------------

local function step_of(seconds)
  for _, step in ipairs(STEPS) do
    if seconds / step <= MOST_TICKS then return step end
  end
  return seconds
end

function Page:draw_axis(top, bottom)
  local story = self.story
  local step = step_of(story.till - story.from)
  local at = story.origin + math.ceil((story.from - story.origin) / step) * step
  while at <= story.till do
    local x = self:x(at)
    self.drawing:line(x, top, x, bottom, { class = "grid" })
    self:text(x, top - 6, ("%g%s"):format(at - story.origin, story.unit), "pale",
      { ["text-anchor"] = "middle", ["font-size"] = 11 })
    at = at + step
  end
end

function Page:bar(from, to, y, height, class, tip)
  local x = self:x(from)
  self.drawing:rect(x, y, math.max(1.5, self:x(to) - x), height, { class = class, rx = 2 }, tip)
end

-- What stands beside an instant: the longest for which there is room.
local function instant_text(name, seconds, room)
  local texts_of = { ("%s %s"):format(name, seconds), name }
  if name == "expiry" then table.insert(texts_of, 1, texts_of[1] .. ": only now may another lead") end
  for _, text in ipairs(texts_of) do
    if #text * SMALL_W <= room then return text end
  end
end

-- The instants go down like stairs, the last one first, so that no line crosses a text. `next_x`: where those of the
-- next term begin, or nil.
function Page:draw_instants(term, y, text_y, next_x)
  for i, name in ipairs(MARKS) do
    local at = term[name]
    if at and at <= self.story.till then
      local x, row_y = self:x(at), text_y + i * INSTANT_H
      self.drawing:line(x, y - 2, x, row_y - 2, { class = name })
      local text = instant_text(name, self:seconds(at), next_x and next_x - x - 4 or WIDTH)
      local is_left = text and x + #text * 6 > WIDTH - RIGHT
      if text then
        self:text(is_left and x - 4 or x + 4, row_y - 3, text, name .. "-text",
          { ["font-size"] = 11, ["text-anchor"] = is_left and "end" or "start" })
      end
    end
  end
end

-- Of all terms of a lane whose lease was not given back.
function Page:draw_endings(lane, y, text_y)
  local next_x
  for i = #lane.terms, 1, -1 do
    local term = lane.terms[i]
    if has_ending(term) then
      self:draw_instants(term, y, text_y, next_x)
      next_x = self:x(term.stop_at or term.valid_until or term.expiry)
    end
  end
end

local function tip_of(page, lane, term)
  local how = term.is_open and "still leading" or term.is_killed and "killed" or term.reason or "over"
  return ("%s, token %s: %s to %s, %s"):format(lane.name, term.token or "?", page:seconds(term.from),
    page:seconds(term.to), how)
end

function Page:draw_term(own, term, y)
  local led_until = stories.led_until(term)
  if has_ending(term) then
    self:bar(led_until, math.min(term.expiry, self.story.till), y + 3, LANE_H - 6, "ending",
      tip_of(self, own.lane, term))
  end
  self:bar(term.from, led_until, y + 2, LANE_H - 4, "leads", tip_of(self, own.lane, term))
  local label = term.token and ("token %s"):format(term.token) or ""
  if self:x(led_until) - self:x(term.from) > CHAR_W * #label then
    self:text(self:x(term.from) + 6, y + LANE_H / 2 + 4, label, "on-leads", { ["font-size"] = 11 })
  end
  if not term.reason then return end
  local x, early_s = self:x(term.to), stories.early_by(term)
  local early = early_s and early_s > 0 and (", %.2f s before the lease could end"):format(early_s) or ""
  self.drawing:path(args.decimal("M%.1f %.1f l-4 -6 l8 0 z", x, y + 2), { class = "ink" },
    ("on_lost at %s%s"):format(self:seconds(term.to), early))
  self.has_on_lost = true
end

function Page:draw_fault(span, y)
  local word = word_of(span)
  local x = self:x(span.from)
  if span.to > span.from then
    self:bar(span.from, span.to, y + 2, FAULT_H - 3, "fault",
      ("%s: %s to %s"):format(word, self:seconds(span.from), self:seconds(span.to)))
    local is_inside = self:x(span.to) - x >= #word * SMALL_W + 8
    self:text(is_inside and x + 5 or self:x(span.to) + 4, y + FAULT_H - 5, word, is_inside and "on-fault" or "ink",
      { ["font-size"] = 11 })
    return
  end
  self.drawing:line(x, y - 4, x, y + FAULT_H - 4, { class = "mark" })
  self:text(x + 5, y + FAULT_H - 5, word, "ink", { ["font-size"] = 11 })
end

function Page:draw_lane(own, y)
  local lane = own.lane
  self.drawing:rect(self.left, y, WIDTH - self.left - RIGHT, LANE_H, { class = "lane", rx = 3 })
  local name = texts.fit(lane.name, 16)
  self:text(self.left - 10, y + LANE_H / 2 + 5, name, lane.is_member and "pale" or "ink",
    { ["text-anchor"] = "end", ["font-weight"] = lane.is_member and "normal" or "bold", ["font-size"] = 13 })
  for _, life in ipairs(lane.lives) do
    self.drawing:line(self:x(life.from), y + LANE_H / 2, self:x(life.to), y + LANE_H / 2, { class = "waits" })
  end
  for _, span in ipairs(lane.leads) do
    self:bar(span.from, span.to, y + 5, LANE_H - 10, "member", ("%s leads etcd"):format(lane.name))
  end
  for _, term in ipairs(lane.terms) do
    self:draw_term(own, term, y)
  end
  for i, row in ipairs(own.rows) do
    for _, span in ipairs(row) do
      self:draw_fault(span, y + LANE_H + (i - 1) * FAULT_H)
    end
  end
  self:draw_endings(lane, y, y + LANE_H + #own.rows * FAULT_H)
end

function Page:draw_legend(y)
  local x = self.left
  local function entry(label, draw)
    draw(x)
    self:text(x + 30, y + 11, label, "pale", { ["font-size"] = 11 })
    x = x + 30 + 5.2 * #label + 24
  end
  entry("leads", function(at) self.drawing:rect(at, y, 24, 14, { class = "leads", rx = 2 }) end)
  entry("waits", function(at) self.drawing:line(at, y + 7, at + 24, y + 7, { class = "waits" }) end)
  if self.has_ending then
    entry("lost, the lease still lives", function(at)
      self.drawing:rect(at, y, 24, 14, { class = "ending", rx = 2 })
    end)
  end
  if self.has_on_lost then
    entry("on_lost", function(at)
      self.drawing:path(args.decimal("M%.1f %.1f l-4 -6 l8 0 z", at + 12, y + 10), { class = "ink" })
    end)
  end
  if self.has_members then
    entry("leads etcd", function(at) self.drawing:rect(at, y + 2, 24, 10, { class = "member", rx = 2 }) end)
  end
  if self.has_faults then
    entry("fault", function(at) self.drawing:rect(at, y, 24, 14, { class = "fault", rx = 2 }) end)
  end
end

local function new_page(story)
  local page = setmetatable({ story = story, left = LEAST_LEFT }, Page)
  for _, lane in ipairs(story.lanes) do
    page.left = math.min(MOST_LEFT, math.max(page.left, texts.width(texts.fit(lane.name, 16)) * CHAR_W + 24))
    page.has_members = page.has_members or lane.leads[1] ~= nil
    for _, span in ipairs(lane.faults) do
      page.has_faults = page.has_faults or span.to > span.from
    end
  end
  return page
end

--- The text of an SVG file.
---@param title? string
---@return string
function picture.svg(story, title)
  local page, lanes = new_page(story), {}
  local top = TOP + (title and TITLE_H or 0) + AXIS_H
  local height = top
  for i, lane in ipairs(story.lanes) do
    lanes[i] = measure(page, lane)
    lanes[i].y = height
    page.has_ending = page.has_ending or lanes[i].has_ending
    height = height + lanes[i].height + GAP
  end
  local bottom = height - GAP
  height = height + LEGEND_H + BOTTOM
  page.drawing = drawing.new(WIDTH, height)
  page.drawing:define(STYLE)
  page.drawing:rect(0, 0, WIDTH, height, { class = "page" })
  if title then page:text(page.left, TOP + 14, title, "ink", { ["font-size"] = 16, ["font-weight"] = "bold" }) end
  page:draw_axis(top - 4, bottom + 4)
  for _, own in ipairs(lanes) do
    page:draw_lane(own, own.y)
  end
  page:draw_legend(bottom + 16)
  return page.drawing:close()
end

return picture
