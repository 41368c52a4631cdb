/* spec/unit/recipe/session_end_test.c - a session that is lost or closed, in every state in which it is suspended. */
#include "session_scene.h"

/* ---- lost ------------------------------------------------------------------------------------------- */

static void lost_is_final(void) {
    begin(1);
    ann_is_lost();
    release_all();
    world_advance(world, SECONDS(30));
    STORY(world, "");
    CHECK(!person_is_valid(&ann));
    end();
}

static void a_lost_session_sends_nothing(void) {
    begin(1);
    ann_is_lost();
    release_all();
    size_t n = fake_n_calls_made(world->fake);
    int n_renewals = world->n_renewals;
    world_advance(world, SECONDS(30));
    CHECK(fake_n_calls_made(world->fake) == n && world->n_renewals == n_renewals);
    end();
}

static void closing_a_lost_session_revokes_a_lease_that_may_be_left(void) {
    begin(1);
    ann_is_lost();
    int64_t lease = ann.session.lease;
    CHECK(world_has_lease(world, lease));
    person_close(&ann, true);
    release_all();
    STORY(world, "Ann closed, Ann ended");
    CHECK(!world_has_lease(world, lease));
    end();
}

static void closing_a_lost_session_whose_lease_is_gone_asks_nothing(void) {
    begin(1);
    person_arrive(&ann, world, "Ann");
    world_revoke(world, ann.session.lease);
    world_advance(world, SECONDS(4));
    STORY(world, "Ann lost revoked");
    size_t n = fake_n_calls_made(world->fake);
    person_close(&ann, true);
    world_run(world);
    STORY(world, "Ann closed, Ann ended");
    CHECK(fake_n_calls_made(world->fake) == n);
    end();
}

static void a_lost_session_is_killed_or_orphaned(void) {
    for (int i = 0; i < 2; i++) {
        begin(1);
        ann_is_lost();
        if (i == 0)
            person_kill(&ann);
        else
            person_orphan(&ann);
        world_run(world);
        STORY(world, "Ann closed, Ann ended");
        end();
    }
}

static void a_lost_session_removes_its_places_from_an_adopted_lease_that_others_renew(void) {
    begin(1);
    lease_is_there(5);
    person_open(&ann, world, "Ann", 0, LEASE);
    world_run(world);
    STORY(world, "Ann opened");
    struct stand a;
    CHECK(stand_enter(&a, &ann, "a", PLACE_WAIT) == 0);
    world_run(world);
    STORY(world, "a holds");
    hold_all();
    for (int i = 0; i < 30; i++) { /* cut off for longer than any deadline; somebody else renews */
        world_keep_alive(world, LEASE);
        world_advance(world, SECONDS(1));
    }
    STORY(world, "Ann jeopardy, a stop, a lost expired, Ann lost expired");
    CHECK(world_count(world, "/line/") == 1);
    release_all();
    world_advance(world, SECONDS(3));
    CHECK(world_count(world, "/line/") == 0);
    CHECK(world_has_lease(world, LEASE));
    person_close(&ann, false);
    world_advance(world, SECONDS(8)); /* copies of what was not answered may yet come */
    STORY(world, "Ann closed, Ann ended");
    end();
}

