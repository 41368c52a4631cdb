/* host/http.c - the module lunarch.http: the HTTP server of `lunarch run --listen`, on libmicrohttpd. A module of its own,
 * so that a program that does not listen carries nothing of it.
 *
 * One thread of ours answers, also while Lua is busy; it reads what is published (facts.h) and the clock at the moment of
 * each answer. It never enters Lua.
 *
 * Limits: MOST_CONNECTIONS, and a quarter of the descriptors that the process may have, for etcd and commands need some,
 * too; when there are more, the one that has gone longest without a whole request is closed. A connection on which no
 * request was completed for LONGEST_S is closed, whatever it sends or does not read. The headers of a request have
 * BYTES_PER_CONNECTION at most. */
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <lauxlib.h>
#include <lua.h>
#include <microhttpd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/thread.h"
#include "host/http_pages.h"

/* Exported by name. */
int luaopen_lunarch_http(lua_State *L);

enum {
    MOST_CONNECTIONS = 64,
    LEAST_CONNECTIONS = 4,
    BYTES_PER_CONNECTION = 16384,
    LONGEST_S = 10,
    BACKLOG = 64,
    LOOK_MS = 1000
};

struct connection {
    int fd; /* -1: not used */
    int64_t since_ns;
};

/* All but `stop_fd` belongs to the thread while it runs. */
static struct {
    struct MHD_Daemon *daemon;
    const struct facts_access *facts;
    struct connection connections[MOST_CONNECTIONS + 1];
    pthread_t thread;
    int epoll_fd, stop_fd;
    int most; /* connections, at most MOST_CONNECTIONS */
    bool is_running;
} server;

/* ---- connections ------------------------------------------------------------------------------------ */

/* The daemon closes it, in its own time. */
static void cut(struct connection *connection) {
    (void)shutdown(connection->fd, SHUT_RDWR);
    connection->since_ns = INT64_MAX;
}

static void cut_oldest(void) {
    struct connection *oldest = NULL;
    int n = 0;
    for (int i = 0; i <= MOST_CONNECTIONS; i++) {
        struct connection *connection = &server.connections[i];
        if (connection->fd < 0)
            continue;
        n++;
        if (!oldest || connection->since_ns < oldest->since_ns)
            oldest = connection;
    }
    if (n > server.most && oldest && oldest->since_ns != INT64_MAX)
        cut(oldest);
}

static void cut_late(void) {
    int64_t now_ns = clock_boottime_ns();
    for (int i = 0; i <= MOST_CONNECTIONS; i++) {
        struct connection *connection = &server.connections[i];
        if (connection->fd >= 0 && connection->since_ns != INT64_MAX &&
            now_ns - connection->since_ns > LONGEST_S * NS_PER_S)
            cut(connection);
    }
}

static bool has_connections(void) {
    for (int i = 0; i <= MOST_CONNECTIONS; i++)
        if (server.connections[i].fd >= 0)
            return true;
    return false;
}

static struct connection *unused(void) {
    for (int i = 0; i <= MOST_CONNECTIONS; i++)
        if (server.connections[i].fd < 0)
            return &server.connections[i];
    return NULL;
}

static void on_connection(void *arg, struct MHD_Connection *mhd, void **slot,
                          enum MHD_ConnectionNotificationCode code) {
    (void)arg;
    if (code == MHD_CONNECTION_NOTIFY_CLOSED) {
        struct connection *connection = *slot;
        if (connection)
            connection->fd = -1;
        return;
    }
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD);
    struct connection *connection = unused();
    *slot = connection;
    if (!info || !connection)
        return;
    *connection = (struct connection){.fd = info->connect_fd, .since_ns = clock_boottime_ns()};
    cut_oldest();
}

static void on_completed(void *arg, struct MHD_Connection *mhd, void **request,
                         enum MHD_RequestTerminationCode code) {
    (void)arg, (void)request, (void)code;
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    struct connection *connection = info ? info->socket_context : NULL;
    if (connection && connection->since_ns != INT64_MAX)
        connection->since_ns = clock_boottime_ns();
}

/* ---- requests --------------------------------------------------------------------------------------- */

static enum MHD_Result answer(struct MHD_Connection *mhd, unsigned status, const char *type, char *text,
                              size_t len) {
    struct MHD_Response *response = MHD_create_response_from_buffer(len, text, MHD_RESPMEM_MUST_FREE);
    if (!response) {
        free(text);
        return MHD_NO;
    }
    (void)MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, type);
    (void)MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
    if (status == MHD_HTTP_METHOD_NOT_ALLOWED)
        (void)MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, "GET, HEAD, OPTIONS");
    enum MHD_Result result = MHD_queue_response(mhd, status, response);
    MHD_destroy_response(response);
    return result;
}

