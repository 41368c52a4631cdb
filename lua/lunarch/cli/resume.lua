-- lunarch resume: ends a pause.
local asking = require "lunarch.cli.common.asking"
local handover = require "lunarch.handover"
local looks = require "lunarch.cli.common.looks"

require "lunarch.internal.args".is_ours()

local command = {
  summary = "end the pause of an election",
  usage = { "NAME [flags]" },
  description = "Ends `lunarch pause`: the candidates stand again.",
  epilog = [[
Exit status: 0 it is paused no more, or was not; 1 etcd does not answer; 2 wrong usage.]],
  rewrite = looks.rewrite,
}

function command.define(parser)
  parser:argument("name", "the election"):args "?"
  looks.define(parser)
end

local function run(client, flags)
  local fields, message, code = handover.resume(client, flags.name)
  if fields == nil then return nil, message, code end
  local text = fields and ("%s goes on; it was paused by %s"):format(flags.name, fields.by or "another")
    or ("%s is not paused"):format(flags.name)
  return asking.say(flags, 0, text, { name = flags.name, was_paused = fields ~= false })
end

---@return integer status
function command.run(flags)
  return looks.run_named("resume", flags, run)
end

return command
