/* spec/seeds/prove.c - runs histories by the thousand.
 *
 * Every job is a process of its own. The first history that breaks something ends it: the seed, the command that
 * repeats it, and the shortest history of that seed that still fails, as a timeline. Status 1. */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "history.h"
#include "shrink.h"

enum { MAX_JOBS = 64, HUNG_AFTER_S = 30 };

struct job {
    _Atomic uint64_t seed, n_done, wins, writes, lost, asked;
    _Atomic int64_t ns;
    _Atomic bool is_failed;
    struct history failure;
    pid_t pid;
};

struct wish {
    uint64_t from, to;
    int n_jobs;
    bool is_traced, is_shrunk, is_quiet;
};

static void run_job(struct job *job, uint64_t from, uint64_t to, uint64_t stride) {
    /* Of the processor's time: being stopped, or crowded out, is not hanging. */
    const struct itimerval hung = {.it_value = {.tv_sec = HUNG_AFTER_S}};
    for (uint64_t seed = from; seed <= to; seed += stride) {
        struct history history;
        job->seed = seed;
        (void)setitimer(ITIMER_VIRTUAL, &hung, NULL);
        history_run(seed, NULL, &history);
        if (history.broken) {
            job->failure = history;
            job->is_failed = true;
            _exit(1);
        }
        job->ns += history.ns;
        job->wins += history.n_wins;
        job->writes += history.n_writes;
        job->lost += history.n_lost;
        job->asked += history.n_asked;
        job->n_done++;
    }
    _exit(0);
}

static void progress(const struct job *jobs, const struct wish *wish, int64_t began_ns) {
    uint64_t done = 0, wins = 0, writes = 0, lost = 0, asked = 0;
    int64_t ns = 0;
    for (int i = 0; i < wish->n_jobs; i++) {
        done += jobs[i].n_done;
        ns += jobs[i].ns;
        wins += jobs[i].wins;
        writes += jobs[i].writes;
        lost += jobs[i].lost;
        asked += jobs[i].asked;
    }
    double s = (double)(clock_boottime_ns() - began_ns) / 1e9;
    (void)printf("%" PRIu64 " of %" PRIu64
                 " seeds, %.0f/s, %.1f simulated hours (%.0f s per second and job), %" PRIu64
                 " wins, %" PRIu64 " losses, %" PRIu64 " guarded writes, %" PRIu64 " calls at the door\n",
                 done, wish->to - wish->from + 1, (double)done / s, (double)ns / 3.6e12,
                 (double)ns / 1e9 / s / wish->n_jobs, wins, lost, writes, asked);
    (void)fflush(stdout);
}

/* ---- one seed ------------------------------------------------------------------------------------------- */

static int print_timeline(uint64_t seed, const struct decisions *omitted) {
    struct history history;
    struct history_options options = {.omitted = omitted, .on_line = history_print};
    (void)setvbuf(stdout, NULL, _IOLBF, 0); /* it may end in a crash */
    history_run(seed, &options, &history);
    (void)printf("seed %" PRIu64 ": %s %s\n", seed, invariant_name(history.broken), history.text);
    return history.broken != INVARIANT_NONE;
}

static int shrink_and_tell(uint64_t seed) {
    static struct decisions omitted, taken;
    struct history history;
    unsigned n = shrink(seed, &omitted, &taken, &history);
    if (n == 0) {
        (void)printf("seed %" PRIu64 " breaks nothing\n", seed);
        return 0;
    }
    (void)printf("The shortest history of seed %" PRIu64
                 " found in %u that breaks %s: %zu decisions left, %zu "
                 "left out.\nF: faults and operator, E: etcd, 0 to 3: the machines.\n\n",
                 seed, n, invariant_name(history.broken), taken.n, omitted.n);
    (void)fflush(stdout);
    pid_t pid = fork();
    if (pid == 0)
        _exit(print_timeline(seed, &omitted));
    int state;
    (void)waitpid(pid, &state, 0);
    return 1;
}

/* ---- many ----------------------------------------------------------------------------------------------- */

static void start_jobs(struct job *jobs, const struct wish *wish) {
    (void)fflush(NULL);
    for (int i = 0; i < wish->n_jobs; i++) {
        pid_t pid = fork();
        if (pid == 0)
            run_job(&jobs[i], wish->from + (uint64_t)i, wish->to, (uint64_t)wish->n_jobs);
        jobs[i].pid = pid; /* not in the child: the memory is shared */
    }
}

