-- The timeline: who led when, what was done to whom, and the instants at which a term had to end. One story, drawn as
-- text for 80 columns and as a picture (SVG). Used by the console, `lunarch lab`, `lunarch explain` and `lunarch sim`;
-- ./dev chaos draws with its drawing.lua.
--
--   local timeline = require "lunarch.timeline"
--   local story = timeline.story(events, { names = { "A", "B" }, till = 10 })
--   for _, line in ipairs(timeline.lines(story)) do print(line) end
--   timeline.write(story, "f.svg")
local stories = require "lunarch.timeline.story"
local text = require "lunarch.timeline.text"

require "lunarch.internal.args".is_ours()

local timeline = { story = stories.new, lines = text.lines, chart = text.chart, early_by = stories.early_by }

--- The picture as the text of an SVG file.
---@return string
function timeline.svg(story, title)
  return require "lunarch.timeline.picture".svg(story, title)
end

--- Writes the picture: true; nil and what is wrong.
---@return true?, string?
function timeline.write(story, path, title)
  local file, trouble = io.open(path, "w")
  if not file then return nil, trouble, "invalid" end
  file:write(timeline.svg(story, title), "\n")
  file:close()
  return true
end

return timeline
