/* spec/unit/recipe/place_enter_test.c - how a place gets into its line: entering, trying, and the key it stands there by. */
#include "place_scene.h"

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
    refuse(scene, RPC_TXN, 1);
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
    a_is_entering(scene, PLACE_WAIT);
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
    a_is_entering(scene, PLACE_WAIT);
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

/* ---- trying ----------------------------------------------------------------------------------------- */

static void trying_a_free_line_wins_with_one_write(void) {
    struct scene *scene = scene_begin(1);
    int64_t revision = world_revision(scene->world);
    CHECK(stand_enter(&scene->a, &scene->ann, "a", PLACE_TRY) == 0);
    world_run(scene->world);
    STORY(scene->world, "a holds");
    CHECK(world_revision(scene->world) == revision + 1);
    CHECK(scene->a.token == revision + 1);
    scene_end(scene);
}

static void trying_a_busy_line_writes_nothing_and_names_the_holder(void) {
    struct scene *scene = scene_begin(1);
    a_holds(scene);
    int64_t revision = world_revision(scene->world);
    size_t n_calls = fake_n_calls_made(scene->world->fake);
    CHECK(stand_enter(&scene->b, &scene->bob, "b", PLACE_TRY) == 0);
    world_run(scene->world);
    STORY(scene->world, "b fails locked");
    CHECK_TEXT(scene->b.text, "locked by a on h (pid 1)");
    CHECK(world_revision(scene->world) == revision);
    CHECK(fake_n_calls_made(scene->world->fake) == n_calls + 1);
    scene_end(scene);
}

static void trying_a_busy_line_names_who_came_first_whatever_its_key(void) {
    struct scene *scene = scene_begin(1);
    world_put(scene->world, LINE "later", "{\"name\":\"Zoe\",\"host\":\"h\",\"pid\":7}",
              scene->bob.session.lease);
    world_put(scene->world, LINE "a", "too", scene->bob.session.lease);
    CHECK(stand_enter(&scene->a, &scene->ann, "a", PLACE_TRY) == 0);
    world_run(scene->world);
    STORY(scene->world, "a fails locked");
    CHECK_TEXT(scene->a.text, "locked by Zoe on h (pid 7)");
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
    a_is_entering(scene, PLACE_TRY);
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
        a_is_entering(scene, PLACE_TRY);
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
        a_is_entering(scene, PLACE_TRY);
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

/* ---- keys ------------------------------------------------------------------------------------------- */

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
    RUN(trying_a_free_line_wins_with_one_write);
    RUN(trying_a_busy_line_writes_nothing_and_names_the_holder);
    RUN(trying_a_busy_line_names_who_came_first_whatever_its_key);
    RUN(a_lost_reply_of_a_try_that_won_is_found_again);
    RUN(a_late_copy_of_a_try_that_found_it_busy_is_removed);
    RUN(trying_given_up_leaves_nothing_in_either_step);
    RUN(trying_ends_with_its_session_in_either_step);
    RUN(a_blocker_without_a_lease_is_named_for_what_it_is);
    RUN(two_places_of_one_session_exclude_each_other);
    RUN(a_key_is_the_lease_in_hex_so_that_others_stand_in_the_same_line);
    RUN(an_adopted_lease_always_has_a_suffix);
    return check_end();
}
