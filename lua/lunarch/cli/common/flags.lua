-- Flags: how a command line is read, how values are checked, and how a mistake is reported.
local args = require "lunarch.internal.args"
local exit = require "lunarch.cli.common.exit"
local log = require "lunarch.cli.log"

args.is_ours()

local flags = {}

-- ---- values -----------------------------------------------------------------------------------------------------

--- Converters for options: a value, or nil and what is wrong with it.
function flags.seconds(flag)
  return function(text)
    local value = tonumber(text)
    if value and value >= 0 and value < math.huge then return value end
    return nil, ("%s: '%s' is not a number of seconds"):format(flag, text)
  end
end

function flags.positive_seconds(flag)
  return function(text)
    local value, wrong = flags.seconds(flag)(text)
    if value == 0 then return nil, ("%s: it has to be more than 0 seconds"):format(flag) end
    return value, wrong
  end
end

local function whole(least, what)
  return function(flag)
    return function(text)
      local value = math.tointeger(tonumber(text))
      if value and value >= least then return value end
      return nil, ("%s: '%s' is not %s, %d or more"):format(flag, text, what, least)
    end
  end
end

flags.whole_seconds = whole(1, "a whole number of seconds")
flags.count, flags.whole = whole(1, "a whole number"), whole(0, "a whole number")

-- ---- mistakes ---------------------------------------------------------------------------------------------------

-- A flag that begins a log of JSON is looked for before anything can be wrong.
local function log_format(words)
  for i, word in ipairs(words) do
    local format = word:match "^%-%-log=(.*)" or word == "--log" and words[i + 1]
    if word == "--" then return "text" end
    if format then return format == "json" and "json" or "text" end
  end
  return "text"
end

--- Reports a mistake of the command line `lunarch NAME ...`.
---@return integer status
function flags.complain(name, text)
  log.complain(text, ("Try: lunarch %s --help"):format(name))
  return exit.USAGE
end

-- The parser takes what begins with a dash for an option, and a flag of one letter as what was meant.
local function explain(text, words)
  local value = text:match "^unknown option '(%-[%d.]%S*)'"
  for i, word in ipairs(value and words or {}) do
    local before = words[i - 1]
    if word == value and before and before:find "^%-%-" then
      return ("%s: '%s' is negative, which no setting can be"):format(before, value)
    end
  end
  if value then return ("%s: settings cannot be negative"):format(value) end
  text = text:gsub("\nDid you mean '%-%a'%?$", ""):gsub("\nDid you mean one of these: ['%-%a ]+%?$", "")
  return text
end

-- ---- parsing ----------------------------------------------------------------------------------------------------

--- The parser of one command.
function flags.parser(name, command)
  local usage = {}
  for i, rest in ipairs(command.usage) do
    usage[i] = ("%s lunarch %s %s"):format(i == 1 and "usage:" or "      ", name, rest)
  end
  local parser = require "argparse"("lunarch " .. name)
    :usage((table.concat(usage, "\n"):gsub(" +\n", "\n"):gsub(" +$", "")))
    :description(command.description or command.summary:gsub("^%l", string.upper) .. ".")
    :add_help(false)
  if command.epilog then parser:epilog(command.epilog) end
  command.define(parser)
  parser:flag("-h --help", "show this and exit")
  return parser
end

--- What the words of a command line say: or nil and the exit status, after the help or the mistake was shown.
---@param name string
---@param words string[]
---@return table?, integer? status
function flags.parse(name, command, words)
  log.set_format(log_format(words))
  local parser = flags.parser(name, command)
  local ok, found = parser:pparse(command.rewrite and command.rewrite(words) or words)
  if not ok then return nil, flags.complain(name, explain(found, words)) end
  if found.help then
    io.stdout:write(parser:get_help(), "\n")
    return nil, exit.DONE
  end
  return found
end

--- Tells, as these words say how, why no command can be run: the exit status.
---@param words string[]
---@param text string
---@return integer status
function flags.refuse(words, text)
  log.set_format(log_format(words))
  log.complain(text)
  return exit.USAGE
end

return flags
