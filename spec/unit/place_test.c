/* spec/unit/place_test.c - a place in a line, in every state in which it is suspended: it goes on, it fails,
 * it is given up, its session ends. Then what goes wrong in the clients of today, and must not here. */
#include "check.h"
#include "recipe_world.h"

#define LINE "/line/"

/* ---- scenes ----------------------------------------------------------------------------------------- */

struct scene {
    struct world *world;
    struct person ann, bob;
    struct stand a, b, c;
};

static struct scene *scene_begin(size_t n_members) {
    struct scene *scene = calloc(1, sizeof *scene);
    scene->world = world_new(n_members);
    person_arrive(&scene->ann, scene->world, "Ann");
    person_arrive(&scene->bob, scene->world, "Bob");
    return scene;
}

static void scene_end(struct scene *scene) {
    struct world *world = scene->world;
    for (int i = 0; i < RPC_N_METHODS; i++) {
        world->is_held[i] = false;
        world->n_refused[i] = world->n_replies_lost[i] = 0;
    }
    for (size_t i = 0; i < world->n_members; i++)
        world->members[i].is_frozen = false;
    fake_hold_cancelled(world->fake, false);
    world->are_events_held = false;
    world->watch_refusal = NULL;
    world_advance(world, SECONDS(5));
    struct stand *stands[] = {&scene->a, &scene->b, &scene->c};
    for (size_t i = 0; i < 3; i++)
        if (stands[i]->place)
            stand_give_up(stands[i]);
    world_advance(world, SECONDS(5));
    person_leave(&scene->ann);
    person_leave(&scene->bob);
    CHECK(world_count(world, LINE) == 0);
    world_free(world);
    free(scene);
}

/* Ann's `a` holds the line. */
static void a_holds(struct scene *scene) {
    CHECK(stand_enter(&scene->a, &scene->ann, "a", PLACE_WAIT) == 0);
    world_run(scene->world);
    STORY(scene->world, "a holds");
}

/* ... and Bob's `b` waits behind a stranger, who left no session behind: a holder outside of this client. */
static int64_t stranger_holds(struct scene *scene) {
    return world_put(scene->world, LINE "stranger", "me", 0);
}

static void b_waits(struct scene *scene) {
    CHECK(stand_enter(&scene->b, &scene->bob, "b", PLACE_WAIT) == 0);
    world_run(scene->world);
    STORY(scene->world, "");
    CHECK(world_count(scene->world, LINE) == 2);
}

static void a_holds_for_a_while(struct scene *scene) {
    a_holds(scene);
    world_advance(scene->world, MS(500)); /* its key is watched by now */
    CHECK(world_n_watches(scene->world) == 1);
}

/* Held, and the safety read under way and unanswered. */
static void a_is_checking(struct scene *scene) {
    a_holds(scene);
    scene->world->is_held[RPC_TXN] = true;
    world_advance(scene->world, SECONDS(11));
    CHECK(fake_n_calls(scene->world->fake, RPC_TXN) == 1);
    STORY(scene->world, "");
}

/* Waiting, and the read that follows the making of the watch under way and unanswered. */
static void b_is_looking(struct scene *scene) {
    stranger_holds(scene);
    scene->world->is_held[RPC_WATCH] = true;
    b_waits(scene);
    scene->world->is_held[RPC_WATCH] = false;
    scene->world->is_held[RPC_TXN] = true;
    world_run(scene->world);
    CHECK(fake_n_calls(scene->world->fake, RPC_TXN) == 1);
}

/* Given up while its entering was not answered, and now asking what became of it. */
static void a_is_finding(struct scene *scene) {
    scene->world->is_held[RPC_TXN] = scene->world->is_held[RPC_RANGE] = true;
    CHECK(stand_enter(&scene->a, &scene->ann, "a", PLACE_WAIT) == 0);
    world_run(scene->world);
    stand_give_up(&scene->a);
    world_run(scene->world);
    CHECK(fake_n_calls(scene->world->fake, RPC_TXN) == 0);
    CHECK(fake_n_calls(scene->world->fake, RPC_RANGE) == 1);
}

/* The same, the copy kept by a member that may still carry it out; it was not found: a debt. */
static void a_is_owing(struct scene *scene) {
    scene->world->is_held[RPC_TXN] = true;
    CHECK(stand_enter(&scene->a, &scene->ann, "a", PLACE_WAIT) == 0);
    world_run(scene->world);
    world_keep(scene->world, RPC_TXN);
    stand_give_up(&scene->a);
    scene->world->is_held[RPC_TXN] = false;
    world_run(scene->world);
    CHECK(world_count(scene->world, LINE) == 0);
    CHECK(fake_n_calls(scene->world->fake, FAKE_ANY) == 0);
    CHECK(world_n_watches(scene->world) == 1);
}

static int leaving_method(struct scene *scene) {
    return fake_n_calls(scene->world->fake, RPC_TXN) ? RPC_TXN : RPC_DELETE_RANGE;
}

static void a_is_leaving(struct scene *scene) {
    a_holds(scene);
    scene->world->is_held[RPC_TXN] = scene->world->is_held[RPC_DELETE_RANGE] = true;
    stand_leave(&scene->a);
    world_run(scene->world);
    CHECK(fake_n_calls(scene->world->fake, leaving_method(scene)) == 1);
}

static void release_calls(struct scene *scene) {
    for (int i = 0; i < RPC_N_METHODS; i++)
        scene->world->is_held[i] = false;
    world_run(scene->world);
}

/* ---- entering --------------------------------------------------------------------------------------- */

static void a_place_in_an_empty_line_is_held_after_one_round_trip(void) {
    struct scene *scene = scene_begin(1);
    int before = scene->world->n_answered[RPC_TXN];
    a_holds(scene);
    CHECK(scene->world->n_answered[RPC_TXN] == before + 1);
    CHECK(scene->a.token == world_first(scene->world, LINE)->create_rev);
    CHECK(world_first(scene->world, LINE)->lease == scene->ann.session.lease);
    scene_end(scene);
}

static void entering_that_etcd_refuses_is_told_and_leaves_nothing(void) {
    struct scene *scene = scene_begin(1);
    scene->world->n_refused[RPC_TXN] = 1;
    scene->world->refusal_status = RPC_PERMISSION_DENIED;
    scene->world->refusal = "etcdserver: permission denied";
    CHECK(stand_enter(&scene->a, &scene->ann, "a", PLACE_WAIT) == 0);
    world_run(scene->world);
    STORY(scene->world, "a fails permission_denied");
    CHECK(fake_n_calls(scene->world->fake, FAKE_ANY) == 0);
    scene_end(scene);
}

