-- The proxy itself, a process of its own, driven by proxy.lua: a command a line on stdin, an answer on stdout.
--   lua5.4 proxy_process.lua LISTEN_PORT TARGET_PORT LISTEN_HOST
-- The answer to a command is "ok N ..." or "no <why>", sent when the command is in force, and N more lines.
local uv = require "luv"
local clock = require "support.clock"
require "support.sigpipe"

local HOST = "127.0.0.1"
local listen_port, target_port = math.tointeger(arg[1]), math.tointeger(arg[2])

local state = {
  holds_requests = false,
  holds_replies = false,
  drops_replies = false,
  delay_min_s = 0,
  delay_max_s = 0,
}
local connections = {}
local last_request_ns, last_reply_ns = 0, 0
local n_requests, n_replies = 0, 0
local renewals = {}
local listener
local waiting = {}

-- ---- renewals ---------------------------------------------------------------------------------------------------

-- A LeaseKeepAliveRequest on the wire: an HTTP/2 DATA frame of 15 bytes that does not end its stream, a gRPC header for
-- 10 bytes, field 1 as a varint of 9 bytes: the ids that we choose lie in [2^60, 2^63). Unary calls with the same
-- message (revoke, time to live) end their stream in the same frame.
local VARINT = "(" .. ("[\128-\255]"):rep(8) .. "[\0-\127])"
local RENEWAL = "\0\0\15\0\0....\0\0\0\0\10\8" .. VARINT
local RENEWAL_BYTES = 24

local function lease_of(varint)
  local id = 0
  for i = 1, #varint do
    id = id | (varint:byte(i) & 127) << (7 * (i - 1))
  end
  return ("%016x"):format(id)
end

