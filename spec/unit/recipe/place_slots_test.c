/* spec/unit/recipe/place_slots_test.c - a line in which several places hold together: a semaphore as a rule alone. */
#include "place_scene.h"

static void among_two(struct scene *scene, struct stand *stand, struct person *person, const char *name) {
    CHECK(stand_enter_among(stand, person, name, 2) == 0);
    world_run(scene->world);
}

/* `a` and `b` hold, `c` waits. */
static struct scene *full(void) {
    struct scene *scene = scene_begin(1);
    among_two(scene, &scene->a, &scene->ann, "a");
    among_two(scene, &scene->b, &scene->bob, "b");
    STORY(scene->world, "a holds, b holds");
    among_two(scene, &scene->c, &scene->ann, "c");
    world_advance(scene->world, SECONDS(1));
    STORY(scene->world, "");
    return scene;
}

static void as_many_hold_as_there_are_slots_also_of_one_client(void) {
    scene_end(full());
}

static void a_waiter_holds_when_any_holder_leaves(void) {
    for (int is_second = 0; is_second < 2; is_second++) {
        struct scene *scene = full();
        stand_give_up(is_second ? &scene->b : &scene->a);
        world_run(scene->world);
        STORY(scene->world, "c holds");
        scene_end(scene);
    }
}

static void a_waiter_far_back_holds_when_the_first_of_them_have_left(void) {
    struct scene *scene = full();
    struct stand d;
    among_two(scene, &d, &scene->bob, "d");
    stand_give_up(&scene->a);
    world_run(scene->world);
    STORY(scene->world, "c holds");
    stand_give_up(&scene->b); /* not the one right before it */
    world_run(scene->world);
    STORY(scene->world, "d holds");
    stand_give_up(&d);
    scene_end(scene);
}

static void places_of_other_clients_take_slots_too(void) {
    struct scene *scene = scene_begin(1);
    (void)stranger_holds(scene);
    among_two(scene, &scene->a, &scene->ann, "a");
    among_two(scene, &scene->b, &scene->bob, "b");
    STORY(scene->world, "a holds");
    world_delete(scene->world, LINE "stranger");
    world_advance(scene->world, MS(150));
    STORY(scene->world, "b holds");
    scene_end(scene);
}

static void an_event_that_the_server_dropped_is_made_good(void) {
    struct scene *scene = full();
    world_advance(scene->world, SECONDS(1));
    scene->world->are_events_held = true;
    stand_give_up(&scene->a);
    world_advance(scene->world, SECONDS(15));
    STORY(scene->world, "c holds");
    scene_end(scene);
}

static void a_waiter_asks_nothing_as_long_as_nothing_happens(void) {
    struct scene *scene = full();
    world_advance(scene->world, SECONDS(1));
    int n = scene->world->n_answered[RPC_TXN];
    world_advance(scene->world, SECONDS(5));
    CHECK(scene->world->n_answered[RPC_TXN] - n <= 3); /* reads without cause: one of each place at most */
    scene_end(scene);
}

int main(void) {
    RUN(as_many_hold_as_there_are_slots_also_of_one_client);
    RUN(a_waiter_holds_when_any_holder_leaves);
    RUN(a_waiter_far_back_holds_when_the_first_of_them_have_left);
    RUN(places_of_other_clients_take_slots_too);
    RUN(an_event_that_the_server_dropped_is_made_good);
    RUN(a_waiter_asks_nothing_as_long_as_nothing_happens);
    return check_end();
}
