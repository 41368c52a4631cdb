/* rpc/grpc/queue.c - the completion queue, and the one thread in it.
 *
 * gRPC moves only while a thread waits in its queue, and two threads at once hang it. By default that thread is
 * the background poller. A thread about to block wakes the poller out of it and drives the queue itself, so that
 * a reply costs no hop from thread to thread (30 us, a fifteenth of a lock and unlock). It does so for 10 ms at
 * most, its signals being blocked meanwhile; then it sleeps, and the poller enters at once. A caller that has
 * what it waited for mostly comes again: the poller stays out until no caller has driven for 1 ms.
 *
 * A wake-up is an empty batch on a call that is never sent: its tag is queued at once. One on its way is
 * enough: the thread that pops it looks at everything anew before it waits again. */
#include "rpc/grpc/env.h"

#include <grpc/slice.h>
#include <grpc/support/time.h>

#include "base/clock.h"
#include "rpc/grpc/tsan.h"

static const int64_t DRIVE_NS = 10 * NS_PER_MS;
static const int64_t STAY_OUT_NS = 1 * NS_PER_MS;
/* While callers drive, how often the background poller looks whether they still do. */
static const int64_t LOOK_NS = 10 * NS_PER_MS;
enum { MOST_TAKEN_ALONG = 16 };
/* gRPC's clock stands still while the machine is suspended, ours does not: the longest that a timer may be
 * late because of it. */
static const int64_t LONGEST_WAIT_NS = NS_PER_S;

static void on_wakeup(struct tag *tag, bool is_ok) {
    (void)is_ok;
    atomic_store(&CONTAINER_OF(tag, struct queue, wakeup_tag)->is_waking, false);
}

void queue_wake(struct env *env) {
    struct queue *queue = &env->queue;
    if (atomic_exchange(&queue->is_waking, true))
        return;
    pthread_mutex_lock(&queue->wakeup_lock);
    TSAN_RELEASE(&queue->wakeup_tag);
    (void)grpc_call_start_batch(queue->wakeup, NULL, 0, &queue->wakeup_tag, NULL);
    pthread_mutex_unlock(&queue->wakeup_lock);
}

static gpr_timespec queue_deadline(int64_t until_ns) {
    int64_t left = until_ns - clock_boottime_ns();
    return gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC), gpr_time_from_nanos(left > 0 ? left : 0, GPR_TIMESPAN));
}

/* One turn: waits until `until_ns` at most, runs what came, then what is due. Inside; gives up the lock while
 * waiting. True when something came. */
static bool turn(struct env *env, int64_t until_ns) {
    struct queue *queue = &env->queue;
    int64_t next = rpc_timers_next(&env->rpc);
    queue->until_ns = next < until_ns ? next : until_ns;
    atomic_store(&queue->is_waiting, true);
    if (atomic_load(&env->has_due)) /* linked before is_waiting could be seen: no wake-up comes for it */
        queue->until_ns = 0;
    gpr_timespec deadline = queue_deadline(queue->until_ns);
    pthread_mutex_unlock(&env->core);
    grpc_event event = grpc_completion_queue_next(queue->cq, deadline, NULL);
    pthread_mutex_lock(&env->core);
    atomic_store(&queue->is_waiting, false);
    if (event.type == GRPC_OP_COMPLETE) {
        struct tag *tag = event.tag;
        TSAN_ACQUIRE(tag);
        tag->on_done(tag, event.success);
    }
    rpc_timers_run(&env->rpc, clock_boottime_ns());
    validity_tell_due(env);
    return event.type == GRPC_OP_COMPLETE;
}

/* Something has come for the caller. With more calls out, replies come in bunches: what is ready now is taken
 * along, for less than another way in and out would cost. A caller with its one call does not pay for
 * looking. */
static void take_along(struct env *env) {
    for (int n = 0; n < MOST_TAKEN_ALONG && env->n_calls > 0 && turn(env, 0); n++) {
    }
}

