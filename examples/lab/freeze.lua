-- The member of etcd that leads the cluster is frozen (a disk that hangs, a paused virtual machine).
--
-- The other two members elect a new leader of etcd after about a second, and renewals go on through them.
-- A leader of yours whose TTL is 10 s or more does not even notice: it keeps its place and its token.
local a = candidate("/services/billing", "A", { ttl = 10 })
run(0.5)
local b = candidate("/services/billing", "B", { ttl = 10 })
run(1)

local member, token = assert(etcd_leader()), a.token
freeze(member, 6)
run(5)

local another = etcd_leader()
expect(another and another ~= member, "another member leads etcd")
expect(another ~= member and a.leads and a.token == token and #a.terms == 1, "A still leads, with the same token")
expect(another ~= member and not b.elected_at, "B was never elected")
