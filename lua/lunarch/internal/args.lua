-- What every public call checks before it does anything: misuse raises, with the file and line of the caller.
local args = {}

local each = require "lunarch.internal.each"
local tame = require "lunarch.internal.tame"

local getinfo = debug.getinfo

local ours, our_names = {}, {}

-- Called at the top of each of our files: an error is never placed in one of them.
function args.is_ours()
  local info = getinfo(2, "S")
  ours[info.source], our_names[info.short_src] = true, true
end

args.is_ours()

-- Raises, placed at the innermost line that is not ours.
function args.misuse(format, ...)
  local level = 2
  while true do
    local info = getinfo(level, "S")
    if not info then
      level = 0
      break
    end
    if info.what ~= "C" and info.what ~= "tail" and not ours[info.source] then break end
    level = level + 1
  end
  error(tame(select("#", ...) > 0 and format:format(...) or format), level)
end

-- The innermost line that is not ours of a coroutine, this one or one that has yielded: "file:line", or nil.
function args.place(thread)
  local level, info = 0, getinfo(thread, 0, "Sl")
  while info and (info.currentline <= 0 or ours[info.source]) do
    level = level + 1
    info = getinfo(thread, level, "Sl")
  end
  return info and ("%s:%d"):format(info.short_src, info.currentline)
end

-- The text, placed there.
function args.placed(thread, text)
  local place = args.place(thread)
  return place and ("%s: %s"):format(place, text) or text
end

local misuse = args.misuse

-- Whether a chunk of this name (as debug.getinfo gives it in `source`) is one of our files.
function args.holds(source)
  return ours[source] == true
end

local function is_our_line(line)
  return our_names[line:match "^\t(.-):%d+: in " or ""]
end

