-- Verbs that ask the candidates of a line: on an etcd that is shared with others only once the user has agreed.
local args = require "lunarch.internal.args"
local host = require "lunarch.host"
local lazy = require "lunarch.console.lazy"

args.is_ours()

local handover = lazy "lunarch.handover"

local asking = {}

local PAUSE_S = 3600
local NOT_AGREED = "not done: it was not agreed to"

local function whoami()
  return "the console on " .. (host.hostname() or "localhost")
end

-- Where what is done to a world belongs to its history.
local function note(world, format, ...)
  if world.on_asked then world.on_asked(format:format(...)) end
end

function asking.switchover(world, name, who)
  args.name("switchover", "name", name)
  if who ~= nil then args.text("switchover", "who", who) end
  local places, message, code = handover.places(world.client, name)
  if not places then return nil, message, code end
  local index
  index, message, code = handover.target(places, name, who)
  if not index then return nil, message, code end
  local leader = places[1]
  if index == 1 then return nil, ("%s leads already"):format(leader.value), "refused" end
  if not world.may(("have %s hand %s over to %s"):format(leader.value, name, places[index].value)) then
    return nil, NOT_AGREED, "cancelled"
  end
  local request
  request, message, code = handover.ask(world.client, name, { to = who, by = whoami(), places = places })
  if not request then return nil, message, code end
  note(world, "%s is asked to hand %s over to %s", leader.value, name, places[index].value)
  return handover.await(world.client, request)
end

function asking.pause_line(world, name, seconds)
  args.name("pause_line", "name", name)
  if seconds ~= nil then args.seconds("pause_line", "seconds", seconds) end
  seconds = seconds or PAUSE_S
  if not world.may(("let nobody take over %s for %g s"):format(name, seconds)) then
    return nil, NOT_AGREED, "cancelled"
  end
  local request, message, code = handover.pause(world.client, name, { by = whoami(), seconds = seconds })
  if not request then return nil, message, code end
  note(world, "%s is paused for %g s", name, seconds)
  return true
end

function asking.resume_line(world, name)
  args.name("resume_line", "name", name)
  local fields, message, code = handover.resume(world.client, name)
  if fields == nil then return nil, message, code end
  if fields then note(world, "the pause of %s is over", name) end
  return fields ~= false
end

return asking
