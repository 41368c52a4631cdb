/* rpc/grpc/seat.c - the one seat in the completion queue.
 *
 * gRPC moves only while somebody sits in its queue, and two at once hang it. The pump thread sits there by
 * default. A thread about to block rings the pump out of it and drives the queue itself, so that a reply
 * costs no hop from thread to thread (30 us, a fifteenth of a lock and unlock). It does so for 10 ms at most,
 * its signals being blocked meanwhile; then it sleeps, and the pump sits down at once. A caller that has what
 * it waited for mostly comes again: the pump stays out until nobody has driven for 1 ms.
 *
 * Ringing is an empty batch on a call that is never sent: its tag is queued at once. One ring on its way is
 * enough: whoever pops it looks at everything anew before waiting again. */
#include "rpc/grpc/env.h"

#include <string.h>

#include <grpc/slice.h>
#include <grpc/support/time.h>

#include "base/clock.h"
#include "rpc/grpc/tsan.h"

static const int64_t DRIVE_NS = 10 * NS_PER_MS;
static const int64_t STAY_OUT_NS = 1 * NS_PER_MS;
/* While callers drive, how often the pump looks whether they still do. */
static const int64_t LOOK_NS = 10 * NS_PER_MS;
enum { MOST_TAKEN_ALONG = 16 };
/* gRPC's clock stands still while the machine is suspended, ours does not: the longest that a timer may be
 * late because of it. */
static const int64_t LONGEST_WAIT_NS = NS_PER_S;

static void on_bell(struct tag *tag, bool is_ok) {
    (void)is_ok;
    atomic_store(&CONTAINER_OF(tag, struct seat, bell_tag)->is_rung, false);
}

void seat_ring(struct env *env) {
    struct seat *seat = &env->seat;
    if (atomic_exchange(&seat->is_rung, true))
        return;
    pthread_mutex_lock(&seat->bell_lock);
    TSAN_RELEASE(&seat->bell_tag);
    (void)grpc_call_start_batch(seat->bell, NULL, 0, &seat->bell_tag, NULL);
    pthread_mutex_unlock(&seat->bell_lock);
}

static gpr_timespec queue_deadline(int64_t until_ns) {
    int64_t left = until_ns - clock_boottime_ns();
    return gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC), gpr_time_from_nanos(left > 0 ? left : 0, GPR_TIMESPAN));
}

/* One turn: waits until `until_ns` at most, runs what came, then what is due. Inside; gives up the lock while
 * waiting. True when something came. */
static bool turn(struct env *env, int64_t until_ns) {
    struct seat *seat = &env->seat;
    int64_t next = rpc_timers_next(&env->rpc);
    seat->until_ns = next < until_ns ? next : until_ns;
    atomic_store(&seat->is_waiting, true);
    if (atomic_load(&env->has_due)) /* linked before is_waiting could be seen: nobody rings for it */
        seat->until_ns = 0;
    gpr_timespec deadline = queue_deadline(seat->until_ns);
    pthread_mutex_unlock(&env->core);
    grpc_event event = grpc_completion_queue_next(seat->queue, deadline, NULL);
    pthread_mutex_lock(&env->core);
    atomic_store(&seat->is_waiting, false);
    if (event.type == GRPC_OP_COMPLETE) {
        struct tag *tag = event.tag;
        TSAN_ACQUIRE(tag);
        tag->on_done(tag, event.success);
    }
    rpc_timers_run(&env->rpc, clock_boottime_ns());
    fence_tell_due(env);
    return event.type == GRPC_OP_COMPLETE;
}

/* Something has come for the caller. With more calls out, replies come in bunches: what is ready now is taken
 * along, for less than another way in and out would cost. A caller with its one call does not pay for
 * looking. */
static void take_along(struct env *env) {
    for (int n = 0; n < MOST_TAKEN_ALONG && env->n_calls > 0 && turn(env, 0); n++) {
    }
}

