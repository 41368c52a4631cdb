/* lab/vm_memory.c - the allocator of simulated Lua states.
 * See vm_memory.h. Pieces are multiples of 16 bytes up to 1 KiB, and from there on powers of two with
 * three steps between; a freed one serves the next request for its size. */
#include "lab/vm_memory.h"

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

struct vm_image {
    struct vm_memory memory;
    char bytes[];
};

int vm_memory_init(struct vm_memory *memory, int index, size_t limit) {
    void *place = (void *)(uintptr_t)(FIRST_PLACE + (uint64_t)index * PLACE_BYTES);
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    void *base = mmap(place, limit, PROT_READ | PROT_WRITE, flags | MAP_FIXED_NOREPLACE, -1, 0);
    if (base == MAP_FAILED)
        base = mmap(NULL, limit, PROT_READ | PROT_WRITE, flags, -1, 0);
    if (base == MAP_FAILED)
        return -1;
    *memory = (struct vm_memory){.base = base, .limit = limit};
    return 0;
}

void vm_memory_fini(struct vm_memory *memory) {
    if (memory->base)
        (void)munmap(memory->base, memory->limit);
    memory->base = NULL;
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

static void *take(struct vm_memory *memory, size_t size) {
    size_t n_bytes, class = class_of(size, &n_bytes);
    if (class >= VM_MEMORY_CLASSES)
        return NULL;
    void *piece = memory->unused[class];
    if (piece) {
        memcpy(&memory->unused[class], piece, sizeof(void *));
        return piece;
    }
    if (n_bytes > memory->limit - memory->used)
        return NULL;
    piece = memory->base + memory->used;
    memory->used += n_bytes;
    return piece;
}

static void give_back(struct vm_memory *memory, void *piece, size_t size) {
    size_t n_bytes, class = class_of(size, &n_bytes);
    memcpy(piece, &memory->unused[class], sizeof(void *));
    memory->unused[class] = piece;
}

void *vm_memory_resize(struct vm_memory *memory, void *ptr, size_t old_size, size_t new_size) {
    if (new_size == 0) {
        if (ptr && old_size > 0)
            give_back(memory, ptr, old_size);
        return NULL;
    }
    if (!ptr || old_size == 0)
        return take(memory, new_size);
    size_t old_bytes, new_bytes;
    if (class_of(old_size, &old_bytes) == class_of(new_size, &new_bytes))
        return ptr;
    void *moved = take(memory, new_size);
    if (!moved)
        return new_size < old_size ? ptr : NULL;
    memcpy(moved, ptr, old_size < new_size ? old_size : new_size);
    give_back(memory, ptr, old_size);
    return moved;
}

struct vm_image *vm_memory_save(const struct vm_memory *memory) {
    struct vm_image *image = malloc(sizeof *image + memory->used);
    if (!image)
        return NULL;
    image->memory = *memory;
    memcpy(image->bytes, memory->base, memory->used);
    return image;
}

void vm_memory_restore(struct vm_memory *memory, const struct vm_image *image) {
    *memory = image->memory;
    memcpy(memory->base, image->bytes, memory->used);
}

void vm_image_free(struct vm_image *image) {
    free(image);
}
