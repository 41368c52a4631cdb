/* spec/seeds/shrink.c - see shrink.h. First machines and whole classes of decisions are left out, then ever smaller
 * pieces of the row. Every trial is a process of its own. */
#include "shrink.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { TRIALS_MAX = 3000, HUNG_AFTER_S = 30 };

struct trial {
    struct history history;
    struct decisions taken;
};

/* Shared with the process that runs it. */
static struct trial *shared_trial(void) {
    static struct trial *trial;
    if (!trial)
        trial = mmap(NULL, sizeof *trial, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (trial == MAP_FAILED)
        abort();
    return trial;
}

static void run_in_child(struct trial *trial, uint64_t seed, const struct decisions *omitted) {
    int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    (void)dup2(null, STDERR_FILENO);
    (void)alarm(HUNG_AFTER_S);
    struct history_options options = {.omitted = omitted, .taken = &trial->taken};
    history_run(seed, &options, &trial->history);
    _exit(0);
}

void trial_run(uint64_t seed, const struct decisions *omitted, struct decisions *ret_taken,
               struct history *ret) {
    struct trial *trial = shared_trial();
    trial->taken.n = 0;
    trial->history = (struct history){0};
    (void)fflush(NULL);
    pid_t pid = fork();
    if (pid == 0)
        run_in_child(trial, seed, omitted);
    int state = 0;
    if (pid < 0 || waitpid(pid, &state, 0) < 0)
        abort();
    *ret = trial->history;
    if (state != 0 && WIFSIGNALED(state))
        ret->broken = WTERMSIG(state) == SIGALRM ? INVARIANT_hung : INVARIANT_crashed;
    if (ret_taken)
        *ret_taken = trial->taken;
}

/* ---- leaving out ---------------------------------------------------------------------------------------- */

struct search {
    uint64_t seed;
    enum invariant broken;
    unsigned n_trials;
    struct decisions omitted, taken, tried;
    struct history history;
};

static int compare(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static void add(struct decisions *decisions, uint64_t id) {
    if (decisions->n < DECISIONS_MAX)
        decisions->ids[decisions->n++] = id;
}

/* search->tried: what is left out besides. True: it breaks the same invariant; then it stays left out. */
static bool try_without(struct search *search) {
    static struct decisions omitted, taken;
    struct history history;
    if (search->tried.n == 0 || search->n_trials == TRIALS_MAX)
        return false;
    omitted = search->omitted;
    for (size_t i = 0; i < search->tried.n; i++)
        add(&omitted, search->tried.ids[i]);
    qsort(omitted.ids, omitted.n, sizeof omitted.ids[0], compare);
    search->n_trials++;
    trial_run(search->seed, &omitted, &taken, &history);
    if (history.broken != search->broken)
        return false;
    search->omitted = omitted;
    search->taken = taken;
    search->history = history;
    return true;
}

static bool leave_out_class(struct search *search, uint64_t class) {
    search->tried.n = 0;
    for (size_t i = 0; i < search->taken.n; i++)
        if (decision_class(search->taken.ids[i]) == class)
            add(&search->tried, search->taken.ids[i]);
    return try_without(search);
}

static void leave_out_classes(struct search *search) {
    static struct decisions before;
    before = search->taken;
    qsort(before.ids, before.n, sizeof before.ids[0], compare);
    for (size_t i = 0; i < before.n; i++)
        if (i == 0 || decision_class(before.ids[i]) != decision_class(before.ids[i - 1]))
            (void)leave_out_class(search, decision_class(before.ids[i]));
}

/* Pieces of `size` decisions. The row may become another one whenever something was left out: goes on at the same
 * place. */
static bool leave_out_pieces(struct search *search, size_t size) {
    bool is_shorter = false;
    for (size_t at = 0; at < search->taken.n;) {
        search->tried.n = 0;
        for (size_t i = at; i < at + size && i < search->taken.n; i++)
            add(&search->tried, search->taken.ids[i]);
        if (try_without(search))
            is_shorter = true;
        else
            at += size;
        if (search->n_trials == TRIALS_MAX)
            break;
    }
    return is_shorter;
}

unsigned shrink(uint64_t seed, struct decisions *ret_omitted, struct decisions *ret_taken,
                struct history *ret) {
    static struct search search;
    search = (struct search){.seed = seed};
    trial_run(seed, NULL, &search.taken, &search.history);
    search.broken = search.history.broken;
    if (search.broken) {
        search.n_trials = 1;
        leave_out_classes(&search);
        for (size_t size = search.taken.n / 2; size > 0; size /= 2)
            (void)leave_out_pieces(&search, size);
        while (search.n_trials < TRIALS_MAX && leave_out_pieces(&search, 1))
            ;
    }
    *ret_omitted = search.omitted;
    *ret_taken = search.taken;
    *ret = search.history;
    return search.n_trials;
}
