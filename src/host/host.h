/* host/host.h - what `lunarch` needs from the system and Lua cannot give: reached from Lua as the module
 * `lunarch.host`. */
#ifndef LUN_HOST_HOST_H
#define LUN_HOST_HOST_H

#include <stdbool.h>

#include <lua.h>

/* Opens `lunarch.host`. Fields: version; functions: see hostlib.c. */
int luaopen_lunarch_host(lua_State *L);

/* Installs it; calls of the system that it interrupts go on. */
bool signals_handle(int number, void (*handler)(int));
/* From now on the first SIGINT, SIGTERM or SIGHUP (unless ignored so far) is only counted and made readable
 * on the returned descriptor; the second ends the process at once with 128 + its number, even while Lua is
 * busy. The descriptor, or -1 with errno. */
int signals_catch(void);
/* From now on SIGHUP makes the returned descriptor readable instead, unless the terminal has gone away by which the program
 * was started; after the first signal it is ignored. -1 with errno. */
int signals_catch_reloads(void);
/* From now on SIGHUP is a signal like the others again. */
void signals_end_reloads(void);
/* Whether there was a SIGHUP since the last call. */
bool signals_take_reload(void);
/* SIGPIPE no longer ends the process, so that a leader outlives the reader of its log. */
void signals_survive_pipes(void);
/* The number of the first one caught, 0: none yet. Any thread. */
int signals_caught(void);

/* From now on SIGINT (Ctrl-C) makes the returned descriptor readable each time, and raises in what interrupts_aim names
 * while the loop does not turn. -1 with errno. */
int interrupts_catch(void);
/* The number of SIGINTs since the last call; the descriptor is not readable any more. */
int interrupts_take(void);
/* The coroutine that computes from now on, or NULL: none that may be interrupted. The one before has to exist yet. */
void interrupts_aim(lua_State *thread);
/* What it raises: the value at the top of the stack, popped. */
void interrupts_set_error(lua_State *L);

#endif
