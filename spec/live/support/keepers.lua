-- Sessions that must outlive something: each with a client of its own, a lock held, and an eye on every moment of them.
local clock = require "support.clock"
local lunarch = require "lunarch"
local scene = require "live.support.scene"

local keepers = {}

local LOOK_S = 0.005

---@class Keeper
---@field client lunarch.client
---@field session lunarch.session
---@field mutex lunarch.mutex
---@field trace string[]

local function trace_client(endpoints, keeper)
  keeper.trace = {}
  keeper.client = scene.connect(endpoints, function(line) keeper.trace[#keeper.trace + 1] = line end)
end

local n_opened = 0

-- Opens a session on each of `lists` (of endpoints) and locks something under it.
---@param lists string[][]
---@param ttl integer
---@return Keeper[]
function keepers.open(lists, ttl)
  local list = {}
  for i, endpoints in ipairs(lists) do
    local keeper = {}
    trace_client(endpoints, keeper)
    keeper.session = assert(keeper.client:session({ ttl = ttl }, 10))
    n_opened = n_opened + 1
    keeper.mutex = keeper.session:mutex("/keepers/" .. n_opened)
    assert(keeper.mutex:lock(10))
    list[i] = keeper
  end
  return list
end

-- What is wrong with a keeper now, or nil.
local function trouble_of(keeper)
  local state, reason = keeper.session:state()
  if state == "lost" or state == "closed" then return ("is %s (%s)"):format(state, tostring(reason)) end
  if not keeper.mutex:is_held() then return "holds its lock no more" end
  if keeper.session:remaining() <= 0 then return "was told to stop" end
end

-- For `seconds`, every session must be alive and none be told to stop. How many seconds the shortest had left.
---@param list Keeper[]
---@return number shortest
function keepers.hold(list, seconds)
  local started, shortest = clock.now(), math.huge
  repeat
    for i, keeper in ipairs(list) do
      local trouble = trouble_of(keeper)
      if trouble then
        error(("after %.2f s session %d of %d %s; its trace:\n%s"):format(
          clock.now() - started, i, #list, trouble, table.concat(keeper.trace, "\n")), 2)
      end
      shortest = math.min(shortest, keeper.session:remaining())
    end
    lunarch.sleep(LOOK_S)
  until clock.now() - started >= seconds
  return shortest
end

-- How many of them have noticed something of this member.
function keepers.n_affected(list, endpoint)
  local n = 0
  for _, keeper in ipairs(list) do
    for _, line in ipairs(keeper.trace) do
      if line:find(endpoint, 1, true) and (line:find "silent" or line:find "broke" or line:find "not confirmed") then
        n = n + 1
        break
      end
    end
  end
  return n
end

-- The members' endpoints, rotated so that each comes first in turn.
---@return string[][]
function keepers.rotations(cluster, count)
  local lists = {}
  for i = 1, count do
    local list = {}
    for j = 1, #cluster.endpoints do
      list[j] = cluster.endpoints[(i + j - 2) % #cluster.endpoints + 1]
    end
    lists[i] = list
  end
  return lists
end

return keepers
