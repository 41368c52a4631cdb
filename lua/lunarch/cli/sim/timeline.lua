-- A history as a timeline that a person can read: a column for each candidate, one for etcd, time going down. Left of
-- each candidate's text a lane tells how it stands: | leads, : is up, ~ paused, nothing: down.
local host = require "lunarch.host"

local timeline = {}

local DEFAULT_WIDTH, LEAST_COLUMN = 132, 22
local TIME_WIDTH = 9
-- Routine farther than this from the end is left out, but for what is close to something that happened to a candidate.
local ROUTINE_EVENTS, NEAR_S, SLOW_S = 40, 0.02, 0.5

local COLOURS = {
  fault = "33", verdict = "1;31", error = "31", warn = "33", handler = "32", life = "36", store = "35", phase = "1",
  ask = "2", answer = "2", etcd = "2", command = "34",
}

local function wants_colour()
  local refused = os.getenv "NO_COLOR"
  return host.is_terminal(1) and (not refused or refused == "") and os.getenv "TERM" ~= "dumb"
end

local function width_of_terminal()
  local columns = math.tointeger(tonumber(os.getenv "COLUMNS"))
  if columns and columns >= 40 then return columns end
  if not host.is_terminal(1) then return DEFAULT_WIDTH end
  local ok, width = pcall(function()
    local tty = require "luv".new_tty(1, false)
    local found = tty:get_winsize()
    tty:close()
    return found
  end)
  return ok and math.tointeger(width) and width >= 40 and width or DEFAULT_WIDTH
end

-- ---- what is worth telling --------------------------------------------------------------------------------------

local IMPORTANT = {
  life = true, fault = true, warn = true, error = true, verdict = true, phase = true,
}

local function is_important(event, names)
  if event.kind == "handler" then return not event.text:match "^do_work" end
  -- One that did not end well.
  if event.kind == "command" then return event.text:match " -> " and not event.text:match " -> status 0," or false end
  if event.kind == "fault" then return names[event.who] or not event.text:match "^nothing between" end
  if event.kind == "etcd" then return event.text:match " leads, term " ~= nil end
  return IMPORTANT[event.kind] or false
end

-- What was asked and answered late, badly or never is no routine.
local function mark_slow(events, kept)
  local asked = {}
  for i, event in ipairs(events) do
    local key = event.who .. " " .. event.text
    if event.kind == "ask" then
      asked[key] = i
    elseif event.kind == "answer" then
      local question = event.who .. " " .. event.text:gsub(" %-> .*$", "")
      local from = asked[question]
      asked[question] = nil
      if from and (event.at - events[from].at > SLOW_S or not event.text:match " %-> ok$") then
        kept[from], kept[i] = true, true
      end
    end
  end
  for _, i in pairs(asked) do
    kept[i] = true
  end
end

local function mark_last(events, kept)
  local n = 0
  for i = #events, 1, -1 do
    if not kept[i] and events[i].kind ~= "etcd" then
      n = n + 1
      if n > ROUTINE_EVENTS then return end
      kept[i] = true
    end
  end
end

-- What a candidate did just then, and what came of it.
local function mark_near(events, kept, important)
  for i in pairs(important) do
    for _, step in ipairs { -1, 1 } do
      local k = i + step
      while events[k] and math.abs(events[k].at - events[i].at) <= NEAR_S do
        if events[k].who == events[i].who or events[k].kind == "store" then kept[k] = true end
        k = k + step
      end
    end
  end
end

local function choose(events, names)
  local kept, important = {}, {}
  for i, event in ipairs(events) do
    if is_important(event, names) then
      kept[i] = true
      if names[event.who] and event.kind ~= "phase" then important[i] = true end
    end
  end
  mark_slow(events, kept)
  mark_near(events, kept, important)
  mark_last(events, kept)
  return kept
end

-- ---- how the candidates stand -----------------------------------------------------------------------------------

local function follow(lanes, event)
  local lane = lanes[event.who]
  if not lane then return end
  local text = event.text
  if event.kind == "life" then
    lane.is_up = text:match "^starts" ~= nil
    lane.is_paused, lane.leads = false, false
  elseif event.kind == "fault" and text:match "^killed" then
    lane.is_up, lane.is_paused, lane.leads = false, false, false
  elseif event.kind == "fault" and text:match "^paused" then
    lane.is_paused = true
  elseif event.kind == "fault" and text:match "^runs again" then
    lane.is_paused = false
  elseif event.kind == "handler" and text:match "^on_elected" then
    lane.leads = true
  elseif event.kind == "handler" and text:match "^on_lost" then
    lane.leads = false
  end
