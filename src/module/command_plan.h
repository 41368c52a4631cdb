/* module/command_plan.h - what to run and how, read from the table that lua/lunarch/exec.lua makes:
 *   argv         a list of strings
 *   env          nil, or by name what a variable is to be; false: it is not to be
 *   cwd          nil or a string
 *   timeout, kill_after   seconds; timeout nil: no limit
 *   session      nil, or a session of lunarch.core whose end ends the command, and with it
 *   term_before, kill_before   seconds */
#ifndef LUN_MODULE_COMMAND_PLAN_H
#define LUN_MODULE_COMMAND_PLAN_H

#include "base/command.h"
#include "module/compat.h"

struct command_words {
    const char **argv, **paths, **env;
};

/* All that it points to is kept by the Lua stack. Raises when out of memory. `session` that is over: its word says so. */
void command_plan_read(lua_State *L, int index, struct command_words *words, struct command_plan *ret);

#endif
