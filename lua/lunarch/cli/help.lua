-- lunarch help: the commands; the flags of one; and, for packagers, the manual page and the completion.
local args = require "lunarch.internal.args"
local exit = require "lunarch.cli.common.exit"
local flags = require "lunarch.cli.common.flags"

args.is_ours()

local help = {
  summary = "show the commands, or the flags of one",
  usage = { "[COMMAND]", "--manual TEMPLATE", "--completion bash|zsh|fish" },
}

function help.define(parser)
  parser:argument("command", "the command to explain"):args "?"
  parser:option("--manual", "fill in the template of the manual page, and print it"):argname "TEMPLATE"
  parser:option("--completion", "print the completion of a shell"):argname("SHELL"):choices { "bash", "zsh", "fish" }
end

local OVERVIEW = [[
usage: lunarch COMMAND ...
       lunarch SCRIPT [flags] [arguments of the script]      (short for: lunarch run)

Runs Lua scripts that take part in elections on etcd.

Commands:
%s
To begin with, without any etcd installed as a service:
   lunarch SCRIPT --dev
   lunarch console --dev        (`lunarch` alone on a terminal: the console)
For the flags of a command:
   lunarch COMMAND --help
]]

local function overview(cli)
  local rows = {}
  for _, name in ipairs(cli.commands) do
    rows[#rows + 1] = ("   %-10s %s\n"):format(name, cli.command(name).summary)
  end
  return OVERVIEW:format(table.concat(rows))
end

---@return integer status
function help.run(found)
  local cli = require "lunarch.cli"
  if found.is_short then
    io.stderr:write(overview(cli))
    return exit.USAGE
  elseif found.manual then
    return require "lunarch.cli.common.manual".write(cli, found.manual)
  elseif found.completion then
    return require "lunarch.cli.common.manual".complete(cli, found.completion)
  elseif not found.command then
    io.stdout:write(overview(cli))
    return exit.DONE
  end
  local command = cli.command(found.command)
  if not command then
    return flags.complain("help", ("there is no command '%s'%s"):format(found.command, cli.meant(found.command)))
  end
  io.stdout:write(flags.parser(found.command, command):get_help(), "\n")
  return exit.DONE
end

return help
