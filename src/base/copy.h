/* base/copy.h - what a forked copy of a large process does away with, once it goes on alone for long. Async-signal-safe. */
#ifndef LUN_BASE_COPY_H
#define LUN_BASE_COPY_H

/* Gives back the memory that it has in common with its parent: otherwise each page that the parent writes to is held
 * twice. What stays: the caller's stack, the data of its thread, the variables of libraries, code, and what is shared. Nothing
 * that was allocated may be touched afterwards. What is called afterwards must be of the C library and touch nothing but that:
 * no malloc(), no dlopen(), no function that is bound when it is called first (our objects are linked with -z now for that),
 * and no library that stands in for the C library's functions (LD_PRELOAD) and has allocated what it needs. */
void copy_drop_memory(void);

/* What ps shows as its command line, in place of the parent's: a signal sent by that (pkill -f) is not meant for it. */
void copy_set_title(const char *title);

#endif