void queue_drive(struct env *env, int64_t until_ns) {
    struct queue *queue = &env->queue;
    queue->n_wanting++;
    while (queue->holder != QUEUE_FREE) {
        if (queue->holder == QUEUE_POLLER && atomic_load(&queue->is_waiting))
            queue_wake(env);
        (void)pthread_cond_wait(&queue->freed, &env->core);
    }
    queue->n_wanting--;
    queue->holder = QUEUE_CALLER;
    int64_t now = clock_boottime_ns();
    int64_t end = until_ns - now < DRIVE_NS ? until_ns : now + DRIVE_NS;
    while (inbox_is_empty(env) && (now = clock_boottime_ns()) < end)
        (void)turn(env, end);
    bool is_going_to_sleep = inbox_is_empty(env) && now < until_ns;
    if (!is_going_to_sleep)
        take_along(env);
    queue->holder = QUEUE_FREE;
    queue->free_since_ns = is_going_to_sleep ? 0 : clock_boottime_ns();
    if (queue->n_wanting > 0)
        (void)pthread_cond_signal(&queue->freed);
    else if (is_going_to_sleep)
        (void)pthread_cond_signal(&queue->poller_may_enter);
}

/* ---- the background poller -------------------------------------------------------------------------- */

/* 0: now. */
static int64_t stay_out_until(const struct queue *queue) {
    int64_t now = clock_boottime_ns();
    if (queue->holder != QUEUE_FREE || queue->n_wanting > 0)
        return now + LOOK_NS;
    int64_t until = queue->free_since_ns ? queue->free_since_ns + STAY_OUT_NS : 0;
    return until > now ? until : 0;
}

static void wait_outside(struct env *env, int64_t until_ns) {
    struct timespec at;
    (void)clock_gettime(CLOCK_MONOTONIC, &at);
    int64_t ns = at.tv_nsec + (until_ns - clock_boottime_ns());
    at.tv_sec += ns / NS_PER_S;
    at.tv_nsec = ns % NS_PER_S;
    if (at.tv_nsec >= 0)
        (void)pthread_cond_timedwait(&env->queue.poller_may_enter, &env->core, &at);
}

static void *poller_main(void *arg) {
    struct env *env = arg;
    struct queue *queue = &env->queue;
    pthread_mutex_lock(&env->core);
    while (!queue->is_stopping) {
        int64_t until = stay_out_until(queue);
        if (until) {
            wait_outside(env, until);
            continue;
        }
        queue->holder = QUEUE_POLLER;
        (void)turn(env, clock_boottime_ns() + LONGEST_WAIT_NS);
        queue->holder = QUEUE_FREE;
        env_wake_due(env);
        if (queue->n_wanting > 0)
            (void)pthread_cond_signal(&queue->freed);
    }
    pthread_mutex_unlock(&env->core);
    return NULL;
}

/* ---- beginning and end ------------------------------------------------------------------------------ */

static void make_wakeup(struct queue *queue) {
    queue->lame = grpc_lame_client_channel_create("wakeup", GRPC_STATUS_UNAVAILABLE, "wakeup");
    queue->wakeup = grpc_channel_create_call(queue->lame, NULL, GRPC_PROPAGATE_DEFAULTS, queue->cq,
                                             grpc_slice_from_static_string("/wakeup"), NULL,
                                             gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
    queue->wakeup_tag.on_done = on_wakeup;
    (void)pthread_mutex_init(&queue->wakeup_lock, NULL);
}

static void drain(struct queue *queue) {
    grpc_call_unref(queue->wakeup);
    grpc_channel_destroy(queue->lame);
    grpc_completion_queue_shutdown(queue->cq);
    while (grpc_completion_queue_next(queue->cq, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL).type !=
           GRPC_QUEUE_SHUTDOWN) {
    }
    grpc_completion_queue_destroy(queue->cq);
    (void)pthread_mutex_destroy(&queue->wakeup_lock);
    (void)pthread_cond_destroy(&queue->freed);
    (void)pthread_cond_destroy(&queue->poller_may_enter);
}

int queue_init(struct env *env, struct lun_err *ret_err) {
    struct queue *queue = &env->queue;
    queue->cq = grpc_completion_queue_create_for_next(NULL);
    make_wakeup(queue);
    (void)pthread_cond_init(&queue->freed, NULL);
    pthread_condattr_t attr;
    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&queue->poller_may_enter, &attr);
    (void)pthread_condattr_destroy(&attr);
    int rc = pthread_create(&queue->poller, NULL, poller_main, env);
    if (rc == 0)
        return 0;
    drain(queue);
    return env_lacks_thread(rc, ret_err);
}

void queue_fini(struct env *env) {
    struct queue *queue = &env->queue;
    pthread_mutex_lock(&env->core);
    queue->is_stopping = true;
    (void)pthread_cond_signal(&queue->poller_may_enter);
    queue_wake(env);
    pthread_mutex_unlock(&env->core);
    (void)pthread_join(queue->poller, NULL);
    drain(queue);
}
