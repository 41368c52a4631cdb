/* spec/bench/floor.c - the physical floor: the same requests by gRPC's C core and protobuf-c alone, driven by
 * the calling thread.
 *
 *     lunarch_floor HOST:PORT cycle N            lock transaction and delete, one after the other
 *     lunarch_floor HOST:PORT handoff N SETTLE   delete to the waiter's event, and to its confirming read,
 *                                                SETTLE ms after it queued
 *     lunarch_floor HOST:PORT par64 N            N cycles, 64 locks in flight
 *     lunarch_floor HOST:PORT first N            start of a process to its first lock
 *     lunarch_floor HOST:PORT idle               memory with one session
 *
 * One line of JSON per run: times in microseconds, CPU of this process per operation. Nothing here is robust:
 * whatever fails ends it. */
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <grpc/byte_buffer.h>
#include <grpc/byte_buffer_reader.h>
#include <grpc/grpc.h>
#include <grpc/grpc_security.h>
#include <grpc/slice.h>

#include "etcd.pb-c.h"

enum { N_LOCKS = 64, WARM_UP = 200, NAME_BYTES = 96 };

extern char **environ;

static void fail(const char *what) {
    (void)fprintf(stderr, "floor: %s\n", what);
    exit(1);
}

/* ---- clocks and figures ----------------------------------------------------------------------------- */

static double now_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static double cpu_us(void) {
    struct rusage r;
    getrusage(RUSAGE_SELF, &r);
    return (double)(r.ru_utime.tv_sec + r.ru_stime.tv_sec) * 1e6 +
           (double)(r.ru_utime.tv_usec + r.ru_stime.tv_usec);
}

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double *new_samples(int n) {
    double *samples = calloc((size_t)n, sizeof *samples);
    if (!samples)
        fail("out of memory");
    return samples;
}

/* Prints two fields and frees the samples. */
static void print_quantiles(const char *prefix, double *samples, int n) {
    qsort(samples, (size_t)n, sizeof *samples, compare);
    printf(",\"%sp50_us\":%.1f,\"%sp99_us\":%.1f", prefix, samples[n / 2], prefix, samples[(int)(n * 0.99)]);
    free(samples);
}

/* ---- gRPC ------------------------------------------------------------------------------------------- */

struct tag {
    void (*on_done)(struct tag *tag, bool is_ok);
};

enum method { RANGE, DELETE, TXN, GRANT, REVOKE, KEEP_ALIVE, WATCH, N_METHODS };
static const char *const paths[N_METHODS] = {
    "/etcdserverpb.KV/Range",         "/etcdserverpb.KV/DeleteRange",    "/etcdserverpb.KV/Txn",
    "/etcdserverpb.Lease/LeaseGrant", "/etcdserverpb.Lease/LeaseRevoke", "/etcdserverpb.Lease/LeaseKeepAlive",
    "/etcdserverpb.Watch/Watch",
};

static grpc_channel *channel;
static grpc_completion_queue *queue;
static void *methods[N_METHODS];

/* What our own channels ask for too, as far as it costs or saves time. */
static grpc_arg args[] = {
    {.type = GRPC_ARG_INTEGER, .key = (char *)"grpc.enable_http_proxy", .value.integer = 0},
    {.type = GRPC_ARG_INTEGER, .key = (char *)"grpc.enable_retries", .value.integer = 0},
};

static void connect_to(const char *endpoint) {
    char target[128];
    snprintf(target, sizeof target, "ipv4:%s", endpoint);
    grpc_init();
    queue = grpc_completion_queue_create_for_next(NULL);
    grpc_channel_credentials *credentials = grpc_insecure_credentials_create();
    channel =
        grpc_channel_create(target, credentials, &(grpc_channel_args){sizeof args / sizeof *args, args});
    grpc_channel_credentials_release(credentials);
    for (int i = 0; i < N_METHODS; i++)
        methods[i] = grpc_channel_register_call(channel, paths[i], NULL, NULL);
}

static void disconnect(void) {
    grpc_channel_destroy(channel);
    grpc_completion_queue_shutdown(queue);
    while (grpc_completion_queue_next(queue, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL).type !=
           GRPC_QUEUE_SHUTDOWN) {
    }
    grpc_completion_queue_destroy(queue);
    grpc_shutdown();
}

