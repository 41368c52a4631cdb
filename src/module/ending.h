/* module/ending.h - the ends of nginx's requests. */
#ifndef LUN_MODULE_ENDING_H
#define LUN_MODULE_ENDING_H

#include "module/compat.h"

/* endings("http" or "stream") -> endings | nil, message. One for each Lua state and process; not to be opened before a
 * fork. Methods:
 *   watch(request, number)  number, a whole one, is told once the request has ended: with its connection, its redirects
 *                           and its subrequests. The number of the first of these that is watched, or nil, message.
 *   take()                  a number that is due, or nil.
 *   fd()                    readable when a number became due since it was last readable: for the bell, which does not
 *                           read it. */
int endings_open(lua_State *L);
void endings_register(lua_State *L);

#endif
