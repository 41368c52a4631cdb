/* module/signals.h - signals that ask a Lua program to end, and nobody in it handles. */
#ifndef LUN_MODULE_SIGNALS_H
#define LUN_MODULE_SIGNALS_H

#include "module/compat.h"

/* catch_signals() -> descriptor that becomes readable with the first signal; nil: there is no descriptor left. From now
 * on SIGTERM, SIGHUP, SIGQUIT and SIGINT are caught, each only where its action is the default one. A second signal
 * ends the process. */
int signals_catch_unhandled(lua_State *L);

/* caught_signal() -> number; nil: none yet. */
int signals_caught_unhandled(lua_State *L);

/* release_signals(): the default actions again. The descriptor stays. */
int signals_release(lua_State *L);

/* end_by_signal(number): ends the process as the signal would have. */
int signals_end_by(lua_State *L);

#endif