static gpr_timespec in_ms(int64_t ms) {
    return gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC), gpr_time_from_millis(ms, GPR_TIMESPAN));
}

static void turn(gpr_timespec until) {
    grpc_event event = grpc_completion_queue_next(queue, until, NULL);
    if (event.type != GRPC_OP_COMPLETE)
        return;
    struct tag *tag = event.tag;
    tag->on_done(tag, event.success);
}

static void drive_until(const bool *is_done) {
    while (!*is_done)
        turn(gpr_inf_future(GPR_CLOCK_MONOTONIC));
}

static void drive_for_ms(int ms) {
    for (double end = now_us() + ms * 1e3; now_us() < end;)
        turn(in_ms(ms > 20 ? 10 : 1));
}

static grpc_byte_buffer *pack(const ProtobufCMessage *message) {
    grpc_slice slice = grpc_slice_malloc(protobuf_c_message_get_packed_size(message));
    protobuf_c_message_pack(message, GRPC_SLICE_START_PTR(slice));
    grpc_byte_buffer *buffer = grpc_raw_byte_buffer_create(&slice, 1);
    grpc_slice_unref(slice);
    return buffer;
}

static void *unpack(const ProtobufCMessageDescriptor *descriptor, grpc_byte_buffer *buffer) {
    grpc_byte_buffer_reader reader;
    if (!buffer || !grpc_byte_buffer_reader_init(&reader, buffer))
        return NULL;
    grpc_slice all = grpc_byte_buffer_reader_readall(&reader);
    void *message =
        protobuf_c_message_unpack(descriptor, NULL, GRPC_SLICE_LENGTH(all), GRPC_SLICE_START_PTR(all));
    grpc_slice_unref(all);
    grpc_byte_buffer_reader_destroy(&reader);
    return message;
}

struct unary {
    struct tag tag;
    grpc_call *call;
    grpc_metadata_array initial, trailing;
    grpc_byte_buffer *buffer;
    grpc_status_code status;
    grpc_slice details;
    const ProtobufCMessageDescriptor *descriptor;
    void *reply; /* whoever waited frees it */
    void (*then)(struct unary *unary);
    bool is_done;
};

static void on_unary(struct tag *tag, bool is_ok) {
    struct unary *unary = (struct unary *)tag;
    if (!is_ok || unary->status != GRPC_STATUS_OK)
        fail("a request failed");
    unary->reply = unpack(unary->descriptor, unary->buffer);
    if (!unary->reply)
        fail("a reply does not unpack");
    grpc_byte_buffer_destroy(unary->buffer);
    grpc_metadata_array_destroy(&unary->initial);
    grpc_metadata_array_destroy(&unary->trailing);
    grpc_slice_unref(unary->details);
    grpc_call_unref(unary->call);
    unary->is_done = true;
    if (unary->then)
        unary->then(unary);
}

static void ask(struct unary *unary, enum method method, const ProtobufCMessage *request,
                const ProtobufCMessageDescriptor *descriptor) {
    unary->tag.on_done = on_unary;
    unary->descriptor = descriptor;
    unary->is_done = false;
    unary->buffer = NULL;
    unary->call = grpc_channel_create_registered_call(channel, NULL, GRPC_PROPAGATE_DEFAULTS, queue,
                                                      methods[method], in_ms(5000), NULL);
    grpc_metadata_array_init(&unary->initial);
    grpc_metadata_array_init(&unary->trailing);
    unary->details = grpc_empty_slice();
    grpc_byte_buffer *packed = pack(request);
    grpc_op ops[6] = {{.op = GRPC_OP_SEND_INITIAL_METADATA},
                      {.op = GRPC_OP_SEND_MESSAGE, .data.send_message.send_message = packed},
                      {.op = GRPC_OP_SEND_CLOSE_FROM_CLIENT},
                      {.op = GRPC_OP_RECV_INITIAL_METADATA},
                      {.op = GRPC_OP_RECV_MESSAGE, .data.recv_message.recv_message = &unary->buffer},
                      {.op = GRPC_OP_RECV_STATUS_ON_CLIENT}};
    ops[3].data.recv_initial_metadata.recv_initial_metadata = &unary->initial;
    ops[5].data.recv_status_on_client.trailing_metadata = &unary->trailing;
    ops[5].data.recv_status_on_client.status = &unary->status;
    ops[5].data.recv_status_on_client.status_details = &unary->details;
    if (grpc_call_start_batch(unary->call, ops, 6, &unary->tag, NULL) != GRPC_CALL_OK)
        fail("a batch is refused");
    grpc_byte_buffer_destroy(packed);
}

