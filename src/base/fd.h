/* base/fd.h - small things done to descriptors in many places. */
#ifndef LUN_BASE_FD_H
#define LUN_BASE_FD_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <unistd.h>

/* Closes it unless it is -1, and makes it -1. */
static inline void fd_close(int *fd) {
    if (*fd >= 0)
        (void)close(*fd);
    *fd = -1;
}

/* Makes an eventfd readable. Any thread; async-signal-safe. */
static inline void fd_ring(int fd) {
    (void)!write(fd, &(uint64_t){1}, sizeof(uint64_t));
}

/* write(), but a pipe without a reader gives EPIPE alone, and a file that may not grow any more (ulimit -f) EFBIG: the
 * SIGPIPE or SIGXFSZ that comes with it to this thread is taken back, for the caller may not have asked for it. */
ssize_t fd_write_quietly(int fd, const char *data, size_t len);

#endif
