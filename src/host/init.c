/* host/init.c - the program as the first process of a container: a small parent that reaps and forwards signals.
 *
 * Orphans of the whole container become children of its first process. A Lua program must not reap them itself: it would
 * take their status away from code that waits for a child of its own (io.popen, os.execute, luv). So the program is a child, with a
 * process group of its own in the terminal's foreground, if there is a terminal; and its status is ours. */
#include "host/init.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* SIGTTOU would stop a process that is not in the foreground yet. All signals are blocked here. */
static void become_the_program(const sigset_t *before) {
    (void)setpgid(0, 0);
    if (isatty(STDIN_FILENO))
        (void)tcsetpgrp(STDIN_FILENO, getpid());
    (void)sigprocmask(SIG_SETMASK, before, NULL);
}

/* Reaps all that have ended; whether the program is among them. */
static bool reap(pid_t program, int *ret_status) {
    bool is_over = false;
    int status;
    for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;) {
        if (pid != program)
            continue;
        *ret_status = status;
        is_over = true;
    }
    return is_over;
}

static int look_after(pid_t program, const sigset_t *all) {
    int status = 0;
    for (;;) {
        int number = sigwaitinfo(all, NULL);
        if (number == SIGCHLD && reap(program, &status))
            return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
        if (number > 0 && number != SIGCHLD)
            (void)kill(program, number);
    }
}

bool init_look_after(int *ret_status) {
    sigset_t all, before;
    if (getpid() != 1)
        return false;
    sigfillset(&all);
    (void)sigprocmask(SIG_SETMASK, &all, &before);
    pid_t program = fork();
    if (program < 0)
        (void)fprintf(stderr, "lunarch: nothing reaps orphans here: fork: %s\n", strerror(errno));
    if (program == 0)
        become_the_program(&before);
    else if (program < 0)
        (void)sigprocmask(SIG_SETMASK, &before, NULL);
    if (program <= 0)
        return false;
    *ret_status = look_after(program, &all);
    return true;
}
