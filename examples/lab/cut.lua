-- A leader is cut off from etcd.
--
-- Nobody has to tell it: it counts from its own last renewal, and stops while its lease still lives.
-- Another one is elected only when etcd has let that lease go, so there is a time without a leader, and none with two.
local a = candidate("/services/billing", "A", { ttl = 3 })
run(0.5)
local b = candidate("/services/billing", "B", { ttl = 3 })
run(1)

cut(a)
run(6)

expect(function() return a.lost_at < a.expiry end, "A was told that it lost before its lease ended")
expect(function() return a.lost_at < b.elected_at end, "A had stopped before B was elected")

heal()
run(3)

expect(function() return select(3, a.term:put("/x", "late")) == "not_leader" end, "a late write of A's is refused")
