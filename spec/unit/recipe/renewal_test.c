/* spec/unit/recipe/renewal_test.c - which renewals count, and how one member that is silent, broken or lives in the past
 * costs nothing. */
#include "etcd/renewals.h"
#include "renewal_scene.h"

static int64_t confirmed_send(void) {
    return session_valid_until_ns(&ann.session) - SECONDS(ann.session.ttl_s) * 9 / 10;
}

/* ---- when ------------------------------------------------------------------------------------------- */

static void a_renewal_is_sent_every_tenth_of_the_ttl_and_a_little_before(void) {
    begin(1, 9);
    int64_t before = confirmed_send();
    for (int i = 0; i < 20; i++) {
        while (confirmed_send() == before)
            world_advance(world, MS(1));
        int64_t span = confirmed_send() - before;
        CHECK(span >= MS(719) && span <= MS(901));
        before = confirmed_send();
    }
    CHECK(fake_n_streams_opened(world->fake) == 1);
    end();
}

static void the_deadline_counts_from_the_send_and_not_from_the_answer(void) {
    begin(1, 10);
    (void)carrier();
    world->is_held[RPC_LEASE_KEEP_ALIVE] = true;
    int n = world->n_renewals;
    world_advance(world, SECONDS(2));
    int64_t before = confirmed_send();
    while (fake_n_streams(world->fake, RPC_LEASE_KEEP_ALIVE) <
           2) /* the first was sent a sixth of a TTL ago */
        world_advance(world, MS(1));
    int64_t sent = fake_now(world->fake) - SECONDS(10) / 6;
    struct fake_stream *second = fake_stream(world->fake, RPC_LEASE_KEEP_ALIVE, 1);
    CHECK(fake_sent(second) != NULL); /* swallowed */
    CHECK(world->n_renewals == n && confirmed_send() == before);
    world->is_held[RPC_LEASE_KEEP_ALIVE] = false;
    world->is_held[RPC_RANGE] = true;
    world_run(world);
    world_answer_one(world, RPC_RANGE); /* of the first stream's: the next renewal, overdue, is at its read */
    CHECK(confirmed_send() >= sent - MS(2) && confirmed_send() <= sent + MS(2));
    end();
}

static void a_renewal_counts_once_a_read_sent_after_it_was_answered(void) {
    begin(1, 10);
    world->is_held[RPC_RANGE] = true;
    int64_t before = confirmed_send();
    int n = world->n_renewals;
    while (world->n_renewals == n)
        world_advance(world, MS(1));
    CHECK(fake_n_calls(world->fake, RPC_RANGE) == 1);
    CHECK(confirmed_send() == before);
    int64_t answered = fake_now(world->fake);
    world_advance(world, MS(500));
    world->is_held[RPC_RANGE] = false;
    world_run(world);
    CHECK(confirmed_send() > before && confirmed_send() <= answered);
    end();
}

/* ---- members that live in the past ------------------------------------------------------------------ */

static void an_answer_of_an_earlier_term_does_not_count(void) {
    begin(1, 10);
    world->members[0].renewals_term = world->raft_term - 1;
    world->members[0].renewals_ttl = 10;
    world_advance(world, SECONDS(10));
    STORY(world, "Ann jeopardy, Ann lost expired");
    end();
}

static void an_answer_of_a_term_that_only_the_read_shows_to_be_over_does_not_count(void) {
    begin(1, 10);
    world->members[0].renewals_term = world->raft_term; /* the latest that anybody has told us of... */
    world->members[0].renewals_ttl = 10;
    world->raft_term++; /* ...but there was an election meanwhile */
    world_advance(world, SECONDS(10));
    STORY(world, "Ann jeopardy, Ann lost expired");
    end();
}

static void an_answer_whose_read_fails_does_not_count(void) {
    begin(1, 10);
    world->members[0].are_reads_refused = true; /* "leader changed" */
    world_advance(world, SECONDS(10));
    STORY(world, "Ann jeopardy, Ann lost expired");
    end();
}

