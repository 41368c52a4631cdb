/* spec/unit/recipe/place_scene.h - Ann, Bob and a line: the situations in which the stories of places begin.
 *
 * The programs named place_* go through every state in which a place is suspended: it goes on, it fails, it is given
 * up, its session ends. Then what goes wrong in the clients of today, and must not here. */
#ifndef LUN_UNIT_PLACE_SCENE_H
#define LUN_UNIT_PLACE_SCENE_H

#include "check.h"
#include "recipe_world.h"

#define LINE "/line/"

struct scene {
    struct world *world;
    struct person ann, bob;
    struct stand a, b, c;
};

static inline struct scene *scene_begin(size_t n_members) {
    struct scene *scene = calloc(1, sizeof *scene);
    scene->world = world_new(n_members);
    person_arrive(&scene->ann, scene->world, "Ann");
    person_arrive(&scene->bob, scene->world, "Bob");
    return scene;
}

static inline void scene_end(struct scene *scene) {
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
static inline void a_holds(struct scene *scene) {
    CHECK(stand_enter(&scene->a, &scene->ann, "a", PLACE_WAIT) == 0);
    world_run(scene->world);
    STORY(scene->world, "a holds");
}

/* A holder outside of this client, who left no session behind. */
static inline int64_t stranger_holds(struct scene *scene) {
    return world_put(scene->world, LINE "stranger", "me", 0);
}

/* Bob's `b` waits behind whoever is there. */
static inline void b_waits(struct scene *scene) {
    CHECK(stand_enter(&scene->b, &scene->bob, "b", PLACE_WAIT) == 0);
    world_run(scene->world);
    STORY(scene->world, "");
    CHECK(world_count(scene->world, LINE) == 2);
}

static inline void a_holds_for_a_while(struct scene *scene) {
    a_holds(scene);
    world_advance(scene->world, MS(500)); /* its key is watched by now */
    CHECK(world_n_watches(scene->world) == 1);
}

/* On its way into the line, not yet answered. */
static inline void a_is_entering(struct scene *scene, enum place_mode mode) {
    scene->world->is_held[RPC_TXN] = true;
    CHECK(stand_enter(&scene->a, &scene->ann, "a", mode) == 0);
    world_run(scene->world);
}

static inline void release_calls(struct scene *scene) {
    for (int i = 0; i < RPC_N_METHODS; i++)
        scene->world->is_held[i] = false;
    world_run(scene->world);
}

/* The next `n` calls of that method are refused. */
static inline void refuse(struct scene *scene, int method, int n) {
    scene->world->n_refused[method] = n;
    scene->world->refusal_status = RPC_PERMISSION_DENIED;
    scene->world->refusal = "etcdserver: permission denied";
}

#endif
