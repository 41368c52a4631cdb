/* spec/unit/etcd/etcd_window_test.c - how much one member is asked at a time: what was given up counts too. */
#include "etcd_asking.h"

enum { MANY = 300, LOOKS = 32, SCANS = 16, GIVEN_UP = 8 };

static struct got gots[MANY];

static struct etcd_call_options of_class(struct world *world, enum etcd_call_class class, int64_t ns) {
    struct etcd_call_options how = within(world, ns);
    how.class = class;
    return how;
}

static struct etcd_call *scan(struct world *world, struct got *got, int64_t ns) {
    struct lun_kv_op op = {.kind = LUN_OP_RANGE, .key = lun_bytes_of("a"), .range_end = lun_bytes_of("b")};
    return ask(world, got, &op, within(world, ns));
}

static void answer_all(struct world *world) {
    struct fake_call *call;
    while ((call = fake_call(world->fake, RPC_RANGE)))
        reply_range(call, NULL, 5);
    fake_run(world->fake);
}

static size_t n_out(struct world *world) {
    return fake_n_calls(world->fake, FAKE_ANY);
}

static void looks_share_a_bound(void) {
    struct world world = world_of(1);
    for (int i = 0; i < MANY; i++)
        (void)get_how(&world, &gots[i], of_class(&world, ETCD_LOOK, RPC_NEVER));
    CHECK(n_out(&world) == LOOKS);
    for (int i = 0; i < MANY; i += LOOKS) {
        for (int n = 0; n < LOOKS && fake_call(world.fake, RPC_RANGE); n++)
            reply_range(fake_call(world.fake, RPC_RANGE), NULL, 5);
        fake_run(world.fake);
        CHECK(n_out(&world) <= LOOKS);
    }
    for (int i = 0; i < MANY; i++)
        CHECK(gots[i].n == 1 && gots[i].code == 0);
    world_close(&world);
}

static void neither_a_users_call_nor_a_lease_waits_behind_looks(void) {
    struct world world = world_of(1);
    for (int i = 0; i < MANY / 2; i++)
        (void)get_how(&world, &gots[i], of_class(&world, ETCD_LOOK, RPC_NEVER));
    for (int i = MANY / 2; i < MANY; i++)
        (void)scan(&world, &gots[i], RPC_NEVER);
    CHECK(n_out(&world) == LOOKS + SCANS);
    struct got user, lease;
    (void)put(&world, &user, 5 * S);
    CHECK(fake_n_calls(world.fake, RPC_PUT) == 1);
    (void)put_how(&world, &lease, of_class(&world, ETCD_LEASE, 5 * S));
    CHECK(fake_n_calls(world.fake, RPC_PUT) == 2);
    reply_put(fake_call(world.fake, RPC_PUT), OUR_CLUSTER);
    reply_put(fake_call(world.fake, RPC_PUT), OUR_CLUSTER);
    CHECK(user.code == 0 && lease.code == 0);
    while (n_out(&world))
        answer_all(&world);
    world_close(&world);
}

static void a_lease_does_not_wait_for_users_calls(void) {
    struct world world = world_of(1);
    for (int i = 0; i < MANY; i++)
        (void)get(&world, &gots[i], RPC_NEVER);
    size_t n = n_out(&world);
    CHECK(n < MANY);
    struct got lease;
    (void)put_how(&world, &lease, of_class(&world, ETCD_LEASE, 5 * S));
    CHECK(n_out(&world) == n + 1);
    reply_put(fake_call(world.fake, RPC_PUT), OUR_CLUSTER);
    while (n_out(&world))
        answer_all(&world);
    world_close(&world);
}

/* A member that answers nothing, and a caller that asks again every 100 ms for a minute. */
static void what_was_given_up_counts(void) {
    struct world world = world_of(1);
    for (int i = 0; i < 600; i++) {
        struct got got;
        (void)get(&world, &got, 100 * MS);
        fake_advance(world.fake, 100 * MS);
        CHECK(got.n == 1 && got.code == LUN_EUNAVAILABLE);
        if (i == 599)
            CHECK(strstr(got.err.text, "a:1 silent for ") != NULL);
    }
    CHECK(fake_n_calls_made(world.fake) <= GIVEN_UP + 40);
    struct got got; /* it goes on: within two seconds it is noticed, and all is as before */
    (void)get(&world, &got, 5 * S);
    for (int i = 0; i < 20 && n_out(&world) == 0; i++)
        fake_advance(world.fake, 100 * MS);
    reply_range(flight(&world, RPC_RANGE, "a:1"), NULL, 5);
    CHECK(got.n == 1 && got.code == 0);
    for (int i = 0; i < 20; i++)
        (void)get(&world, &gots[i], 5 * S);
    CHECK(n_out(&world) == 20);
    answer_all(&world);
    world_close(&world);
}

