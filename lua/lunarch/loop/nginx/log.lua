-- Writes to nginx's error log what reached a limit of nginx itself: once a minute for each limit.
local args = require "lunarch.internal.args"

args.is_ours()

local core = require "lunarch.core"

local log = {}

local AGAIN_S = 60

local said_at = {}

--- Logs an error, unless one of the same `key` was logged in the last minute.
function log.seldom(key, ...)
  local now = core.now()
  if said_at[key] and now - said_at[key] < AGAIN_S then return end
  said_at[key] = now
  ngx.log(ngx.ERR, "lunarch: ", ...)
end

return log
