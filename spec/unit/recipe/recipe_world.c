/* spec/unit/recipe/recipe_world.c - see recipe_world.h. */
#include "recipe_world.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const uint64_t cluster_id = 77;

static void die(const char *what) __attribute__((noreturn));
static void die(const char *what) {
    (void)printf("recipe_world: %s\n", what);
    (void)fflush(stdout);
    abort();
}

/* ---- memory that lives until the reply has been given -------------------------------------------------- */

static void *take(struct world *world, size_t n_bytes) {
    void *memory = calloc(1, n_bytes + 1);
    void **garbage = realloc(world->garbage, (world->n_garbage + 1) * sizeof *garbage);
    if (!memory || !garbage)
        die("out of memory");
    world->garbage = garbage;
    world->garbage[world->n_garbage++] = memory;
    return memory;
}

static void drop_garbage(struct world *world) {
    while (world->n_garbage > 0)
        free(world->garbage[--world->n_garbage]);
}

static ProtobufCBinaryData bytes_in(struct world *world, const char *text) {
    size_t n = strlen(text);
    uint8_t *data = take(world, n);
    memcpy(data, text, n);
    return (ProtobufCBinaryData){n, data};
}

static void text_of(char *to, ProtobufCBinaryData data) {
    if (data.len >= WORLD_KEY_BYTES)
        die("a key is too long");
    if (data.len > 0)
        memcpy(to, data.data, data.len);
    to[data.len] = '\0';
}

/* ---- the store ----------------------------------------------------------------------------------------- */

static bool is_inside(const char *key, const char *from, const char *range_end) {
    return range_end[0] ? strcmp(key, from) >= 0 && strcmp(key, range_end) < 0 : strcmp(key, from) == 0;
}

static struct world_kv *find(const struct world *world, const char *key) {
    for (size_t i = 0; i < world->n_kvs; i++)
        if (strcmp(world->kvs[i].key, key) == 0)
            return (struct world_kv *)&world->kvs[i];
    return NULL;
}

const struct world_kv *world_get(const struct world *world, const char *key) {
    return find(world, key);
}

size_t world_count(const struct world *world, const char *prefix) {
    size_t n = 0;
    for (size_t i = 0; i < world->n_kvs; i++)
        n += strncmp(world->kvs[i].key, prefix, strlen(prefix)) == 0;
    return n;
}

const struct world_kv *world_first(const struct world *world, const char *prefix) {
    const struct world_kv *first = NULL;
    for (size_t i = 0; i < world->n_kvs; i++)
        if (strncmp(world->kvs[i].key, prefix, strlen(prefix)) == 0 &&
            (!first || world->kvs[i].create_rev < first->create_rev))
            first = &world->kvs[i];
    return first;
}

static void note_event(struct world *world, bool is_delete, const struct world_kv *kv) {
    if (world->n_events == WORLD_EVENTS)
        die("too many events");
    world->events[world->n_events++] = (struct world_event){is_delete, *kv};
}

static void put(struct world *world, const char *key, const char *value, int64_t lease, int64_t revision) {
    struct world_kv *kv = find(world, key);
    if (!kv) {
        if (world->n_kvs == WORLD_KVS)
            die("too many keys");
        kv = &world->kvs[world->n_kvs++];
        memset(kv, 0, sizeof *kv);
        (void)snprintf(kv->key, sizeof kv->key, "%s", key);
        kv->create_rev = revision;
    }
    (void)snprintf(kv->value, sizeof kv->value, "%s", value);
    kv->mod_rev = revision;
    kv->version++;
    kv->lease = lease;
    note_event(world, false, kv);
}

/* Returns how many went. */
static int64_t delete_range(struct world *world, const char *key, const char *range_end, int64_t revision) {
    int64_t n = 0;
    for (size_t i = 0; i < world->n_kvs;) {
        struct world_kv *kv = &world->kvs[i];
        if (!is_inside(kv->key, key, range_end)) {
            i++;
            continue;
        }
        kv->mod_rev = revision;
        note_event(world, true, kv);
        *kv = world->kvs[--world->n_kvs];
        n++;
    }
    return n;
}

int64_t world_put(struct world *world, const char *key, const char *value, int64_t lease) {
    put(world, key, value, lease, ++world->revision);
    return world->revision;
}

void world_delete(struct world *world, const char *key) {
    if (delete_range(world, key, "", world->revision + 1) > 0)
        world->revision++;
}

void world_compact(struct world *world) {
    world->compacted_rev = world->revision;
}

static struct world_lease *find_lease(const struct world *world, int64_t id) {
    for (size_t i = 0; i < WORLD_LEASES; i++)
        if (id != 0 && world->leases[i].id == id)
            return (struct world_lease *)&world->leases[i];
    return NULL;
}

bool world_has_lease(const struct world *world, int64_t lease) {
    return find_lease(world, lease) != NULL;
}

void world_revoke(struct world *world, int64_t id) {
    struct world_lease *lease = find_lease(world, id);
    if (!lease)
        return;
    int64_t n = 0;
    for (size_t i = 0; i < world->n_kvs;) {
        struct world_kv *kv = &world->kvs[i];
        if (kv->lease != id) {
            i++;
            continue;
        }
        char key[WORLD_KEY_BYTES];
        (void)snprintf(key, sizeof key, "%s", kv->key);
        n += delete_range(world, key, "", world->revision + 1);
    }
    world->revision += n > 0;
    lease->id = 0;
}

