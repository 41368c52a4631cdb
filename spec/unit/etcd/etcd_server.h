/* spec/unit/etcd/etcd_server.h - a private etcd for a test: free ports on the loopback, data in memory, gone with
 * the test. */
#ifndef LUN_UNIT_ETCD_SERVER_H
#define LUN_UNIT_ETCD_SERVER_H

#include <arpa/inet.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ETCD_FLAGS_MAX = 8 };

struct etcd_server {
    pid_t pid;
    int port, peer_port;
    const char *flags[ETCD_FLAGS_MAX]; /* more of them, ended by NULL */
    char name[8], cluster[128];        /* "one", "one=http://..." */
    char address[32];                  /* "127.0.0.1:port" */
    char dir[64];
};

/* A socket of that type on the loopback's port, or -1. */
static inline int bound_socket(int type, int port) {
    int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);
    struct sockaddr_in name = {
        .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons((uint16_t)port)};
    if (fd >= 0 && bind(fd, (struct sockaddr *)&name, sizeof name) == 0)
        return fd;
    if (fd >= 0)
        close(fd);
    return -1;
}

/* A port of our own until this process ends, whether or not a server listens on it: from below the range that the kernel
 * hands to outgoing connections, and claimed by a UDP socket, as spec/support/ports.lua does it. */
static inline int free_port(void) {
    enum { FIRST = 15000, COUNT = 17000, TRIES = 1000 };
    for (int i = 0; i < TRIES; i++) {
        uint16_t drawn = 0;
        if (getrandom(&drawn, sizeof drawn, 0) != sizeof drawn)
            return -1;
        int port = FIRST + drawn % COUNT, claim = bound_socket(SOCK_DGRAM, port);
        if (claim < 0)
            continue;
        int fd = bound_socket(SOCK_STREAM, port);
        close(fd < 0 ? claim : fd);
        if (fd >= 0)
            return port;
    }
    return -1;
}

/* The program: $ETCD, or `etcd` on the PATH. NULL: there is none. */
static inline const char *etcd_program(void) {
    static char found[512];
    const char *named = getenv("ETCD");
    if (named)
        return access(named, X_OK) == 0 ? named : NULL;
    const char *path = getenv("PATH");
    for (const char *p = path; p && *p;) {
        size_t len = strcspn(p, ":");
        snprintf(found, sizeof found, "%.*s/etcd", (int)len, p);
        if (access(found, X_OK) == 0)
            return found;
        p += len + (p[len] == ':');
    }
    return NULL;
}

/* (Re)starts it on the ports and data it has. */
static inline void etcd_server_spawn(struct etcd_server *server) {
    char client[64], peer[64];
    snprintf(client, sizeof client, "http://127.0.0.1:%d", server->port);
    snprintf(peer, sizeof peer, "http://127.0.0.1:%d", server->peer_port);
    const char *args[24 + ETCD_FLAGS_MAX] = {"etcd",
                                             "--name",
                                             server->name,
                                             "--data-dir",
                                             server->dir,
                                             "--listen-client-urls",
                                             client,
                                             "--advertise-client-urls",
                                             client,
                                             "--listen-peer-urls",
                                             peer,
                                             "--initial-advertise-peer-urls",
                                             peer,
                                             "--initial-cluster",
                                             server->cluster,
                                             "--logger",
                                             "zap",
                                             "--log-level",
                                             "error"};
    int n = 0;
    while (args[n])
        n++;
    for (int i = 0; i < ETCD_FLAGS_MAX && server->flags[i]; i++)
        args[n++] = server->flags[i];
    const char *program = etcd_program();
    pid_t parent = getpid();
    server->pid = fork();
    if (server->pid != 0)
        return;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(1);
    int null = open("/dev/null", O_RDWR);
    dup2(null, 1);
    dup2(null, 2);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    execv(program, (char *const *)(uintptr_t)args);
    _exit(127);
}

/* Ports and a folder of its own; a cluster of one, unless the caller says otherwise before it is spawned. */
static inline bool etcd_server_prepare(struct etcd_server *server, const char *name) {
    *server = (struct etcd_server){.port = free_port(), .peer_port = free_port()};
    snprintf(server->name, sizeof server->name, "%s", name);
    snprintf(server->address, sizeof server->address, "127.0.0.1:%d", server->port);
    snprintf(server->cluster, sizeof server->cluster, "%s=http://127.0.0.1:%d", name, server->peer_port);
    const char *base = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
    snprintf(server->dir, sizeof server->dir, "%s/lunarch-unit-XXXXXX", base);
    return mkdtemp(server->dir) != NULL;
}

static inline bool etcd_server_start(struct etcd_server *server) {
    if (!etcd_server_prepare(server, "one"))
        return false;
    etcd_server_spawn(server);
    return server->pid > 0;
}

static inline void etcd_server_kill(struct etcd_server *server) {
    if (server->pid <= 0)
        return;
    kill(server->pid, SIGKILL);
    waitpid(server->pid, NULL, 0);
    server->pid = 0;
}

/* SIGSTOP, and the stop itself: the threads of the process run on for an instant after the signal was sent.
 */
static inline void etcd_server_freeze(struct etcd_server *server) {
    kill(server->pid, SIGSTOP);
    waitpid(server->pid, NULL, WUNTRACED);
}

static inline void etcd_server_thaw(struct etcd_server *server) {
    kill(server->pid, SIGCONT);
}

static inline void etcd_server_stop(struct etcd_server *server) {
    etcd_server_kill(server);
    pid_t pid = fork();
    if (pid == 0) {
        execlp("rm", "rm", "-rf", server->dir, (char *)NULL);
        _exit(127);
    }
    waitpid(pid, NULL, 0);
}

#endif
