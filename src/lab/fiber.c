/* lab/fiber.c - switches between stacks, so that a simulated script can wait anywhere. See fiber.h. */
#include "lab/fiber.h"

#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__)
#include <dlfcn.h>
#include <sanitizer/common_interface_defs.h>
#define STACK_BYTES ((size_t)8 << 20)

/* AddressSanitizer warns of the C library's calls, although each switch is announced to it below: they are taken
 * from behind it. */
static int switch_to(ucontext_t *from, const ucontext_t *to) {
    static int (*real)(ucontext_t * from, const ucontext_t *to);
    if (!real)
        *(void **)&real = dlsym(dlopen("libc.so.6", RTLD_NOLOAD | RTLD_LAZY), "swapcontext");
    return real(from, to);
}
#else
#define STACK_BYTES ((size_t)2 << 20)
#define switch_to swapcontext
static void __sanitizer_start_switch_fiber(void **save, const void *bottom, size_t size) {
    (void)save, (void)bottom, (void)size;
}
static void __sanitizer_finish_switch_fiber(void *save, const void **bottom, size_t *size) {
    (void)save, (void)bottom, (void)size;
}
#endif

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif
#define FIRST_PLACE UINT64_C(0x690000000000)
#define PLACE_BYTES UINT64_C(0x10000000)

struct fiber {
    char *stack; /* its lowest page cannot be touched */
    ucontext_t here, outside;
    void (*run)(void *arg);
    void *arg;
    void *shadow, *outer_shadow; /* AddressSanitizer's */
    const void *outer_bottom;
    size_t outer_size;
};

struct fiber *fiber_new(int index) {
    struct fiber *fiber = calloc(1, sizeof *fiber);
    if (!fiber)
        return NULL;
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK;
    void *place = (void *)(uintptr_t)(FIRST_PLACE + (uint64_t)index * PLACE_BYTES);
    fiber->stack = mmap(place, STACK_BYTES, PROT_READ | PROT_WRITE, flags | MAP_FIXED_NOREPLACE, -1, 0);
    if (fiber->stack == MAP_FAILED)
        fiber->stack = mmap(NULL, STACK_BYTES, PROT_READ | PROT_WRITE, flags, -1, 0);
    if (fiber->stack == MAP_FAILED) {
        free(fiber);
        return NULL;
    }
    (void)mprotect(fiber->stack, (size_t)sysconf(_SC_PAGESIZE), PROT_NONE);
    return fiber;
}

void fiber_free(struct fiber *fiber) {
    if (!fiber)
        return;
    (void)munmap(fiber->stack, STACK_BYTES);
    free(fiber);
}

/* makecontext passes ints. */
static void begin(unsigned high, unsigned low) {
    struct fiber *fiber = (struct fiber *)(uintptr_t)((uint64_t)high << 32 | low);
    __sanitizer_finish_switch_fiber(NULL, &fiber->outer_bottom, &fiber->outer_size);
    fiber->run(fiber->arg);
    abort();
}

void fiber_set(struct fiber *fiber, void (*run)(void *arg), void *arg) {
    fiber->run = run;
    fiber->arg = arg;
    fiber->shadow = NULL;
    (void)getcontext(&fiber->here);
    fiber->here.uc_stack.ss_sp = fiber->stack;
    fiber->here.uc_stack.ss_size = STACK_BYTES;
    fiber->here.uc_link = NULL;
    uint64_t self = (uint64_t)(uintptr_t)fiber;
    makecontext(&fiber->here, (void (*)(void))begin, 2, (unsigned)(self >> 32), (unsigned)self);
}

void fiber_enter(struct fiber *fiber) {
    __sanitizer_start_switch_fiber(&fiber->outer_shadow, fiber->stack, STACK_BYTES);
    (void)switch_to(&fiber->outside, &fiber->here);
    __sanitizer_finish_switch_fiber(fiber->outer_shadow, NULL, NULL);
}

void fiber_leave(struct fiber *fiber) {
    __sanitizer_start_switch_fiber(&fiber->shadow, fiber->outer_bottom, fiber->outer_size);
    (void)switch_to(&fiber->here, &fiber->outside);
    __sanitizer_finish_switch_fiber(fiber->shadow, &fiber->outer_bottom, &fiber->outer_size);
}
