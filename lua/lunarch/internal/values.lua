-- How what C gives prints: key-values, events, members, leaders. They are plain tables otherwise.
local core = require "lunarch.core"
local tame = require "lunarch.internal.tame"

require "lunarch.internal.args".is_ours()

local values = core.values

local function short(value)
  local text = #value > 60 and value:sub(1, 60) .. "..." or value
  return (tame(("%q"):format(text):gsub("\n", "n")))
end

-- In one line.
local function plain(key) return (tame(key):gsub("[\n\t]", "?")) end

function values.kv:__tostring()
  return ("lunarch.kv: %s = %s (revision %d)"):format(plain(self.key), short(self.value), self.mod_revision)
end

function values.event:__tostring()
  local value = self.value and " = " .. short(self.value) or ""
  return ("lunarch.event: %s %s%s (revision %d)"):format(self.type, plain(self.key), value, self.revision)
end

function values.member:__tostring()
  if self.error then return ("lunarch.member: %s: %s"):format(self.endpoint, self.error) end
  local role = self.is_leader and "leader" or self.has_leader and "follower" or "without a leader"
  local alarms = self.alarms[1] and ", alarm " .. table.concat(self.alarms, ", ") or ""
  return ("lunarch.member: %s, etcd %s, %s%s"):format(self.endpoint, self.version, role, alarms)
end

-- Of an observer it may be nobody.
function values.leader:__tostring()
  if not self.key then return "lunarch.leader: nobody" end
  return ("lunarch.leader: %s (token %d%s)"):format(short(self.value), self.token, self.is_me and ", me" or "")
end

return values
