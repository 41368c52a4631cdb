-- Stands many times in one line of locks, each time with a session of its own, and says when it has the lock:
--   lunarch run queuer.lua -- ENDPOINT NAME TTL COUNT
--
--   got <seconds> <token> <lease>        gave <seconds> <token> <lease>
local lunarch = require "lunarch"

local HELD_S = 0.01

io.stdout:setvbuf "line"
local client = assert(lunarch.connect { endpoints = arg[1] })

local function say(what, mutex, token)
  print(("%s %.6f %d %s"):format(what, lunarch.now(), token, mutex.session.lease))
end

local function queue_up()
  local mutex = assert(client:session { ttl = tonumber(arg[3]) }):mutex(arg[2])
  local _, token = assert(mutex:lock())
  say("got", mutex, token)
  lunarch.sleep(HELD_S)
  say("gave", mutex, token)
  assert(mutex:unlock())
end

for _ = 1, tonumber(arg[4]) do
  lunarch.spawn(queue_up)
end
