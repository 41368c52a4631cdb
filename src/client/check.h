/* check.h - arguments of lunarch.h, looked at before anything is done with them: what a caller may get wrong is
 * LUN_EINVALID and a sentence, never a read out of bounds. Any thread, outside. */
#ifndef LUN_CLIENT_CHECK_H
#define LUN_CLIENT_CHECK_H

#include "lunarch.h"

struct etcd;

/* No key, value or endpoint may be longer: far more than any etcd takes in one request. */
enum { CHECK_MAX_BYTES = 64 << 20 };

/* NULL with a length, or too long. `what` for the sentence: "value". */
int check_bytes(struct lun_bytes bytes, const char *what, struct lun_err *ret_err);
/* What a client with a prefix can ask for, too (etcd/namespace.h). Of a mutex, an election: `kind` for the sentence. */
int check_name(const struct etcd *etcd, const char *name, const char *kind, struct lun_err *ret_err);
int check_kv_op(const struct etcd *etcd, const struct lun_kv_op *op, struct lun_err *ret_err);
int check_txn(const struct etcd *etcd, const struct lun_txn *txn, struct lun_err *ret_err);
int check_lease(int64_t lease, const char *what, struct lun_err *ret_err);
/* Whether TLS is to be spoken. Any thread. 0 or LUN_EINVALID: endpoints that are wrong, or contradict each other or the
 * options. */
int check_tls(const struct lun_config *config, bool *ret_is_tls, struct lun_err *ret_err);
int check_config(const struct lun_config *config, struct lun_err *ret_err);

#endif
