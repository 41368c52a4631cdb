/* sim/store.c - what is committed: keys, leases, and the entries of the log that made them. */
#include <stdio.h>
#include <string.h>

#include "sim/world.h"

bool sim_is_inside(const char *key, const char *from, const char *range_end) {
    return range_end[0] ? strcmp(key, from) >= 0 && strcmp(key, range_end) < 0 : strcmp(key, from) == 0;
}

size_t sim_n_kvs(const struct sim *sim) {
    return sim->n_kvs;
}

const struct sim_kv *sim_kv_at(const struct sim *sim, size_t i) {
    return &sim->kvs[i];
}

const struct sim_kv *sim_first(const struct sim *sim, const char *prefix) {
    const struct sim_kv *first = NULL;
    for (size_t i = 0; i < sim->n_kvs; i++)
        if (strncmp(sim->kvs[i].key, prefix, strlen(prefix)) == 0 &&
            (!first || sim->kvs[i].create_rev < first->create_rev))
            first = &sim->kvs[i];
    return first;
}

size_t sim_n_leases(const struct sim *sim) {
    size_t n = 0;
    for (size_t i = 0; i < sim->n_leases; i++)
        n += sim->leases[i].gone_at == 0;
    return n;
}

bool sim_has_lease(const struct sim *sim, int64_t id) {
    for (size_t i = sim->n_leases; i-- > 0;)
        if (sim->leases[i].id == id)
            return sim->leases[i].gone_at == 0;
    return false;
}

static struct sim_kv *find(struct sim *sim, const char *key) {
    for (size_t i = 0; i < sim->n_kvs; i++)
        if (strcmp(sim->kvs[i].key, key) == 0)
            return &sim->kvs[i];
    return NULL;
}

struct sim_lease *sim_find_lease(struct sim *sim, int64_t id) {
    for (size_t i = sim->n_leases; i-- > 0;)
        if (sim->leases[i].id == id)
            return sim->leases[i].gone_at ? NULL : &sim->leases[i];
    return NULL;
}

/* ---- changing it ---------------------------------------------------------------------------------------- */

static void note(struct sim *sim, bool is_delete, const struct sim_kv *kv) {
    sim->changes = sim_grow(sim->changes, sim->n_changes, &sim->changes_room, sizeof *sim->changes);
    sim->changes[sim->n_changes++] = (struct sim_change){is_delete, *kv};
}

static void commit(struct sim *sim) {
    sim->entries = sim_grow(sim->entries, sim->n_entries, &sim->entries_room, sizeof *sim->entries);
    sim->entries[sim->n_entries++] = (struct sim_entry){sim->revision, sim->n_changes};
    sim_committed(sim);
}

static void put(struct sim *sim, const Etcdserverpb__PutRequest *request, int64_t revision) {
    char key[SIM_KEY_BYTES], value[SIM_KEY_BYTES];
    sim_text(key, request->key);
    sim_text(value, request->value);
    if (sim->watcher.on_put)
        sim->watcher.on_put(sim->watcher.arg, key, value);
    struct sim_kv *kv = find(sim, key);
    if (!kv) {
        sim->kvs = sim_grow(sim->kvs, sim->n_kvs, &sim->kvs_room, sizeof *sim->kvs);
        kv = &sim->kvs[sim->n_kvs++];
        memset(kv, 0, sizeof *kv);
        (void)strcpy(kv->key, key);
        kv->create_rev = revision;
    }
    (void)strcpy(kv->value, value);
    kv->mod_rev = revision;
    kv->version++;
    kv->lease = request->lease;
    note(sim, false, kv);
}

static void delete_at(struct sim *sim, size_t i, int64_t revision) {
    struct sim_kv kv = sim->kvs[i];
    sim_say(sim, "etcd: %s/%lld deleted by %s", kv.key, (long long)kv.create_rev,
            (const char *[]){"a request", "a revocation", "expiry", "the operator"}[sim->cause]);
    if (sim->watcher.on_delete)
        sim->watcher.on_delete(sim->watcher.arg, &kv, sim->cause);
    kv.mod_rev = revision;
    note(sim, true, &kv);
    sim->kvs[i] = sim->kvs[--sim->n_kvs];
}

