-- A candidate that kills itself (-9) a given time after it began to connect, wherever its campaign is then:
--   lunarch run campaigner.lua -- ENDPOINT ELECTION TTL SECONDS
local lunarch = require "lunarch"
local uv = require "luv"

local at = lunarch.now() + tonumber(arg[4])

lunarch.spawn(function()
  local client = assert(lunarch.connect { endpoints = arg[1] })
  local session = assert(client:session { ttl = tonumber(arg[3]) })
  session:election(arg[2]):campaign "victim"
end)

while lunarch.now() < at do
  lunarch.sleep(0)
end
uv.kill(uv.os_getpid(), "sigkill")