static void end_jobs(const struct job *jobs, int n_jobs) {
    for (int i = 0; i < n_jobs; i++)
        if (jobs[i].pid > 0)
            (void)kill(jobs[i].pid, SIGKILL);
}

/* Waits for all. The job that failed first, or NULL. */
static struct job *await_jobs(struct job *jobs, const struct wish *wish, int64_t began_ns, int *ret_state) {
    struct job *failed = NULL;
    int64_t told_ns = began_ns;
    for (int left = wish->n_jobs; left > 0;) {
        int state;
        pid_t pid = waitpid(-1, &state, WNOHANG);
        if (pid <= 0) {
            (void)usleep(20000);
            if (!wish->is_quiet && clock_boottime_ns() - told_ns > 5 * NS_PER_S) {
                told_ns = clock_boottime_ns();
                progress(jobs, wish, began_ns);
            }
            continue;
        }
        left--;
        struct job *job = jobs;
        while (job->pid != pid)
            job++;
        job->pid = 0;
        if (state == 0 || failed)
            continue;
        failed = job;
        *ret_state = state;
        end_jobs(jobs, wish->n_jobs);
    }
    return failed;
}

static int run_all(const struct wish *wish) {
    struct job *jobs =
        mmap(NULL, sizeof *jobs * MAX_JOBS, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (jobs == MAP_FAILED)
        return 2;
    int64_t began_ns = clock_boottime_ns();
    int state = 0;
    start_jobs(jobs, wish);
    struct job *failed = await_jobs(jobs, wish, began_ns, &state);
    if (!wish->is_quiet)
        progress(jobs, wish, began_ns);
    if (!failed)
        return 0;
    enum invariant invariant = failed->is_failed                                    ? failed->failure.broken
                               : WIFSIGNALED(state) && WTERMSIG(state) == SIGVTALRM ? INVARIANT_hung
                                                                                    : INVARIANT_crashed;
    (void)printf("FAILED seed %" PRIu64 " %s: %s (%s)\n", failed->seed, invariant_name(invariant),
                 invariant_text(invariant), failed->failure.text);
    if (wish->is_quiet)
        return 1;
    (void)printf("again: ./dev prove --seeds %" PRIu64 " --shrink, and --trace for the whole of it\n\n",
                 failed->seed);
    (void)shrink_and_tell(failed->seed);
    return 1;
}

static int usage(void) {
    (void)fprintf(stderr,
                  "usage: prove [--seeds A..B] [--jobs N] [--quiet]   many histories, or\n"
                  "       prove --seeds A --trace                   the timeline of one, or\n"
                  "       prove --seeds A --shrink                  of the shortest that still fails\n"
                  "--with anew,headers,numbers,users: what each of them has besides (see extras.c)\n");
    return 2;
}

static bool read_flag(struct wish *wish, const char *flag, const char *value, int *i) {
    if (strcmp(flag, "--seeds") == 0) {
        int n = sscanf(value, "%" SCNu64 "..%" SCNu64, &wish->from, &wish->to);
        if (n == 1)
            wish->to = wish->from;
        (*i)++;
        return n >= 1;
    }
    if (strcmp(flag, "--jobs") == 0) {
        wish->n_jobs = atoi(value);
        (*i)++;
        return true;
    }
    if (strcmp(flag, "--with") == 0) {
        (*i)++;
        return value[0] && history_with(value);
    }
    wish->is_traced |= strcmp(flag, "--trace") == 0;
    wish->is_shrunk |= strcmp(flag, "--shrink") == 0;
    wish->is_quiet |= strcmp(flag, "--quiet") == 0;
    return strcmp(flag, "--trace") == 0 || strcmp(flag, "--shrink") == 0 || strcmp(flag, "--quiet") == 0;
}

int main(int argc, char **argv) {
    struct wish wish = {.from = 1, .to = 2000, .n_jobs = (int)sysconf(_SC_NPROCESSORS_ONLN)};
    for (int i = 1; i < argc; i++)
        if (!read_flag(&wish, argv[i], i + 1 < argc ? argv[i + 1] : "", &i))
            return usage();
    wish.n_jobs = wish.n_jobs < 1 ? 1 : wish.n_jobs > MAX_JOBS ? MAX_JOBS : wish.n_jobs;
    if (wish.is_traced)
        return print_timeline(wish.from, NULL);
    if (wish.is_shrunk)
        return shrink_and_tell(wish.from);
    return run_all(&wish);
}
