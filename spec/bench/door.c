/* spec/bench/door.c - the floor's measurements, by way of lunarch.h.
 *
 *     lunarch_door HOST:PORT cycle|par64|first N, handoff N SETTLE_MS, idle, waiters N
 *
 * Prints the same JSON as lunarch_floor does; `waiters`: bytes of resident memory per waiting mutex. */
#include <malloc.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lunarch.h"

extern char **environ;

enum { N_LOCKS = 64, WARM_UP = 200 };

static void fail(const char *what) {
    (void)fprintf(stderr, "bench: %s\n", what);
    exit(1);
}

static double now_us(void) {
    return (double)lun_now_ns() / 1e3;
}

static double cpu_us(void) {
    struct rusage r;
    getrusage(RUSAGE_SELF, &r);
    return (double)(r.ru_utime.tv_sec + r.ru_stime.tv_sec) * 1e6 +
           (double)(r.ru_utime.tv_usec + r.ru_stime.tv_usec);
}

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double *new_samples(int n) {
    double *samples = calloc((size_t)n, sizeof *samples);
    if (!samples)
        fail("out of memory");
    return samples;
}

/* Prints two fields and frees the samples. */
static void print_quantiles(double *samples, int n) {
    qsort(samples, (size_t)n, sizeof *samples, compare);
    printf(",\"p50_us\":%.1f,\"p99_us\":%.1f", samples[n / 2], samples[(int)(n * 0.99)]);
    free(samples);
}

/* ---- the door --------------------------------------------------------------------------------------- */

static struct lun_client *client;

struct answer {
    bool is_there;
    struct lun_session *session;
    double at;
};

static void on_done(void *arg, const struct lun_result *result) {
    struct answer *answer = arg;
    if (result->err)
        fail(result->err->text);
    answer->is_there = true;
    answer->session = result->session;
    answer->at = now_us();
}

static struct lun_ask asking(struct answer *answer) {
    *answer = (struct answer){.is_there = false};
    return (struct lun_ask){-1, on_done, answer};
}

static void check(int rc) {
    if (rc)
        fail(lun_strerror(rc));
}

static void await_answer(const struct answer *answer) {
    while (!answer->is_there)
        (void)lun_client_poll(client, -1);
}

static void poll_for_ms(int ms) {
    for (double end = now_us() + ms * 1e3, left; (left = end - now_us()) > 0;)
        (void)lun_client_poll(client, (int64_t)(left / 1e3) + 1);
}

static void connect_to(const char *endpoint) {
    struct lun_config config = {.endpoints = &endpoint,
                                .n_endpoints = 1,
                                .name = "bench",
                                .cacert = getenv("LUNARCH_CACERT"),
                                .cert = getenv("LUNARCH_CERT"),
                                .key = getenv("LUNARCH_KEY")};
    check(lun_client_open(&config, &client, NULL));
}

static void disconnect(void) {
    struct answer answer;
    struct lun_ask ask = asking(&answer);
    check(lun_client_close(client, &ask, NULL, NULL));
    await_answer(&answer);
    lun_client_free(client);
}

static struct lun_session *session_open(void) {
    struct answer answer;
    struct lun_ask ask = asking(&answer);
    struct lun_session_options options = {.ttl_s = 60, .grace_ms = -1};
    check(lun_session_open(client, &options, &ask, NULL, NULL));
    await_answer(&answer);
    return answer.session;
}

static struct lun_mutex *mutex_new(struct lun_session *session, int number) {
    char name[64];
    struct lun_mutex *mutex;
    (void)snprintf(name, sizeof name, "/door/%d-%d", (int)getpid(), number);
    check(lun_mutex_new(session, name, false, &mutex, NULL));
    return mutex;
}

static void lock(struct lun_mutex *mutex) {
    struct answer answer;
    struct lun_ask ask = asking(&answer);
    check(lun_mutex_lock(mutex, &ask, NULL, NULL));
    await_answer(&answer);
}

static void unlock(struct lun_mutex *mutex) {
    struct answer answer;
    struct lun_ask ask = asking(&answer);
    check(lun_mutex_unlock(mutex, &ask, NULL, NULL));
    await_answer(&answer);
}

/* ---- cycle ------------------------------------------------------------------------------------------ */

static void run_cycle(int n) {
    struct lun_session *session = session_open();
    struct lun_mutex *mutex = mutex_new(session, 0);
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
    print_quantiles(samples, n);
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
        mutexes[i] = mutex_new(sessions[i], 0);
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
    print_quantiles(samples, n);
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
        runners[i].mutex = mutex_new(session, i);
    double begin = now_us(), cpu = cpu_us();
    for (int i = 0; i < N_LOCKS; i++)
        runner_start(&runners[i]);
    while (n_running > 0)
        (void)lun_client_poll(client, -1);
    double wall = now_us() - begin;
    cpu = cpu_us() - cpu;
    printf("{\"bench\":\"door\",\"mode\":\"par64\",\"n\":%d,\"per_s\":%.0f", n, n / wall * 1e6);
    print_quantiles(cycle_samples, n);
    printf(",\"cpu_us\":%.1f}\n", cpu / n);
    for (int i = 0; i < N_LOCKS; i++)
        lun_mutex_free(runners[i].mutex);
    lun_session_free(session);
}

