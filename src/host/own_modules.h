/* host/own_modules.h - our own Lua files: they come from our installation, whatever a script does to package.path and
 * wherever it goes, and have an environment of their own, so that a script may call its globals what it likes (`type`,
 * `next`, `table`). The tables of the standard library are the same for all. */
#ifndef LUN_HOST_OWN_MODULES_H
#define LUN_HOST_OWN_MODULES_H

#include <lua.h>

/* From now on `require` finds lunarch and lunarch.* there alone. Paths as in package.path and package.cpath. The standard
 * library has to be open. */
void own_modules_register(lua_State *L, const char *lua_paths, const char *c_paths);

#endif
