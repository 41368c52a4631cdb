-- lunarch switchover: asks the leader of an election to hand it over.
local asking = require "lunarch.cli.common.asking"
local flag = require "lunarch.cli.common.flags"
local handover = require "lunarch.handover"
local looks = require "lunarch.cli.common.looks"

require "lunarch.internal.args".is_ours()

local WITHIN_S = 30

local who = handover.who

local command = {
  summary = "ask the leader to hand over, to the next candidate or a named one",
  usage = { "NAME [--to WHO] [--at TIME] [flags]", "NAME --cancel [flags]" },
  description = [[
Asks the leader of an election to step down in order, so that the next candidate leads, or WHO
with --to. Candidates that stand before WHO step aside once. The leader steps down only when
WHO has answered, and nobody stands between the two: a switchover that cannot succeed says
why, and changes nothing. Candidates of lunarch take part; other clients are not asked.

With --at the request is left in etcd, and the command ends at once; the leader of that time
writes to its log if it cannot hand over.]],
  epilog = [[
TIME is +SECONDS, HH:MM, HH:MM:SS, or YYYY-MM-DDTHH:MM[:SS][Z], with Z in UTC; within a day.

Exit status: 0 done, or planned, or WHO leads already; 4 it cannot be done, nothing was changed;
3 nobody leads; 1 etcd or the leader does not answer; 2 wrong usage.]],
  rewrite = looks.rewrite,
}

function command.define(parser)
  parser:argument("name", "the election"):args "?"
  parser:option("--to", "the candidate that is to lead (default: the next one)"):argname "WHO"
  parser:option("--at", "when"):argname("TIME"):convert(asking.instant)
  parser:option("--within", ("how long it may take (default: %d)"):format(WITHIN_S))
    :argname("SECONDS"):convert(flag.positive_seconds "--within")
  parser:flag("--cancel", "withdraw the request that is under way, or planned")
  parser:flag("--dry-run", "say what would be done, and change nothing")
  looks.define(parser)
end

local function cancel(client, flags)
  local fields, message, code = handover.cancel(client, flags.name)
  if fields == nil then return nil, message, code end
  local text = ("no switchover of %s is under way"):format(flags.name)
  if fields then
    text = ("the switchover of %s asked for by %s is withdrawn"):format(flags.name, fields.by or "another")
  end
  return asking.say(flags, 0, text, { name = flags.name, is_withdrawn = fields ~= false })
end

-- The places, and which of them is to lead: nil, status where that is the end of it.
local function judge(client, flags)
  local places, message, code = handover.places(client, flags.name)
  if not places then return nil, nil, message, code end
  local index, why, kind = handover.target(places, flags.name, flags.to)
  if not index then
    return nil, asking.say(flags, kind == "no_leader" and looks.NONE or asking.REFUSED, why, {
      name = flags.name, is_done = false, why = why,
    })
  end
  if index == 1 then
    local text = ("%s leads %s already, token %d"):format(who(places[1]), flags.name, places[1].create_revision)
    return nil, asking.say(flags, 0, text, {
      name = flags.name, is_done = true, leader = who(places[1]), token = places[1].create_revision,
    })
  end
  return places, index
end

local function plan(flags, places, index)
  local names = {}
  for i = 2, index - 1 do
    names[#names + 1] = who(places[i])
  end
  local aside = #names == 0 and "" or (", once %s stepped aside"):format(#names == 1 and names[1] .. " has"
    or table.concat(names, ", ") .. " have")
  local text = ("%s would hand %s over to %s%s"):format(who(places[1]), flags.name, who(places[index]), aside)
  return asking.say(flags, 0, text, {
    name = flags.name, from = who(places[1]), to = who(places[index]), aside = names, is_done = false,
  })
end

-- Leaves the request in etcd.
local function plan_it(client, flags, options)
  local request, message, code = handover.ask(client, flags.name, options)
  if not request then return nil, message, code end
  local text = ("%s is to be handed over%s at %s (--cancel withdraws it)"):format(flags.name,
    flags.to and " to " .. flags.to or "", os.date("%Y-%m-%d %H:%M:%S", math.floor(flags.at)))
  return asking.say(flags, 0, text, {
    name = flags.name, to = flags.to, at = looks.stamp(flags.at), is_planned = true,
  })
end

local function ask(client, flags, places)
  local began_at = require "lunarch".now()
  local options = {
    to = flags.to, by = asking.whoami(), at = flags.at, within = flags.within or WITHIN_S, places = places,
  }
  if flags.at then return plan_it(client, flags, options) end
  local leader, message, code = handover.switch_over(client, flags.name, options)
  if not leader then return nil, message, code end
  local text = ("%s leads %s, token %d; %s has stepped down"):format(leader.value, flags.name, leader.token,
    who(places[1]))
  return asking.say(flags, 0, text, {
    name = flags.name, is_done = true, leader = leader.value, token = leader.token, from = who(places[1]),
    seconds = require "lunarch".now() - began_at,
  })
end

local function run(client, flags)
  if flags.cancel then return cancel(client, flags) end
  local places, index, message, code = judge(client, flags)
  if not places then
    if index then return index end
    return nil, message, code
  end
  if flags.dry_run then return plan(flags, places, index) end
  local status
  status, message, code = ask(client, flags, places)
  if status then return status end
  if code == "refused" or code == "cancelled" then
    return asking.say(flags, asking.REFUSED, message, { name = flags.name, is_done = false, why = message })
  end
  return nil, message, code
end

---@return integer status
function command.run(flags)
  local name, wrong = looks.name_of(flags)
  if name and flags.to == "" then name, wrong = nil, "--to: no candidate has an empty name" end
  if not name then return flag.complain("switchover", wrong) end
  return looks.run("switchover", flags, run)
end

return command
