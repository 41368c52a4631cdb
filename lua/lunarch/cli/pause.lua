-- lunarch pause: no candidate stands in an election until it is resumed.
local asking = require "lunarch.cli.common.asking"
local flag = require "lunarch.cli.common.flags"
local handover = require "lunarch.handover"
local looks = require "lunarch.cli.common.looks"

require "lunarch.internal.args".is_ours()

local DEFAULT_S, MOST_S = 3600, 86400
local LEAVE_S, LOOK_S = 3, 0.05

local who = handover.who

local command = {
  summary = "let no candidate take over an election for a time; a leader goes on",
  usage = { "NAME [--for SECONDS] [flags]" },
  description = [[
Pauses an election: its candidates leave the line, and none stands until `lunarch resume`, or
until the time is over. A leader goes on; when its term ends, nobody leads. Candidates of
lunarch heed it; other clients are not asked, and are named where they wait.]],
  epilog = [[
Exit status: 0 it is paused, and nobody waits; 4 it is paused, but others still wait in the line;
1 etcd does not answer; 2 wrong usage.]],
  rewrite = looks.rewrite,
}

local function seconds_of(text)
  local value, wrong = flag.seconds "--for"(text)
  if not value then return nil, wrong end
  if value < 1 or value > MOST_S then return nil, ("--for: %s is not between 1 and %d seconds"):format(text, MOST_S) end
  return value
end

function command.define(parser)
  parser:argument("name", "the election"):args "?"
  parser:option("--for", ("seconds until it ends by itself (default: %d; at most a day)"):format(DEFAULT_S))
    :argname("SECONDS"):target("seconds"):convert(seconds_of)
  looks.define(parser)
end

-- Those that wait though it is paused, after some time for them to leave; and the leader.
local function await_leaving(client, flags, lunarch)
  local until_s = lunarch.now() + math.min(LEAVE_S, (flags.seconds or DEFAULT_S) / 2)
  while true do
    local places, message, code = handover.places(client, flags.name)
    if not places then return nil, message, code end
    if #places <= 1 or lunarch.now() > until_s then return places end
    lunarch.sleep(LOOK_S)
  end
end

local function run(client, flags, lunarch)
  local seconds = flags.seconds or DEFAULT_S
  local request, places, message, code
  request, message, code = handover.pause(client, flags.name, { by = asking.whoami(), seconds = seconds })
  if not request then return nil, message, code end
  places, message, code = await_leaving(client, flags, lunarch)
  if not places then return nil, message, code end
  local waiting = {}
  for i = 2, #places do
    waiting[i - 1] = who(places[i])
  end
  local text = ("%s is paused for %d s; %s"):format(flags.name, seconds,
    places[1] and ("%s leads"):format(who(places[1])) or "nobody leads")
  if waiting[1] then text = ("%s; still in the line: %s"):format(text, table.concat(waiting, ", ")) end
  return asking.say(flags, waiting[1] and asking.REFUSED or 0, text, {
    name = flags.name, is_paused = true, seconds = seconds, leader = places[1] and who(places[1]), waiting = waiting,
  })
end

---@return integer status
function command.run(flags)
  return looks.run_named("pause", flags, run)
end

return command
