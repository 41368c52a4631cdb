/* spec/unit/recipe/place_leave_test.c - how a place gets out of its line: leaving, finding out what to leave, and owing. */
#include "place_scene.h"

/* ---- leaving ---------------------------------------------------------------------------------------- */

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
    refuse(scene, method, 2);
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
    refuse(scene, RPC_RANGE, 1);
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

/* The same, the copy kept by a member that may still carry it out; it was not found: a debt. */
static void a_is_owing(struct scene *scene) {
    a_is_entering(scene, PLACE_WAIT);
    world_keep(scene->world, RPC_TXN);
    stand_give_up(&scene->a);
    scene->world->is_held[RPC_TXN] = false;
    world_run(scene->world);
    CHECK(world_count(scene->world, LINE) == 0);
    CHECK(fake_n_calls(scene->world->fake, FAKE_ANY) == 0);
    CHECK(world_n_watches(scene->world) == 1);
}

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
    a_is_entering(scene, PLACE_WAIT);
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

int main(void) {
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
    return check_end();
}
