/* rpc/grpc/tls_reason.h - what stands in the way of TLS with one member: found by a probe after a connection failed, and shown in place of gRPC's words.
 * Shared by a channel and its calls, which may outlive it. Inside. */
#ifndef LUN_RPC_GRPC_TLS_REASON_H
#define LUN_RPC_GRPC_TLS_REASON_H

#include <stdint.h>

#include "rpc/grpc/tls.h"

struct tls_reason;

/* For connections to `host`:`port`. NULL without memory. */
struct tls_reason *tls_reason_new(const char *host, const char *port);
struct tls_reason *tls_reason_ref(struct tls_reason *reason);
/* Takes NULL. */
void tls_reason_unref(struct tls_reason *reason);
/* A connection has just failed: the sentence of the latest probe, or NULL when there is none yet. Starts a probe, at most one in 10 s and one for each
 * generation of certificates. Takes NULL. The text is borrowed until the next call. */
const char *tls_reason_text(struct tls_reason *reason, struct tls *tls, int64_t now_ns);

#endif