static int64_t delete_range(struct sim *sim, const char *key, const char *range_end, int64_t revision) {
    int64_t n = 0;
    for (size_t i = 0; i < sim->n_kvs;) {
        if (!sim_is_inside(sim->kvs[i].key, key, range_end)) {
            i++;
            continue;
        }
        delete_at(sim, i, revision);
        n++;
    }
    return n;
}

void sim_end_lease(struct sim *sim, struct sim_lease *lease, enum sim_cause cause) {
    sim->cause = cause;
    bool has_keys = false;
    for (size_t i = 0; i < sim->n_kvs;) {
        if (sim->kvs[i].lease != lease->id) {
            i++;
            continue;
        }
        delete_at(sim, i, sim->revision + 1);
        has_keys = true;
    }
    sim->revision += has_keys;
    sim->cause = SIM_BY_REQUEST;
    lease->gone_at = sim->n_entries + 1;
    sim_say(sim, "etcd: lease %llx gone", (unsigned long long)lease->id);
    commit(sim);
}

void sim_delete(struct sim *sim, const char *key) {
    sim->cause = SIM_BY_OPERATOR;
    if (delete_range(sim, key, "", sim->revision + 1) > 0)
        sim->revision++;
    sim->cause = SIM_BY_REQUEST;
    commit(sim);
}

void sim_revoke(struct sim *sim, int64_t id) {
    struct sim_lease *lease = sim_find_lease(sim, id);
    if (lease)
        sim_end_lease(sim, lease, SIM_BY_OPERATOR);
}

void sim_compact(struct sim *sim) {
    sim->compacted_rev = sim->revision;
    sim_say(sim, "etcd: compacted at %lld", (long long)sim->revision);
}

/* ---- messages ------------------------------------------------------------------------------------------- */

Etcdserverpb__ResponseHeader *sim_header(struct sim *sim) {
    Etcdserverpb__ResponseHeader *header = sim_take(sim, sizeof *header);
    etcdserverpb__response_header__init(header);
    header->cluster_id = 77;
    header->member_id = 1;
    header->revision = sim->revision;
    header->raft_term = sim->term;
    return header;
}

static ProtobufCBinaryData binary(struct sim *sim, const char *text) {
    size_t n = strlen(text);
    uint8_t *data = sim_take(sim, n);
    memcpy(data, text, n);
    return (ProtobufCBinaryData){n, data};
}

Etcdserverpb__KeyValue *sim_kv_message(struct sim *sim, const struct sim_kv *kv, bool has_value) {
    Etcdserverpb__KeyValue *message = sim_take(sim, sizeof *message);
    etcdserverpb__key_value__init(message);
    message->key = binary(sim, kv->key);
    if (has_value)
        message->value = binary(sim, kv->value);
    message->create_revision = kv->create_rev;
    message->mod_revision = kv->mod_rev;
    message->version = kv->version;
    message->lease = kv->lease;
    return message;
}

/* ---- reading -------------------------------------------------------------------------------------------- */

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
        return strcmp(a->value, b->value);
    default:
        return strcmp(a->key, b->key);
    }
    return (x > y) - (x < y);
}

static bool is_wanted(const Etcdserverpb__RangeRequest *request, const struct sim_kv *kv) {
    return (request->max_create_revision == 0 || kv->create_rev <= request->max_create_revision) &&
           (request->min_create_revision == 0 || kv->create_rev >= request->min_create_revision) &&
           (request->max_mod_revision == 0 || kv->mod_rev <= request->max_mod_revision) &&
           (request->min_mod_revision == 0 || kv->mod_rev >= request->min_mod_revision);
}

