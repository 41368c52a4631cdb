/* lab/arena.c - see arena.h. Pieces are multiples of 16 bytes up to 1 KiB, and from there on powers of two with
 * three steps between; a freed one is given to the next who wants its size. */
#include "lab/arena.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif

#define FIRST_PLACE UINT64_C(0x6a0000000000)
#define PLACE_BYTES UINT64_C(0x1000000000)
enum { SMALL_BYTES = 1024, SMALL_STEP = 16, SMALL_CLASSES = SMALL_BYTES / SMALL_STEP };

struct arena_image {
    struct arena arena;
    char memory[];
};

int arena_init(struct arena *arena, int index, size_t limit) {
    void *place = (void *)(uintptr_t)(FIRST_PLACE + (uint64_t)index * PLACE_BYTES);
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    void *base = mmap(place, limit, PROT_READ | PROT_WRITE, flags | MAP_FIXED_NOREPLACE, -1, 0);
    if (base == MAP_FAILED)
        base = mmap(NULL, limit, PROT_READ | PROT_WRITE, flags, -1, 0);
    if (base == MAP_FAILED)
        return -1;
    *arena = (struct arena){.base = base, .limit = limit};
    return 0;
}

void arena_fini(struct arena *arena) {
    if (arena->base)
        (void)munmap(arena->base, arena->limit);
    arena->base = NULL;
}

/* The class that holds `size` bytes, and its size. */
static size_t class_of(size_t size, size_t *ret_bytes) {
    if (size <= SMALL_BYTES) {
        size_t n = (size + SMALL_STEP - 1) / SMALL_STEP;
        *ret_bytes = n * SMALL_STEP;
        return n - 1;
    }
    size_t class = SMALL_CLASSES, power = SMALL_BYTES;
    for (;; power *= 2)
        for (size_t quarter = 1; quarter <= 4; quarter++, class ++)
            if (size <= power + power / 4 * quarter) {
                *ret_bytes = power + power / 4 * quarter;
                return class;
            }
}

static void *take(struct arena *arena, size_t size) {
    size_t n_bytes, class = class_of(size, &n_bytes);
    if (class >= ARENA_CLASSES)
        return NULL;
    void *piece = arena->unused[class];
    if (piece) {
        memcpy(&arena->unused[class], piece, sizeof(void *));
        return piece;
    }
    if (n_bytes > arena->limit - arena->used)
        return NULL;
    piece = arena->base + arena->used;
    arena->used += n_bytes;
    return piece;
}

static void give_back(struct arena *arena, void *piece, size_t size) {
    size_t n_bytes, class = class_of(size, &n_bytes);
    memcpy(piece, &arena->unused[class], sizeof(void *));
    arena->unused[class] = piece;
}

void *arena_resize(struct arena *arena, void *ptr, size_t old_size, size_t new_size) {
    if (new_size == 0) {
        if (ptr && old_size > 0)
            give_back(arena, ptr, old_size);
        return NULL;
    }
    if (!ptr || old_size == 0)
        return take(arena, new_size);
    size_t old_bytes, new_bytes;
    if (class_of(old_size, &old_bytes) == class_of(new_size, &new_bytes))
        return ptr;
    void *moved = take(arena, new_size);
    if (!moved)
        return new_size < old_size ? ptr : NULL;
    memcpy(moved, ptr, old_size < new_size ? old_size : new_size);
    give_back(arena, ptr, old_size);
    return moved;
}

struct arena_image *arena_save(const struct arena *arena) {
    struct arena_image *image = malloc(sizeof *image + arena->used);
    if (!image)
        return NULL;
    image->arena = *arena;
    memcpy(image->memory, arena->base, arena->used);
    return image;
}

void arena_restore(struct arena *arena, const struct arena_image *image) {
    *arena = image->arena;
    memcpy(arena->base, image->memory, arena->used);
}

void arena_image_free(struct arena_image *image) {
    free(image);
}
