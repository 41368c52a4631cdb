-- Takes and releases so many locks per second, evenly, until it is ended: locker.lua ENDPOINT PER_SECOND
local uv = require "luv"
local lunarch = require "lunarch"

local endpoint, per_second = arg[1], tonumber(arg[2])
local NAMES = 1000

local client = assert(lunarch.connect { endpoints = endpoint })
local session = assert(client:session { ttl = 30 })

local function cycle()
  local mutex = session:mutex("/outside/" .. math.random(NAMES))
  if mutex:lock(5) then mutex:unlock() end
end

print "locking"
io.stdout:flush()
lunarch.run(function()
  local due_s = lunarch.now()
  while true do
    due_s = due_s + 1 / per_second
    local left_s = due_s - lunarch.now()
    if left_s > 0 then lunarch.sleep(left_s) end
    lunarch.spawn(cycle)
    uv.update_time()
  end
end)
