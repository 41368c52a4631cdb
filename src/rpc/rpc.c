/* rpc/rpc.c - what every implementation of the seam has in common: timers, the clock arithmetic of validities,
 * and the calls handed through. */
#include "rpc/rpc.h"

#include <stdlib.h>
#include <sys/mman.h>

void rpc_init(struct rpc *rpc, const struct rpc_ops *ops) {
    *rpc = (struct rpc){.ops = ops, .round_ns = INT64_MIN};
    heap_init(&rpc->timers);
}

void rpc_fini(struct rpc *rpc) {
    heap_fini(&rpc->timers);
}

/* ---- timers ------------------------------------------------------------------------------------ */

int rpc_timer_init(struct rpc *rpc, struct rpc_timer *timer, void (*on_due)(struct rpc_timer *timer)) {
    int rc = heap_reserve(&rpc->timers, rpc->n_timers + 1);
    if (rc)
        return rc;
    rpc->n_timers++;
    *timer = (struct rpc_timer){.rpc = rpc, .on_due = on_due};
    return 0;
}

void rpc_timer_fini(struct rpc_timer *timer) {
    if (!timer->rpc)
        return;
    rpc_timer_stop(timer);
    timer->rpc->n_timers--;
    timer->rpc = NULL;
}

/* A timer started from a timer's callback must wait for the next round, however long ago its instant was:
 * else one that always restarts itself in the past would keep the round from ending. */
void rpc_timer_start(struct rpc_timer *timer, int64_t at_ns) {
    struct rpc *rpc = timer->rpc;
    if (at_ns == RPC_NEVER) {
        rpc_timer_stop(timer);
        return;
    }
    heap_insert(&rpc->timers, &timer->node, at_ns > rpc->round_ns ? at_ns : rpc->round_ns + 1);
}

void rpc_timer_stop(struct rpc_timer *timer) {
    if (timer->rpc)
        heap_remove(&timer->rpc->timers, &timer->node);
}

int64_t rpc_timers_next(const struct rpc *rpc) {
    const struct heap_node *first = heap_first(&rpc->timers);
    return first ? first->key : RPC_NEVER;
}

void rpc_timers_run(struct rpc *rpc, int64_t now_ns) {
    rpc->round_ns = now_ns;
    for (struct heap_node *first; (first = heap_first(&rpc->timers)) && first->key <= now_ns;) {
        heap_remove(&rpc->timers, first);
        struct rpc_timer *timer = CONTAINER_OF(first, struct rpc_timer, node);
        timer->on_due(timer);
    }
    rpc->round_ns = INT64_MIN;
}

/* ---- validities ------------------------------------------------------------------------------------ */

void rpc_validity_start(struct rpc *rpc, struct rpc_validity *validity, int64_t valid_until_ns,
                        int64_t grace_ns, void (*on_due)(struct rpc_validity *validity, bool is_lost)) {
    atomic_init(&validity->valid_until_ns, valid_until_ns);
    atomic_init(&validity->last_valid_ns, valid_until_ns);
    atomic_init(&validity->grace_ns, grace_ns);
    validity->late_ns = 0;
    validity->on_due = on_due;
    validity->rpc = rpc;
    list_init(&validity->in_validities);
    list_init(&validity->in_due);
    validity->told_stop_for = 0;
    validity->is_told_lost = false;
    validity->shared = NULL;
    rpc->ops->validity_changed(validity, true);
}

static void tell_shared(struct rpc_validity *validity, int64_t valid_until_ns) {
    if (validity->shared)
        atomic_store(validity->shared, valid_until_ns);
}

const _Atomic int64_t *rpc_validity_share(struct rpc_validity *validity) {
    if (validity->shared)
        return validity->shared;
    void *page = mmap(NULL, sizeof(int64_t), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED)
        return NULL;
    validity->shared = page;
    tell_shared(validity, rpc_validity_read(validity));
    return validity->shared;
}

void rpc_validity_unshare(struct rpc_validity *validity) {
    if (validity->shared)
        (void)munmap(validity->shared, sizeof(int64_t));
    validity->shared = NULL;
}

int64_t rpc_validity_read(struct rpc_validity *validity) {
    int64_t until = atomic_load(&validity->valid_until_ns);
    while (until != 0 && rpc_now(validity->rpc) >= until)
        if (atomic_compare_exchange_weak(&validity->valid_until_ns, &until, 0))
            return 0;
    return until;
}

bool rpc_validity_raise(struct rpc_validity *validity, int64_t valid_until_ns) {
    int64_t until = rpc_validity_read(validity);
    while (until != 0 && until < valid_until_ns) {
        if (atomic_compare_exchange_weak(&validity->valid_until_ns, &until, valid_until_ns)) {
            atomic_store(&validity->last_valid_ns, valid_until_ns);
            tell_shared(validity, valid_until_ns);
            validity->rpc->ops->validity_changed(validity, false);
            return true;
        }
    }
    return until != 0;
}

void rpc_validity_drop(struct rpc_validity *validity) {
    if (atomic_exchange(&validity->valid_until_ns, 0) != 0)
        atomic_store(&validity->last_valid_ns, RPC_NEVER);
    tell_shared(validity, 0);
    validity->rpc->ops->validity_changed(validity, false);
}

