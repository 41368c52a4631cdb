/* spec/unit/recipe/session_test.c - a session while it is granted, adopted and alive, and the knowledge of how long it
 * certainly is. */
#include "session_scene.h"

/* ---- granting --------------------------------------------------------------------------------------- */

static void ann_is_granting(void) {
    world->is_held[RPC_LEASE_GRANT] = true;
    person_open(&ann, world, "Ann", 10, 0);
    world_run(world);
    CHECK(fake_n_calls(world->fake, RPC_LEASE_GRANT) == 1);
    STORY(world, "");
}

static void a_grant_counts_from_its_send(void) {
    begin(1);
    ann_is_granting();
    int64_t sent = fake_now(world->fake);
    world_advance(world, MS(700));
    release_all();
    STORY(world, "Ann opened");
    CHECK(valid_until() == sent + SECONDS(9));
    CHECK(session_stop_at_ns(&ann.session) == sent + SECONDS(9) - SECONDS(10) / 6);
    end();
}

static void the_ttl_is_the_granted_one(void) {
    begin(1);
    person_open(&ann, world, "Ann", 1, 0);
    int64_t sent = fake_now(world->fake);
    world_run(world);
    CHECK(ann.session.ttl_s == 2);
    CHECK(valid_until() == sent + MS(1800));
    end();
}

static void a_lease_id_of_ours_has_sixteen_digits(void) {
    begin(1);
    person_arrive(&ann, world, "Ann");
    CHECK(ann.session.lease >= INT64_C(1) << 60);
    end();
}

static void a_grant_that_etcd_refuses_is_told(void) {
    begin(1);
    refuse(RPC_LEASE_GRANT, RPC_RESOURCE_EXHAUSTED, "etcdserver: mvcc: database space exceeded");
    person_open(&ann, world, "Ann", 10, 0);
    world_run(world);
    STORY(world, "Ann failed no_space, Ann ended");
    CHECK(!person_is_valid(&ann));
    end();
}

static void closing_while_granting_revokes_what_may_be_there(void) {
    begin(1);
    world->n_replies_lost[RPC_LEASE_GRANT] = 1;
    person_open(&ann, world, "Ann", 10, 0);
    fake_run(world->fake);
    world_answer_one(world, RPC_LEASE_GRANT);
    CHECK(world_has_lease(world, ann.session.lease));
    person_close(&ann, true);
    world_advance(world, MS(10));
    STORY(world, "Ann failed closed, Ann closed, Ann ended");
    CHECK(!world_has_lease(world, ann.session.lease));
    end();
}

static void closing_while_granting_revokes_a_grant_whose_reply_is_faster(void) {
    begin(1);
    ann_is_granting();
    struct fake_call *call = fake_call(world->fake, RPC_LEASE_GRANT);
    person_close(&ann, true);
    CHECK(call->is_cancelled);
    call->is_cancelled = false;
    release_all();
    STORY(world, "Ann failed closed, Ann closed, Ann ended");
    CHECK(!world_has_lease(world, ann.session.lease));
    end();
}

static void killing_while_granting_sends_nothing_more(void) {
    begin(1);
    ann_is_granting();
    size_t n = fake_n_calls_made(world->fake);
    person_kill(&ann);
    world_run(world);
    STORY(world, "Ann failed closed, Ann closed, Ann ended");
    CHECK(fake_n_calls_made(world->fake) == n);
    end();
}

static void orphaning_while_granting_ends(void) {
    begin(1);
    ann_is_granting();
    person_orphan(&ann);
    world_run(world);
    STORY(world, "Ann failed closed, Ann closed, Ann ended");
    end();
}

static void a_lost_reply_to_the_grant_is_asked_again_and_counts_from_a_renewal(void) {
    begin(1);
    world->n_replies_lost[RPC_LEASE_GRANT] = 1;
    person_open(&ann, world, "Ann", 10, 0);
    int64_t granted = fake_now(world->fake);
    world->is_held[RPC_LEASE_KEEP_ALIVE] = true;
    world_advance(world, MS(500));
    STORY(world, ""); /* "lease already exists": nothing is known about its age */
    world->is_held[RPC_LEASE_KEEP_ALIVE] = false;
    world_advance(world, SECONDS(2));
    STORY(world, "Ann opened");
    CHECK(valid_until() > granted + SECONDS(9));
    end();
}

