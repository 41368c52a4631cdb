/* module/callbacks.h - errors that callbacks of libuv raise and nobody catches. */
#ifndef LUN_MODULE_CALLBACKS_H
#define LUN_MODULE_CALLBACKS_H

#include "module/compat.h"

/* on_callback_error(path of luv's shared object, function(traceback, err)) -> whether luv calls it from now on, instead
 * of ending the process at once. The function should not return. */
int callbacks_watch(lua_State *L);

#endif
