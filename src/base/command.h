/* base/command.h - commands: a program in a process group of its own, and the supervisor that ends it in time.
 *
 *     this process --clone--> supervisor --vfork--> the command, leader of its group
 *
 * The supervisor is a process of its own, so a command is ended in time whatever this process does: busy, stopped (SIGSTOP)
 * or killed. It ends the command's processes - those that have not left the supervisor's session by setsid - by SIGTERM,
 * later SIGKILL, when it is asked to, when the time is over, when the session behind `valid_until` runs out, and when this
 * process is gone; and it reports only after all of them are gone.
 *
 * Where the supervisor itself is killed (SIGKILL), the kernel ends the command's first process at once, and this process
 * the rest, in command_take_report. Where this process is gone or stopped as well, nothing ends the rest.
 *
 * The supervisor begins as a copy of this process, which costs one to five milliseconds for each 100 MB that this process
 * holds.
 * It gives back the memory of the copy as soon as the command runs.
 *
 * The supervisor sends no SIGCHLD when it ends, and no wait for any child finds it: a program that reaps every child (nginx)
 * or ignores SIGCHLD does not notice it. Its own child is the command, so nobody else can take the status away. */
#ifndef LUN_BASE_COMMAND_H
#define LUN_BASE_COMMAND_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"

#define COMMAND_NEVER INT64_MAX

/* Instants are of CLOCK_BOOTTIME. All is borrowed for the length of command_start. */
struct command_plan {
    const char *const *argv;  /* up to a NULL; at least one */
    const char *const *paths; /* the files to try in turn, up to a NULL; at least one */
    const char *const *env;   /* up to a NULL */
    const char *cwd;          /* NULL: where this process is */
    bool has_stdin;           /* a pipe; else /dev/null */
    int64_t timeout_at_ns;    /* SIGTERM then; COMMAND_NEVER: no limit */
    int64_t kill_after_ns;    /* SIGKILL so long after SIGTERM, at the latest */
    /* NULL, or a word in memory shared with forked children: the instant from which on the command must be gone, which may
     * rise meanwhile; 0: it has come. SIGTERM and SIGKILL come so long before. */
    const _Atomic int64_t *valid_until;
    int64_t term_before_ns, kill_before_ns;
};

struct command {
    pid_t supervisor;                               /* 0: none */
    int control_fd, stdin_fd, stdout_fd, stderr_fd; /* not blocking, -1: closed */
};

/* Why a command was ended. */
enum command_cause { COMMAND_BY_ITSELF, COMMAND_TIMEOUT, COMMAND_LAPSED, COMMAND_ASKED };

/* What could not be done in its place. COMMAND_OVER: SIGTERM was due by `valid_until` before it had begun. */
enum command_stage {
    COMMAND_RAN,
    COMMAND_CHDIR,
    COMMAND_FORK,
    COMMAND_EXEC,
    COMMAND_SUPERVISOR,
    COMMAND_OVER
};

struct command_report {
    int stage;  /* enum command_stage; COMMAND_RAN: it was started */
    int error;  /* errno, unless it was started */
    int status; /* as waitpid gives it */
    int cause;  /* enum command_cause */
};

/* 0; LUN_EUNAVAILABLE: no descriptor, process or memory. Any thread. Every other failure comes with the report. */
int command_start(const struct command_plan *plan, struct command *ret, struct lun_err *ret_err);
/* Asks for the end of its processes: SIGTERM now, SIGKILL later. Does not wait; may be called again. */
void command_ask_end(const struct command *command);
/* Whether the command is over, and how: what the supervisor has sent once control_fd is readable. The supervisor is reaped
 * then. A supervisor that was killed itself counts as COMMAND_SUPERVISOR: what it left of the command is killed here, which
 * may take some milliseconds. */
bool command_take_report(struct command *command, struct command_report *ret);
/* Closes what is open. A command that is not over is ended as by command_ask_end; its supervisor is reaped by a later call
 * of command_start, command_close or command_reap. Takes one that was never started (all zero and -1). */
void command_close(struct command *command);
/* Reaps the supervisors of closed commands that have ended; how many are left. */
unsigned command_reap(void);

/* The supervisor's process, never returns: for base/command.c. `fds`: control, and the command's stdin, stdout, stderr. */
_Noreturn void supervisor_run(const struct command_plan *plan, const int fds[4]);

#endif
