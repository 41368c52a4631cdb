/* host/watchdog.h - notices that Lua has not come back to its loop, and says so while that lasts. */
#ifndef LUN_HOST_WATCHDOG_H
#define LUN_HOST_WATCHDOG_H

#include <stdbool.h>

/* What is written to the log: patterns for stamp_line. */
struct watchdog_lines {
    const char *silent;  /* watchdog_pat was not called for `limit_s`; once, until it is called again */
    const char *ignored; /* nor within a second of watchdog_ask */
    bool is_utc;
};

/* Starts the thread that writes these lines. Time in which the process itself was stopped does not count.
 * The texts are copied. Once per process. 0 or a negative errno. */
int watchdog_start(double limit_s, const struct watchdog_lines *lines);
/* Something was asked of Lua, which should pat soon. Async-signal-safe. */
void watchdog_ask(void);
/* Often enough: at least four times per limit. */
void watchdog_pat(void);
/* Ends the thread, if there is one. */
void watchdog_stop(void);

#endif
