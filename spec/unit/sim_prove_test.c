/* spec/unit/sim_prove_test.c - the fixed set of histories, and that a seed tells the same story twice. */
#include "check.h"
#include "history.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { SEEDS = 200 }; /* ten times as slow */
#else
enum { SEEDS = 2000 };
#endif

static void one_seed_tells_one_story(void) {
    struct history once, again, other;
    history_run(7, false, &once);
    history_run(7, false, &again);
    history_run(8, false, &other);
    CHECK(once.digest == again.digest && once.n_steps == again.n_steps);
    CHECK(once.digest != other.digest);
}

static void nothing_breaks_in_the_fixed_set(void) {
    unsigned wins = 0, writes = 0, lost = 0, kills = 0;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct history history;
        history_run(seed, false, &history);
        if (history.broken)
            printf("# seed %llu: %s (%s): %s; prove --seeds %llu --trace tells it\n",
                   (unsigned long long)seed, invariant_name(history.broken), invariant_text(history.broken),
                   history.text, (unsigned long long)seed);
        CHECK(history.broken == INVARIANT_NONE);
        wins += history.n_wins;
        writes += history.n_writes;
        lost += history.n_lost;
        kills += history.n_kills;
    }
    /* Histories in which nothing happens prove nothing. */
    CHECK(wins > 20 * SEEDS && writes > 20 * SEEDS && lost > SEEDS && kills > SEEDS);
}

int main(void) {
    RUN(one_seed_tells_one_story);
    RUN(nothing_breaks_in_the_fixed_set);
    return check_end();
}
