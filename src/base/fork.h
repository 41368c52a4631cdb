/* base/fork.h - whether this process is still the one it was: for what must not be used in a forked child. */
#ifndef LUN_BASE_FORK_H
#define LUN_BASE_FORK_H

/* How many forks lie between this process and the one that asked first; the same number in one process for its whole
 * life. Children made past the C library (a bare clone system call) are not counted. Any thread, no system call. */
unsigned fork_depth(void);

#endif