static void a_member_of_the_past_costs_nothing_while_others_live_in_the_present(void) {
    for (int64_t ttl_s = 2; ttl_s <= 10; ttl_s += 4) {
        begin(3, ttl_s);
        struct world_member *stale = carrier();
        stale->renewals_term = world->raft_term - 1;
        stale->renewals_ttl = ttl_s;
        world_advance(world, SECONDS(60));
        STORY(world, "");
        end();
    }
}

/* ---- members that are silent ------------------------------------------------------------------------ */

static void a_frozen_member_costs_nothing(void) {
    for (size_t frozen = 0; frozen < 3; frozen++)
        for (int64_t ttl_s = 2; ttl_s <= 10; ttl_s += 4) {
            begin(3, ttl_s);
            (void)carrier();
            world->members[frozen].is_frozen = true;
            world_advance(world, SECONDS(60));
            CHECK(strstr(world->story, "lost") == NULL);
            CHECK(person_is_valid(&ann));
            end();
        }
}

static void members_frozen_in_turn_cost_nothing(void) {
    begin(3, 3);
    for (int turn = 0; turn < 12; turn++) {
        struct world_member *member = &world->members[turn % 3];
        member->is_frozen = true;
        world_advance(world, MS(7500));
        member->is_frozen = false;
        CHECK(strstr(world->story, "lost") == NULL);
    }
    end();
}

static void silence_opens_a_stream_to_the_next_member_every_sixth_of_the_ttl(void) {
    begin(3, 6);
    struct world_member *first = carrier();
    for (size_t i = 0; i < 3; i++)
        world->members[i].is_frozen = true;
    while (fake_n_streams(world->fake, RPC_LEASE_KEEP_ALIVE) == 1)
        world_advance(world, MS(1));
    struct fake_stream *second = fake_stream(world->fake, RPC_LEASE_KEEP_ALIVE, 1);
    CHECK(strcmp(second->address, first->address) != 0);
    int64_t at = fake_now(world->fake);
    while (fake_n_streams(world->fake, RPC_LEASE_KEEP_ALIVE) == 2)
        world_advance(world, MS(1));
    struct fake_stream *third = fake_stream(world->fake, RPC_LEASE_KEEP_ALIVE, 2);
    CHECK(strcmp(third->address, first->address) != 0 && strcmp(third->address, second->address) != 0);
    CHECK(fake_now(world->fake) - at >= MS(999) && fake_now(world->fake) - at <= MS(1001));
    while (fake_n_streams(world->fake, RPC_LEASE_KEEP_ALIVE) == 3)
        world_advance(world, MS(1));
    struct fake_stream *fourth = fake_stream(world->fake, RPC_LEASE_KEEP_ALIVE, 3);
    CHECK_TEXT(fourth->address, first->address); /* those tried already included */
    end();
}

static void the_first_answer_counts_with_its_own_send_and_closes_the_other_streams(void) {
    begin(3, 12);
    struct world_member *first = carrier();
    first->is_frozen = true;
    int64_t before = confirmed_send();
    while (confirmed_send() == before)
        world_advance(world, MS(1));
    /* answered by the second member at once: its send, two seconds after the first one's */
    CHECK(fake_now(world->fake) - confirmed_send() <= MS(2));
    CHECK(fake_n_streams(world->fake, RPC_LEASE_KEEP_ALIVE) == 1);
    CHECK(strcmp(fake_stream(world->fake, RPC_LEASE_KEEP_ALIVE, 0)->address, first->address) != 0);
    end();
}

static void streams_that_are_silent_for_ever_are_limited(void) {
    begin(3, 60);
    (void)carrier();
    for (size_t i = 0; i < 3; i++)
        world->members[i].is_frozen = true;
    world_advance(world, SECONDS(53));
    CHECK(fake_n_streams(world->fake, RPC_LEASE_KEEP_ALIVE) <= RENEWAL_STREAMS);
    end();
}