local function note_renewals(connection, data, at_ns)
  local text = connection.tail .. data
  local from = 1
  while true do
    local first, last, varint = text:find(RENEWAL, from)
    if not first then break end
    renewals[#renewals + 1] = at_ns .. " " .. lease_of(varint)
    from = last + 1
  end
  connection.tail = text:sub(math.max(from, #text - RENEWAL_BYTES + 2))
end

-- ---- one connection ---------------------------------------------------------------------------------------------

local function close(connection)
  if connection.is_closed then return end
  connection.is_closed = true
  connections[connection] = nil
  for _, socket in ipairs { connection.client, connection.server } do
    if not socket:is_closing() then socket:close() end
  end
  if not connection.timer:is_closing() then connection.timer:close() end
end

local function forward_request(connection, data)
  local now = clock.now_ns()
  last_request_ns, n_requests = now, n_requests + 1
  note_renewals(connection, data, now)
  connection.server:write(data)
end

local function forward_reply(connection, data)
  last_reply_ns, n_replies = clock.now_ns(), n_replies + 1
  connection.client:write(data)
end

local flush_replies

local function arm(connection)
  local first = connection.replies[1]
  if not first then return end
  local left_ms = (first.due_ns - clock.now_ns()) // 1000000 + 1
  connection.timer:start(math.max(0, left_ms), 0, function() flush_replies(connection) end)
end

flush_replies = function(connection)
  local replies = connection.replies
  while replies[1] and not state.holds_replies and replies[1].due_ns <= clock.now_ns() do
    local reply = table.remove(replies, 1)
    if reply.is_end then return close(connection) end
    forward_reply(connection, reply.data)
  end
  if not state.holds_replies then arm(connection) end
end

local function on_reply(connection, data)
  if state.drops_replies then
    if not data then return close(connection) end
    connection.has_lost_bytes = true
    return
  end
  local delay_s = state.delay_min_s + math.random() * (state.delay_max_s - state.delay_min_s)
  local due_ns = math.max(connection.last_due_ns, clock.now_ns() + math.floor(delay_s * 1e9))
  connection.last_due_ns = due_ns
  table.insert(connection.replies, { data = data, due_ns = due_ns, is_end = data == nil })
  flush_replies(connection)
end

local function flush_requests(connection)
  while connection.requests[1] and not state.holds_requests do
    local request = table.remove(connection.requests, 1)
    if request.is_end then return close(connection) end
    forward_request(connection, request.data)
  end
end

local function on_request(connection, data)
  table.insert(connection.requests, { data = data, is_end = data == nil })
  flush_requests(connection)
end

local function follow(connection, socket, on_data)
  socket:nodelay(true)
  socket:read_start(function(err, data)
    if connection.is_closed then return end
    if err then data = nil end
    on_data(connection, data)
  end)
end

local function take(client)
  local connection = {
    client = client,
    server = uv.new_tcp(),
    timer = uv.new_timer(),
    requests = {},
    replies = {},
    last_due_ns = 0,
    tail = "",
  }
  connections[connection] = true
  connection.server:connect(HOST, target_port, function(err)
    if connection.is_closed then return end
    if err then return close(connection) end
    follow(connection, client, on_request)
    follow(connection, connection.server, on_reply)
  end)
end

-- ---- the listener -----------------------------------------------------------------------------------------------

local function is_silent() return state.holds_requests and state.holds_replies end

local function listen()
  if listener then return end
  local socket = uv.new_tcp()
  assert(socket:bind(arg[3], listen_port))
  assert(socket:listen(128, function(err)
    if err then return end
    local client = uv.new_tcp()
    if not socket:accept(client) then return client:close() end
    -- While silent, a newcomer is connected as far as the kernel says, and hears nothing.
    if is_silent() then waiting[client] = true else take(client) end
  end))
  listen_port = socket:getsockname().port
  listener = socket
end

local function refuse()
  if listener then listener:close() end
  listener = nil
end

local function take_waiting()
  for client in pairs(waiting) do
    waiting[client] = nil
    take(client)
  end
end

local function each(fn)
  local all = {}
  for connection in pairs(connections) do
    all[#all + 1] = connection
  end
  for _, connection in ipairs(all) do
    fn(connection)
  end
  return #all
end

-- ---- commands ---------------------------------------------------------------------------------------------------

local commands = {}

function commands.hold(which)
  if which ~= "replies" then state.holds_requests = true end
  if which ~= "requests" then state.holds_replies = true end
end

function commands.heal()
  state.holds_requests, state.holds_replies, state.drops_replies = false, false, false
  each(function(connection)
    -- A stream with a hole in it is of no use to anybody.
    if connection.has_lost_bytes then return close(connection) end
    flush_requests(connection)
    if not connection.is_closed then flush_replies(connection) end
  end)
  take_waiting()
end

function commands.delay(min_s, max_s)
  state.delay_min_s, state.delay_max_s = tonumber(min_s), tonumber(max_s)
end

function commands.drop() state.drops_replies = true end

commands.refuse = refuse
commands.accept = listen

function commands.cut()
  for client in pairs(waiting) do
    client:close()
  end
  waiting = {}
  return { tostring(each(function(connection)
    pcall(uv.tcp_close_reset, connection.client)
    close(connection)
  end)) }
end

function commands.port() return { tostring(listen_port) } end

function commands.stats()
  local n = 0
  for _ in pairs(connections) do n = n + 1 end
  return { ("%d %d %d %d %d"):format(last_request_ns, last_reply_ns, n_requests, n_replies, n) }
end

function commands.renewals() return renewals end

local function answer(text)
  io.stdout:write(text, "\n")
  io.stdout:flush()
end

local function obey(line)
  local words = {}
  for word in line:gmatch "%S+" do
    words[#words + 1] = word
  end
  local ok, result = pcall(commands[words[1]] or error, table.unpack(words, 2))
  if not ok then return answer("no " .. tostring(result):gsub("\n", " ")) end
  local lines = result or {}
  answer("ok " .. #lines)
  if #lines > 0 then answer(table.concat(lines, "\n")) end
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

listen()
answer "ok 0"
uv.run()
