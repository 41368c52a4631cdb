/* spec/unit/rpc/rpc_world.h - one environment and what the tests of the seam ask of it. */
#ifndef LUN_UNIT_RPC_WORLD_H
#define LUN_UNIT_RPC_WORLD_H

#include <time.h>

#include "base/clock.h"
#include "rpc/grpc.h"
#include "rpc/rpc.h"

#include "etcd.pb-c.h"

#include "check.h"

/* No wait of a test is longer. */
static const int64_t LIMIT_NS = 10 * NS_PER_S;

static inline struct rpc *world_new(void) {
    struct rpc *rpc = NULL;
    struct lun_err err;
    if (rpc_grpc_new(&rpc, &err)) {
        printf("# %s\n", err.text);
        abort();
    }
    return rpc;
}

static inline struct rpc_peer *world_peer(struct rpc *rpc, const char *address) {
    struct rpc_peer *peer = NULL;
    struct lun_err err;
    rpc_enter(rpc);
    int rc = rpc_peer_open(rpc, address, &peer, &err);
    rpc_leave(rpc);
    if (rc) {
        printf("# %s\n", err.text);
        abort();
    }
    return peer;
}

static inline void world_close_peer(struct rpc *rpc, struct rpc_peer *peer) {
    rpc_enter(rpc);
    rpc_peer_close(peer);
    rpc_leave(rpc);
}

static inline void nap_ms(int ms) {
    struct timespec t = {ms / 1000, ms % 1000 * 1000000L};
    while (nanosleep(&t, &t))
        ;
}

/* What came back of one call. */
struct answer {
    struct rpc *rpc;
    struct rpc_note note;
    struct rpc_call *call;
    int n_replies, n_polled;
    int status;
    bool is_unsent, has_reply;
    char message[256];
    int64_t number; /* of the reply: create revision, lease, count... */
};

static inline void answer_on_poll(struct rpc_note *note) {
    CONTAINER_OF(note, struct answer, note)->n_polled++;
}

static inline void answer_on_reply(void *arg, const struct rpc_result *result,
                                   const ProtobufCMessage *reply) {
    struct answer *answer = arg;
    answer->n_replies++;
    answer->status = result->status;
    answer->is_unsent = result->is_unsent;
    answer->has_reply = reply != NULL;
    snprintf(answer->message, sizeof answer->message, "%s", result->message);
    if (reply && reply->descriptor == &etcdserverpb__put_response__descriptor)
        answer->number = ((const Etcdserverpb__PutResponse *)reply)->header->revision;
    if (reply && reply->descriptor == &etcdserverpb__lease_grant_response__descriptor)
        answer->number = ((const Etcdserverpb__LeaseGrantResponse *)reply)->id;
    if (reply && reply->descriptor == &etcdserverpb__range_response__descriptor) {
        const Etcdserverpb__RangeResponse *range = (const Etcdserverpb__RangeResponse *)reply;
        answer->number = range->n_kvs > 0 ? (int64_t)range->kvs[0]->value.len : 0;
    }
    rpc_post(answer->rpc, &answer->note);
}

/* Any thread. `timeout_ms` 0: none. */
static inline int ask(struct rpc_peer *peer, enum rpc_method method, const ProtobufCMessage *request,
                      int timeout_ms, struct answer *answer) {
    struct rpc_options options = {.deadline_ns =
                                      timeout_ms ? clock_boottime_ns() + timeout_ms * NS_PER_MS : RPC_NEVER};
    *answer = (struct answer){.rpc = peer->rpc, .status = -1};
    rpc_note_init(&answer->note, answer_on_poll);
    rpc_enter(peer->rpc);
    int rc = rpc_call(peer, method, request, &options, answer_on_reply, answer, &answer->call);
    rpc_leave(peer->rpc);
    return rc;
}

/* A counter that callbacks count up, read inside: whoever sits in the queue may be at it. */
static inline int peek(struct rpc *rpc, const int *counter) {
    rpc_enter(rpc);
    int n = *counter;
    rpc_leave(rpc);
    return n;
}

/* Polls until the counter reaches `n`; false after LIMIT_NS. */
static inline bool poll_until(struct rpc *rpc, const int *counter, int n) {
    int64_t end = clock_boottime_ns() + LIMIT_NS;
    while (peek(rpc, counter) < n && clock_boottime_ns() < end)
        (void)rpc_poll(rpc, end);
    return peek(rpc, counter) >= n;
}

static inline ProtobufCBinaryData text_of(const char *text) {
    return (ProtobufCBinaryData){strlen(text), (uint8_t *)(uintptr_t)text};
}

static inline void put(struct rpc_peer *peer, const char *key, const char *value, int timeout_ms,
                       struct answer *answer) {
    Etcdserverpb__PutRequest request = ETCDSERVERPB__PUT_REQUEST__INIT;
    request.key = text_of(key);
    request.value = text_of(value);
    (void)ask(peer, RPC_PUT, &request.base, timeout_ms, answer);
    (void)poll_until(peer->rpc, &answer->n_polled, 1);
}

static inline void range(struct rpc_peer *peer, const char *key, int timeout_ms, struct answer *answer) {
    Etcdserverpb__RangeRequest request = ETCDSERVERPB__RANGE_REQUEST__INIT;
    request.key = text_of(key);
    (void)ask(peer, RPC_RANGE, &request.base, timeout_ms, answer);
    (void)poll_until(peer->rpc, &answer->n_polled, 1);
}

/* Asks until it answers. */
static inline bool wait_until_serving(struct rpc_peer *peer) {
    int64_t end = clock_boottime_ns() + LIMIT_NS;
    while (clock_boottime_ns() < end) {
        struct answer answer;
        range(peer, "is it there", 500, &answer);
        if (answer.status == RPC_OK)
            return true;
        nap_ms(10);
    }
    return false;
}

#endif
