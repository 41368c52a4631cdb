/* module/bell.c - a bell: clients' descriptors turned into bytes on a unix socket.
 *
 * For programs whose loop cannot watch a descriptor of ours but can read a socket that it opened itself by a path:
 * nginx's Lua. One thread watches the descriptors of any number of clients and writes a byte whenever one of them
 * becomes readable; it reads nothing, so it needs no lock.
 *
 *   listening --a connection of our own process--> connected --it is closed--> silent
 *
 * The socket lies in a folder of its own that only our user may enter; both are gone once a socket has connected. Who
 * is let in is this very process and nobody else. What is rung before that is rung again then. */
#include "module/module.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/thread.h"
#include "module/bell.h"

static const char BELL[] = LUN_CORE ".bell";

struct bell {
    struct sockaddr_un address; /* sun_path empty: no file (any more) */
    pthread_t thread;
    pid_t pid; /* whose thread it is; 0: none */
    int epoll_fd, kick_fd, listen_fd, peer_fd;
    atomic_bool is_stopping;
    bool is_missed; /* rung while nobody was there to hear it */
};

/* ---- the thread ------------------------------------------------------------------------------------- */

static void remove_file(struct bell *bell) {
    char *path = bell->address.sun_path;
    if (!*path)
        return;
    (void)unlink(path);
    *strrchr(path, '/') = '\0';
    (void)rmdir(path);
    *path = '\0';
}

/* A byte that does not fit is not needed: those before it are still to be read. */
static void ring(struct bell *bell) {
    bell->is_missed = bell->peer_fd < 0;
    if (bell->is_missed)
        return;
    if (send(bell->peer_fd, "!", 1, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 && errno != EAGAIN)
        fd_close(&bell->peer_fd);
}

static bool is_ourselves(int fd) {
    struct ucred peer;
    socklen_t len = sizeof peer;
    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) == 0 && peer.pid == getpid();
}

/* The connection stays in the queue, and epoll reports it again at once: without a rest that would be a busy loop. */
static void rest_if_out_of_descriptors(int failure) {
    if (failure == EMFILE || failure == ENFILE || failure == ENOBUFS || failure == ENOMEM)
        (void)nanosleep(&(struct timespec){.tv_nsec = 100 * 1000 * 1000}, NULL);
}

static void let_in(struct bell *bell) {
    int fd = accept4(bell->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0) {
        rest_if_out_of_descriptors(errno);
        return;
    }
    if (!is_ourselves(fd)) {
        (void)close(fd);
        return;
    }
    bell->peer_fd = fd;
    fd_close(&bell->listen_fd);
    remove_file(bell);
    if (bell->is_missed)
        ring(bell);
}

/* Descriptors are watched for edges: each write to one of them is an event, however often it is read. */
static void *run(void *arg) {
    struct bell *bell = arg;
    while (!atomic_load(&bell->is_stopping)) {
        struct epoll_event events[16];
        int n = epoll_wait(bell->epoll_fd, events, sizeof events / sizeof *events, -1);
        bool is_due = false;
        for (int i = 0; i < n; i++) {
            if (events[i].data.fd == bell->listen_fd)
                let_in(bell);
            else
                is_due = true;
        }
        if (is_due)
            ring(bell);
    }
    return NULL;
}

/* ---- opening and closing ---------------------------------------------------------------------------- */

static int watch_fd(struct bell *bell, int fd, uint32_t events) {
    struct epoll_event event = {.events = events, .data.fd = fd};
    return epoll_ctl(bell->epoll_fd, EPOLL_CTL_ADD, fd, &event) == 0 || errno == EEXIST ? 0 : -1;
}