static void a_read_that_is_stuck_is_given_up_in_time_for_another(void) {
    for (int64_t ttl_s = 2; ttl_s <= 10; ttl_s += 4) {
        begin(1, ttl_s);
        world->is_held[RPC_RANGE] = true;
        int n = world->n_renewals;
        while (world->n_renewals == n)
            world_advance(world, MS(1));
        struct fake_call *stuck = fake_call(world->fake, RPC_RANGE);
        REQUIRE(stuck != NULL);
        stuck->is_cancelled = true; /* out of reach of the store: only its own deadline ends it */
        fake_hold_cancelled(world->fake, true);
        world->is_held[RPC_RANGE] = false;
        world_advance(world, SECONDS(2 * ttl_s));
        CHECK(strstr(world->story, "lost") == NULL);
        fake_hold_cancelled(world->fake, false);
        end();
    }
}

/* ---- streams that break ----------------------------------------------------------------------------- */

static void a_broken_stream_is_replaced_at_once_if_an_answer_was_due(void) {
    begin(3, 10);
    (void)carrier();
    world->is_held[RPC_LEASE_KEEP_ALIVE] = true;
    world_advance(world, MS(1200));
    CHECK(fake_n_streams(world->fake, RPC_LEASE_KEEP_ALIVE) == 1);
    world->is_held[RPC_LEASE_KEEP_ALIVE] = false;
    int64_t before = confirmed_send();
    struct fake_stream *stream = fake_stream(world->fake, RPC_LEASE_KEEP_ALIVE, 0);
    fake_break(stream, RPC_UNAVAILABLE, "Socket closed");
    world_advance(world, MS(60));
    CHECK(confirmed_send() > before);
    end();
}

static void a_stream_that_breaks_between_renewals_waits_for_the_next_one(void) {
    begin(3, 10);
    (void)carrier();
    size_t n = fake_n_streams_opened(world->fake);
    world_break_streams(world, RPC_LEASE_KEEP_ALIVE);
    world_advance(world, MS(500));
    CHECK(fake_n_streams_opened(world->fake) == n);
    world_advance(world, SECONDS(20));
    STORY(world, "");
    end();
}

static void streams_that_are_refused_are_tried_again_with_growing_delays(void) {
    begin(1, 10);
    (void)carrier();
    world->is_held[RPC_LEASE_KEEP_ALIVE] = true;
    world_advance(world, MS(3800));
    size_t n = fake_n_streams_opened(world->fake);
    for (int64_t ms = 0; ms < 2000; ms++) {
        world_break_streams(world, RPC_LEASE_KEEP_ALIVE);
        world_advance(world, MS(1));
    }
    n = fake_n_streams_opened(world->fake) - n;
    CHECK(n >= 5 && n <= 12);
    end();
}

static void no_memory_for_a_stream_is_made_good(void) {
    begin(1, 10);
    fake_fail_next(world->fake, 3);
    world_advance(world, SECONDS(30));
    STORY(world, "");
    end();
}

static void a_suspicion_renews_at_once_and_not_twice(void) {
    begin(1, 10);
    world_advance(world, SECONDS(1));
    int n = world->n_renewals;
    rpc_enter(world->rpc);
    CHECK(session_suspect(&ann.session));
    CHECK(session_suspect(&ann.session));
    rpc_leave(world->rpc);
    world_run(world);
    CHECK(world->n_renewals == n + 1);
    end();
}

/* ---- many sessions of one client --------------------------------------------------------------------- */

enum { MANY = 100 };
static struct person people[MANY];

static void many_begin(size_t n_members) {
    world = world_new(n_members);
    for (int i = 0; i < MANY; i++)
        person_open(&people[i], world, "one", 10, 0);
    world_run(world);
    world->story[0] = '\0';
}

static void many_end(void) {
    for (int i = 0; i < MANY; i++)
        person_close(&people[i], true);
    world_advance(world, SECONDS(1));
    world_free(world);
}

static int n_valid(void) {
    int n = 0;
    for (int i = 0; i < MANY; i++)
        n += person_is_valid(&people[i]);
    return n;
}

