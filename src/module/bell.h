/* module/bell.h - bells: a byte on a unix socket whenever a client has something to tell. */
#ifndef LUN_MODULE_BELL_H
#define LUN_MODULE_BELL_H

#include "module/compat.h"

/* bell(folder) -> bell, path | nil, message. Starts a thread, and listens at `path`, in a folder of its own inside
 * `folder`, for one connection of this process. Methods: hear(fd), ring(), close(). Not to be opened before a
 * fork: the child has no such thread. */
int bell_open(lua_State *L);
void bell_register(lua_State *L);

#endif