static void a_lease_of_ours_that_lapsed_before_it_was_known_is_replaced(void) {
    begin(1);
    world->n_replies_lost[RPC_LEASE_GRANT] = 1;
    person_open(&ann, world, "Ann", 10, 0);
    world->is_held[RPC_LEASE_KEEP_ALIVE] = true;
    world_advance(world, MS(500));
    int64_t lapsed = ann.session.lease;
    world_revoke(world, lapsed);
    world->is_held[RPC_LEASE_KEEP_ALIVE] = false;
    world_advance(world, SECONDS(3));
    STORY(world, "Ann opened");
    CHECK(ann.session.lease != lapsed && world_has_lease(world, ann.session.lease));
    end();
}

static void a_number_that_somebody_else_drew_is_drawn_again(void) {
    begin(1);
    ann_is_granting();
    int64_t drawn = ann.session.lease;
    world_grant(world, drawn, 60); /* theirs */
    release_all();
    STORY(world, "Ann opened");
    CHECK(ann.session.lease != drawn);
    world_revoke(world, drawn);
    end();
}

static void a_grant_answered_after_its_whole_ttl_is_renewed_first(void) {
    begin(1);
    ann_is_granting();
    world_answer_one(world, RPC_LEASE_GRANT);
    /* as if the reply had been on its way for 9.5 s: only the clock of this process has moved */
    STORY(world, "Ann opened");
    end();

    begin(1);
    ann_is_granting();
    fake_freeze(world->fake, MS(9500));
    struct fake_call *call = fake_call(world->fake, RPC_LEASE_GRANT);
    REQUIRE(call != NULL);
    call->deadline_ns = RPC_NEVER;
    world_answer_one(world, RPC_LEASE_GRANT);
    STORY(world, "");
    world_advance(world, SECONDS(1));
    STORY(world, "Ann opened");
    CHECK(valid_until() > fake_now(world->fake) + SECONDS(7));
    end();
}

/* ---- adopting --------------------------------------------------------------------------------------- */

static void ann_is_adopting(void) {
    lease_is_there(20);
    world->is_held[RPC_LEASE_KEEP_ALIVE] = true;
    person_open(&ann, world, "Ann", 0, LEASE);
    world_run(world);
    STORY(world, "");
}

static void adopting_takes_the_ttl_that_the_lease_has(void) {
    begin(1);
    ann_is_adopting();
    release_all();
    STORY(world, "Ann opened");
    CHECK(ann.session.ttl_s == 20);
    CHECK(valid_until() == fake_now(world->fake) + SECONDS(18));
    world_advance(world, SECONDS(60));
    STORY(world, "");
    world_revoke(world, LEASE);
    end();
}

static void an_adopted_lease_of_a_short_ttl_is_renewed_in_time(void) {
    for (int64_t ttl_s = 2; ttl_s <= 4; ttl_s++) {
        begin(1);
        lease_is_there(ttl_s);
        person_open(&ann, world, "Ann", 0, LEASE);
        world_advance(world, SECONDS(20));
        STORY(world, "Ann opened");
        world_revoke(world, LEASE);
        end();
    }
}

static void adopting_a_lease_that_is_not_there_fails_once_confirmed(void) {
    begin(1);
    person_open(&ann, world, "Ann", 0, LEASE);
    world_advance(world, SECONDS(1));
    STORY(world, "Ann failed lost, Ann ended");
    CHECK(world->n_renewals == 2);
    end();
}

static void adopting_given_up_leaves_the_lease(void) {
    begin(1);
    ann_is_adopting();
    person_close(&ann, false);
    release_all();
    STORY(world, "Ann failed closed, Ann closed, Ann ended");
    CHECK(world_has_lease(world, LEASE));
    end();
}

static void adopting_closed_with_revocation_revokes(void) {
    begin(1);
    ann_is_adopting();
    person_close(&ann, true);
    release_all();
    STORY(world, "Ann failed closed, Ann closed, Ann ended");
    CHECK(!world_has_lease(world, LEASE));
    end();
}

static void adopting_killed_or_orphaned_ends(void) {
    for (int i = 0; i < 2; i++) {
        begin(1);
        ann_is_adopting();
        if (i == 0)
            person_kill(&ann);
        else
            person_orphan(&ann);
        world_run(world);
        STORY(world, "Ann failed closed, Ann closed, Ann ended");
        CHECK(world_has_lease(world, LEASE));
        end();
    }
}

/* ---- alive ------------------------------------------------------------------------------------------ */

