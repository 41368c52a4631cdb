/* spec/unit/recipe/place_hold_test.c - a place that holds its line, and checks from time to time that it does. */
#include "place_scene.h"

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
    STORY(scene->world, "Ann jeopardy, Bob jeopardy");
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
                        scene->a.key); /* the event was in the socket: nobody looked at the validity */
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
    world_answer_one(scene->world, RPC_TXN);   /* before anybody has looked at the validity */
    STORY(scene->world, "");
    world_run(scene->world);
    CHECK(strstr(scene->world->story, "a holds") == NULL);
    CHECK(strstr(scene->world->story, "a fails lost") != NULL);
    scene_end(scene);
}

/* ---- checking --------------------------------------------------------------------------------------- */

/* Held, and the safety read under way and unanswered. */
static void a_is_checking(struct scene *scene) {
    a_holds(scene);
    scene->world->is_held[RPC_TXN] = true;
    world_advance(scene->world, SECONDS(11));
    CHECK(fake_n_calls(scene->world->fake, RPC_TXN) == 1);
    STORY(scene->world, "");
}

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
    refuse(scene, RPC_TXN, 1);
    release_calls(scene);
    STORY(scene->world, "");
    CHECK(place_is_held(scene->a.place));
    CHECK(fake_n_calls(scene->world->fake, RPC_TXN) == 0);
    scene_end(scene);
}

/* Sent again after a failure, and there is no memory to send it. */
static void checking_without_memory_is_tried_again_after_a_second(void) {
    struct scene *scene = scene_begin(1);
    a_is_checking(scene);
    scene->world->places.pace.answer_ns = SECONDS(1);
    int n_renewals = scene->world->n_renewals;
    while (scene->world->n_renewals == n_renewals) /* none asks for the memory that is refused below */
        world_advance(scene->world, MS(1));
    scene->world->n_refused[RPC_TXN] = 1;
    scene->world->refusal_status = RPC_RESOURCE_EXHAUSTED;
    scene->world->refusal = "etcdserver: too many requests";
    release_calls(scene);
    fake_fail_next(scene->world->fake, 1);
    world_advance(scene->world, MS(200));
    int n = scene->world->n_answered[RPC_TXN];
    world_advance(scene->world, MS(1100));
    CHECK(scene->world->n_answered[RPC_TXN] == n + 1);
    CHECK(place_is_held(scene->a.place));
    STORY(scene->world, "");
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

int main(void) {
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
    RUN(checking_without_memory_is_tried_again_after_a_second);
    RUN(checking_that_does_not_find_our_key_is_a_loss);
    RUN(checking_left_is_left);
    RUN(checking_given_up_leaves_nothing);
    RUN(checking_ends_with_its_session);
    RUN(a_key_deleted_while_leaving_out_of_checking_is_told_as_not_owned);
    return check_end();
}
