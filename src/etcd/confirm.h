/* etcd/confirm.h - which raft term does this member live in, asked by a linearizable read?
 *
 * A member that was frozen answers renewals of leases that are long gone. A linearizable read through the
 * same member, sent after its answer, shows the term it really lives in (or fails). One read serves everybody
 * who asked before it was sent; who asks while one is under way is served by the next. */
#ifndef LUN_ETCD_CONFIRM_H
#define LUN_ETCD_CONFIRM_H

#include "etcd/etcd.h"

/* A linearizable read that a member has answered: by then it had carried out all that was committed when the read was
 * sent. */
struct confirmation {
    uint64_t raft_term; /* 0: none yet */
    uint64_t member_id; /* of the etcd that answered: there may be several behind one address */
    int64_t sent_ns;
    /* It had shown this term before the read was sent: so the leader of this term served the read, and had committed an
     * entry of its own. Else it may have been the one before, in the last moment, and this one knows less. */
    bool is_within_term;
};

struct confirm {
    struct list in_member;
    /* `err` NULL: `raft_term` is that of the reply. May free or restart `confirm`. */
    void (*on_done)(struct confirm *confirm, const struct lun_err *err, uint64_t raft_term);
    bool is_waiting;
};
static inline void confirm_init(struct confirm *confirm,
                                void (*on_done)(struct confirm *, const struct lun_err *, uint64_t)) {
    list_init(&confirm->in_member);
    confirm->on_done = on_done;
    confirm->is_waiting = false;
}
/* Must not be waiting. `attempt_ns`: how long the read may take (a span). 0 or LUN_ENOMEM. */
int confirm_start(struct confirm *confirm, struct etcd_member *member, int64_t attempt_ns);
/* on_done will not come. Harmless when not waiting. */
void confirm_stop(struct confirm *confirm);

#endif
