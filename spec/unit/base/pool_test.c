/* spec/unit/base/pool_test.c - memory that comes in bursts: every object is its own, in whatever order they go, and a burst
 * that is over leaves nothing behind. */
#include "base/pool.h"

#include <stdint.h>
#include <unistd.h>

#include "check.h"

enum { N = 5000 };
#define BYTES ((size_t)500)

static uint32_t draw(void) {
    static uint32_t state = 4711;
    return (state = state * 1664525 + 1013904223) >> 8;
}

/* Pages of this process in memory. */
static long resident(void) {
    long total = 0, pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (!file || fscanf(file, "%ld %ld", &total, &pages) != 2)
        check_give_up(__FILE__, __LINE__, "/proc/self/statm");
    (void)fclose(file);
    return pages;
}

static void fill(unsigned char *object, size_t n_bytes, size_t seed) {
    memset(object, (int)(seed % 251), n_bytes);
}

static bool is_filled(const unsigned char *object, size_t n_bytes, size_t seed) {
    for (size_t i = 0; i < n_bytes; i++)
        if (object[i] != seed % 251)
            return false;
    return true;
}

static void objects_do_not_overlap_whatever_comes_and_goes(void) {
    struct pool pool;
    unsigned char *objects[1000] = {NULL};
    size_t sizes[1000];
    pool_init(&pool, BYTES);
    for (int step = 0; step < 100000; step++) {
        size_t i = draw() % 1000;
        if (objects[i]) {
            CHECK(is_filled(objects[i], sizes[i], i));
            pool_free(&pool, objects[i]);
            objects[i] = NULL;
        } else {
            sizes[i] = 1 + draw() % (2 * BYTES); /* those that do not fit into a cell, too */
            objects[i] = pool_alloc(&pool, sizes[i]);
            REQUIRE(objects[i] && (uintptr_t)objects[i] % _Alignof(max_align_t) == 0);
            fill(objects[i], sizes[i], i);
        }
    }
    for (size_t i = 0; i < 1000; i++)
        pool_free(&pool, objects[i]);
    CHECK(pool.n_alive == 0 && list_is_empty(&pool.with_room));
}

static void a_burst_between_what_stays_is_given_back(void) {
    struct pool pool;
    static void *staying[N], *going[N];
    pool_init(&pool, BYTES);
    for (int i = 0; i < N; i++) {
        going[i] = pool_alloc(&pool, BYTES);
        staying[i] = malloc(BYTES);
        REQUIRE(going[i] && staying[i]);
        memset(going[i], 1, BYTES);
        memset(staying[i], 1, BYTES);
    }
    long within = resident();
    for (int i = 0; i < N; i++)
        pool_free(&pool, going[i]);
    long after = resident(), page = sysconf(_SC_PAGESIZE);
    CHECK(list_is_empty(&pool.with_room));
#ifndef __SANITIZE_ADDRESS__
    CHECK((within - after) * page > (long)(N * BYTES * 9 / 10));
#endif
    (void)within, (void)after, (void)page;
    for (int i = 0; i < N; i++)
        free(staying[i]);
}

int main(void) {
    RUN(objects_do_not_overlap_whatever_comes_and_goes);
    RUN(a_burst_between_what_stays_is_given_back);
    return check_end();
}
