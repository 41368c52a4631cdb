-- The history of a seed (lunarch sim) as events of a timeline.
require "lunarch.internal.args".is_ours()

local simulated = {}

local function fault(event, name, lane, begins)
  return { at = event.at, who = lane, what = "fault", text = event.text, fault = name, lane = lane, begins = begins }
end

-- What is done to a candidate: the pattern of its text, the fault, whether it begins.
local OF_CANDIDATES = {
  { "^killed", "down", true }, { "^paused", "pause", true }, { "^runs again", "pause", false },
  { "^told to stop", "stop" },
}
local OF_MEMBERS = {
  { "^(%w:1) frozen", "freeze", true }, { "^(%w:1) thawed", "freeze", false }, { "^(%w:1) stopped", "crash", true },
  { "^(%w:1) started", "crash", false }, { "^(%w:1) alone", "alone", true }, { "^(%w:1) back", "alone", false },
}

local takes = {}

function takes.fault(event)
  for _, row in ipairs(event.who == "etcd" and OF_MEMBERS or OF_CANDIDATES) do
    local found = event.text:match(row[1])
    if found then return fault(event, row[2], event.who == "etcd" and found or event.who, row[3]) end
  end
end

function takes.life(event)
  return { at = event.at, who = event.who, what = "life", text = event.text }
end

function takes.handler(event)
  local token = event.text:match "^on_elected %(token (%d+)%)"
  if token then return { at = event.at, who = event.who, what = "elected", text = event.text, token = token } end
  local reason = event.text:match "^on_lost %((.*)%)"
  if reason then return { at = event.at, who = event.who, what = "lost", text = event.text, reason = reason } end
end

function takes.etcd(event)
  local member = event.text:match "^(%w:1) leads, term"
  return member and { at = event.at, who = member, what = "etcd", text = event.text, etcd_leader = member }
end

--- The events of a timeline among these, { at =, who =, kind =, text = } each.
function simulated.events(events)
  local found = {}
  for _, event in ipairs(events) do
    local take = takes[event.kind]
    found[#found + 1] = take and take(event) or nil
  end
  return found
end

return simulated
