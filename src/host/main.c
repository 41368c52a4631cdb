/* host/main.c - the program `lunarch`: a Lua VM that finds its files beside itself, built or installed, and
 * leaves the rest to Lua (lua/lunarch/cli). It carries no core and no gRPC; a script loads those as it
 * would under any other Lua. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>

#include "base/limits.h"
#include "host/dev.h"
#include "host/host.h"
#include "host/init.h"
#include "host/own_modules.h"

/* What trying again cannot mend: cli/common/exit.lua. */
enum { EXIT_USAGE = 2 };

/* libuv aborts where it gets none; so do its loop, files of Lua and the first ones of what is run. */
enum { N_DESCRIPTORS = 16 };

/* This program's file; where there is no /proc, as it was started. */
static int find_program(char path[PATH_MAX]) {
    ssize_t len = readlink("/proc/self/exe", path, PATH_MAX - 1);
    if (len >= 0) {
        path[len] = '\0';
        return 0;
    }
    int error = errno;
    const char *started = (const char *)getauxval(AT_EXECFN);
    return started != NULL && realpath(started, path) != NULL ? 0 : -error;
}

/* <prefix>/bin/lunarch -> <prefix>. */
static int find_prefix(char prefix[PATH_MAX]) {
    int error = find_program(prefix);
    if (error != 0)
        return error;
    for (int i = 0; i < 2; i++) {
        char *slash = strrchr(prefix, '/');
        if (slash == NULL)
            return -ENOENT;
        *slash = '\0';
    }
    return 0;
}

/* What is opened first must not become our stdin, stdout or stderr: libuv aborts when it closes one of these. */
static void fill_standard_fds(void) {
    int fd;
    do {
        fd = open("/dev/null", O_RDWR);
    } while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd >= 0)
        (void)close(fd);
}

/* Ours first, and Lua's own last, where a LUA_PATH without ";;" leaves these out: we need argparse, luv and cjson. */
static void set_path(lua_State *L, const char *field, const char *ours, const char *standard) {
    lua_getglobal(L, "package");
    lua_getfield(L, -1, field);
    const char *given = lua_tostring(L, -1);
    bool has_standard = strstr(given, standard) != NULL;
    lua_pushfstring(L, "%s;%s%s%s", ours, given, has_standard ? "" : ";", has_standard ? "" : standard);
    lua_setfield(L, -3, field);
    lua_pop(L, 2);
}

static void set_paths(lua_State *L, const char *prefix) {
    const char *lua_paths =
        lua_pushfstring(L, "%s/%s/?.lua;%s/%s/?/init.lua", prefix, LUNARCH_LUA_DIR, prefix, LUNARCH_LUA_DIR);
    const char *c_paths = lua_pushfstring(L, "%s/%s/?.so", prefix, LUNARCH_LUA_CDIR);
    set_path(L, "path", lua_paths, LUA_PATH_DEFAULT);
    set_path(L, "cpath", c_paths, LUA_CPATH_DEFAULT);
    own_modules_register(L, lua_paths, c_paths);
    lua_pop(L, 2);
}

static int add_traceback(lua_State *L) {
    luaL_traceback(L, L, luaL_tolstring(L, 1, NULL), 1);
    return 1;
}

/* Arguments: prefix, argc, argv, why nothing can be run or NULL. Returns the exit status. */
static int run_cli(lua_State *L) {
    const char *prefix = lua_touserdata(L, 1);
    int argc = (int)lua_tointeger(L, 2);
    char **argv = lua_touserdata(L, 3);

    luaL_openlibs(L);
    set_paths(L, prefix);
    luaL_requiref(L, "lunarch.host", luaopen_lunarch_host, 0);
    lua_pushstring(L, prefix);
    lua_setfield(L, -2, "prefix");
    lua_pushstring(L, lua_touserdata(L, 4));
    lua_setfield(L, -2, "trouble");

    lua_getglobal(L, "require");
    lua_pushliteral(L, "lunarch.cli");
    lua_call(L, 1, 1);
    lua_getfield(L, -1, "main");
    lua_createtable(L, argc > 0 ? argc - 1 : 0, 0);
    for (int i = 1; i < argc; i++) {
        lua_pushstring(L, argv[i]);
        lua_rawseti(L, -2, i);
    }
    lua_call(L, 1, 1);
    return 1;
}

static int run(char *prefix, int argc, char **argv, char *trouble) {
    lua_State *L = luaL_newstate();
    if (L == NULL) {
        (void)fputs("lunarch: no memory for a Lua VM\n", stderr);
        return EXIT_FAILURE;
    }
    lua_pushcfunction(L, add_traceback);
    lua_pushcfunction(L, run_cli);
    lua_pushlightuserdata(L, prefix);
    lua_pushinteger(L, argc);
    lua_pushlightuserdata(L, argv);
    lua_pushlightuserdata(L, trouble);
    int status = trouble != NULL ? EXIT_USAGE : EXIT_FAILURE;
    if (lua_pcall(L, 4, 1, 1) == LUA_OK)
        status = (int)lua_tointeger(L, -1);
    else
        (void)fprintf(stderr, "lunarch: %s\n", trouble != NULL ? trouble : lua_tostring(L, -1));
    lua_close(L);
    return status;
}

int main(int argc, char **argv) {
    if (argc == 4 && strcmp(argv[1], DEV_KEEPER_FLAG) == 0)
        return dev_keep(argv[2], argv[3]);
    fill_standard_fds();
    int status;
    if (init_look_after(&status))
        return status;
    char prefix[PATH_MAX], why[LIMITS_TEXT_BYTES];
    bool may_run = limits_allow_descriptors(N_DESCRIPTORS, why);
    int error = find_prefix(prefix);
    if (error != 0) {
        (void)fprintf(stderr, "lunarch: cannot tell where this program is (/proc/self/exe): %s\n",
                      strerror(-error));
        return EXIT_USAGE;
    }
    return run(prefix, argc, argv, may_run ? NULL : why);
}