/* HAProxy asks with OPTIONS unless told otherwise. */
static bool is_known_method(const char *method) {
    return strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0 || strcmp(method, "OPTIONS") == 0;
}

static enum MHD_Result on_request(void *arg, struct MHD_Connection *mhd, const char *url, const char *method,
                                  const char *version, const char *body, size_t *n_body, void **request) {
    (void)arg, (void)version, (void)body, (void)n_body, (void)request;
    if (!is_known_method(method)) {
        char *text = strdup("GET, HEAD and OPTIONS are known here\n");
        return text ? answer(mhd, MHD_HTTP_METHOD_NOT_ALLOWED, "text/plain", text, strlen(text)) : MHD_NO;
    }
    struct page page;
    page_make(&page, server.facts, url, MHD_lookup_connection_value(mhd, MHD_GET_ARGUMENT_KIND, "name"));
    return page.text ? answer(mhd, page.status, page.type, page.text, page.len) : MHD_NO;
}

/* ---- the thread ------------------------------------------------------------------------------------- */

static int ms_to_wait(void) {
    MHD_UNSIGNED_LONG_LONG ms;
    if (MHD_get_timeout(server.daemon, &ms) == MHD_YES && ms < LOOK_MS)
        return (int)ms;
    return has_connections() ? LOOK_MS : -1;
}

static void *serve(void *arg) {
    (void)arg;
    struct pollfd fds[] = {{.fd = server.epoll_fd, .events = POLLIN},
                           {.fd = server.stop_fd, .events = POLLIN}};
    while (!(fds[1].revents & POLLIN)) {
        (void)poll(fds, 2, ms_to_wait());
        (void)MHD_run(server.daemon);
        cut_late();
    }
    MHD_stop_daemon(server.daemon);
    return NULL;
}

/* ---- the address ------------------------------------------------------------------------------------ */

struct address {
    char host[256], port[16];
};

static bool is_port(const char *text) {
    return text[0] && strlen(text) <= 5 && strspn(text, "0123456789") == strlen(text) && atoi(text) <= 65535;
}

/* "8080", ":8080", "host:8080", "[::1]:8080". Without a host, it is empty: loopback. */
static bool read_address(struct address *ret, const char *text) {
    const char *colon = strrchr(text, ':');
    const char *port = colon ? colon + 1 : text;
    size_t len = colon ? (size_t)(colon - text) : 0;
    if (len > 1 && text[0] == '[' && text[len - 1] == ']') {
        text++;
        len -= 2;
    } else if (memchr(text, ':', len)) {
        return false; /* an IPv6 address without brackets */
    }
    if (!is_port(port) || len >= sizeof ret->host)
        return false;
    (void)snprintf(ret->host, sizeof ret->host, "%.*s", (int)len, text);
    (void)snprintf(ret->port, sizeof ret->port, "%s", port);
    return true;
}

/* A descriptor, or -1 with errno. */
static int bind_to(const struct addrinfo *info) {
    int on = 1, fd = socket(info->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -1;
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, info->ai_addr, info->ai_addrlen) == 0 && listen(fd, BACKLOG) == 0)
        return fd;
    int error = errno;
    (void)close(fd);
    errno = error;
    return -1;
}

/* A descriptor, or -1, errno and why. */
static int open_socket_at(const struct address *address, const char **ret_why) {
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV}, *found;
    int rc = getaddrinfo(address->host, address->port, &hints, &found);
    if (rc != 0) {
        *ret_why = gai_strerror(rc);
        errno = EINVAL;
        return -1;
    }
    int fd = -1;
    for (const struct addrinfo *info = found; info && fd < 0; info = info->ai_next)
        fd = bind_to(info);
    int error = errno;
    freeaddrinfo(found);
    if (fd < 0)
        *ret_why = error == EADDRINUSE      ? "another program listens there"
                   : error == EADDRNOTAVAIL ? "this machine does not have that address"
                   : error == EACCES        ? "no permission: ports below 1024 are root's"
                                            : strerror(error);
    errno = error;
    return fd;
}

/* Loopback is IPv4's, on a machine that has one. */
static int open_socket(const struct address *address, const char **ret_why) {
    struct address loopback = *address;
    if (address->host[0])
        return open_socket_at(address, ret_why);
    (void)strcpy(loopback.host, "127.0.0.1");
    int fd = open_socket_at(&loopback, ret_why);
    if (fd >= 0 || (errno != EADDRNOTAVAIL && errno != EAFNOSUPPORT))
        return fd;
    (void)strcpy(loopback.host, "::1");
    return open_socket_at(&loopback, ret_why);
}

