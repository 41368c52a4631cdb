/* base/fork.c - counts forks, so that a client notices that it is in a child.
 * See fork.h. Counted by a handler in the child: getpid is a system call, and would be felt in every
 * lock. */
#include "base/fork.h"

#include <pthread.h>
#include <stdatomic.h>

static atomic_uint depth;

static void on_child(void) {
    atomic_fetch_add_explicit(&depth, 1, memory_order_relaxed);
}

static void watch_forks(void) {
    (void)pthread_atfork(NULL, NULL, on_child);
}

unsigned fork_depth(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)pthread_once(&once, watch_forks);
    return atomic_load_explicit(&depth, memory_order_relaxed);
}