static void entering_given_up_before_it_was_answered_is_found_and_deleted(void) {
    struct scene *scene = scene_begin(1);
    scene->world->n_replies_lost[RPC_TXN] = 1;
    CHECK(stand_enter(&scene->a, &scene->ann, "a", PLACE_WAIT) == 0);
    scene->world->is_held[RPC_TXN] = true;
    fake_run(scene->world->fake);
    release_calls(scene); /* carried out, the reply lost, and now between two attempts */
    scene->world->is_held[RPC_TXN] = true;
    CHECK(world_count(scene->world, LINE) == 1);
    stand_give_up(&scene->a);
    scene->world->is_held[RPC_TXN] = false;
    world_advance(scene->world, SECONDS(1));
    CHECK(world_count(scene->world, LINE) == 0);
    STORY(scene->world, "");
    scene_end(scene);
}

static void entering_given_up_whose_reply_was_faster_leaves(void) {
    struct scene *scene = scene_begin(1);
    scene->world->is_held[RPC_TXN] = true;
    CHECK(stand_enter(&scene->a, &scene->ann, "a", PLACE_WAIT) == 0);
    world_run(scene->world);
    struct fake_call *call = fake_call(scene->world->fake, RPC_TXN);
    stand_give_up(&scene->a);
    CHECK(call->is_cancelled);
    call->is_cancelled = false; /* too late: the reply is there */
    release_calls(scene);
    CHECK(world_count(scene->world, LINE) == 0);
    STORY(scene->world, "");
    scene_end(scene);
}

static void entering_ends_with_its_session(void) {
    struct scene *scene = scene_begin(1);
    scene->world->is_held[RPC_TXN] = true;
    CHECK(stand_enter(&scene->a, &scene->ann, "a", PLACE_WAIT) == 0);
    world_run(scene->world);
    person_close(&scene->ann, true);
    world_run(scene->world);
    STORY(scene->world, "a fails closed, Ann closed, Ann ended");
    scene_end(scene);
}

static void entering_ends_when_the_session_is_lost(void) {
    struct scene *scene = scene_begin(1);
    for (int i = 0; i < RPC_N_METHODS; i++)
        scene->world->is_held[i] = true;
    CHECK(stand_enter(&scene->a, &scene->ann, "a", PLACE_WAIT) == 0);
    world_advance(scene->world, MS(9500));
    STORY(scene->world, "Ann jeopardy, Bob jeopardy, a fails lost, Ann lost expired, Bob lost expired");
    scene_end(scene);
}

static void entering_under_a_lease_that_is_gone_ends_the_session_at_once(void) {
    struct scene *scene = scene_begin(1);
    world_revoke(scene->world, scene->ann.session.lease);
    CHECK(stand_enter(&scene->a, &scene->ann, "a", PLACE_WAIT) == 0);
    world_run(scene->world);
    STORY(scene->world, "a fails lost, Ann lost revoked");
    CHECK(!person_is_valid(&scene->ann));
    scene_end(scene);
}

static void a_lost_reply_to_entering_is_asked_again_and_finds_itself(void) {
    struct scene *scene = scene_begin(1);
    scene->world->n_replies_lost[RPC_TXN] = 1;
    CHECK(stand_enter(&scene->a, &scene->ann, "a", PLACE_WAIT) == 0);
    world_advance(scene->world, SECONDS(1));
    STORY(scene->world, "a holds");
    CHECK(world_count(scene->world, LINE) == 1);
    CHECK(scene->a.token == world_first(scene->world, LINE)->create_rev);
    scene_end(scene);
}

static void a_lost_reply_behind_somebody_is_asked_again_and_waits(void) {
    struct scene *scene = scene_begin(1);
    stranger_holds(scene);
    scene->world->n_replies_lost[RPC_TXN] = 1;
    CHECK(stand_enter(&scene->b, &scene->bob, "b", PLACE_WAIT) == 0);
    world_advance(scene->world, SECONDS(1));
    STORY(scene->world, "");
    CHECK(world_count(scene->world, LINE) == 2);
    world_delete(scene->world, LINE "stranger");
    world_run(scene->world);
    STORY(scene->world, "b holds");
    scene_end(scene);
}

/* ---- waiting ---------------------------------------------------------------------------------------- */

static void a_waiter_holds_when_the_one_before_it_leaves(void) {
    struct scene *scene = scene_begin(1);
    stranger_holds(scene);
    b_waits(scene);
    world_advance(scene->world, SECONDS(3));
    STORY(scene->world, "");
    world_delete(scene->world, LINE "stranger");
    world_run(scene->world);
    STORY(scene->world, "b holds");
    CHECK(scene->b.token == world_first(scene->world, LINE)->create_rev);
    scene_end(scene);
}

static void a_waiter_behind_one_of_the_same_client_needs_no_watch(void) {
    struct scene *scene = scene_begin(1);
    a_holds(scene);
    b_waits(scene);
    CHECK(scene->world->n_watches_created == 0);
    stand_leave(&scene->a);
    world_run(scene->world);
    STORY(scene->world, "a left, b holds");
    CHECK(scene->b.token > scene->a.token);
    scene_end(scene);
}

static void a_waiter_given_up_leaves_nothing(void) {
    struct scene *scene = scene_begin(1);
    stranger_holds(scene);
    b_waits(scene);
    stand_give_up(&scene->b);
    world_run(scene->world);
    CHECK(world_count(scene->world, LINE) == 1);
    CHECK(world_n_watches(scene->world) == 0);
    world_delete(scene->world, LINE "stranger");
    world_advance(scene->world, SECONDS(20));
    STORY(scene->world, "");
    scene_end(scene);
}

static void a_waiter_is_told_when_its_session_closes(void) {
    struct scene *scene = scene_begin(1);
    stranger_holds(scene);
    b_waits(scene);
    person_close(&scene->bob, true);
    STORY(scene->world, "b fails closed, Bob closed");
    world_run(scene->world);
    CHECK(world_count(scene->world, LINE) == 1);
    world_delete(scene->world, LINE "stranger");
    scene_end(scene);
}

static void a_waiter_whose_lease_is_revoked_learns_of_it_at_once_and_is_never_elected(void) {
    struct scene *scene = scene_begin(1);
    stranger_holds(scene);
    b_waits(scene);
    world_advance(scene->world, MS(200));
    world_revoke(scene->world, scene->bob.session.lease);
    world_run(scene->world);
    CHECK(strncmp(scene->world->story, "b fails lost", 12) == 0);
    world_advance(scene->world, MS(400)); /* never renewed yet: etcd's leader is given time to catch up */
    CHECK(session_state(&scene->bob.session) == LUN_SESSION_LOST);
    CHECK(scene->bob.session.reason == LUN_LOST_REVOKED);
    world_delete(scene->world, LINE "stranger");
    world_advance(scene->world, SECONDS(1));
    CHECK(strstr(scene->world->story, "b holds") == NULL);
    scene_end(scene);
}