/* Pushes "127.0.0.1:8080". */
static void push_address(lua_State *L, int fd) {
    struct sockaddr_storage own;
    socklen_t len = sizeof own;
    char host[256] = "?", port[16] = "?";
    (void)getsockname(fd, (struct sockaddr *)&own, &len);
    (void)getnameinfo((struct sockaddr *)&own, len, host, sizeof host, port, sizeof port,
                      NI_NUMERICHOST | NI_NUMERICSERV);
    lua_pushfstring(L, strchr(host, ':') ? "[%s]:%s" : "%s:%s", host, port);
}

/* ---- the module ------------------------------------------------------------------------------------- */

static int refuse(lua_State *L, const char *address, const char *why) {
    lua_pushnil(L);
    lua_pushfstring(L, "cannot listen at %s: %s", address, why);
    return 2;
}

/* A string with a zero byte in it would end there: then it stays as it was sent, and names nothing. */
static size_t unescape(void *arg, struct MHD_Connection *mhd, char *text) {
    (void)arg, (void)mhd;
    return strstr(text, "%00") ? strlen(text) : MHD_http_unescape(text);
}

static int most_connections(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur / 4 > MOST_CONNECTIONS)
        return MOST_CONNECTIONS;
    return limit.rlim_cur < 4 * LEAST_CONNECTIONS ? LEAST_CONNECTIONS : (int)(limit.rlim_cur / 4);
}

/* `listen_fd` stays the caller's: whether a daemon that does not start closes it is not documented. */
static bool start(int listen_fd) {
    int fd = fcntl(listen_fd, F_DUPFD_CLOEXEC, 0);
    if (fd < 0)
        return false;
    server.daemon = MHD_start_daemon(
        MHD_USE_EPOLL, 0, NULL, NULL, on_request, NULL, MHD_OPTION_LISTEN_SOCKET, fd,
        MHD_OPTION_CONNECTION_LIMIT, (unsigned)MOST_CONNECTIONS + 1, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
        (size_t)BYTES_PER_CONNECTION, MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)LONGEST_S,
        MHD_OPTION_UNESCAPE_CALLBACK, unescape, NULL, MHD_OPTION_NOTIFY_CONNECTION, on_connection, NULL,
        MHD_OPTION_NOTIFY_COMPLETED, on_completed, NULL, MHD_OPTION_END);
    if (!server.daemon)
        return false;
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(server.daemon, MHD_DAEMON_INFO_EPOLL_FD);
    server.epoll_fd = info ? info->listen_fd : -1;
    server.stop_fd = eventfd(0, EFD_CLOEXEC);
    if (server.epoll_fd >= 0 && server.stop_fd >= 0 && thread_start(&server.thread, serve, NULL) == 0)
        return true;
    fd_close(&server.stop_fd);
    MHD_stop_daemon(server.daemon);
    return false;
}

/* listen(address, facts of lunarch.host) -> "host:port"; nil, message. Once per process. */
static int l_listen(lua_State *L) {
    const char *text = luaL_checkstring(L, 1), *why = "";
    luaL_checktype(L, 2, LUA_TLIGHTUSERDATA);
    if (server.is_running)
        return refuse(L, text, "this program listens already");
    struct address address;
    if (!read_address(&address, text)) {
        lua_pushnil(L);
        lua_pushfstring(L, "'%s' is not an address to listen at: HOST:PORT, [IPv6]:PORT or PORT", text);
        return 2;
    }
    int fd = open_socket(&address, &why);
    if (fd < 0)
        return refuse(L, text, why);
    server.facts = lua_touserdata(L, 2);
    server.most = most_connections();
    for (int i = 0; i <= MOST_CONNECTIONS; i++)
        server.connections[i].fd = -1;
    push_address(L, fd);
    bool is_started = start(fd);
    (void)close(fd);
    if (!is_started)
        return refuse(L, text, "no memory, descriptor or thread for it");
    server.is_running = true;
    return 1;
}

/* stop(): ends the server, if there is one. Waits for its thread: milliseconds. */
static int l_stop(lua_State *L) {
    (void)L;
    if (!server.is_running)
        return 0;
    fd_ring(server.stop_fd);
    (void)pthread_join(server.thread, NULL);
    (void)close(server.stop_fd);
    server.is_running = false;
    return 0;
}

int luaopen_lunarch_http(lua_State *L) {
    static const luaL_Reg functions[] = {{"listen", l_listen}, {"stop", l_stop}, {NULL, NULL}};
    luaL_newlib(L, functions);
    return 1;
}