static void expire_leases(struct world *world) {
    for (size_t i = 0; i < WORLD_LEASES; i++)
        if (world->leases[i].id && world->leases[i].expires_ns <= fake_now(world->fake))
            world_revoke(world, world->leases[i].id);
}

/* ---- requests to the store ----------------------------------------------------------------------------- */

struct failure {
    int status;
    const char *message;
};

static Etcdserverpb__ResponseHeader *header_of(struct world *world) {
    Etcdserverpb__ResponseHeader *header = take(world, sizeof *header);
    etcdserverpb__response_header__init(header);
    header->cluster_id = cluster_id;
    header->member_id = 1;
    header->revision = world->revision;
    header->raft_term = world->raft_term;
    return header;
}

static Etcdserverpb__KeyValue *kv_of(struct world *world, const struct world_kv *kv, bool has_value) {
    Etcdserverpb__KeyValue *message = take(world, sizeof *message);
    etcdserverpb__key_value__init(message);
    message->key = bytes_in(world, kv->key);
    if (has_value)
        message->value = bytes_in(world, kv->value);
    message->create_revision = kv->create_rev;
    message->mod_revision = kv->mod_rev;
    message->version = kv->version;
    message->lease = kv->lease;
    return message;
}

static int64_t compare_for(const Etcdserverpb__RangeRequest *request, const struct world_kv *a,
                           const struct world_kv *b) {
    switch (request->sort_target) {
    case ETCDSERVERPB__RANGE_REQUEST__SORT_TARGET__CREATE:
        return a->create_rev - b->create_rev;
    case ETCDSERVERPB__RANGE_REQUEST__SORT_TARGET__MOD:
        return a->mod_rev - b->mod_rev;
    default:
        return strcmp(a->key, b->key);
    }
}

static Etcdserverpb__RangeResponse *range(struct world *world, const Etcdserverpb__RangeRequest *request) {
    char from[WORLD_KEY_BYTES], range_end[WORLD_KEY_BYTES];
    text_of(from, request->key);
    text_of(range_end, request->range_end);
    const struct world_kv *found[WORLD_KVS];
    size_t n = 0;
    for (size_t i = 0; i < world->n_kvs; i++) {
        const struct world_kv *kv = &world->kvs[i];
        if (is_inside(kv->key, from, range_end) &&
            (request->max_create_revision == 0 || kv->create_rev <= request->max_create_revision))
            found[n++] = kv;
    }
    bool is_descending = request->sort_order == ETCDSERVERPB__RANGE_REQUEST__SORT_ORDER__DESCEND;
    for (size_t i = 1; i < n; i++)
        for (size_t k = i; k > 0; k--) {
            int64_t order = compare_for(request, found[k - 1], found[k]);
            if (is_descending ? order >= 0 : order <= 0)
                break;
            const struct world_kv *swap = found[k];
            found[k] = found[k - 1];
            found[k - 1] = swap;
        }
    Etcdserverpb__RangeResponse *response = take(world, sizeof *response);
    etcdserverpb__range_response__init(response);
    response->header = header_of(world);
    response->count = (int64_t)n;
    if (request->limit > 0 && n > (size_t)request->limit) {
        n = (size_t)request->limit;
        response->more = 1;
    }
    if (request->count_only)
        n = 0;
    response->kvs = take(world, n * sizeof(void *));
    response->n_kvs = n;
    for (size_t i = 0; i < n; i++)
        response->kvs[i] = kv_of(world, found[i], !request->keys_only);
    return response;
}

static bool holds_for(const Etcdserverpb__Compare *compare, int64_t number, const char *value) {
    int64_t order;
    switch (compare->target_union_case) {
    case ETCDSERVERPB__COMPARE__TARGET_UNION_VALUE: {
        char wanted[WORLD_KEY_BYTES];
        text_of(wanted, compare->value);
        order = strcmp(value, wanted);
        break;
    }
    case ETCDSERVERPB__COMPARE__TARGET_UNION_CREATE_REVISION:
        order = number - compare->create_revision;
        break;
    case ETCDSERVERPB__COMPARE__TARGET_UNION_MOD_REVISION:
        order = number - compare->mod_revision;
        break;
    case ETCDSERVERPB__COMPARE__TARGET_UNION_VERSION:
        order = number - compare->version;
        break;
    case ETCDSERVERPB__COMPARE__TARGET_UNION_LEASE:
        order = number - compare->lease;
        break;
    default:
        die("a compare with nothing to compare");
    }
    switch (compare->result) {
    case ETCDSERVERPB__COMPARE__COMPARE_RESULT__EQUAL:
        return order == 0;
    case ETCDSERVERPB__COMPARE__COMPARE_RESULT__GREATER:
        return order > 0;
    case ETCDSERVERPB__COMPARE__COMPARE_RESULT__LESS:
        return order < 0;
    default:
        return order != 0;
    }
}

