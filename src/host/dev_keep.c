/* host/dev_keep.c - the keeper of the private etcd: runs it while there are users, and removes everything
 * after the last. */
#include "host/dev.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"

#define START_LIMIT_NS (20 * NS_PER_S)
#define LOOK_AGAIN_MS 10
#define RESTART_DELAY_MS 200
/* So often etcd may end by itself while it starts; its user is waiting. */
#define MAX_TRIES 10

struct keeper {
    const char *dir, *program;
    int users_fd;
    /* Held while etcd is forked or reaped, so that `etcd` is never a number that has gone to another process;
     * and for ever at the end. */
    pthread_mutex_t lock;
    pid_t etcd; /* 0: none */
};

static void sleep_ms(int ms) {
    (void)poll(NULL, 0, ms);
}

/* ---- where it listens -------------------------------------------------------------------------------- */

/* etcd asks for "host:port" in a URL and makes a file of that name, relative to its working directory: ours. */
#define CLIENT_URL "unix://" DEV_SOCKET
#define PEER_URL "unix://" DEV_PEER_SOCKET

static int write_endpoint(const struct keeper *keeper) {
    char path[DEV_PATH_MAX], new_path[DEV_PATH_MAX];
    dev_path(path, keeper->dir, "endpoint");
    dev_path(new_path, keeper->dir, "endpoint.new");
    FILE *file = fopen(new_path, "we");
    if (file == NULL)
        return -1;
    bool is_written = fprintf(file, "unix://%s/%s", keeper->dir, DEV_SOCKET) > 0;
    if (fclose(file) != 0 || !is_written)
        return -1;
    return rename(new_path, path);
}

/* ---- etcd ------------------------------------------------------------------------------------------- */

/* etcd refuses to start when a variable says what a flag says too. */
static void unset_etcd_environment(void) {
    extern char **environ;
    for (char **entry = environ; *entry != NULL;) {
        char name[128];
        size_t len = strcspn(*entry, "=");
        if (strncmp(*entry, "ETCD_", 5) != 0 || len >= sizeof name) {
            entry++;
            continue;
        }
        memcpy(name, *entry, len);
        name[len] = '\0';
        (void)unsetenv(name);
        entry = environ;
    }
}

static void exec_etcd(const struct keeper *keeper, pid_t parent) {
    char log_path[DEV_PATH_MAX], data[DEV_PATH_MAX];
    dev_path(log_path, keeper->dir, "etcd.log");
    dev_path(data, keeper->dir, "data");
    int log_fd = open(log_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (log_fd >= 0)
        (void)dup2(log_fd, STDERR_FILENO);
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(1);
    if (chdir(keeper->dir) == 0)
        (void)execl(keeper->program, keeper->program, "--name", "dev", "--data-dir", data,
                    "--listen-client-urls", CLIENT_URL, "--advertise-client-urls", CLIENT_URL,
                    "--listen-peer-urls", PEER_URL, "--initial-advertise-peer-urls", PEER_URL,
                    "--initial-cluster", "dev=" PEER_URL, "--logger", "zap", "--log-outputs", "stderr",
                    (char *)NULL);
    (void)dprintf(STDERR_FILENO, "cannot run %s: %s\n", keeper->program, strerror(errno));
    _exit(127);
}

/* etcd does not bind over the sockets of one that was killed. */
static void remove_sockets(const struct keeper *keeper) {
    char path[DEV_PATH_MAX];
    dev_path(path, keeper->dir, DEV_SOCKET);
    (void)unlink(path);
    dev_path(path, keeper->dir, DEV_PEER_SOCKET);
    (void)unlink(path);
}

static int start_etcd(struct keeper *keeper) {
    pid_t self = getpid();
    remove_sockets(keeper);
    (void)pthread_mutex_lock(&keeper->lock);
    keeper->etcd = fork();
    if (keeper->etcd == 0)
        exec_etcd(keeper, self);
    bool is_started = keeper->etcd > 0;
    if (!is_started)
        keeper->etcd = 0;
    (void)pthread_mutex_unlock(&keeper->lock);
    return is_started ? 0 : -1;
}

/* Returns whether etcd has ended, and reaps it then. */
static bool has_ended(struct keeper *keeper, bool is_waiting) {
    siginfo_t info = {0};
    int how = WEXITED | WNOWAIT | (is_waiting ? 0 : WNOHANG);
    if (keeper->etcd == 0)
        return true;
    while (waitid(P_PID, (id_t)keeper->etcd, &info, how) != 0 && errno == EINTR)
        ;
    if (info.si_pid == 0)
        return false;
    (void)pthread_mutex_lock(&keeper->lock);
    (void)waitpid(keeper->etcd, NULL, 0);
    keeper->etcd = 0;
    (void)pthread_mutex_unlock(&keeper->lock);
    return true;
}

/* A socket accepts long before etcd serves: so ask. */
static bool is_healthy(const struct keeper *keeper) {
    static const char request[] = "GET /health HTTP/1.0\r\n\r\n";
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct timeval limit = {.tv_sec = 2};
    char answer[2048];
    size_t len = 0;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return false;
    (void)snprintf(address.sun_path, sizeof address.sun_path, "%s/%s", keeper->dir, DEV_SOCKET);
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) == 0 &&
        send(fd, request, sizeof request - 1, MSG_NOSIGNAL) == (ssize_t)(sizeof request - 1)) {
        ssize_t n;
        while (len < sizeof answer - 1 && (n = read(fd, answer + len, sizeof answer - 1 - len)) > 0)
            len += (size_t)n;
    }
    (void)close(fd);
    answer[len] = '\0';
    return strstr(answer, "\"health\":\"true\"") != NULL;
}

