-- until_() of every world: lets time pass until something is true.
local args = require "lunarch.internal.args"
local seconds = require "lunarch.lab.seconds"

args.is_ours()

local POLL_S, UNTIL_S = 0.01, 60

--- true, or nil, what is wrong and its code. Raises what is wrong with `fn` or `limit`.
---@param fn function
---@param limit number? seconds
---@param now fun(): number
---@param sleep fun(s: number)
---@return true?, string?, string?
return function(fn, limit, now, sleep)
  if type(fn) ~= "function" then args.bad("until_", "fn", "a function", fn) end
  limit = seconds("until_", "limit", limit) or UNTIL_S
  local till = now() + limit
  while now() < till do
    if fn() then return true end
    sleep(POLL_S)
  end
  return nil, ("it has not become true within %g s"):format(limit), "timeout"
end
