/* rpc/grpc/pem.h - certificates and keys as TLS is given them: a path, or the text itself; read, checked, and noticed when
 * replaced on disk.
 *
 * Every function here may read files and takes no lock. OpenSSL's per-thread list of errors is left empty. */
#ifndef LUN_RPC_GRPC_PEM_H
#define LUN_RPC_GRPC_PEM_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include <time.h>

#include <openssl/asn1.h>

#include "base/err.h"

/* Which file a text was read from, as the file system knows it: through symbolic links. */
struct pem_stamp {
    dev_t device;
    ino_t inode;
    off_t n_bytes;
    struct timespec modified, changed;
};

struct pem {
    const char *option; /* "cacert", "cert" or "key": for errors. Static string. */
    char *path;         /* NULL when the text was given, or nothing */
    char *text;         /* NULL when nothing was given */
    struct pem_stamp stamp;
};

/* `source` is a path, PEM text (it holds "-----BEGIN"), or NULL or empty for none. Reads the file. 0, LUN_ENOMEM, LUN_EINVALID (which
 * option, which file, and why it cannot be read). */
int pem_load(struct pem *pem, const char *option, const char *source, struct lun_err *ret_err);
/* Frees and empties. Takes an empty one. */
void pem_fini(struct pem *pem);
/* Whether the file is another one than the one that was read. False for texts, and when it cannot be looked at. */
bool pem_is_stale(const struct pem *pem);

enum { PEM_DAY_BYTES = 64 };
/* A certificate's date for an error text: "2021-01-01 00:00:00 UTC". Any thread. */
void pem_day(const ASN1_TIME *at, char ret_day[PEM_DAY_BYTES]);

/* That `cacert` holds certificates; that `cert` holds one that is valid now; that `key` belongs to it and is not encrypted; that neither
 * comes alone. Empty ones are skipped. 0 or LUN_EINVALID with a sentence that names the file. */
int pem_check(const struct pem *cacert, const struct pem *cert, const struct pem *key,
              struct lun_err *ret_err);

#endif