/* ---- first, idle, waiters --------------------------------------------------------------------------- */

static void run_one_lock(void) {
    struct lun_session *session = session_open();
    struct lun_mutex *mutex = mutex_new(session, 0);
    lock(mutex);
    (void)!write(STDOUT_FILENO, "L", 1);
    unlock(mutex);
    lun_mutex_free(mutex);
    lun_session_free(session);
}

static double time_to_first_lock(const char *endpoint) {
    int ends[2];
    if (pipe(ends) != 0)
        fail("no pipe");
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
    posix_spawn_file_actions_addclose(&actions, ends[0]);
    char *argv[] = {(char *)"door", (char *)(uintptr_t)endpoint, (char *)"one", NULL};
    double begin = now_us();
    pid_t pid;
    char byte;
    if (posix_spawn(&pid, "/proc/self/exe", &actions, NULL, argv, environ) != 0 ||
        read(ends[0], &byte, 1) != 1)
        fail("cannot run itself");
    double took = now_us() - begin;
    waitpid(pid, NULL, 0);
    posix_spawn_file_actions_destroy(&actions);
    close(ends[0]);
    close(ends[1]);
    return took;
}

static void run_first(const char *endpoint, int n) {
    double *samples = new_samples(n);
    for (int i = 0; i < n; i++)
        samples[i] = time_to_first_lock(endpoint);
    printf("{\"bench\":\"door\",\"mode\":\"first\",\"n\":%d", n);
    print_quantiles(samples, n);
    printf("}\n");
}

static long status_kb(const char *field) {
    char line[256];
    long kb = 0;
    FILE *file = fopen("/proc/self/status", "r");
    while (file && fgets(line, sizeof line, file))
        if (strncmp(line, field, strlen(field)) == 0)
            kb = atol(line + strlen(field) + 1);
    if (file)
        fclose(file);
    return kb;
}

static void run_idle(void) {
    struct lun_session *session = session_open();
    poll_for_ms(1000);
    printf("{\"bench\":\"door\",\"mode\":\"idle\",\"rss_kb\":%ld,\"anon_kb\":%ld,\"threads\":%ld}\n",
           status_kb("VmRSS"), status_kb("RssAnon"), status_kb("Threads"));
    lun_session_free(session);
}

static void ignore(void *arg, const struct lun_result *result) {
    (void)arg, (void)result;
}

static int64_t n_standing;

static void on_counted(void *arg, const struct lun_result *result) {
    bool *is_there = arg;
    *is_there = true;
    if (result->err)
        fail(result->err->text);
    n_standing = result->results[0].count;
}

/* Until etcd has let them all in: a request in flight is no waiter. */
static void await_standing(const struct lun_mutex *held, int64_t n) {
    char prefix[64], end[64];
    struct lun_bytes key = lun_mutex_key(held);
    size_t len = (size_t)((const char *)memrchr(key.data, '/', key.len) + 1 - (const char *)key.data);
    (void)snprintf(prefix, sizeof prefix, "%.*s", (int)len, (const char *)key.data);
    (void)snprintf(end, sizeof end, "%.*s0", (int)len - 1, (const char *)key.data);
    for (n_standing = 0; n_standing < n;) {
        bool is_there = false;
        struct lun_ask ask = {-1, on_counted, &is_there};
        struct lun_kv_op count = {.kind = LUN_OP_RANGE,
                                  .key = lun_bytes_of(prefix),
                                  .range_end = lun_bytes_of(end),
                                  .is_count_only = true};
        check(lun_kv(client, &count, &ask, NULL, NULL));
        while (!is_there)
            (void)lun_client_poll(client, -1);
    }
}

/* Half of them first, so that what the first ones grow once (buffers, tables) is not counted. */
static void run_waiters(int n) {
    struct lun_session *holder = session_open(), *session = session_open();
    struct lun_mutex *held = mutex_new(holder, 0), **waiting = calloc((size_t)n * 2, sizeof *waiting);
    long before = 0;
    size_t heap_before = 0;
    if (!waiting)
        fail("out of memory");
    lock(held);
    for (int i = 0; i < 2 * n; i++) {
        struct lun_ask ask = {-1, ignore, NULL};
        if (i == n) {
            poll_for_ms(1000);
            before = status_kb("VmRSS");
            heap_before = mallinfo2().uordblks;
        }
        waiting[i] = mutex_new(session, 0);
        check(lun_mutex_lock(waiting[i], &ask, NULL, NULL));
        if (i % 20 == 0 || i == n - 1 || i == 2 * n - 1)
            await_standing(held, i + 2);
    }
    poll_for_ms(1000);
    long after = status_kb("VmRSS");
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
        run_first(endpoint, n);
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
