-- Lunarch: sessions, mutexes and elections on etcd. What `require "lunarch"` gives; every call is described in
-- library/lunarch.d.lua.
local args = require "lunarch.internal.args"
local candidate = require "lunarch.candidate"
local clients = require "lunarch.client"
local core = require "lunarch.core"
local ending = require "lunarch.loop.ending"
local exec = require "lunarch.exec"
local futures = require "lunarch.future"
local loop = require "lunarch.loop"

args.is_ours()

local lunarch = { version = core.version, _VERSION = "lunarch " .. core.version }

lunarch.candidate = candidate
lunarch.connect = clients.connect
lunarch.exec = exec.run
lunarch.event = futures.new_event
lunarch.future = futures.new
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
  return ending.in_order(loop.run, fn, ...)
end

-- The last call of a program: waits until the clients that were collected have given up what they held.
function lunarch.shutdown(seconds)
  core.shutdown(args.timeout("lunarch.shutdown", seconds, "seconds"))
  return true
end

-- It exists inside nginx alone, and says so elsewhere.
return setmetatable(lunarch, {
  __index = function(self, name)
    if name ~= "singleton" then return nil end
    local found = require "lunarch.singleton"
    rawset(self, name, found)
    return found
  end,
})
