/* base/limits.c - tries whether there are descriptors and threads. See limits.h. */
#include "base/limits.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

enum { MOST_DESCRIPTORS = 64, MOST_THREADS = 128 };

static long limit_of_descriptors(void) {
    struct rlimit limit;
    return getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY ? (long)limit.rlim_cur
                                                                                    : -1;
}

bool limits_allow_descriptors(int n, char why[LIMITS_TEXT_BYTES]) {
    int fds[MOST_DESCRIPTORS], got = 0, failure = 0;
    while (got < n && got < MOST_DESCRIPTORS && (fds[got] = eventfd(0, EFD_CLOEXEC)) >= 0)
        got++;
    if (got < n)
        failure = errno;
    for (int i = 0; i < got; i++)
        (void)close(fds[i]);
    if (got == n)
        return true;
    (void)snprintf(
        why, LIMITS_TEXT_BYTES,
        "too few file descriptors: %d are needed, and only %d can be opened (%s); the limit of this "
        "process is %ld: raise it (ulimit -n, LimitNOFILE=)",
        n, got, strerror(failure), limit_of_descriptors());
    return false;
}

/* The threads that are tried are held until all are there. */
struct crowd {
    pthread_mutex_t gate;
    sem_t is_there;
};

/* malloc() sets room aside for each thread that asks it, by far more than its stack: where memory is limited (ulimit -v)
 * the threads that came first may leave none for the next. */
static void *wait_for_others(void *arg) {
    struct crowd *crowd = arg;
    void *volatile memory = malloc(1);
    (void)sem_post(&crowd->is_there);
    (void)pthread_mutex_lock(&crowd->gate);
    (void)pthread_mutex_unlock(&crowd->gate);
    free(memory);
    return NULL;
}

bool limits_allow_threads(int n, char why[LIMITS_TEXT_BYTES]) {
    struct crowd crowd = {.gate = PTHREAD_MUTEX_INITIALIZER};
    pthread_t threads[MOST_THREADS];
    int got = 0, failure = 0;
    (void)sem_init(&crowd.is_there, 0, 0);
    (void)pthread_mutex_lock(&crowd.gate);
    while (got < n && got < MOST_THREADS &&
           (failure = pthread_create(&threads[got], NULL, wait_for_others, &crowd)) == 0) {
        got++;
        while (sem_wait(&crowd.is_there) != 0)
            ;
    }
    (void)pthread_mutex_unlock(&crowd.gate);
    for (int i = 0; i < got; i++)
        (void)pthread_join(threads[i], NULL);
    (void)sem_destroy(&crowd.is_there);
    if (got == n)
        return true;
    (void)snprintf(why, LIMITS_TEXT_BYTES,
                   "too few threads: %d are needed, and only %d can be started (%s); " LIMITS_OF_THREADS, n,
                   got, strerror(failure));
    return false;
}
