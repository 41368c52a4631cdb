-- Stands between us and an etcd, and changes some of its replies: speaks as much HTTP/2 as it takes to find the gRPC
-- messages in what the server sends.      lua5.4 replies_proxy.lua TARGET_PORT SEED PERCENT
-- Says "port N". Ends with its stdin; a line on it is the new percentage.
local mutate = require "fuzz.mutate"
local randoms = require "fuzz.random"
local uv = require "luv"
require "support.sigpipe"

local HOST, HEAD, GRPC_HEAD, DATA, PADDED = "127.0.0.1", 9, 5, 0, 8
local MOST_FRAME = 16384
local target, seed, percent = tonumber(arg[1]), tonumber(arg[2]), tonumber(arg[3])
local n_connections = 0

local function frame(kind, flags, stream, payload)
  return string.pack(">I3BBI4", #payload, kind, flags, stream) .. payload
end

-- A frame of data that holds one whole message, and that one message only, may be changed.
local function change(random, payload)
  local is_compressed, n = string.unpack(">BI4", payload)
  if is_compressed ~= 0 or #payload ~= GRPC_HEAD + n or not random:chance(percent) then return payload end
  local message = mutate.message(random, payload:sub(GRPC_HEAD + 1))
  if #message + GRPC_HEAD > MOST_FRAME then return payload end
  -- Now and then the length is a lie, too.
  local said = random:chance(3) and #message + random:pick { -1, 1, 1000, 1 << 30 } or #message
  return string.pack(">BI4", 0, math.max(said, 0)) .. message
end

-- Each connection has chances of its own.
local function follow_server(to)
  n_connections = n_connections + 1
  local rest, random = "", randoms.new(seed + 7919 * n_connections)
  return function(data)
    rest = rest .. data
    while #rest >= HEAD do
      local n, kind, flags, stream = string.unpack(">I3BBI4", rest)
      if #rest < HEAD + n then break end
      local payload = rest:sub(HEAD + 1, HEAD + n)
      rest = rest:sub(HEAD + n + 1)
      if kind == DATA and flags & PADDED == 0 and n >= GRPC_HEAD then payload = change(random, payload) end
      to:write(frame(kind, flags, stream, payload))
    end
  end
end

local function pass(from, to, on_data)
  from:nodelay(true)
  from:read_start(function(err, data)
    if err or not data then
      for _, socket in ipairs { from, to } do
        if not socket:is_closing() then socket:close() end
      end
      return
    end
    if not to:is_closing() then on_data(data) end
  end)
end

local listener = uv.new_tcp()
assert(listener:bind(HOST, 0))
assert(listener:listen(128, function()
  local near, far = uv.new_tcp(), uv.new_tcp()
  if not listener:accept(near) then return near:close() end
  far:connect(HOST, target, function(err)
    if err then return near:close() end
    pass(near, far, function(data) far:write(data) end)
    pass(far, near, follow_server(near))
  end)
end))
print("port " .. listener:getsockname().port)
io.stdout:flush()

local stdin = uv.new_pipe()
stdin:open(0)
stdin:read_start(function(_, data)
  if not data then os.exit(0) end
  percent = tonumber(data:match "%d+") or percent
end)
uv.run()