/* True once etcd serves, false when it ended before. */
static bool await_health(struct keeper *keeper, int64_t until_ns) {
    while (!has_ended(keeper, false)) {
        if (is_healthy(keeper))
            return !has_ended(keeper, false);
        if (clock_boottime_ns() > until_ns)
            return false;
        sleep_ms(LOOK_AGAIN_MS);
    }
    return false;
}

/* The etcd of a keeper that was killed may still be dying: so try again. */
static bool bring_up(struct keeper *keeper) {
    int64_t until_ns = clock_boottime_ns() + START_LIMIT_NS;
    int n_tries = 0;
    do {
        if (start_etcd(keeper) == 0 && await_health(keeper, until_ns))
            return true;
        sleep_ms(RESTART_DELAY_MS);
    } while (++n_tries < MAX_TRIES && clock_boottime_ns() < until_ns);
    return false;
}

/* ---- the end ---------------------------------------------------------------------------------------- */

static void kill_etcd(struct keeper *keeper) {
    if (keeper->etcd != 0) {
        (void)kill(keeper->etcd, SIGKILL);
        (void)waitpid(keeper->etcd, NULL, 0);
    }
}

/* A thread of its own: a wait for the lock and a wait for a child cannot be one. */
static void *await_last_user(void *arg) {
    struct keeper *keeper = arg;
    while (flock(keeper->users_fd, LOCK_EX) != 0)
        if (errno != EINTR)
            return NULL;
    (void)pthread_mutex_lock(&keeper->lock);
    kill_etcd(keeper);
    dev_remove(keeper->dir);
    _exit(0);
}

static void report(const char *text) {
    ssize_t written = write(DEV_REPORT_FD, text, strlen(text));
    (void)written;
    (void)close(DEV_REPORT_FD);
}

/* The last line of etcd's log says why. */
static void report_failure(const struct keeper *keeper) {
    char path[DEV_PATH_MAX], line[700] = "", text[1000];
    dev_path(path, keeper->dir, "etcd.log");
    FILE *file = fopen(path, "re");
    if (file != NULL) {
        char next[sizeof line];
        while (fgets(next, sizeof next, file) != NULL)
            memcpy(line, next, sizeof line);
        (void)fclose(file);
    }
    line[strcspn(line, "\n")] = '\0';
    (void)snprintf(text, sizeof text, "%s does not start; the last line of its log: %s", keeper->program,
                   line[0] != '\0' ? line : "(empty)");
    report(text);
}

int dev_keep(const char *dir, const char *program) {
    struct keeper keeper = {.dir = dir, .program = program, .lock = PTHREAD_MUTEX_INITIALIZER};
    char fifo[DEV_PATH_MAX];
    pthread_t thread;

    (void)umask(077);
    (void)fcntl(DEV_REPORT_FD, F_SETFD, FD_CLOEXEC);
    (void)signal(SIGPIPE, SIG_IGN);
    unset_etcd_environment();
    keeper.users_fd = dev_open_lock(dir, "users.lock");
    dev_path(fifo, dir, "keeper");
    int is_here =
        mkfifo(fifo, 0600) == 0 || errno == EEXIST ? open(fifo, O_RDONLY | O_NONBLOCK | O_CLOEXEC) : -1;
    if (keeper.users_fd < 0 || is_here < 0) {
        report("its directory cannot be used");
        return EXIT_FAILURE;
    }
    if (!bring_up(&keeper) || write_endpoint(&keeper) != 0 ||
        pthread_create(&thread, NULL, await_last_user, &keeper) != 0) {
        report_failure(&keeper);
        kill_etcd(&keeper);
        return EXIT_FAILURE;
    }
    report("ok");
    for (;;) {
        if (has_ended(&keeper, true)) {
            sleep_ms(RESTART_DELAY_MS);
            (void)start_etcd(&keeper);
        }
    }
}