static void a_waiter_whose_key_is_deleted_in_the_first_100_ms_learns_of_it_soon_after(void) {
    struct scene *scene = scene_begin(1);
    stranger_holds(scene);
    b_waits(scene);
    world_delete(scene->world, scene->b.key);
    world_advance(scene->world, MS(150));
    STORY(scene->world, "b fails lost");
    world_delete(scene->world, LINE "stranger");
    scene_end(scene);
}

static void the_death_of_the_middle_one_of_three_elects_nobody(void) {
    struct scene *scene = scene_begin(1);
    stranger_holds(scene);
    world_put(scene->world, LINE "middle", "too", 0);
    CHECK(stand_enter(&scene->b, &scene->bob, "b", PLACE_WAIT) == 0);
    world_run(scene->world);
    world_delete(scene->world, LINE "middle");
    world_advance(scene->world, SECONDS(2));
    STORY(scene->world, "");
    world_delete(scene->world, LINE "stranger");
    world_run(scene->world);
    STORY(scene->world, "b holds");
    scene_end(scene);
}

static void a_win_is_confirmed_although_two_watches_tell_in_the_wrong_order(void) {
    struct scene *scene = scene_begin(1);
    stranger_holds(scene);
    b_waits(scene);
    world_advance(scene->world, MS(200));
    scene->world->are_events_held = true;
    world_delete(scene->world, scene->b.key); /* earlier... */
    world_delete(scene->world, LINE "stranger");
    world_tell_watchers(scene->world, LINE "stranger"); /* ...and told later */
    STORY(scene->world, "b fails lost");
    scene_end(scene);
}

static void compaction_while_waiting_is_survived(void) {
    struct scene *scene = scene_begin(1);
    stranger_holds(scene);
    b_waits(scene);
    world_put(scene->world, "/other", "1", 0);
    world_compact(scene->world); /* before our own key's watch is made */
    world_advance(scene->world, SECONDS(1));
    world_break_streams(scene->world, RPC_WATCH);
    world_put(scene->world, "/other", "2", 0);
    world_compact(scene->world);
    world_advance(scene->world, SECONDS(1));
    STORY(scene->world, "");
    CHECK(world_n_watches(scene->world) == 2);
    world_delete(scene->world, LINE "stranger");
    world_run(scene->world);
    STORY(scene->world, "b holds");
    world_advance(scene->world, SECONDS(1));
    world_delete(scene->world, scene->b.key);
    world_run(scene->world);
    CHECK(strncmp(scene->world->story, "b lost key_deleted", 18) == 0);
    scene_end(scene);
}

static void a_watch_that_is_refused_becomes_polling_at_a_decent_pace(void) {
    struct scene *scene = scene_begin(1);
    scene->world->watch_refusal = "etcdserver: permission denied";
    stranger_holds(scene);
    b_waits(scene);
    int before = scene->world->n_answered[RPC_TXN];
    world_advance(scene->world, SECONDS(10));
    int n = scene->world->n_answered[RPC_TXN] - before;
    CHECK(n >= 5 && n <= 40);
    CHECK(scene->world->n_watches_created <= 40);
    world_delete(scene->world, LINE "stranger");
    world_advance(scene->world, SECONDS(2));
    STORY(scene->world, "b holds");
    scene_end(scene);
}

static void an_event_that_the_server_dropped_is_made_good_by_the_slow_read(void) {
    struct scene *scene = scene_begin(1);
    stranger_holds(scene);
    b_waits(scene);
    world_advance(scene->world, SECONDS(1));
    scene->world->are_events_held = true;
    world_delete(scene->world, LINE "stranger");
    world_advance(scene->world, SECONDS(11));
    STORY(scene->world, "b holds");
    scene_end(scene);
}

static void a_broken_watch_stream_is_made_anew_and_misses_nothing(void) {
    struct scene *scene = scene_begin(2);
    stranger_holds(scene);
    b_waits(scene);
    world_advance(scene->world, SECONDS(1));
    scene->world->is_held[RPC_WATCH] = true;
    world_break_streams(scene->world, RPC_WATCH);
    world_delete(scene->world, LINE "stranger"); /* nobody watches */
    world_advance(scene->world, MS(50));
    STORY(scene->world, "");
    scene->world->is_held[RPC_WATCH] = false;
    world_advance(scene->world, MS(100));
    STORY(scene->world, "b holds");
    scene_end(scene);
}

static int n_looks(struct scene *scene, int64_t span) {
    int before = scene->world->n_answered[RPC_TXN];
    world_advance(scene->world, span);
    return scene->world->n_answered[RPC_TXN] - before;
}

static void reads_are_hedged_after_a_foreign_write(void) {
    struct scene *scene = scene_begin(1);
    b_is_looking(scene);
    world_put(scene->world, "/other", "1", 0);
    scene->world->is_held[RPC_TXN] = false;
    int n = n_looks(scene, MS(400));
    CHECK(n == 7); /* the one under way, and six hedges */
    world_delete(scene->world, LINE "stranger");
    scene_end(scene);
}

static void reads_are_not_hedged_without_a_foreign_write(void) {
    struct scene *scene = scene_begin(1);
    b_is_looking(scene);
    scene->world->is_held[RPC_TXN] = false;
    int n = n_looks(scene, MS(400));
    CHECK(n == 1);
    world_delete(scene->world, LINE "stranger");
    scene_end(scene);
}

static void a_hedge_finds_what_the_slow_loop_has_not_told_yet(void) {
    struct scene *scene = scene_begin(1);
    b_is_looking(scene);
    world_put(scene->world, "/other", "1", 0);
    scene->world->are_events_held = true;
    release_calls(scene);
    world_delete(scene->world, LINE "stranger");
    world_advance(scene->world, MS(11));
    STORY(scene->world, "b holds");
    scene_end(scene);
}

/* ---- looking ---------------------------------------------------------------------------------------- */

static void looking_goes_on_to_holding(void) {
    struct scene *scene = scene_begin(1);
    b_is_looking(scene);
    world_delete(scene->world, LINE "stranger");
    release_calls(scene);
    STORY(scene->world, "b holds");
    scene_end(scene);
}

static void a_deletion_told_while_looking_is_looked_at_again(void) {
    struct scene *scene = scene_begin(1);
    b_is_looking(scene);
    /* The read was carried out before the deletion, its reply comes after the event. */
    world_answer_slowly(scene->world, RPC_TXN);
    world_delete(scene->world, LINE "stranger");
    world_run(scene->world);
    STORY(scene->world, "");
    world_deliver(scene->world);
    release_calls(scene);
    STORY(scene->world, "b holds");
    scene_end(scene);
}

