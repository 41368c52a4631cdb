/* rpc/grpc/port_look.c - finds out why a port cannot be used, from outside. See port_look.h.
 *
 * Where TLS is to be spoken: a handshake. In plaintext: what an etcd would answer to a client's first words, or whether the port speaks TLS. */
#include "rpc/grpc/port_look.h"

#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/secret.h"
#include "rpc/grpc/tls_handshake.h"

enum { HOST_BYTES = 256, PORT_BYTES = 8 };

struct port_look {
    atomic_int n_users;
    atomic_bool is_done;
    bool is_plain;
    char host[HOST_BYTES], port[PORT_BYTES];
    struct tls_handshake handshake; /* its sentence is read when is_done */
};

/* ---- connecting -------------------------------------------------------------------------------------- */

static bool wait_for(int fd, short events) {
    struct pollfd poll_fd = {.fd = fd, .events = events};
    return poll(&poll_fd, 1, HANDSHAKE_STEP_MS) == 1;
}

static bool is_connected(int fd, const struct addrinfo *address) {
    if (connect(fd, address->ai_addr, address->ai_addrlen) == 0)
        return true;
    int error = errno;
    socklen_t n_bytes = sizeof error;
    return error == EINPROGRESS && wait_for(fd, POLLOUT) &&
           getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &n_bytes) == 0 && error == 0;
}

/* A socket, or -1: gRPC has said why. */
static int open_socket(const struct port_look *look) {
    struct addrinfo *addresses, hints = {.ai_socktype = SOCK_STREAM};
    if (getaddrinfo(look->host, look->port, &hints, &addresses))
        return -1;
    int fd = -1;
    for (const struct addrinfo *address = addresses; address && fd < 0; address = address->ai_next) {
        fd = socket(address->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (fd >= 0 && !is_connected(fd, address)) {
            (void)close(fd);
            fd = -1;
        }
    }
    freeaddrinfo(addresses);
    return fd;
}

/* ---- plaintext --------------------------------------------------------------------------------------- */

enum answer { NO_ANSWER, CLOSED, HTTP2, OTHER };

/* A client's first words in HTTP/2 are answered by a frame of settings (type 4) in a server's. */
static enum answer ask_plainly(int fd) {
    static const char words[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0";
    unsigned char reply[9];
    if (send(fd, words, sizeof words, MSG_NOSIGNAL) < 0)
        return CLOSED;
    if (!wait_for(fd, POLLIN))
        return NO_ANSWER;
    ssize_t n = recv(fd, reply, sizeof reply, 0);
    if (n <= 0)
        return CLOSED;
    return n == sizeof reply && reply[3] == 4 ? HTTP2 : OTHER;
}

static bool speaks_tls(const struct port_look *look) {
    int fd = open_socket(look);
    bool is_spoken = fd >= 0 && tls_is_spoken(fd);
    if (fd >= 0)
        (void)close(fd);
    return is_spoken;
}

static void look_plainly(struct port_look *look, int fd) {
    enum answer answer = ask_plainly(fd);
    const char *sentence = "";
    if (answer != HTTP2 && speaks_tls(look))
        sentence = "speaks TLS: https://?";
    else if (answer == NO_ANSWER)
        sentence = "accepts connections and says nothing: is it etcd?";
    else if (answer == CLOSED)
        sentence = "accepts connections and closes them: is it etcd?";
    else if (answer == OTHER)
        sentence = "does not speak HTTP/2: is it etcd?";
    (void)snprintf(look->handshake.sentence, sizeof look->handshake.sentence, "%s", sentence);
}

/* ---- life -------------------------------------------------------------------------------------------- */

void port_look_free(struct port_look *look) {
    if (!look || atomic_fetch_sub(&look->n_users, 1) > 1)
        return;
    free(look->handshake.name);
    free(look->handshake.cacert);
    free(look->handshake.cert);
    free(look->handshake.cert_name);
    secret_wipe(&look->handshake.key);
    free(look);
}

static void *run(void *arg) {
    struct port_look *look = arg;
    int fd = open_socket(look);
    if (fd >= 0 && look->is_plain)
        look_plainly(look, fd);
    else if (fd >= 0)
        tls_handshake_try(&look->handshake, fd);
    if (fd >= 0)
        (void)close(fd);
    atomic_store(&look->is_done, true);
    port_look_free(look);
    return NULL;
}

static bool copy(char **ret, const char *text) {
    *ret = text ? strdup(text) : NULL;
    return !text || *ret;
}

static bool copy_all(struct tls_handshake *handshake, const struct tls *tls, const char *host) {
    handshake->is_unverified = tls->is_unverified;
    return copy(&handshake->name, tls->server_name ? tls->server_name : host) &&
           copy(&handshake->cacert, tls->cacert.text) && copy(&handshake->cert, tls->cert.text) &&
           copy(&handshake->key, tls->key.text) &&
           copy(&handshake->cert_name, tls->cert.path ? tls->cert.path : "(given as text)");
}

static bool start(struct port_look *look) {
    pthread_attr_t attributes;
    pthread_t thread;
    if (pthread_attr_init(&attributes))
        return false;
    (void)pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    atomic_store(&look->n_users, 2);
    int rc = pthread_create(&thread, &attributes, run, look);
    (void)pthread_attr_destroy(&attributes);
    if (rc)
        atomic_store(&look->n_users, 1);
    return rc == 0;
}

struct port_look *port_look_start(const struct tls *tls, const char *host, const char *port) {
    struct port_look *look = calloc(1, sizeof *look);
    if (!look)
        return NULL;
    atomic_store(&look->n_users, 1);
    look->is_plain = !tls;
    (void)snprintf(look->host, sizeof look->host, "%s", host);
    (void)snprintf(look->port, sizeof look->port, "%s", port);
    if ((!tls || copy_all(&look->handshake, tls, host)) && start(look))
        return look;
    port_look_free(look);
    return NULL;
}

bool port_look_result(struct port_look *look, char *ret_text, size_t n_bytes) {
    if (!atomic_load(&look->is_done))
        return false;
    const char *sentence = look->handshake.sentence;
    (void)snprintf(ret_text, n_bytes, "%s%s", look->is_plain || !sentence[0] ? "" : "TLS: ", sentence);
    return true;
}
