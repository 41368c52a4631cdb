/* host/dev_join.c - becoming a user of the private etcd, and its starter where there is none. */
#include "host/dev.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"

/* etcd reserves 2 x 64 MB for its log before the first write. */
#define NEEDED_BYTES (UINT64_C(256) << 20)
#define LOOK_AGAIN_MS 10

static int fail(struct dev_text *why, const char *what, const char *path) {
    (void)snprintf(why->s, sizeof why->s, "%s %s: %s", what, path, strerror(errno));
    return -1;
}

/* ---- where ------------------------------------------------------------------------------------------ */

static bool is_private(const struct stat *st) {
    return S_ISDIR(st->st_mode) && st->st_uid == getuid() && (st->st_mode & 077) == 0;
}

static bool has_room(const char *base) {
    struct statvfs fs;
    return statvfs(base, &fs) == 0 && (uint64_t)fs.f_bavail * fs.f_frsize >= NEEDED_BYTES;
}

/* 1: there is one and it is ours alone; 0: there is none; -1: refused. */
static int check_dir(const char *dir, struct dev_text *why) {
    struct stat st;
    if (lstat(dir, &st) != 0)
        return errno == ENOENT ? 0 : fail(why, "cannot look at", dir);
    if (is_private(&st))
        return 1;
    (void)snprintf(
        why->s, sizeof why->s,
        "%s is not a directory of yours alone (it has to be yours, with mode 0700): remove it, or set XDG_RUNTIME_DIR to a "
        "directory of your own",
        dir);
    return -1;
}

/* 1: chosen; 0: no room, or too long a name; -1: refused. An existing directory is taken whatever room is left beside it. */
static int try_base(const char *base, const char *name, bool is_making, char dir[DEV_PATH_MAX],
                    struct dev_text *why) {
    int len = snprintf(dir, DEV_DIR_MAX, "%s/lunarch-etcd-%u%s%s", base, (unsigned)getuid(),
                       name[0] != '\0' ? "-" : "", name);
    if (len >= DEV_DIR_MAX)
        return 0;
    int found = check_dir(dir, why);
    if (found != 0 || !is_making || !has_room(base) || (mkdir(dir, 0700) != 0 && errno != EEXIST))
        return found;
    return check_dir(dir, why);
}

/* What exists goes first among the public places, for all users have to choose alike. */
static int choose_dir(const char *name, char dir[DEV_PATH_MAX], struct dev_text *why) {
    static const char *const public_bases[] = {"/dev/shm", "/tmp"};
    const char *runtime = getenv("XDG_RUNTIME_DIR");
    struct stat st;
    int chosen = 0;
    if (runtime != NULL && runtime[0] == '/' && stat(runtime, &st) == 0 && is_private(&st))
        chosen = try_base(runtime, name, true, dir, why);
    for (size_t i = 0; i < 4 && chosen == 0; i++)
        chosen = try_base(public_bases[i % 2], name, i >= 2, dir, why);
    if (chosen == 0)
        (void)snprintf(
            why->s, sizeof why->s,
            "no writable directory with a short name has 256 MB free for its data: tried $XDG_RUNTIME_DIR, /dev/shm "
            "and /tmp");
    return chosen == 1 ? 0 : -1;
}

/* ---- locks ------------------------------------------------------------------------------------------ */

static int lock(int fd, int how) {
    int status;
    do {
        status = flock(fd, how);
    } while (status != 0 && errno == EINTR);
    return status;
}

static bool is_still_at(int fd, const char *dir, const char *name) {
    char path[DEV_PATH_MAX];
    struct stat held, named;
    dev_path(path, dir, name);
    return fstat(fd, &held) == 0 && stat(path, &named) == 0 && held.st_dev == named.st_dev &&
           held.st_ino == named.st_ino;
}

/* Holds both locks afterwards, and both still stand in user->dir. The new start.lock, or -1. */
static int enter(const char *name, struct dev_user *user, struct dev_text *why) {
    for (;;) {
        if (choose_dir(name, user->dir, why) != 0)
            return -1;
        int start_fd = dev_open_lock(user->dir, "start.lock");
        if (start_fd >= 0 && lock(start_fd, LOCK_EX) == 0) {
            if (user->users_fd >= 0 && !is_still_at(user->users_fd, user->dir, "users.lock"))
                fd_close(&user->users_fd);
            if (user->users_fd < 0)
                user->users_fd = dev_open_lock(user->dir, "users.lock");
            if (user->users_fd >= 0 && lock(user->users_fd, LOCK_SH) == 0 &&
                is_still_at(start_fd, user->dir, "start.lock") &&
                is_still_at(user->users_fd, user->dir, "users.lock"))
                return start_fd;
        }
        /* ENOENT: a keeper has just removed it all. */
        bool is_hopeless = (start_fd < 0 || user->users_fd < 0) && errno != ENOENT;
        if (is_hopeless)
            (void)fail(why, "cannot lock the files in", user->dir);
        fd_close(&start_fd);
        fd_close(&user->users_fd);
        if (is_hopeless)
            return -1;
    }
}