/* As when another password is set, and then the old one again. */
static void a_lost_session_whose_deletion_etcd_refuses_tries_again_until_it_is_closed(void) {
    for (int is_closed = 0; is_closed < 2; is_closed++) {
        begin(1);
        lease_is_there(5);
        person_open(&ann, world, "Ann", 0, LEASE);
        world_run(world);
        struct stand a;
        CHECK(stand_enter(&a, &ann, "a", PLACE_WAIT) == 0);
        world_run(world);
        STORY(world, "Ann opened, a holds");
        world->is_held[RPC_LEASE_KEEP_ALIVE] = true;
        world->n_refused[RPC_DELETE_RANGE] = 2;
        world->refusal_status = RPC_PERMISSION_DENIED;
        world->refusal = "etcdserver: permission denied";
        for (int i = 0; i < 10; i++) {
            world_keep_alive(world, LEASE);
            world_advance(world, SECONDS(1));
        }
        STORY(world, "Ann jeopardy, a stop, a lost expired, Ann lost expired");
        CHECK(world_count(world, "/line/") == 1);
        CHECK(world->n_refused[RPC_DELETE_RANGE] == 1); /* not at once: with a delay */
        if (is_closed) {
            person_close(&ann, false);
            world_run(world);
            STORY(world, "Ann closed, Ann ended");
        }
        for (int i = 0; i < 30; i++) {
            world_keep_alive(world, LEASE);
            world_advance(world, SECONDS(1));
        }
        CHECK(world_count(world, "/line/") == (is_closed ? 1 : 0));
        if (!is_closed) {
            person_close(&ann, false);
            world_run(world);
            STORY(world, "Ann closed, Ann ended");
        }
        world_revoke(world, LEASE);
        end();
    }
}

/* ---- revoking --------------------------------------------------------------------------------------- */

static void ann_is_revoking(void) {
    person_arrive(&ann, world, "Ann");
    world->is_held[RPC_LEASE_REVOKE] = true;
    person_close(&ann, true);
    world_run(world);
    STORY(world, "Ann closed");
    CHECK(fake_n_calls(world->fake, RPC_LEASE_REVOKE) == 1);
}

static void a_lost_reply_to_the_revocation_is_asked_again(void) {
    begin(1);
    ann_is_revoking();
    world->n_replies_lost[RPC_LEASE_REVOKE] = 1;
    world->is_held[RPC_LEASE_REVOKE] = false;
    world_advance(world, SECONDS(1));
    STORY(world, "Ann ended");
    CHECK(world->n_answered[RPC_LEASE_REVOKE] == 2);
    end();
}

static void a_revocation_that_etcd_refuses_ends_too(void) {
    begin(1);
    ann_is_revoking();
    refuse(RPC_LEASE_REVOKE, RPC_PERMISSION_DENIED, "etcdserver: permission denied");
    world->is_held[RPC_LEASE_REVOKE] = false;
    world_run(world);
    STORY(world, "Ann ended");
    end();
}

static void a_revocation_that_nobody_answers_ends_once_the_lease_has_surely_lapsed(void) {
    begin(1);
    ann_is_revoking();
    world_advance(world, SECONDS(14));
    STORY(world, "");
    world_advance(world, SECONDS(2));
    STORY(world, "Ann ended");
    end();
}

static void revoking_is_killed(void) {
    begin(1);
    ann_is_revoking();
    person_kill(&ann);
    world_run(world);
    STORY(world, "Ann ended");
    end();
}

static void a_revocation_without_memory_is_asked_for_again(void) {
    begin(1);
    person_arrive(&ann, world, "Ann");
    int64_t lease = ann.session.lease;
    fake_fail_next(world->fake, 1);
    person_close(&ann, true);
    world_run(world);
    STORY(world, "Ann closed");
    world_advance(world, SECONDS(1));
    STORY(world, "Ann ended");
    CHECK(!world_has_lease(world, lease));
    end();
}

static void a_revocation_that_never_has_memory_lets_the_lease_lapse(void) {
    begin(1);
    person_arrive(&ann, world, "Ann");
    fake_fail_next(world->fake, 100);
    person_close(&ann, true);
    world_advance(world, SECONDS(14));
    STORY(world, "Ann closed");
    world_advance(world, SECONDS(2));
    STORY(world, "Ann ended");
    fake_fail_next(world->fake, 0);
    end();
}

/* ---- dispersing ------------------------------------------------------------------------------------- */

static struct stand a, b, c;

/* An adopted session: `a` holds, `b` waits. */
static void ann_shares_a_lease(int64_t ttl_s) {
    lease_is_there(ttl_s);
    person_open(&ann, world, "Ann", 0, LEASE);
    world_run(world);
    CHECK(stand_enter(&a, &ann, "a", PLACE_WAIT) == 0);
    world_run(world);
    CHECK(stand_enter(&b, &ann, "b", PLACE_WAIT) == 0);
    world_run(world);
}