static int64_t number_of(const Etcdserverpb__Compare *compare, const struct world_kv *kv) {
    switch (compare->target) {
    case ETCDSERVERPB__COMPARE__COMPARE_TARGET__CREATE:
        return kv->create_rev;
    case ETCDSERVERPB__COMPARE__COMPARE_TARGET__MOD:
        return kv->mod_rev;
    case ETCDSERVERPB__COMPARE__COMPARE_TARGET__VERSION:
        return kv->version;
    case ETCDSERVERPB__COMPARE__COMPARE_TARGET__LEASE:
        return kv->lease;
    default:
        return 0;
    }
}

static bool compare_holds(const struct world *world, const Etcdserverpb__Compare *compare) {
    char key[WORLD_KEY_BYTES], range_end[WORLD_KEY_BYTES];
    text_of(key, compare->key);
    text_of(range_end, compare->range_end);
    bool is_any = false, holds = true;
    for (size_t i = 0; i < world->n_kvs; i++) {
        if (!is_inside(world->kvs[i].key, key, range_end))
            continue;
        is_any = true;
        holds = holds && holds_for(compare, number_of(compare, &world->kvs[i]), world->kvs[i].value);
    }
    return is_any ? holds : holds_for(compare, 0, "");
}

static void put_of(struct world *world, const Etcdserverpb__PutRequest *request, int64_t revision) {
    char key[WORLD_KEY_BYTES], value[WORLD_KEY_BYTES];
    text_of(key, request->key);
    text_of(value, request->value);
    put(world, key, value, request->lease, revision);
}

static Etcdserverpb__ResponseOp *op_of(struct world *world, const Etcdserverpb__RequestOp *op,
                                       int64_t revision) {
    Etcdserverpb__ResponseOp *response = take(world, sizeof *response);
    etcdserverpb__response_op__init(response);
    char key[WORLD_KEY_BYTES], range_end[WORLD_KEY_BYTES];
    switch (op->request_case) {
    case ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_RANGE:
        response->response_case = ETCDSERVERPB__RESPONSE_OP__RESPONSE_RESPONSE_RANGE;
        response->response_range = range(world, op->request_range);
        break;
    case ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_PUT:
        put_of(world, op->request_put, revision);
        response->response_case = ETCDSERVERPB__RESPONSE_OP__RESPONSE_RESPONSE_PUT;
        response->response_put = take(world, sizeof *response->response_put);
        etcdserverpb__put_response__init(response->response_put);
        break;
    case ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_DELETE_RANGE:
        text_of(key, op->request_delete_range->key);
        text_of(range_end, op->request_delete_range->range_end);
        response->response_case = ETCDSERVERPB__RESPONSE_OP__RESPONSE_RESPONSE_DELETE_RANGE;
        response->response_delete_range = take(world, sizeof *response->response_delete_range);
        etcdserverpb__delete_range_response__init(response->response_delete_range);
        response->response_delete_range->deleted = delete_range(world, key, range_end, revision);
        break;
    default:
        die("an operation without a kind");
    }
    return response;
}

static bool is_lease_missing(const struct world *world, const Etcdserverpb__PutRequest *request) {
    return request->lease != 0 && !world_has_lease(world, request->lease);
}

static const ProtobufCMessage *txn(struct world *world, const Etcdserverpb__TxnRequest *request,
                                   struct failure *failure) {
    bool is_success = true;
    for (size_t i = 0; i < request->n_compare; i++)
        is_success = is_success && compare_holds(world, request->compare[i]);
    size_t n = is_success ? request->n_success : request->n_failure;
    Etcdserverpb__RequestOp **ops = is_success ? request->success : request->failure;
    for (size_t i = 0; i < n; i++)
        if (ops[i]->request_case == ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_PUT &&
            is_lease_missing(world, ops[i]->request_put)) {
            *failure = (struct failure){RPC_NOT_FOUND, "etcdserver: requested lease not found"};
            return NULL;
        }
    Etcdserverpb__TxnResponse *response = take(world, sizeof *response);
    etcdserverpb__txn_response__init(response);
    response->succeeded = is_success;
    response->responses = take(world, n * sizeof(void *));
    response->n_responses = n;
    size_t n_events = world->n_events;
    for (size_t i = 0; i < n; i++)
        response->responses[i] = op_of(world, ops[i], world->revision + 1);
    world->revision += world->n_events > n_events;
    response->header = header_of(world);
    return &response->base;
}

static const ProtobufCMessage *grant(struct world *world, const Etcdserverpb__LeaseGrantRequest *request,
                                     struct failure *failure) {
    if (world_has_lease(world, request->id)) {
        *failure = (struct failure){RPC_FAILED_PRECONDITION, "etcdserver: lease already exists"};
        return NULL;
    }
    struct world_lease *lease = world->leases;
    while (lease->id)
        if (++lease == world->leases + WORLD_LEASES)
            die("too many leases");
    int64_t ttl_s = request->ttl < 2 ? 2 : request->ttl;
    *lease = (struct world_lease){request->id, ttl_s, fake_now(world->fake) + SECONDS(ttl_s)};
    Etcdserverpb__LeaseGrantResponse *response = take(world, sizeof *response);
    etcdserverpb__lease_grant_response__init(response);
    response->header = header_of(world);
    response->id = request->id;
    response->ttl = ttl_s;
    return &response->base;
}