static int listen_in(struct bell *bell, const char *folder) {
    char *path = bell->address.sun_path;
    int len = snprintf(path, sizeof bell->address.sun_path, "%s/lunarch-XXXXXX", folder);
    if (len < 0 || (size_t)len + sizeof "/bell" > sizeof bell->address.sun_path) {
        errno = ENAMETOOLONG;
        *path = '\0';
        return -1;
    }
    if (!mkdtemp(path)) {
        *path = '\0';
        return -1;
    }
    memcpy(path + len, "/bell", sizeof "/bell");
    bell->address.sun_family = AF_UNIX;
    bell->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (bell->listen_fd >= 0 &&
        bind(bell->listen_fd, (struct sockaddr *)&bell->address, sizeof bell->address) == 0 &&
        listen(bell->listen_fd, 4) == 0)
        return 0;
    int failure = errno;
    fd_close(&bell->listen_fd);
    remove_file(bell);
    errno = failure;
    return -1;
}

static int start(struct bell *bell) {
    bell->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    bell->kick_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (bell->epoll_fd < 0 || bell->kick_fd < 0 || watch_fd(bell, bell->kick_fd, EPOLLIN | EPOLLET) != 0 ||
        watch_fd(bell, bell->listen_fd, EPOLLIN) != 0)
        return -1;
    int failure = thread_start(&bell->thread, run, bell);
    errno = failure;
    if (failure != 0)
        return -1;
    bell->pid = getpid();
    return 0;
}

/* In a forked child there is no thread to end, and the file is the parent's. */
static void stop(struct bell *bell) {
    if (bell->pid == getpid()) {
        atomic_store(&bell->is_stopping, true);
        fd_ring(bell->kick_fd);
        (void)pthread_join(bell->thread, NULL);
        remove_file(bell);
    } else if (bell->pid == 0) {
        remove_file(bell);
    }
    bell->pid = 0;
    bell->address.sun_path[0] = '\0';
    fd_close(&bell->listen_fd);
    fd_close(&bell->peer_fd);
    fd_close(&bell->kick_fd);
    fd_close(&bell->epoll_fd);
}

int bell_open(lua_State *L) {
    const char *folder = luaL_checkstring(L, 1);
    struct bell *bell = lua_newuserdatauv(L, sizeof *bell, 0);
    *bell = (struct bell){.epoll_fd = -1, .kick_fd = -1, .listen_fd = -1, .peer_fd = -1};
    luaL_getmetatable(L, BELL);
    lua_setmetatable(L, -2);
    if (listen_in(bell, folder) == 0) {
        lua_pushstring(L, bell->address.sun_path);
        if (start(bell) == 0)
            return 2;
    }
    lua_pushfstring(L, "a socket in %s: %s", folder, strerror(errno));
    stop(bell);
    lua_pushnil(L);
    lua_insert(L, -2);
    return 2;
}

/* ---- methods ---------------------------------------------------------------------------------------- */

static struct bell *bell_check(lua_State *L) {
    struct bell *bell = luaL_checkudata(L, 1, BELL);
    if (bell->pid != getpid())
        luaL_error(L, "%s: it is closed, or another process's", BELL);
    return bell;
}

/* hear(fd): rings from now on when the descriptor becomes readable, and once at once. */
static int bell_hear(lua_State *L) {
    struct bell *bell = bell_check(L);
    lua_pushboolean(L, watch_fd(bell, (int)luaL_checkinteger(L, 2), EPOLLIN | EPOLLET) == 0);
    fd_ring(bell->kick_fd);
    return 1;
}

static int bell_ring(lua_State *L) {
    fd_ring(bell_check(L)->kick_fd);
    return 0;
}

static int bell_close(lua_State *L) {
    stop(luaL_checkudata(L, 1, BELL));
    return 0;
}

static const luaL_Reg METHODS[] = {
    {"hear", bell_hear}, {"ring", bell_ring}, {"close", bell_close}, {NULL, NULL}};

void bell_register(lua_State *L) {
    if (luaL_newmetatable(L, BELL)) {
        lua_newtable(L);
        luaL_setfuncs(L, METHODS, 0);
        lua_setfield(L, -2, "__index");
        lua_pushcfunction(L, bell_close);
        lua_setfield(L, -2, "__gc");
    }
    lua_pop(L, 1);
}
