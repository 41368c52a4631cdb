/* lab/arena.h - memory at a fixed place, in which a Lua state lives: the same requests give the same addresses
 * in every run, and the whole can be put back to what it was by copying. */
#ifndef LUN_LAB_ARENA_H
#define LUN_LAB_ARENA_H

#include <stddef.h>

enum { ARENA_CLASSES = 128 };

struct arena {
    char *base; /* NULL: not reserved */
    size_t used, limit;
    void *unused[ARENA_CLASSES]; /* freed pieces, by size */
};

/* Reserves `limit` bytes at the place of number `index`; elsewhere where that is taken. -1: there is none. */
int arena_init(struct arena *arena, int index, size_t limit);
void arena_fini(struct arena *arena);
/* As realloc and free, with the old size known. NULL: the limit is reached. */
void *arena_resize(struct arena *arena, void *ptr, size_t old_size, size_t new_size);

/* A copy of all that is in it; NULL: no memory. */
struct arena_image;
struct arena_image *arena_save(const struct arena *arena);
void arena_restore(struct arena *arena, const struct arena_image *image);
void arena_image_free(struct arena_image *image);

#endif
