/* module/callbacks.c - stands where luv calls callbacks, and hands their errors to Lua.
 *
 * luv ends the process when a callback raises, with whatever leads in it. What calls them can be replaced by
 * luv_set_callback(), which luv exports; we are not linked with it, and ask the loader. This is the only C of ours that
 * calls Lua: luv's own would have. */
#include "module/callbacks.h"

#include <dlfcn.h>
#include <stdbool.h>
#include <string.h>

/* From luv.h. */
typedef int (*luv_pcall)(lua_State *L, int n_args, int n_results, int flags);
typedef void (*luv_set_callback)(lua_State *L, luv_pcall pcall);

static const char FAILED_KEY[] = "lunarch.callback_failed";

/* err -> { err, traceback }: the traceback is taken where the error was raised. */
static int describe(lua_State *L) {
    lua_settop(L, 1);
    lua_createtable(L, 2, 0);
    lua_pushvalue(L, 1);
    lua_rawseti(L, -2, 1);
    luaL_traceback(L, L, NULL, 1);
    lua_rawseti(L, -2, 2);
    return 1;
}

static void tell(lua_State *L) {
    lua_getfield(L, LUA_REGISTRYINDEX, FAILED_KEY);
    lua_pushvalue(L, -2);
    if (lua_pcall(L, 1, 0, 0) != 0)
        lua_pop(L, 1);
    lua_pop(L, 1);
}

/* As luv_cfpcall: n_args values above the function are taken; the number of results left, or an error below 0. */
static int call(lua_State *L, int n_args, int n_results, int flags) {
    (void)flags;
    int base = lua_gettop(L) - n_args;
    lua_pushcfunction(L, describe);
    lua_insert(L, base);
    int error = lua_pcall(L, n_args, n_results, base);
    lua_remove(L, base);
    if (error != 0) {
        tell(L);
        return -error;
    }
    return n_results == LUA_MULTRET ? lua_gettop(L) - base + 1 : n_results;
}

static luv_set_callback find_setter(const char *path) {
    void *luv = dlopen(path, RTLD_LAZY | RTLD_NOLOAD);
    void *found = dlsym(luv != NULL ? luv : RTLD_DEFAULT, "luv_set_callback");
    if (luv != NULL)
        (void)dlclose(luv);
    luv_set_callback setter;
    memcpy(&setter, &found, sizeof setter);
    return setter;
}

int callbacks_watch(lua_State *L) {
    luv_set_callback setter = find_setter(luaL_checkstring(L, 1));
    luaL_checktype(L, 2, LUA_TFUNCTION);
    if (setter != NULL) {
        lua_pushvalue(L, 2);
        lua_setfield(L, LUA_REGISTRYINDEX, FAILED_KEY);
        setter(L, call);
    }
    lua_pushboolean(L, setter != NULL);
    return 1;
}
