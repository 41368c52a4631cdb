/* rpc/rpc.c - what every implementation of the seam has in common: timers, the clock arithmetic of fences,
 * and the calls handed through. */
#include "rpc/rpc.h"

#include <stdlib.h>

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

/* ---- fences ------------------------------------------------------------------------------------ */

void rpc_fence_start(struct rpc *rpc, struct rpc_fence *fence, int64_t valid_until_ns, int64_t grace_ns,
                     void (*on_due)(struct rpc_fence *fence, bool is_lost)) {
    atomic_init(&fence->valid_until_ns, valid_until_ns);
    atomic_init(&fence->last_valid_ns, valid_until_ns);
    atomic_init(&fence->grace_ns, grace_ns);
    fence->late_ns = 0;
    fence->on_due = on_due;
    fence->rpc = rpc;
    list_init(&fence->in_fences);
    list_init(&fence->in_due);
    fence->told_stop_for = 0;
    fence->is_told_lost = false;
    rpc->ops->fence_changed(fence, true);
}

int64_t rpc_fence_read(struct rpc_fence *fence) {
    int64_t until = atomic_load(&fence->valid_until_ns);
    while (until != 0 && rpc_now(fence->rpc) >= until)
        if (atomic_compare_exchange_weak(&fence->valid_until_ns, &until, 0))
            return 0;
    return until;
}

bool rpc_fence_raise(struct rpc_fence *fence, int64_t valid_until_ns) {
    int64_t until = rpc_fence_read(fence);
    while (until != 0 && until < valid_until_ns) {
        if (atomic_compare_exchange_weak(&fence->valid_until_ns, &until, valid_until_ns)) {
            atomic_store(&fence->last_valid_ns, valid_until_ns);
            fence->rpc->ops->fence_changed(fence, false);
            return true;
        }
    }
    return until != 0;
}

void rpc_fence_drop(struct rpc_fence *fence) {
    if (atomic_exchange(&fence->valid_until_ns, 0) != 0)
        atomic_store(&fence->last_valid_ns, RPC_NEVER);
    fence->rpc->ops->fence_changed(fence, false);
}

void rpc_fence_stop(struct rpc_fence *fence) {
    if (fence->rpc)
        fence->rpc->ops->fence_stopped(fence);
}

int64_t rpc_fence_look(struct rpc_fence *fence, bool *ret_is_due) {
    *ret_is_due = false;
    int64_t until = rpc_fence_read(fence);
    if (until == 0) {
        if (!fence->is_told_lost) {
            int64_t late = rpc_now(fence->rpc) - atomic_load(&fence->last_valid_ns);
            fence->late_ns = late > 0 ? late : 0;
            fence->is_told_lost = *ret_is_due = true;
        }
        return RPC_NEVER;
    }
    int64_t stop_at = until - atomic_load(&fence->grace_ns);
    if (fence->told_stop_for == until)
        return until;
    if (rpc_now(fence->rpc) < stop_at)
        return stop_at;
    fence->told_stop_for = until;
    *ret_is_due = true;
    return until;
}

bool rpc_fence_settle(struct rpc_fence *fence, bool *ret_is_lost) {
    int64_t until = rpc_fence_read(fence);
    *ret_is_lost = until == 0;
    if (until != 0)
        return rpc_now(fence->rpc) >= until - atomic_load(&fence->grace_ns);
    bool is_due;
    (void)rpc_fence_look(fence, &is_due); /* lost since it was linked: so that it is not told twice */
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
uint64_t rpc_random(struct rpc *rpc) {
    return rpc->ops->random(rpc);
}
int rpc_peer_open(struct rpc *rpc, const char *address, struct rpc_peer **ret_peer, struct lun_err *ret_err) {
    return rpc->ops->peer_open(rpc, address, ret_peer, ret_err);
}
void rpc_peer_close(struct rpc_peer *peer) {
    if (peer)
        peer->rpc->ops->peer_close(peer);
}
const char *rpc_peer_address(const struct rpc_peer *peer) {
    return peer->address;
}
int rpc_call_packed(struct rpc_peer *peer, enum rpc_method method, struct lun_bytes request,
                    const struct rpc_options *options, rpc_reply_cb on_reply, void *arg,
                    struct rpc_call **ret_call) {
    return peer->rpc->ops->call(peer, method, request, options, on_reply, arg, ret_call);
}
int rpc_call(struct rpc_peer *peer, enum rpc_method method, const ProtobufCMessage *request,
             const struct rpc_options *options, rpc_reply_cb on_reply, void *arg,
             struct rpc_call **ret_call) {
    size_t n_bytes = protobuf_c_message_get_packed_size(request);
    uint8_t *packed = malloc(n_bytes + 1);
    if (!packed)
        return LUN_ENOMEM;
    (void)protobuf_c_message_pack(request, packed);
    int rc =
        rpc_call_packed(peer, method, (struct lun_bytes){packed, n_bytes}, options, on_reply, arg, ret_call);
    free(packed);
    return rc;
}
void rpc_cancel(struct rpc_call *call) {
    call->rpc->ops->cancel(call);
}
int rpc_stream_open(struct rpc_peer *peer, enum rpc_method method, const struct rpc_options *options,
                    const struct rpc_stream_callbacks *callbacks, void *arg, struct rpc_stream **ret_stream) {
    return peer->rpc->ops->stream_open(peer, method, options, callbacks, arg, ret_stream);
}
int rpc_stream_send(struct rpc_stream *stream, const ProtobufCMessage *message) {
    return stream->rpc->ops->stream_send(stream, message);
}
void rpc_stream_cancel(struct rpc_stream *stream) {
    stream->rpc->ops->stream_cancel(stream);
}
void rpc_post(struct rpc *rpc, struct rpc_note *note) {
    rpc->ops->post(rpc, note);
}
void rpc_unpost(struct rpc *rpc, struct rpc_note *note) {
    rpc->ops->unpost(rpc, note);
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
