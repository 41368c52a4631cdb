/* lab/vm_memory.h - memory at a fixed place, in which a Lua state lives: the same requests give the same addresses
 * in every run, and the whole can be put back to what it was by copying. */
#ifndef LUN_LAB_VM_MEMORY_H
#define LUN_LAB_VM_MEMORY_H

#include <stddef.h>

enum { VM_MEMORY_CLASSES = 128 };

struct vm_memory {
    char *base; /* NULL: not reserved */
    size_t used, limit;
    void *unused[VM_MEMORY_CLASSES]; /* freed pieces, by size */
};

/* Reserves `limit` bytes at the place of number `index`; elsewhere where that is taken. -1: there is none. */
int vm_memory_init(struct vm_memory *memory, int index, size_t limit);
void vm_memory_fini(struct vm_memory *memory);
/* As realloc and free, with the old size known. NULL: the limit is reached. */
void *vm_memory_resize(struct vm_memory *memory, void *ptr, size_t old_size, size_t new_size);

/* A copy of all that is in it; NULL: no memory. */
struct vm_image;
struct vm_image *vm_memory_save(const struct vm_memory *memory);
void vm_memory_restore(struct vm_memory *memory, const struct vm_image *image);
void vm_image_free(struct vm_image *image);

#endif
