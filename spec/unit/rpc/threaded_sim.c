/* spec/unit/rpc/threaded_sim.c - see threaded_sim.h.
 *
 * Locks, in the order in which they are taken: a client's core lock, the network's, a queue's. The simulator, and all
 * of a call or stream that both sides touch, is under the network's lock. */
#include "threaded_sim.h"

#include <assert.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <grpc/support/time.h>

#include "base/clock.h"
#include "rpc/grpc/env.h"
#include "sim/sim.h"

#define TICK_NS (200 * INT64_C(1000))
#define LAPSE_NS (20 * NS_PER_S)
enum { MOST_CLIENTS = 8 };

static struct {
    pthread_t thread;
    pthread_mutex_t lock;
    struct sim *sim;
    struct sim_client *clients[MOST_CLIENTS];
    size_t n_clients;
    int64_t started_ns, world_started_ns;
    bool is_troubled, is_stopping;
    struct sim_event trouble, mark;
    bool is_marked;
} net = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void *take(size_t n_bytes) {
    void *memory = calloc(1, n_bytes);
    if (!memory)
        abort();
    return memory;
}

/* ---- the network ------------------------------------------------------------------------------------ */

static void on_mark(struct sim_event *event) {
    (void)event;
    net.is_marked = true;
}

static void go_on_until(int64_t world_ns) {
    net.mark.run = on_mark;
    net.is_marked = false;
    sim_at(net.sim, &net.mark, world_ns);
    while (!net.is_marked)
        sim_step(net.sim);
}

static void cure_all(void) {
    for (int i = 0; i < SIM_MEMBERS; i++) {
        sim_thaw(net.sim, i);
        sim_join(net.sim, i);
        sim_start(net.sim, i);
    }
    sim_set_faults(net.sim, &(struct sim_faults){0});
}

static void on_trouble(struct sim_event *event) {
    struct sim *sim = net.sim;
    int member = (int)sim_below(sim, SIM_MEMBERS);
    struct sim_client *client =
        net.n_clients > 0 ? net.clients[sim_below(sim, (int64_t)net.n_clients)] : NULL;
    cure_all();
    if (!net.is_troubled)
        return;
    sim_set_faults(sim, &(struct sim_faults){.reply_lost = 10, .request_lost = 10, .late_after_cancel = 200});
    switch (client ? sim_below(sim, 16) : 0) {
    case 1:
        sim_freeze(sim, member);
        break;
    case 2:
        sim_cut(sim, member);
        break;
    case 3:
        sim_stop(sim, member);
        break;
    case 4:
        for (int i = 0; i < SIM_MEMBERS; i++)
            sim_client_hold(client, i, 2500 * NS_PER_MS);
        break;
    case 5:
        sim_client_hold(client, member, sim_below(sim, NS_PER_S));
        break;
    case 6:
    case 7:
        sim_client_reset(client, member);
        break;
    default:
        break;
    }
    sim_at(sim, event, sim_now(sim) + 50 * NS_PER_MS + sim_below(sim, 500 * NS_PER_MS));
}

static void *net_main(void *arg) {
    (void)arg;
    pthread_mutex_lock(&net.lock);
    while (!net.is_stopping) {
        go_on_until(net.world_started_ns + clock_boottime_ns() - net.started_ns);
        pthread_mutex_unlock(&net.lock);
        (void)nanosleep(&(struct timespec){.tv_nsec = TICK_NS}, NULL);
        pthread_mutex_lock(&net.lock);
    }
    pthread_mutex_unlock(&net.lock);
    return NULL;
}

void threaded_sim_start(uint64_t seed) {
    net.sim = sim_new(seed);
    net.n_clients = 0;
    net.is_stopping = false;
    net.trouble.run = on_trouble;
    net.started_ns = clock_boottime_ns();
    net.world_started_ns = sim_now(net.sim);
    if (pthread_create(&net.thread, NULL, net_main, NULL))
        abort();
}

void threaded_sim_trouble(bool is_on) {
    pthread_mutex_lock(&net.lock);
    net.is_troubled = is_on;
    sim_at(net.sim, &net.trouble, sim_now(net.sim));
    pthread_mutex_unlock(&net.lock);
}

