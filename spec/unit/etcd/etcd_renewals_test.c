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

static const struct renewal_callbacks callbacks = {on_renewed, on_gone, on_refused};

/* It is due at once. */
static void start_now(struct world *world, struct lease *lease, int64_t ttl_s) {
    world_enter(world);
    renewal_start(&lease->renewal, 1, ttl_s * NS_PER_S, 0);
    world_leave(world);
}

static void begin(struct world *world, struct lease *lease, int64_t ttl_s) {
    *lease = (struct lease){.other = NULL};
    renewal_init(&lease->renewal, world->etcd, &callbacks);
    start_now(world, lease, ttl_s);
}

static void end(struct world *world, struct lease *lease) {
    world_enter(world);
    renewal_stop(&lease->renewal);
    world_leave(world);
    world_close(world);
}

static void one_that_another_stops_when_both_are_refused_is_told_nothing(void) {
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
    end(&world, &leases[0]);
}

/* ---- a balancer ------------------------------------------------------------------------------------- */

enum { MEMBER_OF_STREAMS = 7, MEMBER_OF_READS = 8, ROUNDS = 20 };

static void say_gone(struct fake_stream *stream, int64_t id) {
    Etcdserverpb__ResponseHeader header = header_of(OUR_CLUSTER, 5, 2);
    Etcdserverpb__LeaseKeepAliveResponse response = ETCDSERVERPB__LEASE_KEEP_ALIVE_RESPONSE__INIT;
    header.member_id = MEMBER_OF_STREAMS;
    response.header = &header;
    response.id = id;
    fake_say(stream, &response.base);
}

static void reply_read(struct fake_call *call) {
    Etcdserverpb__ResponseHeader header = header_of(OUR_CLUSTER, 5, 2);
    Etcdserverpb__RangeResponse response = ETCDSERVERPB__RANGE_RESPONSE__INIT;
    header.member_id = MEMBER_OF_READS;
    response.header = &header;
    fake_reply(call, &response.base);
}

/* Nothing is certain there, and the lease ends by its time; until then etcd is not asked as fast as it answers. */
static void behind_a_balancer_a_lease_that_is_unknown_is_asked_for_with_pauses(void) {
    struct world world = world_of(1);
    struct lease lease;
    begin(&world, &lease, 10);
    fake_run(world.fake);
    int64_t began_ns = fake_now(world.fake);
    for (int i = 0; i < ROUNDS; i++) {
        struct fake_stream *stream = fake_stream(world.fake, RPC_LEASE_KEEP_ALIVE, 0);
        REQUIRE(stream);
        for (int n = 0; n < 100 && !fake_sent(stream); n++)
            fake_advance(world.fake, 10 * NS_PER_MS);
        say_gone(stream, 1);
        fake_run(world.fake);
        struct fake_call *read = fake_call(world.fake, RPC_RANGE);
        REQUIRE(read);
        reply_read(read);
        fake_run(world.fake);
    }
    CHECK(fake_now(world.fake) - began_ns >= (ROUNDS - 6) * 200 * NS_PER_MS);
    end(&world, &lease);
}

int main(void) {
    RUN(behind_a_balancer_a_lease_that_is_unknown_is_asked_for_with_pauses);
    RUN(one_that_another_stops_when_both_are_refused_is_told_nothing);
    return check_end();
}
