/* host/hostlib.c - the Lua module `lunarch.host`. Misuse raises; what the world can do gives nil and a
 * message. */
#include "host/host.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <lauxlib.h>

#include "host/answer.h"
#include "host/dev.h"
#include "host/facts.h"
#include "host/notify.h"
#include "host/streams.h"
#include "host/watchdog.h"
#include "lunarch.h"

static int push_error(lua_State *L, const char *text) {
    lua_pushnil(L);
    lua_pushstring(L, text);
    return 2;
}

/* Of a call that returns 0 or a negative errno: true; nil, message. */
static int push_outcome(lua_State *L, int error) {
    if (error != 0)
        return push_error(L, strerror(-error));
    lua_pushboolean(L, 1);
    return 1;
}

/* is_terminal(fd) */
static int l_is_terminal(lua_State *L) {
    lua_pushboolean(L, isatty((int)luaL_checkinteger(L, 1)));
    return 1;
}

/* is_journal(fd) -> whether it leads to the journal */
static int l_is_journal(lua_State *L) {
    lua_pushboolean(L, notify_is_journal((int)luaL_checkinteger(L, 1)));
    return 1;
}

/* notify(text): to the service manager, if there is one -> true; nil, message */
static int l_notify(lua_State *L) {
    size_t len;
    const char *text = luaL_checklstring(L, 1, &len);
    return push_outcome(L, notify(text, len));
}

/* notify_watchdog() -> milliseconds between two WATCHDOG=1 at most, or nil: none are wanted */
static int l_notify_watchdog(lua_State *L) {
    int ms = notify_watchdog_ms();
    if (ms == 0)
        return 0;
    lua_pushinteger(L, ms);
    return 1;
}

/* is_program(path) */
static int l_is_program(lua_State *L) {
    lua_pushboolean(L, access(luaL_checkstring(L, 1), X_OK) == 0);
    return 1;
}

/* hostname() */
static int l_hostname(lua_State *L) {
    char name[256] = "";
    if (gethostname(name, sizeof name - 1) != 0)
        return push_error(L, strerror(errno));
    lua_pushstring(L, name);
    return 1;
}

/* time(): seconds since 1970, with fraction */
static int l_time(lua_State *L) {
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    lua_pushnumber(L, (lua_Number)now.tv_sec + (lua_Number)now.tv_nsec / 1e9);
    return 1;
}

/* pid() */
static int l_pid(lua_State *L) {
    lua_pushinteger(L, getpid());
    return 1;
}

/* catch_signals() -> descriptor that becomes readable with the first one; nil, message */
static int l_catch_signals(lua_State *L) {
    int fd = signals_catch();
    if (fd < 0)
        return push_error(L, strerror(errno));
    lua_pushinteger(L, fd);
    return 1;
}

/* caught_signal() -> number | nil */
static int l_caught_signal(lua_State *L) {
    int number = signals_caught();
    if (number == 0)
        return 0;
    lua_pushinteger(L, number);
    return 1;
}

/* catch_reloads() -> descriptor that becomes readable with each SIGHUP; nil, message */
static int l_catch_reloads(lua_State *L) {
    int fd = signals_catch_reloads();
    if (fd < 0)
        return push_error(L, strerror(errno));
    lua_pushinteger(L, fd);
    return 1;
}

/* take_reload() -> whether there was one since the last call */
static int l_take_reload(lua_State *L) {
    lua_pushboolean(L, signals_take_reload());
    return 1;
}

/* end_reloads() */
static int l_end_reloads(lua_State *L) {
    (void)L;
    signals_end_reloads();
    return 0;
}

/* catch_interrupts() -> descriptor that becomes readable with each Ctrl-C; nil, message */
static int l_catch_interrupts(lua_State *L) {
    int fd = interrupts_catch();
    if (fd < 0)
        return push_error(L, strerror(errno));
    lua_pushinteger(L, fd);
    return 1;
}

/* take_interrupts() -> how many there were */
static int l_take_interrupts(lua_State *L) {
    lua_pushinteger(L, interrupts_take());
    return 1;
}

/* set_interruption(error): what a Ctrl-C raises in the coroutine that it is aimed at */
static int l_set_interruption(lua_State *L) {
    lua_settop(L, 1);
    interrupts_set_error(L);
    return 0;
}

/* aim_interrupts([coroutine]): a Ctrl-C raises in it while it computes, in none without. The coroutine that was aimed
 * at before has to exist yet. */
static int l_aim_interrupts(lua_State *L) {
    interrupts_aim(lua_tothread(L, 1));
    return 0;
}

/* hold_output(is held): what is written to the terminal is kept for take_output, see streams.h */
static int l_hold_output(lua_State *L) {
    streams_hold(lua_toboolean(L, 1));
    return 0;
}

/* has_output() -> whether there is something for take_output */
static int l_has_output(lua_State *L) {
    lua_pushboolean(L, streams_hold_something());
    return 1;
}