static const char *leftovers(void) {
    for (size_t i = 0; i < net.n_clients; i++) {
        const char *left = sim_client_leftovers(net.clients[i]);
        if (left)
            return left;
    }
    if (sim_n_leases(net.sim) > 0)
        return "a lease";
    for (size_t i = 0; i < sim_n_kvs(net.sim); i++)
        if (sim_kv_at(net.sim, i)->lease != 0)
            return "a place";
    return NULL;
}

const char *threaded_sim_stop(void) {
    pthread_mutex_lock(&net.lock);
    net.is_stopping = true;
    pthread_mutex_unlock(&net.lock);
    (void)pthread_join(net.thread, NULL);
    go_on_until(sim_now(net.sim) + LAPSE_NS);
    const char *left = leftovers();
    sim_free(net.sim);
    return left;
}

/* ---- gRPC's queue ----------------------------------------------------------------------------------- */

struct entry {
    struct list in_queue;
    struct tag *tag;
};

struct grpc_completion_queue {
    pthread_mutex_t lock;
    pthread_cond_t filled;
    struct list entries;
    bool is_waited_for, is_shut_down;
    struct sim_client *client;
};

struct grpc_call {
    grpc_completion_queue *queue;
};

grpc_completion_queue *__wrap_grpc_completion_queue_create_for_next(void *reserved);
grpc_event __wrap_grpc_completion_queue_next(grpc_completion_queue *queue, gpr_timespec deadline,
                                             void *reserved);
void __wrap_grpc_completion_queue_shutdown(grpc_completion_queue *queue);
void __wrap_grpc_completion_queue_destroy(grpc_completion_queue *queue);
grpc_channel *__wrap_grpc_lame_client_channel_create(const char *target, grpc_status_code code,
                                                     const char *text);
void __wrap_grpc_channel_destroy(grpc_channel *channel);
grpc_call *__wrap_grpc_channel_create_call(grpc_channel *channel, grpc_call *parent, uint32_t mask,
                                           grpc_completion_queue *queue, grpc_slice method,
                                           const grpc_slice *host, gpr_timespec deadline, void *reserved);
void __wrap_grpc_call_unref(grpc_call *call);
grpc_call_error __wrap_grpc_call_start_batch(grpc_call *call, const grpc_op *ops, size_t n_ops, void *tag,
                                             void *reserved);

static void push(grpc_completion_queue *queue, struct tag *tag) {
    struct entry *entry = take(sizeof *entry);
    entry->tag = tag;
    pthread_mutex_lock(&queue->lock);
    list_push_back(&queue->entries, &entry->in_queue);
    pthread_cond_signal(&queue->filled);
    pthread_mutex_unlock(&queue->lock);
}

grpc_completion_queue *__wrap_grpc_completion_queue_create_for_next(void *reserved) {
    (void)reserved;
    grpc_completion_queue *queue = take(sizeof *queue);
    pthread_condattr_t attr;
    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_mutex_init(&queue->lock, NULL);
    (void)pthread_cond_init(&queue->filled, &attr);
    (void)pthread_condattr_destroy(&attr);
    list_init(&queue->entries);
    pthread_mutex_lock(&net.lock);
    if (net.n_clients == MOST_CLIENTS)
        abort();
    char name[16];
    (void)snprintf(name, sizeof name, "client %zu", net.n_clients);
    queue->client = net.clients[net.n_clients++] = sim_client_new(net.sim, name, 0);
    pthread_mutex_unlock(&net.lock);
    return queue;
}

/* CLOCK_MONOTONIC; half an hour is for ever. */
static struct timespec instant_of(gpr_timespec deadline) {
    gpr_timespec left = gpr_time_sub(deadline, gpr_now(deadline.clock_type));
    int64_t ns = left.tv_sec > 1800 ? 1800 * NS_PER_S : left.tv_sec * NS_PER_S + left.tv_nsec;
    struct timespec at;
    (void)clock_gettime(CLOCK_MONOTONIC, &at);
    ns = at.tv_sec * NS_PER_S + at.tv_nsec + (ns > 0 ? ns : 0);
    return (struct timespec){.tv_sec = ns / NS_PER_S, .tv_nsec = ns % NS_PER_S};
}

