-- What was typed, as a function: an expression, whose values are printed, a statement, or not whole yet. An assignment
-- returns what it assigned: that a call has failed is seen then, too.
require "lunarch.internal.args".is_ours()

local chunk = {}

local NAME = "=input"

local NOT_NAMES = { ["local"] = true, ["return"] = true, ["function"] = true }

-- `x = f()` as a function that returns all values of f(); nil: it is none.
local function assignment(text, env)
  local left, right = text:match "^%s*([%a_][^=~<>\n]-)%s*=([^=].*)$"
  if not left or NOT_NAMES[left:match "^[%a_]+"] or not load("return " .. right, NAME, "t", env) then return nil end
  return (load(("return (function(...) %s = ... return ... end)(%s\n)"):format(left, right), NAME, "t", env))
end

--- fn, "expression", "assignment" or "statement"; nil, "incomplete"; nil, "wrong", what is wrong.
---@param text string
---@param env? table where its globals are; default: _G
---@return function?, string kind, string?
function chunk.compile(text, env)
  env = env or _G
  local fn = load("return " .. text, NAME, "t", env)
  if fn then return fn, "expression" end
  local message
  fn, message = load(text, NAME, "t", env)
  if fn then
    local assign = assignment(text, env)
    return assign or fn, assign and "assignment" or "statement"
  end
  if message:find "<eof>'?$" then return nil, "incomplete" end
  return nil, "wrong", message
end

--- Whether nothing stands in it but blanks and comments.
---@param text string
function chunk.is_empty(text)
  return text:gsub("%-%-%[(=*)%[.-%]%1%]", ""):gsub("%-%-[^\n]*", ""):find "%S" == nil
end

return chunk
