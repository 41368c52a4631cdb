-- lunarch watch: what happens in one line, as it happens.
local host = require "lunarch.host"
local log = require "lunarch.cli.log"
local looks = require "lunarch.cli.common.looks"

require "lunarch.internal.args".is_ours()

local command = {
  summary = "print what happens in a line, one event a line",
  usage = { "NAME [flags]" },
  description = [[
Prints who comes into the line of an election or a lock, who leaves it, and who leads or
holds, until it is stopped. It begins with what is there.]],
  rewrite = looks.rewrite,
}

function command.define(parser)
  parser:argument("name", "the election or the lock"):args "?"
  looks.define(parser)
end

local function json_line(event)
  local place = event.place or {}
  return require("lunarch.look.json").encode {
    time = looks.stamp(event.at), event = event.what, name = event.name, who = event.who, text = event.text,
    token = place.token, key = place.key, lease = place.lease, kind = place.kind,
  }
end

local function run(client, flags, lunarch)
  local compose = require("lunarch.console.events").composer({ clock = "wall" }, log.is_coloured(1))
  local follower = require("lunarch.look.follow").new(client, flags.name, {
    now = host.time, sleep = lunarch.sleep,
    on_event = function(event)
      event.at = host.time()
      io.stdout:write(flags.json and json_line(event) or compose(event), "\n")
    end,
  })
  local ok, message, code = follower:run()
  if not ok then return nil, message, code end
  return 0
end

---@return integer status
function command.run(flags)
  return looks.run_named("watch", flags, run)
end

return command
