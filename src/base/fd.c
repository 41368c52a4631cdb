/* base/fd.c - a write that does not end the process. See fd.h. */
#include "base/fd.h"

#include <errno.h>
#include <signal.h>
#include <time.h>

ssize_t fd_write_quietly(int fd, const char *data, size_t len) {
    const struct timespec at_once = {0};
    sigset_t raised, before, pending;
    (void)sigemptyset(&raised);
    (void)sigaddset(&raised, SIGPIPE);
    (void)sigaddset(&raised, SIGXFSZ);
    (void)sigpending(&pending);
    (void)pthread_sigmask(SIG_BLOCK, &raised, &before);
    ssize_t n = write(fd, data, len);
    int error = errno;
    int its = n >= 0 ? 0 : error == EPIPE ? SIGPIPE : error == EFBIG ? SIGXFSZ : 0;
    if (its != 0 && !sigismember(&pending, its)) {
        (void)sigdelset(&raised, its == SIGPIPE ? SIGXFSZ : SIGPIPE);
        while (sigtimedwait(&raised, NULL, &at_once) < 0 && errno == EINTR)
            ;
    }
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    errno = error;
    return n;
}