static const ProtobufCMessage *revoke(struct world *world, const Etcdserverpb__LeaseRevokeRequest *request,
                                      struct failure *failure) {
    if (!world_has_lease(world, request->id)) {
        *failure = (struct failure){RPC_NOT_FOUND, "etcdserver: requested lease not found"};
        return NULL;
    }
    world_revoke(world, request->id);
    Etcdserverpb__LeaseRevokeResponse *response = take(world, sizeof *response);
    etcdserverpb__lease_revoke_response__init(response);
    response->header = header_of(world);
    return &response->base;
}

static const ProtobufCMessage *carry_out(struct world *world, enum rpc_method method,
                                         const ProtobufCMessage *request, struct failure *failure) {
    switch (method) {
    case RPC_RANGE:
        return &range(world, (const Etcdserverpb__RangeRequest *)request)->base;
    case RPC_PUT: {
        put_of(world, (const Etcdserverpb__PutRequest *)request, ++world->revision);
        Etcdserverpb__PutResponse *response = take(world, sizeof *response);
        etcdserverpb__put_response__init(response);
        response->header = header_of(world);
        return &response->base;
    }
    case RPC_DELETE_RANGE: {
        const Etcdserverpb__DeleteRangeRequest *delete = (const Etcdserverpb__DeleteRangeRequest *)request;
        char key[WORLD_KEY_BYTES], range_end[WORLD_KEY_BYTES];
        text_of(key, delete->key);
        text_of(range_end, delete->range_end);
        Etcdserverpb__DeleteRangeResponse *response = take(world, sizeof *response);
        etcdserverpb__delete_range_response__init(response);
        response->deleted = delete_range(world, key, range_end, world->revision + 1);
        world->revision += response->deleted > 0;
        response->header = header_of(world);
        return &response->base;
    }
    case RPC_TXN:
        return txn(world, (const Etcdserverpb__TxnRequest *)request, failure);
    case RPC_LEASE_GRANT:
        return grant(world, (const Etcdserverpb__LeaseGrantRequest *)request, failure);
    case RPC_LEASE_REVOKE:
        return revoke(world, (const Etcdserverpb__LeaseRevokeRequest *)request, failure);
    case RPC_MEMBER_STATUS: {
        Etcdserverpb__StatusResponse *response = take(world, sizeof *response);
        etcdserverpb__status_response__init(response);
        response->header = header_of(world);
        return &response->base;
    }
    default:
        die("a method nobody plays");
    }
}

/* ---- answering ----------------------------------------------------------------------------------------- */

struct world_member *world_member(struct world *world, const char *address) {
    for (size_t i = 0; i < world->n_members; i++)
        if (strcmp(world->members[i].address, address) == 0)
            return &world->members[i];
    die("no such member");
}

static bool is_pending(const struct world *world, const struct fake_call *call) {
    for (size_t i = 0; i < WORLD_PENDING; i++)
        if (world->pending[i].number == call->number)
            return true;
    return false;
}

static struct fake_call *call_of(struct world *world, size_t number) {
    struct fake_call *call;
    for (size_t i = 0; (call = fake_nth_call(world->fake, FAKE_ANY, i)); i++)
        if (call->number == number)
            return call;
    return NULL;
}

static void forget_pending(struct world_pending *pending) {
    protobuf_c_message_free_unpacked(pending->reply, NULL);
    *pending = (struct world_pending){.number = 0};
}

/* Those whose caller has given up are forgotten. */
static bool deliver_pending(struct world *world) {
    for (size_t i = 0; i < WORLD_PENDING; i++) {
        struct world_pending *pending = &world->pending[i];
        struct fake_call *call = pending->number ? call_of(world, pending->number) : NULL;
        if (!pending->number || (call && world->is_slow[pending->method]))
            continue;
        if (call)
            fake_reply(call, pending->reply);
        forget_pending(pending);
        if (call)
            return true;
    }
    return false;
}

static ProtobufCMessage *copy_of(const ProtobufCMessage *message);

/* False: no room. */
static bool answer_later(struct world *world, const struct fake_call *call, const ProtobufCMessage *reply) {
    for (size_t i = 0; i < WORLD_PENDING; i++)
        if (world->pending[i].number == 0) {
            world->pending[i] = (struct world_pending){call->number, call->method, copy_of(reply)};
            return true;
        }
    return false;
}

static struct fake_call *next_call(struct world *world) {
    for (int method = 0; method < RPC_N_METHODS; method++) {
        if (world->is_held[method])
            continue;
        for (size_t i = 0; i < fake_n_calls(world->fake, method); i++) {
            struct fake_call *call = fake_nth_call(world->fake, method, i);
            if (!world_member(world, call->address)->is_frozen && !is_pending(world, call))
                return call;
        }
    }
    return NULL;
}