static void *wait_for(struct unary *unary) {
    drive_until(&unary->is_done);
    return unary->reply;
}

static void drop(void *reply) {
    protobuf_c_message_free_unpacked(reply, NULL);
}

struct stream {
    struct tag on_read, on_written, on_status;
    grpc_call *call;
    grpc_metadata_array initial, trailing;
    grpc_byte_buffer *buffer;
    grpc_status_code status;
    grpc_slice details;
    const ProtobufCMessageDescriptor *descriptor;
    void (*on_message)(void *message);
    bool has_begun, is_writing, is_over;
    int n_out;
};

#define STREAM_OF(tag, member) ((struct stream *)(void *)((char *)(tag)-offsetof(struct stream, member)))

static void start(struct stream *stream, const grpc_op *ops, size_t n, struct tag *tag) {
    stream->n_out++;
    if (grpc_call_start_batch(stream->call, ops, n, tag, NULL) != GRPC_CALL_OK)
        fail("a batch is refused");
}

static void on_stream_status(struct tag *tag, bool is_ok) {
    (void)is_ok;
    struct stream *stream = STREAM_OF(tag, on_status);
    stream->n_out--;
    stream->is_over = true;
}

static void on_stream_written(struct tag *tag, bool is_ok) {
    (void)is_ok;
    struct stream *stream = STREAM_OF(tag, on_written);
    stream->n_out--;
    stream->is_writing = false;
}

static void on_stream_read(struct tag *tag, bool is_ok) {
    struct stream *stream = STREAM_OF(tag, on_read);
    stream->n_out--;
    if (!is_ok || !stream->buffer)
        return;
    void *message = unpack(stream->descriptor, stream->buffer);
    grpc_byte_buffer_destroy(stream->buffer);
    stream->buffer = NULL;
    grpc_op op = {.op = GRPC_OP_RECV_MESSAGE, .data.recv_message.recv_message = &stream->buffer};
    start(stream, &op, 1, &stream->on_read);
    if (!message)
        fail("a message does not unpack");
    stream->on_message(message);
    drop(message);
}