static void looking_that_etcd_refuses_is_told_and_the_key_removed(void) {
    struct scene *scene = scene_begin(1);
    b_is_looking(scene);
    scene->world->n_refused[RPC_TXN] = 1;
    scene->world->refusal_status = RPC_PERMISSION_DENIED;
    scene->world->refusal = "etcdserver: permission denied";
    release_calls(scene);
    STORY(scene->world, "b fails permission_denied");
    CHECK(world_count(scene->world, LINE) == 1);
    world_delete(scene->world, LINE "stranger");
    scene_end(scene);
}

static void looking_given_up_removes_the_key(void) {
    struct scene *scene = scene_begin(1);
    b_is_looking(scene);
    stand_give_up(&scene->b);
    release_calls(scene);
    STORY(scene->world, "");
    CHECK(world_count(scene->world, LINE) == 1);
    world_delete(scene->world, LINE "stranger");
    scene_end(scene);
}

static void looking_ends_with_its_session(void) {
    struct scene *scene = scene_begin(1);
    b_is_looking(scene);
    person_close(&scene->bob, true);
    STORY(scene->world, "b fails closed, Bob closed");
    world_run(scene->world);
    STORY(scene->world, "Bob ended");
    world_delete(scene->world, LINE "stranger");
    scene_end(scene);
}

static void a_key_deleted_while_looking_is_told_at_once(void) {
    struct scene *scene = scene_begin(1);
    stranger_holds(scene);
    b_waits(scene);
    world_advance(scene->world, MS(200));
    scene->world->is_held[RPC_TXN] = true;
    world_advance(scene->world, SECONDS(11));
    CHECK(fake_n_calls(scene->world->fake, RPC_TXN) == 1);
    world_delete(scene->world, scene->b.key);
    world_run(scene->world);
    STORY(scene->world, "b fails lost");
    world_delete(scene->world, LINE "stranger");
    scene_end(scene);
}

/* ---- holding ---------------------------------------------------------------------------------------- */

static void a_holder_whose_key_is_deleted_is_told_at_once(void) {
    struct scene *scene = scene_begin(1);
    a_holds_for_a_while(scene);
    world_delete(scene->world, scene->a.key);
    world_run(scene->world);
    STORY(scene->world, "a lost key_deleted");
    CHECK(session_state(&scene->ann.session) == LUN_SESSION_ALIVE);
    scene_end(scene);
}

static void a_holder_whose_lease_is_revoked_is_told_at_once_and_so_is_the_session(void) {
    struct scene *scene = scene_begin(1);
    a_holds_for_a_while(scene);
    world_advance(scene->world, SECONDS(5)); /* renewed once */
    world_revoke(scene->world, scene->ann.session.lease);
    world_run(scene->world);
    world_advance(scene->world, MS(10));
    STORY(scene->world, "a lost key_deleted, Ann lost revoked");
    scene_end(scene);
}

static void a_holder_is_told_to_stop_before_it_is_told_of_the_loss(void) {
    struct scene *scene = scene_begin(1);
    a_holds(scene);
    int64_t stop_at = session_stop_at_ns(&scene->ann.session);
    int64_t valid_until = session_valid_until_ns(&scene->ann.session);
    CHECK(stop_at < valid_until);
    for (int i = 0; i < RPC_N_METHODS; i++)
        scene->world->is_held[i] = true;
    world_advance(scene->world, stop_at - 1 - fake_now(scene->world->fake));
    STORY(scene->world, "Bob jeopardy, Ann jeopardy");
    world_advance(scene->world, 1);
    STORY(scene->world, "a stop");
    world_advance(scene->world, valid_until - 1 - fake_now(scene->world->fake));
    STORY(scene->world, "");
    CHECK(person_is_valid(&scene->ann));
    world_advance(scene->world, 1);
    CHECK(!person_is_valid(&scene->ann));
    STORY(scene->world, "a lost expired, Ann lost expired, Bob lost expired");
    CHECK(world_count(scene->world, LINE) == 1); /* etcd has not let go yet */
    scene_end(scene);
}

static void a_holder_that_gives_up_at_the_stop_leaves_before_the_loss(void) {
    struct scene *scene = scene_begin(1);
    a_holds(scene);
    scene->a.gives_up_on_stop = true;
    scene->world->is_held[RPC_LEASE_KEEP_ALIVE] = true;
    world_advance(scene->world, MS(7400));
    CHECK(world_count(scene->world, LINE) == 0);
    CHECK(person_is_valid(&scene->ann));
    scene_end(scene);
}

static void a_holder_given_up_leaves_nothing(void) {
    struct scene *scene = scene_begin(1);
    a_holds_for_a_while(scene);
    stand_give_up(&scene->a);
    world_run(scene->world);
    CHECK(world_count(scene->world, LINE) == 0);
    CHECK(world_n_watches(scene->world) == 0);
    STORY(scene->world, "");
    scene_end(scene);
}

static void a_holder_is_told_when_its_session_closes(void) {
    struct scene *scene = scene_begin(1);
    a_holds(scene);
    person_close(&scene->ann, true);
    STORY(scene->world, "a lost closed, Ann closed");
    world_run(scene->world);
    CHECK(world_count(scene->world, LINE) == 0);
    scene_end(scene);
}

static void holders_and_waiters_of_a_frozen_process_are_told_that_it_was_frozen(void) {
    struct scene *scene = scene_begin(1);
    a_holds_for_a_while(scene);
    world_freeze(scene->world, SECONDS(30));
    CHECK(!person_is_valid(&scene->ann));
    world_run(scene->world);
    STORY(scene->world, "a lost frozen, Ann lost frozen, Bob lost frozen");
    scene_end(scene);
}

static void a_deletion_told_before_the_fence_does_not_hide_that_we_were_frozen(void) {
    struct scene *scene = scene_begin(1);
    a_holds_for_a_while(scene);
    world_freeze(scene->world, SECONDS(30));
    world_tell_watchers(scene->world,
                        scene->a.key); /* the event was in the socket: nobody looked at the fence */
    CHECK(strstr(scene->world->story, "a lost frozen") != NULL);
    CHECK(strstr(scene->world->story, "Ann lost frozen") != NULL);
    scene_end(scene);
}

static void a_win_after_valid_until_is_none(void) {
    struct scene *scene = scene_begin(1);
    scene->world->is_held[RPC_TXN] = scene->world->is_held[RPC_LEASE_KEEP_ALIVE] = true;
    CHECK(stand_enter(&scene->a, &scene->ann, "a", PLACE_WAIT) == 0);
    world_advance(scene->world, SECONDS(8));
    scene->world->story[0] = '\0';
    fake_freeze(scene->world->fake, MS(1500)); /* 9.5 s: past valid_until, not past the lease */
    world_answer_one(scene->world, RPC_TXN);   /* before anybody has looked at the fence */
    STORY(scene->world, "");
    world_run(scene->world);
    CHECK(strstr(scene->world->story, "a holds") == NULL);
    CHECK(strstr(scene->world->story, "a fails lost") != NULL);
    scene_end(scene);
}