/* Renewals after `since_ns` of how many are confirmed? */
static int n_renewed(int64_t since_ns) {
    int n = 0;
    for (int i = 0; i < MANY; i++)
        n += people[i].session.confirmed_send_ns >= since_ns;
    return n;
}

static void all_sessions_are_renewed_together_on_one_stream_with_few_reads(void) {
    many_begin(3);
    world_advance(world, SECONDS(3)); /* by now they go together */
    int n_reads = world->n_answered[RPC_RANGE], n = world->n_renewals;
    world_advance(world, SECONDS(20));
    CHECK(fake_n_streams_opened(world->fake) == 1);
    CHECK(world->n_renewals - n >= 20 * MANY && world->n_renewals - n <= 26 * MANY);
    CHECK(world->n_answered[RPC_RANGE] - n_reads <= 2 * 26);
    CHECK(n_valid() == MANY);
    many_end();
}

static void one_that_is_closed_while_its_renewal_is_out_does_not_disturb_the_others(void) {
    many_begin(1);
    world_advance(world, SECONDS(3));
    world->is_held[RPC_LEASE_KEEP_ALIVE] = true;
    world_advance(world, SECONDS(1));
    for (int i = 0; i < MANY; i += 2)
        person_close(&people[i], true);
    world_run(world);
    world->is_held[RPC_LEASE_KEEP_ALIVE] = false;
    world_advance(world, SECONDS(20));
    CHECK(n_valid() == MANY / 2);
    many_end();
}

/* All are at rest, then silent for so long, then answer. */
static void etcd_is_away(int64_t span_ns, bool is_frozen) {
    world->members[0].is_frozen = true;
    if (!is_frozen)
        world_break_streams(world, RPC_LEASE_KEEP_ALIVE);
    world_advance(world, span_ns);
    world->members[0].is_frozen = false;
    if (!is_frozen)
        world_break_streams(world, RPC_LEASE_KEEP_ALIVE);
}

static void an_etcd_that_comes_back_has_few_renewals_to_work_through(void) {
    for (int is_frozen = 0; is_frozen < 2; is_frozen++) {
        many_begin(1);
        world_advance(world, SECONDS(3));
        etcd_is_away(SECONDS(5), is_frozen);
        int64_t back_ns = fake_now(world->fake);
        int n = world->n_renewals, n_reads = world->n_answered[RPC_RANGE];
        world_advance(world, RENEWAL_RECOVERY_NS);
        CHECK(n_renewed(back_ns - SECONDS(1)) == MANY);
        CHECK(world->n_renewals - n <= 3 * MANY); /* those silent for long, and one round */
        CHECK(world->n_answered[RPC_RANGE] - n_reads <= 10);
        many_end();
    }
}

static void etcd_may_be_away_as_long_as_is_said(void) {
    static const int64_t ttls[] = {2, 3, 5, 10, 60};
    for (size_t i = 0; i < sizeof ttls / sizeof ttls[0]; i++)
        for (int64_t ms = 0; ms < 2000; ms += 130) {
            begin(1, ttls[i]);
            world_advance(world, SECONDS(2) + MS(ms));
            int64_t away_ns = session_away_limit_ns(&ann.session);
            CHECK(away_ns > 0);
            etcd_is_away(away_ns, ms % 2);
            world_advance(world, RENEWAL_RECOVERY_NS);
            CHECK(session_stop_at_ns(&ann.session) > fake_now(world->fake));
            world->story[0] = '\0';
            end();
        }
}

static void what_is_said_is_computed_from_the_ttl_and_the_grace(void) {
    begin(1, 10);
    /* 10 - margin 1 - grace 10/6 - the age of the last renewal 1 - recovery 0.8 */
    CHECK(session_away_limit_ns(&ann.session) ==
          SECONDS(10) - SECONDS(1) - SECONDS(10) / 6 - SECONDS(1) - MS(800));
    end();
}

