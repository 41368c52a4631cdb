/* base/output.c - writes to a descriptor without ever waiting for its reader. See output.h.
 *
 * `lock` guards everything but the descriptors; nothing waits for a reader under it. */
#include "base/output.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/fork.h"
#include "base/thread.h"

/* What a thread hands to write() at once: at the end of the process at most that much is cut in the middle. */
enum { PIECE_BYTES = 4096, ASK_AGAIN_MS = 50 };

/* Of what cannot be written at all, which each line would cause. */
#define NOTICE_EVERY_NS (10 * NS_PER_S)

/* ---- one write that does not wait -------------------------------------------------------------------- */

/* May wait only where the kind is a pipe without a descriptor of our own. */
static ssize_t write_some(const struct output *output, const char *text, size_t len) {
    ssize_t n;
    do {
        if (output->kind == OUTPUT_SOCKET)
            n = send(output->fd, text, len, MSG_DONTWAIT | MSG_NOSIGNAL);
        else
            n = fd_write_quietly(output->own_fd >= 0 ? output->own_fd : output->fd, text, len);
    } while (n < 0 && errno == EINTR);
    return n;
}

static bool can_try(const struct output *output) {
    return output->kind != OUTPUT_PIPE || output->own_fd >= 0;
}

/* Returns how much was written without waiting; less than `len` with the reason, an errno, or 0: it would wait. */
static size_t try_write(const struct output *output, const char *text, size_t len, int *ret_error) {
    size_t done = 0;
    *ret_error = 0;
    while (done < len && can_try(output)) {
        ssize_t n = write_some(output, text + done, len - done);
        if (n < 0) {
            *ret_error = errno == EAGAIN || errno == EWOULDBLOCK ? 0 : errno;
            break;
        }
        done += (size_t)n;
    }
    return done;
}

/* ---- what is dropped --------------------------------------------------------------------------------- */

static size_t lines_in(const char *text, size_t len) {
    size_t n = 0;
    for (const char *at = text; (at = memchr(at, '\n', len - (size_t)(at - text))) != NULL; at++)
        n++;
    return n;
}

static void drop(struct output *output, const char *text, size_t len, int error) {
    if (len == 0)
        return;
    output->n_dropped_lines += lines_in(text, len);
    output->is_in_dropped = text[len - 1] != '\n';
    output->error = error;
}

static size_t plain_notice(char *line, unsigned long long n, const char *why) {
    int len =
        snprintf(line, OUTPUT_NOTICE_BYTES, "lunarch: %llu line%s dropped: %s\n", n, n == 1 ? "" : "s", why);
    return len < OUTPUT_NOTICE_BYTES ? (size_t)len : OUTPUT_NOTICE_BYTES - 1;
}

/* The line about what was dropped so far, which is told by it. */
static size_t compose_notice(struct output *output, char line[OUTPUT_NOTICE_BYTES + 1]) {
    char why[128];
    if (output->error == 0)
        (void)snprintf(why, sizeof why, "the reader of %s was too slow", output->name);
    else
        (void)snprintf(why, sizeof why, "cannot write to %s: %s", output->name, strerror(output->error));
    unsigned long long n = output->n_dropped_lines;
    size_t begin = output->hooks.notices == NULL && output->is_in_line ? 1 : 0;
    line[0] = '\n';
    output->n_dropped_lines = 0;
    return begin + (output->hooks.notice ? output->hooks.notice : plain_notice)(line + begin, n, why);
}

/* ---- the queue and its thread ------------------------------------------------------------------------ */

static void append(struct output *output, const char *text, size_t len) {
    size_t end = (output->start + output->len) % OUTPUT_QUEUE_BYTES;
    size_t first = len < OUTPUT_QUEUE_BYTES - end ? len : OUTPUT_QUEUE_BYTES - end;
    memcpy(output->queue + end, text, first);
    memcpy(output->queue, text + first, len - first);
    output->len += len;
    (void)pthread_cond_broadcast(&output->changed);
}

static void remove_first(struct output *output, size_t len) {
    output->start = (output->start + len) % OUTPUT_QUEUE_BYTES;
    output->len -= len;
    (void)pthread_cond_broadcast(&output->changed);
}

static void drop_queue(struct output *output, int error) {
    while (output->len > 0) {
        size_t whole = OUTPUT_QUEUE_BYTES - output->start;
        size_t n = output->len < whole ? output->len : whole;
        drop(output, output->queue + output->start, n, error);
        remove_first(output, n);
    }
}

