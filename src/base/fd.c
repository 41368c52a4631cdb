/* base/fd.c - a write to a pipe that does not end the process. See fd.h. */
#include "base/fd.h"

#include <errno.h>
#include <signal.h>
#include <time.h>

ssize_t fd_write_quietly(int fd, const char *data, size_t len) {
    const struct timespec at_once = {0};
    sigset_t pipe_only, before, pending;
    (void)sigemptyset(&pipe_only);
    (void)sigaddset(&pipe_only, SIGPIPE);
    (void)sigpending(&pending);
    (void)pthread_sigmask(SIG_BLOCK, &pipe_only, &before);
    ssize_t n = write(fd, data, len);
    int error = errno;
    if (n < 0 && error == EPIPE && !sigismember(&pending, SIGPIPE))
        while (sigtimedwait(&pipe_only, NULL, &at_once) < 0 && errno == EINTR)
            ;
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    errno = error;
    return n;
}
