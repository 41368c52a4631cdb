/* base/kv.h - the vocabulary of etcd's key-value store: pairs, operations, compares, transactions, as plain
 * data.
 *
 * Slices are borrowed: those of a request for the call that starts it, those of a result for its callback. */
#ifndef LUN_BASE_KV_H
#define LUN_BASE_KV_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"

struct lun_kv {
    struct lun_bytes key, value;
    int64_t create_rev, mod_rev, version, lease;
};

enum lun_cmp_target {
    LUN_CMP_VERSION = 0,
    LUN_CMP_CREATE = 1,
    LUN_CMP_MOD = 2,
    LUN_CMP_VALUE = 3,
    LUN_CMP_LEASE = 4
};
enum lun_cmp_result { LUN_CMP_EQUAL = 0, LUN_CMP_GREATER = 1, LUN_CMP_LESS = 2, LUN_CMP_NOT_EQUAL = 3 };

/* With `range_end`, must hold for every key of the range; an empty range compares as number 0. */
struct lun_cmp {
    enum lun_cmp_target target;
    enum lun_cmp_result result;
    struct lun_bytes key, range_end;
    int64_t number;         /* all targets but VALUE */
    struct lun_bytes value; /* VALUE */
};

enum lun_op_kind { LUN_OP_RANGE, LUN_OP_PUT, LUN_OP_DELETE };
enum lun_sort_order { LUN_SORT_NONE = 0, LUN_SORT_ASCEND = 1, LUN_SORT_DESCEND = 2 };
enum lun_sort_target {
    LUN_SORT_KEY = 0,
    LUN_SORT_VERSION = 1,
    LUN_SORT_CREATE = 2,
    LUN_SORT_MOD = 3,
    LUN_SORT_VALUE = 4
};

struct lun_kv_op {
    enum lun_op_kind kind;
    struct lun_bytes key, range_end; /* range_end.len 0: the one key */
    struct lun_bytes value;          /* put */
    int64_t lease;                   /* put */
    bool wants_prev_kv;              /* put, delete */
    int64_t limit, revision, max_create_rev, min_create_rev, max_mod_rev, min_mod_rev; /* range; 0: none */
    enum lun_sort_order sort_order;
    enum lun_sort_target sort_target;
    bool is_keys_only, is_count_only, is_serializable;
};

struct lun_txn {
    const struct lun_cmp *compares;
    size_t n_compares;
    const struct lun_kv_op *success, *failure;
    size_t n_success, n_failure;
};
enum { LUN_MAX_TXN_OPS = 128 };

struct lun_kv_result {
    enum lun_op_kind kind;
    const struct lun_kv *kvs; /* range: the pairs; put, delete: the previous ones when asked for */
    size_t n_kvs;
    int64_t count;   /* range: how many there are, whatever the limit */
    bool has_more;   /* range */
    int64_t deleted; /* delete */
};

#endif
