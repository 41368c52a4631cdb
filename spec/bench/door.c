/* spec/bench/door.c - the floor's measurements, by way of lunarch.h.
 *
 *     lunarch_door HOST:PORT cycle|par64|first N, handoff N SETTLE_MS, idle, waiters N
 *
 * Prints the same JSON as lunarch_floor does; `waiters`: bytes of resident memory per waiting mutex. */
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "shared/door.h"
#include "shared/figures.h"
#include "shared/lock.h"

/* Of the line of that number. */
static const char *name_of(int number) {
    static char name[64];
    (void)snprintf(name, sizeof name, "/door/%d-%d", (int)getpid(), number);
    return name;
}

/* ---- cycle ------------------------------------------------------------------------------------------ */

static void run_cycle(int n) {
    struct lun_session *session = session_open();
    struct lun_mutex *mutex = mutex_new(session, name_of(0));
    double *samples = new_samples(n), cpu = 0;
    for (int i = -WARM_UP; i < n; i++) {
        if (i == 0)
            cpu = cpu_us();
        double begin = now_us();
        lock(mutex);
        unlock(mutex);
        if (i >= 0)
            samples[i] = now_us() - begin;
    }
    cpu = cpu_us() - cpu;
    printf("{\"bench\":\"door\",\"mode\":\"cycle\",\"n\":%d", n);
    print_quantiles("", samples, n);
    printf(",\"cpu_us\":%.1f}\n", cpu / n);
    lun_mutex_free(mutex);
    lun_session_free(session);
}

/* ---- handoff ---------------------------------------------------------------------------------------- */

static void run_handoff(int n, int settle_ms) {
    struct lun_session *sessions[2];
    struct lun_mutex *mutexes[2];
    for (int i = 0; i < 2; i++) {
        sessions[i] = session_open();
        mutexes[i] = mutex_new(sessions[i], name_of(0));
    }
    double *samples = new_samples(n);
    lock(mutexes[0]);
    for (int i = -5, holder = 0; i < n; i++, holder = !holder) {
        struct answer got, left;
        struct lun_ask ask_got = asking(&got), ask_left = asking(&left);
        check(lun_mutex_lock(mutexes[!holder], &ask_got, NULL, NULL));
        poll_for_ms(settle_ms);
        double begin = now_us();
        check(lun_mutex_unlock(mutexes[holder], &ask_left, NULL, NULL));
        await_answer(&got);
        if (i >= 0)
            samples[i] = got.at - begin;
        await_answer(&left);
    }
    printf("{\"bench\":\"door\",\"mode\":\"handoff\",\"n\":%d,\"settle_ms\":%d", n, settle_ms);
    print_quantiles("", samples, n);
    printf("}\n");
    for (int i = 0; i < 2; i++) {
        lun_mutex_free(mutexes[i]);
        lun_session_free(sessions[i]);
    }
}

/* ---- par64 ------------------------------------------------------------------------------------------ */

struct runner {
    struct lun_mutex *mutex;
    double begin;
};

static int n_done, n_wanted, n_running;
static double *cycle_samples;

static void runner_start(struct runner *runner);

static void on_unlocked(void *arg, const struct lun_result *result) {
    struct runner *runner = arg;
    if (result->err)
        fail(result->err->text);
    if (n_done < n_wanted)
        cycle_samples[n_done++] = now_us() - runner->begin;
    if (n_done < n_wanted)
        runner_start(runner);
    else
        n_running--;
}

static void on_locked(void *arg, const struct lun_result *result) {
    struct runner *runner = arg;
    struct lun_ask ask = {-1, on_unlocked, runner};
    if (result->err)
        fail(result->err->text);
    check(lun_mutex_unlock(runner->mutex, &ask, NULL, NULL));
}

static void runner_start(struct runner *runner) {
    struct lun_ask ask = {-1, on_locked, runner};
    runner->begin = now_us();
    check(lun_mutex_lock(runner->mutex, &ask, NULL, NULL));
}

