/* base/supervisor.c - the process between us and a command: starts it, ends its processes in time, and reports.
 *
 * It is a copy of a process that may have any number of threads: whatever lock they held is held here for ever. So it calls
 * nothing but what a signal handler may call. It cannot be a program of its own: after execve its end would be noticed
 * (command.h). So it gives back the memory and the name that it was copied with, once the command has begun.
 *
 *   running --asked, timeout, the session runs out, the owner is gone--> SIGTERM --its time is over--> SIGKILL
 *      |                                                                    |                           |
 *      `------------------- the command's first process has ended ----------+---------------------------'
 *                                                                           v
 *                                   SIGKILL for what is left of its processes, until they are gone; the report
 *
 * The command's processes: its group, which gets each signal at once, and what else is in the session (setsid) that it was
 * begun in, or in one that its first process has made - a shell with job control puts each job into a group of its own. */
#include "base/command.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/copy.h"
#include "base/processes.h"

#define SUPERVISOR_NAME "lunarch-exec"

enum { CONTROL = 3, INPUT, OUTPUT, ERRORS, FIRST_FREE };

/* The word of the session is looked at so often: it may come to be 0. */
#define LOOK_NS (200 * NS_PER_MS)
/* A process that no signal reaches (uninterruptible sleep) is waited for so long. */
#define GONE_NS (5 * NS_PER_S)

struct supervisor {
    struct command_plan plan;
    pid_t self, pid;
    int children_fd, owner_fd;
    bool is_orphaned;
    enum command_cause cause;
    int64_t termed_at_ns; /* 0: it was not */
};

static void die(int control, int stage, int error) {
    struct command_report report = {.stage = stage, .error = error};
    (void)send(control, &report, sizeof report, MSG_NOSIGNAL);
    _exit(1);
}

/* ---- descriptors ------------------------------------------------------------------------------------- */

static void close_between(unsigned first, unsigned last) {
    if (first > last)
        return;
#ifdef SYS_close_range
    if (syscall(SYS_close_range, first, last, 0) == 0)
        return;
#endif
    struct rlimit limit;
    unsigned most =
        getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < 65536 ? (unsigned)limit.rlim_cur : 65536;
    for (unsigned fd = first; fd <= last && fd < most; fd++)
        (void)close((int)fd);
}

static void close_from(unsigned first) {
    close_between(first, ~0U);
}

/* Nothing but these four stays open, least of all the owner's ends: of this command and of others. */
static void close_others(const int fds[4]) {
    for (unsigned first = 0;;) {
        unsigned next = ~0U;
        for (int i = 0; i < 4; i++)
            if ((unsigned)fds[i] >= first && (unsigned)fds[i] < next)
                next = (unsigned)fds[i];
        if (next == ~0U) {
            close_from(first);
            return;
        }
        if (next > first)
            close_between(first, next - 1);
        first = next + 1;
    }
}

/* The others go first: the owner may have opened as many as it may. */
static bool arrange(const int fds[4]) {
    int high[4];
    close_others(fds);
    for (int i = 0; i < 4; i++)
        if ((high[i] = fcntl(fds[i], F_DUPFD, FIRST_FREE)) < 0)
            return false;
    for (int i = 0; i < 4; i++)
        if (dup2(high[i], CONTROL + i) < 0)
            return false;
    close_from(FIRST_FREE);
    int null = open("/dev/null", O_RDWR);
    for (int fd = 0; fd < 3; fd++)
        if (null < 0 || dup2(null, fd) < 0)
            (void)close(fd);
    if (null >= FIRST_FREE)
        (void)close(null);
    return true;
}

/* ---- the command ------------------------------------------------------------------------------------- */

/* What the owner has changed is not the command's: ignored signals, a blocked one. */
static void restore_signals(void) {
    struct sigaction standard = {.sa_handler = SIG_DFL};
    for (int sig = 1; sig < NSIG; sig++)
        (void)sigaction(sig, &standard, NULL);
    sigset_t none;
    sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
}

/* Which the kernel calls no permission. */
static bool is_folder(const char *path) {
    struct stat it;
    return stat(path, &it) == 0 && S_ISDIR(it.st_mode);
}