end

local function mark_of(lane)
  if not lane then return " " end
  if not lane.is_up then return " " end
  if lane.is_paused then return "~" end
  return lane.leads and "|" or ":"
end

-- ---- drawing ----------------------------------------------------------------------------------------------------

local function wrap(text, width)
  local lines = {}
  for line in (text .. "\n"):gmatch "([^\n]*)\n" do
    line = line:gsub("%c", " ")
    while #line > width do
      local at = line:sub(1, width + 1):match "^.*() " or width + 1
      if at < width // 2 then at = width + 1 end
      lines[#lines + 1] = line:sub(1, at - 1)
      line = "  " .. line:sub(at):gsub("^ ", "")
    end
    lines[#lines + 1] = line
  end
  return lines
end

local Page = {}
Page.__index = Page

local function new_page(plan)
  local self = setmetatable({ columns = {}, lanes = {}, has_colour = wants_colour() }, Page)
  for i, name in ipairs(plan.names) do
    self.columns[i] = name
    self.lanes[name] = {}
  end
  self.columns[#self.columns + 1] = "etcd"
  local width = (width_of_terminal() - TIME_WIDTH) // #self.columns - 3
  self.is_narrow = width < LEAST_COLUMN
  self.width = self.is_narrow and width_of_terminal() - TIME_WIDTH - 2 * #self.columns - 8 or width
  return self
end

function Page:paint(colour, text)
  if not self.has_colour or not colour or text == "" then return text end
  return "\27[" .. colour .. "m" .. text .. "\27[0m"
end

function Page:lane(name)
  local mark = mark_of(self.lanes[name])
  return self:paint(mark == "|" and "1;32" or "2", mark)
end

local function padded(text, width)
  return text .. (" "):rep(width - #text)
end

function Page:head()
  if self.is_narrow then return end
  local parts = { (" "):rep(TIME_WIDTH) }
  for i, name in ipairs(self.columns) do
    parts[#parts + 1] = "  " .. (i < #self.columns and padded(name, self.width) or name)
  end
  print((table.concat(parts, " "):gsub("%s+$", "")))
end

-- One line across all columns.
function Page:rule(text)
  print(self:paint("2", ("%s  %s"):format((" "):rep(TIME_WIDTH), text)))
end

function Page:row(time, owner, line, colour)
  local parts = { self:paint("2", padded(time, TIME_WIDTH)) }
  for i, name in ipairs(self.columns) do
    local text = name == owner and line or ""
    local filled = i < #self.columns and padded(text, self.width) or text
    parts[#parts + 1] = self:lane(name) .. " " .. self:paint(text ~= "" and colour, filled)
  end
  print((table.concat(parts, " "):gsub("%s+$", "")))
end

-- Too many candidates for columns: lanes on the left, the text with its owner's name behind them.
function Page:narrow_row(time, owner, line, colour)
  local lanes = {}
  for i = 1, #self.columns - 1 do
    lanes[i] = self:lane(self.columns[i])
  end
  print(("%s %s  %s %s"):format(self:paint("2", padded(time, TIME_WIDTH)), table.concat(lanes, " "),
    padded(owner, 5), self:paint(colour, line)))
end

local PREFIX = {
  warn = "warn: ", error = "error: ", verdict = "WRONG: ", ask = "> ", answer = "< ", command = "$ ",
}

function Page:print(event)
  if event.kind == "phase" then return self:rule(("---- %s ----"):format(event.text)) end
  local owner = self.lanes[event.who] and event.who or "etcd"
  local colour = COLOURS[event.kind]
  local time = ("%8.3f"):format(event.at)
  for i, line in ipairs(wrap((PREFIX[event.kind] or "") .. event.text, self.width)) do
    local draw = self.is_narrow and self.narrow_row or self.row
    draw(self, i == 1 and time or "", owner, line, colour)
  end
end

--- Prints the events of a history, each { at =, who =, kind =, text = }.
function timeline.print(plan, events)
  local page, names = new_page(plan), {}
  for _, name in ipairs(plan.names) do
    names[name] = true
  end
  local kept = plan.flags.full and {} or choose(events, names)
  local n_left_out = 0
  page:head()
  for i, event in ipairs(events) do
    follow(page.lanes, event)
    if plan.flags.full or kept[i] then
      if n_left_out > 0 then
        page:rule(("... %d line%s of routine (--full shows them)"):format(n_left_out, n_left_out == 1 and "" or "s"))
      end
      n_left_out = 0
      page:print(event)
    else
      n_left_out = n_left_out + 1
    end
  end
end

return timeline
