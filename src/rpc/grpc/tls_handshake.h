/* rpc/grpc/tls_handshake.h - one TLS handshake of our own, to learn why gRPC's fail. On a thread that may block, signals blocked. */
#ifndef LUN_RPC_GRPC_TLS_HANDSHAKE_H
#define LUN_RPC_GRPC_TLS_HANDSHAKE_H

#include <stdbool.h>
#include <stddef.h>

enum { HANDSHAKE_SENTENCE_BYTES = 300, HANDSHAKE_STEP_MS = 2000 };

struct tls_handshake {
    bool is_unverified;
    char *name;                              /* to be found in the server's certificate */
    char *cacert, *cert, *key;               /* PEM text, or NULL */
    char *cert_name;                         /* of our certificate, for sentences */
    char sentence[HANDSHAKE_SENTENCE_BYTES]; /* what is wrong; empty: nothing */
};

/* Shakes hands over `fd`, connected and not blocking, and waits for the server's first word. Fills `sentence`. */
void tls_handshake_try(struct tls_handshake *handshake, int fd);
/* Whether the other side of `fd` speaks TLS at all. */
bool tls_is_spoken(int fd);

#endif
