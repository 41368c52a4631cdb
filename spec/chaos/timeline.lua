-- The picture of a chaos run: a lane for each candidate and each member, folded into bands of a minute like the lines
-- of a page. Terms are bars, faults shaded, lost insertions marked, overlaps red.
local crew = require "chaos.crew"
local sets = require "chaos.sets"
local svg = require "lunarch.timeline.drawing"

local timeline = {}

local WIDTH, LEFT, RIGHT = 1440, 74, 20
local HEAD, FOOT = 116, 16
local CANDIDATE_H, MEMBER_H, WRITES_H, GAP, AXIS_H, BAND_GAP = 19, 14, 22, 3, 18, 16
local MOST_BANDS, BAND_S = 12, 60
local WRITES_STEP_S = 0.5
local LEAST_W = 1.2
local RED, AMBER, INK, PALE = "#d90429", "#f77f00", "#2b2d42", "#8d99ae"
local MEMBERS = { "m1", "m2", "m3" }

local KINDS = {
  { kind = "kill", label = "killed", fill = "#495057", opacity = 0.42 },
  { kind = "stop", label = "stopped (SIGSTOP)", fill = "url(#hatch)", opacity = 1 },
  { kind = "quit", label = "asked to quit", fill = "#ced4da", opacity = 0.7 },
  { kind = "silent", label = "network silent", fill = "#e76f51", opacity = 0.45 },
  { kind = "deaf", label = "replies held", fill = "#f4a261", opacity = 0.45 },
  { kind = "slow", label = "replies late", fill = "#f6d743", opacity = 0.45 },
  { kind = "reset", label = "connections reset", fill = "#d16ba5", opacity = 0.4 },
  { kind = "cut off", label = "cut off from its peers", fill = "#8d5a2b", opacity = 0.38 },
}
local STYLES = {}
for _, one in ipairs(KINDS) do
  STYLES[one.kind] = one
end
STYLES.majority = STYLES.stop

local TERM, FAREWELL, ETCD_LEADER, WRITES = "#2a9d8f", "#14574f", "#7a6fc9", "#a8b8cc"

local HATCH = '<pattern id="hatch" width="5" height="5" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
  .. '<rect width="5" height="5" fill="#4a6fa5" fill-opacity="0.14"/>'
  .. '<rect width="1.6" height="5" fill="#4a6fa5" fill-opacity="0.6"/></pattern>'

-- ---- where things are -------------------------------------------------------------------------------------------

---@class Page
---@field drawing Drawing
---@field began number
---@field over number
---@field band_s number
---@field n_bands integer
local Page = {}
Page.__index = Page

local LANES, LANE_Y = {}, {}