/* An adopted session: `a` holds, `b` waits, `c` is entering; nothing about the store is answered any more. */
static void ann_is_dispersing(void) {
    ann_shares_a_lease(20);
    STORY(world, "Ann opened, a holds");
    world->is_held[RPC_TXN] = world->is_held[RPC_DELETE_RANGE] = world->is_held[RPC_RANGE] = true;
    CHECK(stand_enter(&c, &ann, "c", PLACE_WAIT) == 0);
    world_run(world);
    person_close(&ann, false);
    world_run(world);
    STORY(world, "a lost closed, b fails closed, c fails closed, Ann closed");
    CHECK(!ann.is_ended);
}

static void dispersing_removes_each_place_and_keeps_the_lease(void) {
    begin(1);
    ann_is_dispersing();
    CHECK(world_count(world, "/line/") == 2);
    release_all();
    world_advance(world, MS(10));
    STORY(world, "");
    CHECK(world_count(world, "/line/") == 0);
    world_advance(world, SECONDS(7)); /* c was entering: a copy of that may yet come */
    STORY(world, "Ann ended");
    CHECK(world_has_lease(world, LEASE));
    world_revoke(world, LEASE);
    end();
}

/* What says that the key is gone is also what shows that the session is: the first thing heard after a pause. */
static void dispersing_ends_a_place_that_learned_of_both_at_once(void) {
    begin(1);
    ann_shares_a_lease(60);
    hold_all();
    world->are_events_held = true;
    stand_leave(&a);
    world_answer_one(world, RPC_DELETE_RANGE);
    world_delete(world, b.key);
    world_freeze(world, SECONDS(70));
    world_grant(world, LEASE, 60);
    world_answer_one(world, RPC_TXN);
    STORY(world, "Ann opened, a holds, a left, b fails lost, Ann lost frozen");
    world->are_events_held = false;
    release_all();
    person_close(&ann, false);
    world_advance(world, SECONDS(8));
    STORY(world, "Ann closed, Ann ended");
    end();
}

static void dispersing_deletes_the_late_copy_of_an_entry(void) {
    begin(1);
    lease_is_there(60);
    person_open(&ann, world, "Ann", 0, LEASE);
    world_run(world);
    world->is_held[RPC_TXN] = true;
    CHECK(stand_enter(&a, &ann, "a", PLACE_WAIT) == 0);
    world_run(world);
    world_keep(world, RPC_TXN);
    person_close(&ann, false);
    release_all();
    world_advance(world, SECONDS(3));
    CHECK(!ann.is_ended && world_count(world, "/line/") == 0);
    world_carry_out_kept(world);
    CHECK(world_count(world, "/line/") == 1);
    world_advance(world, MS(10));
    CHECK(!ann.is_ended && world_count(world, "/line/") == 0);
    world_advance(world, SECONDS(5));
    CHECK(ann.is_ended);
    world_revoke(world, LEASE);
    end();
}

static void dispersing_that_nobody_answers_ends(void) {
    begin(1);
    ann_is_dispersing();
    world_advance(world, SECONDS(24));
    STORY(world, "");
    world_advance(world, SECONDS(30));
    STORY(world, "Ann ended");
    end();
}

static void dispersing_that_etcd_refuses_ends(void) {
    begin(1);
    ann_is_dispersing();
    world->n_refused[RPC_DELETE_RANGE] = world->n_refused[RPC_TXN] = world->n_refused[RPC_RANGE] = 100;
    world->refusal_status = RPC_PERMISSION_DENIED;
    world->refusal = "etcdserver: permission denied";
    world->is_held[RPC_TXN] = world->is_held[RPC_DELETE_RANGE] = world->is_held[RPC_RANGE] = false;
    world_run(world);
    STORY(world, "Ann ended");
    world_revoke(world, LEASE);
    end();
}

static void dispersing_is_killed(void) {
    begin(1);
    ann_is_dispersing();
    person_kill(&ann);
    world_run(world);
    STORY(world, "Ann ended");
    world_revoke(world, LEASE);
    end();
}