/* ---- checking --------------------------------------------------------------------------------------- */

static void checking_goes_on_to_holding(void) {
    struct scene *scene = scene_begin(1);
    a_is_checking(scene);
    release_calls(scene);
    STORY(scene->world, "");
    CHECK(place_is_held(scene->a.place));
    scene_end(scene);
}

static void checking_that_etcd_refuses_changes_nothing(void) {
    struct scene *scene = scene_begin(1);
    a_is_checking(scene);
    scene->world->n_refused[RPC_TXN] = 1;
    scene->world->refusal_status = RPC_PERMISSION_DENIED;
    scene->world->refusal = "etcdserver: permission denied";
    release_calls(scene);
    STORY(scene->world, "");
    CHECK(place_is_held(scene->a.place));
    CHECK(fake_n_calls(scene->world->fake, RPC_TXN) == 0);
    scene_end(scene);
}

static void checking_that_does_not_find_our_key_is_a_loss(void) {
    struct scene *scene = scene_begin(1);
    scene->world->are_events_held = true;
    a_is_checking(scene);
    world_delete(scene->world, scene->a.key);
    release_calls(scene);
    STORY(scene->world, "a lost key_deleted");
    scene_end(scene);
}

static void checking_left_is_left(void) {
    struct scene *scene = scene_begin(1);
    a_is_checking(scene);
    stand_leave(&scene->a);
    release_calls(scene);
    STORY(scene->world, "a left");
    CHECK(world_count(scene->world, LINE) == 0);
    scene_end(scene);
}

static void checking_given_up_leaves_nothing(void) {
    struct scene *scene = scene_begin(1);
    a_is_checking(scene);
    stand_give_up(&scene->a);
    release_calls(scene);
    STORY(scene->world, "");
    CHECK(world_count(scene->world, LINE) == 0);
    scene_end(scene);
}

static void checking_ends_with_its_session(void) {
    struct scene *scene = scene_begin(1);
    a_is_checking(scene);
    person_close(&scene->ann, true);
    STORY(scene->world, "a lost closed, Ann closed");
    world_run(scene->world);
    STORY(scene->world, "Ann ended");
    scene_end(scene);
}

static void a_key_deleted_while_leaving_out_of_checking_is_told_as_not_owned(void) {
    struct scene *scene = scene_begin(1);
    a_is_checking(scene);
    fake_hold_cancelled(scene->world->fake, true);
    stand_leave(&scene->a);
    world_delete(scene->world, scene->a.key);
    world_run(scene->world);
    fake_hold_cancelled(scene->world->fake, false);
    world_run(scene->world);
    STORY(scene->world, "a left not_owner");
    scene_end(scene);
}

/* ---- leaving ---------------------------------------------------------------------------------------- */

static void leaving_is_told_once_etcd_has_answered(void) {
    struct scene *scene = scene_begin(1);
    a_is_leaving(scene);
    STORY(scene->world, "");
    release_calls(scene);
    STORY(scene->world, "a left");
    scene_end(scene);
}

static void leaving_whose_reply_is_lost_is_asked_again(void) {
    struct scene *scene = scene_begin(1);
    a_is_leaving(scene);
    scene->world->n_replies_lost[leaving_method(scene)] = 1;
    release_calls(scene);
    world_advance(scene->world, SECONDS(1));
    STORY(scene->world, "a left");
    CHECK(world_count(scene->world, LINE) == 0);
    scene_end(scene);
}

static void leaving_a_place_that_was_deleted_says_so(void) {
    struct scene *scene = scene_begin(1);
    a_is_leaving(scene);
    world_delete(scene->world, scene->a.key);
    release_calls(scene);
    STORY(scene->world, "a left not_owner");
    scene_end(scene);
}

static void leaving_given_up_goes_on(void) {
    struct scene *scene = scene_begin(1);
    a_is_leaving(scene);
    stand_give_up(&scene->a);
    release_calls(scene);
    STORY(scene->world, "");
    CHECK(world_count(scene->world, LINE) == 0);
    scene_end(scene);
}

static void leaving_ends_with_its_session(void) {
    struct scene *scene = scene_begin(1);
    a_is_leaving(scene);
    person_close(&scene->ann, true);
    STORY(scene->world, "a left closed, Ann closed");
    world_run(scene->world);
    STORY(scene->world, "Ann ended");
    scene_end(scene);
}

static void leaving_that_etcd_refuses_is_told_and_tried_again_as_long_as_the_session_lives(void) {
    struct scene *scene = scene_begin(1);
    a_is_leaving(scene);
    int method = leaving_method(scene);
    scene->world->n_refused[method] = 2;
    scene->world->refusal_status = RPC_PERMISSION_DENIED;
    scene->world->refusal = "etcdserver: permission denied";
    release_calls(scene);
    STORY(scene->world, "a left permission_denied");
    CHECK(world_count(scene->world, LINE) == 1);
    CHECK(scene->world->n_refused[method] == 1); /* not at once: with a delay */
    world_advance(scene->world, SECONDS(25));
    CHECK(world_count(scene->world, LINE) == 0);
    scene_end(scene);
}

static void leaving_without_memory_is_tried_again(void) {
    struct scene *scene = scene_begin(1);
    a_holds(scene);
    fake_fail_next(scene->world->fake, 1);
    stand_leave(&scene->a);
    world_run(scene->world);
    CHECK(world_count(scene->world, LINE) == 1);
    world_advance(scene->world, SECONDS(11));
    CHECK(world_count(scene->world, LINE) == 0);
    STORY(scene->world, "a left");
    scene_end(scene);
}

static void a_late_copy_of_a_leaving_cannot_delete_the_next_place(void) {
    struct scene *scene = scene_begin(1);
    a_is_leaving(scene);
    int method = leaving_method(scene);
    world_keep(scene->world, (enum rpc_method)method); /* frozen with it; asked again elsewhere */
    release_calls(scene);
    world_advance(scene->world, SECONDS(1));
    STORY(scene->world, "a left");
    CHECK(stand_enter(&scene->c, &scene->ann, "c", PLACE_WAIT) == 0);
    world_run(scene->world);
    STORY(scene->world, "c holds");
    world_carry_out_kept(scene->world);
    world_advance(scene->world, SECONDS(11));
    STORY(scene->world, "");
    CHECK(world_count(scene->world, LINE) == 1);
    scene_end(scene);
}

/* ---- finding ---------------------------------------------------------------------------------------- */

static void finding_what_is_there_deletes_it(void) {
    struct scene *scene = scene_begin(1);
    a_is_finding(scene);
    world_put(scene->world, scene->a.key, "late", scene->ann.session.lease);
    release_calls(scene);
    CHECK(world_count(scene->world, LINE) == 0);
    scene_end(scene);
}

