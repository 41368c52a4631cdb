/* host/answer.c - keeps stdout free for the answer of a command that runs code of others (`lunarch check`), and gives one
 * in time: see answer.h. The time limit is a signal of a timer, which also reaches code that blocks in C. */
#include "host/answer.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

#include "host/host.h"

static int answer_fd = -1;
/* Read by the handler, and changed only while no signal is due. */
static char *due_text;
static size_t due_len;
static int due_status;

int answer_begin(void) {
    (void)fflush(stdout);
    answer_fd = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    if (answer_fd < 0 || dup2(STDERR_FILENO, STDOUT_FILENO) < 0)
        return -errno;
    return 0;
}

/* Async-signal-safe. */
int answer_write(const char *text, size_t len) {
    while (len > 0) {
        ssize_t n = write(answer_fd, text, len);
        if (n >= 0) {
            text += n;
            len -= (size_t)n;
        } else if (errno == EAGAIN) {
            struct pollfd fd = {.fd = answer_fd, .events = POLLOUT};
            (void)poll(&fd, 1, -1);
        } else if (errno != EINTR) {
            return -errno;
        }
    }
    return 0;
}

static void on_late(int number) {
    (void)number;
    (void)answer_write(due_text, due_len);
    _exit(due_status);
}

int answer_in_time(int ms, const char *text, size_t len, int status) {
    struct itimerval timer = {.it_value = {0, 0}};
    (void)setitimer(ITIMER_REAL, &timer, NULL);
    free(due_text);
    due_text = NULL;
    if (ms == 0)
        return 0;
    due_text = malloc(len + 1);
    if (due_text == NULL)
        return -ENOMEM;
    memcpy(due_text, text, len);
    due_len = len;
    due_status = status;
    timer.it_value = (struct timeval){ms / 1000, ms % 1000 * 1000};
    if (!signals_handle(SIGALRM, on_late) || setitimer(ITIMER_REAL, &timer, NULL) != 0)
        return -errno;
    return 0;
}
