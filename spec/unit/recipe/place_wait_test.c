/* spec/unit/recipe/place_wait_test.c - a place that waits for the one before it, and looks whether it is gone. */
#include "place_scene.h"

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
    refuse(scene, RPC_TXN, 1);
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

/* ---- want of memory ----------------------------------------------------------------------------------- */

static struct pace *pace_of(struct scene *scene) {
    return &scene->world->places.pace;
}

static void a_look_that_found_no_memory_is_made_a_second_later_however_slow_answers_are(void) {
    struct scene *scene = scene_begin(1);
    stranger_holds(scene);
    b_waits(scene);
    world_advance(scene->world, SECONDS(1));
    pace_of(scene)->answer_ns = SECONDS(1);
    fake_fail_next(scene->world->fake, 1);
    world_delete(scene->world, LINE "stranger");
    world_run(scene->world);
    STORY(scene->world, "");
    world_advance(scene->world, MS(1100));
    STORY(scene->world, "b holds");
    scene_end(scene);
}

static void a_look_that_was_not_sent_does_not_count_as_an_answer(void) {
    struct scene *scene = scene_begin(1);
    b_is_looking(scene);
    world_put(scene->world, "/other", "1", 0);
    release_calls(scene);
    pace_of(scene)->answer_ns = SECONDS(1);
    fake_fail_next(scene->world->fake, 1); /* the first hedge */
    world_advance(scene->world, MS(11));
    CHECK(pace_of(scene)->answer_ns == SECONDS(1));
    CHECK(pace_of(scene)->n_out == 0);
    world_delete(scene->world, LINE "stranger");
    scene_end(scene);
}

static void a_look_that_was_cancelled_does_not_count_as_an_answer(void) {
    struct scene *scene = scene_begin(1);
    b_is_looking(scene);
    world_put(scene->world, "/other", "1", 0);
    release_calls(scene);
    scene->world->is_held[RPC_TXN] = true;
    world_advance(scene->world, MS(11));
    pace_of(scene)->answer_ns = SECONDS(1);
    stand_give_up(&scene->b);
    world_run(scene->world);
    CHECK(pace_of(scene)->answer_ns == SECONDS(1));
    CHECK(pace_of(scene)->n_out == 0);
    world_delete(scene->world, LINE "stranger");
    scene_end(scene);
}

static void an_answer_that_took_very_long_does_not_keep_the_next_read_away_for_minutes(void) {
    struct scene *scene = scene_begin(1);
    b_is_looking(scene);
    world_put(scene->world, "/other", "1", 0);
    release_calls(scene);
    scene->world->is_held[RPC_TXN] = true;
    world_advance(scene->world, SECONDS(15)); /* for a hedge */
    release_calls(scene);
    scene->world->are_events_held = true;
    world_delete(scene->world, LINE "stranger");
    world_advance(scene->world, SECONDS(31));
    STORY(scene->world, "b holds");
    scene_end(scene);
}

/* ---- following one of the same client --------------------------------------------------------------- */

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

/* It is being left yet, and its revision happens to be the one before that of a place in the etcd that came after. */
static void a_place_of_an_etcd_that_is_no_more_says_nothing_about_who_is_first(void) {
    enum { LEASE_OF_ANOTHER = 4711 };
    static struct person carl, dora;
    struct scene *scene = scene_begin(1);
    struct world *world = scene->world;
    world_grant(world, LEASE_OF_ANOTHER, 10);
    person_open(&carl, world, "Carl", 10, LEASE_OF_ANOTHER);
    world_run(world);
    int64_t snapshot = world_revision(world);
    CHECK(stand_enter(&scene->a, &carl, "a", PLACE_WAIT) == 0);
    world_run(world);
    STORY(world, "Carl opened, a holds");
    int64_t rev_of_a = place_create_rev(scene->a.place);
    world->is_held[RPC_DELETE_RANGE] = true;
    world_restore(world, snapshot);
    world_advance(world, SECONDS(2)); /* the reads of renewals show it */
    person_open(&dora, world, "Dora", 10, 0);
    world_run(world);
    CHECK(strstr(world->story, "Carl lost replaced") != NULL);
    CHECK(stranger_holds(scene) == rev_of_a);
    CHECK(stand_enter(&scene->b, &dora, "b", PLACE_WAIT) == 0);
    world_run(world);
    CHECK(place_create_rev(scene->b.place) == rev_of_a + 1);
    world->story[0] = '\0';
    world->is_held[RPC_DELETE_RANGE] = false;
    world_advance(world, SECONDS(2));
    STORY(world, "");
    world_delete(world, LINE "stranger");
    world_run(world);
    STORY(world, "b holds");
    stand_give_up(&scene->a);
    stand_give_up(&scene->b);
    person_leave(&carl);
    person_leave(&dora);
    scene_end(scene);
}

/* a's answer comes late: b has waited for its key as for another client's, and c has taken that over, with a stranger between
 * b and c. That b stood right behind a says nothing of c. */
static void a_place_answered_late_is_not_taken_for_the_one_right_before_one_that_took_over(void) {
    struct scene *scene = scene_begin(1);
    struct world *world = scene->world;
    a_is_entering(scene, PLACE_WAIT);
    world_answer_slowly(world, RPC_TXN);
    world->is_held[RPC_TXN] = false;
    CHECK(stand_enter(&scene->b, &scene->bob, "b", PLACE_WAIT) == 0);
    world_run(world);
    (void)stranger_holds(scene);
    CHECK(stand_enter(&scene->c, &scene->ann, "c", PLACE_WAIT) == 0);
    world_run(world);
    CHECK(world_count(world, LINE) == 4);
    stand_give_up(&scene->b);
    world_run(world);
    STORY(world, "");
    world_deliver(world);
    world_run(world);
    STORY(world, "a holds");
    stand_leave(&scene->a);
    world_run(world);
    STORY(world, "a left");
    world_delete(world, LINE "stranger");
    world_run(world);
    STORY(world, "c holds");
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
    RUN(a_look_that_found_no_memory_is_made_a_second_later_however_slow_answers_are);
    RUN(a_look_that_was_not_sent_does_not_count_as_an_answer);
    RUN(a_look_that_was_cancelled_does_not_count_as_an_answer);
    RUN(an_answer_that_took_very_long_does_not_keep_the_next_read_away_for_minutes);
    RUN(a_follower_looks_for_itself_when_the_one_before_it_is_given_up_in_any_state);
    RUN(a_follower_goes_on_when_the_one_before_it_loses_its_session);
    RUN(a_follower_goes_on_when_the_key_before_it_is_deleted_by_an_operator);
    RUN(a_place_of_an_etcd_that_is_no_more_says_nothing_about_who_is_first);
    RUN(a_place_answered_late_is_not_taken_for_the_one_right_before_one_that_took_over);
    RUN(a_whole_line_of_one_session_ends_with_it);
    return check_end();
}
