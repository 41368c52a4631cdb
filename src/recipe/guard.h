/* recipe/guard.h - writes that etcd itself refuses once we stand no longer first: fencing inside etcd (S4).
 *
 * The user's transaction gets one more compare - our key still bears our create revision - and its failure
 * branch one more read, of that key, which tells whose compare it was that failed. While the key lives we are
 * first, since every earlier one is gone for good. */
#ifndef LUN_RECIPE_GUARD_H
#define LUN_RECIPE_GUARD_H

#include "base/kv.h"
#include "etcd/kv.h"

struct guard {
    struct lun_txn txn; /* to be sent */
    struct lun_cmp *compares;
    struct lun_kv_op *failure;
};

/* Borrows everything until guard_fini. 0, LUN_ENOMEM, LUN_EINVALID (too many operations; a write inside the
 * line of the key itself). */
int guard_init(struct guard *guard, const struct lun_txn *user, struct lun_bytes key, size_t prefix_len,
               int64_t create_rev, struct lun_err *ret_err);
void guard_fini(struct guard *guard);

/* Of a failed guarded transaction: is the place still ours (then it was a compare of the user's that failed)?
 * The last result is ours, and not to be shown. */
bool guard_is_ours(const struct etcd_reply *reply, int64_t create_rev);

#endif
