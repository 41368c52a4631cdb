/* module/commands.h - the commands of a Lua state, waited for like the operations of a client. */
#ifndef LUN_MODULE_COMMANDS_H
#define LUN_MODULE_COMMANDS_H

#include "module/compat.h"

/* commands() -> an object with what lunarch.loop wants of a client: pollfd, drain, wait, take, cancel, forget, has_lines;
 * and start(spec), remind(id), is_running(id). nil, message, code: no descriptor. For lua/lunarch/exec.lua, which says what is in
 * `spec`. */
int commands_open(lua_State *L);
void commands_register(lua_State *L);

#endif
