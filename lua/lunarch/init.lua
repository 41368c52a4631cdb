-- Lunarch: sessions, mutexes and elections on etcd. What `require "lunarch"` gives; every call is described in
-- library/lunarch.d.lua.
local args = require "lunarch.args"
local clients = require "lunarch.client"
local core = require "lunarch.core"
local tasks = require "lunarch.loop".tasks

args.is_ours()

local lunarch = { version = core.version, _VERSION = "lunarch " .. core.version }

lunarch.connect = clients.connect
lunarch.now = core.now

function lunarch.sleep(seconds)
  args.seconds("lunarch.sleep", "seconds", seconds)
  return tasks.sleep(seconds)
end

function lunarch.spawn(fn, ...)
  args.callable("lunarch.spawn", "fn", fn)
  return tasks.spawn(fn, ...)
end

function lunarch.run(fn, ...)
  args.callable("lunarch.run", "fn", fn)
  return tasks.run(fn, ...)
end

-- The last call of a program: waits until the clients that were collected have given up what they held.
function lunarch.shutdown(seconds)
  core.shutdown(args.timeout("lunarch.shutdown", seconds, "seconds"))
  return true
end

-- The driver of handlers is loaded by the first who wants it.
return setmetatable(lunarch, {
  __index = function(self, name)
    if name ~= "candidate" then return nil end
    local candidate = require "lunarch.candidate"
    rawset(self, name, candidate)
    return candidate
  end,
})