grpc_event __wrap_grpc_completion_queue_next(grpc_completion_queue *queue, gpr_timespec deadline,
                                             void *reserved) {
    (void)reserved;
    struct timespec until = instant_of(deadline);
    grpc_event event = {.type = GRPC_QUEUE_TIMEOUT};
    pthread_mutex_lock(&queue->lock);
    if (queue->is_waited_for) {
        (void)fprintf(stderr, "two threads in one queue\n");
        abort();
    }
    queue->is_waited_for = true;
    int rc = 0;
    while (rc == 0 && list_is_empty(&queue->entries) && !queue->is_shut_down)
        rc = pthread_cond_timedwait(&queue->filled, &queue->lock, &until);
    struct list *node = list_pop_front(&queue->entries);
    if (node) {
        struct entry *entry = CONTAINER_OF(node, struct entry, in_queue);
        event = (grpc_event){.type = GRPC_OP_COMPLETE, .success = 1, .tag = entry->tag};
        free(entry);
    } else if (queue->is_shut_down) {
        event.type = GRPC_QUEUE_SHUTDOWN;
    }
    queue->is_waited_for = false;
    pthread_mutex_unlock(&queue->lock);
    return event;
}

void __wrap_grpc_completion_queue_shutdown(grpc_completion_queue *queue) {
    pthread_mutex_lock(&queue->lock);
    queue->is_shut_down = true;
    pthread_cond_signal(&queue->filled);
    pthread_mutex_unlock(&queue->lock);
}

void __wrap_grpc_completion_queue_destroy(grpc_completion_queue *queue) {
    (void)pthread_mutex_destroy(&queue->lock);
    (void)pthread_cond_destroy(&queue->filled);
    free(queue);
}

/* The doorbell. */
grpc_channel *__wrap_grpc_lame_client_channel_create(const char *target, grpc_status_code code,
                                                     const char *text) {
    (void)target, (void)code, (void)text;
    return NULL;
}

void __wrap_grpc_channel_destroy(grpc_channel *channel) {
    (void)channel;
}

grpc_call *__wrap_grpc_channel_create_call(grpc_channel *channel, grpc_call *parent, uint32_t mask,
                                           grpc_completion_queue *queue, grpc_slice method,
                                           const grpc_slice *host, gpr_timespec deadline, void *reserved) {
    (void)channel, (void)parent, (void)mask, (void)method, (void)host, (void)deadline, (void)reserved;
    grpc_call *call = take(sizeof *call);
    call->queue = queue;
    return call;
}

void __wrap_grpc_call_unref(grpc_call *call) {
    free(call);
}

grpc_call_error __wrap_grpc_call_start_batch(grpc_call *call, const grpc_op *ops, size_t n_ops, void *tag,
                                             void *reserved) {
    (void)ops, (void)n_ops, (void)reserved;
    assert(n_ops == 0);
    push(call->queue, tag);
    return GRPC_CALL_OK;
}

/* ---- gRPC's library --------------------------------------------------------------------------------- */

int __wrap_library_acquire(struct lun_err *ret_err);
void __wrap_library_release(void);

int __wrap_library_acquire(struct lun_err *ret_err) {
    (void)ret_err;
    return 0;
}

void __wrap_library_release(void) {}

/* ---- channels ------------------------------------------------------------------------------------------ */

int __wrap_env_channel_open(struct rpc *rpc, const char *address, struct rpc_channel **ret_channel,
                            struct lun_err *ret_err);
void __wrap_env_channel_close(struct rpc_channel *base);

struct far_channel {
    struct rpc_channel base;
    struct rpc_channel *sim;
};

static struct far_channel *far_channel_of(struct rpc_channel *base) {
    return CONTAINER_OF(base, struct far_channel, base);
}

static struct rpc *enter(struct rpc *rpc) {
    pthread_mutex_lock(&net.lock);
    struct rpc *sim_rpc = sim_client_rpc(env_of(rpc)->queue.cq->client);
    rpc_enter(sim_rpc);
    return sim_rpc;
}

static void leave(struct rpc *sim_rpc) {
    rpc_leave(sim_rpc);
    pthread_mutex_unlock(&net.lock);
}

int __wrap_env_channel_open(struct rpc *rpc, const char *address, struct rpc_channel **ret_channel,
                            struct lun_err *ret_err) {
    struct far_channel *channel = take(sizeof *channel);
    struct rpc *sim_rpc = enter(rpc);
    int rc = rpc_channel_open(sim_rpc, address, &channel->sim, ret_err);
    leave(sim_rpc);
    if (rc) {
        free(channel);
        return rc;
    }
    channel->base = (struct rpc_channel){rpc, strdup(address)};
    *ret_channel = &channel->base;
    return 0;
}

