/* base/proc_file.h - reads a file of /proc, forward. Async-signal-safe, and without memory but the caller's. */
#ifndef LUN_BASE_PROC_FILE_H
#define LUN_BASE_PROC_FILE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct proc_file {
    int fd;
    ssize_t n, at;
    char bytes[4096];
};

/* `path` in `folder`, as openat() takes them. */
bool proc_file_open(struct proc_file *ret, int folder, const char *path);
void proc_file_close(struct proc_file *file);
/* -1: it is over. */
int proc_file_next(struct proc_file *file);
/* Behind the next one. */
void proc_file_skip_to(struct proc_file *file, char until);
/* Up to the first character that is no digit, which *ret_end is. */
uintptr_t proc_file_number(struct proc_file *file, unsigned base, int *ret_end);
/* At the beginning of a process's "stat", "4711 (name) Z ...": behind the name, which may hold anything. False: there is none. */
bool proc_file_skip_name(struct proc_file *file);

#endif
