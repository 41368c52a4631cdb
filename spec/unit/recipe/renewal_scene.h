/* spec/unit/recipe/renewal_scene.h - one session, Ann's, that is renewed: what the tests of renewals share. */
#ifndef LUN_UNIT_RENEWAL_SCENE_H
#define LUN_UNIT_RENEWAL_SCENE_H

#include "check.h"
#include "recipe_world.h"

static struct world *world;
static struct person ann;

static inline void begin(size_t n_members, int64_t ttl_s) {
    world = world_new(n_members);
    person_open(&ann, world, "Ann", ttl_s, 0);
    world_run(world);
    STORY(world, "Ann opened");
}

static inline void end(void) {
    for (int i = 0; i < RPC_N_METHODS; i++)
        world->is_held[i] = false;
    for (size_t i = 0; i < world->n_members; i++) {
        world->members[i].is_frozen = world->members[i].are_reads_refused = false;
        world->members[i].renewals_term = 0;
    }
    world_advance(world, SECONDS(20));
    person_leave(&ann);
    world_free(world);
}

/* Lets the first renewal stream be opened, and returns the member that carries it. */
static inline struct world_member *carrier(void) {
    while (!fake_stream(world->fake, RPC_LEASE_KEEP_ALIVE, 0))
        world_advance(world, MS(10));
    return world_member(world, fake_stream(world->fake, RPC_LEASE_KEEP_ALIVE, 0)->address);
}

#endif
