-- What `lunarch switchover`, `pause` and `resume` share: who asks, when, and how the outcome is said.
local host = require "lunarch.host"
local texts = require "lunarch.look.text"

require "lunarch.internal.args".is_ours()

local asking = {}

-- Nothing was changed.
asking.REFUSED = 4

--- Who asks, for the logs of others.
function asking.whoami()
  local user = os.getenv "USER" or os.getenv "LOGNAME"
  return ("%s%s"):format(user and user ~= "" and user .. "@" or "", host.hostname() or "localhost")
end

--- Prints the outcome, for people or as JSON.
---@return integer status
function asking.say(flags, status, text, fields)
  if flags.json then
    io.stdout:write(require("lunarch.look.json").encode(fields), "\n")
  else
    io.stdout:write(texts.plain(text), "\n")
  end
  return status
end

local DAY_S = 86400

-- Seconds since 1970 of a day and a time in UTC.
local function utc(fields)
  local at = os.time(fields)
  local there = os.date("!*t", at)
  there.isdst = false
  return at + (at - os.time(there))
end

local function next_time(hour, minute, second)
  local now = os.date "*t"
  local at = os.time {
    year = now.year, month = now.month, day = now.day, hour = hour, min = minute, sec = second,
  }
  return at > os.time() and at or at + DAY_S
end

-- The values of a day and a time, or nil where they are none.
local function whole(from, ...)
  for i = 1, select("#", ...), 2 do
    local value, most = math.tointeger(tonumber((select(i, ...)))), (select(i + 1, ...))
    if not value or value > most then return nil end
  end
  return from
end

--- A converter of --at: seconds since 1970, or nil and what is wrong.
function asking.instant(text)
  local rest = text:match "^%+(%d+%.?%d*)$"
  if rest then return os.time() + tonumber(rest) end
  local hour, minute, second = text:match "^(%d%d?):(%d%d):?(%d?%d?)$"
  if hour and whole(true, hour, 23, minute, 59, second ~= "" and second or "0", 59) then
    return next_time(math.tointeger(tonumber(hour)), math.tointeger(tonumber(minute)),
      math.tointeger(tonumber(second)) or 0)
  end
  local year, month, day, h, m, s, zone = text:match "^(%d%d%d%d)%-(%d%d)%-(%d%d)[T ](%d%d):(%d%d):?(%d?%d?)(Z?)$"
  if year and whole(true, month, 12, day, 31, h, 23, m, 59, s ~= "" and s or "0", 59) then
    local fields = {
      year = math.tointeger(tonumber(year)), month = math.tointeger(tonumber(month)),
      day = math.tointeger(tonumber(day)), hour = math.tointeger(tonumber(h)), min = math.tointeger(tonumber(m)),
      sec = math.tointeger(tonumber(s)) or 0,
    }
    local at = zone == "Z" and utc(fields) or os.time(fields)
    if at > os.time() then return at end
    return nil, ("--at: '%s' is in the past"):format(text)
  end
  return nil, ("--at: '%s' is no time such as +60, 02:30 or 2026-12-01T02:30:00Z"):format(text)
end

return asking