static Etcdserverpb__RangeResponse *range(struct sim *sim, const Etcdserverpb__RangeRequest *request) {
    char from[SIM_KEY_BYTES], range_end[SIM_KEY_BYTES];
    sim_text(from, request->key);
    sim_text(range_end, request->range_end);
    const struct sim_kv **found = sim_take(sim, (sim->n_kvs + 1) * sizeof *found);
    size_t n = 0, n_inside = 0;
    for (size_t i = 0; i < sim->n_kvs; i++) {
        if (!sim_is_inside(sim->kvs[i].key, from, range_end))
            continue;
        n_inside++;
        if (is_wanted(request, &sim->kvs[i]))
            found[n++] = &sim->kvs[i];
    }
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
    Etcdserverpb__RangeResponse *response = sim_take(sim, sizeof *response);
    etcdserverpb__range_response__init(response);
    response->header = sim_header(sim);
    response->count = (int64_t)n_inside; /* etcd counts before it filters */
    if (request->limit > 0 && n > (size_t)request->limit) {
        n = (size_t)request->limit;
        response->more = 1;
    }
    if (request->count_only)
        return response;
    response->kvs = sim_take(sim, (n + 1) * sizeof *response->kvs);
    response->n_kvs = n;
    for (size_t i = 0; i < n; i++)
        response->kvs[i] = sim_kv_message(sim, found[i], !request->keys_only);
    return response;
}

/* ---- transactions --------------------------------------------------------------------------------------- */

static bool holds_for(const Etcdserverpb__Compare *compare, const struct sim_kv *kv) {
    int64_t a = 0, b = 0;
    switch (compare->target_union_case) {
    case ETCDSERVERPB__COMPARE__TARGET_UNION_VERSION:
        a = kv->version, b = compare->version;
        break;
    case ETCDSERVERPB__COMPARE__TARGET_UNION_CREATE_REVISION:
        a = kv->create_rev, b = compare->create_revision;
        break;
    case ETCDSERVERPB__COMPARE__TARGET_UNION_MOD_REVISION:
        a = kv->mod_rev, b = compare->mod_revision;
        break;
    case ETCDSERVERPB__COMPARE__TARGET_UNION_LEASE:
        a = kv->lease, b = compare->lease;
        break;
    case ETCDSERVERPB__COMPARE__TARGET_UNION_VALUE: {
        char value[SIM_KEY_BYTES];
        sim_text(value, compare->value);
        a = strcmp(kv->value, value);
        break;
    }
    default:
        sim_die("a compare without a value");
    }
    switch (compare->result) {
    case ETCDSERVERPB__COMPARE__COMPARE_RESULT__GREATER:
        return a > b;
    case ETCDSERVERPB__COMPARE__COMPARE_RESULT__LESS:
        return a < b;
    case ETCDSERVERPB__COMPARE__COMPARE_RESULT__NOT_EQUAL:
        return a != b;
    default:
        return a == b;
    }
}

static bool holds(struct sim *sim, const Etcdserverpb__Compare *compare) {
    static const struct sim_kv none;
    char key[SIM_KEY_BYTES], range_end[SIM_KEY_BYTES];
    sim_text(key, compare->key);
    sim_text(range_end, compare->range_end);
    bool is_any = false;
    for (size_t i = 0; i < sim->n_kvs; i++) {
        if (!sim_is_inside(sim->kvs[i].key, key, range_end))
            continue;
        is_any = true;
        if (!holds_for(compare, &sim->kvs[i]))
            return false;
    }
    if (is_any)
        return true;
    return compare->target_union_case != ETCDSERVERPB__COMPARE__TARGET_UNION_VALUE &&
           holds_for(compare, &none);
}

