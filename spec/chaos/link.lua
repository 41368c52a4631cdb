-- The way between one candidate and one member: a proxy that several faults at once may misuse. It heals with the
-- last of them.
local proxies = require "support.proxy"

local link = {}

---@class Link
---@field endpoint string
local Link = {}
Link.__index = Link

-- The most that a slow link delays anything, in seconds.
link.SLOW_S = 1.2

-- What imposes a weather, what lifts it, and which weathers are lifted by the same act.
local WEATHERS = {
  silent = { group = "holds", begin = function(proxy) proxy:go_silent() end, stop = function(proxy) proxy:heal() end },
  deaf = { group = "holds", begin = function(proxy) proxy:hold_replies() end, stop = function(proxy) proxy:heal() end },
  slow = {
    group = "delays",
    begin = function(proxy) proxy:delay_replies(0, link.SLOW_S) end,
    stop = function(proxy) proxy:delay_replies(0) end,
  },
  reset = {
    group = "refusals",
    begin = function(proxy)
      proxy:refuse()
      proxy:cut()
    end,
    stop = function(proxy) proxy:accept() end,
  },
}

---@param weather "silent"|"deaf"|"slow"|"reset"
function Link:impose(weather)
  local group = WEATHERS[weather].group
  self.n[group] = (self.n[group] or 0) + 1
  WEATHERS[weather].begin(self.proxy)
end

-- Undoes one impose().
function Link:lift(weather)
  local group = WEATHERS[weather].group
  self.n[group] = self.n[group] - 1
  if self.n[group] == 0 then WEATHERS[weather].stop(self.proxy) end
end

-- When renewals of a lease were let through.
---@return { t: number, lease: string }[]
function Link:renewals(lease) return self.proxy:renewals(lease) end

function Link:stop() self.proxy:stop() end

---@param member Etcd
---@param host? string the address that the candidate connects to
---@return Link
function link.start(member, host)
  local proxy = proxies.start(member.client_port, host)
  return setmetatable({ proxy = proxy, endpoint = proxy.endpoint, n = {} }, Link)
end

return link
