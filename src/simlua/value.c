/* simlua/value.c - values that go from one Lua state to another. */
#include "simlua/play.h"

enum { MAX_DEPTH = 8 };

static void copy_at(lua_State *from, int index, lua_State *to, int depth);

static void copy_table(lua_State *from, int index, lua_State *to, int depth) {
    lua_newtable(to);
    for (lua_pushnil(from); lua_next(from, index); lua_pop(from, 1)) {
        int type = lua_type(from, -2);
        if (type != LUA_TSTRING && type != LUA_TNUMBER)
            continue;
        copy_at(from, lua_gettop(from) - 1, to, depth + 1);
        copy_at(from, lua_gettop(from), to, depth + 1);
        lua_rawset(to, -3);
    }
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
