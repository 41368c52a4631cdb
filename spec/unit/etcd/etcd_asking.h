/* spec/unit/etcd/etcd_asking.h - single requests to a cluster that is played by the test: asking, and what is in flight. */
#ifndef LUN_UNIT_ETCD_ASKING_H
#define LUN_UNIT_ETCD_ASKING_H

#include "etcd_world.h"

#define MS NS_PER_MS
#define S NS_PER_S

static inline struct etcd_call_options within(struct world *world, int64_t ns) {
    return (struct etcd_call_options){.deadline_ns =
                                          ns == RPC_NEVER ? RPC_NEVER : fake_now(world->fake) + ns};
}

static inline struct etcd_call *ask(struct world *world, struct got *got, const struct lun_kv_op *op,
                                    struct etcd_call_options how) {
    struct etcd_call *call = NULL;
    *got = (struct got){0};
    rpc_enter(world->rpc);
    CHECK(etcd_do(world->etcd, op, &how, got_reply, got, &call) == 0);
    rpc_leave(world->rpc);
    CHECK(got->n == 0);
    return call;
}

static inline struct etcd_call *get_how(struct world *world, struct got *got, struct etcd_call_options how) {
    return ask(world, got, &(struct lun_kv_op){.kind = LUN_OP_RANGE, .key = lun_bytes_of("k")}, how);
}

static inline struct etcd_call *get(struct world *world, struct got *got, int64_t ns) {
    return get_how(world, got, within(world, ns));
}

static inline struct etcd_call *put_how(struct world *world, struct got *got, struct etcd_call_options how) {
    return ask(world, got,
               &(struct lun_kv_op){.kind = LUN_OP_PUT, .key = lun_bytes_of("k"), .value = lun_bytes_of("v")},
               how);
}

static inline struct etcd_call *put(struct world *world, struct got *got, int64_t ns) {
    return put_how(world, got, within(world, ns));
}

/* The call in flight; the test cannot go on without it. */
static inline struct fake_call *flight(struct world *world, int method, const char *address) {
    struct fake_call *call = fake_call(world->fake, method);
    if (!call) {
        printf("#   %s\n", address);
        check_give_up(__FILE__, __LINE__, "no call in flight");
    }
    CHECK_TEXT(call->address, address);
    return call;
}

/* Lets the delay between rounds pass. */
static inline void next_round(struct world *world) {
    CHECK(fake_n_calls(world->fake, FAKE_ANY) == 0);
    int64_t delay = fake_next_timer(world->fake) - fake_now(world->fake);
    CHECK(delay >= 50 * MS && delay <= 500 * MS);
    fake_advance(world->fake, delay);
}

static inline struct etcd_call *put_again(struct world *world, struct got *got, int64_t ns) {
    struct etcd_call_options how = within(world, ns);
    how.is_idempotent = true;
    return put_how(world, got, how);
}

#endif
