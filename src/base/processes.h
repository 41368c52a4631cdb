/* base/processes.h - the processes that a command has begun, found in /proc. Async-signal-safe. */
#ifndef LUN_BASE_PROCESSES_H
#define LUN_BASE_PROCESSES_H

#include <sys/types.h>

/* Sends `sig` to each process whose session (setsid) is that of `leader` or of `first`, but for `leader` itself and the
 * process group `but_group` (0: none). The two numbers must be taken: by living processes, or by zombies not yet reaped.
 * How many got it, zombies not counted; -1: /proc cannot be read. */
int processes_signal(pid_t leader, pid_t first, pid_t but_group, int sig);

#endif