static void run_par64(int n) {
    static struct runner runners[N_LOCKS];
    struct lun_session *session = session_open();
    cycle_samples = new_samples(n);
    n_wanted = n;
    n_running = N_LOCKS;
    for (int i = 0; i < N_LOCKS; i++)
        runners[i].mutex = mutex_new(session, name_of(i));
    double begin = now_us(), cpu = cpu_us();
    for (int i = 0; i < N_LOCKS; i++)
        runner_start(&runners[i]);
    while (n_running > 0)
        (void)lun_client_poll(client, -1);
    double wall = now_us() - begin;
    cpu = cpu_us() - cpu;
    printf("{\"bench\":\"door\",\"mode\":\"par64\",\"n\":%d,\"per_s\":%.0f", n, n / wall * 1e6);
    print_quantiles("", cycle_samples, n);
    printf(",\"cpu_us\":%.1f}\n", cpu / n);
    for (int i = 0; i < N_LOCKS; i++)
        lun_mutex_free(runners[i].mutex);
    lun_session_free(session);
}

/* ---- first, idle, waiters --------------------------------------------------------------------------- */

static void run_one_lock(void) {
    struct lun_session *session = session_open();
    struct lun_mutex *mutex = mutex_new(session, name_of(0));
    lock(mutex);
    (void)!write(STDOUT_FILENO, "L", 1);
    unlock(mutex);
    lun_mutex_free(mutex);
    lun_session_free(session);
}

static void run_idle(void) {
    struct lun_session *session = session_open();
    poll_for_ms(1000);
    printf("{\"bench\":\"door\",\"mode\":\"idle\",\"rss_kb\":%ld,\"anon_kb\":%ld,\"threads\":%ld}\n",
           status_kb(getpid(), "VmRSS"), status_kb(getpid(), "RssAnon"), status_kb(getpid(), "Threads"));
    lun_session_free(session);
}

static void ignore(void *arg, const struct lun_result *result) {
    (void)arg, (void)result;
}

/* Half of them first, so that what the first ones grow once (buffers, tables) is not counted. */
static void run_waiters(int n) {
    struct lun_session *holder = session_open(), *session = session_open();
    struct lun_mutex *held = mutex_new(holder, name_of(0)),
                     **waiting = calloc((size_t)n * 2, sizeof *waiting);
    long before = 0;
    size_t heap_before = 0;
    if (!waiting)
        fail("out of memory");
    lock(held);
    for (int i = 0; i < 2 * n; i++) {
        struct lun_ask ask = {-1, ignore, NULL};
        if (i == n) {
            poll_for_ms(1000);
            before = status_kb(getpid(), "VmRSS");
            heap_before = mallinfo2().uordblks;
        }
        waiting[i] = mutex_new(session, name_of(0));
        check(lun_mutex_lock(waiting[i], &ask, NULL, NULL));
        if (i % 20 == 0 || i == n - 1 || i == 2 * n - 1)
            while (count_standing(name_of(0)) < i + 2)
                ;
    }
    poll_for_ms(1000);
    long after = status_kb(getpid(), "VmRSS");
    printf(
        "{\"bench\":\"door\",\"mode\":\"waiters\",\"n\":%d,\"bytes_per_waiter\":%ld,\"heap_bytes_per_waiter\":%ld,"
        "\"rss_kb\":%ld}\n",
        n, (after - before) * 1024 / n, ((long)mallinfo2().uordblks - (long)heap_before) / n, after);
    for (int i = 0; i < 2 * n; i++)
        lun_mutex_free(waiting[i]);
    free(waiting);
    lun_mutex_free(held);
    lun_session_free(session);
    lun_session_free(holder);
}

int main(int argc, char **argv) {
    if (argc < 3) {
        (void)fprintf(
            stderr, "usage: lunarch_door HOST:PORT cycle|par64|first|waiters N, handoff N SETTLE_MS, idle\n");
        return 2;
    }
    const char *endpoint = argv[1], *mode = argv[2];
    int n = argc > 3 ? atoi(argv[3]) : 0;
    n = n > 0 ? n : 1000;
    if (strcmp(mode, "first") == 0) {
        run_first("door", endpoint, n);
        return 0;
    }
    connect_to(endpoint);
    if (strcmp(mode, "cycle") == 0)
        run_cycle(n);
    else if (strcmp(mode, "handoff") == 0)
        run_handoff(n, argc > 4 ? atoi(argv[4]) : 5);
    else if (strcmp(mode, "par64") == 0)
        run_par64(n);
    else if (strcmp(mode, "idle") == 0)
        run_idle();
    else if (strcmp(mode, "waiters") == 0)
        run_waiters(n);
    else if (strcmp(mode, "one") == 0)
        run_one_lock();
    else
        fail("no such mode");
    disconnect();
    return 0;
}
