-- Logs of `lunarch run --log json` as events of a timeline, and what they say of terms that are known from etcd.
require "lunarch.internal.args".is_ours()

local logs = {}

local DAY_S = 86400
local REASONS = {
  "expired", "revoked", "key_deleted", "frozen", "closed", "unauthenticated", "replaced", "permission_denied",
  "stopping", "resigned", "error", "exit", "unhealthy", "handed_over",
}
local ESCAPES = { n = "\n", t = "\t", r = "\r", b = "\b", f = "\f" }

-- Days since 1970 of a date of the Gregorian calendar.
local function days(year, month, day)
  if month <= 2 then year, month = year - 1, month + 12 end
  local era = year // 400
  local of_era = year - era * 400
  local of_year = (153 * (month - 3) + 2) // 5 + day - 1
  return era * 146097 + of_era * 365 + of_era // 4 - of_era // 100 + of_year - 719468
end

local function is_in(text, least, most)
  local number = tonumber(text)
  return number >= least and number < most
end

-- "2026-11-30T08:29:31.091Z" as seconds since 1970; nil: it is none.
local function seconds_of(text)
  local year, month, day, hour, minute, second, zone =
    text:match "^(%d%d%d%d)-(%d%d)-(%d%d)T(%d%d):(%d%d):(%d%d%.?%d*)(.*)$"
  if not year then return nil end
  if not (is_in(month, 1, 13) and is_in(day, 1, 32) and is_in(hour, 0, 24) and is_in(minute, 0, 60)
    and is_in(second, 0, 61)) then
    return nil
  end
  local at = days(year // 1, month // 1, day // 1) * DAY_S + hour * 3600 + minute * 60 + second
  local sign, hours, minutes = zone:match "^([+-])(%d%d):?(%d%d)$"
  if sign then at = at - (sign == "+" and 1 or -1) * (hours * 3600 + minutes * 60) end
  return at
end

local function unescape(text)
  return (text:gsub("\\(.)(%x?%x?%x?%x?)", function(char, digits)
    if char == "u" and #digits == 4 then return utf8.char(tonumber(digits, 16)) end
    return (ESCAPES[char] or char) .. digits
  end))
end

-- The text of a field, up to the first quote that is not escaped.
local function field(line, name)
  local _, from = line:find('"' .. name .. '":"', 1, true)
  local at = from and from + 1
  while at do
    local found = line:find('[\\"]', at)
    if not found then return nil end
    if line:sub(found, found) == '"' then return unescape(line:sub(from + 1, found - 1)) end
    at = found + 2
  end
end

--- The event of a line: nil where it is none of such a log, or (and then true) tells nothing. `who` names those that
--- do not say it.
function logs.event(line, who)
  local stamp = line:match '^{"time":"([^"]*)"'
  local at = stamp and seconds_of(stamp)
  local text = field(line, "message")
  if not at or not text or text:find "^private etcd: " then return nil, at ~= nil end
  return { at = at, who = field(line, "candidate") or who, what = "say", level = field(line, "level") or "info",
    text = text }
end

local function name_of(path)
  return (path:match "[^/]*$":gsub("%.%w+$", ""))
end

--- The events of these files, in the order of their times, and how many lines were none: or nil and what is wrong.
---@param paths string[]
---@return table[]?, integer|string
function logs.read(paths)
  local events, n_others = {}, 0
  for _, path in ipairs(paths) do
    local file, trouble = io.open(path)
    if not file then return nil, trouble end
    local _, refusal = file:read(0) -- of a directory
    if refusal then return nil, ("%s: %s"):format(path, refusal) end
    for line in file:lines() do
      local event, is_known = logs.event(line, name_of(path))
      if event then
        event.number = #events + 1
        events[event.number] = event
      elseif not is_known then
        n_others = n_others + 1
      end
    end
    file:close()
  end
  table.sort(events, function(a, b) return a.at < b.at or a.at == b.at and a.number < b.number end)
  return events, n_others
end

local function reason_in(text)
  for _, reason in ipairs(REASONS) do
    if text:find("%f[%w_]" .. reason .. "%f[^%w_]") then return reason end
  end
end

local function begin_term(event, term)
  event.what, event.token, term.at = "elected", term.token, event.at
  return term
end

local function end_term(event, term)
  event.what, event.reason = "lost", reason_in(event.text)
  -- etcd knows better whether it has ended.
  if not term.ended then return end
  term.lost_at = event.at
  term.how_ended = event.reason and ("on_lost (%s)"):format(event.reason) or (event.text:gsub("\n.*", ""))
end

-- What lunarch says itself, at the level debug; scripts say "lost".
local function says_end(text)
  return text:lower():find "%f[%w]lost%f[%W]" and not text:find "^stands in "
    or text:find "^the work of the term has to end: " or text:find ": now stepping down$"
end

--- Finds in the events of the election what happened to the terms: a line with its token begins one, a later one that
--- says that it is lost ends it. Sets at, lost_at and how_ended of the terms, and the kind of those events.
---@param name string the election
function logs.match(events, terms, name)
  local by_token, open = {}, {}
  for _, term in ipairs(terms) do
    by_token[term.token] = term
  end
  for _, event in ipairs(events) do
    local token = math.tointeger(tonumber(event.text:match "%f[%w]token (%d+)"))
    local term = token and by_token[token]
    local current = open[event.who]
    if term and not term.at and term.who == event.who then
      open[event.who] = begin_term(event, term)
    elseif current and says_end(event.text) then
      end_term(event, current)
      open[event.who] = nil
    elseif event.text:find(("stands in %s as "):format(name), 1, true) == 1 then
      event.what = "joined"
    end
  end
end

return logs
