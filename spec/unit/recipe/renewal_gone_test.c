/* spec/unit/recipe/renewal_gone_test.c - when an answer that a lease is gone (TTL 0) ends its session, and when it is
 * asked again. */
#include "renewal_scene.h"

/* Members that live in the present, and know of no such lease. */
static void all_say_0(void) {
    for (size_t i = 0; i < world->n_members; i++) {
        world->members[i].renewals_term = world->raft_term;
        world->members[i].renewals_ttl = 0;
    }
}

static void all_tell_the_truth(void) {
    for (size_t i = 0; i < world->n_members; i++)
        world->members[i].renewals_term = 0;
}

static void ttl_0_of_a_member_of_the_past_is_not_believed(void) {
    begin(3, 10);
    struct world_member *stale = carrier();
    stale->renewals_term = world->raft_term - 1;
    stale->renewals_ttl = 0;
    world_advance(world, SECONDS(60));
    STORY(world, "");
    end();
}

static void ttl_0_whose_read_fails_is_not_believed(void) {
    begin(3, 10);
    struct world_member *member = carrier();
    member->renewals_term = world->raft_term;
    member->renewals_ttl = 0;
    member->are_reads_refused = true;
    world_advance(world, SECONDS(60));
    STORY(world, "");
    end();
}

/* Until a renewal has been answered, and stands before its read. */
static void run_to_the_next_answer(void) {
    int n = world->n_renewals;
    world->is_held[RPC_RANGE] = true;
    while (world->n_renewals == n)
        world_advance(world, MS(1));
}

static void answer_reads(void) {
    world->is_held[RPC_RANGE] = false;
    world_run(world);
}

/* By the time it answers the read the member knows the lease: the session lives on. */
static void tell_the_truth_and_go_on(void) {
    all_tell_the_truth();
    answer_reads();
    world_advance(world, SECONDS(30));
    STORY(world, "");
}

static void ttl_0_is_asked_again_once_the_member_has_answered_a_read(void) {
    begin(1, 10);
    all_say_0();
    int n = world->n_renewals;
    run_to_the_next_answer();
    world_advance(world, MS(1500)); /* etcd's leader is paused before it has carried out the grant */
    CHECK(world->n_renewals == n + 1);
    all_tell_the_truth(); /* it has carried it out by the time it answers the read */
    answer_reads();
    CHECK(world->n_renewals == n + 2);
    world_advance(world, SECONDS(30));
    STORY(world, "");
    end();
}

static void ttl_0_of_another_member_needs_a_read_of_that_one(void) {
    begin(3, 10);
    struct world_member *first = carrier();
    all_say_0();
    run_to_the_next_answer();
    first->is_frozen = true;
    run_to_the_next_answer();
    tell_the_truth_and_go_on();
    end();
}

static void ttl_0_of_another_member_behind_the_same_address_needs_a_read_of_that_one(void) {
    begin(1, 10);
    world_advance(world, SECONDS(5)); /* there were reads by now */
    world->members[0].renewals_id = 4711;
    all_say_0();
    run_to_the_next_answer();
    tell_the_truth_and_go_on();
    end();
}

/* The old one had renewed it; the new one may not have carried out the grant yet. */
static void ttl_0_of_a_new_leader_is_asked_again(void) {
    begin(3, 10);
    world_advance(world, SECONDS(5));
    world->raft_term++;
    all_say_0();
    run_to_the_next_answer();
    tell_the_truth_and_go_on();
    end();
}

/* The old one served the read, the member answered it when it knew the new one. */
static void ttl_0_of_a_new_leader_after_a_read_of_the_old_one_is_asked_again(void) {
    begin(1, 10);
    run_to_the_next_answer();
    world->raft_term++;
    all_say_0();
    answer_reads();
    run_to_the_next_answer();
    tell_the_truth_and_go_on();
    end();
}

/* One leader that lags says so, another is elected while it is asked again, and lags as well. */
static void ttl_0_of_two_leaders_one_after_the_other_is_not_twice_the_same_answer(void) {
    begin(3, 10);
    all_say_0();
    run_to_the_next_answer();
    world->is_held[RPC_LEASE_KEEP_ALIVE] = true;
    answer_reads();
    world->raft_term++;
    all_say_0();
    world->is_held[RPC_LEASE_KEEP_ALIVE] = false;
    run_to_the_next_answer();
    tell_the_truth_and_go_on();
    end();
}

/* The read was sent before the grant was known: it says nothing of the leader that carries it out late. */
static void a_read_older_than_the_lease_does_not_make_ttl_0_certain(void) {
    static struct person bob;
    begin(1, 10);
    world_advance(world, SECONDS(5));
    person_open(&bob, world, "Bob", 10, 0);
    world_run(world);
    STORY(world, "Bob opened");
    all_say_0();
    rpc_enter(world->rpc);
    CHECK(session_suspect(&bob.session));
    rpc_leave(world->rpc);
    run_to_the_next_answer();
    tell_the_truth_and_go_on();
    person_leave(&bob);
    end();
}

static void ttl_0_of_a_member_that_has_answered_a_read_ends_the_session(void) {
    begin(3, 10);
    world_advance(world, SECONDS(5));
    int n = world->n_renewals;
    world_revoke(world, ann.session.lease);
    run_to_the_next_answer();
    answer_reads();
    STORY(world, "Ann lost revoked");
    CHECK(world->n_renewals == n + 1);
    end();
}

static void ttl_0_said_by_the_only_member_that_answers_ends_the_session(void) {
    begin(3, 10);
    struct world_member *member = carrier();
    world_revoke(world, ann.session.lease);
    for (int i = 0; i < 3; i++)
        world->members[i].is_frozen = &world->members[i] != member;
    world_advance(world, SECONDS(8));
    STORY(world, "Ann lost revoked");
    end();
}

static void ttl_0_confirmed_twice_ends_the_session(void) {
    begin(3, 10);
    int n = world->n_renewals;
    world_revoke(world, ann.session.lease);
    world_advance(world, MS(3800));
    STORY(world, "Ann lost revoked");
    CHECK(world->n_renewals == n + 2);
    CHECK(fake_n_streams(world->fake, RPC_LEASE_KEEP_ALIVE) == 0);
    end();
}

int main(void) {
    RUN(ttl_0_of_a_member_of_the_past_is_not_believed);
    RUN(ttl_0_whose_read_fails_is_not_believed);
    RUN(ttl_0_is_asked_again_once_the_member_has_answered_a_read);
    RUN(ttl_0_of_another_member_needs_a_read_of_that_one);
    RUN(ttl_0_of_another_member_behind_the_same_address_needs_a_read_of_that_one);
    RUN(ttl_0_of_a_new_leader_is_asked_again);
    RUN(ttl_0_of_a_new_leader_after_a_read_of_the_old_one_is_asked_again);
    RUN(ttl_0_of_two_leaders_one_after_the_other_is_not_twice_the_same_answer);
    RUN(a_read_older_than_the_lease_does_not_make_ttl_0_certain);
    RUN(ttl_0_of_a_member_that_has_answered_a_read_ends_the_session);
    RUN(ttl_0_said_by_the_only_member_that_answers_ends_the_session);
    RUN(ttl_0_confirmed_twice_ends_the_session);
    return check_end();
}
