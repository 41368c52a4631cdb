-- Free TCP ports on 127.0.0.1. Taken at random from below the range that the kernel hands to outgoing connections, so
-- that spec files running side by side do not meet; whoever uses one still has to cope with losing it.
local uv = require "luv"

local ports = {}

local FIRST, COUNT = 15000, 17000
local given = {}

local function is_free(port)
  local socket = uv.new_tcp()
  local ok = socket:bind("127.0.0.1", port) and socket:listen(1, function() end)
  socket:close()
  -- luv crashes in lua_close() over handles whose closing was never carried out.
  if not uv.loop_mode() then uv.run "nowait" end
  return ok
end

---@return integer port
function ports.free()
  for _ = 1, 1000 do
    local high, low = uv.random(2):byte(1, 2)
    local port = FIRST + (high * 256 + low) % COUNT
    if not given[port] and is_free(port) then
      given[port] = true
      return port
    end
  end
  error "no free port between 15000 and 32000"
end

return ports
