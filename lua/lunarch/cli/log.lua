-- The host's log: one line per message on stderr, for people (coloured on a terminal) or for machines (JSON).
--   log.info("elected, token %d", term.token)      also debug, warn, error
-- Where the journal reads it, each line bears its priority as sd-daemon(3) has it, and no time.
local host = require "lunarch.host"
local tame = require "lunarch.internal.tame"

local log = {}

local LEVELS = { debug = "DEBUG", info = "INFO", warn = "WARN", error = "ERROR" }
local RANKS = { debug = 1, info = 2, warn = 3, error = 4 }
local PRIORITIES = { debug = "<7>", info = "<6>", warn = "<4>", error = "<3>" }
local COLOURS = { debug = "2", info = "32", warn = "33", error = "31", time = "2", name = "36" }

local function milliseconds(time)
  return ("%03d"):format(math.floor(time % 1 * 1000))
end

-- A wrong format must not cost a leader its place: what is wrong is said in the line itself.
local function compose(format, ...)
  if select("#", ...) == 0 then return tostring(format) end
  local ok, text = pcall(string.format, format, ...)
  return ok and text or ("%s (%s)"):format(tostring(format), text)
end

local ESCAPES = { ['"'] = '\\"', ["\\"] = "\\\\", ["\n"] = "\\n", ["\r"] = "\\r", ["\t"] = "\\t" }

local function escape(char)
  return ESCAPES[char] or ("\\u%04x"):format(char:byte())
end

