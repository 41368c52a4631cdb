-- A leader is killed (SIGKILL, power failure, out of memory).
--
-- A process that is killed runs no on_lost: its place is free when its lease ends, a TTL after its last renewal.
-- So the TTL is how long you can be without a leader, and what the leader left half done is for the next one.
local a = candidate("/services/billing", "A", { ttl = 3 })
run(0.5)
local b = candidate("/services/billing", "B", { ttl = 3 })
run(1)

kill(a)
run(6)

expect(function() return not a.is_up and not a.lost_at end, "A is gone, and its on_lost was never called")
expect(function() return b.leads end, "B leads now")
expect(function() return b.elected_at > a.expiry end, "B was elected only after A's lease had ended")
