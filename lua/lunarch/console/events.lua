-- Events of a world, one line each.
local texts = require "lunarch.look.text"

require "lunarch.internal.args".is_ours()

local events = {}

local LONGEST_WHO = 24
local COLOURS = { elected = "32", lost = "31", left = "2", leader = "36", jeopardy = "33", fault = "35", safe = "32" }
local LEVELS = { warn = "33", error = "31" }

local function time_of(world, at)
  if world.clock == "world" then return ("%8.3f"):format(at) end
  return os.date("%H:%M:%S", math.floor(at)) .. ("%.3f"):format(at % 1):sub(2)
end

local function paint(colour, text)
  return colour and "\27[" .. colour .. "m" .. text .. "\27[0m" or text
end

--- What composes the lines: fn(event) -> line without a newline. `is_coloured` as a terminal takes it.
---@param world lunarch.console.World
---@param is_coloured boolean
function events.composer(world, is_coloured)
  local widest = 1
  return function(event)
    local who = texts.plain(event.who or "")
    widest = math.min(LONGEST_WHO, math.max(widest, texts.width(who)))
    local fill = (" "):rep(widest - texts.width(who))
    local time, text = time_of(world, event.at), texts.plain_lines(event.text, "    ")
    if not is_coloured then return ("%s  %s%s  %s"):format(time, who, fill, text) end
    local colour = COLOURS[event.what]
    if event.what == "say" then colour = LEVELS[event.level] end
    return ("%s  %s%s  %s"):format(paint("2", time), paint("1", who), fill, paint(colour, text))
  end
end

return events
