-- The times of a session, as the core has them (recipe/session.h): its TTL, what is kept of it for stopping (grace),
-- and for clocks that differ (margin).
local args = require "lunarch.internal.args"

args.is_ours()

local times = { DEFAULT_TTL_S = 10 }

--- The TTL that is asked for, in seconds.
function times.ttl(options)
  return options.ttl or times.DEFAULT_TTL_S
end

--- Raises where the grace of these options does not fit their ttl.
function times.check(call, options)
  local ttl = times.ttl(options)
  if options.grace and options.grace > ttl / 2 then
    args.misuse("%s: 'grace' must be at most half the ttl of %d s, not %g", call, ttl, options.grace)
  end
end

--- The grace of a session of `ttl` seconds, unless options.grace says it.
function times.grace(options, ttl)
  return options.grace or ttl / 6
end

--- From valid_until to the earliest instant at which etcd may hand the place on.
function times.margin(ttl)
  return math.max(0.1, ttl / 10)
end

return times
