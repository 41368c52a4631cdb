/* rpc/grpc/tls.h - how the channels of one environment speak TLS: credentials from PEM, made anew when the files on disk are replaced.
 *
 * Inside, unless said otherwise. */
#ifndef LUN_RPC_GRPC_TLS_H
#define LUN_RPC_GRPC_TLS_H

#include <stdbool.h>
#include <stdint.h>

#include <grpc/grpc_security.h>

#include "rpc/grpc.h"
#include "rpc/grpc/pem.h"

struct tls {
    struct pem cacert, cert, key;
    char *server_name; /* NULL: the host of each endpoint */
    bool is_unverified;
    grpc_channel_credentials *credentials;
    unsigned generation; /* counts the credentials made: a channel of an earlier one is to be replaced */
    int64_t looked_ns;   /* when the files were last looked at */
};

/* Reads and checks everything. Outside, before the environment exists. 0, LUN_ENOMEM, LUN_EINVALID (which option, which file, why). */
int tls_new(const struct rpc_tls *config, struct tls **ret_tls, struct lun_err *ret_err);
/* Takes NULL. Channels made with its credentials go on. */
void tls_free(struct tls *tls);
/* Looks whether a file was replaced, at most once in TLS_LOOK_NS, or once a second when `is_urgent` (a connection failed). When all of them fit
 * together again, makes new credentials and raises the generation; half a pair changes nothing. Reads at most three small files. */
void tls_look(struct tls *tls, int64_t now_ns, bool is_urgent);

#endif