-- A traceback as far as it is the user's.
function args.without_ours(trace)
  local kept, is_error_call, is_ours = {}, false, false
  for line in (trace .. "\n"):gmatch "([^\n]*)\n" do
    is_ours = is_our_line(line) or is_ours and line == "\t(...tail calls...)"
    if is_ours and is_error_call then kept[#kept] = nil end
    if not is_ours then kept[#kept + 1] = line end
    is_error_call = line == "\t[C]: in function 'error'"
  end
  if kept[#kept] == "stack traceback:" then kept[#kept] = nil end
  return table.concat(kept, "\n")
end

-- A value as it stands in an error message.
function args.describe(value)
  local kind = type(value)
  if kind == "string" then
    local short = #value > 40 and value:sub(1, 40) .. "..." or value
    return ("the string %q"):format(short):gsub("\n", "n")
  elseif kind == "number" or kind == "boolean" then
    return tostring(value)
  elseif kind == "nil" then
    return "nothing"
  end
  local meta = getmetatable(value)
  local name = type(meta) == "table" and meta.__name
  return "a " .. (type(name) == "string" and name or kind)
end

-- The text of whatever was raised.
function args.error_text(err)
  local ok, text = pcall(tostring, err)
  if not ok or type(text) ~= "string" then return "an error object whose __tostring fails" end
  local kind = type(err)
  if kind == "string" or kind == "number" then return text end
  local meta = debug.getmetatable(err)
  if type(meta) == "table" and meta.__tostring then return text end
  return ("an error object that is %s, without a message"):format(args.describe(err))
end

function args.bad(call, name, expected, value)
  if value == nil then misuse("%s: '%s' is missing: it must be %s", call, name, expected) end
  misuse("%s: '%s' must be %s, not %s", call, name, expected, args.describe(value))
end

local bad = args.bad

-- Checks are called with the name of the call, the name of the argument, and its value, which they return.

function args.string(call, name, value)
  if type(value) ~= "string" then bad(call, name, "a string", value) end
  return value
end

function args.text(call, name, value)
  if type(value) ~= "string" or value == "" then bad(call, name, "a string that is not empty", value) end
  return value
end

-- A string that C will read up to the first zero byte.
function args.word(call, name, value)
  if type(value) ~= "string" or value == "" or value:find("%z") then
    bad(call, name, "a string that is not empty and holds no zero byte", value)
  end
  return value
end

-- The same, of what nobody must read in a message: a password, a key.
function args.secret(call, name, value)
  if type(value) ~= "string" then misuse("%s: '%s' must be a string, not a %s", call, name, type(value)) end
  if value == "" or value:find("%z") then misuse("%s: '%s' must not be empty or hold a zero byte", call, name) end
  return value
end

-- As long as C takes it.
local LONGEST_NAME = 4096

function args.name(call, name, value)
  if type(value) == "string" and #value <= LONGEST_NAME and value:find "^[^%z]*[^%z/]$" then return value end
  args.word(call, name, value)
  if #value > LONGEST_NAME then bad(call, name, ("a name of at most %d bytes"):format(LONGEST_NAME), value) end
  return bad(call, name, "a name that does not end in '/'", value)
end

-- A name: stands in the log, and in etcd for others to read.
local LONGEST_WHO = 255

function args.who(call, name, value)
  args.word(call, name, value)
  if #value > LONGEST_WHO then bad(call, name, ("a name of at most %d bytes"):format(LONGEST_WHO), value) end
  return value
end

-- Where etcd is, as far as it can be told without looking: opening a client looks closer.
function args.endpoints(call, name, value)
  if type(value) ~= "string" and type(value) ~= "table" then
    bad(call, name, "\"host:port,...\" or a list of \"host:port\"", value)
  end
  return value
end

function args.boolean(call, name, value)
  if type(value) ~= "boolean" then bad(call, name, "true or false", value) end
  return value
end

local classes = setmetatable({}, { __mode = "k" })   -- by their metatables

-- A watch and an observer can be called, but as iterators: what they wait for may never come.
function args.callable(call, name, value)
  if type(value) ~= "function" then
    local meta = getmetatable(value)
    local is_callable = type(meta) == "table" and type(meta.__call) == "function" and not classes[meta]
    if not is_callable then bad(call, name, "a function", value) end
  end
  return value
end

-- Numbers above 2^53 are not exact on every VM.
local EXACT = 9007199254740992

local function is_whole(value)
  return type(value) == "number" and value == math.floor(value) and value > -EXACT and value < EXACT
end

function args.whole(call, name, value)
  if not is_whole(value) or value < 0 then bad(call, name, "a whole number, 0 or more", value) end
  return value
end

-- More than that is for ever.
local LONGEST_S = 1e9

-- 0 or more; not a number compares as neither.
local function is_duration(value)
  return type(value) == "number" and value >= 0
end

function args.seconds(call, name, value)
  if not is_duration(value) then bad(call, name, "a number of seconds, 0 or more", value) end
  return value
end

function args.whole_seconds(call, name, value)
  if not is_whole(value) or value < 1 then bad(call, name, "a whole number of seconds, 1 or more", value) end
  return value
end

-- A day: who may be without a leader for longer needs none.
local LONGEST_TTL_S = 86400

function args.ttl(call, name, value)
  args.whole_seconds(call, name, value)
  if value > LONGEST_TTL_S then bad(call, name, ("at most %d seconds"):format(LONGEST_TTL_S), value) end
  return value
end

function args.lease(call, name, value)
  if type(value) == "string" and value:find "^0+$" then
    misuse("%s: '%s' is %s, which etcd takes for \"no lease\": leave it out, or give the id of a lease", call, name,
      value)
  end
  if type(value) ~= "string" or #value > 16 or not value:find "^%x+$" or value:find "^0+$"
    or (#value == 16 and not value:find "^[0-7]") then
    bad(call, name, "a lease id (a string of up to 16 hexadecimal digits)", value)
  end
  return value
end

-- A timeout, given last: seconds, or nil for no limit. Returns milliseconds, -1 for none.
function args.timeout(call, value, name)
  if value == nil then return -1 end
  if type(value) ~= "number" or value < 0 or value ~= value then
    bad(call, name or "timeout", "a number of seconds, 0 or more, or nil for no limit", value)
  end
  if value > LONGEST_S then return -1 end
  return args.milliseconds(value)
end

-- Rounded up, so that nothing ends early; an integer on 5.4, also for ever.
function args.milliseconds(seconds)
  return (math.ceil(math.min(seconds, LONGEST_S) * 1000))
end

-- Numbers for programs: they have a point, whatever locale a script has chosen (os.setlocale).
---@param format string "%.3f", without a comma
---@param ... number
---@return string
function args.decimal(format, ...)
  return (format:format(...):gsub(",", "."))
end

-- ---- options ----------------------------------------------------------------------------------------------------

-- The number of letters to change, drop, insert or swap to get from one word to the other.
local function distance(a, b)
  local before, last = {}, {}
  for j = 0, #b do
    last[j] = j
  end
  for i = 1, #a do
    local row = { [0] = i }
    for j = 1, #b do
      local cost = a:byte(i) == b:byte(j) and 0 or 1
      row[j] = math.min(last[j] + 1, row[j - 1] + 1, last[j - 1] + cost)
      if i > 1 and j > 1 and a:byte(i) == b:byte(j - 1) and a:byte(i - 1) == b:byte(j) then
        row[j] = math.min(row[j], before[j - 2] + 1)
      end
    end
    before, last = last, row
  end
  return last[#b]
end

-- The name among the keys of `known` that was probably meant by `name`, or nil.
function args.probably(name, known)
  local best, least = nil, math.max(1, math.floor(#name / 3)) + 1
  for candidate in each(known) do
    local d = distance(name:lower(), candidate)
    if d < least or (d == least and best and candidate < best) then
      best, least = candidate, d
    end
  end
  return best
end

-- The keys of a table, sorted.
function args.sorted_names(known)
  local names = {}
  for name in each(known) do
    names[#names + 1] = name
  end
  table.sort(names)
  return names
end

function args.unknown(call, name, known, what)
  local meant = args.probably(name, known)
  misuse("%s: unknown %s '%s' (%s)", call, what or "option", name,
    meant and "did you mean '" .. meant .. "'?" or "known: " .. table.concat(args.sorted_names(known), ", "))
end

local NONE = {}

-- Checks a table of options against { name = check }; nil stands for an empty one.
function args.options(call, options, known)
  if options == nil then return NONE end
  if type(options) ~= "table" then bad(call, "options", "a table", options) end
  for name, value in each(options) do
    if type(name) ~= "string" then
      misuse("%s: 'options' holds %s where the name of an option should stand", call, args.describe(name))
    end
    local check = known[name]
    if not check then args.unknown(call, name, known) end
    check(call, name, value)
  end
  return options
end

-- ---- classes ----------------------------------------------------------------------------------------------------

--- The methods and the computed properties of an object of ours; nil for any other value.
function args.members(value)
  local found = type(value) == "table" and classes[getmetatable(value)]
  if found then return found.methods, found.properties end
  return nil
end

--- All classes: a list of { name = "lunarch.client", methods =, properties = }. The simulated world of the console has
--- those of its own beside ours, by the same names.
function args.classes()
  local found = {}
  for meta, it in each(classes) do
    found[#found + 1] = { name = meta.__name, methods = it.methods, properties = it.properties }
  end
  return found
end

-- A class: methods by name, `properties` computed at each reading. Returns its metatable and the check each method
-- begins with.
function args.class(name, methods, properties)
  local meta = { __name = "lunarch." .. name }
  classes[meta] = { methods = methods, properties = properties or NONE }
  function meta.__index(self, key)
    local method = methods[key]
    if method ~= nil then return method end
    local property = properties and properties[key]
    if property then return property(self) end
    return nil
  end
  local function check(self, method)
    if getmetatable(self) ~= meta then
      misuse("%s:%s: call it with a colon, on a %s (this is %s)", name, method, name, args.describe(self))
    end
  end
  return meta, check
end

return args