void rpc_validity_stop(struct rpc_validity *validity) {
    tell_shared(validity, 0);
    if (validity->rpc)
        validity->rpc->ops->validity_stopped(validity);
}

int64_t rpc_validity_look(struct rpc_validity *validity, bool *ret_is_due) {
    *ret_is_due = false;
    int64_t until = rpc_validity_read(validity);
    if (until == 0) {
        if (!validity->is_told_lost) {
            int64_t late = rpc_now(validity->rpc) - atomic_load(&validity->last_valid_ns);
            validity->late_ns = late > 0 ? late : 0;
            validity->is_told_lost = *ret_is_due = true;
        }
        return RPC_NEVER;
    }
    int64_t stop_at = until - atomic_load(&validity->grace_ns);
    if (validity->told_stop_for == until)
        return until;
    if (rpc_now(validity->rpc) < stop_at)
        return stop_at;
    validity->told_stop_for = until;
    *ret_is_due = true;
    return until;
}

bool rpc_validity_settle(struct rpc_validity *validity, bool *ret_is_lost) {
    int64_t until = rpc_validity_read(validity);
    *ret_is_lost = until == 0;
    if (until != 0)
        return rpc_now(validity->rpc) >= until - atomic_load(&validity->grace_ns);
    bool is_due;
    (void)rpc_validity_look(validity, &is_due); /* lost since it was linked: so that it is not told twice */
    return true;
}

/* ---- handed through ---------------------------------------------------------------------------- */

void rpc_enter(struct rpc *rpc) {
    rpc->ops->enter(rpc);
}
void rpc_leave(struct rpc *rpc) {
    rpc->ops->leave(rpc);
}
int64_t rpc_now(struct rpc *rpc) {
    return rpc->ops->now(rpc);
}
int64_t rpc_calendar(struct rpc *rpc) {
    return rpc->ops->calendar(rpc);
}
uint64_t rpc_random(struct rpc *rpc) {
    return rpc->ops->random(rpc);
}
int rpc_channel_open(struct rpc *rpc, const char *address, struct rpc_channel **ret_channel,
                     struct lun_err *ret_err) {
    return rpc->ops->channel_open(rpc, address, ret_channel, ret_err);
}
void rpc_channel_close(struct rpc_channel *channel) {
    if (channel)
        channel->rpc->ops->channel_close(channel);
}
const char *rpc_channel_address(const struct rpc_channel *channel) {
    return channel->address;
}
int rpc_call_packed(struct rpc_channel *channel, enum rpc_method method, struct lun_bytes request,
                    const struct rpc_options *options, rpc_reply_cb on_reply, void *arg,
                    struct rpc_call **ret_call) {
    return channel->rpc->ops->call(channel, method, request, options, on_reply, arg, ret_call);
}
int rpc_call(struct rpc_channel *channel, enum rpc_method method, const ProtobufCMessage *request,
             const struct rpc_options *options, rpc_reply_cb on_reply, void *arg,
             struct rpc_call **ret_call) {
    size_t n_bytes = protobuf_c_message_get_packed_size(request);
    uint8_t *packed = malloc(n_bytes + 1);
    if (!packed)
        return LUN_ENOMEM;
    (void)protobuf_c_message_pack(request, packed);
    int rc = rpc_call_packed(channel, method, (struct lun_bytes){packed, n_bytes}, options, on_reply, arg,
                             ret_call);
    free(packed);
    return rc;
}
void rpc_cancel(struct rpc_call *call) {
    call->rpc->ops->cancel(call);
}
int rpc_stream_open(struct rpc_channel *channel, enum rpc_method method, const struct rpc_options *options,
                    const struct rpc_stream_callbacks *callbacks, void *arg, struct rpc_stream **ret_stream) {
    return channel->rpc->ops->stream_open(channel, method, options, callbacks, arg, ret_stream);
}
int rpc_stream_send(struct rpc_stream *stream, const ProtobufCMessage *message) {
    return stream->rpc->ops->stream_send(stream, message);
}
void rpc_stream_cancel(struct rpc_stream *stream) {
    stream->rpc->ops->stream_cancel(stream);
}
void rpc_deliver(struct rpc *rpc, struct rpc_completion *completion) {
    rpc->ops->deliver(rpc, completion);
}
void rpc_withdraw(struct rpc *rpc, struct rpc_completion *completion) {
    rpc->ops->withdraw(rpc, completion);
}
int rpc_poll(struct rpc *rpc, int64_t until_ns) {
    return rpc->ops->poll(rpc, until_ns);
}
int rpc_fd(struct rpc *rpc) {
    return rpc->ops->fd(rpc);
}
void rpc_free(struct rpc *rpc) {
    if (rpc)
        rpc->ops->free(rpc);
}

/* ---- lookups --------------------------------------------------------------------------------------- */

int rpc_lookup_start(struct rpc *rpc, const char *name, struct rpc_lookup **ret_lookup) {
    return rpc->ops->lookup_start ? rpc->ops->lookup_start(rpc, name, ret_lookup) : LUN_EINVALID;
}

void rpc_lookup_free(struct rpc_lookup *lookup) {
    if (lookup)
        lookup->release(lookup);
}
