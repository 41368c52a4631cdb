/* host/watchdog.h - notices that Lua has not come back to its loop, and says so while that lasts. */
#ifndef LUN_HOST_WATCHDOG_H
#define LUN_HOST_WATCHDOG_H

#include <stdbool.h>

/* Starts a thread that writes a line to stderr when watchdog_pat was not called for `limit_s`; once, until it
 * is called again. Time in which the process itself was stopped does not count. `line`: a format for
 * strftime, in which "@@@" becomes the milliseconds; in local time, or in UTC. Once per process. 0 or a
 * negative errno. */
int watchdog_start(double limit_s, const char *line, bool is_utc);
/* Often enough: at least four times per limit. */
void watchdog_pat(void);
/* Ends the thread, if there is one. */
void watchdog_stop(void);

#endif
