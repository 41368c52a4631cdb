/* lab/vm.h - a Lua state that does the same in every run: its memory has fixed addresses and its strings are
 * hashed alike, so that `pairs` goes through a table in the same order, the collector works at the same moments and
 * what a table prints as is the same. */
#ifndef LUN_LAB_VM_H
#define LUN_LAB_VM_H

#include <stdbool.h>

#include <lua.h>

#include "lab/vm_memory.h"

struct vm {
    struct vm_memory memory;
    struct vm_image *image;
    lua_State *L;       /* NULL: closed */
    lua_State *L_saved; /* what L is after vm_restore */
    int n_requests;     /* for memory, up to the moment at which the hash is settled */
    void *first;
    size_t first_bytes;
};

/* A state without anything in it, at the place of number `index`. -1: no memory. */
int vm_init(struct vm *vm, int index);
void vm_fini(struct vm *vm);
/* Keeps the state as it is now, for vm_restore. Nothing in it may own anything outside. */
int vm_save(struct vm *vm);
/* The state as it was kept, in place of one that has been closed. */
void vm_restore(struct vm *vm);
void vm_close(struct vm *vm);
/* Whether strings are hashed alike in every state (Lua's own seed has been found and replaced). */
bool vm_is_repeatable(void);

#endif