static void a_session_lives_as_long_as_it_is_renewed(void) {
    begin(1);
    person_arrive(&ann, world, "Ann");
    int64_t least = SECONDS(100);
    for (int i = 0; i < 100; i++) {
        world_advance(world, SECONDS(1));
        int64_t left = valid_until() - fake_now(world->fake);
        least = left < least ? left : least;
    }
    STORY(world, "");
    CHECK(least >= SECONDS(8) - 1); /* renewed every tenth of the TTL */
    CHECK(world->n_renewals >= 100 && world->n_renewals <= 126);
    end();
}

static void jeopardy_is_told_and_taken_back(void) {
    begin(1);
    person_arrive(&ann, world, "Ann");
    world->is_held[RPC_LEASE_KEEP_ALIVE] = true;
    world_advance(world, MS(4990));
    STORY(world, "");
    world_advance(world, MS(20));
    STORY(world, "Ann jeopardy");
    CHECK(person_is_valid(&ann));
    CHECK(session_state(&ann.session) == LUN_SESSION_JEOPARDY);
    release_all();
    STORY(world, "Ann alive");
    CHECK(session_state(&ann.session) == LUN_SESSION_ALIVE);
    end();
}

static void silence_ends_a_session_a_margin_before_its_lease(void) {
    begin(1);
    person_arrive(&ann, world, "Ann");
    int64_t lease = ann.session.lease;
    hold_all();
    advance_to(valid_until() - 1);
    STORY(world, "Ann jeopardy");
    world_advance(world, 1);
    STORY(world, "Ann lost expired");
    CHECK(world_has_lease(world, lease));
    CHECK(session_stop_at_ns(&ann.session) == 0);
    end();
}

static void the_clock_says_lost_before_anybody_has_run(void) {
    begin(1);
    person_arrive(&ann, world, "Ann");
    fake_freeze(world->fake, SECONDS(9));
    CHECK(!person_is_valid(&ann));
    CHECK(session_state(&ann.session) == LUN_SESSION_ALIVE); /* the machine does not know it yet */
    CHECK(session_reason(&ann.session) == LUN_LOST_EXPIRED);
    end();
}

static void a_frozen_process_is_told_so(void) {
    begin(1);
    person_arrive(&ann, world, "Ann");
    world_freeze(world, SECONDS(12));
    CHECK(session_reason(&ann.session) == LUN_LOST_FROZEN);
    world_run(world);
    STORY(world, "Ann lost frozen");
    end();
}

static void a_renewal_that_arrives_after_valid_until_is_not_credited(void) {
    begin(1);
    person_arrive(&ann, world, "Ann");
    world->is_held[RPC_RANGE] = true; /* renewed, but not confirmed */
    world_advance(world, SECONDS(5));
    CHECK(fake_n_calls(world->fake, RPC_RANGE) >= 1);
    fake_freeze(world->fake, valid_until() - fake_now(world->fake));
    struct fake_call *read = fake_call(world->fake, RPC_RANGE);
    REQUIRE(read != NULL);
    world_answer_one(world, RPC_RANGE);
    CHECK(!person_is_valid(&ann));
    world_run(world);
    STORY(world, "Ann jeopardy, Ann lost expired");
    end();
}

static void a_revoked_lease_ends_the_session_at_the_next_renewal_once_confirmed(void) {
    begin(1);
    person_arrive(&ann, world, "Ann");
    world_revoke(world, ann.session.lease);
    world_advance(world, SECONDS(4));
    STORY(world, "Ann lost revoked");
    CHECK(ann.session.is_lease_gone);
    end();
}

static void closing_revokes_and_ends(void) {
    begin(1);
    person_arrive(&ann, world, "Ann");
    person_close(&ann, true);
    CHECK(!person_is_valid(&ann)); /* at once */
    STORY(world, "Ann closed");
    world_run(world);
    STORY(world, "Ann ended");
    CHECK(!world_has_lease(world, ann.session.lease));
    end();
}

static void orphaning_leaves_lease_and_keys_to_lapse(void) {
    begin(1);
    person_arrive(&ann, world, "Ann");
    int64_t lease = ann.session.lease;
    world_put(world, "/mine", "1", lease);
    person_orphan(&ann);
    world_advance(world, SECONDS(9));
    STORY(world, "Ann closed, Ann ended");
    CHECK(world_has_lease(world, lease));
    CHECK(world_get(world, "/mine") != NULL);
    end();
}

