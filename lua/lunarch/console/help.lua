-- help: one screen of what there is, and help(x), which prints the annotation of x.
local annotations = require "lunarch.console.annotations"
local args = require "lunarch.internal.args"
local names = require "lunarch.console.names"
local verbs = require "lunarch.console.verbs"

args.is_ours()

local help = {}

local SCREEN_ROWS = 22
local WIDTH = 80
local TITLE_WIDTH = 10

-- ---- the screen -------------------------------------------------------------------------------------------------

local END = [[
Everything of Lua, of `lunarch`, `client` and `session` is there, too.
help(x) explains what has a name: help(lock), help "on_lost", help "lost".
Tab completes; Ctrl-C ends a call that waits; Ctrl-D gives up all, and ends.]]

local function verbs_of(world, group)
  local found = {}
  for _, verb in ipairs(group) do
    local is_ours = group.title == "keeping" and (verb.name == "record" or verb.name == "help")
    if is_ours or world.verbs[verb.name] then found[#found + 1] = verb end
  end
  return found
end

local function long_lines(group, found)
  local lines = {}
  for i, verb in ipairs(found) do
    local title = i == 1 and group.title or ""
    local usage = verb.usage
    local gap = #usage < 21 and (" "):rep(21 - #usage) or "  "
    lines[i] = ("%-" .. TITLE_WIDTH .. "s%s%s%s"):format(title, usage, gap, verb.summary)
  end
  return lines
end

local function short_lines(group, found)
  local lines, line = {}, ("%-" .. TITLE_WIDTH .. "s"):format(group.title)
  for i, verb in ipairs(found) do
    local usage = verb.usage .. (found[i + 1] and "  " or "")
    if #line + #usage > WIDTH and #line > TITLE_WIDTH then
      lines[#lines + 1] = line
      line = (" "):rep(TITLE_WIDTH)
    end
    line = line .. usage
  end
  lines[#lines + 1] = line
  return lines
end

local function screen_of(world, lines_of)
  local lines = {}
  for _, group in ipairs(verbs.groups) do
    local found = verbs_of(world, group)
    if found[1] then table.move(lines_of(group, found), 1, 100, #lines + 1, lines) end
  end
  lines[#lines + 1] = END
  return table.concat(lines, "\n")
end

--- One screen of what there is in a world.
---@param world lunarch.console.World
---@return string
function help.screen(world)
  local text = screen_of(world, long_lines)
  local _, n = text:gsub("\n", "")
  return n < SCREEN_ROWS and text or screen_of(world, short_lines)
end

-- ---- one entry --------------------------------------------------------------------------------------------------

local KINDS = { ["lunarch.code"] = "an error code", ["lunarch.reason"] = "why a term or a session is over" }

-- Adds the words of a text, as many to a line as stand in it.
local function fold(lines, text, first, indent)
  local line, is_empty = first, true
  for word in text:gmatch "%S+" do
    if not is_empty and #line + 1 + #word > WIDTH then
      lines[#lines + 1] = line
      line, is_empty = indent, true
    end
    line, is_empty = line .. (is_empty and "" or " ") .. word, false
  end
  lines[#lines + 1] = line
end

-- Paragraphs are folded anew; what is indented or a list stays as it is.
local function add_comment(lines, comment)
  local paragraph = {}
  local function finish()
    if paragraph[1] then fold(lines, table.concat(paragraph, " "), "  ", "  ") end
    paragraph = {}
  end
  for _, line in ipairs(comment) do
    if line == "" or line:find "^%s" or line:find "^[-*|]" then
      finish()
      lines[#lines + 1] = line == "" and "" or "  " .. line
    else
      paragraph[#paragraph + 1] = line
    end
  end
  finish()
end

local function rows_of(lines, title, list)
  if not list or not list[1] then return end
  lines[#lines + 1] = title
  for _, it in ipairs(list) do
    if type(it) == "table" then
      fold(lines, it.text, "  " .. it.name .. "  ", "      ")
    else
      fold(lines, it, "  ", "      ")
    end
  end
end

local function methods_of(class)
  local signatures = {}
  for _, entry in ipairs(annotations.all()) do
    if entry.kind == "function" and entry.class == class then signatures[#signatures + 1] = entry.signature end
  end
  return signatures
end

--- An entry as text.
---@param entry lunarch.console.Entry
---@return string
function help.text(entry)
  local lines = { entry.signature or entry.name }
  if entry.kind == "code" then lines[1] = ("%q: %s"):format(entry.name, KINDS[entry.class] or "a value") end
  add_comment(lines, entry.comment)
  rows_of(lines, "arguments", entry.params)
  rows_of(lines, "returns", entry.returns)
  if entry.kind == "class" then
    rows_of(lines, "fields", annotations.fields(entry))
    rows_of(lines, "methods", methods_of(entry.class))
  end
  return table.concat(lines, "\n")
end

-- ---- what is meant ----------------------------------------------------------------------------------------------

local function name_of(console, x)
  if type(x) == "string" then return x end
  return names.of(console.world, console.own, x)
end

local function unknown(x, name)
  if type(x) ~= "string" then
    return ("there is no annotation of this %s; help(\"name\") looks for a name"):format(type(x))
  end
  local known = {}
  for _, entry in ipairs(annotations.all()) do
    known[entry.name:match "[%w_]+$"] = true
  end
  local meant = args.probably(name, known)
  return ("nothing is called %q%s"):format(name, meant and (": did you mean %q?"):format(meant) or "")
end

local Text = { __name = "lunarch.console.help" }

function Text.__console(text) return text[1] end

Text.__tostring = Text.__console

--- What help(x) returns: a text that prints as it is.
function help.of(console, x)
  local name = name_of(console, x)
  -- A value is what it is; a word may be meant in several ways.
  local entries = name and annotations.find(name, type(x) ~= "string") or {}
  local texts = {}
  for i, entry in ipairs(entries) do
    texts[i] = help.text(entry)
  end
  if not texts[1] then texts[1] = unknown(x, name) end
  return setmetatable({ table.concat(texts, "\n\n") }, Text)
end

--- The options that the table of a call may hold, for the completion: or nil.
---@param call string "client:get", "candidate"
---@return table<string, true>?
function help.options(_, call)
  local fields = {}
  for _, entry in ipairs(annotations.find(call:match "[%w_]+$")) do
    for _, param in ipairs(entry.params or {}) do
      for field in param.text:gmatch "([%w_]+)%??:%s" do
        fields[field] = true
      end
      for _, class in ipairs(annotations.find(param.text:match "^lunarch%.([%w_]+)" or "-")) do
        for _, field in ipairs(class.fields and annotations.fields(class) or {}) do
          fields[field.name:match "^[%w_]+"] = true
        end
      end
    end
  end
  return next(fields) and fields or nil
end

--- The global `help`: it prints as the screen, and is called for more.
function help.new(console)
  return setmetatable({}, {
    __name = "lunarch.console.help",
    __console = function() return help.screen(console.world) end,
    __call = function(_, ...)
      if select("#", ...) == 0 then return setmetatable({ help.screen(console.world) }, Text) end
      return help.of(console, (...))
    end,
  })
end

return help
