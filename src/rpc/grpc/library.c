/* rpc/grpc/library.c - gRPC itself: started with the first environment, shut down with the last, and silent.
 *
 * A child forked while gRPC runs can never use it: its threads are gone and its locks may be held by them (a
 * call there hangs, its deadline too). So the process that started it is remembered. */
#include "rpc/grpc/env.h"

#include <errno.h>
#include <semaphore.h>
#include <stdlib.h>
#include <time.h>

#include <grpc/support/log.h>
#include <openssl/crypto.h>

#include "base/clock.h"
#include "base/fork.h"
#include "base/thread.h"
#include "rpc/grpc/probe.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
enum { NOBODY = -1 };
static atomic_long owner = NOBODY; /* the fork depth of the process it runs in */
static int n_users;
static bool is_shared; /* other code in the process had it running before us */
static bool is_stuck;  /* its shutdown has not ended: it holds a lock that each further call would wait for */
enum { LONGEST_SHUTDOWN_MS = 1000, LONGEST_STUCK_S = 5 };

static void say_nothing(gpr_log_func_args *args) {
    (void)args;
}

/* A channel destroyed a moment ago may hold the library for some milliseconds more; the end then comes on a
 * thread of gRPC's own. Until then its threads run, and a fork would be fatal to the child. Other code's
 * use of it is not waited for. */
static void wait_until_down(void) {
    for (int i = 0; i < LONGEST_SHUTDOWN_MS && !is_shared && grpc_is_initialized(); i++)
        (void)nanosleep(&(struct timespec){.tv_nsec = NS_PER_MS}, NULL);
}

static sem_t has_shut_down;

static void *shut_down(void *arg) {
    (void)arg;
    grpc_shutdown();
    (void)sem_post(&has_shut_down);
    return NULL;
}

/* Where a thread that gRPC wanted could not be started it waits for that one's end for ever: a process must not wait along.
 * Where no thread can be started now, gRPC stays up. */
static void shut_down_in_time(void) {
    pthread_t thread;
    struct timespec until;
    (void)sem_init(&has_shut_down, 0, 0);
    if (thread_start(&thread, shut_down, NULL) != 0) {
        is_shared = true;
        return;
    }
    (void)pthread_detach(thread);
    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += LONGEST_STUCK_S;
    int rc;
    while ((rc = sem_clockwait(&has_shut_down, CLOCK_MONOTONIC, &until)) != 0 && errno == EINTR)
        ;
    is_stuck = rc != 0;
}

void library_begin_openssl(void) {
    (void)OPENSSL_init_crypto(OPENSSL_INIT_NO_ATEXIT, NULL);
}

int library_acquire(struct lun_err *ret_err) {
    long self = (long)fork_depth(), running_in = owner;
    /* Asked before locking: the lock may have been held when it forked. */
    if (running_in != NOBODY && running_in != self)
        return lun_err_set(ret_err, LUN_EINVALID,
                           "this process was forked while a client was open: open clients after forking, "
                           "or start another program (exec)");
    pthread_mutex_lock(&lock);
    is_stuck = is_stuck && sem_trywait(&has_shut_down) != 0;
    int rc =
        is_stuck
            ? lun_err_set(ret_err, LUN_EUNAVAILABLE,
                          "gRPC waits for a thread that it was not given when it asked for one (ulimit -u, "
                          "ulimit -v): this process cannot open a client any more")
            : probe_resources(n_users == 0, ret_err);
    if (rc) {
        pthread_mutex_unlock(&lock);
        return rc;
    }
    if (n_users++ == 0) {
        library_begin_openssl();
        if (!getenv("GRPC_VERBOSITY"))
            gpr_set_log_function(say_nothing);
        if (owner == NOBODY)
            is_shared = grpc_is_initialized();
        grpc_init();
        owner = self;
    }
    pthread_mutex_unlock(&lock);
    return 0;
}

void library_release(void) {
    pthread_mutex_lock(&lock);
    if (--n_users == 0) {
        shut_down_in_time();
        if (!is_stuck) {
            wait_until_down();
            owner = grpc_is_initialized() ? owner : NOBODY;
        }
    }
    pthread_mutex_unlock(&lock);
}
