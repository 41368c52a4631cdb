/* recipe/observer.h - follows who leads an election, or holds a lock: the key with the smallest create
 * revision under `<name>/`.
 *
 * Says "nobody" too; survives compaction, broken streams and members. Tells the latest, not every one. Inside
 * (rpc.h). */
#ifndef LUN_RECIPE_OBSERVER_H
#define LUN_RECIPE_OBSERVER_H

#include "base/bytes.h"
#include "etcd/watch.h"

struct observer {
    struct etcd *etcd;
    void (*on_change)(
        struct observer *observer); /* other than before, or known for the first time; may close it */
    struct bytes prefix, prefix_end;
    struct watcher watcher;
    struct rpc_timer timer;
    struct etcd_call *call;
    struct etcd_follower follower;
    int64_t began_ns;      /* of the etcd that `revision` is of */
    int64_t revision;      /* of the newest reply or event taken in */
    int64_t confirmed_ns;  /* when the latest read that was answered was sent */
    bool is_known;         /* read at least once */
    bool is_dirty;         /* read again once the read in flight is back */
    bool is_asking_key;    /* that read is of the leader's key alone */
    bool has_anybody_come; /* since it was sent: if it finds nobody, read again */
    bool has_leader;
    struct bytes key, value;
    int64_t create_rev, mod_rev;
    bool is_closed;
    void (*on_closed)(struct observer *observer);
};

/* In the caller's memory. 0, LUN_ENOMEM, LUN_EINVALID (name). */
int observer_open(struct observer *observer, struct etcd *etcd, struct lun_bytes name,
                  void (*on_change)(struct observer *observer), struct lun_err *ret_err);
/* To be called before what is known is told later than it came. What no read has confirmed for some time, for etcd is
 * silent, is not known any more: it is read anew, and on_change comes with the answer. */
void observer_confirm(struct observer *observer);
/* No on_change any more; on_closed (once, possibly during this call) when the memory may be freed. */
void observer_close(struct observer *observer, void (*on_closed)(struct observer *observer));

#endif
