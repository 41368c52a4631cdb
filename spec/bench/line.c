/* spec/bench/line.c - long lines: many mutexes waiting for one name, what they cost etcd, and how they are served.
 *
 *     lunarch_line HOST:PORT ETCD_PID chain WAITERS [PROCESSES]   all enter, then each is served and unlocks
 *     lunarch_line HOST:PORT ETCD_PID idle WAITERS SECONDS        all enter, then only wait
 *
 * Prints one line of JSON. Times in seconds; `per_handoff_us`; memory of etcd as its peak so far (VmHWM), CPU of etcd as
 * seconds and, for `idle`, as per cent of a core beside that of one session alone. ETCD_PID 0: not measured.
 * With one process the waiters are those of one session; else each process has a session of its own. */
#include <malloc.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "shared/door.h"
#include "shared/figures.h"

extern char **environ;

enum { POLL_MS = 100 };

static int n_served, n_failed;

/* ---- of another process ----------------------------------------------------------------------------- */

static double cpu_s(long pid) {
    char line[1024];
    unsigned long user = 0, system = 0;
    (void)snprintf(line, sizeof line, "/proc/%ld/stat", pid);
    FILE *file = fopen(line, "r");
    if (file && fgets(line, sizeof line, file)) {
        const char *rest = strrchr(line, ')');
        if (rest)
            (void)sscanf(rest + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system);
    }
    if (file)
        (void)fclose(file);
    return (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
}

/* ---- waiters ---------------------------------------------------------------------------------------- */

static void on_unlocked(void *arg, const struct lun_result *result) {
    (void)arg;
    if (result->err) {
        (void)fprintf(stderr, "line: %s\n", result->err->text);
        n_failed++;
    } else {
        n_served++;
    }
}

static void on_locked(void *arg, const struct lun_result *result) {
    struct lun_mutex *mutex = arg;
    struct lun_ask ask = {-1, on_unlocked, mutex};
    if (result->err && result->err->code == LUN_ECLOSED)
        return;
    if (result->err) {
        (void)fprintf(stderr, "line: %s\n", result->err->text);
        n_failed++;
    } else {
        check(lun_mutex_unlock(mutex, &ask, NULL, NULL));
    }
}

static struct lun_mutex **start_waiters(struct lun_session *session, const char *name, int n) {
    struct lun_mutex **mutexes = calloc((size_t)n, sizeof *mutexes);
    if (!mutexes)
        fail("out of memory");
    for (int i = 0; i < n; i++) {
        mutexes[i] = mutex_new(session, name);
        struct lun_ask ask = {-1, on_locked, mutexes[i]};
        check(lun_mutex_lock(mutexes[i], &ask, NULL, NULL));
    }
    return mutexes;
}

static void free_waiters(struct lun_mutex **mutexes, int n) {
    for (int i = 0; i < n; i++)
        lun_mutex_free(mutexes[i]);
    free(mutexes);
}

static int run_worker(const char *name, int n) {
    struct lun_session *session = session_open();
    struct lun_mutex **mutexes = start_waiters(session, name, n);
    while (n_served + n_failed < n)
        (void)lun_client_poll(client, -1);
    free_waiters(mutexes, n);
    lun_session_free(session);
    return n_failed > 0;
}

/* ---- the holder ------------------------------------------------------------------------------------- */

static pid_t spawn_worker(const char *endpoint, const char *name, int n) {
    char number[16];
    pid_t pid;
    (void)snprintf(number, sizeof number, "%d", n);
    char *argv[] = {(char *)"lunarch_line",
                    (char *)(uintptr_t)endpoint,
                    (char *)"0",
                    (char *)"worker",
                    number,
                    (char *)(uintptr_t)name,
                    NULL};
    if (posix_spawn(&pid, "/proc/self/exe", NULL, NULL, argv, environ) != 0)
        fail("cannot run itself");
    return pid;
}

static void await_standing(const char *name, int64_t n) {
    while (count_standing(name) < n)
        poll_for_ms(POLL_MS);
}

static void print_etcd(long etcd_pid, double cpu_before) {
    if (etcd_pid)
        printf(",\"etcd_peak_kb\":%ld,\"etcd_cpu_s\":%.2f", status_kb(etcd_pid, "VmHWM"),
               cpu_s(etcd_pid) - cpu_before);
}

static void run_chain(const char *endpoint, long etcd_pid, int n, int n_processes) {
    char name[64];
    (void)snprintf(name, sizeof name, "/line/%d", (int)getpid());
    struct lun_session *session = session_open(), *waiting = n_processes > 1 ? NULL : session_open();
    struct lun_mutex *held = mutex_new(session, name), **mutexes = NULL;
    lock(held);
    pid_t *pids = calloc((size_t)n_processes, sizeof *pids);
    long rss = status_kb(getpid(), "VmRSS");
    double begin = now_us(), cpu = cpu_s(etcd_pid);
    if (n_processes > 1)
        for (int i = 0; i < n_processes; i++)
            pids[i] = spawn_worker(endpoint, name, n / n_processes);
    else
        mutexes = start_waiters(waiting, name, n);
    await_standing(name, (int64_t)(n / n_processes) * n_processes + 1);
    double entered = now_us();
    printf("{\"bench\":\"line\",\"mode\":\"chain\",\"n\":%d,\"processes\":%d,\"entered_s\":%.2f", n,
           n_processes, (entered - begin) / 1e6);
    print_etcd(etcd_pid, cpu);
    poll_for_ms(1000);
    if (mutexes)
        printf(",\"bytes_per_waiter\":%ld", (status_kb(getpid(), "VmRSS") - rss) * 1024 / n);
    (void)fflush(stdout);
    begin = now_us();
    cpu = cpu_s(etcd_pid);
    unlock(held);
    int n_lost = 0;
    if (mutexes)
        while (n_served + n_failed < n)
            (void)lun_client_poll(client, -1);
    for (int i = 0; i < n_processes && !mutexes; i++) {
        int status;
        while (waitpid(pids[i], &status, WNOHANG) == 0)
            poll_for_ms(POLL_MS);
        n_lost += status != 0;
    }
    double span = (now_us() - begin) / 1e6;
    printf(",\"chain_s\":%.2f,\"per_handoff_us\":%.0f,\"failed\":%d", span, span / n * 1e6,
           n_failed + n_lost);
    print_etcd(etcd_pid, cpu);
    printf("}\n");
    free(pids);
    if (mutexes)
        free_waiters(mutexes, n);
    lun_mutex_free(held);
    lun_session_free(waiting);
    lun_session_free(session);
}

static void run_idle(long etcd_pid, int n, int seconds) {
    char name[64];
    (void)snprintf(name, sizeof name, "/line/%d", (int)getpid());
    struct lun_session *session = session_open(), *waiting = session_open();
    struct lun_mutex *held = mutex_new(session, name);
    lock(held);
    poll_for_ms(2000);
    double cpu = cpu_s(etcd_pid);
    poll_for_ms(seconds * 1000);
    double alone = cpu_s(etcd_pid) - cpu;
    long rss = status_kb(getpid(), "VmRSS");
    size_t heap = mallinfo2().uordblks;
    double begin = now_us();
    struct lun_mutex **mutexes = start_waiters(waiting, name, n);
    await_standing(name, n + 1);
    double entered = (now_us() - begin) / 1e6;
    poll_for_ms(2000);
    cpu = cpu_s(etcd_pid);
    poll_for_ms(seconds * 1000);
    double with = cpu_s(etcd_pid) - cpu;
    printf(
        "{\"bench\":\"line\",\"mode\":\"idle\",\"n\":%d,\"entered_s\":%.2f,\"idle_percent\":%.2f,"
        "\"alone_percent\":%.2f,\"bytes_per_waiter\":%ld,\"heap_bytes_per_waiter\":%ld,\"etcd_peak_kb\":%ld}\n",
        n, entered, (with - alone) / seconds * 100, alone / seconds * 100,
        (status_kb(getpid(), "VmRSS") - rss) * 1024 / n, ((long)mallinfo2().uordblks - (long)heap) / n,
        status_kb(etcd_pid, "VmHWM"));
    free_waiters(mutexes, n);
    lun_mutex_free(held);
    lun_session_free(waiting);
    lun_session_free(session);
}

int main(int argc, char **argv) {
    if (argc < 5) {
        (void)fprintf(
            stderr,
            "usage: lunarch_line HOST:PORT ETCD_PID chain WAITERS [PROCESSES] | idle WAITERS SECONDS\n");
        return 2;
    }
    const char *mode = argv[3];
    long etcd_pid = atol(argv[2]);
    int n = atoi(argv[4]), status = 0;
    connect_to(argv[1]);
    if (strcmp(mode, "chain") == 0)
        run_chain(argv[1], etcd_pid, n, argc > 5 ? atoi(argv[5]) : 1);
    else if (strcmp(mode, "idle") == 0)
        run_idle(etcd_pid, n, argc > 5 ? atoi(argv[5]) : 30);
    else if (strcmp(mode, "worker") == 0 && argc > 5)
        status = run_worker(argv[5], n);
    else
        fail("no such mode");
    disconnect();
    return status;
}
