/* module/compat.h - one source for Lua 5.4 and for LuaJIT (5.1): what the binding uses of the newer
 * interface, on top of the older one. */
#ifndef LUN_MODULE_COMPAT_H
#define LUN_MODULE_COMPAT_H

#include <lauxlib.h>
#include <lua.h>

#if LUA_VERSION_NUM < 502
#define lua_rawlen(L, index) lua_objlen(L, index)
#endif

#if LUA_VERSION_NUM < 504
#define lua_newuserdatauv(L, size, n_values) lua_newuserdata(L, size)
#endif

#endif
