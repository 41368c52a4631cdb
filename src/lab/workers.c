/* lab/workers.c - workers: forked copies of the program that take shares of the seeds, each with a pipe to the first.
 * Functions of lunarch.sim. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lab/run.h"

enum { MAX_WORKERS = 64 };

/* fork() -> pid, descriptor to read | false, descriptor to write; nil, message */
int worker_fork(lua_State *L) {
    int fds[2];
    pid_t parent = getpid();
    pid_t pid = pipe(fds) == 0 ? fork() : -1;
    if (pid < 0) {
        lua_pushnil(L);
        lua_pushstring(L, strerror(errno));
        return 2;
    }
    (void)close(fds[pid == 0 ? 0 : 1]);
    if (pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent)
            _exit(1);
        (void)signal(SIGINT, SIG_DFL);
        (void)signal(SIGTERM, SIG_DFL);
        lua_pushboolean(L, 0);
    } else {
        lua_pushinteger(L, pid);
    }
    lua_pushinteger(L, fds[pid == 0 ? 1 : 0]);
    return 2;
}

/* read(list of descriptors, timeout_ms) -> descriptor, what came ("": its end); nil: nothing */
int worker_read(lua_State *L) {
    struct pollfd polls[MAX_WORKERS];
    luaL_checktype(L, 1, LUA_TTABLE);
    nfds_t n = 0;
    for (; n < MAX_WORKERS && n < lua_rawlen(L, 1); n++) {
        lua_rawgeti(L, 1, (lua_Integer)n + 1);
        polls[n] = (struct pollfd){.fd = (int)lua_tointeger(L, -1), .events = POLLIN};
        lua_pop(L, 1);
    }
    if (poll(polls, n, (int)luaL_checkinteger(L, 2)) <= 0)
        return 0;
    for (nfds_t i = 0; i < n; i++) {
        char text[4096];
        if (polls[i].revents == 0)
            continue;
        ssize_t len = read(polls[i].fd, text, sizeof text);
        if (len < 0)
            continue;
        lua_pushinteger(L, polls[i].fd);
        lua_pushlstring(L, text, (size_t)len);
        return 2;
    }
    return 0;
}

/* write(descriptor, text) -> whether all of it was written */
int worker_write(lua_State *L) {
    int fd = (int)luaL_checkinteger(L, 1);
    size_t len;
    const char *text = luaL_checklstring(L, 2, &len);
    while (len > 0) {
        ssize_t n = write(fd, text, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            break;
        text += n;
        len -= (size_t)n;
    }
    lua_pushboolean(L, len == 0);
    return 1;
}

/* quit(): a worker's end */
int worker_quit(lua_State *L) {
    (void)L;
    _exit(0);
}

/* reap(pid, descriptor, has_ended): ends a worker, if it has not by itself -> the signal it had died of, or nil */
int worker_reap(lua_State *L) {
    pid_t pid = (pid_t)luaL_checkinteger(L, 1);
    int status = 0;
    bool has_ended = lua_toboolean(L, 3);
    (void)close((int)luaL_checkinteger(L, 2));
    if (!has_ended)
        (void)kill(pid, SIGKILL);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (!has_ended || !WIFSIGNALED(status))
        return 0;
    lua_pushinteger(L, WTERMSIG(status));
    return 1;
}

/* n_cores() */
int worker_n_cores(lua_State *L) {
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    lua_pushinteger(L, n < 1 ? 1 : n > MAX_WORKERS ? MAX_WORKERS : n);
    return 1;
}
