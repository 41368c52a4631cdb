/* module/ending.c - nginx says when a request has ended.
 *
 * A request of nginx's runs the cleanup handlers that were added to it once, when it is freed or terminated, whatever
 * happened to it: internal redirects, an aborted connection, keep-alive, HTTP/2. A timer of its Lua module, and a phase of
 * TLS, is a request in this sense too. A handler of ours puts a number on a list, and Lua takes it from there.
 *
 * nginx's headers are not needed: the function that adds a handler is looked up by name, and what it returns has had the
 * same three fields since nginx 0.6. Everything here runs on nginx's only thread. */
#include "module/ending.h"
#include "module/module.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

static const char ENDINGS[] = LUN_CORE ".endings";

/* LuaJIT's type of a cdata. */
#define TYPE_CDATA 10

/* ngx_http_cleanup_t, and ngx_stream_lua_cleanup_t. */
struct cleanup {
    void (*handler)(void *data);
    void *data;
    struct cleanup *next;
};

typedef struct cleanup *add_function(void *request, size_t size);

/* Lives until its Lua object and the requests that are watched are gone. */
struct endings {
    add_function *add;
    struct ending *first, **last; /* due */
    unsigned refs;
    int fd; /* -1: the Lua object is gone */
};

struct ending {
    struct endings *endings;
    struct ending *next;
    lua_Integer number;
};

static void unref(struct endings *endings) {
    if (--endings->refs == 0)
        free(endings);
}

/* A cleanup handler of nginx's. */
static void on_end(void *data) {
    struct ending *ending = data;
    struct endings *endings = ending->endings;
    if (endings->fd < 0) {
        free(ending);
        unref(endings);
        return;
    }
    ending->next = NULL;
    *endings->last = ending;
    endings->last = &ending->next;
    (void)!write(endings->fd, &(uint64_t){1}, sizeof(uint64_t));
}

static lua_Integer take(struct endings *endings) {
    struct ending *ending = endings->first;
    lua_Integer number = ending->number;
    endings->first = ending->next;
    if (!endings->first)
        endings->last = &endings->first;
    free(ending);
    unref(endings);
    return number;
}

/* ---- opening ---------------------------------------------------------------------------------------- */

static add_function *find_add(const char *name) {
    add_function *add;
    void *symbol = dlsym(RTLD_DEFAULT, name);
    memcpy(&add, &symbol, sizeof add);
    return add;
}

static int push_failure(lua_State *L, const char *what, const char *why) {
    lua_pushnil(L);
    lua_pushfstring(L, "%s: %s", what, why);
    return 2;
}

int endings_open(lua_State *L) {
    bool is_stream = strcmp(luaL_checkstring(L, 1), "stream") == 0;
    const char *name = is_stream ? "ngx_stream_lua_cleanup_add" : "ngx_http_cleanup_add";
    add_function *add = find_add(name);
    if (!add)
        return push_failure(L, name, "this nginx does not export it");
    struct endings **self = lua_newuserdatauv(L, sizeof(struct endings *), 0);
    *self = NULL;
    luaL_getmetatable(L, ENDINGS);
    lua_setmetatable(L, -2);
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (fd < 0)
        return push_failure(L, "an eventfd", strerror(errno));
    struct endings *endings = malloc(sizeof *endings);
    if (!endings) {
        (void)close(fd);
        return push_failure(L, "the ends of requests", strerror(ENOMEM));
    }
    *endings = (struct endings){.add = add, .last = &endings->first, .refs = 1, .fd = fd};
    *self = endings;
    return 1;
}

/* ---- methods ---------------------------------------------------------------------------------------- */

static struct endings *check(lua_State *L) {
    struct endings **self = luaL_checkudata(L, 1, ENDINGS);
    if (!*self)
        luaL_error(L, "%s: it is closed", ENDINGS);
    return *self;
}

/* What resty.core's get_request returns: a light userdata, or a cdata that holds the pointer. */
static void *read_request(lua_State *L, int index) {
    if (lua_type(L, index) == LUA_TLIGHTUSERDATA)
        return lua_touserdata(L, index);
    if (lua_type(L, index) == TYPE_CDATA)
        return *(void *const *)lua_topointer(L, index);
    luaL_argerror(L, index, "a request of nginx's expected");
    return NULL;
}

/* The handlers of a request and of its subrequests are in one list, the latest first. */
static lua_Integer first_of(const struct endings *endings, const struct cleanup *latest) {
    lua_Integer first = 0;
    for (const struct cleanup *cleanup = latest; cleanup; cleanup = cleanup->next) {
        const struct ending *ending = cleanup->data;
        if (cleanup->handler == on_end && ending->endings == endings)
            first = ending->number;
    }
    return first;
}

static int endings_watch(lua_State *L) {
    struct endings *endings = check(L);
    void *request = read_request(L, 2);
    lua_Integer number = luaL_checkinteger(L, 3);
    struct ending *ending = malloc(sizeof *ending);
    struct cleanup *cleanup = ending ? endings->add(request, 0) : NULL;
    if (!cleanup) {
        free(ending);
        return push_failure(L, "the end of a request", strerror(ENOMEM));
    }
    *ending = (struct ending){.endings = endings, .number = number};
    endings->refs++;
    cleanup->handler = on_end;
    cleanup->data = ending;
    lua_pushinteger(L, first_of(endings, cleanup));
    return 1;
}

static int endings_take(lua_State *L) {
    struct endings *endings = check(L);
    if (!endings->first)
        return 0;
    lua_pushinteger(L, take(endings));
    return 1;
}

static int endings_fd(lua_State *L) {
    lua_pushinteger(L, check(L)->fd);
    return 1;
}

static int endings_gc(lua_State *L) {
    struct endings **self = luaL_checkudata(L, 1, ENDINGS);
    struct endings *endings = *self;
    *self = NULL;
    if (!endings)
        return 0;
    while (endings->first)
        (void)take(endings);
    (void)close(endings->fd);
    endings->fd = -1;
    unref(endings);
    return 0;
}

static const luaL_Reg METHODS[] = {
    {"watch", endings_watch}, {"take", endings_take}, {"fd", endings_fd}, {NULL, NULL}};

void endings_register(lua_State *L) {
    if (luaL_newmetatable(L, ENDINGS)) {
        lua_newtable(L);
        luaL_setfuncs(L, METHODS, 0);
        lua_setfield(L, -2, "__index");
        lua_pushcfunction(L, endings_gc);
        lua_setfield(L, -2, "__gc");
    }
    lua_pop(L, 1);
}