static Etcdserverpb__ResponseOp *carry_out_op(struct sim *sim, const Etcdserverpb__RequestOp *op,
                                              int64_t revision, bool *is_changed) {
    Etcdserverpb__ResponseOp *response = sim_take(sim, sizeof *response);
    etcdserverpb__response_op__init(response);
    switch (op->request_case) {
    case ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_RANGE:
        response->response_case = ETCDSERVERPB__RESPONSE_OP__RESPONSE_RESPONSE_RANGE;
        response->response_range = range(sim, op->request_range);
        break;
    case ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_PUT:
        put(sim, op->request_put, revision);
        *is_changed = true;
        response->response_case = ETCDSERVERPB__RESPONSE_OP__RESPONSE_RESPONSE_PUT;
        response->response_put = sim_take(sim, sizeof *response->response_put);
        etcdserverpb__put_response__init(response->response_put);
        response->response_put->header = sim_header(sim);
        break;
    case ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_DELETE_RANGE: {
        char key[SIM_KEY_BYTES], range_end[SIM_KEY_BYTES];
        sim_text(key, op->request_delete_range->key);
        sim_text(range_end, op->request_delete_range->range_end);
        response->response_case = ETCDSERVERPB__RESPONSE_OP__RESPONSE_RESPONSE_DELETE_RANGE;
        response->response_delete_range = sim_take(sim, sizeof *response->response_delete_range);
        etcdserverpb__delete_range_response__init(response->response_delete_range);
        response->response_delete_range->header = sim_header(sim);
        response->response_delete_range->deleted = delete_range(sim, key, range_end, revision);
        *is_changed = *is_changed || response->response_delete_range->deleted > 0;
        break;
    }
    default:
        sim_die("an operation without a case");
    }
    return response;
}

static bool has_lost_lease(struct sim *sim, const Etcdserverpb__RequestOp *op) {
    return op->request_case == ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_PUT && op->request_put->lease != 0 &&
           !sim_find_lease(sim, op->request_put->lease);
}

static struct sim_answer refuse(int status, const char *message) {
    return (struct sim_answer){status, message, NULL};
}

static struct sim_answer answer(const ProtobufCMessage *reply) {
    return (struct sim_answer){RPC_OK, "", reply};
}

static struct sim_answer txn(struct sim *sim, const Etcdserverpb__TxnRequest *request) {
    bool is_success = true;
    for (size_t i = 0; i < request->n_compare; i++)
        is_success = is_success && holds(sim, request->compare[i]);
    size_t n = is_success ? request->n_success : request->n_failure;
    Etcdserverpb__RequestOp **ops = is_success ? request->success : request->failure;
    for (size_t i = 0; i < n; i++)
        if (has_lost_lease(sim, ops[i]))
            return refuse(RPC_NOT_FOUND, "etcdserver: requested lease not found");
    Etcdserverpb__TxnResponse *response = sim_take(sim, sizeof *response);
    etcdserverpb__txn_response__init(response);
    response->succeeded = is_success;
    response->n_responses = n;
    response->responses = sim_take(sim, (n + 1) * sizeof *response->responses);
    bool is_changed = false;
    for (size_t i = 0; i < n; i++)
        response->responses[i] = carry_out_op(sim, ops[i], sim->revision + 1, &is_changed);
    sim->revision += is_changed;
    if (is_changed)
        commit(sim);
    response->header = sim_header(sim);
    return answer(&response->base);
}

static bool branch_writes(Etcdserverpb__RequestOp **ops, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (ops[i]->request_case != ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_RANGE)
            return true;
    return false;
}

bool sim_is_write(enum rpc_method method, const ProtobufCMessage *message) {
    if (method == RPC_RANGE || method == RPC_MEMBER_STATUS || method == RPC_LEASE_TIME_TO_LIVE)
        return false;
    if (method != RPC_TXN)
        return true;
    const Etcdserverpb__TxnRequest *request = (const Etcdserverpb__TxnRequest *)message;
    return branch_writes(request->success, request->n_success) ||
           branch_writes(request->failure, request->n_failure);
}

/* ---- leases --------------------------------------------------------------------------------------------- */

static struct sim_answer grant(struct sim *sim, const Etcdserverpb__LeaseGrantRequest *request) {
    if (sim_find_lease(sim, request->id))
        return refuse(RPC_FAILED_PRECONDITION, "etcdserver: lease already exists");
    int64_t ttl_s = request->ttl < 2 ? 2 : request->ttl;
    sim->leases = sim_grow(sim->leases, sim->n_leases, &sim->leases_room, sizeof *sim->leases);
    sim->leases[sim->n_leases++] = (struct sim_lease){.id = request->id,
                                                      .ttl_s = ttl_s,
                                                      .expires_ns = sim->now_ns + ttl_s * NS_PER_S,
                                                      .granted_at = sim->n_entries + 1};
    commit(sim);
    sim_say(sim, "etcd: lease %llx granted for %lld s", (unsigned long long)request->id, (long long)ttl_s);
    Etcdserverpb__LeaseGrantResponse *response = sim_take(sim, sizeof *response);
    etcdserverpb__lease_grant_response__init(response);
    response->header = sim_header(sim);
    response->id = request->id;
    response->ttl = ttl_s;
    return answer(&response->base);
}

