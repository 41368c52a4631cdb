-- Primary and standby, by a lock: who holds it works, who does not waits.
--
--   lunarch examples/standby.lua --dev                 in two terminals
--
-- The primary does not ask again and again whether it still is one: it sleeps until it is told. To see that, take its
-- lease away as an operator would (the command is printed), or stop the process for longer than the TTL with Ctrl-Z.
local lunarch = require "lunarch"

local client = assert(lunarch.connect())

local function work()
  while true do
    print "working"
    lunarch.sleep(1)
  end
end

while true do
  local session = assert(client:session { ttl = 5 })
  local mutex = session:mutex "/examples/standby"
  print "standby: waiting for the lock"
  if mutex:lock() then
    print("primary: try `etcdctl --endpoints " .. client.endpoints[1] .. " lease revoke " .. session.lease .. "`")
    local worker = lunarch.spawn(work)
    local reason = mutex:await_loss()
    worker:interrupt "no longer primary"
    worker:join()
    print("lost (" .. reason .. "): the work has stopped")
  end
  session:close()
end
