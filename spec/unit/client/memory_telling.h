/* spec/unit/client/memory_telling.h - a story told again and again while memory is refused: with its first request refused, with
 * its second, and so on until none is left to refuse; and again with several refused from there on, or all for two
 * seconds. However memory fails, the story comes to its end: nothing crashes or leaks, each call is answered once, nobody
 * believes wrongly, nothing stays in the queue. */
#ifndef LUN_UNIT_MEMORY_TELLING_H
#define LUN_UNIT_MEMORY_TELLING_H

#include <inttypes.h>
#include <stdio.h>

#include "check.h"
#include "starve.h"
#include "tale.h"

static uint64_t seed;

#define LONG TALE_PATIENCE_MS

static inline struct lun_client *client_of(int party) {
    return tale->parties[party].client;
}

static inline void worsen(bool is_poor) {
    sim_set_faults(tale->sim, &(struct sim_faults){.reply_lost = is_poor ? 150 : 0,
                                                   .request_lost = is_poor ? 50 : 0,
                                                   .late_after_cancel = is_poor ? 300 : 0});
}

/* Two clients, and a session in each. */
static inline void open_two(struct lun_session **ret_one, struct lun_session **ret_other) {
    (void)tale_open(0);
    (void)tale_open(1);
    *ret_one = tale_session(0);
    *ret_other = tale_session(1);
}

static inline void close_two(struct lun_session *one, struct lun_session *other) {
    tale_close_session(one);
    tale_close_session(other);
    tale_close(0);
    tale_close(1);
}

static inline struct lun_election *new_election(struct lun_session *session, const char *name) {
    struct lun_election *election = NULL;
    MAKE(lun_election_new(session, name, &election, NULL));
    return election;
}

/* ---- telling them ----------------------------------------------------------------------------------- */

/* False: it came to its end without having been refused anything. */
static inline bool tell(void (*story)(void), size_t n_before, size_t n_refused) {
    bool was_failing = check_is_failing;
    tale_begin(seed);
    starve_begin(n_before, n_refused);
    story();
    bool has_refused = starve_has_refused();
    tale_end();
    if (check_is_failing && !was_failing)
        printf("# with %zu refused after %zu: SEED=%llu REFUSE=%zu,%zu tells it alone\n", n_refused, n_before,
               (unsigned long long)seed, n_before, n_refused);
    return has_refused;
}

/* All of them where the story is short, else a sample; under ASan all in the first telling. */
static inline size_t stride_of(size_t n_points, bool is_first) {
#if defined(__SANITIZE_ADDRESS__)
    return 1 + n_points / (is_first ? 1000 : 50);
#elif defined(__SANITIZE_THREAD__)
    return 1 + n_points / (is_first ? 10 : 2); /* there is one thread only */
#else
    return 1 + n_points / (is_first ? 150 : 100);
#endif
}

static inline void tell_with_every_refusal(void (*story)(void), bool is_first) {
    static const size_t lengths[] = {1, 2, 5, 12, STARVE_FAMINE};
    (void)tell(story, 0, 0);
    size_t n_points = starve_n_asked(), stride = stride_of(n_points, is_first), n_told = 0;
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0] && !check_is_failing; i++)
        for (size_t n = i % stride; tell(story, n, lengths[i]) && !check_is_failing; n += stride)
            n_told++;
    printf("# seed %llu: %zu requests for memory; told %zu times\n", (unsigned long long)seed, n_points,
           n_told);
}

/* Each seed has its own losses and delays. */
static inline void tell_all(void (*story)(void)) {
    static const uint64_t seeds[] = {7, 108, 178};
    const char *only = getenv("REFUSE"), *chosen = getenv("SEED");
    size_t n_before, n_refused;
    for (size_t i = 0; i < sizeof seeds / sizeof seeds[0]; i++) {
        seed = chosen ? (uint64_t)atoll(chosen) : seeds[i];
        if (only && sscanf(only, "%zu,%zu", &n_before, &n_refused) == 2)
            (void)tell(story, n_before, n_refused);
        else
            tell_with_every_refusal(story, i == 0);
        if (chosen)
            break;
    }
}

static void (*memory_story)(void);

static inline void tell_memory_story(void) {
    tell_all(memory_story);
}

/* Runs the story of that name, whenever memory fails. */
#define TELL(story) (memory_story = (story), check_run(#story "_whenever_memory_fails", tell_memory_story))

#endif