static void finding_nothing_becomes_a_debt(void) {
    struct scene *scene = scene_begin(1);
    a_is_finding(scene);
    release_calls(scene);
    CHECK(world_n_watches(scene->world) == 1);
    world_put(scene->world, scene->a.key, "late", scene->ann.session.lease);
    world_run(scene->world);
    CHECK(world_count(scene->world, LINE) == 0);
    scene_end(scene);
}

static void finding_that_etcd_refuses_is_tried_again(void) {
    struct scene *scene = scene_begin(1);
    a_is_finding(scene);
    scene->world->n_refused[RPC_RANGE] = 1;
    scene->world->refusal_status = RPC_PERMISSION_DENIED;
    scene->world->refusal = "etcdserver: permission denied";
    world_put(scene->world, scene->a.key, "late", scene->ann.session.lease);
    release_calls(scene);
    world_advance(scene->world, SECONDS(12));
    CHECK(world_count(scene->world, LINE) == 0);
    scene_end(scene);
}

static void finding_ends_with_its_session(void) {
    struct scene *scene = scene_begin(1);
    a_is_finding(scene);
    person_close(&scene->ann, true);
    release_calls(scene);
    STORY(scene->world, "Ann closed, Ann ended");
    scene_end(scene);
}

/* ---- owing ------------------------------------------------------------------------------------------ */

static void a_debt_deletes_the_late_copy(void) {
    struct scene *scene = scene_begin(1);
    a_is_owing(scene);
    world_carry_out_kept(scene->world);
    CHECK(world_count(scene->world, LINE) == 1);
    world_run(scene->world);
    CHECK(world_count(scene->world, LINE) == 0);
    STORY(scene->world, "");
    scene_end(scene);
}

static void a_debt_survives_broken_streams_and_compaction(void) {
    struct scene *scene = scene_begin(1);
    a_is_owing(scene);
    scene->world->is_held[RPC_WATCH] = true;
    world_break_streams(scene->world, RPC_WATCH);
    world_carry_out_kept(scene->world);
    world_put(scene->world, "/other", "1", 0);
    world_compact(scene->world);
    world_run(scene->world);
    scene->world->is_held[RPC_WATCH] = false;
    world_advance(scene->world, SECONDS(3));
    CHECK(world_count(scene->world, LINE) == 0);
    scene_end(scene);
}

static void a_debt_ends_with_its_session(void) {
    struct scene *scene = scene_begin(1);
    a_is_owing(scene);
    person_close(&scene->ann, true);
    world_run(scene->world);
    STORY(scene->world, "Ann closed, Ann ended");
    CHECK(world_n_watches(scene->world) == 0);
    world_carry_out_kept(scene->world); /* refused: the lease is gone */
    scene_end(scene);
}

static void a_debt_does_not_touch_the_next_place_of_the_session(void) {
    struct scene *scene = scene_begin(1);
    a_is_owing(scene);
    CHECK(stand_enter(&scene->c, &scene->ann, "c", PLACE_WAIT) == 0);
    CHECK(strcmp(scene->c.key, scene->a.key) != 0);
    world_run(scene->world);
    STORY(scene->world, "c holds");
    world_carry_out_kept(scene->world);
    world_advance(scene->world, SECONDS(1));
    STORY(scene->world, "");
    CHECK(world_count(scene->world, LINE) == 1);
    scene_end(scene);
}

/* Entering is kept by one member and carried out by another; the key is deleted by an operator, and then the
 * copy comes: what stands there now is not the place that was lost, and nobody wants it. */
static void hold_with_a_copy_kept(struct scene *scene) {
    scene->world->is_held[RPC_TXN] = true;
    CHECK(stand_enter(&scene->a, &scene->ann, "a", PLACE_WAIT) == 0);
    world_run(scene->world);
    world_keep(scene->world, RPC_TXN);
    scene->world->is_held[RPC_TXN] = false;
    world_advance(scene->world, MS(600));
    STORY(scene->world, "a holds");
}

static void a_late_copy_after_our_key_was_deleted_is_removed(void) {
    struct scene *scene = scene_begin(1);
    hold_with_a_copy_kept(scene);
    world_delete(scene->world, scene->a.key);
    world_run(scene->world);
    STORY(scene->world, "a lost key_deleted");
    world_carry_out_kept(scene->world);
    world_run(scene->world);
    CHECK(world_count(scene->world, LINE) == 0);
    scene_end(scene);
}

static void a_late_copy_that_a_read_finds_in_our_stead_is_removed(void) {
    struct scene *scene = scene_begin(1);
    hold_with_a_copy_kept(scene);
    scene->world->are_events_held = true;
    world_delete(scene->world, scene->a.key);
    world_carry_out_kept(scene->world);
    CHECK(world_count(scene->world, LINE) == 1);
    world_advance(scene->world, SECONDS(11)); /* the slow read sees another create revision */
    scene->world->are_events_held = false;
    world_advance(scene->world, SECONDS(1));
    CHECK(strstr(scene->world->story, "a lost key_deleted") != NULL);
    CHECK(world_count(scene->world, LINE) == 0);
    scene_end(scene);
}

static void a_late_copy_told_while_a_cancelled_read_is_on_its_way_back_is_removed(void) {
    struct scene *scene = scene_begin(1);
    hold_with_a_copy_kept(scene);
    scene->world->is_held[RPC_TXN] = true;
    world_advance(scene->world, SECONDS(11));
    CHECK(fake_n_calls(scene->world->fake, RPC_TXN) == 1); /* checking */
    fake_hold_cancelled(scene->world->fake, true);
    world_delete(scene->world, scene->a.key);
    world_run(scene->world);
    STORY(scene->world, "a lost key_deleted");
    world_carry_out_kept(scene->world);
    world_run(scene->world);
    fake_hold_cancelled(scene->world->fake, false);
    release_calls(scene);
    world_advance(scene->world, SECONDS(12));
    CHECK(world_count(scene->world, LINE) == 0);
    scene_end(scene);
}

/* ---- trying ----------------------------------------------------------------------------------------- */

static void trying_a_free_line_wins_with_one_write(void) {
    struct scene *scene = scene_begin(1);
    int64_t revision = scene->world->revision;
    CHECK(stand_enter(&scene->a, &scene->ann, "a", PLACE_TRY) == 0);
    world_run(scene->world);
    STORY(scene->world, "a holds");
    CHECK(scene->world->revision == revision + 1);
    CHECK(scene->a.token == revision + 1);
    scene_end(scene);
}

