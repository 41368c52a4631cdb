/* spec/unit/recipe/session_scene.h - one session, Ann's, in a world: what its tests share. */
#ifndef LUN_UNIT_SESSION_SCENE_H
#define LUN_UNIT_SESSION_SCENE_H

#include "check.h"
#include "recipe_world.h"

static struct world *world;
static struct person ann;

static inline void begin(size_t n_members) {
    world = world_new(n_members);
}

static inline void release_all(void) {
    for (int i = 0; i < RPC_N_METHODS; i++) {
        world->is_held[i] = false;
        world->n_refused[i] = world->n_replies_lost[i] = 0;
    }
    fake_hold_cancelled(world->fake, false);
    world_run(world);
}

static inline void end(void) {
    release_all();
    world_advance(world, SECONDS(30));
    person_leave(&ann);
    world_free(world);
}

static inline void hold_all(void) {
    for (int i = 0; i < RPC_N_METHODS; i++)
        world->is_held[i] = true;
}

static inline void refuse(enum rpc_method method, int status, const char *message) {
    world->n_refused[method] = 1;
    world->refusal_status = status;
    world->refusal = message;
}

static inline int64_t valid_until(void) {
    return session_valid_until_ns(&ann.session);
}

static inline void advance_to(int64_t at_ns) {
    world_advance(world, at_ns - fake_now(world->fake));
}

enum { LEASE = 4711 };

static inline void lease_is_there(int64_t ttl_s) {
    world_grant(world, LEASE, ttl_s);
}

static inline void ann_is_lost(void) {
    person_arrive(&ann, world, "Ann");
    hold_all();
    advance_to(valid_until());
    STORY(world, "Ann jeopardy, Ann lost expired");
}

#endif
