/* spec/alike/scene.c - see scene.h. */
#include "scene.h"

int grant_lease(struct party *party, int64_t id, int64_t ttl_s) {
    Etcdserverpb__LeaseGrantRequest request = ETCDSERVERPB__LEASE_GRANT_REQUEST__INIT;
    request.id = id;
    request.ttl = ttl_s;
    return ask(party, RPC_LEASE_GRANT, &request.base);
}

int revoke_lease(struct party *party, int64_t id) {
    Etcdserverpb__LeaseRevokeRequest request = ETCDSERVERPB__LEASE_REVOKE_REQUEST__INIT;
    request.id = id;
    return ask(party, RPC_LEASE_REVOKE, &request.base);
}

int time_to_live(struct party *party, int64_t id, bool wants_keys) {
    Etcdserverpb__LeaseTimeToLiveRequest request = ETCDSERVERPB__LEASE_TIME_TO_LIVE_REQUEST__INIT;
    request.id = id;
    request.keys = wants_keys;
    return ask(party, RPC_LEASE_TIME_TO_LIVE, &request.base);
}

int compact(struct party *party, int64_t revision) {
    Etcdserverpb__CompactionRequest request = ETCDSERVERPB__COMPACTION_REQUEST__INIT;
    request.revision = party->base_rev + revision;
    return ask(party, RPC_COMPACT, &request.base);
}
