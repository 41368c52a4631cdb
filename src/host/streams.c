/* host/streams.c - see streams.h. The C library's FILE stays what Lua and other libraries write to; below it there is
 * an output in place of a descriptor (fopencookie). */
#include "host/streams.h"

#include <errno.h>
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

/* Replaces the first `name` in the text, which has room for `size` bytes. */
static void fill_in(char *text, size_t size, const char *name, const char *value) {
    char *place = strstr(text, name);
    if (place == NULL || strlen(text) + strlen(value) >= size)
        return;
    memmove(place + strlen(value), place + strlen(name), strlen(place + strlen(name)) + 1);
    memcpy(place, value, strlen(value));
}

static size_t notice(char *line, unsigned long long n, const char *why) {
    char count[40];
    (void)snprintf(count, sizeof count, "%llu line%s", n, n == 1 ? "" : "s");
    const char *pattern = notice_pattern != NULL ? notice_pattern : "lunarch: @N@ dropped: @WHY@\n";
    if (stamp_line(line, OUTPUT_NOTICE_BYTES, pattern, is_notice_utc) == 0)
        return 0;
    fill_in(line, OUTPUT_NOTICE_BYTES, "@N@", count);
    fill_in(line, OUTPUT_NOTICE_BYTES, "@WHY@", why);
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

/* ---- the files --------------------------------------------------------------------------------------- */

static ssize_t write_cookie(void *cookie, const char *text, size_t len) {
    int error = output_write(cookie, text, len);
    if (error == 0)
        return (ssize_t)len;
    errno = -error;
    return 0;
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

/* ---- what others write ------------------------------------------------------------------------------- */

void streams_log(const char *line, size_t len) {
    if (is_guarding)
        (void)output_write_now(&outputs[1], line, len);
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
