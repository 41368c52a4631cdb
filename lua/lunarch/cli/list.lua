-- lunarch list: the elections and locks that are in etcd.
local looks = require "lunarch.cli.common.looks"

require "lunarch.internal.args".is_ours()

local command = {
  summary = "list the elections and locks in etcd",
  usage = { "[PREFIX] [flags]" },
  description = [[
Lists the elections and locks whose names begin with PREFIX: who leads or holds, the fencing
token, how many wait, and what is wrong with a line. It knows those of etcdctl and of other
clients, too.]],
  epilog = looks.EPILOG,
  rewrite = looks.rewrite,
}

function command.define(parser)
  parser:argument("prefix", "what their names begin with"):args "?":target "names" -- the client has a prefix, too
  looks.define(parser)
end

local function run(client, flags)
  local lines, message, code = require("lunarch.look").lines(client, flags.names, looks.timeout(flags))
  if not lines then return nil, message, code end
  if flags.json then
    local json = require "lunarch.look.json"
    for _, line in ipairs(lines) do
      io.stdout:write(json.encode(line), "\n")
    end
  else
    io.stdout:write(tostring(require("lunarch.look.columns").rows("lines", lines)), "\n")
  end
  return lines[1] and 0 or looks.NONE
end

---@return integer status
function command.run(flags)
  return looks.run("list", flags, run)
end

return command
