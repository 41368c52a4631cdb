/* host/watchdog.c - see watchdog.h. The thread counts its own ticks, not the time that has passed: a process
 * that was stopped has no ticks, and must not be told that its script hangs. */
#include "host/watchdog.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"

enum { TICKS_PER_LIMIT = 8 };

static atomic_uint pats;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t wake;
static pthread_t thread;
static bool is_running, is_stopping;
static int64_t tick_ns;
static char *line;
static bool is_utc;

static void write_line(void) {
    char text[1024], digits[4];
    struct timespec now;
    struct tm tm;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    (void)(is_utc ? gmtime_r(&now.tv_sec, &tm) : localtime_r(&now.tv_sec, &tm));
    size_t len = strftime(text, sizeof text, line, &tm);
    char *place = strstr(text, "@@@");
    (void)snprintf(digits, sizeof digits, "%03u", (unsigned)(now.tv_nsec / NS_PER_MS) % 1000);
    if (place != NULL)
        memcpy(place, digits, 3);
    ssize_t written = write(STDERR_FILENO, text, len);
    (void)written;
}

/* False: the watchdog is being stopped. With the lock held. */
static bool sleep_a_tick(void) {
    struct timespec until;
    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    int64_t ns = until.tv_nsec + tick_ns;
    until.tv_sec += (time_t)(ns / NS_PER_S);
    until.tv_nsec = (long)(ns % NS_PER_S);
    while (!is_stopping && pthread_cond_timedwait(&wake, &lock, &until) != ETIMEDOUT)
        ;
    return !is_stopping;
}

static void *watch(void *arg) {
    unsigned seen = atomic_load(&pats), silent_ticks = 0;
    (void)arg;
    (void)pthread_mutex_lock(&lock);
    while (sleep_a_tick()) {
        unsigned now = atomic_load(&pats);
        silent_ticks = now == seen ? silent_ticks + 1 : 0;
        seen = now;
        if (silent_ticks == TICKS_PER_LIMIT)
            write_line();
    }
    (void)pthread_mutex_unlock(&lock);
    return NULL;
}

static int start_thread(void) {
    pthread_condattr_t attr;
    sigset_t all, before;
    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&wake, &attr);
    (void)pthread_condattr_destroy(&attr);
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&thread, NULL, watch, NULL);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return error;
}

int watchdog_start(double limit_s, const char *line_format, bool is_in_utc) {
    if (is_running)
        return -EALREADY;
    line = strdup(line_format);
    if (line == NULL)
        return -ENOMEM;
    tick_ns = (int64_t)(limit_s * (double)NS_PER_S) / TICKS_PER_LIMIT;
    is_utc = is_in_utc;
    is_stopping = false;
    int error = start_thread();
    is_running = error == 0;
    if (error != 0) {
        free(line);
        line = NULL;
    }
    return -error;
}

void watchdog_pat(void) {
    (void)atomic_fetch_add(&pats, 1);
}

void watchdog_stop(void) {
    if (!is_running)
        return;
    (void)pthread_mutex_lock(&lock);
    is_stopping = true;
    (void)pthread_cond_signal(&wake);
    (void)pthread_mutex_unlock(&lock);
    (void)pthread_join(thread, NULL);
    (void)pthread_cond_destroy(&wake);
    free(line);
    line = NULL;
    is_running = false;
}
