/* check.c - checks the arguments of lunarch.h before anything is done with them: a sentence, never a read out of bounds.
 * See check.h. */
#include "client/check.h"

#include <inttypes.h>
#include <string.h>

#include "etcd/etcd.h"
#include "etcd/namespace.h"
#include "recipe/place.h"
#include "recipe/session.h"
#include "rpc/grpc.h"

int check_bytes(struct lun_bytes bytes, const char *what, struct lun_err *ret_err) {
    if (bytes.len > 0 && !bytes.data)
        return lun_err_set(ret_err, LUN_EINVALID, "the %s is NULL, and %zu bytes long", what, bytes.len);
    if (bytes.len > CHECK_MAX_BYTES)
        return lun_err_set(ret_err, LUN_EINVALID, "the %s is %zu bytes long: no etcd takes more than %d",
                           what, bytes.len, CHECK_MAX_BYTES);
    return 0;
}

int check_name(const struct etcd *etcd, const char *name, const char *kind, struct lun_err *ret_err) {
    int rc = name ? place_check_name(lun_bytes_of(name), ret_err)
                  : lun_err_set(ret_err, LUN_EINVALID, "the name is NULL");
    if (!rc)
        rc = etcd_check_key(etcd, lun_bytes_of(name), (struct lun_bytes){NULL, 0}, ret_err);
    if (rc)
        (void)lun_err_wrap(ret_err, "%s", kind);
    return rc;
}

/* `range_end.len` 0: the one key. */
static int check_keys(const struct etcd *etcd, struct lun_bytes key, struct lun_bytes range_end,
                      struct lun_err *ret_err) {
    if (key.len == 0)
        return lun_err_set(ret_err, LUN_EINVALID, "the key is empty");
    int rc = check_bytes(key, "key", ret_err);
    if (!rc)
        rc = check_bytes(range_end, "end of the range", ret_err);
    return rc ? rc : etcd_check_key(etcd, key, range_end, ret_err);
}

/* Compared as unsigned: an enum that came from outside may hold any number. */
static int check_choice(unsigned choice, unsigned last, const char *what, struct lun_err *ret_err) {
    if (choice <= last)
        return 0;
    return lun_err_set(ret_err, LUN_EINVALID, "there is no %s %d", what, (int)choice);
}

static int check_range(const struct lun_kv_op *op, struct lun_err *ret_err) {
    const int64_t numbers[] = {op->limit,          op->revision,    op->max_create_rev,
                               op->min_create_rev, op->max_mod_rev, op->min_mod_rev};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (numbers[i] < 0)
            return lun_err_set(ret_err, LUN_EINVALID, "a limit or revision is below 0: %" PRId64, numbers[i]);
    int rc = check_choice((unsigned)op->sort_order, LUN_SORT_DESCEND, "order of sorting", ret_err);
    return rc ? rc : check_choice((unsigned)op->sort_target, LUN_SORT_VALUE, "target of sorting", ret_err);
}

int check_kv_op(const struct etcd *etcd, const struct lun_kv_op *op, struct lun_err *ret_err) {
    if (!op)
        return lun_err_set(ret_err, LUN_EINVALID, "the operation is NULL");
    int rc = check_choice((unsigned)op->kind, LUN_OP_DELETE, "kind of operation", ret_err);
    if (!rc)
        rc = check_keys(etcd, op->key, op->range_end, ret_err);
    if (rc)
        return rc;
    if (op->kind == LUN_OP_RANGE)
        return check_range(op, ret_err);
    if (op->kind == LUN_OP_DELETE)
        return 0;
    if (op->range_end.len > 0)
        return lun_err_set(ret_err, LUN_EINVALID, "put takes one key, not a range");
    if (op->lease < 0)
        return check_lease(op->lease, "put", ret_err);
    return check_bytes(op->value, "value", ret_err);
}

