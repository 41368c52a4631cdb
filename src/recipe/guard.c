/* recipe/guard.c - adds the compare to a user's transaction that makes etcd refuse it once our place is gone.
 * See guard.h. */
#include "recipe/guard.h"

#include <stdlib.h>
#include <string.h>

static int compare_bytes(struct lun_bytes a, struct lun_bytes b) {
    size_t n = a.len < b.len ? a.len : b.len;
    int order = n > 0 ? memcmp(a.data, b.data, n) : 0;
    return order != 0 ? order : a.len < b.len ? -1 : a.len > b.len;
}

static bool has_prefix(struct lun_bytes bytes, struct lun_bytes prefix) {
    return bytes.len >= prefix.len && memcmp(bytes.data, prefix.data, prefix.len) == 0;
}

/* etcd: range_end "\0" means "to the end". */
static bool is_to_the_end(struct lun_bytes range_end) {
    return range_end.len == 1 && *(const char *)range_end.data == '\0';
}

static bool touches(const struct lun_kv_op *op, struct lun_bytes prefix) {
    if (op->kind == LUN_OP_RANGE)
        return false;
    if (has_prefix(op->key, prefix))
        return true;
    bool starts_before = compare_bytes(op->key, prefix) < 0;
    return op->range_end.len > 0 && starts_before &&
           (is_to_the_end(op->range_end) || compare_bytes(op->range_end, prefix) > 0);
}

static int check(const struct lun_txn *user, struct lun_bytes prefix, struct lun_err *ret_err) {
    if (user->n_compares + 1 > LUN_MAX_TXN_OPS || user->n_success > LUN_MAX_TXN_OPS ||
        user->n_failure + 1 > LUN_MAX_TXN_OPS)
        return lun_err_set(ret_err, LUN_EINVALID,
                           "a guarded transaction has room for %d compares and operations",
                           LUN_MAX_TXN_OPS - 1);
    for (size_t i = 0; i < user->n_success + user->n_failure; i++) {
        const struct lun_kv_op *op =
            i < user->n_success ? &user->success[i] : &user->failure[i - user->n_success];
        if (touches(op, prefix))
            return lun_err_set(ret_err, LUN_EINVALID,
                               "the key %.*s lies inside the line %.*s itself: that would move who is first",
                               (int)op->key.len, (const char *)op->key.data, (int)prefix.len,
                               (const char *)prefix.data);
    }
    return 0;
}

int guard_init(struct guard *guard, const struct lun_txn *user, struct lun_bytes key, size_t prefix_len,
               int64_t create_rev, struct lun_err *ret_err) {
    int rc = check(user, (struct lun_bytes){key.data, prefix_len}, ret_err);
    if (rc)
        return rc;
    guard->compares = calloc(user->n_compares + 1, sizeof *guard->compares);
    guard->failure = calloc(user->n_failure + 1, sizeof *guard->failure);
    if (!guard->compares || !guard->failure) {
        guard_fini(guard);
        return lun_err_set(ret_err, LUN_ENOMEM, "out of memory");
    }
    guard->compares[0] = (struct lun_cmp){.target = LUN_CMP_CREATE, .key = key, .number = create_rev};
    if (user->n_compares > 0)
        memcpy(guard->compares + 1, user->compares, user->n_compares * sizeof *guard->compares);
    if (user->n_failure > 0)
        memcpy(guard->failure, user->failure, user->n_failure * sizeof *guard->failure);
    guard->failure[user->n_failure] =
        (struct lun_kv_op){.kind = LUN_OP_RANGE, .key = key, .is_keys_only = true};
    guard->txn = (struct lun_txn){.compares = guard->compares,
                                  .n_compares = user->n_compares + 1,
                                  .success = user->success,
                                  .n_success = user->n_success,
                                  .failure = guard->failure,
                                  .n_failure = user->n_failure + 1};
    return 0;
}

void guard_fini(struct guard *guard) {
    free(guard->compares);
    free(guard->failure);
    guard->compares = NULL;
    guard->failure = NULL;
}

bool guard_is_ours(const struct etcd_reply *reply, int64_t create_rev) {
    const struct lun_kv_result *own = &reply->results[reply->n_results - 1];
    return own->n_kvs > 0 && own->kvs[0].create_rev == create_rev;
}