/* take_output() -> the text kept, or nil */
static int l_take_output(lua_State *L) {
    size_t len;
    char *text = streams_take(&len);
    if (text == NULL)
        return 0;
    lua_pushlstring(L, text, len);
    free(text);
    return 1;
}

/* is_in_line() -> whether what was written to the terminal last does not end in a newline */
static int l_is_in_line(lua_State *L) {
    lua_pushboolean(L, streams_are_in_line());
    return 1;
}

/* begin_line(): the cursor of the terminal was brought to the beginning of a line */
static int l_begin_line(lua_State *L) {
    (void)L;
    streams_begin_line();
    return 0;
}

/* terminal() -> a file that writes to stdout past all that is held; never closed */
static int l_terminal(lua_State *L) {
    luaL_Stream *stream = lua_newuserdatauv(L, sizeof *stream, 0);
    stream->f = streams_terminal();
    stream->closef = NULL;
    if (stream->f == NULL)
        return push_error(L, strerror(ENOMEM));
    luaL_setmetatable(L, LUA_FILEHANDLE);
    return 1;
}

/* guard_output() -> true; nil, message: see streams.h */
static int l_guard_output(lua_State *L) {
    return push_outcome(L, streams_guard(L));
}

/* lost_output() -> what prevents that what was printed to stdout is written; nil: all of it is */
static int l_lost_output(lua_State *L) {
    int error;
    if (!streams_lost(&error))
        return 0;
    lua_pushstring(L, "cannot write to stdout");
    if (error != 0)
        lua_pushfstring(L, "%s: %s", lua_tostring(L, -1), strerror(error));
    return 1;
}

/* set_notice(pattern, is UTC): the line about dropped lines, see streams.h */
static int l_set_notice(lua_State *L) {
    if (streams_set_notice(luaL_checkstring(L, 1), lua_toboolean(L, 2)) != 0)
        return luaL_error(L, "not enough memory");
    return 0;
}

/* stand(): from now on no reader of stdout or stderr holds us up, and none that goes away ends us */
static int l_stand(lua_State *L) {
    (void)L;
    signals_survive_pipes();
    streams_stop_waiting();
    return 0;
}

/* log(line): to stderr, without waiting for its reader */
static int l_log(lua_State *L) {
    size_t len;
    const char *line = luaL_checklstring(L, 1, &len);
    streams_log(line, len);
    return 0;
}

/* settle(seconds): what was written is with its readers, or the time is over, or nothing waits for them */
static int l_settle(lua_State *L) {
    lua_Number limit_s = luaL_checknumber(L, 1);
    luaL_argcheck(L, limit_s >= 0 && limit_s < 1e6, 1, "seconds");
    streams_settle((int)(limit_s * 1000));
    return 0;
}

/* lock(path of a file or directory that exists) -> descriptor, which holds flock(LOCK_EX) on it until it is closed, by
 * the end of the process too; nil, message: it is held by another, or cannot be opened */
static int l_lock(lua_State *L) {
    const char *path = luaL_checkstring(L, 1);
    struct stat opened, present;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return push_error(L, strerror(errno));
    if (flock(fd, LOCK_EX | LOCK_NB) != 0 || fstat(fd, &opened) != 0 || stat(path, &present) != 0 ||
        opened.st_ino != present.st_ino || opened.st_dev != present.st_dev) {
        (void)close(fd);
        return push_error(L, "it is held by another, or is there no more");
    }
    lua_pushinteger(L, fd);
    return 1;
}

/* For life: a user is a process. */
static struct dev_user dev_user = {.users_fd = -1, .keeper_fd = -1};

/* join_dev(program, name) -> endpoint, directory; nil, message */
static int l_join_dev(lua_State *L) {
    struct dev_text why = {{0}};
    if (dev_join(luaL_checkstring(L, 1), luaL_checkstring(L, 2), &dev_user, &why) != 0)
        return push_error(L, why.s);
    lua_pushstring(L, dev_user.endpoint);
    lua_pushstring(L, dev_user.dir);
    return 2;
}

/* stay_in_dev(program, name) -> descriptor that becomes readable when dev_event() has something; nil, message */
static int l_stay_in_dev(lua_State *L) {
    char *program = strdup(luaL_checkstring(L, 1)), *name = strdup(luaL_checkstring(L, 2));
    int fd = program && name ? dev_stay(program, name, &dev_user) : -ENOMEM;
    if (fd < 0)
        return push_error(L, strerror(-fd));
    lua_pushinteger(L, fd);
    return 1;
}

/* dev_event() -> "gone" | "started" | "not started", why | nil */
static int l_dev_event(lua_State *L) {
    static const char *const names[] = {NULL, "gone", "not started", "started"};
    struct dev_text why;
    enum dev_event event = dev_take_event(&why);
    lua_pushstring(L, names[event]);
    lua_pushstring(L, event == DEV_NOT_STARTED ? why.s : NULL);
    return 2;
}

