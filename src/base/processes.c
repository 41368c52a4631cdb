/* base/processes.c - the processes that a command has begun. See processes.h.
 *
 * /proc gives numbers only; what is asked of them is asked by system calls: in another namespace of processes than that of
 * /proc a number found there is none of ours, and is left alone. */
#include "base/processes.h"

#include <fcntl.h>
#include <signal.h>
#include <stdalign.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/proc_file.h"

/* As getdents64 gives it. */
struct entry {
    uint64_t inode;
    int64_t next;
    unsigned short len;
    unsigned char type;
    char name[];
};

/* 0: it is no process. */
static pid_t number_of(const char *name) {
    pid_t pid = 0;
    for (; *name >= '0' && *name <= '9'; name++)
        pid = pid * 10 + (*name - '0');
    return *name == '\0' ? pid : 0;
}

static bool is_zombie(int proc, const char *name) {
    char path[32];
    struct proc_file stat;
    size_t len = strlen(name);
    if (len + sizeof "/stat" > sizeof path)
        return false;
    memcpy(path, name, len);
    memcpy(path + len, "/stat", sizeof "/stat");
    if (!proc_file_open(&stat, proc, path))
        return false;
    int c = -1;
    if (proc_file_skip_name(&stat) && proc_file_next(&stat) == ' ')
        c = proc_file_next(&stat);
    proc_file_close(&stat);
    return c == 'Z' || c == 'X';
}

static bool is_meant(pid_t pid, pid_t leader, pid_t first, pid_t but_group) {
    if (pid <= 0 || pid == leader)
        return false;
    pid_t session = getsid(pid);
    if (session <= 0 || (session != leader && session != first))
        return false;
    return but_group <= 0 || getpgid(pid) != but_group;
}

int processes_signal(pid_t leader, pid_t first, pid_t but_group, int sig) {
    alignas(struct entry) char buffer[4096];
    int n = 0, proc = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (proc < 0)
        return -1;
    long len;
    while ((len = syscall(SYS_getdents64, proc, buffer, sizeof buffer)) > 0) {
        for (long at = 0; at < len;) {
            const struct entry *entry = (const struct entry *)(const void *)(buffer + at);
            pid_t pid = number_of(entry->name);
            if (is_meant(pid, leader, first, but_group) && !is_zombie(proc, entry->name) &&
                kill(pid, sig) == 0)
                n++;
            at += entry->len;
        }
    }
    (void)close(proc);
    return n;
}
