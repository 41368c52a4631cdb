/* support/luajit.c - an interpreter for specs, `luajit [-e TEXT | FILE] [ARGUMENT...]`, on the very library that nginx's
 * Lua module uses: Debian's own program luajit excludes that library.
 *
 * Its heap is the allocator's, so that the sanitizers see what the module keeps in Lua's objects. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>

static lua_State *interrupted;

static void *allocate(void *arg, void *block, size_t old_size, size_t size) {
    (void)arg;
    (void)old_size;
    if (size > 0)
        return realloc(block, size);
    free(block);
    return NULL;
}

static void raise_interrupted(lua_State *L, lua_Debug *debug) {
    (void)debug;
    lua_sethook(L, NULL, 0, 0);
    luaL_error(L, "interrupted!");
}

/* As in lua.c: the first one is an error in Lua, the second ends the process. */
static void on_sigint(int number) {
    signal(number, SIG_DFL);
    lua_sethook(interrupted, raise_interrupted, LUA_MASKCALL | LUA_MASKRET | LUA_MASKCOUNT, 1);
}

static int add_traceback(lua_State *L) {
    if (lua_isstring(L, 1) || !luaL_callmeta(L, 1, "__tostring"))
        lua_settop(L, 1);
    luaL_traceback(L, L, lua_isstring(L, -1) ? lua_tostring(L, -1) : luaL_typename(L, -1), 1);
    return 1;
}

static int load(lua_State *L, int argc, char **argv, int *ret_first) {
    if (argc > 2 && strcmp(argv[1], "-e") == 0) {
        *ret_first = 3;
        return luaL_loadbuffer(L, argv[2], strlen(argv[2]), "=(command line)");
    }
    *ret_first = argc > 1 ? 2 : 1;
    return luaL_loadfile(L, argc > 1 ? argv[1] : NULL);
}

static void set_arg(lua_State *L, int argc, char **argv, int first) {
    lua_createtable(L, argc, 0);
    for (int i = 0; i < argc; i++) {
        lua_pushstring(L, argv[i]);
        lua_rawseti(L, -2, i - first + 1);
    }
    lua_setglobal(L, "arg");
}

static int run(lua_State *L, int argc, char **argv) {
    luaL_openlibs(L);
    lua_pushcfunction(L, add_traceback);
    int first;
    int status = load(L, argc, argv, &first);
    if (status == 0) {
        set_arg(L, argc, argv, first);
        for (int i = first; i < argc; i++)
            lua_pushstring(L, argv[i]);
        signal(SIGINT, on_sigint);
        status = lua_pcall(L, argc - first, 0, 1);
        signal(SIGINT, SIG_DFL);
    }
    if (status != 0)
        fprintf(stderr, "luajit: %s\n", lua_tostring(L, -1));
    return status == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

int main(int argc, char **argv) {
    lua_State *L = lua_newstate(allocate, NULL);
    if (!L) {
        fputs("luajit: no memory for a Lua VM\n", stderr);
        return EXIT_FAILURE;
    }
    interrupted = L;
    int status = run(L, argc, argv);
    lua_close(L);
    return status;
}
