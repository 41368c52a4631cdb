/* host/streams.h - stdout and stderr of a script, of its log and of the libraries in this process: written by way of
 * base/output.h, so that a reader who sleeps holds up nobody.
 *
 *     ordinary program   print, io.write and io.stderr wait for their reader, as in lua5.4, but no longer than
 *                        until the first signal; SIGPIPE ends the program; the log does not wait
 *     candidate          nothing waits: what does not fit is dropped, and counted; SIGPIPE ends nothing */
#ifndef LUN_HOST_STREAMS_H
#define LUN_HOST_STREAMS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include <lua.h>

/* Replaces the files behind io.stdout, io.stderr, and stdout and stderr of C. Once per process; 0 or -errno: then
 * all is as before. */
int streams_guard(lua_State *L);
/* The line about dropped lines: a pattern for stamp_line, with "@N@" and "@WHY@" in it. Copied; 0 or -ENOMEM. */
int streams_set_notice(const char *pattern, bool is_utc);
/* From now on nothing waits for a reader. */
void streams_stop_waiting(void);

/* While held, what goes to stdout and stderr, if they are terminals, is kept in memory in one order, so that it can be
 * written above a line that is being typed. Past a limit the rest is written at once. */
void streams_hold(bool is_held);
bool streams_hold_something(void);
/* What was kept, malloc'd, or NULL. */
char *streams_take(size_t *len);
/* Whether what was written to the terminal last does not end in a newline. */
bool streams_are_in_line(void);
/* The cursor of the terminal was brought to the beginning of a line that is empty. */
void streams_begin_line(void);
/* A file on stdout past all that is held; NULL: no memory, or no streams_guard yet. Of the process, never closed. */
FILE *streams_terminal(void);

/* Whether something that was printed has not left us, as far as it is known by now; and why, an errno, or 0: unknown. */
bool streams_lost(int *ret_error);

/* A line of the log, to stderr. Never waits. Any thread. */
void streams_log(const char *line, size_t len);
/* The same past everything that is queued. Async-signal-safe. */
void streams_shout(const char *line, size_t len);
/* Waits until what was written has left us, at most `ms` for both together. Nothing where nothing waits any more. */
void streams_settle(int ms);
/* The same, whatever waits. */
void streams_flush(int ms);

#endif
