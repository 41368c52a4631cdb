/* lab/vm.c - a Lua state that does the same in every run: fixed seeds, fixed addresses. See vm.h.
 *
 * Lua draws the seed of its string hash from the time and from addresses, in lua_newstate and before the first
 * string is made; there is no call to set it. The first request for memory is for the state itself, the second
 * comes right after the seed was drawn: there the seed is overwritten. Where it lies follows from the layout of 5.4
 * (lstate.h: allocator, its argument, 4 counters, the string table, 2 values, the seed); vm_is_repeatable tries it
 * out. */
#include "lab/vm.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <lauxlib.h>

enum { SEED = 0x5eed, VM_BYTES = 192 << 20, TEST_PLACE = 100, TEST_KEYS = 64 };

struct string_table {
    void *hash;
    int n_used, size;
};
struct value {
    void *value;
    unsigned char tag;
};
struct global_state {
    lua_Alloc allocator;
    void *arg;
    intptr_t counters[4];
    struct string_table strings;
    struct value registry, nil;
    unsigned seed;
};

static void *allocate(void *arg, void *ptr, size_t old_size, size_t new_size);

static void settle_hash(struct vm *vm) {
    char *memory = vm->first;
    for (size_t at = 0; at + sizeof(struct global_state) <= vm->first_bytes; at += sizeof(void *)) {
        struct global_state found;
        memcpy(&found, memory + at, sizeof found);
        if (found.allocator != allocate || found.arg != vm)
            continue;
        unsigned seed = SEED;
        memcpy(memory + at + offsetof(struct global_state, seed), &seed, sizeof seed);
        return;
    }
}

static void *allocate(void *arg, void *ptr, size_t old_size, size_t new_size) {
    struct vm *vm = arg;
    if (vm->n_requests < 2 && ++vm->n_requests == 2)
        settle_hash(vm);
    void *memory = vm_memory_resize(&vm->memory, ptr, ptr ? old_size : 0, new_size);
    if (vm->n_requests == 1) {
        vm->first = memory;
        vm->first_bytes = new_size;
        if (memory)
            memset(memory, 0, new_size);
    }
    return memory;
}

static int panic(lua_State *L) {
    (void)fprintf(stderr, "lunarch sim: an error nobody catches: %s\n", lua_tostring(L, -1));
    return 0;
}

int vm_init(struct vm *vm, int index) {
    *vm = (struct vm){0};
    if (vm_memory_init(&vm->memory, index, VM_BYTES) != 0)
        return -1;
    vm->L = lua_newstate(allocate, vm);
    if (!vm->L) {
        vm_memory_fini(&vm->memory);
        return -1;
    }
    (void)lua_atpanic(vm->L, panic);
    return 0;
}

void vm_close(struct vm *vm) {
    if (vm->L)
        lua_close(vm->L);
    vm->L = NULL;
}

void vm_fini(struct vm *vm) {
    vm_close(vm);
    vm_image_free(vm->image);
    vm_memory_fini(&vm->memory);
    *vm = (struct vm){0};
}

int vm_save(struct vm *vm) {
    lua_gc(vm->L, LUA_GCCOLLECT);
    vm->image = vm_memory_save(&vm->memory);
    vm->L_saved = vm->L;
    return vm->image ? 0 : -1;
}

void vm_restore(struct vm *vm) {
    vm_memory_restore(&vm->memory, vm->image);
    vm->L = vm->L_saved;
}

static int fill_table(lua_State *L) {
    lua_createtable(L, 0, TEST_KEYS);
    for (int i = 0; i < TEST_KEYS; i++) {
        lua_pushfstring(L, "key %d", i * 7919);
        lua_pushinteger(L, i);
        lua_settable(L, -3);
    }
    return 1;
}

/* The order in which a table of strings is gone through, as a number. */
static uint64_t order_in(struct vm *vm) {
    lua_State *L = vm->L;
    uint64_t order = 0;
    lua_pushcfunction(L, fill_table);
    if (lua_pcall(L, 0, 1, 0) != LUA_OK)
        return 0;
    for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1))
        order = order * 31 + (uint64_t)lua_tointeger(L, -1);
    lua_pop(L, 1);
    return order;
}

bool vm_is_repeatable(void) {
    uint64_t orders[2] = {1, 2};
    for (int i = 0; i < 2; i++) {
        struct vm vm;
        if (vm_init(&vm, TEST_PLACE + i) != 0)
            return false;
        orders[i] = order_in(&vm);
        vm_fini(&vm);
    }
    return orders[0] == orders[1];
}
