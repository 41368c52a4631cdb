/* sim/still.c - an etcd that stands still: its store alone, for tests that carry every message themselves. Requests are
 * carried out at once by the leader; nothing else happens but what the caller asks for. */
#include <string.h>

#include "sim/world.h"

static struct sim_member *leader(struct sim *sim) {
    struct sim_member *member = &sim->members[sim->leader];
    member->applied = sim->n_entries;
    return member;
}

void sim_still_set(struct sim *sim, int64_t now_ns) {
    sim->now_ns = now_ns;
    for (size_t i = 0; i < sim->n_leases; i++)
        if (!sim->leases[i].gone_at && sim->leases[i].expires_ns <= now_ns)
            sim_end_lease(sim, &sim->leases[i], SIM_BY_EXPIRY);
}

ProtobufCMessage *sim_still_ask(struct sim *sim, enum rpc_method method, const ProtobufCMessage *request,
                                int *ret_status, const char **ret_message) {
    struct sim_answer answer = sim_carry_out(leader(sim), NULL, method, request);
    *ret_status = answer.status;
    *ret_message = answer.message;
    ProtobufCMessage *reply = answer.status ? NULL : sim_copy(answer.reply);
    sim_drop_garbage(sim);
    return reply;
}

void sim_still_begin_anew(struct sim *sim, const struct sim_beginning *beginning) {
    sim_begin_anew(sim, beginning);
    sim->leader = 0;
}

int64_t sim_still_renew(struct sim *sim, int64_t id) {
    struct sim_lease *lease = sim_find_lease(sim, id);
    if (!lease)
        return 0;
    lease->expires_ns = sim->now_ns + lease->ttl_s * NS_PER_S;
    return lease->ttl_s;
}

bool sim_still_event(const struct sim *sim, const char *key, const char *range_end, int64_t from_rev,
                     bool are_puts_wanted, struct sim_kv *ret_kv) {
    struct sim_range range = sim_range_of(lun_bytes_of(key), lun_bytes_of(range_end));
    for (size_t i = 0; i < sim->n_changes; i++) {
        const struct sim_change *change = &sim->changes[i];
        if (change->kv.mod_rev < from_rev || !sim_range_has(&range, sim_key_of(&change->kv)) ||
            !(change->is_delete || are_puts_wanted))
            continue;
        *ret_kv = change->kv;
        return true;
    }
    return false;
}
