/* module/command_plan.c - reads what a script says of a command into what base/command.h takes. See command_plan.h. */
#include "module/command_plan.h"

#include <math.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "module/module.h"

extern char **environ;

#define USUAL_PATH "/usr/local/bin:/usr/bin:/bin"

/* Room for `n` pointers and a NULL, on the Lua stack. */
static const char **new_words(lua_State *L, size_t n) {
    const char **words = lua_newuserdatauv(L, (n + 1) * sizeof *words, 0);
    memset(words, 0, (n + 1) * sizeof *words);
    return words;
}

/* A list of strings, which the table at `index` keeps. */
static const char **read_words(lua_State *L, int index) {
    size_t n = lua_rawlen(L, index);
    const char **words = new_words(L, n);
    for (size_t i = 0; i < n; i++) {
        lua_rawgeti(L, index, (int)i + 1);
        words[i] = luaL_checkstring(L, -1);
        lua_pop(L, 1);
    }
    return words;
}

/* ---- the environment --------------------------------------------------------------------------------- */

static bool is_changed(lua_State *L, int changes, const char *entry) {
    const char *end = strchr(entry, '=');
    lua_pushlstring(L, entry, end ? (size_t)(end - entry) : strlen(entry));
    lua_rawget(L, changes);
    bool is_there = !lua_isnil(L, -1);
    lua_pop(L, 1);
    return is_there;
}

/* Ours, with the changes. The new entries are kept by a table on the stack. */
static const char **read_env(lua_State *L, int changes) {
    size_t n = 0, n_env = 0;
    while (environ && environ[n_env])
        n_env++;
    for (lua_pushnil(L); lua_next(L, changes) != 0; lua_pop(L, 1))
        n++;
    lua_createtable(L, (int)n, 0);
    int kept = lua_gettop(L), i_kept = 0;
    const char **env = new_words(L, n_env + n);
    n = 0;
    for (size_t i = 0; i < n_env; i++)
        if (!is_changed(L, changes, environ[i]))
            env[n++] = environ[i];
    for (lua_pushnil(L); lua_next(L, changes) != 0; lua_pop(L, 1)) {
        if (!lua_toboolean(L, -1))
            continue;
        env[n++] = lua_pushfstring(L, "%s=%s", lua_tostring(L, -2), lua_tostring(L, -1));
        lua_rawseti(L, kept, ++i_kept);
    }
    return env;
}

static const char *value_of(const char *const *env, const char *name) {
    size_t len = strlen(name);
    for (; *env; env++)
        if (strncmp(*env, name, len) == 0 && (*env)[len] == '=')
            return *env + len + 1;
    return NULL;
}

/* ---- where the program is ---------------------------------------------------------------------------- */

/* As the shell looks for it. */
static const char **read_paths(lua_State *L, const char *program, const char *const *env) {
    if (strchr(program, '/')) {
        const char **paths = new_words(L, 1);
        paths[0] = program;
        return paths;
    }
    const char *path = value_of(env, "PATH");
    if (!path || !*path)
        path = USUAL_PATH;
    size_t n = 1;
    for (const char *at = path; (at = strchr(at, ':')); at++)
        n++;
    lua_createtable(L, (int)n, 0);
    int kept = lua_gettop(L);
    const char **paths = new_words(L, n);
    for (size_t i = 0; i < n; i++) {
        size_t len = strcspn(path, ":");
        lua_pushlstring(L, len > 0 ? path : ".", len > 0 ? len : 1);
        lua_pushfstring(L, "%s/%s", lua_tostring(L, -1), program);
        paths[i] = lua_tostring(L, -1);
        lua_rawseti(L, kept, (int)i + 1);
        lua_pop(L, 1);
        path += len + 1;
    }
    return paths;
}

/* ---- the rest ---------------------------------------------------------------------------------------- */

/* What field `name` is, in nanoseconds. */
static int64_t read_span(lua_State *L, int index, const char *name) {
    lua_getfield(L, index, name);
    int64_t ns = (int64_t)(lua_tonumber(L, -1) * 1e9);
    lua_pop(L, 1);
    return ns;
}

/* From a billion seconds on it is for ever, as everywhere (lua/lunarch/internal/args.lua). */
static int64_t read_timeout(lua_State *L, int index, int64_t now) {
    lua_getfield(L, index, "timeout");
    double seconds = lua_isnil(L, -1) ? HUGE_VAL : lua_tonumber(L, -1);
    lua_pop(L, 1);
    return seconds < 1e9 ? now + (int64_t)(seconds * 1e9) : COMMAND_NEVER;
}

/* Of a session that is over, one that says so. */
static const _Atomic int64_t *read_session(lua_State *L, int index) {
    static const _Atomic int64_t over = 0;
    lua_getfield(L, index, "session");
    struct handle *handle = lua_isnil(L, -1) ? NULL : handle_peek(L, -1, &session_class);
    lua_pop(L, 1);
    if (!handle)
        return NULL;
    const _Atomic int64_t *word = handle->object ? lun_session_share(handle->object) : NULL;
    return word ? word : &over;
}

void command_plan_read(lua_State *L, int index, struct command_words *words, struct command_plan *ret) {
    luaL_checktype(L, index, LUA_TTABLE);
    luaL_checkstack(L, 16, NULL);
    lua_getfield(L, index, "argv");
    words->argv = read_words(L, lua_gettop(L));
    lua_getfield(L, index, "env");
    if (lua_isnil(L, -1))
        lua_newtable(L);
    words->env = read_env(L, lua_gettop(L));
    words->paths = read_paths(L, words->argv[0], words->env);
    lua_getfield(L, index, "cwd");
    int64_t now = clock_boottime_ns();
    *ret = (struct command_plan){
        .argv = words->argv,
        .paths = words->paths,
        .env = words->env,
        .cwd = lua_tostring(L, -1),
        .timeout_at_ns = read_timeout(L, index, now),
        .kill_after_ns = read_span(L, index, "kill_after"),
        .valid_until = read_session(L, index),
        .term_before_ns = read_span(L, index, "term_before"),
        .kill_before_ns = read_span(L, index, "kill_before"),
    };
}
