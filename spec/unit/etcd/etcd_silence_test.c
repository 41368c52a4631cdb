/* How long one attempt waits for a member that says nothing, and what its silence means. */
#include "etcd/cluster.h"
#include "etcd_asking.h"

static void a_silent_member_costs_one_attempt_and_is_left(void) {
    struct world world = world_of(2);
    struct got got;
    (void)get(&world, &got, 10 * S);
    fake_advance(world.fake, ETCD_ATTEMPT_NS - 1);
    CHECK(fake_call(world.fake, RPC_RANGE) && fake_n_calls_made(world.fake) == 1);
    fake_advance(world.fake, 1);
    reply_range(flight(&world, RPC_RANGE, "b:1"), NULL, 5);
    CHECK(got.n == 1 && got.code == 0 && got.reply.has_unanswered);
    for (int i = 0; i < 5; i++) {
        (void)get(&world, &got, 10 * S);
        reply_range(flight(&world, RPC_RANGE, "b:1"), NULL, 5);
    }
    (void)get(&world, &got, 10 * S); /* by need only, and shortly */
    fake_refuse(flight(&world, RPC_RANGE, "b:1"));
    struct fake_call *call = flight(&world, RPC_MEMBER_STATUS, "a:1");
    CHECK(call->deadline_ns - fake_now(world.fake) <= ETCD_ATTEMPT_NS);
    reply_status(call, OUR_CLUSTER);
    reply_range(flight(&world, RPC_RANGE, "a:1"), NULL, 6);
    CHECK(got.n == 1 && got.code == 0 && !got.reply.has_unanswered);
    world_close(&world);
}

static void attempts_share_the_time_that_is_left(void) {
    struct world world = world_of(3);
    struct got got;
    int64_t end = fake_now(world.fake) + 900 * MS;
    (void)put_again(&world, &got, 900 * MS);
    CHECK(flight(&world, RPC_PUT, "a:1")->deadline_ns == fake_now(world.fake) + 300 * MS);
    fake_advance(world.fake, 300 * MS);
    CHECK(flight(&world, RPC_PUT, "b:1")->deadline_ns == fake_now(world.fake) + 300 * MS);
    fake_advance(world.fake, 300 * MS);
    CHECK(flight(&world, RPC_PUT, "c:1")->deadline_ns == end);
    fake_advance(world.fake, 300 * MS);
    CHECK(got.n == 1 && got.code == LUN_EUNAVAILABLE && got.err.is_outcome_unknown && got.err.is_retriable);
    CHECK_TEXT(got.err.text,
               "no etcd member answered within 900 ms (a:1 silent for 900 ms; b:1 silent for 600 ms; c:1 "
               "silent for 300 ms)");
    world_close(&world);
}

static void a_short_timeout_says_nothing_of_members_that_are_far_away(void) {
    struct world world = world_of(3);
    struct got got;
    for (size_t i = 0; i < 3; i++)
        world_member(&world, i)->windows[WINDOW_USER].answer_ns = 3 * S;
    (void)put_again(&world, &got, 900 * MS);
    fake_advance(world.fake, S);
    CHECK(got.n == 1 && got.code == LUN_EUNAVAILABLE);
    for (size_t i = 0; i < 3; i++)
        CHECK(world_member(&world, i)->failed_ns == 0);
    (void)get(&world, &got, 30 * S); /* that all of them are silent shows in the end */
    fake_advance(world.fake, 30 * S);
    CHECK(got.n == 1 && world_member(&world, 0)->failed_ns != 0);
    world_close(&world);
}

static void an_attempts_time_can_be_given(void) {
    struct world world = world_of(1);
    struct got got;
    struct etcd_call_options how = within(&world, RPC_NEVER);
    how.attempt_ns = 100 * MS;
    (void)get_how(&world, &got, how);
    for (int i = 0; i < 3; i++) {
        CHECK(flight(&world, RPC_RANGE, "a:1")->deadline_ns == fake_now(world.fake) + 100 * MS);
        fake_advance(world.fake, 100 * MS);
        next_round(&world);
    }
    reply_range(flight(&world, RPC_RANGE, "a:1"), NULL, 5);
    CHECK(got.n == 1 && got.code == 0);
    world_close(&world);
}

static void a_slow_cluster_is_given_more_time_each_round(void) {
    struct world world = world_of(1);
    struct got got;
    (void)get(&world, &got, RPC_NEVER);
    for (int i = 1; i <= 4; i++) {
        CHECK(flight(&world, RPC_RANGE, "a:1")->deadline_ns == fake_now(world.fake) + i * ETCD_ATTEMPT_NS);
        fake_advance(world.fake, i * ETCD_ATTEMPT_NS);
        next_round(&world);
    }
    CHECK(flight(&world, RPC_RANGE, "a:1")->deadline_ns == fake_now(world.fake) + 4 * ETCD_ATTEMPT_NS);
    reply_range(flight(&world, RPC_RANGE, "a:1"), NULL, 5);
    world_close(&world);
}

static void a_write_sent_once_is_waited_for(void) {
    struct world world = world_of(2);
    struct got got;
    (void)put(&world, &got, 5 * S);
    fake_advance(world.fake, 4900 * MS);
    CHECK(got.n == 0);
    fake_advance(world.fake, 100 * MS);
    CHECK(got.n == 1 && got.code == LUN_EUNKNOWN && got.reply.has_unanswered);
    CHECK_TEXT(got.err.text,
               "the reply was lost (a:1 silent for 5 s): the write may or may not have been carried out");
    world_close(&world);
}

static void a_short_deadline_does_not_condemn_a_member(void) {
    struct world world = world_of(2);
    struct got got;
    for (int i = 0; i < 4; i++) { /* until they add up */
        struct etcd_call_options how = within(&world, 150 * MS);
        how.member = world_member(&world, 0);
        CHECK(etcd_pick(world.etcd) == world_member(&world, 0));
        (void)get_how(&world, &got, how);
        fake_advance(world.fake, 150 * MS);
        CHECK(got.n == 1 && got.code == LUN_EUNAVAILABLE);
    }
    CHECK(etcd_pick(world.etcd) == world_member(&world, 1));
    world_close(&world);
}

int main(void) {
    RUN(a_silent_member_costs_one_attempt_and_is_left);
    RUN(attempts_share_the_time_that_is_left);
    RUN(a_short_timeout_says_nothing_of_members_that_are_far_away);
    RUN(an_attempts_time_can_be_given);
    RUN(a_slow_cluster_is_given_more_time_each_round);
    RUN(a_write_sent_once_is_waited_for);
    RUN(a_short_deadline_does_not_condemn_a_member);
    return check_end();
}
