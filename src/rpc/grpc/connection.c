/* rpc/grpc/connection.c - how long an attempt to connect to one member may take, and why it fails. See connection.h.
 *
 * gRPC gives up an attempt to connect after a time that is fixed when its channel is made. A second suits a network in which a dead member is to
 * be left soon; where each answer takes a second it is never enough, for TCP, TLS and HTTP/2 need up to four round trips. So an attempt that was
 * cut short by its limit is followed by one that may take four times as long, up to LIMIT_MOST_NS, by making the channel anew; an attempt under way is
 * never ended for it. (How long a call waits for a connection is not decided here: calls have deadlines of their own, and leave a member that does
 * not answer.) Once connected, twice what it took is the limit of the next attempt.
 *
 * gRPC goes on to attempt by itself, whether a call is out or not, and waits between two attempts for no longer than a time that is fixed in the
 * same way. A member that begins again is to be noticed soon, and a refused connection costs next to nothing. But a handshake of TLS that fails (no certificate
 * of the client's, a server that speaks no HTTP/2) costs the server each time, and lasts until an operator mends it: such attempts get rarer. */
#include "rpc/grpc/connection.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "rpc/grpc/port_look.h"

#define LIMIT_LEAST_NS NS_PER_S
#define LIMIT_MOST_NS (16 * NS_PER_S)
#define LOOK_AGAIN_NS (10 * NS_PER_S)
enum { PAUSE_LEAST_MS = 150, PAUSE_MOST_MS = 2000 };
enum { LIMIT_GROWS = 4, PAUSE_GROWS = 4, TEXT_BYTES = 320 };

struct connection {
    size_t n_users;
    int64_t limit_ns;              /* of the channel in use */
    int64_t wanted_ns;             /* of the next */
    int pause_ms, wanted_pause_ms; /* at the most between two attempts; likewise */
    unsigned n;                    /* counts the channels made */
    int64_t began_ns;              /* the first call through this one; 0: none yet */
    bool is_up;                    /* it has heard from the server */
    bool has_answered;             /* this channel or one before it */
    char *host, *port;
    struct port_look *look; /* the latest */
    bool is_looking;
    int64_t looked_ns;
    unsigned generation; /* of the certificates that it was made with */
    char text[TEXT_BYTES];
};

struct connection *connection_new(const char *host, const char *port) {
    struct connection *connection = calloc(1, sizeof *connection);
    if (!connection)
        return NULL;
    connection->n_users = 1;
    connection->limit_ns = connection->wanted_ns = LIMIT_LEAST_NS;
    connection->pause_ms = connection->wanted_pause_ms = PAUSE_LEAST_MS;
    connection->host = host ? strdup(host) : NULL;
    connection->port = port ? strdup(port) : NULL;
    if (!host || (connection->host && connection->port))
        return connection;
    connection_unref(connection);
    return NULL;
}

struct connection *connection_ref(struct connection *connection) {
    connection->n_users++;
    return connection;
}

void connection_unref(struct connection *connection) {
    if (!connection || --connection->n_users > 0)
        return;
    port_look_free(connection->look);
    free(connection->host);
    free(connection->port);
    free(connection);
}

/* ---- how long an attempt may take, and how often it is made ------------------------------------------ */

int connection_limit_ms(const struct connection *connection) {
    return (int)(connection->wanted_ns / NS_PER_MS);
}

int connection_pause_ms(const struct connection *connection) {
    return connection->wanted_pause_ms;
}

void connection_renewed(struct connection *connection) {
    connection->limit_ns = connection->wanted_ns;
    connection->pause_ms = connection->wanted_pause_ms;
    connection->n++;
    connection->began_ns = 0;
    connection->is_up = false;
}

bool connection_is_outgrown(const struct connection *connection) {
    return connection->wanted_ns != connection->limit_ns ||
           connection->wanted_pause_ms != connection->pause_ms;
}

unsigned connection_use(struct connection *connection, int64_t now_ns) {
    if (connection->began_ns == 0)
        connection->began_ns = now_ns;
    return connection->n;
}

static int64_t within_limits(int64_t ns) {
    return ns < LIMIT_LEAST_NS ? LIMIT_LEAST_NS : ns > LIMIT_MOST_NS ? LIMIT_MOST_NS : ns;
}

void connection_answered(struct connection *connection, unsigned n, int64_t now_ns) {
    connection->has_answered = true;
    if (n != connection->n || connection->is_up)
        return;
    connection->is_up = true;
    connection->wanted_pause_ms = PAUSE_LEAST_MS;
    int64_t took_ns = now_ns - connection->began_ns;
    if (took_ns <=
        connection
            ->limit_ns) /* else there were several attempts, and a failure between them has been heard */
        connection->wanted_ns = within_limits(2 * took_ns);
}

/* Fails at once, whatever the time allowed. */
static bool is_prompt(const char *words) {
    return strstr(words, "refused") || strstr(words, "DNS resolution failed") || strstr(words, "nreachable");
}

/* The connection was made, and what came over it was of no use. "handshaker shutdown": none was made in time. */
static bool was_accepted(const char *words) {
    return !is_prompt(words) && !strstr(words, "handshaker shutdown");
}

static int longer_pause_ms(const struct connection *connection) {
    int pause_ms = PAUSE_GROWS * connection->pause_ms;
    return pause_ms < PAUSE_MOST_MS ? pause_ms : PAUSE_MOST_MS;
}

/* The limit and the pause of a channel are raised once: what it does meanwhile is told again and again, until it is replaced. */
static void saw_failure(struct connection *connection, bool is_tls, const char *words, int64_t now_ns) {
    connection->wanted_pause_ms =
        is_tls && was_accepted(words) ? longer_pause_ms(connection) : PAUSE_LEAST_MS;
    connection->is_up = false;
    bool was_cut_short = now_ns - connection->began_ns >= connection->limit_ns * 9 / 10;
    if (was_cut_short && !is_prompt(words))
        connection->wanted_ns = within_limits(LIMIT_GROWS * connection->limit_ns);
}

/* ---- what stands in the way -------------------------------------------------------------------------- */

static void start_look(struct connection *connection, const struct tls *tls, int64_t now_ns) {
    port_look_free(connection->look);
    connection->look = port_look_start(tls, connection->host, connection->port);
    connection->looked_ns = now_ns;
    connection->is_looking = connection->look != NULL;
}

/* What the latest look has found. A plaintext port that has answered before is an etcd's, whatever keeps it from answering now. */
static const char *look(struct connection *connection, struct tls *tls, int64_t now_ns) {
    if (!connection->host || (!tls && connection->has_answered))
        return NULL;
    if (tls)
        tls_look(tls, now_ns, true);
    if (tls && connection->generation != tls->generation) {
        connection->generation = tls->generation;
        connection->text[0] = '\0';
        start_look(connection, tls, now_ns);
    } else if (connection->is_looking) {
        connection->is_looking =
            !port_look_result(connection->look, connection->text, sizeof connection->text);
    } else if (!connection->look || now_ns - connection->looked_ns >= LOOK_AGAIN_NS) {
        start_look(connection, tls, now_ns);
    }
    return connection->text[0] ? connection->text : NULL;
}

const char *connection_failed(struct connection *connection, unsigned n, struct tls *tls, const char *words,
                              int64_t now_ns) {
    if (n == connection->n && words)
        saw_failure(connection, tls != NULL, words, now_ns);
    return words && is_prompt(words) ? NULL : look(connection, tls, now_ns);
}
