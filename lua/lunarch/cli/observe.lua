-- lunarch observe: the leader of an election, each time it changes.
local host = require "lunarch.host"
local looks = require "lunarch.cli.common.looks"
local texts = require "lunarch.look.text"

require "lunarch.internal.args".is_ours()

local command = {
  summary = "print the leader of an election each time it changes",
  usage = { "NAME [flags]" },
  description = [[
Prints the leader of an election, and the next one each time it changes, or that there is
none, until it is stopped. With --once: the leader now.]],
  epilog = looks.EPILOG,
  rewrite = looks.rewrite,
}

function command.define(parser)
  parser:argument("name", "the election"):args "?"
  parser:flag("--once", "print the leader that is there now, and end")
  looks.define(parser)
end

local function write(flags, leader)
  local at = host.time()
  if flags.json then
    io.stdout:write(require("lunarch.look.json").encode {
      time = looks.stamp(at), name = flags.name, leader = leader.value, token = leader.token, key = leader.key,
      has_leader = leader.value ~= nil,
    }, "\n")
    return
  end
  local stamp = os.date("%H:%M:%S", math.floor(at)) .. ("%.3f"):format(at % 1):sub(2)
  local text = leader.value and ("%s, token %d"):format(texts.plain(leader.value), leader.token) or "there is no leader"
  io.stdout:write(stamp, "  ", text, "\n")
end

-- An observer waits until it is told; that it may not read is told at once.
local function check_rights(client, flags)
  local found, message, code = client:get(flags.name .. "/", { prefix = true, keys_only = true, limit = 1 },
    looks.timeout(flags))
  if not found and looks.is_hopeless(code) then return nil, message, code end
  return true
end

local function run(client, flags)
  local observer, message, code = check_rights(client, flags)
  if not observer then return nil, message, code end
  observer, message, code = client:observe(flags.name)
  if not observer then return nil, message, code end
  while true do
    local leader
    leader, message, code = observer:next(flags.once and looks.timeout(flags) or nil)
    if not leader then return nil, message, code end
    write(flags, leader)
    if flags.once then
      observer:close()
      return leader.value and 0 or looks.NONE
    end
  end
end

---@return integer status
function command.run(flags)
  return looks.run_named("observe", flags, run)
end

return command