static int check_compare(const struct etcd *etcd, const struct lun_cmp *compare, struct lun_err *ret_err) {
    int rc = check_choice((unsigned)compare->target, LUN_CMP_LEASE, "target of a compare", ret_err);
    if (!rc)
        rc = check_choice((unsigned)compare->result, LUN_CMP_NOT_EQUAL, "relation of a compare", ret_err);
    if (!rc)
        rc = check_keys(etcd, compare->key, compare->range_end, ret_err);
    if (!rc && compare->target == LUN_CMP_VALUE)
        rc = check_bytes(compare->value, "value", ret_err);
    return rc;
}

static int check_ops(const struct etcd *etcd, const struct lun_kv_op *ops, size_t n, const char *branch,
                     struct lun_err *ret_err) {
    if (n > 0 && !ops)
        return lun_err_set(ret_err, LUN_EINVALID, "txn: the operations on %s are NULL", branch);
    for (size_t i = 0; i < n; i++)
        if (check_kv_op(etcd, &ops[i], ret_err))
            return lun_err_wrap(ret_err, "txn: %s %zu", branch, i + 1), LUN_EINVALID;
    return 0;
}

int check_txn(const struct etcd *etcd, const struct lun_txn *txn, struct lun_err *ret_err) {
    if (!txn)
        return lun_err_set(ret_err, LUN_EINVALID, "the transaction is NULL");
    if (txn->n_compares > LUN_MAX_TXN_OPS || txn->n_success > LUN_MAX_TXN_OPS ||
        txn->n_failure > LUN_MAX_TXN_OPS)
        return lun_err_set(ret_err, LUN_EINVALID, "txn: at most %d compares, and as many operations a branch",
                           LUN_MAX_TXN_OPS);
    if (txn->n_compares > 0 && !txn->compares)
        return lun_err_set(ret_err, LUN_EINVALID, "txn: the compares are NULL");
    for (size_t i = 0; i < txn->n_compares; i++)
        if (check_compare(etcd, &txn->compares[i], ret_err))
            return lun_err_wrap(ret_err, "txn: compare %zu", i + 1), LUN_EINVALID;
    int rc = check_ops(etcd, txn->success, txn->n_success, "success", ret_err);
    return rc ? rc : check_ops(etcd, txn->failure, txn->n_failure, "failure", ret_err);
}

int check_lease(int64_t lease, const char *what, struct lun_err *ret_err) {
    if (lease > 0)
        return 0;
    return lun_err_set(ret_err, LUN_EINVALID, "%s: no lease has the id %" PRId64 ": ids are above 0", what,
                       lease);
}

int check_config(const struct lun_config *config, struct lun_err *ret_err) {
    if (config && config->prefix && strlen(config->prefix) > NAMESPACE_MAX_BYTES)
        return lun_err_set(ret_err, LUN_EINVALID, "the prefix is longer than %d bytes", NAMESPACE_MAX_BYTES);
    if (!config || !config->endpoints)
        return 0;
    if (config->n_endpoints > ENDPOINT_MAX)
        return lun_err_set(ret_err, LUN_EINVALID, "%zu endpoints: between 1 and %d are needed",
                           config->n_endpoints, ENDPOINT_MAX);
    for (size_t i = 0; i < config->n_endpoints; i++)
        if (!config->endpoints[i])
            return lun_err_set(ret_err, LUN_EINVALID, "endpoint %zu is NULL", i + 1);
    return 0;
}

static bool is_set(const char *text) {
    return text && text[0] != '\0';
}

int check_tls(const struct lun_config *config, bool *ret_is_tls, struct lun_err *ret_err) {
    struct endpoints endpoints = {0};
    bool has_options = config->insecure_skip_tls_verify;
#define LOOK(field) has_options = has_options || is_set(config->field);
    RPC_TLS_STRINGS(LOOK)
#undef LOOK
    int rc =
        config->endpoints ? endpoints_parse(config->endpoints, config->n_endpoints, &endpoints, ret_err) : 0;
    return rc ? rc : endpoints_want_tls(&endpoints, has_options, ret_is_tls, ret_err);
}

_Static_assert((int)LUN_MAX_NAME_BYTES == (int)PLACE_MAX_NAME_BYTES, "one limit, written on two floors");
_Static_assert((int)LUN_MAX_TTL_S == (int)SESSION_MAX_TTL_S, "one limit, written on two floors");