static void raise_sigpipe(const struct output *output) {
    if (output->hooks.raises_sigpipe)
        (void)kill(getpid(), SIGPIPE);
}

/* Unlocked: the writing end of the queue is not touched by others, and the rest of it is not touched here. */
static ssize_t write_patiently(struct output *output, const char *text, size_t len) {
    struct pollfd pollfd = {.fd = output->own_fd >= 0 ? output->own_fd : output->fd, .events = POLLOUT};
    (void)pthread_mutex_unlock(&output->lock);
    ssize_t n;
    while ((n = write_some(output, text, len)) < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
        (void)poll(&pollfd, 1, -1);
    int error = errno;
    (void)pthread_mutex_lock(&output->lock);
    errno = error;
    return n;
}

static void tell_dropped(struct output *output);

static void *write_out(void *arg) {
    struct output *output = arg;
    (void)pthread_mutex_lock(&output->lock);
    for (;;) {
        while (output->len == 0)
            (void)pthread_cond_wait(&output->changed, &output->lock);
        size_t whole = OUTPUT_QUEUE_BYTES - output->start;
        size_t len = output->len < whole ? output->len : whole;
        if (len > PIECE_BYTES)
            len = PIECE_BYTES;
        ssize_t n = write_patiently(output, output->queue + output->start, len);
        if (n >= 0) {
            remove_first(output, (size_t)n);
        } else {
            int error = errno;
            drop_queue(output, error);
            if (error == EPIPE)
                raise_sigpipe(output);
        }
        if (output->len == 0) {
            output->is_dropping = false;
            if (n >= 0)
                tell_dropped(output);
        }
    }
    return NULL;
}

static bool start_thread(struct output *output) {
    pthread_t thread;
    output->has_thread = thread_start(&thread, write_out, output) == 0;
    if (output->has_thread)
        (void)pthread_detach(thread);
    return output->has_thread;
}

static bool can_queue(struct output *output) {
    if (output->queue == NULL)
        output->queue = malloc(OUTPUT_QUEUE_BYTES);
    return output->queue != NULL && (output->has_thread || start_thread(output));
}

static void wait_for_change(struct output *output, int ms) {
    struct timespec until;
    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    int64_t ns = until.tv_nsec + ms * NS_PER_MS;
    until.tv_sec += (time_t)(ns / NS_PER_S);
    until.tv_nsec = (long)(ns % NS_PER_S);
    (void)pthread_cond_clockwait(&output->changed, &output->lock, CLOCK_MONOTONIC, &until);
}

/* Where there is no thread to wait: as much as the pipe has room for. Returns how much. */
static size_t write_into_room(struct output *output, const char *text, size_t len) {
    struct pollfd pollfd = {.fd = output->fd, .events = POLLOUT};
    size_t done = 0;
    while (done < len && !can_try(output) && poll(&pollfd, 1, 0) == 1 && (pollfd.revents & POLLOUT) != 0) {
        ssize_t n = write_some(output, text + done, len - done < PIPE_BUF ? len - done : PIPE_BUF);
        if (n < 0)
            break;
        done += (size_t)n;
        output->is_in_line = text[done - 1] != '\n';
    }
    return done;
}

/* Queues as much as there is room for, or waits for it, or drops the text. */
static void enqueue(struct output *output, const char *text, size_t len, bool is_patient) {
    if (!can_queue(output)) {
        size_t done = write_into_room(output, text, len);
        drop(output, text + done, len - done, 0);
        return;
    }
    while (is_patient && len > OUTPUT_QUEUE_BYTES - output->len && output->hooks.may_wait()) {
        size_t room = OUTPUT_QUEUE_BYTES - output->len;
        append(output, text, room);
        text += room;
        len -= room;
        wait_for_change(output, ASK_AGAIN_MS);
    }
    if (output->is_dropping || len > OUTPUT_QUEUE_BYTES - output->len) {
        output->is_dropping = true;
        drop(output, text, len, 0);
        return;
    }
    append(output, text, len);
    output->is_in_line = text[len - 1] != '\n';
}

/* ---- the face ---------------------------------------------------------------------------------------- */

/* An open file of our own, whose O_NONBLOCK is nobody else's. */
static int open_again(int fd) {
    char path[32];
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    return open(path, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
}

void output_init(struct output *output, const char *name, int fd, struct output_hooks hooks) {
    struct stat st;
    memset(output, 0, sizeof *output);
    output->name = name;
    output->hooks = hooks;
    output->fd = fd;
    output->own_fd = -1;
    output->fork_depth = fork_depth();
    (void)pthread_mutex_init(&output->lock, NULL);
    (void)pthread_cond_init(&output->changed, NULL);
    if (fstat(fd, &st) != 0)
        return;
    if (S_ISSOCK(st.st_mode)) {
        output->kind = OUTPUT_SOCKET;
    } else if (S_ISFIFO(st.st_mode) || isatty(fd)) {
        output->kind = OUTPUT_PIPE;
        output->own_fd = open_again(fd);
    }
}

/* Writes, or queues; what can be neither is dropped. */
static int put(struct output *output, const char *text, size_t len, bool is_patient) {
    int error = 0;
    if (output->len == 0 && !output->is_dropping) {
        size_t n = try_write(output, text, len, &error);
        if (n > 0)
            output->is_in_line = text[n - 1] != '\n';
        text += n;
        len -= n;
    }
    if (error != 0) {
        drop(output, text, len, error);
        if (error == EPIPE)
            raise_sigpipe(output);
    } else if (len > 0) {
        enqueue(output, text, len, is_patient);
    }
    return -error;
}

/* Called once there is room again. A notice for another output is written there unlocked. */
static void tell_dropped(struct output *output) {
    char line[OUTPUT_NOTICE_BYTES + 1];
    if (output->n_dropped_lines == 0 || output->is_in_dropped)
        return;
    int64_t now_ns = clock_boottime_ns();
    if (output->error != 0 && output->told_ns != 0 && now_ns - output->told_ns < NOTICE_EVERY_NS)
        return;
    output->told_ns = now_ns;
    size_t len = compose_notice(output, line);
    if (output->hooks.notices == NULL) {
        (void)put(output, line, len, false);
        return;
    }
    (void)pthread_mutex_unlock(&output->lock);
    (void)output_write_now(output->hooks.notices, line, len);
    (void)pthread_mutex_lock(&output->lock);
}

/* The rest of a line whose beginning was dropped is dropped too: its length. */
static size_t skip_dropped_line(struct output *output, const char *text, size_t len) {
    if (!output->is_in_dropped)
        return 0;
    const char *end = memchr(text, '\n', len);
    size_t n = end != NULL ? (size_t)(end - text) + 1 : len;
    drop(output, text, n, output->error);
    return n;
}

/* The child of a fork has neither the thread nor, perhaps, a lock that is free. */
static int write_in_child(const struct output *output, const char *text, size_t len) {
    while (len > 0) {
        ssize_t n = write(output->fd, text, len);
        if (n < 0 && errno != EINTR)
            return -errno;
        if (n > 0)
            text += n, len -= (size_t)n;
    }
    return 0;
}

static int write_in_order(struct output *output, const char *text, size_t len, bool is_patient) {
    if (len == 0)
        return 0;
    if (fork_depth() != output->fork_depth)
        return write_in_child(output, text, len);
    (void)pthread_mutex_lock(&output->lock);
    if (!output->is_dropping) {
        size_t n = skip_dropped_line(output, text, len);
        text += n;
        len -= n;
        tell_dropped(output);
    }
    int status = len > 0 ? put(output, text, len, is_patient) : 0;
    (void)pthread_mutex_unlock(&output->lock);
    return status;
}

int output_write(struct output *output, const char *text, size_t len) {
    return write_in_order(output, text, len, output->hooks.may_wait != NULL);
}

int output_write_now(struct output *output, const char *text, size_t len) {
    return write_in_order(output, text, len, false);
}

void output_shout(const struct output *output, const char *text, size_t len) {
    int error = errno, ignored;
    (void)try_write(output, text, len, &ignored);
    errno = error;
}

bool output_flush(struct output *output, int ms) {
    int64_t until_ns = clock_boottime_ns() + ms * NS_PER_MS;
    if (fork_depth() != output->fork_depth)
        return true;
    (void)pthread_mutex_lock(&output->lock);
    for (int64_t left_ns; output->len > 0 && (left_ns = until_ns - clock_boottime_ns()) > 0;)
        wait_for_change(output, (int)(left_ns / NS_PER_MS) + 1);
    bool is_written = output->len == 0;
    (void)pthread_mutex_unlock(&output->lock);
    return is_written;
}
