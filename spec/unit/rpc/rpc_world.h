/* spec/unit/rpc/rpc_world.h - one environment and what the tests of the seam ask of it. */
#ifndef LUN_UNIT_RPC_WORLD_H
#define LUN_UNIT_RPC_WORLD_H

#include <dirent.h>
#include <poll.h>
#include <time.h>

#include "base/clock.h"
#include "rpc/grpc.h"
#include "rpc/rpc.h"

#include "etcd.pb-c.h"

#include "check.h"

/* No wait of a test is longer. */
/* What must come at all: so long that no machine is too slow or too busy for it. */
static const int64_t LIMIT_NS = 60 * NS_PER_S;

static inline struct rpc *world_new(void) {
    struct rpc *rpc = NULL;
    struct lun_err err;
    if (rpc_grpc_new(NULL, &rpc, &err)) {
        printf("# %s\n", err.text);
        abort();
    }
    return rpc;
}

static inline struct rpc_channel *world_channel(struct rpc *rpc, const char *address) {
    struct rpc_channel *channel = NULL;
    struct lun_err err;
    rpc_enter(rpc);
    int rc = rpc_channel_open(rpc, address, &channel, &err);
    rpc_leave(rpc);
    if (rc) {
        printf("# %s\n", err.text);
        abort();
    }
    return channel;
}

static inline void world_close_channel(struct rpc *rpc, struct rpc_channel *channel) {
    rpc_enter(rpc);
    rpc_channel_close(channel);
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
    struct rpc_completion note;
    struct rpc_call *call;
    int n_replies, n_polled;
    int status;
    bool is_unsent, has_reply;
    char message[256];
    int64_t number; /* of the reply: create revision, lease, count... */
};

static inline void answer_on_poll(struct rpc_completion *note) {
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
    rpc_deliver(answer->rpc, &answer->note);
}

/* Any thread. `timeout_ms` 0: none. */
static inline int ask(struct rpc_channel *channel, enum rpc_method method, const ProtobufCMessage *request,
                      int timeout_ms, struct answer *answer) {
    struct rpc_options options = {.deadline_ns =
                                      timeout_ms ? clock_boottime_ns() + timeout_ms * NS_PER_MS : RPC_NEVER};
    *answer = (struct answer){.rpc = channel->rpc, .status = -1};
    rpc_completion_init(&answer->note, answer_on_poll);
    rpc_enter(channel->rpc);
    int rc = rpc_call(channel, method, request, &options, answer_on_reply, answer, &answer->call);
    rpc_leave(channel->rpc);
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

/* Waits, polling nothing, until the counter reaches `n`; false after LIMIT_NS. */
static inline bool nap_until(struct rpc *rpc, const int *counter, int n) {
    int64_t end = clock_boottime_ns() + LIMIT_NS;
    while (peek(rpc, counter) < n && clock_boottime_ns() < end)
        nap_ms(2);
    return peek(rpc, counter) >= n;
}

static inline ProtobufCBinaryData text_of(const char *text) {
    return (ProtobufCBinaryData){strlen(text), (uint8_t *)(uintptr_t)text};
}

static inline void put(struct rpc_channel *channel, const char *key, const char *value, int timeout_ms,
                       struct answer *answer) {
    Etcdserverpb__PutRequest request = ETCDSERVERPB__PUT_REQUEST__INIT;
    request.key = text_of(key);
    request.value = text_of(value);
    (void)ask(channel, RPC_PUT, &request.base, timeout_ms, answer);
    (void)poll_until(channel->rpc, &answer->n_polled, 1);
}

static inline void range(struct rpc_channel *channel, const char *key, int timeout_ms,
                         struct answer *answer) {
    Etcdserverpb__RangeRequest request = ETCDSERVERPB__RANGE_REQUEST__INIT;
    request.key = text_of(key);
    (void)ask(channel, RPC_RANGE, &request.base, timeout_ms, answer);
    (void)poll_until(channel->rpc, &answer->n_polled, 1);
}

/* Asks until it answers. */
static inline bool wait_until_serving(struct rpc_channel *channel) {
    int64_t end = clock_boottime_ns() + LIMIT_NS;
    while (clock_boottime_ns() < end) {
        struct answer answer;
        range(channel, "is it there", 500, &answer);
        if (answer.status == RPC_OK)
            return true;
        nap_ms(10);
    }
    return false;
}

/* Of this process. */
static inline int n_threads(void) {
    int n = 0;
    DIR *dir = opendir("/proc/self/task");
    for (struct dirent *entry; dir && (entry = readdir(dir));)
        n += entry->d_name[0] != '.';
    if (dir)
        closedir(dir);
    return n;
}

/* Whether it has so many threads: one that is joined may still stand in /proc for a while. */
static inline bool has_threads(int n) {
    for (int i = 0; i < 10000 && n_threads() > n; i++)
        nap_ms(1);
    return n_threads() == n;
}

static inline bool is_readable(int fd) {
    return poll(&(struct pollfd){.fd = fd, .events = POLLIN}, 1, 0) == 1;
}

#endif