static void trying_a_busy_line_writes_nothing_and_names_the_holder(void) {
    struct scene *scene = scene_begin(1);
    a_holds(scene);
    int64_t revision = scene->world->revision;
    size_t n_calls = fake_n_calls_made(scene->world->fake);
    CHECK(stand_enter(&scene->b, &scene->bob, "b", PLACE_TRY) == 0);
    world_run(scene->world);
    STORY(scene->world, "b fails locked");
    CHECK_TEXT(scene->b.text, "locked by a on h (pid 1)");
    CHECK(scene->world->revision == revision);
    CHECK(fake_n_calls_made(scene->world->fake) == n_calls + 1);
    scene_end(scene);
}

static void a_lost_reply_of_a_try_that_won_is_found_again(void) {
    struct scene *scene = scene_begin(1);
    scene->world->n_replies_lost[RPC_TXN] = 1;
    CHECK(stand_enter(&scene->a, &scene->ann, "a", PLACE_TRY) == 0);
    world_advance(scene->world, SECONDS(1));
    STORY(scene->world, "a holds");
    CHECK(scene->a.token == world_first(scene->world, LINE)->create_rev);
    scene_end(scene);
}

static void a_late_copy_of_a_try_that_found_it_busy_is_removed(void) {
    struct scene *scene = scene_begin(1);
    scene->world->is_held[RPC_TXN] = true;
    CHECK(stand_enter(&scene->a, &scene->ann, "a", PLACE_TRY) == 0);
    world_answer_one(scene->world, RPC_TXN); /* nobody there: now it may write */
    stranger_holds(scene);
    world_keep(scene->world, RPC_TXN);
    scene->world->is_held[RPC_TXN] = false;
    world_advance(scene->world, SECONDS(1));
    STORY(scene->world, "a fails locked");
    world_delete(scene->world, LINE "stranger");
    world_carry_out_kept(scene->world);
    CHECK(world_count(scene->world, LINE) == 1);
    world_run(scene->world);
    CHECK(world_count(scene->world, LINE) == 0);
    scene_end(scene);
}

static void trying_given_up_leaves_nothing_in_either_step(void) {
    for (int step = 0; step < 2; step++) {
        struct scene *scene = scene_begin(1);
        scene->world->is_held[RPC_TXN] = true;
        CHECK(stand_enter(&scene->a, &scene->ann, "a", PLACE_TRY) == 0);
        if (step == 1)
            world_answer_one(scene->world, RPC_TXN);
        stand_give_up(&scene->a);
        release_calls(scene);
        world_advance(scene->world, SECONDS(1));
        CHECK(world_count(scene->world, LINE) == 0);
        STORY(scene->world, "");
        scene_end(scene);
    }
}

static void trying_ends_with_its_session_in_either_step(void) {
    for (int step = 0; step < 2; step++) {
        struct scene *scene = scene_begin(1);
        scene->world->is_held[RPC_TXN] = true;
        CHECK(stand_enter(&scene->a, &scene->ann, "a", PLACE_TRY) == 0);
        if (step == 1)
            world_answer_one(scene->world, RPC_TXN);
        person_close(&scene->ann, true);
        release_calls(scene);
        STORY(scene->world, "a fails closed, Ann closed, Ann ended");
        scene_end(scene);
    }
}

static void a_blocker_without_a_lease_is_named_for_what_it_is(void) {
    struct scene *scene = scene_begin(1);
    stranger_holds(scene);
    CHECK(stand_enter(&scene->b, &scene->bob, "b", PLACE_TRY) == 0);
    world_run(scene->world);
    CHECK(strstr(scene->b.text, "bound to no lease") != NULL);
    world_delete(scene->world, LINE "stranger");
    scene_end(scene);
}

/* ---- several ---------------------------------------------------------------------------------------- */

static void two_places_of_one_session_exclude_each_other(void) {
    struct scene *scene = scene_begin(1);
    a_holds(scene);
    CHECK(stand_enter(&scene->c, &scene->ann, "c", PLACE_WAIT) == 0);
    world_run(scene->world);
    STORY(scene->world, "");
    CHECK(world_count(scene->world, LINE) == 2);
    CHECK(strcmp(scene->a.key, scene->c.key) != 0);
    stand_leave(&scene->a);
    world_run(scene->world);
    STORY(scene->world, "a left, c holds");
    CHECK(scene->c.token > scene->a.token);
    scene_end(scene);
}

static void a_key_is_the_lease_in_hex_so_that_others_stand_in_the_same_line(void) {
    struct scene *scene = scene_begin(1);
    a_holds(scene);
    char key[64];
    snprintf(key, sizeof key, LINE "%llx", (unsigned long long)scene->ann.session.lease);
    CHECK_TEXT(scene->a.key, key);
    scene_end(scene);
}

static void an_adopted_lease_always_has_a_suffix(void) {
    struct scene *scene = scene_begin(1);
    struct person eve;
    person_open(&eve, scene->world, "Eve", 0, scene->ann.session.lease);
    world_run(scene->world);
    CHECK(eve.is_open);
    scene->world->story[0] = '\0';
    CHECK(stand_enter(&scene->c, &eve, "c", PLACE_WAIT) == 0);
    CHECK(strchr(scene->c.key, '-') != NULL);
    world_run(scene->world);
    STORY(scene->world, "c holds");
    person_close(&eve, false);
    world_run(scene->world);
    STORY(scene->world, "c lost closed, Eve closed, Eve ended");
    CHECK(world_count(scene->world, LINE) == 0);
    CHECK(world_has_lease(scene->world, scene->ann.session.lease));
    scene_end(scene);
}

static void a_follower_looks_for_itself_when_the_one_before_it_is_given_up_in_any_state(void) {
    for (int64_t ms = 0; ms < 3; ms++) {
        struct scene *scene = scene_begin(1);
        stranger_holds(scene);
        CHECK(stand_enter(&scene->a, &scene->ann, "a", PLACE_WAIT) == 0);
        if (ms > 0)
            world_run(scene->world);
        CHECK(stand_enter(&scene->b, &scene->bob, "b", PLACE_WAIT) == 0);
        if (ms > 1)
            world_advance(scene->world, SECONDS(1));
        stand_give_up(&scene->a);
        world_run(scene->world);
        STORY(scene->world, "");
        world_delete(scene->world, LINE "stranger");
        world_run(scene->world);
        STORY(scene->world, "b holds");
        scene_end(scene);
    }
}

static void a_follower_goes_on_when_the_one_before_it_loses_its_session(void) {
    struct scene *scene = scene_begin(1);
    a_holds(scene);
    b_waits(scene);
    person_orphan(&scene->ann); /* the key stays until the lease lapses */
    STORY(scene->world, "a lost closed, Ann closed");
    world_advance(scene->world, SECONDS(5));
    STORY(scene->world, "Ann ended");
    world_advance(scene->world, SECONDS(6));
    STORY(scene->world, "b holds");
    scene_end(scene);
}