-- What is no UTF-8 becomes U+FFFD, byte by byte: a strict reader must not choke on a line.
local function repair(text)
  local parts, from = {}, 1
  while true do
    local len, bad = utf8.len(text, from)
    if len then break end
    parts[#parts + 1] = text:sub(from, bad - 1)
    parts[#parts + 1] = "\u{FFFD}"
    from = bad + 1
  end
  parts[#parts + 1] = text:sub(from)
  return table.concat(parts)
end

-- What commands a terminal is escaped, also where JSON need not: those of U+0080 to U+009F.
local function json_string(text)
  return '"' .. repair(text):gsub('[%c"\\\127]', escape):gsub("\194([\128-\159])", escape) .. '"'
end

log.json_string = json_string

local function json_line(time, level, name, text)
  local stamp = os.date("!%Y-%m-%dT%H:%M:%S.", math.floor(time)) .. milliseconds(time) .. "Z"
  local fields = { '"time":"' .. stamp .. '"', '"level":"' .. level .. '"' }
  if name then fields[#fields + 1] = '"candidate":' .. json_string(name) end
  fields[#fields + 1] = '"message":' .. json_string(text)
  return "{" .. table.concat(fields, ",") .. "}\n"
end

-- A name is the one part of a line that was chosen elsewhere: it must not look like a line of its own.
local function plain(name)
  return (tame(name:gsub("%c", function(char) return char == "\n" and "\\n" or ("\\x%02x"):format(char:byte()) end)))
end

log.plain = plain

-- A line of several, for people: nothing in it commands the terminal. In JSON such bytes are escaped.
local function shown(text, indent)
  return (tame(text):gsub("\n", "\n" .. indent))
end

local function text_line(time, level, name, text)
  local seconds = math.floor(time)
  local stamp = os.date("%Y-%m-%dT%H:%M:%S.", seconds) .. milliseconds(time) .. os.date("%z", seconds)
  local who = name and plain(name) .. ": " or ""
  return ("%s %-5s %s%s\n"):format(stamp, LEVELS[level], who, shown(text, "    "))
end

local function paint(colour, text)
  return "\27[" .. COLOURS[colour] .. "m" .. text .. "\27[0m"
end

local function coloured_line(time, level, name, text)
  local stamp = os.date("%H:%M:%S.", math.floor(time)) .. milliseconds(time)
  local who = name and paint("name", plain(name)) .. " " or ""
  return ("%s %s %s%s\n"):format(
    paint("time", stamp), paint(level, ("%-5s"):format(LEVELS[level])), who, shown(text, "    "))
end

--- Whether what is written to a descriptor may be coloured.
---@param fd integer
---@return boolean
function log.is_coloured(fd)
  local refused = os.getenv "NO_COLOR"
  return host.is_terminal(fd) and (not refused or refused == "") and os.getenv "TERM" ~= "dumb"
end

-- The journal takes each line for an entry of its own.
local function journal_line(_, level, name, text)
  local who = name and plain(name) .. ": " or ""
  local priority = PRIORITIES[level]
  return ("%s%-5s %s%s\n"):format(priority, LEVELS[level], who, shown(text, priority .. "    "))
end

local function journal_json_line(time, level, name, text)
  return PRIORITIES[level] .. json_line(time, level, name, text)
end

local LINES = {
  text = text_line, coloured = coloured_line, json = json_line,
  journal = journal_line, journal_json = journal_json_line,
}
local line_of, is_json, least_rank

---@param format "text"|"json"
function log.set_format(format)
  is_json = format == "json"
  if host.is_journal(2) then
    line_of = is_json and journal_json_line or journal_line
  else
    line_of = is_json and json_line or log.is_coloured(2) and coloured_line or text_line
  end
end

log.set_format "text"

log.LEVELS = { "debug", "info", "warn", "error" }

--- From now on lines below this level are not written.
---@param level "debug"|"info"|"warn"|"error"
function log.set_level(level)
  least_rank = RANKS[level]
end

log.set_level "info"

---@class lunarch.Log
---@field debug fun(format: string, ...)
---@field info fun(format: string, ...)
---@field warn fun(format: string, ...)
---@field error fun(format: string, ...)

--- A log whose lines bear a name; `name_of` is asked at each line and may answer nil.
---@param name_of fun(): string?
---@return lunarch.Log
function log.new(name_of)
  local new = {}
  for level in pairs(LEVELS) do
    new[level] = function(format, ...)
      if RANKS[level] < least_rank then return end
      host.log(line_of(host.time(), level, name_of(), compose(format, ...)))
    end
  end
  return new
end

--- A mistake of the one who has called the program: a line without time, for it is the first and the last; in JSON as
--- any other error. `hint`, what to try, is for people.
---@param text string
---@param hint? string
function log.complain(text, hint)
  if is_json or line_of == journal_line then
    host.log(line_of(host.time(), "error", nil, text))
  else
    host.log(("lunarch: %s\n%s"):format(tame(text), hint and hint .. "\n" or ""))
  end
end

--- A line whose time is still to be filled in, by strftime and with "@@@" for the milliseconds; and whether in UTC.
---@return string line, boolean is_utc
function log.pattern(level, name, text)
  local function literal(part)
    return (part:gsub("%%", "%%%%"))
  end
  if line_of == journal_line then return literal(journal_line(0, level, name, text)), false end
  if is_json then
    local line = literal(line_of(0, level, name, text))
    return (line:gsub('"time":"[^"]*"', '"time":"%%Y-%%m-%%dT%%H:%%M:%%S.@@@Z"', 1)), true
  end
  local rest = literal(line_of(0, level, name, text):gsub("^%S+", "", 1))
  local stamp = line_of == coloured_line and paint("time", "%H:%M:%S.@@@") or "%Y-%m-%dT%H:%M:%S.@@@%z"
  return stamp .. rest, false
end

--- From now on a reader of stdout or stderr that sleeps holds up nothing: what finds no room is dropped, which is said
--- later.
function log.guard_output()
  assert(host.guard_output())
  host.set_notice(log.pattern("warn", nil, "@N@ dropped: @WHY@"))
  local say = require "lunarch.internal.say"
  say.write, say.is_plain = host.log, false
end

--- The line without writing it, for specs.
function log.line(format, ...)
  return LINES[format](...)
end

return log
