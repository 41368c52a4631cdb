/* host/answer.h - the answer of a command that runs code of others before it speaks (`lunarch check`): what they print
 * does not get into it, and there is one though they never end. */
#ifndef LUN_HOST_ANSWER_H
#define LUN_HOST_ANSWER_H

#include <stddef.h>

/* From now on what is written to stdout goes to stderr, in whatever way. 0, or -errno. */
int answer_begin(void);
/* Writes it to what was stdout. Waits for its reader. 0, or -errno. */
int answer_write(const char *text, size_t len);
/* Unless this is called again within so many milliseconds, writes the text, which is copied, and ends the process with
 * `status`. 0: from now on nothing is due. 0, or -errno. */
int answer_in_time(int ms, const char *text, size_t len, int status);

#endif