static void answer(struct world *world, struct fake_call *call) {
    enum rpc_method method = call->method;
    const struct world_member *member = world_member(world, call->address);
    if (world->n_refused[method] > 0) {
        world->n_refused[method]--;
        fake_fail(call, world->refusal_status, world->refusal);
        return;
    }
    if (method == RPC_RANGE && member->are_reads_refused) {
        fake_fail(call, RPC_UNAVAILABLE, "etcdserver: leader changed");
        return;
    }
    world->n_answered[method]++;
    struct failure failure = {RPC_OK, ""};
    const ProtobufCMessage *reply = carry_out(world, method, call->request, &failure);
    if (world->n_replies_lost[method] > 0) {
        world->n_replies_lost[method]--;
        fake_fail(call, RPC_UNAVAILABLE, "Socket closed");
    } else if (reply && world->is_slow[method] && answer_later(world, call, reply)) {
        /* world->pending has it */
    } else if (reply) {
        fake_reply(call, reply);
    } else {
        fake_fail(call, failure.status, failure.message);
    }
    drop_garbage(world);
}

static bool answer_a_call(struct world *world) {
    struct fake_call *call = next_call(world);
    if (call)
        answer(world, call);
    return call != NULL;
}

void world_answer_one(struct world *world, enum rpc_method method) {
    struct fake_call *call = fake_call(world->fake, (int)method);
    if (!call)
        die("nothing to answer");
    answer(world, call);
}

static ProtobufCMessage *copy_of(const ProtobufCMessage *message) {
    size_t n = protobuf_c_message_get_packed_size(message);
    uint8_t *packed = malloc(n + 1);
    if (!packed)
        die("out of memory");
    (void)protobuf_c_message_pack(message, packed);
    ProtobufCMessage *copy = protobuf_c_message_unpack(message->descriptor, NULL, n, packed);
    free(packed);
    return copy;
}

void world_answer_slowly(struct world *world, enum rpc_method method) {
    struct failure failure;
    world->slow_call = fake_call(world->fake, (int)method);
    if (!world->slow_call)
        die("nothing to answer");
    const ProtobufCMessage *reply = carry_out(world, method, world->slow_call->request, &failure);
    if (!reply)
        die("a failure cannot be slow");
    world->slow_reply = copy_of(reply);
    drop_garbage(world);
}

void world_deliver(struct world *world) {
    fake_reply(world->slow_call, world->slow_reply);
    protobuf_c_message_free_unpacked(world->slow_reply, NULL);
    world->slow_call = NULL;
    world->slow_reply = NULL;
}

void world_keep(struct world *world, enum rpc_method method) {
    struct fake_call *call = fake_call(world->fake, (int)method);
    if (!call || world->kept)
        die("nothing to keep, or something is kept already");
    world->kept = copy_of(call->request);
    world->kept_method = method;
    fake_fail(call, RPC_UNAVAILABLE, "Socket closed");
}

void world_carry_out_kept(struct world *world) {
    struct failure failure;
    (void)carry_out(world, world->kept_method, world->kept, &failure);
    drop_garbage(world);
    protobuf_c_message_free_unpacked(world->kept, NULL);
    world->kept = NULL;
}

/* ---- renewals ------------------------------------------------------------------------------------------ */

static bool is_renewing(struct world *world, const struct fake_stream *stream) {
    const struct fake_stream *open;
    for (size_t i = 0; (open = fake_stream(world->fake, RPC_LEASE_KEEP_ALIVE, i)); i++)
        if (open == stream)
            return true;
    return false;
}

static bool renew_later(struct world *world, struct fake_stream *stream,
                        const Etcdserverpb__LeaseKeepAliveResponse *response) {
    for (size_t i = 0; i < WORLD_PENDING; i++)
        if (!world->pending_renewals[i].stream) {
            world->pending_renewals[i] = (struct world_pending_renewal){
                stream, response->id, response->ttl, response->header->revision, response->header->raft_term};
            return true;
        }
    return false;
}

static bool answer_a_renewal(struct world *world) {
    struct fake_stream *stream;
    for (size_t i = 0; (stream = fake_stream(world->fake, RPC_LEASE_KEEP_ALIVE, i)); i++) {
        struct world_member *member = world_member(world, stream->address);
        if (member->is_frozen || world->is_held[RPC_LEASE_KEEP_ALIVE])
            continue;
        const Etcdserverpb__LeaseKeepAliveRequest *request =
            (const Etcdserverpb__LeaseKeepAliveRequest *)fake_sent(stream);
        if (!request)
            continue;
        world->n_renewals++;
        Etcdserverpb__LeaseKeepAliveResponse response = ETCDSERVERPB__LEASE_KEEP_ALIVE_RESPONSE__INIT;
        response.header = header_of(world);
        response.id = request->id;
        struct world_lease *lease = find_lease(world, request->id);
        if (member->renewals_term) {
            response.header->raft_term = member->renewals_term;
            response.ttl = member->renewals_ttl;
        } else if (lease) {
            response.ttl = lease->ttl_s;
            lease->expires_ns = fake_now(world->fake) + SECONDS(lease->ttl_s);
        }
        if (!world->is_slow[RPC_LEASE_KEEP_ALIVE] || !renew_later(world, stream, &response))
            fake_say(stream, &response.base);
        drop_garbage(world);
        return true;
    }
    return false;
}

