-- What is made of the table of commands for others to read: the manual page and the completions.
local args = require "lunarch.internal.args"
local exit = require "lunarch.cli.common.exit"
local flags = require "lunarch.cli.common.flags"

args.is_ours()

local manual = {}

-- Text as roff takes it.
local function plain(text)
  return (text:gsub("\\", "\\e"):gsub("%-", "\\-"):gsub("\n%.", "\n\\&."))
end

local function synopsis(cli)
  local lines = {}
  for _, name in ipairs(cli.commands) do
    for _, rest in ipairs(cli.command(name).usage) do
      lines[#lines + 1] = (".B lunarch %s\n%s"):format(name, rest ~= "" and plain(rest) .. "\n" or "")
    end
  end
  return table.concat(lines, ".br\n")
end

local function summaries(cli)
  local rows = {}
  for _, name in ipairs(cli.commands) do
    rows[#rows + 1] = (".TP\n.B %s\n%s\n"):format(name, plain(cli.command(name).summary))
  end
  return table.concat(rows)
end

local function option_row(option)
  local argname = option._argname and " \\fI" .. plain(option._argname) .. "\\fR" or ""
  return (".TP\n\\fB%s\\fR%s\n%s\n"):format(plain(table.concat(option._aliases, ", ")), argname,
    plain(option._description or ""))
end

local function options(cli)
  local parts = {}
  for _, name in ipairs(cli.commands) do
    local parser = flags.parser(name, cli.command(name))
    parts[#parts + 1] = (".SS lunarch %s\n"):format(name)
    for _, option in ipairs(parser._options) do
      if not option._hidden then parts[#parts + 1] = option_row(option) end
    end
  end
  return table.concat(parts)
end

--- Prints the manual page: the template with @SYNOPSIS@, @COMMANDS@ and @OPTIONS@ filled in.
---@return integer status
function manual.write(cli, path)
  local file, trouble = io.open(path)
  if not file then return flags.complain("help", trouble) end
  local parts = { SYNOPSIS = synopsis(cli), COMMANDS = summaries(cli), OPTIONS = options(cli) }
  io.stdout:write((file:read "a":gsub("@(%u+)@\n", parts)))
  file:close()
  return exit.DONE
end

--- Prints the completion of a shell.
---@return integer status
function manual.complete(cli, shell)
  local parser = require "argparse" "lunarch"
  for _, name in ipairs(cli.commands) do
    local command = parser:command(name):summary(cli.command(name).summary)
    cli.command(name).define(command)
    for i = #command._options, 1, -1 do
      if command._options[i]._hidden then table.remove(command._options, i) end
    end
  end
  io.stdout:write(parser["get_" .. shell .. "_complete"](parser))
  return exit.DONE
end

return manual
