/* sim/arena.c - memory that is taken piece by piece and given back all at once. See arena.h. */
#include "sim/arena.h"

#include <stdalign.h>
#include <stdlib.h>
#include <string.h>

#include "sim/world.h"

enum { CHUNK_BYTES = 16 * 1024, ALIGN = alignof(max_align_t) };

struct sim_chunk {
    struct sim_chunk *next;
    size_t used, room;
    alignas(max_align_t) char memory[];
};

static void *carve(struct sim_chunk *chunk, size_t n_bytes) {
    char *piece = chunk->memory + chunk->used;
    chunk->used += n_bytes;
    return memset(piece, 0, n_bytes);
}

void *sim_arena_take(struct sim_arena *arena, size_t n_bytes) {
    n_bytes = (n_bytes + ALIGN - 1) / ALIGN * ALIGN;
    struct sim_chunk *first = arena->chunks;
    if (first && first->room - first->used >= n_bytes)
        return carve(first, n_bytes);
    size_t room = n_bytes > CHUNK_BYTES ? n_bytes : CHUNK_BYTES;
    struct sim_chunk *chunk = malloc(sizeof *chunk + room);
    if (!chunk)
        sim_die("out of memory");
    *chunk = (struct sim_chunk){first, 0, room};
    arena->chunks = chunk;
    return carve(chunk, n_bytes);
}

static void free_from(struct sim_chunk *chunk) {
    while (chunk) {
        struct sim_chunk *next = chunk->next;
        free(chunk);
        chunk = next;
    }
}

void sim_arena_reset(struct sim_arena *arena) {
    struct sim_chunk *kept = arena->chunks;
    if (!kept)
        return;
    free_from(kept->next);
    kept->next = NULL;
    kept->used = 0;
}

void sim_arena_fini(struct sim_arena *arena) {
    free_from(arena->chunks);
    arena->chunks = NULL;
}