static bool deliver_renewals(struct world *world) {
    for (size_t i = 0; i < WORLD_PENDING && !world->is_slow[RPC_LEASE_KEEP_ALIVE]; i++) {
        struct world_pending_renewal pending = world->pending_renewals[i];
        if (!pending.stream)
            continue;
        world->pending_renewals[i].stream = NULL;
        if (!is_renewing(world, pending.stream))
            continue;
        Etcdserverpb__LeaseKeepAliveResponse response = ETCDSERVERPB__LEASE_KEEP_ALIVE_RESPONSE__INIT;
        response.header = header_of(world);
        response.header->revision = pending.revision;
        response.header->raft_term = pending.raft_term;
        response.id = pending.id;
        response.ttl = pending.ttl_s;
        fake_say(pending.stream, &response.base);
        drop_garbage(world);
        return true;
    }
    return false;
}

/* ---- watches ------------------------------------------------------------------------------------------- */

static bool is_open(struct world *world, const struct fake_stream *stream) {
    const struct fake_stream *open;
    for (size_t i = 0; (open = fake_stream(world->fake, RPC_WATCH, i)); i++)
        if (open == stream)
            return true;
    return false;
}

static void forget_closed(struct world *world) {
    for (size_t i = 0; i < WORLD_WATCHES; i++)
        if (world->watches[i].stream && !is_open(world, world->watches[i].stream))
            world->watches[i].stream = NULL;
}

size_t world_n_watches(const struct world *world) {
    size_t n = 0;
    for (size_t i = 0; i < WORLD_WATCHES; i++)
        n += world->watches[i].stream != NULL;
    return n;
}

static void say(struct world *world, struct fake_stream *stream, Etcdserverpb__WatchResponse *response) {
    response->header = header_of(world);
    fake_say(stream, &response->base);
    drop_garbage(world);
}

static void create_watch(struct world *world, struct fake_stream *stream,
                         const Etcdserverpb__WatchCreateRequest *request) {
    Etcdserverpb__WatchResponse response = ETCDSERVERPB__WATCH_RESPONSE__INIT;
    response.created = 1;
    world->n_watches_created++;
    if (world->watch_refusal) {
        response.canceled = 1;
        response.watch_id = -1;
        response.cancel_reason = (char *)(uintptr_t)world->watch_refusal;
        say(world, stream, &response);
        return;
    }
    struct world_watch *watch = world->watches;
    while (watch->stream)
        if (++watch == world->watches + WORLD_WATCHES)
            die("too many watches");
    watch->stream = stream;
    watch->id = world->next_watch_id++;
    watch->next_rev = request->start_revision ? request->start_revision : world->revision + 1;
    text_of(watch->key, request->key);
    text_of(watch->range_end, request->range_end);
    watch->is_deletes_only = request->n_filters > 0;
    response.watch_id = watch->id;
    bool is_compacted = watch->next_rev <= world->compacted_rev;
    if (is_compacted)
        watch->stream = NULL;
    int64_t id = watch->id;
    say(world, stream, &response);
    if (is_compacted && is_open(world, stream)) {
        Etcdserverpb__WatchResponse gone = ETCDSERVERPB__WATCH_RESPONSE__INIT;
        gone.watch_id = id;
        gone.canceled = 1;
        gone.compact_revision = world->compacted_rev;
        say(world, stream, &gone);
    }
}

static void cancel_watch(struct world *world, const struct fake_stream *stream, int64_t id) {
    for (size_t i = 0; i < WORLD_WATCHES; i++)
        if (world->watches[i].stream == stream && world->watches[i].id == id)
            world->watches[i].stream = NULL;
}

static bool serve_a_watch_request(struct world *world) {
    struct fake_stream *stream;
    for (size_t i = 0; (stream = fake_stream(world->fake, RPC_WATCH, i)); i++) {
        if (world_member(world, stream->address)->is_frozen || world->is_held[RPC_WATCH])
            continue;
        const Etcdserverpb__WatchRequest *request = (const Etcdserverpb__WatchRequest *)fake_sent(stream);
        if (!request)
            continue;
        if (request->request_union_case == ETCDSERVERPB__WATCH_REQUEST__REQUEST_UNION_CREATE_REQUEST)
            create_watch(world, stream, request->create_request);
        else
            cancel_watch(world, stream, request->cancel_request->watch_id);
        return true;
    }
    return false;
}

/* The next event for this watcher that is not beyond it; NULL: none. */
static const struct world_event *next_event(const struct world *world, const struct world_watch *watch) {
    for (size_t i = 0; i < world->n_events; i++) {
        const struct world_event *event = &world->events[i];
        if (event->kv.mod_rev >= watch->next_rev && is_inside(event->kv.key, watch->key, watch->range_end) &&
            (event->is_delete || !watch->is_deletes_only))
            return event;
    }
    return NULL;
}

