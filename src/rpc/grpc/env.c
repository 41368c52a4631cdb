/* rpc/grpc/env.c - the environment: its beginning and end, and the way in and out of the core. A circle with inbox.c, queue.c
 * and validity_thread.c: each of these four may have to wake any other. */
#include "rpc/grpc/env.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/clock.h"
#include "base/fork.h"
#include "base/limits.h"
#include "rpc/grpc.h"
#include "rpc/grpc/srv.h"

static sigset_t blocked;

static void choose_signals(void) {
    static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGSYS};
    (void)sigfillset(&blocked);
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++)
        (void)sigdelset(&blocked, faults[i]);
}

/* Signals are blocked around everything that may enter gRPC: its threads inherit the mask of the thread that makes it
 * start them, and neither a handler that runs in one of them nor a SIGTERM that ends the process from there is
 * wanted. */
void env_block_signals(sigset_t *ret_outer) {
    (void)pthread_sigmask(SIG_SETMASK, &blocked, ret_outer);
}

void env_unblock_signals(const sigset_t *outer) {
    (void)pthread_sigmask(SIG_SETMASK, outer, NULL);
}

void env_wake_due(struct env *env) {
    struct queue *queue = &env->queue;
    inbox_settle(env);
    if (!atomic_load(&queue->is_waiting))
        return; /* no thread is in the queue: the next one looks before it waits */
    if (rpc_timers_next(&env->rpc) < queue->until_ns || atomic_load(&env->has_due) ||
        (queue->holder == QUEUE_CALLER && !inbox_is_empty(env)))
        queue_wake(env);
}

int env_lacks_thread(int error, struct lun_err *ret_err) {
    return lun_err_set(ret_err, LUN_EUNAVAILABLE,
                       "too few threads: one more cannot be started (%s); " LIMITS_OF_THREADS,
                       strerror(error));
}

static void enter(struct rpc *rpc) {
    struct env *env = env_of(rpc);
    sigset_t outer;
    env_block_signals(&outer);
    pthread_mutex_lock(&env->core);
    env->outer_mask = outer;
}

static void leave(struct rpc *rpc) {
    struct env *env = env_of(rpc);
    sigset_t outer = env->outer_mask;
    env_wake_due(env);
    pthread_mutex_unlock(&env->core);
    env_unblock_signals(&outer);
}

static int64_t now(struct rpc *rpc) {
    (void)rpc;
    return clock_boottime_ns();
}

static int64_t calendar(struct rpc *rpc) {
    (void)rpc;
    return clock_calendar_ns();
}

/* Drawn in advance: a system call for each would be felt in every lock. */
static uint64_t random_bits(struct rpc *rpc) {
    struct env *env = env_of(rpc);
    while (env->n_random == 0)
        if (getrandom(env->random, sizeof env->random, 0) == (ssize_t)sizeof env->random)
            env->n_random = sizeof env->random / sizeof env->random[0];
    return env->random[--env->n_random];
}

/* In a forked child nothing of it works any more, so nothing is touched: neither the locks nor gRPC. */
static void env_free(struct rpc *rpc) {
    struct env *env = env_of(rpc);
    if (env->fork_depth != fork_depth())
        return;
    sigset_t outer;
    env_block_signals(&outer);
    assert(env->n_out == 0 && env->n_calls == 0 && env->rpc.n_timers == 0);
    validity_thread_part(env);
    queue_fini(env);
    tls_free(env->tls);
    library_release();
    inbox_fini(&env->inbox);
    (void)pthread_mutex_destroy(&env->core);
    rpc_fini(&env->rpc);
    free(env);
    env_unblock_signals(&outer);
}

static const struct rpc_ops ops = {
    .now = now,
    .calendar = calendar,
    .random = random_bits,
    .enter = enter,
    .leave = leave,
    .channel_open = env_channel_open,
    .channel_close = env_channel_close,
    .call = env_call,
    .cancel = env_cancel,
    .lookup_start = srv_lookup_start,
    .stream_open = env_stream_open,
    .stream_send = env_stream_send,
    .stream_cancel = env_stream_cancel,
    .validity_changed = env_validity_changed,
    .validity_stopped = env_validity_stopped,
    .deliver = env_deliver,
    .withdraw = env_withdraw,
    .poll = env_poll,
    .fd = env_fd,
    .free = env_free,
};

static int start(struct env *env, const struct rpc_tls *tls, struct lun_err *ret_err) {
    int rc = tls ? tls_new(tls, &env->tls, ret_err) : 0;
    if (rc)
        return rc;
    rc = inbox_init(&env->inbox, ret_err);
    if (rc)
        goto out_tls;
    rc = library_acquire(ret_err);
    if (rc)
        goto out_inbox;
    rc = queue_init(env, ret_err);
    if (rc)
        goto out_library;
    rc = validity_thread_join(env, ret_err);
    if (rc)
        goto out_seat;
    return 0;
out_seat:
    queue_fini(env);
out_library:
    library_release();
out_inbox:
    inbox_fini(&env->inbox);
out_tls:
    tls_free(env->tls);
    return rc;
}

int rpc_grpc_new(const struct rpc_tls *tls, struct rpc **ret_rpc, struct lun_err *ret_err) {
    struct env *env = calloc(1, sizeof *env);
    if (!env)
        return lun_err_set(ret_err, LUN_ENOMEM, "out of memory");
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)pthread_once(&once, choose_signals);
    rpc_init(&env->rpc, &ops);
    env->fork_depth = fork_depth();
    (void)pthread_mutex_init(&env->core, NULL);
    list_init(&env->due_validities);
    arena_init(&env->arena);
    sigset_t outer;
    env_block_signals(&outer);
    int rc = start(env, tls, ret_err);
    env_unblock_signals(&outer);
    if (rc) {
        (void)pthread_mutex_destroy(&env->core);
        free(env);
        return rc;
    }
    *ret_rpc = &env->rpc;
    return 0;
}