/* What etcd does with a renewal it refuses: the stream ends, for all. */
static void a_lease_that_etcd_refuses_to_renew_costs_the_others_nothing(void) {
    many_begin(1);
    world_advance(world, SECONDS(3));
    world->refused_lease = people[7].session.lease;
    world_advance(world, SECONDS(5));
    size_t n = fake_n_streams_opened(world->fake);
    world_advance(world, SECONDS(15));
    CHECK(n_valid() == MANY - 1 && !person_is_valid(&people[7]));
    CHECK(fake_n_streams_opened(world->fake) - n <= 20); /* its own, as long as it lives */
    CHECK(people[7].session.reason == LUN_LOST_PERMISSION);
    CHECK(strstr(session_refusal(&people[7].session), "permission denied") != NULL);
    many_end();
}

static void a_lease_that_etcd_permits_to_renew_again_goes_with_the_others_again(void) {
    many_begin(1);
    world_advance(world, SECONDS(3));
    world->refused_lease = people[7].session.lease;
    world_advance(world, SECONDS(3));
    world->refused_lease = 0;
    world_advance(world, SECONDS(20));
    CHECK(n_valid() == MANY);
    CHECK(fake_n_streams(world->fake, RPC_LEASE_KEEP_ALIVE) == 1);
    many_end();
}

/* What etcd does with a lease that has expired and is not yet revoked. */
static void a_lease_that_is_not_answered_costs_those_behind_it_nothing(void) {
    many_begin(1);
    world_advance(world, SECONDS(3));
    world->blocking_lease = people[7].session.lease;
    world_advance(world, SECONDS(30));
    CHECK(n_valid() == MANY - 1 && !person_is_valid(&people[7]));
    CHECK(strstr(world->story, "one jeopardy, one jeopardy") == NULL);
    world->blocking_lease = 0;
    many_end();
}

int main(void) {
    RUN(a_renewal_is_sent_every_tenth_of_the_ttl_and_a_little_before);
    RUN(the_deadline_counts_from_the_send_and_not_from_the_answer);
    RUN(a_renewal_counts_once_a_read_sent_after_it_was_answered);
    RUN(an_answer_of_an_earlier_term_does_not_count);
    RUN(an_answer_of_a_term_that_only_the_read_shows_to_be_over_does_not_count);
    RUN(an_answer_whose_read_fails_does_not_count);
    RUN(a_member_of_the_past_costs_nothing_while_others_live_in_the_present);
    RUN(a_frozen_member_costs_nothing);
    RUN(members_frozen_in_turn_cost_nothing);
    RUN(silence_opens_a_stream_to_the_next_member_every_sixth_of_the_ttl);
    RUN(the_first_answer_counts_with_its_own_send_and_closes_the_other_streams);
    RUN(streams_that_are_silent_for_ever_are_limited);
    RUN(a_read_that_is_stuck_is_given_up_in_time_for_another);
    RUN(a_broken_stream_is_replaced_at_once_if_an_answer_was_due);
    RUN(a_stream_that_breaks_between_renewals_waits_for_the_next_one);
    RUN(streams_that_are_refused_are_tried_again_with_growing_delays);
    RUN(no_memory_for_a_stream_is_made_good);
    RUN(a_suspicion_renews_at_once_and_not_twice);
    RUN(all_sessions_are_renewed_together_on_one_stream_with_few_reads);
    RUN(one_that_is_closed_while_its_renewal_is_out_does_not_disturb_the_others);
    RUN(an_etcd_that_comes_back_has_few_renewals_to_work_through);
    RUN(etcd_may_be_away_as_long_as_is_said);
    RUN(what_is_said_is_computed_from_the_ttl_and_the_grace);
    RUN(a_lease_that_etcd_refuses_to_renew_costs_the_others_nothing);
    RUN(a_lease_that_etcd_permits_to_renew_again_goes_with_the_others_again);
    RUN(a_lease_that_is_not_answered_costs_those_behind_it_nothing);
    return check_end();
}