void seat_drive(struct env *env, int64_t until_ns) {
    struct seat *seat = &env->seat;
    seat->n_wanting++;
    while (seat->holder != SEAT_FREE) {
        if (seat->holder == SEAT_PUMP && atomic_load(&seat->is_waiting))
            seat_ring(env);
        (void)pthread_cond_wait(&seat->freed, &env->core);
    }
    seat->n_wanting--;
    seat->holder = SEAT_CALLER;
    int64_t now = clock_boottime_ns();
    int64_t end = until_ns - now < DRIVE_NS ? until_ns : now + DRIVE_NS;
    while (inbox_is_empty(env) && (now = clock_boottime_ns()) < end)
        (void)turn(env, end);
    bool is_going_to_sleep = inbox_is_empty(env) && now < until_ns;
    if (!is_going_to_sleep)
        take_along(env);
    seat->holder = SEAT_FREE;
    seat->free_since_ns = is_going_to_sleep ? 0 : clock_boottime_ns();
    if (seat->n_wanting > 0)
        (void)pthread_cond_signal(&seat->freed);
    else if (is_going_to_sleep)
        (void)pthread_cond_signal(&seat->pump_may_sit);
}

/* ---- the pump --------------------------------------------------------------------------------------- */

/* 0: now. */
static int64_t stay_out_until(const struct seat *seat) {
    int64_t now = clock_boottime_ns();
    if (seat->holder != SEAT_FREE || seat->n_wanting > 0)
        return now + LOOK_NS;
    int64_t until = seat->free_since_ns ? seat->free_since_ns + STAY_OUT_NS : 0;
    return until > now ? until : 0;
}

static void wait_outside(struct env *env, int64_t until_ns) {
    struct timespec at;
    (void)clock_gettime(CLOCK_MONOTONIC, &at);
    int64_t ns = at.tv_nsec + (until_ns - clock_boottime_ns());
    at.tv_sec += ns / NS_PER_S;
    at.tv_nsec = ns % NS_PER_S;
    if (at.tv_nsec >= 0)
        (void)pthread_cond_timedwait(&env->seat.pump_may_sit, &env->core, &at);
}

static void *pump_main(void *arg) {
    struct env *env = arg;
    struct seat *seat = &env->seat;
    pthread_mutex_lock(&env->core);
    while (!seat->is_stopping) {
        int64_t until = stay_out_until(seat);
        if (until) {
            wait_outside(env, until);
            continue;
        }
        seat->holder = SEAT_PUMP;
        (void)turn(env, clock_boottime_ns() + LONGEST_WAIT_NS);
        seat->holder = SEAT_FREE;
        env_ring_due(env);
        if (seat->n_wanting > 0)
            (void)pthread_cond_signal(&seat->freed);
    }
    pthread_mutex_unlock(&env->core);
    return NULL;
}

/* ---- beginning and end ------------------------------------------------------------------------------ */

static void make_bell(struct seat *seat) {
    seat->lame = grpc_lame_client_channel_create("doorbell", GRPC_STATUS_UNAVAILABLE, "doorbell");
    seat->bell = grpc_channel_create_call(seat->lame, NULL, GRPC_PROPAGATE_DEFAULTS, seat->queue,
                                          grpc_slice_from_static_string("/doorbell"), NULL,
                                          gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
    seat->bell_tag.on_done = on_bell;
    (void)pthread_mutex_init(&seat->bell_lock, NULL);
}

static void drain(struct seat *seat) {
    grpc_call_unref(seat->bell);
    grpc_channel_destroy(seat->lame);
    grpc_completion_queue_shutdown(seat->queue);
    while (grpc_completion_queue_next(seat->queue, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL).type !=
           GRPC_QUEUE_SHUTDOWN) {
    }
    grpc_completion_queue_destroy(seat->queue);
    (void)pthread_mutex_destroy(&seat->bell_lock);
    (void)pthread_cond_destroy(&seat->freed);
    (void)pthread_cond_destroy(&seat->pump_may_sit);
}

int seat_init(struct env *env, struct lun_err *ret_err) {
    struct seat *seat = &env->seat;
    seat->queue = grpc_completion_queue_create_for_next(NULL);
    make_bell(seat);
    (void)pthread_cond_init(&seat->freed, NULL);
    pthread_condattr_t attr;
    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&seat->pump_may_sit, &attr);
    (void)pthread_condattr_destroy(&attr);
    int rc = pthread_create(&seat->pump, NULL, pump_main, env);
    if (rc == 0)
        return 0;
    drain(seat);
    return lun_err_set(ret_err, LUN_EUNAVAILABLE, "no thread to be had: %s", strerror(rc));
}

void seat_fini(struct env *env) {
    struct seat *seat = &env->seat;
    pthread_mutex_lock(&env->core);
    seat->is_stopping = true;
    (void)pthread_cond_signal(&seat->pump_may_sit);
    seat_ring(env);
    pthread_mutex_unlock(&env->core);
    (void)pthread_join(seat->pump, NULL);
    drain(seat);
}
