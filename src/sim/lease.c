/* sim/lease.c - leases: granted, revoked, asked about. Renewals are stream.c's, expiry is cluster.c's. */
#include "sim/world.h"

/* One and a half election timeouts, in whole seconds. */
enum { MIN_TTL_S = 2 };
#define MAX_TTL_S INT64_C(9000000000)

size_t sim_n_leases(const struct sim *sim) {
    size_t n = 0;
    for (size_t i = 0; i < sim->n_leases; i++)
        n += sim->leases[i].gone_at == 0;
    return n;
}

struct sim_lease *sim_find_lease(const struct sim *sim, int64_t id) {
    for (size_t i = sim->n_leases; i-- > 0;)
        if (sim->leases[i].id == id)
            return sim->leases[i].gone_at ? NULL : &sim->leases[i];
    return NULL;
}

struct sim_lease *sim_lease_known(const struct sim_member *member, int64_t id) {
    struct sim *sim = member->sim;
    for (size_t i = sim->n_leases; i-- > 0;)
        if (sim->leases[i].id == id && sim_knows_lease(member, &sim->leases[i]))
            return &sim->leases[i];
    return NULL;
}

bool sim_has_lease(const struct sim *sim, int64_t id) {
    return sim_find_lease(sim, id) != NULL;
}

void sim_end_lease(struct sim *sim, struct sim_lease *lease, enum sim_cause cause) {
    sim->cause = cause;
    bool has_keys = false;
    for (size_t i = 0; i < sim->keys.n;) {
        if (sim->keys.kvs[i].lease != lease->id) {
            i++;
            continue;
        }
        sim_delete_at(sim, i, sim->revision + 1);
        has_keys = true;
    }
    sim->revision += has_keys;
    sim->cause = SIM_BY_REQUEST;
    lease->gone_at = sim->n_entries + 1;
    sim_say(sim, "etcd: lease %llx gone", (unsigned long long)lease->id);
    sim_commit(sim);
}

void sim_revoke(struct sim *sim, int64_t id) {
    struct sim_lease *lease = sim_find_lease(sim, id);
    if (lease)
        sim_end_lease(sim, lease, SIM_BY_OPERATOR);
}

struct sim_answer sim_grant(struct sim *sim, const Etcdserverpb__LeaseGrantRequest *request) {
    if (sim_find_lease(sim, request->id))
        return sim_refusal(RPC_FAILED_PRECONDITION, "etcdserver: lease already exists");
    if (request->ttl > MAX_TTL_S)
        return sim_refusal(RPC_OUT_OF_RANGE, "etcdserver: too large lease TTL");
    int64_t ttl_s = request->ttl < MIN_TTL_S ? MIN_TTL_S : request->ttl;
    int64_t id = request->id;
    while (id == 0)
        id = (int64_t)(sim_random(sim) >> 1);
    sim->leases = sim_grow(sim->leases, sim->n_leases, &sim->leases_room, sizeof *sim->leases);
    sim->leases[sim->n_leases++] = (struct sim_lease){.id = id,
                                                      .ttl_s = ttl_s,
                                                      .expires_ns = sim->now_ns + ttl_s * NS_PER_S,
                                                      .granted_at = sim->n_entries + 1};
    sim_commit(sim);
    sim_say(sim, "etcd: lease %llx granted for %lld s", (unsigned long long)id, (long long)ttl_s);
    Etcdserverpb__LeaseGrantResponse *response = sim_take(sim, sizeof *response);
    etcdserverpb__lease_grant_response__init(response);
    response->header = sim_header(sim);
    response->id = id;
    response->ttl = ttl_s;
    return sim_reply(&response->base);
}

struct sim_answer sim_revoke_asked(struct sim *sim, const Etcdserverpb__LeaseRevokeRequest *request) {
    struct sim_lease *lease = sim_find_lease(sim, request->id);
    if (!lease)
        return sim_refusal(RPC_NOT_FOUND, "etcdserver: requested lease not found");
    sim_end_lease(sim, lease, SIM_BY_REVOKE);
    Etcdserverpb__LeaseRevokeResponse *response = sim_take(sim, sizeof *response);
    etcdserverpb__lease_revoke_response__init(response);
    response->header = sim_header(sim);
    return sim_reply(&response->base);
}

static void list_keys(struct sim *sim, int64_t id, int64_t applied_rev,
                      Etcdserverpb__LeaseTimeToLiveResponse *response) {
    response->keys = sim_take(sim, (sim->keys.n + 1) * sizeof *response->keys);
    for (size_t i = 0; i < sim->keys.n; i++)
        if (sim->keys.kvs[i].lease == id && sim->keys.kvs[i].mod_rev <= applied_rev)
            response->keys[response->n_keys++] = sim_lend(sim_key_of(&sim->keys.kvs[i]));
}

/* Whichever member leads is asked: it may not have applied yet what the others have. */
struct sim_answer sim_time_to_live(struct sim *sim, const Etcdserverpb__LeaseTimeToLiveRequest *request) {
    const struct sim_member *leader = &sim->members[sim->leader];
    const struct sim_lease *lease = sim_lease_known(leader, request->id);
    Etcdserverpb__LeaseTimeToLiveResponse *response = sim_take(sim, sizeof *response);
    etcdserverpb__lease_time_to_live_response__init(response);
    response->header = sim_header(sim);
    response->id = request->id;
    response->ttl = lease ? (lease->expires_ns - sim->now_ns) / NS_PER_S : -1;
    response->grantedttl = lease ? lease->ttl_s : 0;
    if (lease && request->keys)
        list_keys(sim, request->id, sim_applied_rev(leader), response);
    return sim_reply(&response->base);
}
