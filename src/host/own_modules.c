/* host/own_modules.c - where our own Lua files come from, and what they see. See own_modules.h. */
#include "host/own_modules.h"

#include <stdbool.h>
#include <string.h>

#include <lauxlib.h>

/* What the searcher carries. */
enum { ENVIRONMENT = 1, SEARCH, LOAD_LIBRARY, LUA_PATHS, C_PATHS, N_UPVALUES = C_PATHS };

static bool is_ours(const char *name) {
    return strcmp(name, "lunarch") == 0 || strncmp(name, "lunarch.", strlen("lunarch.")) == 0;
}

/* Pushes the path of the file that a name stands for, or nil. */
static const char *push_path(lua_State *L, const char *name, int paths) {
    lua_pushvalue(L, lua_upvalueindex(SEARCH));
    lua_pushstring(L, name);
    lua_pushvalue(L, lua_upvalueindex(paths));
    lua_call(L, 2, 1);
    return lua_tostring(L, -1);
}

static void push_chunk(lua_State *L, const char *path) {
    if (luaL_loadfilex(L, path, "t") != LUA_OK)
        (void)lua_error(L);
    lua_pushvalue(L, lua_upvalueindex(ENVIRONMENT));
    (void)lua_setupvalue(L, -2, 1);
}

static void push_library(lua_State *L, const char *name, const char *path) {
    lua_pushvalue(L, lua_upvalueindex(LOAD_LIBRARY));
    lua_pushstring(L, path);
    lua_pushliteral(L, "luaopen_");
    (void)luaL_gsub(L, name, ".", "_");
    lua_concat(L, 2);
    lua_call(L, 2, 2);
    if (lua_isnil(L, -2))
        (void)luaL_error(L, "%s", lua_tostring(L, -1));
    lua_pop(L, 1);
}

/* A searcher of `require`: the loader and the file's path, or nothing. */
static int find(lua_State *L) {
    const char *name = luaL_checkstring(L, 1), *path;
    if (!is_ours(name))
        return 0;
    if ((path = push_path(L, name, LUA_PATHS)) != NULL)
        push_chunk(L, path);
    else if ((path = push_path(L, name, C_PATHS)) != NULL)
        push_library(L, name, path);
    else
        return 0;
    lua_pushstring(L, path);
    return 2;
}

/* Pushes a table with all that is global now; what comes to be global later is seen through it. */
static void push_environment(lua_State *L) {
    lua_newtable(L);
    lua_pushglobaltable(L);
    for (lua_pushnil(L); lua_next(L, -2) != 0;) {
        lua_pushvalue(L, -2);
        lua_insert(L, -2);
        lua_rawset(L, -5);
    }
    lua_createtable(L, 0, 1);
    lua_insert(L, -2);
    lua_setfield(L, -2, "__index");
    lua_setmetatable(L, -2);
}

void own_modules_register(lua_State *L, const char *lua_paths, const char *c_paths) {
    lua_getglobal(L, "package");
    int package = lua_gettop(L);
    push_environment(L);
    lua_getfield(L, package, "searchpath");
    lua_getfield(L, package, "loadlib");
    lua_pushstring(L, lua_paths);
    lua_pushstring(L, c_paths);
    lua_pushcclosure(L, find, N_UPVALUES);
    /* Before all others but package.preload. */
    lua_getfield(L, package, "searchers");
    for (lua_Integer i = luaL_len(L, -1); i >= 2; i--) {
        lua_rawgeti(L, -1, i);
        lua_rawseti(L, -2, i + 1);
    }
    lua_pushvalue(L, -2);
    lua_rawseti(L, -2, 2);
    lua_settop(L, package - 1);
}
