-- What was typed, as a function: an expression, whose values are printed, a statement, or not whole yet.
require "lunarch.args".is_ours()

local chunk = {}

local NAME = "=input"

--- fn, "expression" or "statement"; nil, "incomplete"; nil, "wrong", what is wrong.
---@param text string
---@return function?, string kind, string?
function chunk.compile(text)
  local fn = load("return " .. text, NAME, "t")
  if fn then return fn, "expression" end
  local message
  fn, message = load(text, NAME, "t")
  if fn then return fn, "statement" end
  if message:find "<eof>'?$" then return nil, "incomplete" end
  return nil, "wrong", message
end

--- Whether nothing stands in it but blanks and comments.
---@param text string
function chunk.is_empty(text)
  return text:gsub("%-%-%[(=*)%[.-%]%1%]", ""):gsub("%-%-[^\n]*", ""):find "%S" == nil
end

return chunk