/* Rounded up, and as long as can be said. */
static int milliseconds(double s) {
    return s < INT_MAX / 1000 ? (int)(s * 1000 + 0.999) : INT_MAX;
}

/* watch(limit in seconds, or 0 for none, line when silent, line when a signal is ignored, line when ended by a second
 * one, is UTC) -> true; nil, message */
static int l_watch(lua_State *L) {
    lua_Number limit_s = luaL_checknumber(L, 1);
    luaL_argcheck(L, limit_s >= 0, 1, "seconds");
    struct watchdog_lines lines = {.silent = limit_s > 0 ? luaL_checkstring(L, 2) : NULL,
                                   .ignored = luaL_checkstring(L, 3),
                                   .ended = luaL_checkstring(L, 4),
                                   .is_utc = lua_toboolean(L, 5)};
    return push_outcome(L, watchdog_start(milliseconds(limit_s), &lines));
}

/* pat(): the loop turns */
static int l_pat(lua_State *L) {
    (void)L;
    watchdog_pat();
    return 0;
}

/* question() -> descriptor that becomes readable when answer() is to be called; nil, message */
static int l_question(lua_State *L) {
    int fd = watchdog_question();
    if (fd < 0)
        return push_error(L, strerror(errno));
    lua_pushinteger(L, fd);
    return 1;
}

/* answer(): the loop turns, as was asked */
static int l_answer(lua_State *L) {
    (void)L;
    watchdog_answer();
    return 0;
}

/* set_lapse(seconds until the place lapses, TTL): see watchdog.h */
static int l_set_lapse(lua_State *L) {
    lua_Number left_s = luaL_checknumber(L, 1), ttl_s = luaL_checknumber(L, 2);
    luaL_argcheck(L, left_s >= 0 && left_s < 1e6, 1, "seconds");
    watchdog_set_lapse(left_s, ttl_s);
    return 0;
}

/* begin_answer() -> true; nil, message: see answer.h */
static int l_begin_answer(lua_State *L) {
    return push_outcome(L, answer_begin());
}

/* answer(text) -> true; nil, message */
static int l_answer_with(lua_State *L) {
    size_t len;
    const char *text = luaL_checklstring(L, 1, &len);
    return push_outcome(L, answer_write(text, len));
}

/* answer_in_time(seconds, text, exit status), or answer_in_time() -> true; nil, message */
static int l_answer_in_time(lua_State *L) {
    size_t len = 0;
    lua_Number limit_s = luaL_optnumber(L, 1, 0);
    luaL_argcheck(L, limit_s >= 0, 1, "seconds");
    const char *text = limit_s > 0 ? luaL_checklstring(L, 2, &len) : "";
    return push_outcome(L, answer_in_time(milliseconds(limit_s), text, len, (int)luaL_optinteger(L, 3, 0)));
}

/* unwatch() */
static int l_unwatch(lua_State *L) {
    (void)L;
    watchdog_stop();
    return 0;
}

int luaopen_lunarch_host(lua_State *L) {
    static const luaL_Reg functions[] = {
        {"is_terminal", l_is_terminal},
        {"is_journal", l_is_journal},
        {"notify", l_notify},
        {"notify_watchdog", l_notify_watchdog},
        {"is_program", l_is_program},
        {"hostname", l_hostname},
        {"time", l_time},
        {"pid", l_pid},
        {"catch_signals", l_catch_signals},
        {"caught_signal", l_caught_signal},
        {"catch_reloads", l_catch_reloads},
        {"take_reload", l_take_reload},
        {"end_reloads", l_end_reloads},
        {"catch_interrupts", l_catch_interrupts},
        {"take_interrupts", l_take_interrupts},
        {"set_interruption", l_set_interruption},
        {"aim_interrupts", l_aim_interrupts},
        {"hold_output", l_hold_output},
        {"has_output", l_has_output},
        {"take_output", l_take_output},
        {"is_in_line", l_is_in_line},
        {"begin_line", l_begin_line},
        {"terminal", l_terminal},
        {"guard_output", l_guard_output},
        {"lost_output", l_lost_output},
        {"set_notice", l_set_notice},
        {"stand", l_stand},
        {"log", l_log},
        {"settle", l_settle},
        {"lock", l_lock},
        {"join_dev", l_join_dev},
        {"stay_in_dev", l_stay_in_dev},
        {"dev_event", l_dev_event},
        {"watch", l_watch},
        {"pat", l_pat},
        {"question", l_question},
        {"answer", l_answer},
        {"set_lapse", l_set_lapse},
        {"unwatch", l_unwatch},
        {"begin_answer", l_begin_answer},
        {"answer_with", l_answer_with},
        {"answer_in_time", l_answer_in_time},
        {NULL, NULL},
    };
    luaL_newlib(L, functions);
    facts_register(L);
    lua_pushliteral(L, LUN_VERSION);
    lua_setfield(L, -2, "version");
    return 1;
}
