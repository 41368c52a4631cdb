-- HTTP as specs need it: one request on a connection of its own, or bytes by hand. Blocks; turns libuv's loop
-- meanwhile.
--
--   local status, body = http.get("127.0.0.1:8080", "/leader")      nil, why: no answer
--   local connection = http.open "127.0.0.1:8080"
--   connection:write "GET / HTTP/1.1\r\n"
--   connection.received, connection.is_closed
local uv = require "luv"
local vm = require "support.vm"
local wait = require "support.wait"

local http = {}

local Connection = {}
Connection.__index = Connection

-- Whether it was accepted or not, and whatever comes, is seen later.
function http.open(address)
  local host, port = address:match "^%[?([^%]]*)%]?:(%d+)$"
  local self = setmetatable({ received = "", socket = uv.new_tcp() }, Connection)
  self.socket:connect(host, vm.integer(port), function(err)
    self.is_connected, self.is_closed = not err, err ~= nil
    if err then return end
    self.socket:read_start(function(failure, data)
      if data then self.received = self.received .. data end
      if failure or not data then self.is_closed = true end
    end)
  end)
  return self
end

function Connection:write(text)
  wait.eventually(function() return self.is_connected or self.is_closed end)
  if self.is_connected then pcall(self.socket.write, self.socket, text) end
end

function Connection:close()
  if not self.socket:is_closing() then self.socket:close() end
  uv.run "nowait"
end

-- The whole of one answer: status, body, headers; or nil and what there was instead within `limit` seconds.
function http.ask(address, method, path, limit)
  local connection = http.open(address)
  connection:write(("%s %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n"):format(method, path, address))
  local ok = pcall(wait.eventually, function() return connection.is_closed end, limit)
  local text = connection.received
  connection:close()
  local headers, body = text:match "^(HTTP/1%.1 .-\r\n)\r\n(.*)$"
  if not headers then return nil, ok and "closed" or "no answer" end
  return vm.integer(headers:match "^HTTP/1%.1 (%d+)"), body, headers
end

function http.get(address, path, limit)
  return http.ask(address, "GET", path, limit)
end

return http
