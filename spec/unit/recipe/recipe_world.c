/* spec/unit/recipe/recipe_world.c - see recipe_world.h. */
#include "recipe_world.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void die(const char *what) __attribute__((noreturn));
static void die(const char *what) {
    (void)printf("recipe_world: %s\n", what);
    (void)fflush(stdout);
    abort();
}

/* ---- the store ----------------------------------------------------------------------------------------- */

struct failure {
    int status;
    const char *message;
};

/* Every reply's header is its first field. */
static void set_term(struct world *world, ProtobufCMessage *reply) {
    struct with_header {
        ProtobufCMessage base;
        Etcdserverpb__ResponseHeader *header;
    };
    ((struct with_header *)(void *)reply)->header->raft_term = world->raft_term;
}

/* The reply is the caller's; NULL: failed. */
static ProtobufCMessage *carry_out(struct world *world, enum rpc_method method,
                                   const ProtobufCMessage *request, struct failure *failure) {
    ProtobufCMessage *reply =
        sim_still_ask(world->etcd_store, method, request, &failure->status, &failure->message);
    if (reply)
        set_term(world, reply);
    return reply;
}

static void let_time_pass(struct world *world) {
    sim_still_set(world->etcd_store, fake_now(world->fake));
}

static void set_header(struct world *world, Etcdserverpb__ResponseHeader *header) {
    etcdserverpb__response_header__init(header);
    header->cluster_id = 77; /* as the simulated etcd has it */
    header->member_id = 1;
    header->revision = world_revision(world);
    header->raft_term = world->raft_term;
}

