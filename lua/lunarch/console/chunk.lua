-- What was typed, as a function: an expression, whose values are printed, a statement, or not whole yet. An assignment
-- returns what it assigned: that a call has failed is seen then, too.
--
-- `local x = f()` and `local function f()` would be forgotten at the end of their own line, and with them every line of
-- an experiment that is pasted: at the prompt they are globals.
local verbs = require "lunarch.console.verbs"

require "lunarch.internal.args".is_ours()

local chunk = {}

local NAME = "=input"
local MOST_COMPILED = 1000

chunk.NAME = NAME

--- What was compiled last, the latest at the end.
---@type string[]
chunk.compiled = {}

local function keep(text)
  if #chunk.compiled >= MOST_COMPILED then table.remove(chunk.compiled, 1) end
  chunk.compiled[#chunk.compiled + 1] = text
end

--- Without the "=" that lua5.4 takes at the beginning at its own prompt.
---@param text string
---@return string
function chunk.without_sign(text) return (text:gsub("^%s*=%s*", "", 1)) end

--- Whether it is one, or a list of them.
---@param text string
---@return boolean
function chunk.is_expression(text) return load("return " .. text .. "\n", NAME, "t", {}) ~= nil end

-- `x = f()` as a function that returns all values of f(); nil: it is none.
local function assignment(text, env)
  local left, right = text:match "^%s*([%a_][^=~<>\n]-)%s*=([^=].*)$"
  -- `g() x = f()` is two statements.
  if not left or not chunk.is_expression(left) or not chunk.is_expression(right) then return nil end
  return (load(("return (function(...) %s = ... return ... end)(%s\n)"):format(left, right), NAME, "t", env))
end

--- Whether it is one `function name() ... end`, and nothing behind it.
---@param text string
---@return boolean
function chunk.is_function(text)
  local body = text:match "^%s*function%s+[%a_][%w_.:]*%s*(%(.*)$"
  return body ~= nil and chunk.is_expression("function" .. body)
end

--- `local x = f()` as `x = f()`, and `local function` as `function`, where nothing is to be closed at the end.
--- nil: neither.
---@param text string
---@return string?
function chunk.without_local(text)
  local declared = text:match "^%s*local%s+(function%s.*)$"
  if declared then return chunk.is_function(declared) and declared or nil end
  local names, value = text:match "^%s*local%s+([%a_][%w_,%s<>]-)%s*(=[^=].*)$"
  if not names then names, value = text:match "^%s*local%s+([%a_][%w_,%s]*)$", "= nil" end
  if not names or names:find "<%s*close%s*>" then return nil end
  return (names:gsub("<%s*const%s*>", "")) .. " " .. value
end

-- A statement: its function, and what it is.
local function statement(text, fn, env)
  local assign = assignment(text, env)
  if assign then return assign, "assignment" end
  local kept = chunk.without_local(text)
  local keeps = kept and (assignment(kept, env) or chunk.is_function(kept) and load(kept .. "\n", NAME, "t", env))
  return keeps or fn, keeps and "assignment" or "statement"
end

-- A verb with a word behind it, as a shell takes it.
local function meant(text)
  local verb, word = text:match "^%s*([%a_][%w_]*)%s+([^%s\"'(]+)%s*$"
  return verb and verbs.by_name[verb] and (": write %s %q"):format(verb, word) or ""
end

--- fn, "expression", "assignment" or "statement"; nil, "incomplete"; nil, "wrong", what is wrong.
---@param text string
---@param env? table where its globals are; default: _G
---@return function?, string kind, string?
function chunk.compile(text, env)
  env = env or _G
  text = chunk.without_sign(text)
  -- With the end of the line: a string that is not finished there is wrong.
  local fn, of_expression = load("return " .. text .. "\n", NAME, "t", env)
  if fn then
    keep(text)
    return fn, "expression"
  end
  local message
  fn, message = load(text .. "\n", NAME, "t", env)
  if fn then
    keep(text)
    return statement(text, fn, env)
  end
  if message:find "<eof>'?$" then return nil, "incomplete" end
  if of_expression:find "near <eof>$" and not of_expression:find("expected near", 1, true) then
    return nil, "incomplete"
  end
  return nil, "wrong", message .. meant(text)
end

--- Whether nothing stands in it but blanks and comments.
---@param text string
function chunk.is_empty(text)
  return text:gsub("%-%-%[(=*)%[.-%]%1%]", ""):gsub("%-%-[^\n]*", ""):find "%S" == nil
end

return chunk
