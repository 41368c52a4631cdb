/* base/limits.h - whether this process may have the descriptors and threads that are needed, tried before they are: some
 * libraries abort or wait for ever where they get none. */
#ifndef LUN_BASE_LIMITS_H
#define LUN_BASE_LIMITS_H

#include <stdbool.h>

enum { LIMITS_TEXT_BYTES = 256 };

/* What helps where a thread cannot be created. */
#define LIMITS_OF_THREADS "raise the limit on processes (ulimit -u, TasksMax=) or on memory (ulimit -v)"

/* Opens `n` descriptors more than there are, at most 64, and closes them. Whether that was possible; else `why` says
 * what is missing, and which limit to raise. Any thread. */
bool limits_allow_descriptors(int n, char why[LIMITS_TEXT_BYTES]);

/* Starts `n` threads beside each other, at most 128, each with memory of its own, and ends them. As above. Signals are to
 * be blocked: the threads inherit the mask. */
bool limits_allow_threads(int n, char why[LIMITS_TEXT_BYTES]);

#endif
