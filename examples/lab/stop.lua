-- A leader is stopped in order (SIGTERM, Ctrl-C).
--
-- Its work ends, on_lost runs, and only then its place is given up: so the next leader is elected at once.
-- This is what a deployment looks like: restarting a service costs milliseconds without a leader.
local a = candidate("/services/billing", "A", { ttl = 3 })
run(0.5)
local b = candidate("/services/billing", "B", { ttl = 3 })
run(1)

stop(a)
run(2)

expect(function() return a.reason == "stopping" end, "A's on_lost was called, because A was told to stop")
expect(function() return a.lost_at < b.elected_at end, "A's on_lost came before B was elected")
expect(function() return b.elected_at < a.expiry end, "B did not have to wait for A's lease to end")
