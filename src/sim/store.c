/* sim/store.c - what is committed: keys, the changes that made them, and the entries of the log. */
#include <string.h>

#include "sim/world.h"

/* ---- seen from above ------------------------------------------------------------------------------------ */

size_t sim_n_kvs(const struct sim *sim) {
    return sim->keys.n;
}

int64_t sim_revision(const struct sim *sim) {
    return sim->revision;
}

const struct sim_kv *sim_kv_at(const struct sim *sim, size_t i) {
    return &sim->keys.kvs[i];
}

const struct sim_kv *sim_first(const struct sim *sim, const char *prefix) {
    const struct sim_kv *first = NULL;
    for (size_t i = 0; i < sim->keys.n; i++) {
        const struct sim_kv *kv = &sim->keys.kvs[i];
        if (strncmp(kv->key, prefix, strlen(prefix)) == 0 && (!first || kv->create_rev < first->create_rev))
            first = kv;
    }
    return first;
}

/* ---- changing it ---------------------------------------------------------------------------------------- */

const char *sim_keep(struct sim *sim, struct lun_bytes bytes) {
    char *kept = sim_arena_take(&sim->kept, bytes.len + 1);
    return bytes.len > 0 ? memcpy(kept, bytes.data, bytes.len) : kept;
}

/* Returns the number of the change, from 1. */
static size_t note(struct sim *sim, bool is_delete, const struct sim_kv *kv, size_t before) {
    sim->changes = sim_grow(sim->changes, sim->n_changes, &sim->changes_room, sizeof *sim->changes);
    sim->changes[sim->n_changes++] = (struct sim_change){is_delete, *kv, before};
    return sim->n_changes;
}

void sim_commit(struct sim *sim) {
    sim->entries = sim_grow(sim->entries, sim->n_entries, &sim->entries_room, sizeof *sim->entries);
    sim->entries[sim->n_entries++] = (struct sim_entry){sim->revision, sim->n_changes};
    sim_committed(sim);
}

void sim_put(struct sim *sim, const Etcdserverpb__PutRequest *request, int64_t revision) {
    struct lun_bytes key = sim_bytes(request->key), value = sim_bytes(request->value);
    const struct sim_kv *old = sim_keys_find(&sim->keys, key);
    struct sim_kv kv = {.create_rev = revision};
    if (old)
        kv = *old;
    else
        kv.key = sim_keep(sim, key);
    kv.key_bytes = key.len;
    if (!request->ignore_value) {
        kv.value = sim_keep(sim, value);
        kv.value_bytes = value.len;
    }
    if (!request->ignore_lease)
        kv.lease = request->lease;
    if (sim->watcher.on_put)
        sim->watcher.on_put(sim->watcher.arg, kv.key, kv.value);
    kv.mod_rev = revision;
    kv.version++;
    kv.change = note(sim, false, &kv, kv.change);
    sim_keys_put(&sim->keys, &kv);
}

void sim_delete_at(struct sim *sim, size_t i, int64_t revision) {
    struct sim_kv kv = sim->keys.kvs[i];
    sim_say(sim, "etcd: %s/%lld deleted by %s", kv.key, (long long)kv.create_rev,
            (const char *[]){"a request", "a revocation", "expiry", "the operator"}[sim->cause]);
    if (sim->watcher.on_delete)
        sim->watcher.on_delete(sim->watcher.arg, &kv, sim->cause);
    struct sim_kv tombstone = {.key = kv.key, .key_bytes = kv.key_bytes, .value = "", .mod_rev = revision};
    (void)note(sim, true, &tombstone, kv.change);
    sim_keys_remove(&sim->keys, i);
}

int64_t sim_delete_range(struct sim *sim, const struct sim_range *range, int64_t revision) {
    size_t from, to;
    sim_keys_slice(&sim->keys, range, &from, &to);
    for (size_t i = from; i < to; i++)
        sim_delete_at(sim, from, revision);
    return (int64_t)(to - from);
}

/* ---- an earlier revision -------------------------------------------------------------------------------- */

void sim_keys_of_revision(const struct sim *sim, int64_t revision, struct sim_keys *ret_keys) {
    *ret_keys = (struct sim_keys){0};
    for (size_t i = 0; i < sim->n_changes && sim->changes[i].kv.mod_rev <= revision; i++) {
        const struct sim_kv *kv = &sim->changes[i].kv;
        if (!sim->changes[i].is_delete)
            sim_keys_put(ret_keys, kv);
        else
            sim_keys_remove(ret_keys, (size_t)(sim_keys_find(ret_keys, sim_key_of(kv)) - ret_keys->kvs));
    }
}

/* ---- what an operator does ------------------------------------------------------------------------------ */

void sim_delete(struct sim *sim, const char *key) {
    struct sim_range one = sim_range_of(lun_bytes_of(key), (struct lun_bytes){0});
    sim->cause = SIM_BY_OPERATOR;
    if (sim_delete_range(sim, &one, sim->revision + 1) > 0)
        sim->revision++;
    sim->cause = SIM_BY_REQUEST;
    sim_commit(sim);
}

void sim_compact(struct sim *sim) {
    sim->compacted_rev = sim->revision;
    sim_say(sim, "etcd: compacted at %lld", (long long)sim->revision);
}