/* As execvp: the first file that can be executed; what is there but may not be is worth more than what is not there. */
static int execute(const struct command_plan *plan) {
    int error = ENOENT;
    for (const char *const *path = plan->paths; *path; path++) {
        (void)execve(*path, (char *const *)plan->argv, (char *const *)plan->env);
        if (errno != ENOENT && errno != ENOTDIR && errno != EACCES)
            return errno;
        if (errno == EACCES)
            error = is_folder(*path) ? EISDIR : EACCES;
    }
    return error;
}

/* Shares the supervisor's memory, which stands still meanwhile. PDEATHSIG: for when the supervisor is killed. */
static void become(const struct command_plan *plan, volatile int *stage, volatile int *error) {
    (void)setpgid(0, 0);
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (int fd = 0; fd < 3; fd++)
        (void)dup2(INPUT + fd, fd);
    close_from(CONTROL);
    if (plan->cwd && chdir(plan->cwd) != 0) {
        *stage = COMMAND_CHDIR;
        *error = errno;
    } else {
        restore_signals();
        *error = execute(plan);
        *stage = COMMAND_EXEC;
    }
    _exit(127);
}

static pid_t start(const struct command_plan *plan) {
    volatile int stage = COMMAND_RAN, error = 0;
    pid_t pid = vfork();
    if (pid == 0)
        become(plan, &stage, &error);
    if (pid < 0)
        die(CONTROL, COMMAND_FORK, errno);
    if (stage != COMMAND_RAN)
        die(CONTROL, stage, error);
    for (int fd = INPUT; fd < FIRST_FREE; fd++)
        (void)close(fd);
    return pid;
}

/* ---- ending it --------------------------------------------------------------------------------------- */

static int64_t earlier(int64_t a, int64_t b) {
    return a < b ? a : b;
}

/* Each process once. The first one too, where it has moved to another group and /proc cannot be read. */
static void signal_all(const struct supervisor *self, int sig) {
    (void)kill(-self->pid, sig);
    if (processes_signal(self->self, self->pid, self->pid, sig) < 0 && getpgid(self->pid) != self->pid)
        (void)kill(self->pid, sig);
}

/* A stopped command would not see SIGTERM. */
static void terminate(struct supervisor *self, enum command_cause cause, int64_t now) {
    if (self->termed_at_ns != 0)
        return;
    self->cause = cause;
    self->termed_at_ns = now;
    signal_all(self, SIGTERM);
    signal_all(self, SIGCONT);
}

static int64_t session_ends_at(const struct command_plan *plan) {
    return plan->valid_until ? atomic_load(plan->valid_until) - plan->term_before_ns : COMMAND_NEVER;
}

/* Returns the instant of the next look. */
static int64_t keep_time(struct supervisor *self, int64_t now) {
    const struct command_plan *plan = &self->plan;
    int64_t until = plan->valid_until ? atomic_load(plan->valid_until) : COMMAND_NEVER;
    int64_t term_at = session_ends_at(plan);
    int64_t next = plan->valid_until ? now + LOOK_NS : COMMAND_NEVER;
    if (now >= term_at)
        terminate(self, COMMAND_LAPSED, now);
    else if (now >= plan->timeout_at_ns)
        terminate(self, COMMAND_TIMEOUT, now);
    if (self->termed_at_ns == 0)
        return earlier(next, earlier(term_at, plan->timeout_at_ns));
    int64_t kill_at = self->termed_at_ns + plan->kill_after_ns;
    if (until == 0)
        kill_at = earlier(kill_at, self->termed_at_ns + plan->term_before_ns - plan->kill_before_ns);
    else if (plan->valid_until)
        kill_at = earlier(kill_at, until - plan->kill_before_ns);
    if (now < kill_at)
        return earlier(next, kill_at);
    signal_all(self, SIGKILL);
    return now + LOOK_NS;
}

/* A process that the owner has forked may hold its end of CONTROL, so its own end is watched too; -1: the kernel is too old
 * (before Linux 5.3), or a sandbox forbids it. */
static int open_owner(void) {
#ifdef SYS_pidfd_open
    pid_t owner = getppid();
    if (owner > 1)
        return (int)syscall(SYS_pidfd_open, owner, 0);
#endif
    return -1;
}

static void lose_owner(struct supervisor *self) {
    self->is_orphaned = true;
    terminate(self, COMMAND_ASKED, clock_boottime_ns());
}