static struct sim_answer revoke(struct sim *sim, const Etcdserverpb__LeaseRevokeRequest *request) {
    struct sim_lease *lease = sim_find_lease(sim, request->id);
    if (!lease)
        return refuse(RPC_NOT_FOUND, "etcdserver: requested lease not found");
    sim_end_lease(sim, lease, SIM_BY_REVOKE);
    Etcdserverpb__LeaseRevokeResponse *response = sim_take(sim, sizeof *response);
    etcdserverpb__lease_revoke_response__init(response);
    response->header = sim_header(sim);
    return answer(&response->base);
}

static struct sim_answer time_to_live(struct sim *sim, const Etcdserverpb__LeaseTimeToLiveRequest *request) {
    struct sim_lease *lease = sim_find_lease(sim, request->id);
    Etcdserverpb__LeaseTimeToLiveResponse *response = sim_take(sim, sizeof *response);
    etcdserverpb__lease_time_to_live_response__init(response);
    response->header = sim_header(sim);
    response->id = request->id;
    response->ttl = lease ? (lease->expires_ns - sim->now_ns) / NS_PER_S : -1;
    response->grantedttl = lease ? lease->ttl_s : 0;
    return answer(&response->base);
}

struct sim_answer sim_carry_out(struct sim *sim, enum rpc_method method, const ProtobufCMessage *message) {
    /* One operation is a transaction of one, but for the shape of its answer. */
    Etcdserverpb__RequestOp op = ETCDSERVERPB__REQUEST_OP__INIT;
    bool is_changed = false;
    switch (method) {
    case RPC_RANGE:
        return answer(&range(sim, (const Etcdserverpb__RangeRequest *)message)->base);
    case RPC_PUT:
        op.request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_PUT;
        op.request_put = (Etcdserverpb__PutRequest *)(uintptr_t)message;
        if (has_lost_lease(sim, &op))
            return refuse(RPC_NOT_FOUND, "etcdserver: requested lease not found");
        break;
    case RPC_DELETE_RANGE:
        op.request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_DELETE_RANGE;
        op.request_delete_range = (Etcdserverpb__DeleteRangeRequest *)(uintptr_t)message;
        break;
    case RPC_TXN:
        return txn(sim, (const Etcdserverpb__TxnRequest *)message);
    case RPC_LEASE_GRANT:
        return grant(sim, (const Etcdserverpb__LeaseGrantRequest *)message);
    case RPC_LEASE_REVOKE:
        return revoke(sim, (const Etcdserverpb__LeaseRevokeRequest *)message);
    case RPC_LEASE_TIME_TO_LIVE:
        return time_to_live(sim, (const Etcdserverpb__LeaseTimeToLiveRequest *)message);
    case RPC_MEMBER_STATUS: {
        Etcdserverpb__StatusResponse *response = sim_take(sim, sizeof *response);
        etcdserverpb__status_response__init(response);
        response->header = sim_header(sim);
        return answer(&response->base);
    }
    default:
        return refuse(RPC_UNIMPLEMENTED, "unknown method");
    }
    Etcdserverpb__ResponseOp *response = carry_out_op(sim, &op, sim->revision + 1, &is_changed);
    sim->revision += is_changed;
    if (is_changed)
        commit(sim);
    if (method == RPC_PUT) {
        response->response_put->header = sim_header(sim);
        return answer(&response->response_put->base);
    }
    response->response_delete_range->header = sim_header(sim);
    return answer(&response->response_delete_range->base);
}