static void stream_open(struct stream *stream, enum method method,
                        const ProtobufCMessageDescriptor *descriptor, void (*on_message)(void *message)) {
    *stream = (struct stream){.on_read.on_done = on_stream_read,
                              .on_written.on_done = on_stream_written,
                              .on_status.on_done = on_stream_status,
                              .descriptor = descriptor,
                              .on_message = on_message,
                              .details = grpc_empty_slice()};
    stream->call =
        grpc_channel_create_registered_call(channel, NULL, GRPC_PROPAGATE_DEFAULTS, queue, methods[method],
                                            gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
    grpc_metadata_array_init(&stream->initial);
    grpc_metadata_array_init(&stream->trailing);
    grpc_op ops[2] = {{.op = GRPC_OP_RECV_STATUS_ON_CLIENT}};
    ops[0].data.recv_status_on_client.trailing_metadata = &stream->trailing;
    ops[0].data.recv_status_on_client.status = &stream->status;
    ops[0].data.recv_status_on_client.status_details = &stream->details;
    start(stream, ops, 1, &stream->on_status);
    ops[0] = (grpc_op){.op = GRPC_OP_RECV_INITIAL_METADATA};
    ops[0].data.recv_initial_metadata.recv_initial_metadata = &stream->initial;
    ops[1] = (grpc_op){.op = GRPC_OP_RECV_MESSAGE, .data.recv_message.recv_message = &stream->buffer};
    start(stream, ops, 2, &stream->on_read);
}

static void stream_send(struct stream *stream, const ProtobufCMessage *message) {
    while (stream->is_writing)
        turn(gpr_inf_future(GPR_CLOCK_MONOTONIC));
    grpc_op ops[2] = {{.op = GRPC_OP_SEND_MESSAGE, .data.send_message.send_message = pack(message)},
                      {.op = GRPC_OP_SEND_INITIAL_METADATA}};
    start(stream, ops, stream->has_begun ? 1 : 2, &stream->on_written);
    grpc_byte_buffer_destroy(ops[0].data.send_message.send_message);
    stream->has_begun = stream->is_writing = true;
}

static void stream_close(struct stream *stream) {
    grpc_call_cancel(stream->call, NULL);
    while (stream->n_out > 0)
        turn(gpr_inf_future(GPR_CLOCK_MONOTONIC));
    grpc_metadata_array_destroy(&stream->initial);
    grpc_metadata_array_destroy(&stream->trailing);
    grpc_slice_unref(stream->details);
    grpc_call_unref(stream->call);
}

/* ---- sessions and locks ----------------------------------------------------------------------------- */

static ProtobufCBinaryData text_of(const char *text) {
    return (ProtobufCBinaryData){strlen(text), (uint8_t *)(uintptr_t)text};
}

struct session {
    int64_t lease;
    struct stream renewals;
};

static bool is_renewed;

static void on_renewal(void *message) {
    (void)message;
    is_renewed = true;
}

static int64_t grant(void) {
    struct unary unary = {.then = NULL};
    Etcdserverpb__LeaseGrantRequest request = ETCDSERVERPB__LEASE_GRANT_REQUEST__INIT;
    request.ttl = 60;
    ask(&unary, GRANT, &request.base, &etcdserverpb__lease_grant_response__descriptor);
    Etcdserverpb__LeaseGrantResponse *reply = wait_for(&unary);
    int64_t lease = reply->id;
    drop(reply);
    return lease;
}

static void session_open(struct session *session) {
    session->lease = grant();
    stream_open(&session->renewals, KEEP_ALIVE, &etcdserverpb__lease_keep_alive_response__descriptor,
                on_renewal);
    Etcdserverpb__LeaseKeepAliveRequest request = ETCDSERVERPB__LEASE_KEEP_ALIVE_REQUEST__INIT;
    request.id = session->lease;
    is_renewed = false;
    stream_send(&session->renewals, &request.base);
    drive_until(&is_renewed);
}

static void session_close(struct session *session) {
    struct unary unary = {.then = NULL};
    Etcdserverpb__LeaseRevokeRequest request = ETCDSERVERPB__LEASE_REVOKE_REQUEST__INIT;
    request.id = session->lease;
    ask(&unary, REVOKE, &request.base, &etcdserverpb__lease_revoke_response__descriptor);
    drop(wait_for(&unary));
    stream_close(&session->renewals);
}

struct lock {
    char prefix[NAME_BYTES], end[NAME_BYTES], key[NAME_BYTES + 16];
    int64_t lease;
};

static void lock_name(struct lock *lock, int number, int64_t lease) {
    snprintf(lock->prefix, sizeof lock->prefix, "/floor/%d-%d/", (int)getpid(), number);
    snprintf(lock->end, sizeof lock->end, "/floor/%d-%d0", (int)getpid(), number); /* '0' follows '/' */
    snprintf(lock->key, sizeof lock->key, "%s%llx", lock->prefix, (unsigned long long)lease);
    lock->lease = lease;
}

static Etcdserverpb__RequestOp op_of_range(Etcdserverpb__RangeRequest *range) {
    Etcdserverpb__RequestOp op = ETCDSERVERPB__REQUEST_OP__INIT;
    op.request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_RANGE;
    op.request_range = range;
    return op;
}

/* Go's transaction: if our key is absent put it, else get it; and get the owner. */
static void lock_ask(struct lock *lock, struct unary *unary) {
    Etcdserverpb__Compare compare_create = ETCDSERVERPB__COMPARE__INIT;
    compare_create.target = ETCDSERVERPB__COMPARE__COMPARE_TARGET__CREATE;
    compare_create.key = text_of(lock->key);
    compare_create.target_union_case = ETCDSERVERPB__COMPARE__TARGET_UNION_CREATE_REVISION;
    Etcdserverpb__PutRequest put = ETCDSERVERPB__PUT_REQUEST__INIT;
    put.key = compare_create.key;
    put.lease = lock->lease;
    Etcdserverpb__RangeRequest get = ETCDSERVERPB__RANGE_REQUEST__INIT, owner = get;
    get.key = put.key;
    owner.key = text_of(lock->prefix);
    owner.range_end = text_of(lock->end);
    owner.limit = 1;
    owner.sort_target = ETCDSERVERPB__RANGE_REQUEST__SORT_TARGET__CREATE;
    owner.sort_order = ETCDSERVERPB__RANGE_REQUEST__SORT_ORDER__ASCEND;
    Etcdserverpb__RequestOp put_op = ETCDSERVERPB__REQUEST_OP__INIT;
    put_op.request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_PUT;
    put_op.request_put = &put;
    Etcdserverpb__RequestOp get_op = op_of_range(&get), owner_op = op_of_range(&owner);
    Etcdserverpb__TxnRequest txn = ETCDSERVERPB__TXN_REQUEST__INIT;
    txn.n_compare = 1;
    txn.compare = (Etcdserverpb__Compare *[]){&compare_create};
    txn.n_success = txn.n_failure = 2;
    txn.success = (Etcdserverpb__RequestOp *[]){&put_op, &owner_op};
    txn.failure = (Etcdserverpb__RequestOp *[]){&get_op, &owner_op};
    ask(unary, TXN, &txn.base, &etcdserverpb__txn_response__descriptor);
}

/* Our own create revision; whether it is the first. Drops the reply. */
static int64_t lock_answer(struct unary *unary, bool *ret_is_owner) {
    Etcdserverpb__TxnResponse *reply = unary->reply;
    if (!reply->succeeded || reply->n_responses != 2)
        fail("a lock transaction found the key already there");
    Etcdserverpb__RangeResponse *owner = reply->responses[1]->response_range;
    int64_t revision = reply->header->revision;
    *ret_is_owner = owner->n_kvs == 1 && owner->kvs[0]->create_revision == revision;
    drop(reply);
    return revision;
}

static void lock_or_fail(struct lock *lock) {
    struct unary unary = {.then = NULL};
    bool is_owner;
    lock_ask(lock, &unary);
    (void)wait_for(&unary);
    (void)lock_answer(&unary, &is_owner);
    if (!is_owner)
        fail("somebody else holds the lock");
}

static void unlock_ask(struct lock *lock, struct unary *unary) {
    Etcdserverpb__DeleteRangeRequest request = ETCDSERVERPB__DELETE_RANGE_REQUEST__INIT;
    request.key = text_of(lock->key);
    ask(unary, DELETE, &request.base, &etcdserverpb__delete_range_response__descriptor);
}

static void unlock(struct lock *lock) {
    struct unary unary = {.then = NULL};
    unlock_ask(lock, &unary);
    drop(wait_for(&unary));
}

/* ---- cycle ------------------------------------------------------------------------------------------ */

static void run_cycle(int n) {
    struct session session;
    session_open(&session);
    struct lock lock;
    lock_name(&lock, 0, session.lease);
    double *samples = new_samples(n), cpu = 0;
    for (int i = -WARM_UP; i < n; i++) {
        if (i == 0)
            cpu = cpu_us();
        double begin = now_us();
        lock_or_fail(&lock);
        unlock(&lock);
        if (i >= 0)
            samples[i] = now_us() - begin;
    }
    cpu = cpu_us() - cpu;
    printf("{\"bench\":\"floor\",\"mode\":\"cycle\",\"n\":%d", n);
    print_quantiles("", samples, n);
    printf(",\"cpu_us\":%.1f}\n", cpu / n);
    session_close(&session);
}

/* ---- handoff ---------------------------------------------------------------------------------------- */

static bool is_created, is_deleted;
static int64_t watch_id;

static void on_watch(void *message) {
    Etcdserverpb__WatchResponse *watch = message;
    if (watch->created) {
        is_created = true;
        watch_id = watch->watch_id;
    }
    for (size_t i = 0; i < watch->n_events; i++)
        is_deleted |= watch->events[i]->type == ETCDSERVERPB__EVENT__EVENT_TYPE__DELETE;
}

static void watch_for_delete(struct stream *stream, const char *key, int64_t from_revision) {
    Etcdserverpb__WatchCreateRequest create = ETCDSERVERPB__WATCH_CREATE_REQUEST__INIT;
    create.key = text_of(key);
    create.start_revision = from_revision;
    create.n_filters = 1;
    create.filters = (Etcdserverpb__WatchCreateRequest__FilterType[]){
        ETCDSERVERPB__WATCH_CREATE_REQUEST__FILTER_TYPE__NOPUT};
    Etcdserverpb__WatchRequest request = ETCDSERVERPB__WATCH_REQUEST__INIT;
    request.request_union_case = ETCDSERVERPB__WATCH_REQUEST__REQUEST_UNION_CREATE_REQUEST;
    request.create_request = &create;
    is_created = is_deleted = false;
    stream_send(stream, &request.base);
    drive_until(&is_created);
}

static void unwatch(struct stream *stream) {
    Etcdserverpb__WatchCancelRequest cancel = ETCDSERVERPB__WATCH_CANCEL_REQUEST__INIT;
    cancel.watch_id = watch_id;
    Etcdserverpb__WatchRequest request = ETCDSERVERPB__WATCH_REQUEST__INIT;
    request.request_union_case = ETCDSERVERPB__WATCH_REQUEST__REQUEST_UNION_CANCEL_REQUEST;
    request.cancel_request = &cancel;
    stream_send(stream, &request.base);
}

/* The confirming read: nobody in the line is older than we are. */
static void confirm(struct lock *lock, int64_t revision) {
    struct unary unary = {.then = NULL};
    Etcdserverpb__RangeRequest request = ETCDSERVERPB__RANGE_REQUEST__INIT;
    request.key = text_of(lock->prefix);
    request.range_end = text_of(lock->end);
    request.max_create_revision = revision - 1;
    request.limit = 1;
    ask(&unary, RANGE, &request.base, &etcdserverpb__range_response__descriptor);
    Etcdserverpb__RangeResponse *reply = wait_for(&unary);
    if (reply->n_kvs != 0)
        fail("the predecessor is still there");
    drop(reply);
}

static void run_handoff(int n, int settle_ms) {
    struct session sessions[2];
    struct lock locks[2];
    for (int i = 0; i < 2; i++) {
        session_open(&sessions[i]);
        lock_name(&locks[i], 0, sessions[i].lease);
    }
    struct stream watch;
    stream_open(&watch, WATCH, &etcdserverpb__watch_response__descriptor, on_watch);
    double *events = new_samples(n), *reads = new_samples(n);
    lock_or_fail(&locks[0]);
    for (int i = -5, holder = 0; i < n; i++, holder = !holder) {
        struct unary unary = {.then = NULL};
        lock_ask(&locks[!holder], &unary);
        (void)wait_for(&unary);
        bool is_owner;
        int64_t revision = lock_answer(&unary, &is_owner);
        if (is_owner)
            fail("the waiter owns the lock");
        watch_for_delete(&watch, locks[holder].key, revision + 1);
        drive_for_ms(settle_ms);
        double begin = now_us();
        unlock_ask(&locks[holder], &unary);
        drive_until(&is_deleted);
        double told = now_us();
        confirm(&locks[!holder], revision);
        if (i >= 0) {
            events[i] = told - begin;
            reads[i] = now_us() - begin;
        }
        drop(wait_for(&unary));
        unwatch(&watch);
    }
    printf("{\"bench\":\"floor\",\"mode\":\"handoff\",\"n\":%d,\"settle_ms\":%d", n, settle_ms);
    print_quantiles("event_", events, n);
    print_quantiles("", reads, n);
    printf("}\n");
    stream_close(&watch);
    for (int i = 0; i < 2; i++)
        session_close(&sessions[i]);
}

/* ---- par64 ------------------------------------------------------------------------------------------ */

struct runner {
    struct unary unary; /* first */
    struct lock lock;
    double begin;
};

static int n_done, n_wanted, n_running;
static double *cycle_samples;

static void on_unlocked(struct unary *unary);

static void on_locked(struct unary *unary) {
    struct runner *runner = (struct runner *)unary;
    bool is_owner;
    (void)lock_answer(unary, &is_owner);
    if (!is_owner)
        fail("somebody else holds the lock");
    unary->then = on_unlocked;
    unlock_ask(&runner->lock, unary);
}

static void runner_start(struct runner *runner) {
    runner->begin = now_us();
    runner->unary.then = on_locked;
    lock_ask(&runner->lock, &runner->unary);
}

static void on_unlocked(struct unary *unary) {
    struct runner *runner = (struct runner *)unary;
    drop(unary->reply);
    if (n_done < n_wanted)
        cycle_samples[n_done++] = now_us() - runner->begin;
    if (n_done < n_wanted)
        runner_start(runner);
    else
        n_running--;
}

static void run_par64(int n) {
    static struct runner runners[N_LOCKS];
    struct session session;
    session_open(&session);
    cycle_samples = new_samples(n);
    n_wanted = n;
    n_running = N_LOCKS;
    double begin = now_us(), cpu = cpu_us();
    for (int i = 0; i < N_LOCKS; i++) {
        lock_name(&runners[i].lock, i, session.lease);
        runner_start(&runners[i]);
    }
    while (n_running > 0)
        turn(gpr_inf_future(GPR_CLOCK_MONOTONIC));
    double wall = now_us() - begin;
    cpu = cpu_us() - cpu;
    printf("{\"bench\":\"floor\",\"mode\":\"par64\",\"n\":%d,\"per_s\":%.0f", n, n / wall * 1e6);
    print_quantiles("", cycle_samples, n);
    printf(",\"cpu_us\":%.1f}\n", cpu / n);
    session_close(&session);
}

/* ---- first, idle ------------------------------------------------------------------------------------ */

/* A process that takes one lock and says so. */
static void run_one_lock(void) {
    struct lock lock;
    lock_name(&lock, 0, grant());
    lock_or_fail(&lock);
    (void)!write(STDOUT_FILENO, "L", 1);
    unlock(&lock);
}

static double time_to_first_lock(const char *endpoint) {
    int ends[2];
    if (pipe(ends) != 0)
        fail("no pipe");
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
    posix_spawn_file_actions_addclose(&actions, ends[0]);
    char *argv[] = {(char *)"floor", (char *)(uintptr_t)endpoint, (char *)"one", NULL};
    double begin = now_us();
    pid_t pid;
    char byte;
    if (posix_spawn(&pid, "/proc/self/exe", &actions, NULL, argv, environ) != 0 ||
        read(ends[0], &byte, 1) != 1)
        fail("cannot run itself");
    double took = now_us() - begin;
    waitpid(pid, NULL, 0);
    posix_spawn_file_actions_destroy(&actions);
    close(ends[0]);
    close(ends[1]);
    return took;
}

static void run_first(const char *endpoint, int n) {
    double *samples = new_samples(n);
    for (int i = 0; i < n; i++)
        samples[i] = time_to_first_lock(endpoint);
    printf("{\"bench\":\"floor\",\"mode\":\"first\",\"n\":%d", n);
    print_quantiles("", samples, n);
    printf("}\n");
}

static long status_kb(const char *field) {
    char line[256];
    long kb = 0;
    FILE *file = fopen("/proc/self/status", "r");
    while (file && fgets(line, sizeof line, file))
        if (strncmp(line, field, strlen(field)) == 0)
            kb = atol(line + strlen(field) + 1);
    if (file)
        fclose(file);
    return kb;
}

static void run_idle(void) {
    struct session session;
    session_open(&session);
    drive_for_ms(1000);
    printf("{\"bench\":\"floor\",\"mode\":\"idle\",\"rss_kb\":%ld,\"anon_kb\":%ld,\"threads\":%ld}\n",
           status_kb("VmRSS"), status_kb("RssAnon"), status_kb("Threads"));
    session_close(&session);
}

/* ------------------------------------------------------------------------------------------------ */

int main(int argc, char **argv) {
    if (argc < 3) {
        (void)fprintf(stderr,
                      "usage: lunarch_floor HOST:PORT cycle|par64|first N, handoff N SETTLE_MS, idle\n");
        return 2;
    }
    const char *endpoint = argv[1], *mode = argv[2];
    int n = argc > 3 ? atoi(argv[3]) : 0;
    n = n > 0 ? n : 1000;
    if (strcmp(mode, "first") == 0) {
        run_first(endpoint, n);
        return 0;
    }
    connect_to(endpoint);
    if (strcmp(mode, "cycle") == 0)
        run_cycle(n);
    else if (strcmp(mode, "handoff") == 0)
        run_handoff(n, argc > 4 ? atoi(argv[4]) : 5);
    else if (strcmp(mode, "par64") == 0)
        run_par64(n);
    else if (strcmp(mode, "idle") == 0)
        run_idle();
    else if (strcmp(mode, "one") == 0)
        run_one_lock();
    else
        fail("no such mode");
    disconnect();
    return 0;
}
