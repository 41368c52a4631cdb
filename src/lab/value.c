/* lab/value.c - values that go from one Lua state to another. */
#include <stdlib.h>
#include <string.h>

#include "lab/run.h"

enum { MAX_DEPTH = 8 };

static void copy_at(lua_State *from, int index, lua_State *to, int depth);

static int compare(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The names in it, in order; to be freed. */
static const char **names_in(lua_State *from, int index, size_t *ret_n) {
    size_t n = 0, room = 0;
    const char **names = NULL;
    for (lua_pushnil(from); lua_next(from, index); lua_pop(from, 1)) {
        if (lua_type(from, -2) != LUA_TSTRING)
            continue;
        if (n == room) {
            room = room ? room * 2 : 16;
            const char **more = realloc(names, room * sizeof *more);
            if (!more)
                abort();
            names = more;
        }
        names[n++] = lua_tostring(from, -2);
    }
    if (n > 0)
        qsort(names, n, sizeof *names, compare);
    *ret_n = n;
    return names;
}

/* In an order that is the same in every run: with it the receiver's memory is. */
static void copy_table(lua_State *from, int index, lua_State *to, int depth) {
    lua_newtable(to);
    for (size_t i = 1; i <= lua_rawlen(from, index); i++) {
        lua_rawgeti(from, index, (lua_Integer)i);
        copy_at(from, lua_gettop(from), to, depth + 1);
        lua_pop(from, 1);
        lua_rawseti(to, -2, (lua_Integer)i);
    }
    size_t n;
    const char **names = names_in(from, index, &n);
    for (size_t i = 0; i < n; i++) {
        lua_pushstring(from, names[i]);
        lua_rawget(from, index);
        copy_at(from, lua_gettop(from), to, depth + 1);
        lua_pop(from, 1);
        lua_setfield(to, -2, names[i]);
    }
    free(names);
}

static void copy_at(lua_State *from, int index, lua_State *to, int depth) {
    luaL_checkstack(to, 4, "a value that is nested too deep");
    luaL_checkstack(from, 4, "a value that is nested too deep");
    size_t len;
    switch (lua_type(from, index)) {
    case LUA_TBOOLEAN:
        lua_pushboolean(to, lua_toboolean(from, index));
        break;
    case LUA_TNUMBER:
        if (lua_isinteger(from, index))
            lua_pushinteger(to, lua_tointeger(from, index));
        else
            lua_pushnumber(to, lua_tonumber(from, index));
        break;
    case LUA_TSTRING: {
        const char *text = lua_tolstring(from, index, &len);
        lua_pushlstring(to, text, len);
        break;
    }
    case LUA_TTABLE:
        if (depth < MAX_DEPTH) {
            copy_table(from, index, to, depth);
            break;
        }
        lua_pushnil(to);
        break;
    default:
        lua_pushnil(to);
    }
}

void copy_value(lua_State *from, int index, lua_State *to) {
    copy_at(from, lua_absindex(from, index), to, 0);
}
