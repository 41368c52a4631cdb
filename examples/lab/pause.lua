-- A leader is paused for longer than its TTL (SIGSTOP, a suspended laptop, a live migration, a host that swaps).
--
-- Nobody can stop a process that does not run: when it runs again another one leads already, and it learns that first.
-- What it sends to etcd as if nothing had happened is refused (term:put, term:txn); give your other stores the token.
local a = candidate("/services/billing", "A", { ttl = 3 })
run(0.5)
local b = candidate("/services/billing", "B", { ttl = 3 })
run(1)

pause(a, 6)
run(5)

expect(function() return b.leads and not a.leads end, "B leads while A is paused, and A is known to lead no more")

run(2)

expect(function() return a.lost_at > b.elected_at end, "A ran on_lost as soon as it ran again")
expect(function() return select(3, a.term:put("/x", "late")) == "not_leader" end, "a late write of A's is refused")
expect(function() return b.token > 0 and b.leads and a.token < b.token end, "B's token is higher than A's")
