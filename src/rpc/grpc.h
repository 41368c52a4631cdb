/* rpc/grpc.h - makes an rpc environment of the real kind: gRPC's C core, a background poller, the process's
 * validity thread.
 *
 * Threads per environment: one background poller (all signals blocked). Per process: one validity thread, and gRPC's own.
 * gRPC is initialised with the first environment and shut down with the last. Not to be used in a child
 * forked after it was made. */
#ifndef LUN_RPC_GRPC_H
#define LUN_RPC_GRPC_H

#include <stdbool.h>

#include "base/err.h"

struct rpc;

/* How its channels speak TLS. Strings are borrowed for the call; NULL or empty: none. */
struct rpc_tls {
    const char *cacert;      /* path or PEM text; none: what the system trusts */
    const char *cert, *key;  /* of the client, path or PEM text, for servers that want one: both or neither */
    const char *server_name; /* to be found in the servers' certificates, in place of each endpoint's host */
    bool is_unverified;      /* any certificate will do: no protection against a false server */
};
/* Its strings, which are those of struct lun_config of the same names: one that is added is named here. */
#define RPC_TLS_STRINGS(X) X(cacert) X(cert) X(key) X(server_name)

/* `tls` is NULL for plaintext. Reads certificates and keys, and reads them again when the files are replaced. Outside, any thread. 0, LUN_ENOMEM,
 * LUN_EUNAVAILABLE (no thread or descriptor), LUN_EINVALID (which certificate or key, and why it cannot be used). */
int rpc_grpc_new(const struct rpc_tls *tls, struct rpc **ret_rpc, struct lun_err *ret_err);

#endif