static void what_was_cancelled_counts_until_a_later_answer(void) {
    struct world world = world_of(1);
    for (int i = 0; i < 50; i++) {
        struct etcd_call *call = get(&world, &gots[i], RPC_NEVER);
        rpc_enter(world.rpc);
        etcd_cancel(call);
        rpc_leave(world.rpc);
        fake_run(world.fake);
        CHECK(gots[i].n == 1 && gots[i].code == LUN_ECANCELLED);
    }
    CHECK(fake_n_calls_made(world.fake) == GIVEN_UP + 1); /* and one that finds out whether it answers */
    fake_advance(world.fake, 50 * MS);
    struct got got;
    (void)get(&world, &got, 5 * S);
    reply_range(flight(&world, RPC_RANGE, "a:1"), NULL, 5);
    (void)get(&world, &gots[0], 5 * S);
    (void)get(&world, &gots[1], 5 * S);
    CHECK(n_out(&world) == 2);
    answer_all(&world);
    world_close(&world);
}

static void a_slow_member_is_looked_at_less(void) {
    struct world world = world_of(1);
    for (int i = 0; i < 8; i++) { /* a second each */
        (void)get_how(&world, &gots[i], of_class(&world, ETCD_LOOK, RPC_NEVER));
        fake_advance(world.fake, S);
        answer_all(&world);
    }
    for (int i = 0; i < MANY; i++)
        (void)get_how(&world, &gots[i], of_class(&world, ETCD_LOOK, RPC_NEVER));
    CHECK(n_out(&world) < LOOKS / 4);
    CHECK(flight(&world, RPC_RANGE, "a:1")->deadline_ns >= fake_now(world.fake) + 3 * S);
    while (n_out(&world))
        answer_all(&world);
    world_close(&world);
}

static void who_waits_for_a_member_that_fails_goes_elsewhere(void) {
    struct world world = world_of(2);
    for (int i = 0; i < 40; i++)
        (void)get_how(&world, &gots[i], of_class(&world, ETCD_LOOK, RPC_NEVER));
    CHECK(n_out(&world) == LOOKS);
    fake_refuse(flight(&world, RPC_RANGE, "a:1"));
    fake_run(world.fake);
    size_t n_elsewhere = 0;
    for (size_t i = 0; fake_nth_call(world.fake, RPC_RANGE, i); i++)
        n_elsewhere += strcmp(fake_nth_call(world.fake, RPC_RANGE, i)->address, "b:1") == 0;
    CHECK(n_elsewhere == 40 - LOOKS + 1);
    while (n_out(&world))
        answer_all(&world);
    world_close(&world);
}

static void who_is_cancelled_while_a_member_fails_is_not_asked_elsewhere(void) {
    struct world world = world_of(2);
    for (int i = 0; i < LOOKS; i++)
        (void)get_how(&world, &gots[i], of_class(&world, ETCD_LOOK, RPC_NEVER));
    struct got got;
    struct etcd_call *call = get_how(&world, &got, of_class(&world, ETCD_LOOK, RPC_NEVER));
    rpc_enter(world.rpc);
    etcd_cancel(call);
    rpc_leave(world.rpc);
    fake_refuse(flight(&world, RPC_RANGE, "a:1"));
    fake_run(world.fake);
    CHECK(got.n == 1 && got.code == LUN_ECANCELLED);
    while (n_out(&world))
        answer_all(&world);
    world_close(&world);
}

static void queueing_ends_by_deadline_cancel_and_close(void) {
    struct world world = world_of(1);
    for (int i = 0; i < LOOKS; i++)
        (void)get_how(&world, &gots[i], of_class(&world, ETCD_LOOK, RPC_NEVER));
    struct got late, cancelled, closed;
    (void)get_how(&world, &late, of_class(&world, ETCD_LOOK, S));
    struct etcd_call *call = get_how(&world, &cancelled, of_class(&world, ETCD_LOOK, RPC_NEVER));
    (void)get_how(&world, &closed, of_class(&world, ETCD_LOOK, RPC_NEVER));
    fake_advance(world.fake, S);
    CHECK(late.n == 1 && late.code == LUN_EUNAVAILABLE && !late.err.is_outcome_unknown);
    CHECK_TEXT(late.err.text, "no etcd member answered within 1 s (a:1 has not answered earlier requests)");
    rpc_enter(world.rpc);
    etcd_cancel(call);
    rpc_leave(world.rpc);
    CHECK(cancelled.n == 0);
    fake_run(world.fake);
    CHECK(cancelled.n == 1 && cancelled.code == LUN_ECANCELLED && closed.n == 0);
    world_close(&world);
    CHECK(closed.n == 1 && closed.code == LUN_ECANCELLED);
}

int main(void) {
    RUN(looks_share_a_bound);
    RUN(neither_a_users_call_nor_a_lease_waits_behind_looks);
    RUN(a_lease_does_not_wait_for_users_calls);
    RUN(what_was_given_up_counts);
    RUN(what_was_cancelled_counts_until_a_later_answer);
    RUN(a_slow_member_is_looked_at_less);
    RUN(who_waits_for_a_member_that_fails_goes_elsewhere);
    RUN(who_is_cancelled_while_a_member_fails_is_not_asked_elsewhere);
    RUN(queueing_ends_by_deadline_cancel_and_close);
    return check_end();
}