/* A debt ends at once when its session closes; those behind it in the list must not be forgotten for that. */
static void a_place_that_ends_at_once_does_not_end_the_session_before_the_others(void) {
    for (int is_adopted = 0; is_adopted < 2; is_adopted++) {
        begin(1);
        lease_is_there(20);
        person_open(&ann, world, "Ann", 10, is_adopted ? LEASE : 0);
        world_run(world);
        world->is_held[RPC_TXN] = true;
        CHECK(stand_enter(&a, &ann, "a", PLACE_WAIT) == 0);
        world_run(world);
        world_keep(world, RPC_TXN);
        stand_give_up(&a);
        release_all(); /* owing now */
        CHECK(stand_enter(&b, &ann, "b", PLACE_WAIT) == 0);
        world_run(world);
        STORY(world, "Ann opened, b holds");
        CHECK(world_count(world, "/line/") == 1);
        world->is_held[RPC_TXN] = true;
        CHECK(stand_enter(&c, &ann, "c", PLACE_WAIT) == 0);
        fake_hold_cancelled(world->fake, true);
        if (is_adopted)
            person_close(&ann, false);
        else
            person_orphan(&ann);
        world_run(world);
        STORY(world, "b lost closed, c fails closed, Ann closed");
        fake_hold_cancelled(world->fake, false);
        release_all();
        world_advance(world, is_adopted ? SECONDS(8) : MS(100));
        STORY(world, "Ann ended");
        if (is_adopted)
            CHECK(world_count(world, "/line/") == 0);
        world_revoke(world, LEASE);
        world_revoke(world, ann.session.lease);
        end();
    }
}

/* The right has come back, but the session has just run out when the renewal since is reported; that it has run out is
 * reported a moment later. It helps no more, and the session is lost for the refusal. */
static void a_renewal_that_comes_too_late_does_not_hide_the_refusal_before_it(void) {
    begin(1);
    person_arrive(&ann, world, "Ann");
    world->refused_lease = ann.session.lease;
    advance_to(valid_until() - MS(50));
    STORY(world, "Ann jeopardy");
    int64_t sent_ns = fake_now(world->fake);
    world_freeze(world, MS(100));
    rpc_enter(world->rpc);
    ann.session.renewal.callbacks->on_renewed(&ann.session.renewal, sent_ns, 10);
    rpc_leave(world->rpc);
    world_run(world);
    STORY(world, "Ann lost permission_denied");
    end();
}

int main(void) {
    RUN(lost_is_final);
    RUN(a_lost_session_sends_nothing);
    RUN(closing_a_lost_session_revokes_a_lease_that_may_be_left);
    RUN(closing_a_lost_session_whose_lease_is_gone_asks_nothing);
    RUN(a_lost_session_is_killed_or_orphaned);
    RUN(a_lost_session_removes_its_places_from_an_adopted_lease_that_others_renew);
    RUN(a_lost_session_whose_deletion_etcd_refuses_tries_again_until_it_is_closed);
    RUN(a_lost_reply_to_the_revocation_is_asked_again);
    RUN(a_revocation_that_etcd_refuses_ends_too);
    RUN(a_revocation_that_nobody_answers_ends_once_the_lease_has_surely_lapsed);
    RUN(revoking_is_killed);
    RUN(a_revocation_without_memory_is_asked_for_again);
    RUN(a_revocation_that_never_has_memory_lets_the_lease_lapse);
    RUN(dispersing_removes_each_place_and_keeps_the_lease);
    RUN(dispersing_ends_a_place_that_learned_of_both_at_once);
    RUN(dispersing_deletes_the_late_copy_of_an_entry);
    RUN(dispersing_that_nobody_answers_ends);
    RUN(dispersing_that_etcd_refuses_ends);
    RUN(dispersing_is_killed);
    RUN(a_place_that_ends_at_once_does_not_end_the_session_before_the_others);
    RUN(a_renewal_that_comes_too_late_does_not_hide_the_refusal_before_it);
    return check_end();
}
