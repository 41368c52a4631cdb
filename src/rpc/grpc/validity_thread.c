/* rpc/grpc/validity_thread.c - the validity thread: one per process, asleep on one timer for the earliest instant that any
 * session has to learn.
 *
 * It never takes a core lock, so nothing that the core does can keep it from seeing that a session is lost;
 * it only links what is due into the environment and wakes it. The first thread inside calls on_due: the one
 * in rpc_poll, or the one in the queue.
 *
 * The timer is set lazily: a raise only moves instants into the future, so the timer stays where it is and
 * the thread, woken early, sets it anew. */
#include "rpc/grpc/env.h"

#include <errno.h>
#include <string.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/clock.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* guards all below, and what env.h says */
static pthread_mutex_t birth =
    PTHREAD_MUTEX_INITIALIZER; /* makes starting and joining the thread one step; taken before `lock` */
static pthread_cond_t unpinned = PTHREAD_COND_INITIALIZER;
static struct list validities = {&validities, &validities};
static struct list envs = {&envs, &envs};
static int n_envs;
static pthread_t thread;
static int timer_fd = -1;
static int64_t armed_ns;
static bool is_stopping;

static void arm(int64_t at_ns) {
    armed_ns = at_ns;
    struct itimerspec spec = {{0, 0}, {0, 0}};
    if (at_ns != RPC_NEVER)
        spec.it_value = (struct timespec){.tv_sec = at_ns / NS_PER_S, .tv_nsec = at_ns % NS_PER_S};
    if (at_ns <= 0)
        spec.it_value.tv_nsec = 1; /* zero would disarm */
    (void)timerfd_settime(timer_fd, TFD_TIMER_ABSTIME, &spec, NULL);
}

/* Returns the instant of the next look at this validity. */
static int64_t look(struct rpc_validity *validity) {
    bool is_due;
    int64_t next = rpc_validity_look(validity, &is_due);
    if (is_due && list_is_empty(&validity->in_due)) {
        struct env *env = env_of(validity->rpc);
        list_push_back(&env->due_validities, &validity->in_due);
        atomic_store(&env->has_due, true);
        env->is_to_wake = true;
    }
    return next;
}

static void look_at_all(void) {
    int64_t earliest = RPC_NEVER;
    for (struct list *node = validities.next; node != &validities; node = node->next) {
        int64_t next = look(CONTAINER_OF(node, struct rpc_validity, in_validities));
        if (next < earliest)
            earliest = next;
    }
    arm(earliest);
}

/* gRPC is not called under a lock of ours: the environment is pinned meanwhile instead. */
static void wake(struct env *env) {
    env->is_to_wake = false;
    env->is_pinned = true;
    pthread_mutex_unlock(&lock);
    inbox_raise(&env->inbox);
    if (atomic_load(&env->queue.is_waiting))
        queue_wake(env);
    pthread_mutex_lock(&lock);
    env->is_pinned = false;
    (void)pthread_cond_broadcast(&unpinned);
}

static struct env *next_to_wake(void) {
    for (struct list *node = envs.next; node != &envs; node = node->next) {
        struct env *env = CONTAINER_OF(node, struct env, in_envs);
        if (env->is_to_wake)
            return env;
    }
    return NULL;
}

static void *validity_main(void *arg) {
    (void)arg;
    pthread_mutex_lock(&lock);
    while (!is_stopping) {
        look_at_all();
        for (struct env *env; (env = next_to_wake());)
            wake(env);
        pthread_mutex_unlock(&lock);
        (void)!read(timer_fd, &(uint64_t){0}, sizeof(uint64_t));
        pthread_mutex_lock(&lock);
    }
    pthread_mutex_unlock(&lock);
    return NULL;
}

static int start_thread(struct lun_err *ret_err) {
    timer_fd = timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC);
    if (timer_fd < 0)
        return lun_err_set(ret_err, LUN_EUNAVAILABLE, "cannot open a descriptor: %s", strerror(errno));
    is_stopping = false;
    int rc = pthread_create(&thread, NULL, validity_main, NULL);
    if (rc == 0)
        return 0;
    (void)close(timer_fd);
    return env_lacks_thread(rc, ret_err);
}

static void stop_thread(void) {
    pthread_mutex_lock(&lock);
    is_stopping = true;
    arm(0);
    pthread_mutex_unlock(&lock);
    (void)pthread_join(thread, NULL);
    (void)close(timer_fd);
}

int validity_thread_join(struct env *env, struct lun_err *ret_err) {
    pthread_mutex_lock(&birth);
    int rc = n_envs == 0 ? start_thread(ret_err) : 0;
    if (rc == 0) {
        n_envs++;
        pthread_mutex_lock(&lock);
        list_push_back(&envs, &env->in_envs);
        pthread_mutex_unlock(&lock);
    }
    pthread_mutex_unlock(&birth);
    return rc;
}

void validity_thread_part(struct env *env) {
    pthread_mutex_lock(&birth);
    pthread_mutex_lock(&lock);
    while (env->is_pinned)
        (void)pthread_cond_wait(&unpinned, &lock);
    list_remove(&env->in_envs);
    pthread_mutex_unlock(&lock);
    if (--n_envs == 0)
        stop_thread();
    pthread_mutex_unlock(&birth);
}

/* The caller is inside, and wakes on leaving: here it is enough to link. */
void env_validity_changed(struct rpc_validity *validity, bool is_new) {
    pthread_mutex_lock(&lock);
    if (is_new)
        list_push_back(&validities, &validity->in_validities);
    int64_t next = look(validity);
    if (next < armed_ns)
        arm(next);
    pthread_mutex_unlock(&lock);
}

void env_validity_stopped(struct rpc_validity *validity) {
    struct env *env = env_of(validity->rpc);
    pthread_mutex_lock(&lock);
    list_remove(&validity->in_validities);
    list_remove(&validity->in_due);
    atomic_store(&env->has_due, !list_is_empty(&env->due_validities));
    pthread_mutex_unlock(&lock);
}

/* Out of the list, and what to tell it. False when nothing is left. */
static struct rpc_validity *take_due(struct env *env, bool *ret_is_told, bool *ret_is_lost) {
    pthread_mutex_lock(&lock);
    struct list *node = list_pop_front(&env->due_validities);
    atomic_store(&env->has_due, !list_is_empty(&env->due_validities));
    struct rpc_validity *validity = node ? CONTAINER_OF(node, struct rpc_validity, in_due) : NULL;
    if (validity)
        *ret_is_told = rpc_validity_settle(validity, ret_is_lost);
    pthread_mutex_unlock(&lock);
    return validity;
}

void validity_tell_due(struct env *env) {
    bool is_told, is_lost;
    struct rpc_validity *validity;
    while (atomic_load(&env->has_due) && (validity = take_due(env, &is_told, &is_lost)))
        if (is_told)
            validity->on_due(validity, is_lost);
}
