/* sim/anew.c - etcd begins anew under living clients: wiped, or restored from a snapshot.
 *
 * What is left is what the snapshot has, or nothing: fewer revisions, older leases, no tokens. Terms begin again, so
 * the new etcd's are lower than the old one's were. */
#include "sim/world.h"

enum { FIRST_TERM = 1 }; /* before the first election */

/* The entries of the log that the snapshot has. */
static size_t n_entries_until(const struct sim *sim, int64_t revision) {
    size_t n = 0;
    while (n < sim->n_entries && sim->entries[n].revision <= revision)
        n++;
    return n;
}

static void restore_keys(struct sim *sim) {
    sim_keys_fini(&sim->keys);
    sim_keys_of_revision(sim, sim->revision, &sim->keys);
    for (size_t i = 0; i < sim->n_changes; i++) {
        struct sim_kv *kv = sim_keys_find(&sim->keys, sim_key_of(&sim->changes[i].kv));
        if (kv && !sim->changes[i].is_delete)
            kv->change = i + 1;
    }
}

static void restore_leases(struct sim *sim) {
    size_t n = 0;
    for (size_t i = 0; i < sim->n_leases; i++) {
        if (sim->leases[i].granted_at > sim->n_entries)
            continue;
        sim->leases[n] = sim->leases[i];
        if (sim->leases[n].gone_at > sim->n_entries)
            sim->leases[n].gone_at = 0;
        n++;
    }
    sim->n_leases = n;
}

static void restore_member(struct sim *sim, struct sim_member *member) {
    sim_stop(sim, member->index);
    sim_off(sim, &member->apply);
    sim_off(sim, &member->learn);
    member->is_cut = false;
    member->stalled_until_ns = 0;
    member->term = FIRST_TERM;
    member->applied = sim->n_entries;
}

void sim_begin_anew(struct sim *sim, const struct sim_beginning *beginning) {
    bool is_restored = beginning->revision > 0 && beginning->revision <= sim->revision;
    sim->n_beginnings++;
    sim->n_entries = is_restored ? n_entries_until(sim, beginning->revision) : 0;
    sim->n_changes = sim->n_entries ? sim->entries[sim->n_entries - 1].n_changes : 0;
    sim->revision = sim->n_entries ? sim->entries[sim->n_entries - 1].revision : 1;
    if (sim->compacted_rev > sim->revision)
        sim->compacted_rev = is_restored ? sim->revision : 0;
    restore_keys(sim);
    restore_leases(sim);
    sim->n_tokens = 0;
    sim->is_full = false;
    sim->has_auth = sim->has_auth && is_restored;
    if (beginning->cluster_id)
        sim->cluster_id = beginning->cluster_id;
    sim->leader = -1;
    sim->term = FIRST_TERM;
    for (int i = 0; i < SIM_MEMBERS; i++)
        restore_member(sim, &sim->members[i]);
    sim_say(sim, "fault: etcd begins anew, %s, revision %lld", is_restored ? "restored" : "empty",
            (long long)sim->revision);
}
