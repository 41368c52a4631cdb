/* rpc/grpc/arena.c - memory of one unpacked reply: a reply is twenty small pieces that live for one callback,
 * and go together. */
#include "rpc/grpc/env.h"

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#if defined(__SANITIZE_ADDRESS__)
/* Every piece by itself, so that code that keeps a borrowed slice too long is found out. */
static const size_t ROOM_BYTES = 0;
#else
static const size_t ROOM_BYTES = ARENA_BYTES;
#endif

/* Before a piece that the arena had no room for. */
struct piece {
    _Alignas(max_align_t) struct piece *next;
};

static void *arena_alloc(void *data, size_t size) {
    struct arena *arena = data;
    const size_t align = _Alignof(max_align_t);
    size_t rounded = (size + align - 1) / align * align;
    if (rounded <= ROOM_BYTES - arena->used && rounded >= size) {
        void *memory = arena->room + arena->used;
        arena->used += rounded;
        return memory;
    }
    struct piece *piece = size < SIZE_MAX - sizeof *piece ? malloc(sizeof *piece + size) : NULL;
    if (!piece)
        return NULL;
    piece->next = arena->pieces;
    arena->pieces = piece;
    return piece + 1;
}

static void arena_free(void *data, void *pointer) {
    (void)data;
    (void)pointer; /* all at once, by arena_clear */
}

void arena_init(struct arena *arena) {
    arena->allocator = (ProtobufCAllocator){arena_alloc, arena_free, arena};
    arena->used = 0;
    arena->pieces = NULL;
}

void arena_clear(struct arena *arena) {
    arena->used = 0;
    for (struct piece *piece; (piece = arena->pieces);) {
        arena->pieces = piece->next;
        free(piece);
    }
}