/* `key` NULL: of any. */
static bool tell_an_event(struct world *world, const char *key) {
    forget_closed(world);
    const struct world_event *first = NULL;
    struct world_watch *told = NULL;
    for (size_t i = 0; i < WORLD_WATCHES; i++) {
        struct world_watch *watch = &world->watches[i];
        if (!watch->stream || (key && strcmp(key, watch->key) != 0) ||
            world_member(world, watch->stream->address)->is_frozen)
            continue;
        const struct world_event *event = next_event(world, watch);
        if (event && (!first || event->kv.mod_rev < first->kv.mod_rev)) {
            first = event;
            told = watch;
        }
    }
    if (!first)
        return false;
    told->next_rev = first->kv.mod_rev + 1;
    Etcdserverpb__Event message = ETCDSERVERPB__EVENT__INIT;
    Etcdserverpb__Event *messages[] = {&message};
    struct world_kv bare = {.mod_rev = first->kv.mod_rev};
    (void)snprintf(bare.key, sizeof bare.key, "%s", first->kv.key);
    message.type =
        first->is_delete ? ETCDSERVERPB__EVENT__EVENT_TYPE__DELETE : ETCDSERVERPB__EVENT__EVENT_TYPE__PUT;
    message.kv = kv_of(world, first->is_delete ? &bare : &first->kv, true);
    Etcdserverpb__WatchResponse response = ETCDSERVERPB__WATCH_RESPONSE__INIT;
    response.watch_id = told->id;
    response.events = messages;
    response.n_events = 1;
    say(world, told->stream, &response);
    return true;
}

void world_tell_watchers(struct world *world, const char *key) {
    while (tell_an_event(world, key))
        ;
    world_run(world);
}

void world_break_streams(struct world *world, enum rpc_method method) {
    struct fake_stream *stream;
    while ((stream = fake_stream(world->fake, (int)method, 0)))
        fake_break(stream, RPC_UNAVAILABLE, "Socket closed");
}

/* ---- time ---------------------------------------------------------------------------------------------- */

static void do_all(struct world *world) {
    do {
        fake_run(world->fake);
        forget_closed(world);
    } while (deliver_pending(world) || deliver_renewals(world) || answer_a_call(world) ||
             serve_a_watch_request(world) || answer_a_renewal(world) ||
             (!world->are_events_held && tell_an_event(world, NULL)));
}

void world_run(struct world *world) {
    expire_leases(world);
    do_all(world);
}

void world_advance(struct world *world, int64_t ns) {
    int64_t until = fake_now(world->fake) + ns;
    world_run(world);
    while (fake_now(world->fake) < until) {
        int64_t left = until - fake_now(world->fake);
        fake_advance(world->fake, left < NS_PER_MS ? left : NS_PER_MS);
        world_run(world);
    }
}

void world_freeze(struct world *world, int64_t ns) {
    fake_freeze(world->fake, ns);
    expire_leases(world);
}

void world_tell(struct world *world, const char *format, ...) {
    size_t used = strlen(world->story);
    if (used > 0)
        used += (size_t)snprintf(world->story + used, sizeof world->story - used, ", ");
    va_list args;
    va_start(args, format);
    (void)vsnprintf(world->story + used, sizeof world->story - used, format, args);
    va_end(args);
}

/* ---- beginning and end --------------------------------------------------------------------------------- */

static void print_trace(void *arg, const char *line) {
    const struct world *world = arg;
    int64_t ms = (fake_now(world->fake) - SECONDS(1000)) / NS_PER_MS;
    (void)printf("# %6" PRId64 " %s\n", ms, line);
}

struct world *world_new(size_t n_members) {
    static const char *const addresses[WORLD_MEMBERS] = {"a:1", "b:1", "c:1"};
    static struct trace trace;
    struct world *world = calloc(1, sizeof *world);
    if (!world)
        die("out of memory");
    crowd_init(&world->crowd);
    world->fake = fake_new();
    world->rpc = fake_rpc(world->fake);
    world->raft_term = 5;
    world->revision = 100;
    world->n_members = n_members;
    for (size_t i = 0; i < n_members; i++) {
        (void)snprintf(world->members[i].address, sizeof world->members[i].address, "%s", addresses[i]);
        world->members[i].renewals_ttl = -1;
    }
    trace = (struct trace){print_trace, world};
    struct lun_err err;
    rpc_enter(world->rpc);
    if (etcd_new(world->rpc, addresses, n_members, getenv("TRACE") ? &trace : NULL, &world->etcd, &err))
        die(err.text);
    rpc_leave(world->rpc);
    return world;
}

static void on_closed(void *arg) {
    ((struct world *)arg)->is_closed = true;
}

void world_free(struct world *world) {
    for (int i = 0; i < RPC_N_METHODS; i++)
        world->is_held[i] = false;
    rpc_enter(world->rpc);
    etcd_close(world->etcd, on_closed, world);
    rpc_leave(world->rpc);
    fake_run(world->fake);
    if (!world->is_closed)
        die("something is in flight for ever");
    rpc_enter(world->rpc);
    etcd_free(world->etcd);
    rpc_leave(world->rpc);
    fake_free(world->fake);
    crowd_fini(&world->crowd);
    if (world->kept)
        protobuf_c_message_free_unpacked(world->kept, NULL);
    for (size_t i = 0; i < WORLD_PENDING; i++)
        if (world->pending[i].number)
            forget_pending(&world->pending[i]);
    free(world->garbage);
    free(world);
}

/* ---- people -------------------------------------------------------------------------------------------- */

