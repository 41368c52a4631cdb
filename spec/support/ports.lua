-- Free TCP ports on 127.0.0.1, from below the range that the kernel hands to outgoing connections. A port given belongs
-- to this spec file until its process ends, whether or not a server listens on it: a UDP socket on the same number is
-- the claim, which every process of this machine respects that takes its ports here. So a server that was ended starts
-- again on its port. Other programs know nothing of claims; users of a port still have to cope with losing it to them.
local uv = require "luv"

local ports = {}

local HOST, FIRST, COUNT = "127.0.0.1", 15000, 17000
-- Claims, held for the life of the process.
local claims = {}

local function close(socket)
  socket:close()
  -- luv crashes in lua_close() over handles whose closing was never carried out.
  if not uv.loop_mode() then uv.run "nowait" end
end

local function is_free(port)
  local socket = uv.new_tcp()
  local ok = socket:bind(HOST, port) and socket:listen(1, function() end)
  close(socket)
  return ok
end

local function claim(port)
  local socket = uv.new_udp()
  if not socket:bind(HOST, port) then
    close(socket)
    return false
  end
  claims[port] = socket
  return true
end

local function give_back(port)
  close(claims[port])
  claims[port] = nil
end

---@return integer port
function ports.free()
  for _ = 1, 1000 do
    local high, low = uv.random(2):byte(1, 2)
    local port = FIRST + (high * 256 + low) % COUNT
    if claim(port) then
      if is_free(port) then return port end
      give_back(port)
    end
  end
  error "no free port between 15000 and 32000"
end

return ports