void __wrap_env_channel_close(struct rpc_channel *base) {
    struct far_channel *channel = far_channel_of(base);
    struct rpc *sim_rpc = enter(base->rpc);
    rpc_channel_close(channel->sim);
    leave(sim_rpc);
    free(base->address);
    free(channel);
}

/* ---- calls ------------------------------------------------------------------------------------------ */

int __wrap_env_call(struct rpc_channel *base, enum rpc_method method, struct lun_bytes request,
                    const struct rpc_options *options, rpc_reply_cb on_reply, void *arg,
                    struct rpc_call **ret_call);
void __wrap_env_cancel(struct rpc_call *base);

/* What came, copied: the simulator's own lasts only for its callback. */
struct news {
    int status;
    bool is_unsent;
    char text[128];
    ProtobufCMessage *message;
};

static ProtobufCMessage *copy_of(const ProtobufCMessage *message) {
    if (!message)
        return NULL;
    size_t n = protobuf_c_message_get_packed_size(message);
    uint8_t *packed = take(n + 1);
    (void)protobuf_c_message_pack(message, packed);
    ProtobufCMessage *copy = protobuf_c_message_unpack(message->descriptor, NULL, n, packed);
    free(packed);
    return copy;
}

static void take_news(struct news *news, const struct rpc_result *result, const ProtobufCMessage *message) {
    news->message = copy_of(message);
    if (!result)
        return;
    news->status = result->status;
    news->is_unsent = result->is_unsent;
    (void)snprintf(news->text, sizeof news->text, "%s", result->message);
}

static void drop_news(struct news *news) {
    if (news->message)
        protobuf_c_message_free_unpacked(news->message, NULL);
}

struct far_call {
    struct rpc_call base;
    struct tag tag;
    struct rpc_call *sim; /* NULL: answered */
    rpc_reply_cb on_reply;
    void *arg;
    struct news news;
};

static void on_call_done(struct tag *tag, bool is_ok) {
    (void)is_ok;
    struct far_call *call = CONTAINER_OF(tag, struct far_call, tag);
    struct rpc_result result = {
        .status = call->news.status, .message = call->news.text, .is_unsent = call->news.is_unsent};
    env_of(call->base.rpc)->n_calls--;
    env_of(call->base.rpc)->n_out--;
    call->on_reply(call->arg, &result, call->news.message);
    drop_news(&call->news);
    free(call);
}

/* On the network's thread. */
static void on_sim_reply(void *arg, const struct rpc_result *result, const ProtobufCMessage *reply) {
    struct far_call *call = arg;
    call->sim = NULL;
    take_news(&call->news, result, reply);
    push(env_of(call->base.rpc)->queue.cq, &call->tag);
}

static struct rpc_options translated(struct rpc *sim_rpc, const struct rpc_options *options) {
    struct rpc_options sim_options = *options;
    if (options->deadline_ns != RPC_NEVER)
        sim_options.deadline_ns = rpc_now(sim_rpc) + options->deadline_ns - clock_boottime_ns();
    return sim_options;
}

int __wrap_env_call(struct rpc_channel *base, enum rpc_method method, struct lun_bytes request,
                    const struct rpc_options *options, rpc_reply_cb on_reply, void *arg,
                    struct rpc_call **ret_call) {
    struct far_call *call = take(sizeof *call);
    call->base.rpc = base->rpc;
    call->tag.on_done = on_call_done;
    call->on_reply = on_reply;
    call->arg = arg;
    struct rpc *sim_rpc = enter(base->rpc);
    struct rpc_options sim_options = translated(sim_rpc, options);
    int rc = rpc_call_packed(far_channel_of(base)->sim, method, request, &sim_options, on_sim_reply, call,
                             &call->sim);
    leave(sim_rpc);
    if (rc)
        abort();
    env_of(base->rpc)->n_calls++;
    env_of(base->rpc)->n_out++;
    if (ret_call)
        *ret_call = &call->base;
    return 0;
}

