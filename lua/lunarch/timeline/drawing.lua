-- A drawing, element by element, as the text of an SVG file.
--
--   local drawing = svg.new(800, 600)
--   drawing:rect(x, y, width, height, { fill = "#fff" }, "what a pointer is told")
--   drawing:line(x1, y1, x2, y2, { stroke = "#000" })    drawing:text(x, y, "text", { ["font-size"] = 11 })
--   drawing:path("M0 0 L5 5", { stroke = "#000" })
--   drawing:define "<pattern ...>"
--   drawing:close()                                       the whole
local args = require "lunarch.internal.args"
local texts = require "lunarch.look.text"

local svg = {}

---@class Drawing
local Drawing = {}
Drawing.__index = Drawing

local ENTITIES = { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;", ['"'] = "&quot;" }

---@return string
function svg.escape(text) return (texts.plain(tostring(text)):gsub('[&<>"]', ENTITIES)) end

local function number(value)
  return (args.decimal("%.2f", value):gsub("%.?0+$", ""))
end

local function attributes(list, style)
  local parts = {}
  for i = 1, #list, 2 do
    parts[#parts + 1] = (' %s="%s"'):format(list[i], number(list[i + 1]))
  end
  for _, name in ipairs(args.sorted_names(style or {})) do
    parts[#parts + 1] = (' %s="%s"'):format(name, svg.escape(style[name]))
  end
  return table.concat(parts)
end

function Drawing:add(tag, list, style, inner)
  local head = "<" .. tag .. attributes(list, style)
  self[#self + 1] = inner and ("%s>%s</%s>"):format(head, inner, tag) or head .. "/>"
end

local function title(text) return text and ("<title>%s</title>"):format(svg.escape(text)) end

function Drawing:rect(x, y, width, height, style, tip)
  self:add("rect", { "x", x, "y", y, "width", width, "height", height }, style, title(tip))
end

function Drawing:line(x1, y1, x2, y2, style)
  self:add("line", { "x1", x1, "y1", y1, "x2", x2, "y2", y2 }, style)
end

function Drawing:text(x, y, text, style)
  self:add("text", { "x", x, "y", y }, style, svg.escape(text))
end

function Drawing:path(d, style, tip)
  style.d = d
  self:add("path", {}, style, title(tip))
end

function Drawing:define(text) self.definitions[#self.definitions + 1] = text end

---@return string
function Drawing:close()
  return ('<svg xmlns="http://www.w3.org/2000/svg" width="%s" height="%s" viewBox="0 0 %s %s" '):format(
    number(self.width), number(self.height), number(self.width), number(self.height))
    .. 'font-family="Helvetica, Arial, DejaVu Sans, sans-serif" font-size="11">\n<defs>'
    .. table.concat(self.definitions, "\n") .. "</defs>\n" .. table.concat(self, "\n") .. "\n</svg>"
end

---@return Drawing
function svg.new(width, height)
  return setmetatable({ width = width, height = height, definitions = {} }, Drawing)
end

return svg
