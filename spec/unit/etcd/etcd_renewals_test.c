/* spec/unit/etcd/etcd_renewals_test.c - leases that are kept alive together, and owners that end each other's within a
 * callback. */
#include "etcd_world.h"

#include "etcd/renewal.h"

struct lease {
    struct renewal renewal;
    struct lease *other; /* stopped by the first refusal */
    int n_refused;
};

static void on_renewed(struct renewal *renewal, int64_t sent_ns, int64_t ttl_s) {
    (void)renewal, (void)sent_ns, (void)ttl_s;
}

static void on_gone(struct renewal *renewal) {
    (void)renewal;
}

static void on_refused(struct renewal *renewal, const struct lun_err *err) {
    struct lease *lease = CONTAINER_OF(renewal, struct lease, renewal);
    (void)err;
    lease->n_refused++;
    if (lease->other)
        renewal_stop(&lease->other->renewal);
}

static void one_that_another_stops_when_both_are_refused_is_told_nothing(void) {
    static const struct renewal_callbacks callbacks = {on_renewed, on_gone, on_refused};
    struct world world = world_of(1);
    struct lease leases[2] = {{.other = &leases[1]}, {.other = NULL}};
    world_enter(&world);
    for (int i = 0; i < 2; i++) {
        renewal_init(&leases[i].renewal, world.etcd, &callbacks);
        renewal_start(&leases[i].renewal, i + 1, 10 * NS_PER_S, 0);
    }
    world_leave(&world);
    fake_run(world.fake);
    struct fake_stream *stream = fake_stream(world.fake, RPC_LEASE_KEEP_ALIVE, 0);
    REQUIRE(stream);
    CHECK(leases[1].renewal.n_out == 1);
    fake_break(stream, RPC_UNAUTHENTICATED, "etcdserver: invalid auth token");
    CHECK(leases[0].n_refused == 1 && leases[1].n_refused == 0);
    CHECK(leases[1].renewal.n_out == 0);
    world_enter(&world);
    renewal_stop(&leases[0].renewal);
    world_leave(&world);
    world_close(&world);
}

int main(void) {
    RUN(one_that_another_stops_when_both_are_refused_is_told_nothing);
    return check_end();
}
