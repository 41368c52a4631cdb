/* host/stamp.h - lines of the log whose time is filled in by C. */
#ifndef LUN_HOST_STAMP_H
#define LUN_HOST_STAMP_H

#include <stdbool.h>
#include <stddef.h>

/* Writes `pattern` with the present time: a format for strftime in which "@@@" becomes the milliseconds; in local
 * time, or in UTC. The length, 0: it does not fit. Any thread. */
size_t stamp_line(char *line, size_t size, const char *pattern, bool is_utc);
/* Replaces the first `name` in the text, which has room for `size` bytes; nothing where it has not. */
void stamp_fill(char *text, size_t size, const char *name, const char *value);

#endif
