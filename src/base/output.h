/* base/output.h - writing to stdout or stderr without ever waiting for their readers.
 *
 * A log that nobody reads must not stop a leader. What cannot be written at once is queued (at most
 * OUTPUT_QUEUE_BYTES) and written by a thread of the output's own; what does not fit is dropped, and the number
 * of dropped lines is written once the reader has caught up:
 *
 *     write() --- queue is empty, no wait needed ---> the descriptor
 *        \------- otherwise ---> queue ---> thread ---> the descriptor
 *         \------ no room ---> dropped, until the queue has been written out
 *
 * The descriptor is shared with other processes (a shell, a pager, the siblings in `a 2>&1 | b`), so O_NONBLOCK is
 * never set on it: it would hold for them too. A pipe or a terminal is opened once more through /proc, which gives an
 * open file of our own; a socket takes MSG_DONTWAIT; a file does not make its writer wait. Where a pipe cannot be
 * opened again (it belongs to another user) only the thread writes, and it may wait; where no thread can be started
 * what the pipe has room for is written at once. */
#ifndef LUN_BASE_OUTPUT_H
#define LUN_BASE_OUTPUT_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum { OUTPUT_QUEUE_BYTES = 256 << 10, OUTPUT_NOTICE_BYTES = 512 };

struct output;

/* All may be NULL or false. They are called with the output locked, from any thread, and must not write to it. */
struct output_hooks {
    /* Composes the line (with its newline) about `n` dropped lines; `why` is a phrase. Returns its length, at most
     * OUTPUT_NOTICE_BYTES. NULL: "lunarch: 3 lines dropped: WHY". */
    size_t (*notice)(char *line, unsigned long long n, const char *why);
    /* Whether a write that does not fit may wait for the reader instead of being dropped; asked again and again
     * while it waits. NULL: never. */
    bool (*may_wait)(void);
    /* Where notices go; NULL: to the output itself. */
    struct output *notices;
    /* Whether a write to a pipe without a reader raises SIGPIPE, as write(2) does. */
    bool raises_sigpipe;
};

struct output {
    const char *name; /* "stderr", in notices */
    struct output_hooks hooks;
    int fd;
    int own_fd; /* the same pipe or terminal, opened by us with O_NONBLOCK; -1: none */
    enum { OUTPUT_FILE, OUTPUT_SOCKET, OUTPUT_PIPE } kind;
    unsigned fork_depth;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    char *queue; /* a ring, allocated when it is first needed */
    size_t start, len;
    bool has_thread;
    bool is_dropping;   /* until the queue has been written out */
    bool is_in_dropped; /* the last dropped byte did not end its line */
    bool is_in_line;    /* the last accepted byte did not end its line */
    int error;          /* why lines were dropped: an errno, 0: the reader was too slow */
    int64_t told_ns;    /* when that was told last */
    unsigned long long n_dropped_lines;
};

/* Begins an output on `fd`, which stays open for the life of the process; `output` is static memory. */
void output_init(struct output *output, const char *name, int fd, struct output_hooks hooks);

/* Writes, queues or drops the text. Never waits, unless hooks.may_wait says so. Any thread, also in a forked child
 * (which has no thread, and so may wait). 0, also for what is dropped because the reader is too slow, or a negative
 * errno: it could not be written (-ENOSPC, -EPIPE ...) and is dropped. */
int output_write(struct output *output, const char *text, size_t len);

/* The same, and never waits. */
int output_write_now(struct output *output, const char *text, size_t len);

/* Past the queue, as much of it as can be written at once. Async-signal-safe. */
void output_shout(const struct output *output, const char *text, size_t len);

/* Waits until everything is written, at most `ms` milliseconds. Returns whether it is. */
bool output_flush(struct output *output, int ms);

#endif
