/* host/streams.c - keeps a reader of stdout or stderr that sleeps from holding up the program.
 * See streams.h. The C library's FILE stays what Lua and other libraries write to; below it there is
 * an output in place of a descriptor (fopencookie). */
#include "host/streams.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <lauxlib.h>
#include <lualib.h>

#include "base/clock.h"
#include "base/output.h"
#include "host/host.h"
#include "host/stamp.h"

/* What the readers of stdout and stderr are given at the end of the process. */
#define LAST_FLUSH_MS 1000
#define WAIT_STEP_MS 50

static struct output outputs[2];
static bool is_guarding;
static atomic_bool is_waiting_over;
static char *notice_pattern;
static bool is_notice_utc;

/* ---- notices ----------------------------------------------------------------------------------------- */

static size_t notice(char *line, unsigned long long n, const char *why) {
    char count[40];
    (void)snprintf(count, sizeof count, "%llu line%s", n, n == 1 ? "" : "s");
    const char *pattern = notice_pattern != NULL ? notice_pattern : "lunarch: @N@ dropped: @WHY@\n";
    if (stamp_line(line, OUTPUT_NOTICE_BYTES, pattern, is_notice_utc) == 0)
        return 0;
    stamp_fill(line, OUTPUT_NOTICE_BYTES, "@N@", count);
    stamp_fill(line, OUTPUT_NOTICE_BYTES, "@WHY@", why);
    return strlen(line);
}

int streams_set_notice(const char *pattern, bool is_utc) {
    notice_pattern = strdup(pattern);
    is_notice_utc = is_utc;
    return notice_pattern != NULL ? 0 : -ENOMEM;
}

static bool may_wait(void) {
    return !atomic_load(&is_waiting_over) && signals_caught() == 0;
}

void streams_stop_waiting(void) {
    atomic_store(&is_waiting_over, true);
}

/* ---- what is held ------------------------------------------------------------------------------------ */

#define HELD_LIMIT (1 << 20)

static struct {
    pthread_mutex_t lock;
    bool is_on;
    char *text;
    size_t len, room;
} held = {.lock = PTHREAD_MUTEX_INITIALIZER};

static bool keep(const char *text, size_t len) {
    if (held.len + len > HELD_LIMIT)
        return false;
    if (held.len + len > held.room) {
        size_t room = 2 * (held.len + len);
        char *grown = realloc(held.text, room);
        if (grown == NULL)
            return false;
        held.text = grown;
        held.room = room;
    }
    memcpy(held.text + held.len, text, len);
    held.len += len;
    return true;
}

static bool is_terminal(const struct output *output) {
    static signed char known[2];
    size_t i = (size_t)(output - outputs);
    if (known[i] == 0)
        known[i] = isatty(output->fd) ? 1 : -1;
    return known[i] > 0;
}

/* Whether the text is kept, and not to be written now. */
static bool hold(struct output *output, const char *text, size_t len) {
    (void)pthread_mutex_lock(&held.lock);
    bool is_held = held.is_on && is_terminal(output) && keep(text, len);
    if (!is_held && held.len > 0) {
        (void)output_write(output, held.text, held.len);
        held.len = 0;
    }
    (void)pthread_mutex_unlock(&held.lock);
    return is_held;
}

bool streams_are_in_line(void) {
    return is_guarding && ((is_terminal(&outputs[0]) && outputs[0].is_in_line) ||
                           (is_terminal(&outputs[1]) && outputs[1].is_in_line));
}

void streams_begin_line(void) {
    for (size_t i = 0; is_guarding && i < 2; i++)
        if (is_terminal(&outputs[i]))
            outputs[i].is_in_line = false;
}

void streams_hold(bool is_held) {
    (void)pthread_mutex_lock(&held.lock);
    held.is_on = is_held;
    (void)pthread_mutex_unlock(&held.lock);
}

bool streams_hold_something(void) {
    (void)pthread_mutex_lock(&held.lock);
    bool is_something = held.len > 0;
    (void)pthread_mutex_unlock(&held.lock);
    return is_something;
}

char *streams_take(size_t *len) {
    (void)pthread_mutex_lock(&held.lock);
    char *text = held.len > 0 ? held.text : NULL;
    *len = held.len;
    if (text != NULL) {
        held.text = NULL;
        held.len = held.room = 0;
    }
    (void)pthread_mutex_unlock(&held.lock);
    return text;
}