local function add_lanes(names, height, y)
  for _, name in ipairs(names) do
    LANES[#LANES + 1] = { name = name, height = height }
    LANE_Y[name] = { y = y, height = height }
    y = y + height + GAP
  end
  return y
end

local BAND_H = add_lanes({ "writes" }, WRITES_H,
  add_lanes(MEMBERS, MEMBER_H, add_lanes(crew.NAMES, CANDIDATE_H, 0))) + AXIS_H

local function band_y(band) return HEAD + band * (BAND_H + BAND_GAP) end

function Page:x(band, t)
  return LEFT + (t - self.began - band * self.band_s) * (WIDTH - LEFT - RIGHT) / self.band_s
end

-- Calls draw(x, y, width, height) for each piece of a lane from `from` to `to`; a span may run over several bands.
function Page:each_piece(lane, from, to, draw)
  from, to = math.max(from, self.began), math.min(to, self.over)
  if to < from then return end
  local place = LANE_Y[lane]
  for band = (from - self.began) // self.band_s, math.min(self.n_bands - 1, (to - self.began) // self.band_s) do
    local x1 = math.max(LEFT, self:x(band, from))
    local x2 = math.min(WIDTH - RIGHT, self:x(band, to))
    draw(x1, band_y(band) + place.y, math.max(LEAST_W, x2 - x1), place.height)
  end
end

-- The point of an instant in a lane.
function Page:point(lane, t)
  local band = math.max(0, math.min(self.n_bands - 1, (t - self.began) // self.band_s))
  return self:x(band, t), band_y(band) + LANE_Y[lane].y
end

function Page:bar(lane, from, to, inset, style, tip)
  self:each_piece(lane, from, to, function(x, y, width, height)
    self.drawing:rect(x, y + inset, width, height - 2 * inset, style, tip)
  end)
end

function Page:since(t) return ("%.2f s"):format(t - self.began) end

-- ---- what is drawn, from the ground up ----------------------------------------------------------------------------

local function label_style(more)
  local style = { fill = INK, ["text-anchor"] = "end" }
  for name, value in pairs(more or {}) do
    style[name] = value
  end
  return style
end

function Page:draw_grid(band)
  local y, drawing = band_y(band), self.drawing
  local bottom = y + BAND_H - AXIS_H
  for second = 0, math.floor(self.band_s), self.band_s > 2 * BAND_S and 30 or 5 do
    local t = self.began + band * self.band_s + second
    if t > self.over then break end
    local x = self:x(band, t)
    local is_labelled = second % (self.band_s > 2 * BAND_S and 60 or 10) == 0
    drawing:line(x, y, x, bottom, { stroke = is_labelled and "#dde1e7" or "#eef0f3" })
    if is_labelled and second < self.band_s then
      drawing:text(x, bottom + 11, ("%d s"):format(band * self.band_s + second),
        { fill = PALE, ["font-size"] = 10, ["text-anchor"] = "middle" })
    end
  end
end

function Page:draw_lanes(band)
  local first, last = self.began + band * self.band_s, math.min(self.over, self.began + (band + 1) * self.band_s)
  local x1, x2 = self:x(band, first), self:x(band, last)
  for _, lane in ipairs(LANES) do
    local y = band_y(band) + LANE_Y[lane.name].y
    self.drawing:rect(x1, y, x2 - x1, lane.height, { fill = "#f4f5f7", rx = 2 })
    local is_candidate = lane.height == CANDIDATE_H
    self.drawing:text(LEFT - 8, y + lane.height / 2 + 4, lane.name,
      label_style { ["font-weight"] = is_candidate and "bold" or "normal", fill = is_candidate and INK or "#5c677d" })
  end
end

function Page:draw_lives(lives)
  for _, life in ipairs(lives) do
    self:each_piece(life.ledger.who, life.started, life.ended or self.over, function(x, y, width, height)
      self.drawing:line(x, y + height / 2, x + width, y + height / 2, { stroke = PALE, ["stroke-width"] = 1 })
    end)
  end
end

function Page:draw_fault(fault)
  local style = STYLES[fault.kind]
  for _, lane in ipairs(fault.lanes) do
    local tip = ("%s: %s%s, %s to %s"):format(lane, fault.kind, fault.how and " " .. fault.how or "",
      self:since(fault.from), self:since(fault.to or self.over))
    if style then
      self:bar(lane, fault.from, fault.to or self.over, 0, { fill = style.fill, ["fill-opacity"] = style.opacity }, tip)
    end
    local x, y = self:point(lane, fault.from)
    local height = LANE_Y[lane].height
    if fault.kind == "kill" then
      self.drawing:path(("M%.1f %.1f l7 7 m0 -7 l-7 7"):format(x - 3.5, y + height / 2 - 3.5),
        { stroke = INK, ["stroke-width"] = 2, fill = "none" }, tip)
    elseif fault.kind == "move" then
      self.drawing:path(("M%.1f %.1f l6 %.1f l-6 %.1f z"):format(x, y + 2, height / 2 - 2, height / 2 - 2),
        { fill = INK }, tip)
    end
  end
end

-- Stopped parts of a term, in which nothing can be done, are hollow.
function Page:draw_term(term)
  local ended = term.lost or term.died or self.over
  local tip = ("%s, token %d: %s to %s, %d calls of do_work, ended: %s"):format(term.who, term.token,
    self:since(term.elected), self:since(ended), #term.works,
    term.reason or (term.died and "killed" or "still leading"))
  local from = term.elected
  for _, stop in ipairs(term.life.stops) do
    if stop.from > from and stop.from < ended then
      self:bar(term.who, from, stop.from, 4, { fill = TERM }, tip)
      from = math.min(stop.to, ended)
      self:bar(term.who, stop.from, from, 4.5, { fill = "none", stroke = TERM, ["stroke-dasharray"] = "3 2" }, tip)
    end
  end
  self:bar(term.who, from, term.losing or ended, 4, { fill = TERM }, tip)
  if term.losing then self:bar(term.who, term.losing, ended, 4, { fill = FAREWELL }, tip) end
  self:label_term(term, ended)
end

function Page:label_term(term, ended)
  local text = tostring(term.token)
  local x, y = self:point(term.who, term.elected)
  local room = (ended - term.elected) * (WIDTH - LEFT - RIGHT) / self.band_s
  if room < 6 * #text + 6 or x + 6 * #text + 6 > WIDTH - RIGHT then return end
  self.drawing:text(x + 3, y + CANDIDATE_H / 2 + 3.5, text, { fill = "#ffffff", ["font-size"] = 9 })
end

function Page:draw_leaderships(leaderships)
  for i, one in ipairs(leaderships) do
    local after = leaderships[i + 1]
    local ended = one.ended or after and after.t or self.over
    self:bar("m" .. one.index, one.t, ended, 3, { fill = ETCD_LEADER },
      ("m%d leads etcd, raft term %d: %s to %s"):format(one.index, one.raft_term, self:since(one.t),
        self:since(ended)))
  end
end

-- How many insertions were acknowledged, in steps.
function Page:draw_writes(ledgers)
  local count, most = {}, 1
  for _, one in ipairs(ledgers) do
    for _, outcome in ipairs(one.acked) do
      local step = (outcome.t - self.began) // WRITES_STEP_S
      count[step] = (count[step] or 0) + 1
      most = math.max(most, count[step])
    end
  end
  for step, n in pairs(count) do
    local from = self.began + step * WRITES_STEP_S
    if step >= 0 and from < self.over then
      local x, y = self:point("writes", from + WRITES_STEP_S / 4)
      local height = WRITES_H * n / most
      local width = WRITES_STEP_S * (WIDTH - LEFT - RIGHT) / self.band_s
      self.drawing:rect(x - width / 4, y + WRITES_H - height, width * 0.86, height, { fill = WRITES })
    end
  end
end

function Page:draw_losses(all_losses)
  for _, set in ipairs(sets.list) do
    for _, loss in ipairs(all_losses[set.name] or {}) do
      local insertion = loss.insertion
      local x, y = self:point(insertion.who, insertion.t)
      self.drawing:path(("M%.1f %.1f l5 9 l-10 0 z"):format(x, y + CANDIDATE_H - 9), {
        fill = set.guarded and RED or "#ffffff", stroke = set.guarded and RED or "#b35900", ["stroke-width"] = 1.4,
      }, ("%s: %s was acknowledged to %s and lost"):format(set.name, insertion.id, insertion.who))
    end
  end
end

function Page:draw_overlaps(overlaps, colour, class)
  for _, one in ipairs(overlaps) do
    local tip = ("overlap: %s and %s for %.1f ms"):format(one.a.who, one.b.who, 1000 * (one.to - one.from))
    local top, low = LANE_Y[one.a.who].y, LANE_Y[one.b.who].y
    local y = math.min(top, low)
    local height = math.max(top, low) + CANDIDATE_H - y
    self:each_piece(crew.NAMES[1], one.from, one.to, function(x, band_top, width)
      self.drawing:rect(x - 1, band_top + y, math.max(3, width), height,
        { fill = colour, ["fill-opacity"] = 0.75, class = class }, tip)
    end)
  end
end

function Page:draw_end(ended)
  if ended >= self.over then return end
  local x, y = self:point(crew.NAMES[1], ended)
  self.drawing:line(x, y - 4, x, y + BAND_H - AXIS_H, { stroke = INK, ["stroke-dasharray"] = "4 3" })
  self.drawing:text(x + 4, y - 2, "the faults are over", { fill = INK, ["font-size"] = 10 })
end

-- ---- the head ---------------------------------------------------------------------------------------------------

function Page:swatch(x, y, label, style)
  style.rx = 2
  self.drawing:rect(x, y - 9, 22, 11, style)
  self.drawing:text(x + 28, y, label, { fill = INK })
  return x + 28 + 6.1 * #label + 18
end

function Page:glyph(x, y, label, d, style)
  self.drawing:path(("M%.1f %.1f "):format(x, y) .. d, style)
  self.drawing:text(x + 16, y, label, { fill = INK })
  return x + 16 + 6.1 * #label + 18
end

function Page:draw_legend()
  local x, y = LEFT, 72
  x = self:swatch(x, y, "term: elected .. on_lost", { fill = TERM })
  x = self:swatch(x, y, "while stopped", { fill = "none", stroke = TERM, ["stroke-dasharray"] = "3 2" })
  x = self:swatch(x, y, "on_lost", { fill = FAREWELL })
  x = self:swatch(x, y, "leads etcd", { fill = ETCD_LEADER })
  x = self:swatch(x, y, "insertions per half second", { fill = WRITES })
  x = self:swatch(x, y, "overlap", { fill = RED, ["fill-opacity"] = 0.75 })
  x = self:glyph(x + 5, y, "guarded insertion lost", "l5 -9 l5 9 z", { fill = RED, stroke = RED })
  x = self:glyph(x, y, "unguarded one lost", "l5 -9 l5 9 z", { fill = "#ffffff", stroke = "#b35900" })
  self:glyph(x, y, "move-leader", "l0 -9 l6 4.5 z", { fill = INK })
  x, y = LEFT, 92
  for _, one in ipairs(KINDS) do
    x = self:swatch(x, y, one.label, { fill = one.fill, ["fill-opacity"] = one.opacity })
  end
  self:swatch(x, y, "overlap by etcd's own revocation", { fill = AMBER, ["fill-opacity"] = 0.75 })
end

function Page:draw_head(outcome, judged)
  local drawing = self.drawing
  drawing:text(LEFT, 28, "Lunarch: five candidates and three members of etcd under faults",
    { fill = INK, ["font-size"] = 18, ["font-weight"] = "bold" })
  local n_guarded, n_unguarded = 0, 0
  for _, set in ipairs(sets.list) do
    local n = #(judged.losses[set.name] or {})
    if set.guarded then n_guarded = n_guarded + n else n_unguarded = n_unguarded + n end
  end
  local summary = ("seed %d, TTL %d s, %.0f s of faults%s: %d faults, %d terms, %d overlaps, %d guarded insertions "
    .. "lost, %d unguarded ones lost"):format(outcome.seed, outcome.ttl, outcome.ended - outcome.began,
    outcome.is_interrupted and " (interrupted)" or "", #outcome.faults, #outcome.terms, #judged.overlaps, n_guarded,
    n_unguarded)
  drawing:text(LEFT, 48, summary, { fill = judged.is_fine and "#5c677d" or RED, ["font-size"] = 13 })
  self:draw_legend()
end

---@param outcome Outcome
---@param judged Verdict
---@return string
function timeline.svg(outcome, judged)
  local seconds = math.max(1, outcome.over - outcome.began)
  local band_s = math.max(BAND_S, BAND_S * math.ceil(seconds / MOST_BANDS / BAND_S))
  local n_bands = math.max(1, math.ceil(seconds / band_s))
  local height = HEAD + n_bands * (BAND_H + BAND_GAP) + FOOT
  local page = setmetatable({
    drawing = svg.new(WIDTH, height), began = outcome.began, over = outcome.over, band_s = band_s, n_bands = n_bands,
  }, Page)
  page.drawing:define(HATCH)
  page.drawing:rect(0, 0, WIDTH, height, { fill = "#ffffff" })
  page:draw_head(outcome, judged)
  for band = 0, n_bands - 1 do
    page:draw_lanes(band)
    page:draw_grid(band)
  end
  page:draw_lives(outcome.lives)
  page:draw_writes(outcome.ledgers)
  for _, fault in ipairs(outcome.faults) do
    page:draw_fault(fault)
  end
  page:draw_leaderships(outcome.leaderships)
  for _, term in ipairs(outcome.terms) do
    page:draw_term(term)
  end
  page:draw_losses(judged.losses)
  page:draw_end(outcome.ended)
  page:draw_overlaps(judged.handed_on, AMBER, "handed-on")
  page:draw_overlaps(judged.overlaps, RED, "overlap")
  return page.drawing:close()
end

return timeline