void __wrap_env_cancel(struct rpc_call *base) {
    struct far_call *call = CONTAINER_OF(base, struct far_call, base);
    struct rpc *sim_rpc = enter(base->rpc);
    if (call->sim)
        rpc_cancel(call->sim);
    leave(sim_rpc);
}

/* ---- streams ---------------------------------------------------------------------------------------- */

int __wrap_env_stream_open(struct rpc_channel *base, enum rpc_method method,
                           const struct rpc_options *options, const struct rpc_stream_callbacks *callbacks,
                           void *arg, struct rpc_stream **ret_stream);
int __wrap_env_stream_send(struct rpc_stream *base, const ProtobufCMessage *message);
void __wrap_env_stream_cancel(struct rpc_stream *base);

struct far_stream {
    struct rpc_stream base;
    struct rpc_stream *sim; /* NULL: ended */
    struct rpc_stream_callbacks callbacks;
    void *arg;
    bool is_cancelled; /* inside */
};

struct arrival {
    struct tag tag;
    struct far_stream *stream;
    struct news news; /* without a message: the end */
};

static void on_arrival(struct tag *tag, bool is_ok) {
    (void)is_ok;
    struct arrival *arrival = CONTAINER_OF(tag, struct arrival, tag);
    struct far_stream *stream = arrival->stream;
    if (!arrival->news.message) {
        struct rpc_result result = {.status = arrival->news.status,
                                    .message = arrival->news.text,
                                    .is_unsent = arrival->news.is_unsent};
        env_of(stream->base.rpc)->n_out--;
        stream->callbacks.on_close(stream->arg, &stream->base, &result);
        free(stream);
    } else if (!stream->is_cancelled) {
        stream->callbacks.on_message(stream->arg, &stream->base, arrival->news.message);
    }
    drop_news(&arrival->news);
    free(arrival);
}

static void arrive(struct far_stream *stream, const struct rpc_result *result,
                   const ProtobufCMessage *message) {
    struct arrival *arrival = take(sizeof *arrival);
    arrival->tag.on_done = on_arrival;
    arrival->stream = stream;
    take_news(&arrival->news, result, message);
    push(env_of(stream->base.rpc)->queue.cq, &arrival->tag);
}

/* On the network's thread, both. */
static void on_sim_message(void *arg, struct rpc_stream *sim_stream, const ProtobufCMessage *message) {
    (void)sim_stream;
    arrive(arg, NULL, message);
}

static void on_sim_close(void *arg, struct rpc_stream *sim_stream, const struct rpc_result *result) {
    (void)sim_stream;
    ((struct far_stream *)arg)->sim = NULL;
    arrive(arg, result, NULL);
}

int __wrap_env_stream_open(struct rpc_channel *base, enum rpc_method method,
                           const struct rpc_options *options, const struct rpc_stream_callbacks *callbacks,
                           void *arg, struct rpc_stream **ret_stream) {
    static const struct rpc_stream_callbacks sim_callbacks = {on_sim_message, on_sim_close};
    struct far_stream *stream = take(sizeof *stream);
    stream->base.rpc = base->rpc;
    stream->callbacks = *callbacks;
    stream->arg = arg;
    struct rpc *sim_rpc = enter(base->rpc);
    struct rpc_options sim_options = translated(sim_rpc, options);
    int rc = rpc_stream_open(far_channel_of(base)->sim, method, &sim_options, &sim_callbacks, stream,
                             &stream->sim);
    leave(sim_rpc);
    if (rc)
        abort();
    env_of(base->rpc)->n_out++;
    *ret_stream = &stream->base;
    return 0;
}

int __wrap_env_stream_send(struct rpc_stream *base, const ProtobufCMessage *message) {
    struct far_stream *stream = CONTAINER_OF(base, struct far_stream, base);
    struct rpc *sim_rpc = enter(base->rpc);
    int rc = stream->sim ? rpc_stream_send(stream->sim, message) : 0;
    leave(sim_rpc);
    return rc;
}

void __wrap_env_stream_cancel(struct rpc_stream *base) {
    struct far_stream *stream = CONTAINER_OF(base, struct far_stream, base);
    stream->is_cancelled = true;
    struct rpc *sim_rpc = enter(base->rpc);
    if (stream->sim)
        rpc_stream_cancel(stream->sim);
    leave(sim_rpc);
}
