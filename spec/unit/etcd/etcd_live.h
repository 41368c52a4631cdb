/* spec/unit/etcd/etcd_live.h - what the tests of the etcd floor against a real etcd share: a server, a cluster, and calls that are waited for. */
#ifndef LUN_UNIT_ETCD_LIVE_H
#define LUN_UNIT_ETCD_LIVE_H

#include <stdint.h>
#include <time.h>

#include "base/clock.h"
#include "etcd/confirm.h"
#include "etcd/keepalive.h"
#include "etcd/kv.h"
#include "etcd/watch.h"
#include "rpc/grpc.h"

#include "check.h"
#include "etcd_server.h"

/* No wait of a test is longer. */
#define LIMIT_NS (60 * NS_PER_S)
#define LEASE INT64_C(0x1234567890abcdef)

static struct etcd_server server;
static struct rpc *rpc;
static struct etcd *etcd;

/* ---- waiting ---------------------------------------------------------------------------------------- */

static inline void on_wake(struct rpc_completion *note) {
    (void)note;
}

static struct rpc_completion wake;

/* Lets things happen until `flag` is at least `n`; false after LIMIT_NS. */
static inline bool wait_for(const int *flag, int n) {
    int64_t end = clock_boottime_ns() + LIMIT_NS;
    for (;;) {
        rpc_enter(rpc);
        bool is_there = *flag >= n;
        rpc_leave(rpc);
        if (is_there || clock_boottime_ns() >= end)
            return is_there;
        (void)rpc_poll(rpc, end);
    }
}

static inline void sleep_ms(long ms) {
    struct timespec t = {ms / 1000, ms % 1000 * 1000000L};
    (void)nanosleep(&t, NULL);
}

/* ---- a cluster -------------------------------------------------------------------------------------- */

static int n_closed;

static inline void on_closed(void *arg) {
    (void)arg;
    n_closed++;
    rpc_deliver(rpc, &wake);
}

static inline void open_cluster(const char *const *endpoints, size_t n) {
    struct lun_err err = {0};
    rpc_enter(rpc);
    int rc = etcd_new(rpc, endpoints, n, NULL, &etcd, &err);
    rpc_leave(rpc);
    if (rc) {
        printf("# %s\n", err.text);
        abort();
    }
}

static inline void close_cluster(void) {
    n_closed = 0;
    rpc_enter(rpc);
    etcd_close(etcd, on_closed, NULL);
    rpc_leave(rpc);
    CHECK(wait_for(&n_closed, 1));
    rpc_enter(rpc);
    etcd_free(etcd);
    rpc_leave(rpc);
}

static inline void open_server(void) {
    const char *endpoints[] = {server.address};
    open_cluster(endpoints, 1);
}

/* ---- calls ------------------------------------------------------------------------------------------ */

static struct {
    int n;
    struct lun_err err; /* code 0: answered */
    struct etcd_reply reply;
    struct lun_kv_result results[4];
    char value[64]; /* of the first pair of the first result that has one */
    int64_t create_rev;
    char address[64];
} got;

static inline void on_reply(void *arg, const struct etcd_reply *reply) {
    (void)arg;
    got.reply = *reply;
    got.err = reply->err ? *reply->err : (struct lun_err){0};
    got.value[0] = '\0';
    got.create_rev = 0;
    for (size_t i = 0; i < reply->n_results && i < 4; i++) {
        got.results[i] = reply->results[i];
        if (reply->results[i].n_kvs > 0 && got.create_rev == 0) {
            const struct lun_kv *kv = &reply->results[i].kvs[0];
            (void)snprintf(got.value, sizeof got.value, "%.*s", (int)kv->value.len,
                           kv->value.len ? (const char *)kv->value.data : "");
            got.create_rev = kv->create_rev;
        }
    }
    (void)snprintf(got.address, sizeof got.address, "%s",
                   reply->member ? etcd_member_address(reply->member) : "");
    got.n++;
    rpc_deliver(rpc, &wake);
}

static inline struct etcd_call_options how_within(int64_t ns) {
    return (struct etcd_call_options){.deadline_ns = clock_boottime_ns() + ns};
}

static inline int finish(int rc) {
    if (rc)
        return got.err.code = rc;
    (void)wait_for(&got.n, 1);
    return got.err.code;
}

static inline int ask(const struct lun_kv_op *op, const struct etcd_call_options *how) {
    got.n = 0;
    rpc_enter(rpc);
    int rc = etcd_do(etcd, op, how, on_reply, NULL, NULL);
    rpc_leave(rpc);
    return finish(rc);
}

static inline int put(const char *key, const char *value, int64_t lease) {
    struct etcd_call_options how = how_within(5 * NS_PER_S);
    return ask(
        &(struct lun_kv_op){
            .kind = LUN_OP_PUT, .key = lun_bytes_of(key), .value = lun_bytes_of(value), .lease = lease},
        &how);
}

static inline int get(const char *key) {
    struct etcd_call_options how = how_within(5 * NS_PER_S);
    return ask(&(struct lun_kv_op){.kind = LUN_OP_RANGE, .key = lun_bytes_of(key)}, &how);
}

static inline int delete (const char *key) {
    struct etcd_call_options how = how_within(5 * NS_PER_S);
    return ask(&(struct lun_kv_op){.kind = LUN_OP_DELETE, .key = lun_bytes_of(key), .wants_prev_kv = true},
               &how);
}

static inline int txn(const struct lun_txn *request) {
    struct etcd_call_options how = how_within(5 * NS_PER_S);
    got.n = 0;
    rpc_enter(rpc);
    int rc = etcd_txn(etcd, request, &how, on_reply, NULL, NULL);
    rpc_leave(rpc);
    return finish(rc);
}

static inline int lease_call(char which, int64_t ttl_s) {
    struct etcd_call_options how = how_within(5 * NS_PER_S);
    got.n = 0;
    rpc_enter(rpc);
    int rc = which == 'g'   ? etcd_lease_grant(etcd, LEASE, ttl_s, &how, on_reply, NULL, NULL)
             : which == 'r' ? etcd_lease_revoke(etcd, LEASE, &how, on_reply, NULL, NULL)
                            : etcd_lease_time_to_live(etcd, LEASE, &how, on_reply, NULL, NULL);
    rpc_leave(rpc);
    return finish(rc);
}

#endif