static void text_of(char *to, ProtobufCBinaryData data) {
    if (data.len >= WORLD_KEY_BYTES)
        die("a key is too long");
    if (data.len > 0)
        memcpy(to, data.data, data.len);
    to[data.len] = '\0';
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

/* Takes the reply over. False: no room. */
static bool answer_later(struct world *world, const struct fake_call *call, ProtobufCMessage *reply) {
    for (size_t i = 0; i < WORLD_PENDING; i++)
        if (world->pending[i].number == 0) {
            world->pending[i] = (struct world_pending){call->number, call->method, reply};
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
            bool is_carried_out = is_pending(world, call) || call == world->slow_call;
            if (!world_member(world, call->address)->is_frozen && !is_carried_out)
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
    ProtobufCMessage *reply = carry_out(world, method, call->request, &failure);
    if (world->n_replies_lost[method] > 0) {
        world->n_replies_lost[method]--;
        fake_fail(call, RPC_UNAVAILABLE, "Socket closed");
    } else if (reply && world->is_slow[method] && answer_later(world, call, reply)) {
        reply = NULL; /* world->pending has it */
    } else if (reply) {
        fake_reply(call, reply);
    } else {
        fake_fail(call, failure.status, failure.message);
    }
    if (reply)
        protobuf_c_message_free_unpacked(reply, NULL);
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
    world->slow_reply = carry_out(world, method, world->slow_call->request, &failure);
    if (!world->slow_reply)
        die("a failure cannot be slow");
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
    ProtobufCMessage *reply = carry_out(world, world->kept_method, world->kept, &failure);
    if (reply)
        protobuf_c_message_free_unpacked(reply, NULL);
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

static bool is_blocked(const struct world *world, const struct fake_stream *stream) {
    for (size_t i = 0; i < sizeof world->blocked / sizeof world->blocked[0] && world->blocking_lease; i++)
        if (world->blocked[i] == stream)
            return true;
    return false;
}

static void block(struct world *world, struct fake_stream *stream) {
    size_t n = sizeof world->blocked / sizeof world->blocked[0];
    memmove(world->blocked + 1, world->blocked, (n - 1) * sizeof world->blocked[0]);
    world->blocked[0] = stream;
}

static bool answer_a_renewal(struct world *world) {
    struct fake_stream *stream;
    for (size_t i = 0; (stream = fake_stream(world->fake, RPC_LEASE_KEEP_ALIVE, i)); i++) {
        struct world_member *member = world_member(world, stream->address);
        if (member->is_frozen || world->is_held[RPC_LEASE_KEEP_ALIVE] || is_blocked(world, stream))
            continue;
        const Etcdserverpb__LeaseKeepAliveRequest *request =
            (const Etcdserverpb__LeaseKeepAliveRequest *)fake_sent(stream);
        if (!request)
            continue;
        if (request->id == world->refused_lease) {
            fake_break(stream, RPC_PERMISSION_DENIED, "etcdserver: permission denied");
            return true;
        }
        if (request->id == world->blocking_lease) {
            block(world, stream);
            continue;
        }
        world->n_renewals++;
        Etcdserverpb__LeaseKeepAliveResponse response = ETCDSERVERPB__LEASE_KEEP_ALIVE_RESPONSE__INIT;
        Etcdserverpb__ResponseHeader header;
        set_header(world, &header);
        response.header = &header;
        response.id = request->id;
        if (member->renewals_id)
            response.header->member_id = member->renewals_id;
        if (member->renewals_term) {
            response.header->raft_term = member->renewals_term;
            response.ttl = member->renewals_ttl;
        } else {
            response.ttl = sim_still_renew(world->etcd_store, request->id);
        }
        if (!world->is_slow[RPC_LEASE_KEEP_ALIVE] || !renew_later(world, stream, &response))
            fake_say(stream, &response.base);
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
        Etcdserverpb__ResponseHeader header;
        set_header(world, &header);
        response.header = &header;
        response.header->revision = pending.revision;
        response.header->raft_term = pending.raft_term;
        response.id = pending.id;
        response.ttl = pending.ttl_s;
        fake_say(pending.stream, &response.base);
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
    Etcdserverpb__ResponseHeader header;
    set_header(world, &header);
    response->header = &header;
    fake_say(stream, &response->base);
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
    watch->next_rev = request->start_revision ? request->start_revision : world_revision(world) + 1;
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

/* `key` NULL: of any. */
static bool tell_an_event(struct world *world, const char *key) {
    forget_closed(world);
    struct sim_kv first = {0};
    struct world_watch *told = NULL;
    for (size_t i = 0; i < WORLD_WATCHES; i++) {
        struct world_watch *watch = &world->watches[i];
        struct sim_kv kv;
        if (!watch->stream || (key && strcmp(key, watch->key) != 0) ||
            world_member(world, watch->stream->address)->is_frozen ||
            !sim_still_event(world->etcd_store, watch->key, watch->range_end, watch->next_rev,
                             !watch->is_deletes_only, &kv))
            continue;
        if (!told || kv.mod_rev < first.mod_rev) {
            first = kv;
            told = watch;
        }
    }
    if (!told)
        return false;
    told->next_rev = first.mod_rev + 1;
    Etcdserverpb__KeyValue kv = ETCDSERVERPB__KEY_VALUE__INIT;
    kv.key = world_bytes(first.key);
    kv.value = world_bytes(first.value);
    kv.create_revision = first.create_rev;
    kv.mod_revision = first.mod_rev;
    kv.version = first.version;
    kv.lease = first.lease;
    Etcdserverpb__Event message = ETCDSERVERPB__EVENT__INIT;
    Etcdserverpb__Event *messages[] = {&message};
    message.type =
        first.version == 0 ? ETCDSERVERPB__EVENT__EVENT_TYPE__DELETE : ETCDSERVERPB__EVENT__EVENT_TYPE__PUT;
    message.kv = &kv;
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
    let_time_pass(world);
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
    let_time_pass(world);
}

void world_tell(struct world *world, const char *format, ...) {
    size_t used = strlen(world->story);
    if (used > 0)
        used += (size_t)snprintf(world->story + used, sizeof world->story - used, ", ");
    va_list args;
    va_start(args, format);
    if (used < sizeof world->story)
        used += (size_t)vsnprintf(world->story + used, sizeof world->story - used, format, args);
    va_end(args);
    if (used >= sizeof world->story)
        abort(); /* a story cut short would prove nothing */
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
    place_index_init(&world->places);
    world->fake = fake_new();
    world->rpc = fake_rpc(world->fake);
    world->raft_term = 5;
    world->etcd_store = sim_new(1);
    let_time_pass(world);
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
    place_index_fini(&world->places);
    if (world->kept)
        protobuf_c_message_free_unpacked(world->kept, NULL);
    for (size_t i = 0; i < WORLD_PENDING; i++)
        if (world->pending[i].number)
            forget_pending(&world->pending[i]);
    sim_free(world->etcd_store);
    free(world);
}
