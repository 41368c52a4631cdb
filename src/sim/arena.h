/* sim/arena.h - memory that is taken piece by piece and given back all at once. Aborts rather than fails. */
#ifndef LUN_SIM_ARENA_H
#define LUN_SIM_ARENA_H

#include <stddef.h>

struct sim_chunk;
struct sim_arena {
    struct sim_chunk *chunks; /* the one in use first */
};
/* Zeroed, aligned for anything. */
void *sim_arena_take(struct sim_arena *arena, size_t n_bytes);
/* Gives all back, and keeps room for as much again. */
void sim_arena_reset(struct sim_arena *arena);
void sim_arena_fini(struct sim_arena *arena);

#endif
