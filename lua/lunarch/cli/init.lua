-- The command line of `lunarch`: which commands there are. Each is a file of its own beside this one, which returns
--
--   summary              what it does, as a phrase: in `lunarch help`, the manual page and the completion
--   usage                what follows its name: { "SCRIPT [flags]", ... }
--   description, epilog  optional: what its own --help says before and after the flags
--   define(parser)       adds its arguments and flags to a parser of argparse
--   rewrite(words)       optional: the words as that parser takes them
--   run(flags)           does it -> exit status (lunarch.cli.common.exit); flags.is_short: the command was not named
--
-- and the rest follows from that: a further command is its file, its spec, and a row here.
local args = require "lunarch.internal.args"

args.is_ours()

local COMMANDS = {
  "run", "check", "console", "list", "status", "watch", "observe", "switchover", "pause", "resume", "explain", "lab",
  "sim", "help", "version",
}

-- What people try before they have read anything.
local FLAGS = {
  ["-h"] = "help", ["--help"] = "help", ["-v"] = "version", ["-V"] = "version", ["--version"] = "version",
}

local cli = { commands = COMMANDS }

local is_command = {}
for _, name in ipairs(COMMANDS) do
  is_command[name] = true
end

--- The command of this name, or nil.
---@param name string
function cli.command(name)
  return is_command[name] and require("lunarch.cli." .. name) or nil
end

--- What to add to a mistake where a command was probably meant.
---@param word string
---@return string
function cli.meant(word)
  local meant = args.probably(word, is_command)
  return meant and (": did you mean '%s'?"):format(meant) or ""
end

-- `lunarch SCRIPT` is short for `lunarch run SCRIPT`; a script that is called like a command is ./run. Nothing at all,
-- on a terminal, is the console.
local function find(argv)
  local host = require "lunarch.host"
  if #argv == 0 and host.is_terminal(0) and host.is_terminal(1) then return "console", argv, true end
  local name = FLAGS[argv[1]] or argv[1]
  if is_command[name] then return name, table.move(argv, 2, #argv, 1, {}) end
  return #argv > 0 and "run" or "help", argv, true
end

-- A command whose output is lost has failed: `lunarch list > file` on a disk that is full. A script's own output is the
-- script's.
local function status_of(name, status)
  local exit = require "lunarch.cli.common.exit"
  local has_failed = status ~= exit.DONE and status ~= exit.NONE
  local why = not has_failed and name ~= "run" and require "lunarch.host".lost_output()
  if not why then return status end
  require "lunarch.cli.log".complain(why)
  return exit.FAILED
end

---@param argv string[]
---@return integer status
function cli.main(argv)
  require("lunarch.cli.common.libraries").settle()
  local name, words, is_short = find(argv)
  local flags = require "lunarch.cli.common.flags"
  local trouble = require "lunarch.host".trouble
  if trouble then return flags.refuse(words, trouble) end
  local parsed, status = flags.parse(name, cli.command(name), words)
  if not parsed then return status_of("help", status) end
  parsed.is_short = is_short
  status = cli.command(name).run(parsed)
  require("lunarch.cli.common.exit").settle()
  return status_of(name, status)
end

return cli
