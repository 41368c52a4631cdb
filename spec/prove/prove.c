/* spec/prove/prove.c - runs histories by the thousand: `prove [--seeds A..B] [--jobs N] [--trace] [--quiet]`.
 *
 * One seed with --trace prints its story. Otherwise every job is a process of its own, so that a crash or a
 * hang is one more way to fail. Status 1 at the first history that broke something. */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "history.h"

enum { MAX_JOBS = 64, HUNG_AFTER_S = 30 };

struct job {
    _Atomic uint64_t seed, n_done, steps, wins, writes, lost;
    _Atomic int64_t ns;
    _Atomic bool is_failed;
    struct history failure;
    pid_t pid;
};

static void run_job(struct job *job, uint64_t from, uint64_t to, uint64_t stride) {
    for (uint64_t seed = from; seed <= to; seed += stride) {
        struct history history;
        job->seed = seed;
        (void)alarm(HUNG_AFTER_S);
        history_run(seed, false, &history);
        if (history.broken) {
            job->failure = history;
            job->is_failed = true;
            _exit(1);
        }
        job->ns += history.ns;
        job->steps += history.n_steps;
        job->wins += history.n_wins;
        job->writes += history.n_writes;
        job->lost += history.n_lost;
        job->n_done++;
    }
    _exit(0);
}

static void progress(const struct job *jobs, int n_jobs, int64_t began_ns, uint64_t n_seeds,
                     const char *end) {
    uint64_t done = 0, wins = 0, writes = 0, lost = 0;
    int64_t ns = 0;
    for (int i = 0; i < n_jobs; i++) {
        done += jobs[i].n_done;
        ns += jobs[i].ns;
        wins += jobs[i].wins;
        writes += jobs[i].writes;
        lost += jobs[i].lost;
    }
    double s = (double)(clock_boottime_ns() - began_ns) / 1e9;
    (void)printf(
        "%" PRIu64 " of %" PRIu64 " seeds, %.0f/s, %.1f simulated hours (%.0f s per second), %" PRIu64
        " wins, %" PRIu64 " losses, %" PRIu64 " guarded writes%s",
        done, n_seeds, (double)done / s, (double)ns / 3.6e12, (double)ns / 1e9 / s, wins, lost, writes, end);
    (void)fflush(stdout);
}

static int trace(uint64_t seed) {
    struct history history;
    history_run(seed, true, &history);
    (void)printf("seed %" PRIu64 ": %s %s\n", seed, invariant_name(history.broken), history.text);
    return history.broken != INVARIANT_NONE;
}

static int usage(void) {
    (void)fprintf(stderr, "usage: prove [--seeds A..B] [--jobs N] [--trace] [--quiet]\n");
    return 2;
}

static int run_all(uint64_t from, uint64_t to, int n_jobs, bool is_quiet) {
    struct job *jobs =
        mmap(NULL, sizeof *jobs * MAX_JOBS, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (jobs == MAP_FAILED)
        return 2;
    int64_t began_ns = clock_boottime_ns(), told_ns = began_ns;
    for (int i = 0; i < n_jobs; i++) {
        pid_t pid = fork();
        if (pid == 0)
            run_job(&jobs[i], from + (uint64_t)i, to, (uint64_t)n_jobs);
        jobs[i].pid = pid; /* not in the child: the memory is shared */
    }
    int left = n_jobs, status = 0;
    struct job *failed = NULL;
    while (left > 0) {
        int state;
        pid_t pid = waitpid(-1, &state, WNOHANG);
        if (pid <= 0) {
            (void)usleep(20000);
            if (!is_quiet && clock_boottime_ns() - told_ns > 5 * NS_PER_S) {
                told_ns = clock_boottime_ns();
                progress(jobs, n_jobs, began_ns, to - from + 1, "\n");
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
        for (int i = 0; i < n_jobs; i++)
            if (jobs[i].pid > 0)
                (void)kill(jobs[i].pid, SIGKILL);
        if (job->is_failed)
            (void)printf("FAILED seed %" PRIu64 " %s: %s (%s)\n", job->seed,
                         invariant_name(job->failure.broken), invariant_text(job->failure.broken),
                         job->failure.text);
        else
            (void)printf("FAILED seed %" PRIu64 " %s\n", job->seed,
                         WIFSIGNALED(state) && WTERMSIG(state) == SIGALRM ? "hung" : "crashed");
        status = 1;
    }
    if (!is_quiet)
        progress(jobs, n_jobs, began_ns, to - from + 1, "\n");
    return status;
}

int main(int argc, char **argv) {
    uint64_t from = 1, to = 2000;
    int n_jobs = (int)sysconf(_SC_NPROCESSORS_ONLN);
    bool is_traced = false, is_quiet = false;
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : "";
        if (strcmp(argv[i], "--seeds") == 0) {
            int n = sscanf(value, "%" SCNu64 "..%" SCNu64, &from, &to);
            if (n < 1)
                return usage();
            if (n == 1)
                to = from;
            i++;
        } else if (strcmp(argv[i], "--jobs") == 0) {
            n_jobs = atoi(value);
            i++;
        } else if (strcmp(argv[i], "--trace") == 0) {
            is_traced = true;
        } else if (strcmp(argv[i], "--quiet") == 0) {
            is_quiet = true;
        } else {
            return usage();
        }
    }
    n_jobs = n_jobs < 1 ? 1 : n_jobs > MAX_JOBS ? MAX_JOBS : n_jobs;
    if (is_traced)
        return trace(from);
    return run_all(from, to, n_jobs, is_quiet);
}