static void closing_twice_is_closing_once(void) {
    begin(1);
    person_arrive(&ann, world, "Ann");
    person_close(&ann, true);
    person_close(&ann, false);
    person_orphan(&ann);
    world_run(world);
    STORY(world, "Ann closed, Ann ended");
    CHECK(!world_has_lease(world, ann.session.lease));
    end();
}

static struct stand a;

/* ---- misuse ----------------------------------------------------------------------------------------- */

static void options_out_of_range_are_refused(void) {
    begin(1);
    struct session session;
    struct lun_err err;
    static const struct session_callbacks none = {NULL, NULL, NULL, NULL};
    struct session_options bad[] = {{.ttl_s = 0, .grace_ns = -1},
                                    {.ttl_s = SESSION_MAX_TTL_S + 1, .grace_ns = -1},
                                    {.ttl_s = 10, .grace_ns = SECONDS(6)},
                                    {.ttl_s = 10, .grace_ns = -1, .lease = -1}};
    rpc_enter(world->rpc);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        CHECK(session_start(&session, world->etcd, &bad[i], &none, &err) == LUN_EINVALID);
    rpc_leave(world->rpc);
    world_free(world);
}

static void no_memory_for_the_grant_is_told_and_nothing_left(void) {
    begin(1);
    struct session session;
    struct lun_err err;
    static const struct session_callbacks none = {NULL, NULL, NULL, NULL};
    struct session_options options = {.ttl_s = 10, .grace_ns = -1};
    fake_fail_next(world->fake, 1);
    rpc_enter(world->rpc);
    CHECK(session_start(&session, world->etcd, &options, &none, &err) == LUN_ENOMEM);
    rpc_leave(world->rpc);
    world_free(world);
}

static void a_closed_session_takes_nobody_in(void) {
    begin(1);
    person_arrive(&ann, world, "Ann");
    world->is_held[RPC_LEASE_REVOKE] = true;
    person_close(&ann, true);
    CHECK(stand_enter(&a, &ann, "a", PLACE_WAIT) == LUN_ECLOSED);
    end();
    begin(1);
    ann_is_lost();
    CHECK(stand_enter(&a, &ann, "a", PLACE_WAIT) == LUN_ELOST);
    end();
}

int main(void) {
    RUN(a_grant_counts_from_its_send);
    RUN(the_ttl_is_the_granted_one);
    RUN(a_lease_id_of_ours_has_sixteen_digits);
    RUN(a_grant_that_etcd_refuses_is_told);
    RUN(closing_while_granting_revokes_what_may_be_there);
    RUN(closing_while_granting_revokes_a_grant_whose_reply_is_faster);
    RUN(killing_while_granting_sends_nothing_more);
    RUN(orphaning_while_granting_ends);
    RUN(a_lost_reply_to_the_grant_is_asked_again_and_counts_from_a_renewal);
    RUN(a_lease_of_ours_that_lapsed_before_it_was_known_is_replaced);
    RUN(a_number_that_somebody_else_drew_is_drawn_again);
    RUN(a_grant_answered_after_its_whole_ttl_is_renewed_first);
    RUN(adopting_takes_the_ttl_that_the_lease_has);
    RUN(an_adopted_lease_of_a_short_ttl_is_renewed_in_time);
    RUN(adopting_a_lease_that_is_not_there_fails_once_confirmed);
    RUN(adopting_given_up_leaves_the_lease);
    RUN(adopting_closed_with_revocation_revokes);
    RUN(adopting_killed_or_orphaned_ends);
    RUN(a_session_lives_as_long_as_it_is_renewed);
    RUN(jeopardy_is_told_and_taken_back);
    RUN(silence_ends_a_session_a_margin_before_its_lease);
    RUN(the_clock_says_lost_before_anybody_has_run);
    RUN(a_frozen_process_is_told_so);
    RUN(a_renewal_that_arrives_after_valid_until_is_not_credited);
    RUN(a_revoked_lease_ends_the_session_at_the_next_renewal_once_confirmed);
    RUN(closing_revokes_and_ends);
    RUN(orphaning_leaves_lease_and_keys_to_lapse);
    RUN(closing_twice_is_closing_once);
    RUN(options_out_of_range_are_refused);
    RUN(no_memory_for_the_grant_is_told_and_nothing_left);
    RUN(a_closed_session_takes_nobody_in);
    return check_end();
}
