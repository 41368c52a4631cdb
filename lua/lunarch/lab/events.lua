-- What happens in a world: reports of machines and lines of their logs become events, each
--
--   { at = seconds of the world, who = a candidate's or member's name, what =, text =, level =, ... }
--
-- what: "elected", "lost", "leader", "jeopardy", "safe", "joined", "left", "fault", "say" are shown; "renewed",
-- "expect", "life", "etcd" are for the timeline alone.
require "lunarch.internal.args".is_ours()

local events = {}

local HIDDEN = { renewed = true, expect = true, life = true, etcd = true }

--- Whether it is shown at the prompt.
function events.is_shown(event) return not HIDDEN[event.what] end

-- What the log of a machine says that its reports say too, or that an experiment knows.
local KNOWN = {
  "^stands in ", "^etcd has not answered for half", "^etcd answers again", "^standing again in ", "^no session with ",
  "^cannot tell who leads", "^the session is gone", "^closing the session", "^cannot stand in ", "^giving the place up",
  "^private etcd",
}

--- The event of a line of a candidate's log: nil where nobody needs it.
function events.of_log(at, who, level, text)
  for _, pattern in ipairs(KNOWN) do
    if text:find(pattern) then return nil end
  end
  if level == "info" then return nil end
  return { at = at, who = who, what = "say", text = text, level = level }
end

return events