static void hear_owner(struct supervisor *self) {
    char byte;
    ssize_t n = recv(CONTROL, &byte, 1, MSG_DONTWAIT);
    if (n == 1)
        terminate(self, COMMAND_ASKED, clock_boottime_ns());
    else if (n == 0 || (errno != EAGAIN && errno != EINTR))
        lose_owner(self);
}

static void sleep_until(struct supervisor *self, int64_t now, int64_t until) {
    struct pollfd fds[] = {{.fd = self->children_fd, .events = POLLIN},
                           {.fd = self->is_orphaned ? -1 : CONTROL, .events = POLLIN},
                           {.fd = self->is_orphaned ? -1 : self->owner_fd, .events = POLLIN}};
    int64_t ns = until > now ? until - now : 0;
    struct timespec span = {.tv_sec = ns / NS_PER_S, .tv_nsec = ns % NS_PER_S};
    (void)ppoll(fds, 3, until == COMMAND_NEVER ? NULL : &span, NULL);
    if (fds[0].revents) {
        struct signalfd_siginfo info;
        (void)!read(self->children_fd, &info, sizeof info);
    }
    if (fds[1].revents)
        hear_owner(self);
    if (fds[2].revents)
        lose_owner(self);
}

/* Looks, and leaves it a zombie: so its number stays its own until its group is gone. */
static bool has_ended(pid_t pid) {
    siginfo_t info = {.si_pid = 0};
    return waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == pid;
}

/* Whether anything is left that the command has begun: what loses its parent becomes our child (PR_SET_CHILD_SUBREAPER). */
static bool has_children(void) {
    pid_t found;
    do
        found = waitpid(-1, NULL, WNOHANG);
    while (found > 0 || (found < 0 && errno == EINTR));
    return found == 0;
}

/* How many of its processes are left. The number of its group stays taken for as long as there are any. */
static int kill_rest(const struct supervisor *self) {
    int n = processes_signal(self->self, self->pid, 0, SIGKILL);
    return n >= 0 ? n : kill(-self->pid, SIGKILL) == 0;
}

static int end_all(const struct supervisor *self) {
    int status = 0;
    (void)kill(-self->pid, SIGKILL);
    while (waitpid(self->pid, &status, 0) < 0 && errno == EINTR) {
    }
    int64_t until = clock_boottime_ns() + GONE_NS;
    while (has_children() && kill_rest(self) > 0 && clock_boottime_ns() < until)
        (void)nanosleep(&(struct timespec){.tv_nsec = NS_PER_MS}, NULL);
    return status;
}

/* What became our child and has ended is no zombie of ours for long. */
static void reap_strays(pid_t pid) {
    siginfo_t info = {.si_pid = 0};
    while (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid != 0 &&
           info.si_pid != pid) {
        (void)waitpid(info.si_pid, NULL, WNOHANG);
        info.si_pid = 0;
    }
}

void supervisor_run(const struct command_plan *plan, const int fds[4]) {
    struct supervisor self = {.plan = *plan, .self = getpid()};
    struct sigaction standard = {.sa_handler = SIG_DFL};
    (void)sigaction(SIGCHLD, &standard, NULL);
    (void)setsid();
    (void)prctl(PR_SET_NAME, SUPERVISOR_NAME);
    (void)prctl(PR_SET_CHILD_SUBREAPER, 1);
    if (!arrange(fds))
        die(fds[0], COMMAND_FORK, errno);
    self.owner_fd = open_owner();
    sigset_t children;
    sigemptyset(&children);
    sigaddset(&children, SIGCHLD);
    if ((self.children_fd = signalfd(-1, &children, SFD_NONBLOCK | SFD_CLOEXEC)) < 0)
        die(CONTROL, COMMAND_FORK, errno);
    if (clock_boottime_ns() >= session_ends_at(plan))
        die(CONTROL, COMMAND_OVER, 0);
    self.pid = start(plan);
    self.plan.argv = self.plan.paths = self.plan.env = NULL;
    self.plan.cwd = NULL;
    copy_set_title(SUPERVISOR_NAME);
    copy_drop_memory();
    while (!has_ended(self.pid)) {
        reap_strays(self.pid);
        int64_t now = clock_boottime_ns();
        int64_t next = keep_time(&self, now);
        sleep_until(&self, now, next);
    }
    struct command_report report = {.status = end_all(&self), .cause = (int)self.cause};
    (void)send(CONTROL, &report, sizeof report, MSG_NOSIGNAL);
    _exit(0);
}