static void a_follower_goes_on_when_the_key_before_it_is_deleted_by_an_operator(void) {
    struct scene *scene = scene_begin(1);
    a_holds(scene);
    b_waits(scene);
    world_delete(scene->world, scene->a.key);
    world_advance(scene->world, MS(150));
    STORY(scene->world, "a lost key_deleted, b holds");
    scene_end(scene);
}

static void a_whole_line_of_one_session_ends_with_it(void) {
    struct scene *scene = scene_begin(1);
    a_holds(scene);
    CHECK(stand_enter(&scene->b, &scene->ann, "b", PLACE_WAIT) == 0);
    world_run(scene->world);
    scene->world->is_held[RPC_TXN] = true;
    CHECK(stand_enter(&scene->c, &scene->ann, "c", PLACE_WAIT) == 0);
    world_run(scene->world);
    person_close(&scene->ann, true);
    STORY(scene->world, "a lost closed, b fails closed, c fails closed, Ann closed");
    release_calls(scene);
    STORY(scene->world, "Ann ended");
    scene_end(scene);
}

int main(void) {
    RUN(a_place_in_an_empty_line_is_held_after_one_round_trip);
    RUN(entering_that_etcd_refuses_is_told_and_leaves_nothing);
    RUN(entering_given_up_before_it_was_answered_is_found_and_deleted);
    RUN(entering_given_up_whose_reply_was_faster_leaves);
    RUN(entering_ends_with_its_session);
    RUN(entering_ends_when_the_session_is_lost);
    RUN(entering_under_a_lease_that_is_gone_ends_the_session_at_once);
    RUN(a_lost_reply_to_entering_is_asked_again_and_finds_itself);
    RUN(a_lost_reply_behind_somebody_is_asked_again_and_waits);
    RUN(a_waiter_holds_when_the_one_before_it_leaves);
    RUN(a_waiter_behind_one_of_the_same_client_needs_no_watch);
    RUN(a_waiter_given_up_leaves_nothing);
    RUN(a_waiter_is_told_when_its_session_closes);
    RUN(a_waiter_whose_lease_is_revoked_learns_of_it_at_once_and_is_never_elected);
    RUN(a_waiter_whose_key_is_deleted_in_the_first_100_ms_learns_of_it_soon_after);
    RUN(the_death_of_the_middle_one_of_three_elects_nobody);
    RUN(a_win_is_confirmed_although_two_watches_tell_in_the_wrong_order);
    RUN(compaction_while_waiting_is_survived);
    RUN(a_watch_that_is_refused_becomes_polling_at_a_decent_pace);
    RUN(an_event_that_the_server_dropped_is_made_good_by_the_slow_read);
    RUN(a_broken_watch_stream_is_made_anew_and_misses_nothing);
    RUN(reads_are_hedged_after_a_foreign_write);
    RUN(reads_are_not_hedged_without_a_foreign_write);
    RUN(a_hedge_finds_what_the_slow_loop_has_not_told_yet);
    RUN(looking_goes_on_to_holding);
    RUN(a_deletion_told_while_looking_is_looked_at_again);
    RUN(looking_that_etcd_refuses_is_told_and_the_key_removed);
    RUN(looking_given_up_removes_the_key);
    RUN(looking_ends_with_its_session);
    RUN(a_key_deleted_while_looking_is_told_at_once);
    RUN(a_holder_whose_key_is_deleted_is_told_at_once);
    RUN(a_holder_whose_lease_is_revoked_is_told_at_once_and_so_is_the_session);
    RUN(a_holder_is_told_to_stop_before_it_is_told_of_the_loss);
    RUN(a_holder_that_gives_up_at_the_stop_leaves_before_the_loss);
    RUN(a_holder_given_up_leaves_nothing);
    RUN(a_holder_is_told_when_its_session_closes);
    RUN(holders_and_waiters_of_a_frozen_process_are_told_that_it_was_frozen);
    RUN(a_deletion_told_before_the_fence_does_not_hide_that_we_were_frozen);
    RUN(a_win_after_valid_until_is_none);
    RUN(checking_goes_on_to_holding);
    RUN(checking_that_etcd_refuses_changes_nothing);
    RUN(checking_that_does_not_find_our_key_is_a_loss);
    RUN(checking_left_is_left);
    RUN(checking_given_up_leaves_nothing);
    RUN(checking_ends_with_its_session);
    RUN(a_key_deleted_while_leaving_out_of_checking_is_told_as_not_owned);
    RUN(leaving_is_told_once_etcd_has_answered);
    RUN(leaving_whose_reply_is_lost_is_asked_again);
    RUN(leaving_a_place_that_was_deleted_says_so);
    RUN(leaving_given_up_goes_on);
    RUN(leaving_ends_with_its_session);
    RUN(leaving_that_etcd_refuses_is_told_and_tried_again_as_long_as_the_session_lives);
    RUN(leaving_without_memory_is_tried_again);
    RUN(a_late_copy_of_a_leaving_cannot_delete_the_next_place);
    RUN(finding_what_is_there_deletes_it);
    RUN(finding_nothing_becomes_a_debt);
    RUN(finding_that_etcd_refuses_is_tried_again);
    RUN(finding_ends_with_its_session);
    RUN(a_debt_deletes_the_late_copy);
    RUN(a_debt_survives_broken_streams_and_compaction);
    RUN(a_debt_ends_with_its_session);
    RUN(a_debt_does_not_touch_the_next_place_of_the_session);
    RUN(a_late_copy_after_our_key_was_deleted_is_removed);
    RUN(a_late_copy_that_a_read_finds_in_our_stead_is_removed);
    RUN(a_late_copy_told_while_a_cancelled_read_is_on_its_way_back_is_removed);
    RUN(trying_a_free_line_wins_with_one_write);
    RUN(trying_a_busy_line_writes_nothing_and_names_the_holder);
    RUN(a_lost_reply_of_a_try_that_won_is_found_again);
    RUN(a_late_copy_of_a_try_that_found_it_busy_is_removed);
    RUN(trying_given_up_leaves_nothing_in_either_step);
    RUN(trying_ends_with_its_session_in_either_step);
    RUN(a_blocker_without_a_lease_is_named_for_what_it_is);
    RUN(two_places_of_one_session_exclude_each_other);
    RUN(a_key_is_the_lease_in_hex_so_that_others_stand_in_the_same_line);
    RUN(an_adopted_lease_always_has_a_suffix);
    RUN(a_follower_looks_for_itself_when_the_one_before_it_is_given_up_in_any_state);
    RUN(a_follower_goes_on_when_the_one_before_it_loses_its_session);
    RUN(a_follower_goes_on_when_the_key_before_it_is_deleted_by_an_operator);
    RUN(a_whole_line_of_one_session_ends_with_it);
    return check_end();
}
