/* rpc/grpc/connection.h - what is known of connecting to one member: how long an attempt may take, and what stands in its way, found by a
 * look from outside after attempts failed. Shared by a channel and its calls, which may outlive it. Inside. */
#ifndef LUN_RPC_GRPC_CONNECTION_H
#define LUN_RPC_GRPC_CONNECTION_H

#include <stdbool.h>
#include <stdint.h>

#include "rpc/grpc/tls.h"

struct connection;

/* To `host`:`port`; NULL, NULL: a unix socket. NULL without memory. */
struct connection *connection_new(const char *host, const char *port);
struct connection *connection_ref(struct connection *connection);
/* Takes NULL. */
void connection_unref(struct connection *connection);

/* How long an attempt of a channel of gRPC's that is made now may take: all of it, until etcd has said its first word. */
int connection_limit_ms(const struct connection *connection);
/* How long it may wait, at the most, from the beginning of one attempt to the next. */
int connection_pause_ms(const struct connection *connection);
/* Such a channel was made. */
void connection_renewed(struct connection *connection);
/* The channel's attempts have another limit or pause than they should: it is to be replaced as soon as it is not connected. */
bool connection_is_outgrown(const struct connection *connection);

/* A call is made: which channel of gRPC's it goes through, counted. */
unsigned connection_use(struct connection *connection, int64_t now_ns);
/* A call through channel `n` has heard from the server. */
void connection_answered(struct connection *connection, unsigned n, int64_t now_ns);
/* A call through channel `n` found no connection; `words` are gRPC's, NULL: its time was over before. Returns what a look from outside has found
 * since, or NULL, and starts one: at most one in 10 s and one for each generation of certificates. The text is borrowed until the next call. */
const char *connection_failed(struct connection *connection, unsigned n, struct tls *tls, const char *words,
                              int64_t now_ns);

#endif
