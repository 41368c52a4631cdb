/* host/watchdog.h - notices that Lua has not come back to its loop, and says so while that lasts (what becomes of a term
 * meanwhile: overdue.h); and says what a process that is ended at once leaves behind. */
#ifndef LUN_HOST_WATCHDOG_H
#define LUN_HOST_WATCHDOG_H

#include <stdbool.h>

/* What is written to the log: patterns for stamp_line. In `ended` "@LAPSE@" becomes "", or when the place lapses. */
struct watchdog_lines {
    const char *silent;  /* not patted for `limit_ms`; once, until it is patted again; NULL: no limit */
    const char *ignored; /* nor within a second of watchdog_ask */
    const char *ended;   /* watchdog_end was called */
    bool is_utc;
};

/* Starts the thread that writes these lines. Time in which the process itself was stopped does not count.
 * The texts are copied. Once per process. 0 or a negative errno. */
int watchdog_start(int limit_ms, const struct watchdog_lines *lines);
/* Something was asked of Lua, which should pat soon. Async-signal-safe. */
void watchdog_ask(void);
/* Often enough: at least four times per limit. */
void watchdog_pat(void);
/* Whether the line `silent` has been written, and Lua has not patted since. */
bool watchdog_is_silent(void);
/* How often Lua has patted so far. */
unsigned watchdog_pats(void);
/* A descriptor that is readable when the loop is asked whether it turns; Lua then calls watchdog_answer. -1 with errno. */
int watchdog_question(void);
void watchdog_ask_loop(void);
/* Takes the question, and pats. */
void watchdog_answer(void);
/* Has the thread look at the terms anew. */
void watchdog_ring(void);
/* From now on `ended` says that the place lapses `left_s` from now; where this was said more than a second ago, that it
 * lapses within `ttl_s`. A `ttl_s` of 0: there is no place. */
void watchdog_set_lapse(double left_s, double ttl_s);
/* Has the thread write `ended` and end the process with this status. False: there is no thread. Async-signal-safe. */
bool watchdog_end(int status);
/* Ends the thread, if there is one. */
void watchdog_stop(void);

#endif
