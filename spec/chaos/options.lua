-- The command line of ./dev chaos.
local uv = require "luv"

local options = {}

options.HELP = [[
usage: ./dev chaos [MINUTES] [flags]

Three real members of etcd, five real `lunarch` processes, and for MINUTES (3; fractions too) everything
is killed, stopped, cut off, slowed down and made to hand over. Then all must come back. Ends with 0 when no two
terms or holds overlapped, no acknowledged guarded write was lost and everybody was back in line; with 1 when not.

  --seed N      fixes the schedule of faults (default: drawn, and printed)
  --ttl S       the candidates' TTL, whole seconds, 2 or more (default: 3)
  --out FOLDER  where report.txt, report.json and timeline.svg are written (default: build/chaos)
  --json        the report as JSON on stdout; the progress goes to stderr
  --no-namespaces  leave silent and slow networks to proxies alone (default: every other one is the kernel's
                doing, in network namespaces, where those are allowed)
  --schedule    only print which faults there would be, and when
  -h, --help    this]]

local DEFAULT_MINUTES, MOST_MINUTES, DEFAULT_TTL_S = 3, 24 * 60, 3

local function minutes_of(text)
  local minutes = tonumber(text)
  if not minutes or minutes ~= minutes or minutes <= 0 or minutes > MOST_MINUTES then
    return nil, ("'%s' is no number of minutes between 0 and %d"):format(text, MOST_MINUTES)
  end
  return minutes
end

local function whole(flag, text, least)
  local value = math.tointeger(tonumber(text))
  if not value or value < least then
    return nil, ("%s: '%s' is no whole number, %d or more"):format(flag, text, least)
  end
  return value
end

local VALUES = {
  ["--seed"] = function(text) return whole("--seed", text, 0) end,
  ["--ttl"] = function(text) return whole("--ttl", text, 2) end,
  ["--out"] = function(text)
    if text == "" then return nil, "--out: which folder?" end
    return text
  end,
}

local SWITCHES = {
  ["--json"] = "json", ["--schedule"] = "schedule", ["--no-namespaces"] = "no_namespaces", ["-h"] = "help",
  ["--help"] = "help",
}

local function read_flag(found, words, i)
  local flag, value = words[i]:match "^(%-%-[%a-]+)=(.*)$"
  flag = flag or words[i]
  if SWITCHES[flag] and not value then
    found[SWITCHES[flag]] = true
    return i
  elseif not VALUES[flag] then
    return nil, ("unknown flag %s (./dev chaos --help lists them)"):format(words[i])
  end
  if not value then
    i = i + 1
    value = words[i]
    if not value then return nil, flag .. ": a value is missing" end
  end
  local result, complaint = VALUES[flag](value)
  if not result then return nil, complaint end
  found[flag:sub(3)] = result
  return i
end

-- What the words say, or nil and what is wrong with them.
---@param words string[]
---@return { seconds: number, seed: integer, ttl: integer, out: string?, json: boolean?, schedule: boolean? }?
---@return string? complaint
function options.read(words)
  local found, i = {}, 1
  while words[i] do
    local complaint
    if words[i]:match "^%-%a" or words[i]:match "^%-%-" then
      i, complaint = read_flag(found, words, i)
    elseif found.minutes then
      complaint = ("one number of minutes, not two: '%s'"):format(words[i])
    else
      found.minutes, complaint = minutes_of(words[i])
    end
    if complaint then return nil, complaint end
    i = i + 1
  end
  found.seconds = 60 * (found.minutes or DEFAULT_MINUTES)
  found.ttl = found.ttl or DEFAULT_TTL_S
  found.seed = found.seed or string.unpack("<I3", uv.random(3))
  return found
end

return options
