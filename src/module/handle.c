/* module/handle.c - the Lua objects that are made from a client, and what keeps them and the client alive for
 * each other. */
#include "module/module.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

struct handle *handle_new(lua_State *L, const struct class *class) {
    struct handle **slot = lua_newuserdatauv(L, sizeof *slot, 0);
    *slot = NULL;
    luaL_getmetatable(L, class->name);
    lua_setmetatable(L, -2);
    struct handle *handle = malloc(sizeof *handle);
    if (!handle) {
        luaL_error(L, "not enough memory");
        return NULL;
    }
    *handle = (struct handle){.class = class, .refs = 1};
    *slot = handle;
    return handle;
}

void handle_open(struct handle *handle, struct client_ref *ref, void *object) {
    handle->object = object;
    handle->ref = ref;
    client_ref_hold(ref);
}

struct handle *handle_peek(lua_State *L, int index, const struct class *class) {
    struct handle **slot = luaL_checkudata(L, index, class->name);
    if (!*slot)
        luaL_error(L, "%s: the object has been collected", class->name);
    return *slot;
}

struct handle *handle_check(lua_State *L, int index, const struct class *class) {
    struct handle *handle = handle_peek(L, index, class);
    if (!handle->object)
        luaL_error(L, "%s: the object is closed", class->name);
    return handle;
}

/* The object goes first: it must not outlive its client, which may go with the reference. */
void handle_close(struct handle *handle) {
    if (!handle->object)
        return;
    handle->class->free(handle->object);
    handle->object = NULL;
    struct client_ref *ref = handle->ref;
    handle->ref = NULL;
    client_ref_release(ref);
}

void handle_unref(struct handle *handle) {
    if (handle && --handle->refs == 0)
        free(handle);
}

static int handle_gc(lua_State *L) {
    struct handle **slot = lua_touserdata(L, 1);
    struct handle *handle = *slot;
    *slot = NULL;
    if (handle) {
        handle_close(handle);
        handle_unref(handle);
    }
    return 0;
}

static int handle_tostring(lua_State *L) {
    lua_pushfstring(L, "%s: %p", lua_tostring(L, lua_upvalueindex(1)), lua_topointer(L, 1));
    return 1;
}

/* ---- methods that ask -------------------------------------------------------------------------------- */

static int push_over(lua_State *L, const char *class_name) {
    lua_pushfstring(L, "the %s is closed", strrchr(class_name, '.') + 1);
    return push_error(L, LUN_ECLOSED, lua_tostring(L, -1));
}

/* Upvalues: the asking, its class or NULL. Of an object that is closed or collected, the answer is "closed". */
static int ask(lua_State *L) {
    const struct asking *asking = lua_touserdata(L, lua_upvalueindex(1));
    const struct class *class = lua_touserdata(L, lua_upvalueindex(2));
    void **slot = luaL_checkudata(L, 1, class ? class->name : CLIENT_CLASS);
    struct handle *self = class ? *slot : NULL;
    struct client_ref *ref = class ? self ? self->ref : NULL : *slot;
    if (!ref)
        return push_over(L, class ? class->name : CLIENT_CLASS);
    struct lun_err err = {0};
    struct lun_ask how;
    struct pending *pending =
        pending_new(L, ref, self, (enum answer)asking->answer, asking->timeout_index, &how);
    int token = lua_gettop(L);
    int code = asking->ask(L, self ? self->object : ref->client, &how, &pending->lun, &err);
    lua_settop(L, token);
    return pending_asked(L, pending, code, &err);
}

void asking_register(lua_State *L, const struct asking *asks, const struct class *class) {
    for (const struct asking *asking = asks; asking && asking->name; asking++) {
        lua_pushlightuserdata(L, (void *)(uintptr_t)asking);
        lua_pushlightuserdata(L, (void *)(uintptr_t) class);
        lua_pushcclosure(L, ask, 2);
        lua_setfield(L, -2, asking->name);
    }
}

void handle_register(lua_State *L, const struct class *class) {
    if (luaL_newmetatable(L, class->name)) {
        lua_newtable(L);
        luaL_setfuncs(L, class->methods, 0);
        asking_register(L, class->asks, class);
        lua_setfield(L, -2, "__index");
        lua_pushcfunction(L, handle_gc);
        lua_setfield(L, -2, "__gc");
        lua_pushstring(L, class->name);
        lua_pushcclosure(L, handle_tostring, 1);
        lua_setfield(L, -2, "__tostring");
        lua_pushstring(L, class->name);
        lua_setfield(L, -2, "__name");
    }
    lua_pop(L, 1);
}
