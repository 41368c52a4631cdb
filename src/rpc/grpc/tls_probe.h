/* rpc/grpc/tls_probe.h - why a TLS connection fails, in a sentence.
 *
 * gRPC says "Endpoint read failed" and the like, the same words for many reasons. After it failed, one handshake of our own on a thread of its own
 * finds the reason: at most a few seconds and one connection. The thread belongs to nobody: what it works on is counted, and freed by the last to let it go. */
#ifndef LUN_RPC_GRPC_TLS_PROBE_H
#define LUN_RPC_GRPC_TLS_PROBE_H

#include <stdbool.h>
#include <stddef.h>

#include "rpc/grpc/tls.h"

struct tls_probe;

/* Starts one handshake with `host`:`port`. Signals blocked (the thread inherits the mask). NULL without memory or thread. */
struct tls_probe *tls_probe_start(const struct tls *tls, const char *host, const char *port);
/* Copies the sentence; false while the handshake is under way, or when it found nothing wrong. Any thread. */
bool tls_probe_result(struct tls_probe *probe, char *ret_text, size_t n_bytes);
/* Lets it go; the thread may go on for a while. Takes NULL. */
void tls_probe_free(struct tls_probe *probe);

#endif