/* ---- the keeper ------------------------------------------------------------------------------------- */

static bool is_credential(const char *entry) {
    static const char *const names[] = {
        "LUNARCH_USER=", "LUNARCH_PASSWORD=", "LUNARCH_CERT=", "LUNARCH_KEY=", "ETCDCTL_"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strncmp(entry, names[i], strlen(names[i])) == 0)
            return true;
    return false;
}

/* The keeper and its etcd need none, and would keep them in their environment for all to see who may read it. */
static void drop_credentials(void) {
    extern char **environ;
    char **kept = environ;
    for (char **entry = environ; entry && *entry; entry++)
        if (!is_credential(*entry))
            *kept++ = *entry;
    if (kept)
        *kept = NULL;
}

/* Between fork and exec: only what is async-signal-safe, for a client of ours may run threads by now. */
static void become_keeper(const char *dir, const char *program, int report_fd) {
    char *const argv[] = {(char *)"lunarch", (char *)DEV_KEEPER_FLAG, (char *)dir, (char *)program, NULL};
    sigset_t none;
    (void)setsid();
    /* Twice, so that it is nobody's child and leaves no zombie with us. */
    if (fork() != 0)
        _exit(0);
    int null_fd = open("/dev/null", O_RDWR);
    int copy_fd = fcntl(report_fd, F_DUPFD, 10);
    for (int fd = 0; fd < 3; fd++)
        (void)dup2(null_fd, fd);
    (void)dup2(copy_fd, DEV_REPORT_FD);
    closefrom(DEV_REPORT_FD + 1);
    (void)sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    (void)!chdir("/");
    drop_credentials();
    (void)execv("/proc/self/exe", argv);
    _exit(127);
}

static size_t read_all(int fd, char *text, size_t size) {
    size_t len = 0;
    while (len < size - 1) {
        ssize_t n = read(fd, text + len, size - 1 - len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        len += (size_t)n;
    }
    text[len] = '\0';
    return len;
}

static int start_keeper(const char *dir, const char *program, struct dev_text *why) {
    int report[2];
    if (pipe2(report, O_CLOEXEC) != 0)
        return fail(why, "no pipe to the keeper of", dir);
    pid_t child = fork();
    if (child == 0)
        become_keeper(dir, program, report[1]);
    (void)close(report[1]);
    struct dev_text answer = {{0}};
    if (child > 0) {
        (void)read_all(report[0], answer.s, sizeof answer.s);
        while (waitpid(child, NULL, 0) < 0 && errno == EINTR)
            ;
    }
    (void)close(report[0]);
    if (child < 0)
        return fail(why, "no process for the keeper of", dir);
    if (strcmp(answer.s, "ok") == 0)
        return 0;
    *why = answer;
    if (answer.s[0] == '\0')
        (void)snprintf(why->s, sizeof why->s, "its keeper ended before etcd served");
    return -1;
}

static int open_keeper(const char *dir) {
    char path[DEV_PATH_MAX];
    dev_path(path, dir, "keeper");
    return open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
}

static int read_endpoint(struct dev_user *user, struct dev_text *why) {
    char path[DEV_PATH_MAX];
    dev_path(path, user->dir, "endpoint");
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return fail(why, "cannot read", path);
    (void)read_all(fd, user->endpoint, sizeof user->endpoint);
    (void)close(fd);
    return 0;
}

/* A keeper whose starter was killed meanwhile may still be bringing etcd up, and may fail to. Returns whether
 * it serves; false once it has ended. */
static bool await_endpoint(const struct dev_user *user) {
    char path[DEV_PATH_MAX];
    struct pollfd keeper = {.fd = user->keeper_fd};
    dev_path(path, user->dir, "endpoint");
    while (access(path, F_OK) != 0)
        if (poll(&keeper, 1, LOOK_AGAIN_MS) > 0)
            return false;
    return true;
}

static int find_keeper(struct dev_user *user, const char *program, struct dev_text *why) {
    fd_close(&user->keeper_fd);
    user->keeper_fd = open_keeper(user->dir);
    if (user->keeper_fd >= 0 && !await_endpoint(user))
        fd_close(&user->keeper_fd);
    if (user->keeper_fd < 0) {
        if (start_keeper(user->dir, program, why) != 0)
            return -1;
        user->keeper_fd = open_keeper(user->dir);
        if (user->keeper_fd < 0)
            return fail(why, "the keeper ended at once; cannot open the fifo in", user->dir);
    }
    return read_endpoint(user, why);
}

int dev_join(const char *program, const char *name, struct dev_user *user, struct dev_text *why) {
    int start_fd = enter(name, user, why);
    if (start_fd < 0)
        return -1;
    int status = find_keeper(user, program, why);
    if (status != 0 && flock(user->users_fd, LOCK_EX | LOCK_NB) == 0) {
        /* Nobody else is here: leave nothing behind. */
        dev_remove(user->dir);
        fd_close(&user->users_fd);
    } else if (status != 0) {
        (void)lock(user->users_fd, LOCK_SH);
    }
    fd_close(&start_fd);
    return status;
}
