-- A candidate goes on with the handlers and settings of another one, which was made of the script as it is now and
-- never runs. What etcd and the others in the line know of it stays as it was.
local args = require "lunarch.internal.args"
local backoff = require "lunarch.candidate.backoff"
local connection = require "lunarch.internal.connection"
local each = require "lunarch.internal.each"
local fitness = require "lunarch.candidate.fitness"
local follow = require "lunarch.candidate.follow"

args.is_ours()

local reload = {}

local FIXED = { "election", "name", "value", "ttl", "grace", "endpoints" }
for name in each(connection.OPTIONS) do
  FIXED[#FIXED + 1] = name
end

local function text_of(value)
  if type(value) == "table" then return table.concat(value, ",") end
  return value == nil and "the default" or tostring(value)
end

-- Secrets are not shown.
local function change_of(name, before, now)
  local row = connection.OPTIONS[name]
  if row == args.secret then return name end
  return ("%s (%s, was %s)"):format(name, text_of(now), text_of(before))
end

--- What the other one says otherwise, and is fixed while a candidate stands: as words.
---@return string[]
local function fixed_changes(candidate, other)
  local changes = {}
  for _, name in ipairs(FIXED) do
    local before, now = candidate.options[name], other.options[name]
    if text_of(before) ~= text_of(now) then changes[#changes + 1] = change_of(name, before, now) end
  end
  return changes
end

local function take_health(own, other)
  own.interval, own.timeout, own.failures = other.interval, other.timeout, other.failures
end

--- From now on handlers and settings are those of the other one, from their next call on: what runs goes on to its end.
---@return string[] changes that take effect after a restart only
function reload.take(candidate, other)
  local changes = fixed_changes(candidate, other)
  candidate.handlers = other.handlers
  candidate.interval, candidate.stop_timeout = other.interval, other.stop_timeout
  candidate.connect_backoff = backoff.new("connect", other.options.backoff)
  candidate.stand_backoff = backoff.new("stand", other.options.backoff)
  candidate.options.backoff = other.options.backoff
  take_health(candidate.fitness, other.fitness)
  if candidate.driver and not candidate.stopping then
    if not candidate.follower then follow.start(candidate) end
    if not candidate.checker then fitness.start(candidate) end
  end
  return changes
end

return reload
