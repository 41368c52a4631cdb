/* rpc/grpc/probe.c - tries whether there are a thread and descriptors for gRPC, before gRPC is asked. See probe.h. */
#include "rpc/grpc/probe.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/sysinfo.h>
#include <unistd.h>

/* gRPC's pollsets, wake-ups and resolver, and the sockets to a few members. */
enum { N_DESCRIPTORS = 24 };
/* gRPC starts two kinds of threads, 2 to 32 of each by the number of cores, and a few more; we start two. */
enum { LEAST_CORES = 2, MOST_CORES = 32, MORE_THREADS = 6, MOST_THREADS = 2 * MOST_CORES + MORE_THREADS };

static long limit_of(int resource) {
    struct rlimit limit;
    return getrlimit((__rlimit_resource_t)resource, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY
               ? (long)limit.rlim_cur
               : -1;
}

static int probe_descriptors(struct lun_err *ret_err) {
    int fds[N_DESCRIPTORS], n = 0, failure = 0;
    while (n < N_DESCRIPTORS && (fds[n] = eventfd(0, EFD_CLOEXEC)) >= 0)
        n++;
    if (n < N_DESCRIPTORS)
        failure = errno;
    for (int i = 0; i < n; i++)
        (void)close(fds[i]);
    if (!failure)
        return 0;
    return lun_err_set(
        ret_err, LUN_EUNAVAILABLE,
        "too few file descriptors: %d are needed, and only %d can be opened (%s); the limit of this "
        "process is %ld: raise it (ulimit -n, LimitNOFILE=)",
        N_DESCRIPTORS, n, strerror(failure), limit_of(RLIMIT_NOFILE));
}

static int n_threads(void) {
    int cores = get_nprocs_conf();
    cores = cores < LEAST_CORES ? LEAST_CORES : cores > MOST_CORES ? MOST_CORES : cores;
    return 2 * cores + MORE_THREADS;
}

/* Held until all are there. */
static void *wait_for_others(void *arg) {
    pthread_mutex_t *gate = arg;
    (void)pthread_mutex_lock(gate);
    (void)pthread_mutex_unlock(gate);
    return NULL;
}

static int probe_threads(struct lun_err *ret_err) {
    pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
    pthread_t threads[MOST_THREADS];
    int n = 0, needed = n_threads(), failure = 0;
    (void)pthread_mutex_lock(&gate);
    while (n < needed && (failure = pthread_create(&threads[n], NULL, wait_for_others, &gate)) == 0)
        n++;
    (void)pthread_mutex_unlock(&gate);
    for (int i = 0; i < n; i++)
        (void)pthread_join(threads[i], NULL);
    if (!failure)
        return 0;
    return lun_err_set(
        ret_err, LUN_EUNAVAILABLE,
        "too few threads: %d are needed, and only %d can be started (%s); raise the limit on processes "
        "(ulimit -u, TasksMax=) or on memory (ulimit -v)",
        needed, n, strerror(failure));
}

int probe_resources(bool is_first, struct lun_err *ret_err) {
    int rc = probe_descriptors(ret_err);
    return rc || !is_first ? rc : probe_threads(ret_err);
}
