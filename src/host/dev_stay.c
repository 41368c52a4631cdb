/* host/dev_stay.c - remaining a user of the private etcd: a thread that takes part in starting another keeper whenever the
 * present one dies. Starting takes as long as etcd does, and waits for other users: the loop goes on meanwhile. */
#include "host/dev.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/thread.h"

enum { TRY_AGAIN_MS = 5000 };

static struct {
    const char *program, *name;
    struct dev_user *user;
    int event_fd;
    pthread_mutex_t lock;
    enum dev_event latest; /* that was not taken */
    struct dev_text why;
} staying = {.event_fd = -1, .lock = PTHREAD_MUTEX_INITIALIZER};

static void report(enum dev_event event, const struct dev_text *why) {
    (void)pthread_mutex_lock(&staying.lock);
    staying.latest = event;
    if (why)
        staying.why = *why;
    (void)pthread_mutex_unlock(&staying.lock);
    fd_ring(staying.event_fd);
}

static void *stay(void *arg) {
    (void)arg;
    for (;;) {
        /* Nothing is ever written there; what comes is the error of a pipe that nobody reads any more. */
        struct pollfd keeper = {.fd = staying.user->keeper_fd};
        while (poll(&keeper, 1, -1) < 0 && errno == EINTR)
            ;
        report(DEV_GONE, NULL);
        struct dev_text why = {{0}};
        while (dev_join(staying.program, staying.name, staying.user, &why) != 0) {
            report(DEV_NOT_STARTED, &why);
            (void)poll(NULL, 0, TRY_AGAIN_MS);
        }
        report(DEV_STARTED, NULL);
    }
    return NULL;
}

int dev_stay(const char *program, const char *name, struct dev_user *user) {
    pthread_t thread;
    staying.program = program;
    staying.name = name;
    staying.user = user;
    staying.event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (staying.event_fd < 0)
        return -errno;
    int error = thread_start(&thread, stay, NULL);
    if (error != 0)
        return -error;
    (void)pthread_detach(thread);
    return staying.event_fd;
}

enum dev_event dev_take_event(struct dev_text *why) {
    uint64_t count;
    (void)!read(staying.event_fd, &count, sizeof count);
    (void)pthread_mutex_lock(&staying.lock);
    enum dev_event event = staying.latest;
    staying.latest = DEV_NOTHING;
    *why = staying.why;
    (void)pthread_mutex_unlock(&staying.lock);
    return event;
}
