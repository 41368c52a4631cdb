/* spec/unit/sim/sim_prove_test.c - the fixed set of histories, and that a seed tells the same story twice. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "history.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { SEEDS = 200 }; /* ten times as slow */
#else
enum { SEEDS = 2000 };
#endif

static const char *program;

static void one_seed_tells_one_story(void) {
    struct history once, again, other;
    history_run(7, NULL, &once);
    history_run(7, NULL, &again);
    history_run(8, NULL, &other);
    CHECK(once.digest == again.digest && once.n_steps == again.n_steps);
    CHECK(once.digest != other.digest);
}

/* With other addresses, another pid, another environment. */
static void another_process_tells_the_same_story(void) {
    for (uint64_t seed = 7; seed < 12; seed++) {
        struct history here;
        char command[4096];
        uint64_t there = 0;
        history_run(seed, NULL, &here);
        (void)snprintf(command, sizeof command, "FILLER=%0*d '%s' --digest %" PRIu64, (int)seed * 10, 0,
                       program, seed);
        FILE *pipe = popen(command, "r");
        CHECK(pipe && fscanf(pipe, "%" SCNu64, &there) == 1);
        CHECK(pipe && pclose(pipe) == 0);
        CHECK(there == here.digest);
    }
}

static void ignore_line(void *arg, int64_t now_ns, const char *line) {
    (void)arg, (void)now_ns, (void)line;
}

static void to_listen_changes_nothing(void) {
    struct history plain, told;
    static struct decisions taken;
    for (uint64_t seed = 7; seed < 12; seed++) {
        struct history_options options = {.taken = &taken, .on_line = ignore_line};
        taken.n = 0;
        history_run(seed, NULL, &plain);
        history_run(seed, &options, &told);
        CHECK(plain.digest == told.digest && taken.n > 0);
    }
}

/* One decision less, and whoever has nothing to do with it goes on as before: the calm opening of a machine does not
 * change because another one never started. */
static void decisions_can_be_left_out(void) {
    static struct decisions taken, omitted;
    struct history history, shorter;
    struct history_options all = {.taken = &taken}, fewer = {.omitted = &omitted};
    history_run(7, &all, &history);
    omitted.n = 1;
    omitted.ids[0] = taken.ids[0];
    history_run(7, &fewer, &shorter);
    CHECK(shorter.digest != history.digest && shorter.broken == INVARIANT_NONE);
}

static void run_unbroken(uint64_t seed, struct history *ret_history) {
    history_run(seed, NULL, ret_history);
    if (ret_history->broken)
        printf("# seed %" PRIu64 ": %s (%s): %s; ./dev prove --seeds %" PRIu64 " --shrink tells it\n", seed,
               invariant_name(ret_history->broken), invariant_text(ret_history->broken), ret_history->text,
               seed);
    CHECK(ret_history->broken == INVARIANT_NONE);
}

/* Lines "name seed invariant with" of a file of spec/seeds. How many there are. */
static unsigned run_listed(const char *name) {
    char path[4096], line[256];
    unsigned n = 0;
    (void)snprintf(path, sizeof path, "%s/spec/seeds/%s", getenv("LUNARCH_ROOT"), name);
    FILE *file = fopen(path, "r");
    CHECK(file != NULL);
    while (file && fgets(line, sizeof line, file)) {
        uint64_t seed;
        char with[64] = "";
        struct history history;
        if (sscanf(line, "%*[a-z_] %" SCNu64 " %*[a-z_] %63[a-z,]", &seed, with) < 1)
            continue;
        CHECK(history_with(with) || with[0] == '\0');
        run_unbroken(seed, &history);
        n++;
    }
    (void)history_with("");
    if (file)
        (void)fclose(file);
    return n;
}

/* Each breaks something as soon as one thing is wrong in the core: what was found once, and what mutants show. */
static void nothing_breaks_under_the_seeds_that_catch_mutants(void) {
    CHECK(run_listed("known_seeds") >= 16);
}

/* What was found once, and has no mutant: the proof itself was wrong, or the mend cannot be undone by itself. */
static void nothing_breaks_any_more_under_the_seeds_that_were_mended(void) {
    CHECK(run_listed("mended_seeds") >= 1);
}

static void nothing_breaks_in_the_fixed_set(void) {
    struct history sum = {0};
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct history history;
        run_unbroken(seed, &history);
        sum.n_wins += history.n_wins;
        sum.n_writes += history.n_writes;
        sum.n_lost += history.n_lost;
        sum.n_kills += history.n_kills;
        sum.n_asked += history.n_asked;
        sum.n_proclaims += history.n_proclaims;
        sum.n_observed += history.n_observed;
    }
    /* Histories in which nothing happens prove nothing. */
    CHECK(sum.n_wins > 20 * SEEDS && sum.n_writes > 20 * SEEDS && sum.n_lost > SEEDS &&
          sum.n_kills > SEEDS / 2);
    CHECK(sum.n_asked > 100 * SEEDS && sum.n_proclaims > SEEDS && sum.n_observed > 5 * SEEDS);
}

/* Tokens that end, passwords and rights that change: all of it happens, and all is well in the end. */
static void nothing_breaks_with_users(void) {
    enum { SEEDS_WITH_USERS = SEEDS / 20 };
    struct history sum = {0};
    CHECK(history_with("users"));
    for (uint64_t seed = 1; seed <= SEEDS_WITH_USERS; seed++) {
        struct history history;
        run_unbroken(seed, &history);
        sum.n_wins += history.n_wins;
        sum.n_denied += history.n_denied;
    }
    (void)history_with("");
    CHECK(sum.n_wins > 15 * SEEDS_WITH_USERS && sum.n_denied > SEEDS_WITH_USERS / 10);
}

int main(int argc, char **argv) {
    program = argv[0];
    if (argc == 3 && strcmp(argv[1], "--digest") == 0) {
        struct history history;
        history_run(strtoull(argv[2], NULL, 10), NULL, &history);
        printf("%" PRIu64 "\n", history.digest);
        return 0;
    }
    RUN(one_seed_tells_one_story);
    RUN(another_process_tells_the_same_story);
    RUN(to_listen_changes_nothing);
    RUN(decisions_can_be_left_out);
    RUN(nothing_breaks_under_the_seeds_that_catch_mutants);
    RUN(nothing_breaks_any_more_under_the_seeds_that_were_mended);
    RUN(nothing_breaks_in_the_fixed_set);
    RUN(nothing_breaks_with_users);
    return check_end();
}
