/* base/command.c - starting a command, from the side of the process that wants it. See command.h. */
#include "base/command.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/processes.h"

/* What a killed supervisor has left behind is looked for so often, a millisecond apart. */
enum { MOST_LOOKS = 200 };

/* ---- supervisors whose command nobody wants any more ------------------------------------------------- */

struct orphan {
    struct orphan *next;
    pid_t pid, parent;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct orphan *orphans;

/* A supervisor that was killed has left its command's processes behind, all but the first. While it is not reaped, the
 * number of their session is taken. */
static void end_abandoned(pid_t supervisor, int flags) {
    siginfo_t info = {.si_pid = 0};
    int rc;
    do
        rc = waitid(P_PID, (id_t)supervisor, &info, WEXITED | WNOWAIT | __WALL | flags);
    while (rc != 0 && errno == EINTR);
    if (rc != 0 || info.si_pid != supervisor || info.si_code == CLD_EXITED)
        return;
    for (int i = 0; i < MOST_LOOKS && processes_signal(supervisor, 0, 0, SIGKILL) > 0; i++)
        (void)nanosleep(&(struct timespec){.tv_nsec = NS_PER_MS}, NULL);
}

static bool is_reaped(pid_t pid, int flags) {
    pid_t found;
    do
        found = waitpid(pid, NULL, __WALL | flags);
    while (found < 0 && errno == EINTR);
    return found != 0;
}

unsigned command_reap(void) {
    unsigned n = 0;
    pthread_mutex_lock(&lock);
    for (struct orphan **at = &orphans; *at;) {
        struct orphan *orphan = *at;
        if (orphan->parent == getpid())
            end_abandoned(orphan->pid, WNOHANG);
        if (orphan->parent != getpid() || is_reaped(orphan->pid, WNOHANG)) {
            *at = orphan->next;
            free(orphan);
        } else {
            at = &orphan->next;
            n++;
        }
    }
    pthread_mutex_unlock(&lock);
    return n;
}

/* Without memory it stays a zombie until this process ends. */
static void leave_orphan(pid_t pid) {
    struct orphan *orphan = malloc(sizeof *orphan);
    if (!orphan)
        return;
    *orphan = (struct orphan){.pid = pid, .parent = getpid()};
    pthread_mutex_lock(&lock);
    orphan->next = orphans;
    orphans = orphan;
    pthread_mutex_unlock(&lock);
}

/* ---- starting ---------------------------------------------------------------------------------------- */

static int make_nonblocking(int fd) {
    return fcntl(fd, F_SETFL, O_NONBLOCK);
}

/* A pipe whose end `ours` is ours. */
static int open_pipe(int *ours, int *theirs, bool is_input) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0)
        return -1;
    *ours = ends[is_input];
    *theirs = ends[!is_input];
    return make_nonblocking(*ours);
}

static int open_all(const struct command_plan *plan, struct command *command, int theirs[4]) {
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0)
        return -1;
    command->control_fd = ends[0];
    theirs[0] = ends[1];
    if (make_nonblocking(command->control_fd) != 0)
        return -1;
    if (plan->has_stdin)
        return open_pipe(&command->stdin_fd, &theirs[1], true);
    theirs[1] = open("/dev/null", O_RDWR | O_CLOEXEC);
    return theirs[1] < 0 ? -1 : 0;
}

/* The flags of a fork, without a signal at its end; and past the C library, so that no handler of pthread_atfork runs in it.
 * With every signal blocked no handler of ours runs there either. */
static pid_t start_supervisor(const struct command_plan *plan, const int theirs[4]) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pid_t pid = (pid_t)syscall(SYS_clone, 0UL, 0UL, 0UL, 0UL, 0UL);
    if (pid == 0)
        supervisor_run(plan, theirs);
    int error = errno;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    errno = error;
    return pid;
}

static int refuse(const char *what, struct lun_err *ret_err) {
    int error = errno;
    const char *hint = error == EMFILE   ? " (ulimit -n)"
                       : error == EAGAIN ? " (ulimit -u, or the limit of the control group)"
                                         : "";
    return lun_err_set(ret_err, LUN_EUNAVAILABLE, "%s: %s%s", what, strerror(error), hint);
}

int command_start(const struct command_plan *plan, struct command *ret, struct lun_err *ret_err) {
    struct command command = {.control_fd = -1, .stdin_fd = -1, .stdout_fd = -1, .stderr_fd = -1};
    int theirs[4] = {-1, -1, -1, -1};
    int rc = 0;
    (void)command_reap();
    if (open_all(plan, &command, theirs) != 0 || open_pipe(&command.stdout_fd, &theirs[2], false) != 0 ||
        open_pipe(&command.stderr_fd, &theirs[3], false) != 0) {
        rc = refuse("no descriptor for it", ret_err);
    } else if ((command.supervisor = start_supervisor(plan, theirs)) < 0) {
        command.supervisor = 0;
        rc = refuse("no process for it", ret_err);
    }
    for (int i = 0; i < 4; i++)
        fd_close(&theirs[i]);
    if (rc != 0)
        command_close(&command);
    else
        *ret = command;
    return rc;
}

/* ---- its end ----------------------------------------------------------------------------------------- */

void command_ask_end(const struct command *command) {
    if (command->control_fd >= 0)
        (void)send(command->control_fd, "t", 1, MSG_DONTWAIT | MSG_NOSIGNAL);
}

bool command_take_report(struct command *command, struct command_report *ret) {
    ssize_t n;
    do
        n = recv(command->control_fd, ret, sizeof *ret, MSG_DONTWAIT);
    while (n < 0 && (errno == EINTR ||
                     errno == ECONNRESET)); /* reset: it ended without having heard us, and comes once */
    if (n < 0 && errno == EAGAIN)
        return false;
    if (n != (ssize_t)sizeof *ret) {
        *ret = (struct command_report){.stage = COMMAND_SUPERVISOR};
        end_abandoned(command->supervisor, 0); /* its descriptors are closed: it is about to end */
    }
    (void)is_reaped(command->supervisor, 0);
    command->supervisor = 0;
    return true;
}

void command_close(struct command *command) {
    fd_close(&command->control_fd);
    fd_close(&command->stdin_fd);
    fd_close(&command->stdout_fd);
    fd_close(&command->stderr_fd);
    if (command->supervisor > 0)
        leave_orphan(command->supervisor);
    command->supervisor = 0;
}
