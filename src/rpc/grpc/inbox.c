/* rpc/grpc/inbox.c - completions for the user's thread, the descriptor that tells of them, and the waiting for
 * them. */
#include "rpc/grpc/env.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"

int inbox_init(struct inbox *inbox, struct lun_err *ret_err) {
    *inbox = (struct inbox){.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
    if (inbox->fd < 0)
        return lun_err_set(ret_err, LUN_EUNAVAILABLE, "cannot open a descriptor: %s", strerror(errno));
    (void)pthread_mutex_init(&inbox->lock, NULL);
    list_init(&inbox->completions);
    list_init(&inbox->running);
    return 0;
}

void inbox_fini(struct inbox *inbox) {
    (void)pthread_mutex_destroy(&inbox->lock);
    (void)close(inbox->fd);
}

static void raise_locked(struct inbox *inbox) {
    if (inbox->is_raised)
        return;
    inbox->is_raised = true;
    (void)!write(inbox->fd, &(uint64_t){1}, sizeof(uint64_t));
}

static void lower_locked(struct inbox *inbox) {
    if (!inbox->is_raised)
        return;
    inbox->is_raised = false;
    (void)!read(inbox->fd, &(uint64_t){0}, sizeof(uint64_t));
}

void inbox_raise(struct inbox *inbox) {
    pthread_mutex_lock(&inbox->lock);
    raise_locked(inbox);
    pthread_mutex_unlock(&inbox->lock);
}

bool inbox_is_empty(struct env *env) {
    return list_is_empty(&env->inbox.completions);
}

void inbox_settle(struct env *env) {
    struct inbox *inbox = &env->inbox;
    pthread_mutex_lock(&inbox->lock);
    if (list_is_empty(&inbox->completions) && !atomic_load(&env->has_due))
        lower_locked(inbox);
    else if (!inbox->is_polled)
        raise_locked(inbox);
    pthread_mutex_unlock(&inbox->lock);
}

void env_deliver(struct rpc *rpc, struct rpc_completion *completion) {
    struct inbox *inbox = &env_of(rpc)->inbox;
    pthread_mutex_lock(&inbox->lock);
    if (list_is_empty(&completion->in_inbox))
        list_push_back(&inbox->completions, &completion->in_inbox);
    pthread_mutex_unlock(&inbox->lock);
}

void env_withdraw(struct rpc *rpc, struct rpc_completion *completion) {
    struct inbox *inbox = &env_of(rpc)->inbox;
    pthread_mutex_lock(&inbox->lock);
    list_remove(&completion->in_inbox);
    pthread_mutex_unlock(&inbox->lock);
}

int env_fd(struct rpc *rpc) {
    return env_of(rpc)->inbox.fd;
}

/* Sleeps on the descriptor with the caller's own signal mask. Inside; gives up the lock meanwhile. 0 or
 * LUN_EINTR. */
static int sleep_on_fd(struct env *env, int64_t until_ns, const sigset_t *outer) {
    struct pollfd pollfd = {.fd = env->inbox.fd, .events = POLLIN};
    int64_t left = until_ns == RPC_NEVER ? 0 : until_ns - clock_boottime_ns();
    struct timespec timeout = {.tv_sec = left > 0 ? left / NS_PER_S : 0,
                               .tv_nsec = left > 0 ? left % NS_PER_S : 0};
    env->inbox.is_polled = false;
    env_wake_due(env);
    pthread_mutex_unlock(&env->core);
    int n = ppoll(&pollfd, 1, until_ns == RPC_NEVER ? NULL : &timeout, outer);
    int rc = n < 0 && errno == EINTR ? LUN_EINTR : 0;
    pthread_mutex_lock(&env->core);
    env->inbox.is_polled = true;
    return rc;
}

static int wait_for_completion(struct env *env, int64_t until_ns, const sigset_t *outer) {
    validity_tell_due(env);
    if (until_ns == 0 || !inbox_is_empty(env))
        return 0;
    queue_drive(env, until_ns);
    int rc = 0;
    while (rc == 0 && inbox_is_empty(env) && clock_boottime_ns() < until_ns) {
        rc = sleep_on_fd(env, until_ns, outer);
        validity_tell_due(env);
    }
    return rc;
}

/* Those that were there at the start: a completion that posts another leaves it for the next
 * time. (More than those only where a completion itself polls: the inner poll then runs what is left of the outer.) */
static int run_completions(struct inbox *inbox) {
    for (int n = 0;; n++) {
        pthread_mutex_lock(&inbox->lock);
        struct list *node = list_pop_front(&inbox->running);
        pthread_mutex_unlock(&inbox->lock);
        if (!node)
            return n;
        struct rpc_completion *completion = CONTAINER_OF(node, struct rpc_completion, in_inbox);
        completion->on_poll(completion);
    }
}

int env_poll(struct rpc *rpc, int64_t until_ns) {
    struct env *env = env_of(rpc);
    struct inbox *inbox = &env->inbox;
    sigset_t outer;
    env_block_signals(&outer);
    pthread_mutex_lock(&env->core);
    inbox->is_polled = true;
    int rc = wait_for_completion(env, until_ns, &outer);
    inbox->is_polled = false;
    if (rc == 0) {
        pthread_mutex_lock(&inbox->lock);
        list_append(&inbox->completions, &inbox->running);
        pthread_mutex_unlock(&inbox->lock);
    }
    env_wake_due(env);
    pthread_mutex_unlock(&env->core);
    env_unblock_signals(&outer);
    return rc ? rc : run_completions(inbox);
}