static void on_opened(struct session *session, const struct lun_err *err) {
    struct person *person = CONTAINER_OF(session, struct person, session);
    person->is_open = err == NULL;
    person->err = err ? err->code : 0;
    if (err)
        world_tell(person->world, "%s failed %s", person->name, lun_strerror_name(err->code));
    else
        world_tell(person->world, "%s opened", person->name);
}

static void on_state(struct session *session) {
    struct person *person = CONTAINER_OF(session, struct person, session);
    enum lun_session_state state = session_state(session);
    world_tell(person->world, "%s %s%s%s", person->name, lun_session_state_name(state),
               state == LUN_SESSION_LOST ? " " : "",
               state == LUN_SESSION_LOST ? lun_reason_name(session->reason) : "");
}

static void on_ended(struct session *session) {
    struct person *person = CONTAINER_OF(session, struct person, session);
    person->is_ended = true;
    world_tell(person->world, "%s ended", person->name);
}

void person_open(struct person *person, struct world *world, const char *name, int64_t ttl_s, int64_t lease) {
    static const struct session_callbacks callbacks = {on_opened, on_state, on_ended};
    *person = (struct person){.world = world, .name = name};
    struct session_options options = {.ttl_s = ttl_s, .grace_ns = -1, .lease = lease, .crowd = &world->crowd};
    struct lun_err err;
    rpc_enter(world->rpc);
    if (session_start(&person->session, world->etcd, &options, &callbacks, &err))
        die(err.text);
    rpc_leave(world->rpc);
}

void person_arrive(struct person *person, struct world *world, const char *name) {
    person_open(person, world, name, 10, 0);
    world_run(world);
    if (!person->is_open)
        die("a session did not open");
    world->story[0] = '\0';
}

void person_close(struct person *person, bool is_revoked) {
    rpc_enter(person->world->rpc);
    session_close(&person->session, is_revoked);
    rpc_leave(person->world->rpc);
}

void person_orphan(struct person *person) {
    rpc_enter(person->world->rpc);
    session_orphan(&person->session);
    rpc_leave(person->world->rpc);
}

void person_kill(struct person *person) {
    rpc_enter(person->world->rpc);
    session_kill(&person->session);
    rpc_leave(person->world->rpc);
}

bool person_is_valid(struct person *person) {
    return session_valid_until_ns(&person->session) != 0;
}

void person_leave(struct person *person) {
    if (!person->is_ended)
        person_close(person, true);
    world_run(person->world);
    if (!person->is_ended)
        die("a session does not end");
    person->world->story[0] = '\0';
}

static void let_go(struct stand *stand) {
    struct place *place = stand->place;
    stand->place = NULL;
    stand->is_holding = false;
    place_give_up(place);
}

static void on_place_entered(struct place *place, const struct lun_err *err) {
    struct stand *stand = place_owner(place);
    if (!err) {
        struct lun_bytes key = place_key(place);
        (void)snprintf(stand->key, sizeof stand->key, "%.*s", (int)key.len, (const char *)key.data);
        stand->is_holding = true;
        stand->token = place_create_rev(place);
        world_tell(stand->world, "%s holds", stand->name);
        return;
    }
    stand->err = err->code;
    (void)snprintf(stand->text, sizeof stand->text, "%s", err->text);
    world_tell(stand->world, "%s fails %s", stand->name, lun_strerror_name(err->code));
    let_go(stand);
}

static void on_place_stop(struct place *place, enum lun_reason reason, bool is_lost) {
    struct stand *stand = place_owner(place);
    if (is_lost)
        world_tell(stand->world, "%s lost %s", stand->name, lun_reason_name(reason));
    else
        world_tell(stand->world, "%s stop", stand->name);
    if (is_lost || stand->gives_up_on_stop)
        let_go(stand);
}

static void on_place_left(struct place *place, const struct lun_err *err) {
    struct stand *stand = place_owner(place);
    world_tell(stand->world, "%s left%s%s", stand->name, err ? " " : "",
               err ? lun_strerror_name(err->code) : "");
    let_go(stand);
}

int stand_enter(struct stand *stand, struct person *person, const char *name, enum place_mode mode) {
    static const struct place_callbacks callbacks = {on_place_entered, on_place_stop, on_place_left};
    *stand = (struct stand){.world = person->world, .person = person, .name = name};
    char value[64];
    (void)snprintf(value, sizeof value, "{\"name\":\"%s\",\"host\":\"h\",\"pid\":1}", name);
    struct lun_err err;
    rpc_enter(person->world->rpc);
    int rc = place_enter(&person->session, lun_bytes_of("/line"), lun_bytes_of(value), mode, &callbacks,
                         stand, &stand->place, &err);
    if (!rc) {
        struct lun_bytes key = place_key(stand->place);
        (void)snprintf(stand->key, sizeof stand->key, "%.*s", (int)key.len, (const char *)key.data);
    }
    rpc_leave(person->world->rpc);
    return rc;
}

void stand_leave(struct stand *stand) {
    rpc_enter(stand->world->rpc);
    stand->is_holding = false;
    place_leave(stand->place);
    rpc_leave(stand->world->rpc);
}

void stand_give_up(struct stand *stand) {
    rpc_enter(stand->world->rpc);
    let_go(stand);
    rpc_leave(stand->world->rpc);
}
