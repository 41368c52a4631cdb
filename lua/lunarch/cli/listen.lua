-- --listen: the HTTP server beside a script (src/host/http.c).
local args = require "lunarch.internal.args"
local host = require "lunarch.host"

args.is_ours()

local listen = {}

-- The server, from when it was started.
local http

--- Begins to answer at this address. Its own words for it, "127.0.0.1:8080"; or nil and what is wrong.
---@param address string
---@return string?, string? trouble
function listen.start(address)
  if not package.searchpath("lunarch.http", package.cpath) then
    return nil, "--listen: this lunarch was built without libmicrohttpd"
  end
  local server = require "lunarch.http"
  local bound, trouble = server.listen(address, host.facts)
  if not bound then return nil, "--listen: " .. trouble end
  http = server
  return bound
end

--- Ends it, if it was started.
function listen.stop()
  if http then http.stop() end
  http = nil
end

return listen
