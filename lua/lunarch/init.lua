-- Lunarch: sessions, mutexes and elections on etcd. What `require "lunarch"` gives; every call is described in
-- library/lunarch.d.lua.
local args = require "lunarch.args"
local clients = require "lunarch.client"
local core = require "lunarch.core"
local loop = require "lunarch.loop"

args.is_ours()

local lunarch = { version = core.version, _VERSION = "lunarch " .. core.version }

lunarch.connect = clients.connect
lunarch.now = core.now

function lunarch.sleep(seconds)
  args.seconds("lunarch.sleep", "seconds", seconds)
  return loop.sleep(seconds)
end

function lunarch.spawn(fn, ...)
  args.callable("lunarch.spawn", "fn", fn)
  return loop.spawn(fn, ...)
end

function lunarch.run(fn, ...)
  args.callable("lunarch.run", "fn", fn)
  return loop.run(fn, ...)
end

-- The last call of a program: waits until the clients that were collected have given up what they held.
function lunarch.shutdown(seconds)
  core.shutdown(args.timeout("lunarch.shutdown", seconds, "seconds"))
  return true
end

-- Drivers of handlers are loaded by the first who wants them.
local LATER = { candidate = true, singleton = true }

return setmetatable(lunarch, {
  __index = function(self, name)
    if not LATER[name] then return nil end
    local found = require("lunarch." .. name)
    rawset(self, name, found)
    return found
  end,
})
