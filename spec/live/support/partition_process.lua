-- The way between etcd's members, which can be cut for one of them; driven by partition.lua, a command a line on stdin,
-- an answer on stdout: "ok [...]" or "no <why>".
--   add PORT            listens for the member whose peer port this is; answers with the port to advertise
--   name INDEX ID       the member's id in hex, once it has one
--   isolate INDEX       nothing passes to or from it, connections stay open
--   join                those connections are closed, new ones pass
--
-- A connection says who opened it: members put their id into the head of each request, as X-Server-From.
local uv = require "luv"
require "support.sigpipe"

local HOST = "127.0.0.1"
local members, connections = {}, {}
local isolated

local function close(connection)
  connections[connection] = nil
  for _, socket in ipairs { connection.near, connection.far } do
    if not socket:is_closing() then socket:close() end
  end
end

local function is_blocked(connection)
  return isolated and (connection.to == isolated or connection.from == isolated.id)
end

local function forward(connection, socket, data)
  -- What a cut swallowed is never delivered: the connection is closed when the cut ends.
  if is_blocked(connection) then connection.is_broken = true else socket:write(data) end
end

local function follow(connection, source, target)
  source:nodelay(true)
  source:read_start(function(err, data)
    if err or not data then return close(connection) end
    if source == connection.near and not connection.from then
      connection.from = data:match "[Xx]%-[Ss]erver%-[Ff]rom: (%x+)"
    end
    forward(connection, target, data)
  end)
end

local function take(member, near)
  local connection = { to = member, near = near, far = uv.new_tcp() }
  connections[connection] = true
  connection.far:connect(HOST, member.port, function(err)
    if err then return close(connection) end
    if not connections[connection] then return end
    follow(connection, near, connection.far)
    follow(connection, connection.far, near)
  end)
end

local commands = {}

function commands.add(port)
  local member = { port = tonumber(port), listener = uv.new_tcp() }
  assert(member.listener:bind(HOST, 0))
  assert(member.listener:listen(64, function()
    local near = uv.new_tcp()
    if member.listener:accept(near) then take(member, near) end
  end))
  members[#members + 1] = member
  return member.listener:getsockname().port
end

function commands.name(index, id) members[tonumber(index)].id = id end

function commands.isolate(index) isolated = members[tonumber(index)] end

function commands.join()
  local broken = {}
  for connection in pairs(connections) do
    if is_blocked(connection) or connection.is_broken then broken[#broken + 1] = connection end
  end
  isolated = nil
  for _, connection in ipairs(broken) do
    close(connection)
  end
end

local function obey(line)
  local words = {}
  for word in line:gmatch "%S+" do
    words[#words + 1] = word
  end
  local ok, result = pcall(commands[words[1]] or error, table.unpack(words, 2))
  io.stdout:write(ok and "ok " or "no ", tostring(result or ""), "\n")
  io.stdout:flush()
end

local stdin = uv.new_pipe()
stdin:open(0)
local rest = ""
stdin:read_start(function(_, data)
  if not data then os.exit(0) end
  rest = rest .. data
  for line in rest:gmatch "([^\n]*)\n" do
    obey(line)
  end
  rest = rest:match "[^\n]*$"
end)
uv.run()
