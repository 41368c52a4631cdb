/* module/core.c - luaopen_lunarch_core: the private half of the Lua module. It may be opened several times in
 * one Lua state. */
#include "module/module.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/output.h"
#include "module/bell.h"
#include "module/callbacks.h"
#include "module/commands.h"
#include "module/ending.h"
#include "module/signals.h"

/* Exported by name. */
int luaopen_lunarch_core(lua_State *L);

static int core_now(lua_State *L) {
    push_seconds(L, lun_now_ns());
    return 1;
}

/* sleep(seconds) -> whether all of it was slept: a signal ends it, so that Lua can look what was wanted. */
static int core_sleep(lua_State *L) {
    lua_Number seconds = luaL_checknumber(L, 1);
    if (!(seconds >= 0 && seconds < 1e9))
        return luaL_argerror(L, 1, "seconds expected");
    struct timespec span = {.tv_sec = (time_t)seconds};
    span.tv_nsec = (long)((seconds - (lua_Number)span.tv_sec) * 1e9);
    lua_pushboolean(L, nanosleep(&span, NULL) == 0);
    return 1;
}

/* await_fd(fd, timeout_ms) -> whether it is readable. */
static int core_await_fd(lua_State *L) {
    struct pollfd pollfd = {.fd = (int)luaL_checkinteger(L, 1), .events = POLLIN};
    lua_pushboolean(L, poll(&pollfd, 1, (int)luaL_checkinteger(L, 2)) > 0);
    return 1;
}

/* process_exists(pid) -> whether there is one, ours or not. */
static int core_process_exists(lua_State *L) {
    lua_pushboolean(L, kill((pid_t)luaL_checkinteger(L, 1), 0) == 0 || errno == EPERM);
    return 1;
}

/* ---- lines on stderr ---------------------------------------------------------------------------------- */

#define LAST_WORDS_MS 1000

static struct output stderr_output;

static void flush_stderr(void) {
    (void)output_flush(&stderr_output, LAST_WORDS_MS);
}

static void open_stderr(void) {
    output_init(&stderr_output, "stderr", STDERR_FILENO, (struct output_hooks){0});
    (void)atexit(flush_stderr);
}

/* say(text): writes it to stderr, and never waits for its reader (base/output.h). */
static int core_say(lua_State *L) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    size_t len;
    const char *text = luaL_checklstring(L, 1, &len);
    (void)pthread_once(&once, open_stderr);
    (void)output_write_now(&stderr_output, text, len);
    return 0;
}

/* ---- the end of a process ----------------------------------------------------------------------------- */

static int core_shutdown(lua_State *L) {
    lun_shutdown(luaL_checkinteger(L, 1));
    return 0;
}

/* is_yieldable() -> whether the coroutine that runs can yield here: no C function (string.gsub, table.sort, require) stands
 * between this call and where it was resumed. nginx takes `coroutine.isyieldable` away. */
static int core_is_yieldable(lua_State *L) {
    lua_pushboolean(L, lua_isyieldable(L));
    return 1;
}

/* count_state(name) -> how many Lua states of this process have said `name`, the one that says it now included. */
static int core_count_state(lua_State *L) {
    static struct {
        pid_t pid;
        lua_Integer n;
    } counts[2];
    size_t i = strcmp(luaL_checkstring(L, 1), "stream") == 0;
    if (counts[i].pid != getpid())
        counts[i].n = 0;
    counts[i].pid = getpid();
    lua_pushinteger(L, ++counts[i].n);
    return 1;
}

/* ---- the end of a Lua state -------------------------------------------------------------------------- */

/* What a collected client still has to tell etcd is told by then, or lapses with its lease. */
#define CLOSING_MS 1000

static int at_close(lua_State *L) {
    (void)L;
    lun_shutdown(CLOSING_MS);
    return 0;
}

/* Lua finalizes in the reverse order of creation when it closes: so this, older than any client, comes after
 * them all. Without it a program that merely ends would outrun its own releases now and then. */
static void keep_for_close(lua_State *L) {
    static const char name[] = LUN_CORE ".at_close";
    if (luaL_newmetatable(L, name)) {
        lua_pushcfunction(L, at_close);
        lua_setfield(L, -2, "__gc");
        (void)lua_newuserdatauv(L, 1, 0);
        lua_pushvalue(L, -2);
        lua_setmetatable(L, -2);
        (void)luaL_ref(L, LUA_REGISTRYINDEX);
    }
    lua_pop(L, 1);
}

static const luaL_Reg FUNCTIONS[] = {
    {"bell", bell_open},
    {"endings", endings_open},
    {"is_yieldable", core_is_yieldable},
    {"count_state", core_count_state},
    {"commands", commands_open},
    {"connect", client_ref_connect},
    {"endpoints", client_ref_endpoints},
    {"process_exists", core_process_exists},
    {"now", core_now},
    {"sleep", core_sleep},
    {"await_fd", core_await_fd},
    {"say", core_say},
    {"on_callback_error", callbacks_watch},
    {"catch_signals", signals_catch_unhandled},
    {"caught_signal", signals_caught_unhandled},
    {"release_signals", signals_release},
    {"end_by_signal", signals_end_by},
    {"shutdown", core_shutdown},
    {NULL, NULL},
};

#define ADDRESS(class_name) &class_name,
const struct class *const module_classes[] = {MODULE_CLASSES(ADDRESS) NULL};
#undef ADDRESS

int luaopen_lunarch_core(lua_State *L) {
    keep_for_close(L);
    client_ref_register(L);
    pending_register(L);
    bell_register(L);
    commands_register(L);
    endings_register(L);
    for (const struct class *const *class = module_classes; *class; class ++)
        handle_register(L, *class);
    luaL_newlib(L, FUNCTIONS);
    lua_pushliteral(L, LUN_VERSION);
    lua_setfield(L, -2, "version");
    answer_push_classes(L);
    lua_setfield(L, -2, "values");
    numbers_push(L);
    lua_setfield(L, -2, "numbers");
    return 1;
}
