/* sim/range.c - reading: what is inside a range, at a revision, filtered, sorted, cut off, as etcd does it. */
#include <string.h>

#include "sim/world.h"

Etcdserverpb__KeyValue *sim_kv_message(struct sim *sim, const struct sim_kv *kv, bool has_value) {
    Etcdserverpb__KeyValue *message = sim_take(sim, sizeof *message);
    etcdserverpb__key_value__init(message);
    message->key = sim_lend(sim_key_of(kv));
    if (has_value)
        message->value = sim_lend((struct lun_bytes){kv->value, kv->value_bytes});
    message->create_revision = kv->create_rev;
    message->mod_revision = kv->mod_rev;
    message->version = kv->version;
    message->lease = kv->lease;
    return message;
}

static int compare_kvs(const Etcdserverpb__RangeRequest *request, const struct sim_kv *a,
                       const struct sim_kv *b) {
    int64_t x = 0, y = 0;
    switch (request->sort_target) {
    case ETCDSERVERPB__RANGE_REQUEST__SORT_TARGET__VERSION:
        x = a->version, y = b->version;
        break;
    case ETCDSERVERPB__RANGE_REQUEST__SORT_TARGET__CREATE:
        x = a->create_rev, y = b->create_rev;
        break;
    case ETCDSERVERPB__RANGE_REQUEST__SORT_TARGET__MOD:
        x = a->mod_rev, y = b->mod_rev;
        break;
    case ETCDSERVERPB__RANGE_REQUEST__SORT_TARGET__VALUE:
        return sim_bytes_order((struct lun_bytes){a->value, a->value_bytes},
                               (struct lun_bytes){b->value, b->value_bytes});
    default:
        return sim_bytes_order(sim_key_of(a), sim_key_of(b));
    }
    return (x > y) - (x < y);
}

static bool is_wanted(const Etcdserverpb__RangeRequest *request, const struct sim_kv *kv) {
    return (request->max_create_revision == 0 || kv->create_rev <= request->max_create_revision) &&
           (request->min_create_revision == 0 || kv->create_rev >= request->min_create_revision) &&
           (request->max_mod_revision == 0 || kv->mod_rev <= request->max_mod_revision) &&
           (request->min_mod_revision == 0 || kv->mod_rev >= request->min_mod_revision);
}

static bool is_filtered(const Etcdserverpb__RangeRequest *request) {
    return request->max_create_revision || request->min_create_revision || request->max_mod_revision ||
           request->min_mod_revision;
}

/* Equal ones stay in the order they had. */
static void sort(const Etcdserverpb__RangeRequest *request, const struct sim_kv **found, size_t n) {
    bool is_descending = request->sort_order == ETCDSERVERPB__RANGE_REQUEST__SORT_ORDER__DESCEND;
    for (size_t i = 1; i < n; i++)
        for (size_t k = i; k > 0; k--) {
            int order = compare_kvs(request, found[k - 1], found[k]);
            if (is_descending ? order >= 0 : order <= 0)
                break;
            const struct sim_kv *swap = found[k];
            found[k] = found[k - 1];
            found[k - 1] = swap;
        }
}

/* Where neither order nor filter is asked for etcd stops reading at the limit, and sorts what it has. */
static bool stops_at_limit(const Etcdserverpb__RangeRequest *request) {
    return request->limit > 0 && request->sort_order == ETCDSERVERPB__RANGE_REQUEST__SORT_ORDER__NONE &&
           !is_filtered(request);
}

static void collect(struct sim *sim, const struct sim_keys *keys, const Etcdserverpb__RangeRequest *request,
                    Etcdserverpb__RangeResponse *response) {
    struct sim_range inside = sim_range_of(sim_bytes(request->key), sim_bytes(request->range_end));
    size_t from, to, n = 0;
    sim_keys_slice(keys, &inside, &from, &to);
    response->count = (int64_t)(to - from); /* before it filters */
    if (!request->count_only && stops_at_limit(request) && to - from > (size_t)request->limit + 1)
        to = from + (size_t)request->limit + 1;
    sim->n_keys_read += to - from;
    if (request->count_only)
        return;
    const struct sim_kv **found = sim_take(sim, (to - from + 1) * sizeof *found);
    for (size_t i = from; i < to; i++)
        if (is_wanted(request, &keys->kvs[i]))
            found[n++] = &keys->kvs[i];
    sort(request, found, n);
    if (request->limit > 0 && n > (size_t)request->limit) {
        n = (size_t)request->limit;
        response->more = 1;
    }
    response->kvs = sim_take(sim, (n + 1) * sizeof *response->kvs);
    response->n_kvs = n;
    for (size_t i = 0; i < n; i++)
        response->kvs[i] = sim_kv_message(sim, found[i], !request->keys_only);
}

const char *sim_refuses_revision(const struct sim *sim, int64_t revision) {
    if (revision > sim->revision)
        return "etcdserver: mvcc: required revision is a future revision";
    if (revision > 0 && revision < sim->compacted_rev)
        return "etcdserver: mvcc: required revision has been compacted";
    return NULL;
}

/* In the middle of a transaction what is there now is newer than the store's revision. */
static bool is_present(const struct sim *sim, int64_t asked_rev, int64_t revision) {
    int64_t newest = sim->n_changes > 0 ? sim->changes[sim->n_changes - 1].kv.mod_rev : 1;
    return asked_rev > 0 ? asked_rev >= newest : revision >= sim->revision;
}

Etcdserverpb__RangeResponse *sim_read(struct sim *sim, const Etcdserverpb__RangeRequest *request,
                                      int64_t revision) {
    Etcdserverpb__RangeResponse *response = sim_take(sim, sizeof *response);
    etcdserverpb__range_response__init(response);
    if (is_present(sim, request->revision, revision)) {
        collect(sim, &sim->keys, request, response);
    } else {
        struct sim_keys past;
        sim_keys_of_revision(sim, request->revision > 0 ? request->revision : revision, &past);
        collect(sim, &past, request, response);
        sim_keys_fini(&past);
    }
    return response;
}
