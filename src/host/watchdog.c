/* host/watchdog.c - a thread that reports a script which has not yielded for long. See watchdog.h. A circle with
 * overdue.c, streams.c and signals.c: they speak through the thread, which looks after them.
 *
 * The thread counts its own ticks, not the time that has passed: a process that was stopped has no ticks, and must not
 * be told that its script hangs. */
#include "host/watchdog.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/thread.h"
#include "host/overdue.h"
#include "host/stamp.h"
#include "host/streams.h"
#include "host/terminal.h"

enum { TICKS_PER_LIMIT = 8, OBEY_MS = 1000 };

static atomic_uint pats, pats_when_asked;
static atomic_bool is_stopping, is_asked, is_silent;
static pthread_t thread;
static atomic_bool is_running;
static atomic_int end_status = -1;
/* The place lapses at lapse_ns, as was said at told_ns. */
static atomic_int_least64_t lapse_ns, told_ns;
static _Atomic double lapse_ttl_s;
/* Rung by who asks and by who stops; never closed, for a signal may come at any time. */
static int bell_fd = -1;
/* Asks the loop whether it turns; never closed. */
static int question_fd = -1;
static int tick_ms;
static char *silent_line, *ignored_line, *ended_line;
static bool is_utc;

static void write_line(const char *pattern) {
    char line[2048];
    streams_log(line, stamp_line(line, sizeof line, pattern, is_utc));
}

static void write_ended(void) {
    char line[2048] = "", words[96] = "";
    int64_t now_ns = clock_boottime_ns(), left_ns = atomic_load(&lapse_ns) - now_ns;
    double ttl_s = atomic_load(&lapse_ttl_s);
    bool is_fresh = now_ns - atomic_load(&told_ns) < NS_PER_S;
    if (ttl_s > 0 && is_fresh && left_ns > 0)
        (void)snprintf(words, sizeof words, "; the place lapses in %.1f s", (double)left_ns / NS_PER_S);
    else if (ttl_s > 0)
        (void)snprintf(words, sizeof words, "; the place lapses within %g s", ttl_s);
    if (stamp_line(line, sizeof line - sizeof words, ended_line, is_utc) == 0)
        return;
    stamp_fill(line, sizeof line, "@LAPSE@", words);
    streams_shout(line, strlen(line));
}

/* Returns whether the bell rang before. */
static bool sleep_until_rung(int ms) {
    struct pollfd bell = {.fd = bell_fd, .events = POLLIN};
    uint64_t count;
    bool is_rung = poll(&bell, 1, ms) > 0 && read(bell_fd, &count, sizeof count) > 0;
    int status = atomic_load(&end_status);
    if (status >= 0) {
        write_ended();
        terminal_restore();
        _exit(status);
    }
    return is_rung;
}

/* A limit is TICKS_PER_LIMIT ticks. */
static void count_tick(void) {
    static unsigned seen, silent_ticks;
    if (silent_line == NULL)
        return;
    unsigned now = atomic_load(&pats);
    silent_ticks = now == seen ? silent_ticks + 1 : 0;
    seen = now;
    atomic_store(&is_silent, silent_ticks >= TICKS_PER_LIMIT);
    if (silent_ticks == TICKS_PER_LIMIT)
        write_line(silent_line);
}

static void look_whether_obeyed(void) {
    if (!sleep_until_rung(OBEY_MS) && atomic_load(&pats) == atomic_load(&pats_when_asked))
        write_line(ignored_line);
}

static void *watch(void *arg) {
    int ticked_ms = 0, waited_ms = 0;
    (void)arg;
    while (!atomic_load(&is_stopping)) {
        int due_ms = overdue_look(waited_ms), ms = tick_ms - ticked_ms;
        if (due_ms < ms)
            ms = due_ms;
        waited_ms = sleep_until_rung(ms) ? 0 : ms;
        if (atomic_load(&is_stopping))
            break;
        if (atomic_exchange(&is_asked, false))
            look_whether_obeyed();
        ticked_ms += waited_ms;
        if (ticked_ms < tick_ms)
            continue;
        ticked_ms = 0;
        count_tick();
    }
    return NULL;
}

static void free_lines(void) {
    free(silent_line);
    free(ignored_line);
    free(ended_line);
    silent_line = ignored_line = ended_line = NULL;
}

int watchdog_start(int limit_ms, const struct watchdog_lines *lines) {
    if (is_running)
        return -EALREADY;
    if (bell_fd < 0 && (bell_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) < 0)
        return -errno;
    if (watchdog_question() < 0)
        return -errno;
    silent_line = lines->silent ? strdup(lines->silent) : NULL;
    ignored_line = strdup(lines->ignored);
    ended_line = strdup(lines->ended);
    tick_ms = lines->silent ? limit_ms / TICKS_PER_LIMIT : INT_MAX;
    is_utc = lines->is_utc;
    atomic_store(&is_stopping, false);
    bool has_lines = (silent_line || !lines->silent) && ignored_line && ended_line;
    int error = has_lines ? thread_start(&thread, watch, NULL) : ENOMEM;
    is_running = error == 0;
    if (error != 0)
        free_lines();
    return -error;
}

void watchdog_ask(void) {
    atomic_store(&pats_when_asked, atomic_load(&pats));
    atomic_store(&is_asked, true);
    fd_ring(bell_fd);
}

void watchdog_ring(void) {
    if (bell_fd >= 0)
        fd_ring(bell_fd);
}

int watchdog_question(void) {
    if (question_fd < 0)
        question_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return question_fd;
}

void watchdog_ask_loop(void) {
    fd_ring(question_fd);
}

void watchdog_answer(void) {
    uint64_t count;
    ssize_t taken = read(question_fd, &count, sizeof count);
    (void)taken;
    watchdog_pat();
}

bool watchdog_is_silent(void) {
    return atomic_load(&is_silent);
}

unsigned watchdog_pats(void) {
    return atomic_load(&pats);
}

void watchdog_pat(void) {
    atomic_store(&is_silent, false);
    (void)atomic_fetch_add(&pats, 1);
}

void watchdog_set_lapse(double left_s, double ttl_s) {
    int64_t now_ns = clock_boottime_ns();
    atomic_store(&lapse_ns, now_ns + (int64_t)(left_s * NS_PER_S));
    atomic_store(&told_ns, now_ns);
    atomic_store(&lapse_ttl_s, ttl_s);
}

bool watchdog_end(int status) {
    if (!atomic_load(&is_running))
        return false;
    atomic_store(&end_status, status);
    fd_ring(bell_fd);
    return true;
}

void watchdog_stop(void) {
    if (!is_running)
        return;
    atomic_store(&is_stopping, true);
    fd_ring(bell_fd);
    (void)pthread_join(thread, NULL);
    free_lines();
    is_running = false;
}
