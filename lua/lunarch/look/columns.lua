-- How the looks print for people: which columns their rows have.
local tables = require "lunarch.look.table"
local texts = require "lunarch.look.text"

require "lunarch.internal.args".is_ours()

local columns = {}

local function holder_field(field)
  return function(_, row) return row.holder and row.holder[field] end
end

local function wrongs(rows)
  local lines = {}
  for _, row in ipairs(rows) do
    if row.wrong then
      lines[#lines + 1] = texts.plain(("! %s %s"):format(row.name and row.name .. ":" or row.key, row.wrong))
    end
  end
  return table.concat(lines, "\n")
end

local function lines_of(who, none)
  return {
    { "name", "NAME", is_whole = true },
    { "holder", who, text = holder_field "who" },
    { "holder", "TOKEN", is_right = true, text = holder_field "token" },
    { "waiting", "WAITING", is_right = true },
    none = none, after = wrongs,
  }
end

columns.elections = lines_of("LEADER", "no election is in etcd")
columns.locks = lines_of("HOLDER", "no lock is in etcd")

columns.lines = {
  { "name", "NAME", is_whole = true },
  { "kind", "KIND" },
  { "holder", "HELD BY", text = holder_field "who" },
  { "holder", "TOKEN", is_right = true, text = holder_field "token" },
  { "waiting", "WAITING", is_right = true },
  none = "no election and no lock is in etcd", after = wrongs,
}

local function lease_left(left, row)
  if not row.lease then return "no lease" end
  if not left then return nil end
  return ("%d of %d s"):format(math.max(left, 0), row.ttl)
end

columns.line = {
  { "place", "PLACE", is_right = true },
  { "who", "WHO" },
  { "token", "TOKEN", is_right = true },
  { "since", "SINCE" },
  { "key", "LEASE LEFT", text = function(_, row) return lease_left(row.left, row) end },
  { "key", "KEY", is_whole = true },
  none = "nobody is in this line", after = wrongs,
}

columns.history = {
  { "who", "WHO" },
  { "token", "TOKEN", is_right = true },
  { "at", "AT", is_right = true },
  { "began", "FROM REVISION", is_right = true },
  { "ended", "TO", is_right = true },
  { "how_began", "HOW IT BEGAN", is_whole = true },
  { "how_ended", "HOW IT ENDED", is_whole = true },
  none = "nobody has held this line, as far back as etcd's history goes",
}

local function role_of(_, member)
  if member.error then return "no answer" end
  return member.is_leader and "leader" or member.has_leader and "follower" or "without a leader"
end

local function megabytes(bytes)
  return bytes and ("%.1f MB"):format(bytes / 1e6)
end

local function alarms_of(alarms)
  return alarms and alarms[1] and table.concat(alarms, ", ") or nil
end

local function troubles(members)
  local lines = {}
  for _, member in ipairs(members) do
    if member.error then lines[#lines + 1] = ("! %s: %s"):format(member.endpoint, member.error) end
  end
  return table.concat(lines, "\n")
end

columns.members = {
  { "endpoint", "ENDPOINT" },
  { "endpoint", "ROLE", text = role_of },
  { "version", "ETCD" },
  { "raft_term", "TERM", is_right = true },
  { "revision", "REVISION", is_right = true },
  { "db_size", "SIZE", is_right = true, text = megabytes },
  { "alarms", "ALARMS", text = alarms_of },
  none = "no member is known", after = troubles,
}

--- The rows as a table.
---@param name string one of columns'
---@param rows table[]
function columns.rows(name, rows)
  return tables.rows(columns[name], rows)
end

return columns
