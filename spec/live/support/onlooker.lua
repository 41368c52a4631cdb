-- An independent watcher, straight at etcd: `etcdctl watch --prefix`, its lines stamped as they come.
local wait = require "support.wait"

local onlooker = {}

local Onlooker = {}
Onlooker.__index = Onlooker

---@param server Etcd
---@param prefix string
function onlooker.start(server, prefix)
  local self = setmetatable({ process = server:etcdctl_start("watch", "--prefix", prefix) }, Onlooker)
  wait.eventually(function()
    server:etcdctl("put", prefix .. "-onlooker", "is it there")
    return self.process:find "onlooker"
  end)
  return self
end

-- When deletions of `key` were seen, in seconds.
---@return number[]
function Onlooker:deletions(key)
  local lines, found = self.process:lines(), {}
  for i = 2, #lines do
    if lines[i].text == key and lines[i - 1].text == "DELETE" then found[#found + 1] = lines[i].t end
  end
  return found
end

function Onlooker:stop() self.process:kill9() end

return onlooker
