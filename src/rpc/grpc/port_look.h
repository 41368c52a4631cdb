/* rpc/grpc/port_look.h - why a connection fails, in a sentence.
 *
 * gRPC says "Endpoint read failed", "Socket closed" and the like, the same words for many reasons, or nothing before the time is over. After it
 * failed, a connection of our own on a thread of its own finds the reason: at most a few seconds. The thread belongs to nobody: what it works on is
 * counted, and freed by its last user. */
#ifndef LUN_RPC_GRPC_PORT_LOOK_H
#define LUN_RPC_GRPC_PORT_LOOK_H

#include <stdbool.h>
#include <stddef.h>

#include "rpc/grpc/tls.h"

struct port_look;

/* Starts a look at `host`:`port`, which should speak TLS, or plaintext where `tls` is NULL. Signals blocked (the thread inherits the mask). NULL
 * without memory or thread. */
struct port_look *port_look_start(const struct tls *tls, const char *host, const char *port);
/* False while the look lasts. Then true, and the sentence: empty when it found nothing wrong, or nothing that gRPC would not say. Any thread. */
bool port_look_result(struct port_look *look, char *ret_text, size_t n_bytes);
/* The thread may go on for a while. Takes NULL. */
void port_look_free(struct port_look *look);

#endif
