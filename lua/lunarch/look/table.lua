-- Tables for people: rows with columns, aligned, for terminals and for pipes.
local texts = require "lunarch.look.text"

require "lunarch.internal.args".is_ours()

local tables = {}

local GAP = "   "
local MOST_BYTES = 60 -- of a cell, but for those that are copied from it

local width_of = texts.width

--- A value in one line: control characters are shown, not obeyed.
---@param value any
---@return string
function tables.plain(value)
  if value == nil then return "-" end
  if math.type(value) == "float" then return ("%.1f"):format(value) end
  return texts.plain(tostring(value))
end

local function cell(column, row)
  local value = row[column[1]]
  if column.text then value = column.text(value, row) end
  local text = tables.plain(value)
  return column.is_whole and text or texts.cut(text, MOST_BYTES)
end

-- A column in which no row says anything is left out.
local function said(columns, rows)
  local kept = {}
  for _, column in ipairs(columns) do
    for _, row in ipairs(rows) do
      if row[column[1]] ~= nil then
        kept[#kept + 1] = column
        break
      end
    end
  end
  return kept
end

local function widths_of(lines)
  local widths = {}
  for _, cells in ipairs(lines) do
    for i, text in ipairs(cells) do
      widths[i] = math.max(widths[i] or 0, width_of(text))
    end
  end
  return widths
end

local function compose(cells, widths, columns)
  local parts = {}
  for i, text in ipairs(cells) do
    local fill = (" "):rep(widths[i] - width_of(text))
    parts[i] = columns[i].is_right and fill .. text or text .. fill
  end
  return (table.concat(parts, GAP):gsub(" +$", ""))
end

--- The text of the rows, without a newline at the end. A column: { field, "TITLE", is_right =, is_whole = it is not
--- cut, text = fn(value, row) }.
---@param columns table[]
---@param rows table[]
---@return string
function tables.render(columns, rows)
  columns = said(columns, rows)
  local lines, titles = {}, {}
  for i, column in ipairs(columns) do
    titles[i] = column[2]
  end
  lines[1] = titles
  for i, row in ipairs(rows) do
    lines[i + 1] = {}
    for j, column in ipairs(columns) do
      lines[i + 1][j] = cell(column, row)
    end
  end
  local widths = widths_of(lines)
  for i, cells in ipairs(lines) do
    lines[i] = compose(cells, widths, columns)
  end
  return table.concat(lines, "\n")
end

local Rows = { __name = "lunarch.rows" }

--- The rows, which print as a table; `columns.none` is said when there is none, `columns.after(rows)` below them.
---@param columns table
---@param rows table[]
function tables.rows(columns, rows)
  local meta = setmetatable({ columns = columns }, { __index = Rows })
  meta.__name, meta.__tostring = Rows.__name, Rows.__tostring
  return setmetatable(rows, meta)
end

function Rows.__tostring(rows)
  local columns = getmetatable(rows).columns
  if not rows[1] then return columns.none or "none" end
  local text = tables.render(columns, rows)
  local after = columns.after and columns.after(rows)
  return after and after ~= "" and text .. "\n" .. after or text
end

return tables