/* ---- the files --------------------------------------------------------------------------------------- */

static ssize_t write_through(void *cookie, const char *text, size_t len) {
    int error = output_write(cookie, text, len);
    if (error == 0)
        return (ssize_t)len;
    errno = -error;
    return 0;
}

static ssize_t write_cookie(void *cookie, const char *text, size_t len) {
    return hold(cookie, text, len) ? (ssize_t)len : write_through(cookie, text, len);
}

static int seek_cookie(void *cookie, off64_t *offset, int whence) {
    const struct output *output = cookie;
    off64_t at = lseek64(output->fd, *offset, whence);
    if (at < 0)
        return -1;
    *offset = at;
    return 0;
}

static FILE *open_file(struct output *output, int mode) {
    static const cookie_io_functions_t functions = {.write = write_cookie, .seek = seek_cookie};
    FILE *file = fopencookie(output, "w", functions);
    if (file == NULL)
        return NULL;
    (void)setvbuf(file, NULL, mode, BUFSIZ);
    /* For fileno(), which scripts ask whether they write to a terminal. */
    file->_fileno = output->fd;
    return file;
}

FILE *streams_terminal(void) {
    static FILE *file;
    static const cookie_io_functions_t functions = {.write = write_through};
    if (file == NULL && is_guarding) {
        file = fopencookie(&outputs[0], "w", functions);
        if (file != NULL)
            file->_fileno = outputs[0].fd;
    }
    return file;
}

/* Of io.stdout or io.stderr, which is also the current output file of io.write. */
static void replace_file(lua_State *L, const char *name, FILE *file) {
    lua_getglobal(L, "io");
    lua_getfield(L, -1, name);
    ((luaL_Stream *)luaL_checkudata(L, -1, LUA_FILEHANDLE))->f = file;
    lua_pop(L, 2);
}

/* An ordinary program waits for the reader of what it has printed, as any program does. */
static void at_end(void) {
    (void)fflush(NULL);
    while (may_wait() && !output_flush(&outputs[0], WAIT_STEP_MS))
        ;
    streams_stop_waiting();
    streams_flush(LAST_FLUSH_MS);
}

int streams_guard(lua_State *L) {
    struct output_hooks hooks = {.notice = notice, .may_wait = may_wait, .raises_sigpipe = true};
    if (is_guarding)
        return -EALREADY;
    output_init(&outputs[1], "stderr", STDERR_FILENO, hooks);
    hooks.notices = &outputs[1];
    output_init(&outputs[0], "stdout", STDOUT_FILENO, hooks);
    FILE *out = open_file(&outputs[0], _IOLBF);
    FILE *err = open_file(&outputs[1], _IONBF);
    if (out == NULL || err == NULL || atexit(at_end) != 0)
        return -ENOMEM;
    is_guarding = true;
    (void)fflush(stdout);
    replace_file(L, "stdout", out);
    replace_file(L, "stderr", err);
    stdout = out;
    stderr = err;
    return 0;
}

bool streams_lost(int *ret_error) {
    errno = 0;
    bool is_lost = fflush(stdout) != 0 || ferror(stdout) != 0;
    *ret_error = is_guarding && outputs[0].error != 0 ? outputs[0].error : errno;
    return is_lost;
}

/* ---- what others write ------------------------------------------------------------------------------- */

void streams_log(const char *line, size_t len) {
    if (is_guarding)
        (void)(hold(&outputs[1], line, len) || output_write_now(&outputs[1], line, len));
    else
        (void)!write(STDERR_FILENO, line, len);
}

void streams_shout(const char *line, size_t len) {
    if (is_guarding)
        output_shout(&outputs[1], line, len);
    else
        (void)!write(STDERR_FILENO, line, len);
}

void streams_settle(int ms) {
    if (may_wait())
        streams_flush(ms);
}

void streams_flush(int ms) {
    int64_t until_ns = clock_boottime_ns() + ms * NS_PER_MS;
    for (size_t i = 0; is_guarding && i < 2; i++) {
        int64_t left_ns = until_ns - clock_boottime_ns();
        (void)output_flush(&outputs[i], left_ns > 0 ? (int)(left_ns / NS_PER_MS) : 0);
    }
}
