/* etcd/renewal.h - keeps a lease alive, through one member after another, and believes only what is confirmed.
 *
 * All leases of a client are renewed together, on one stream, so often that most of the TTL is always left. Each
 * further sixth of the TTL without an answer (at least 300 ms) asks the next member; several streams may be open. An
 * answer counts once a linearizable read through the same member, sent after it, shows the same raft term, and no
 * higher one is known: a member that was frozen answers renewals of leases that are long gone. One such read serves
 * all answers that came before it. That there is no such lease counts if such a read was answered before too.
 *
 * Called inside (rpc.h), like the rest of this floor. Spans and instants are nanoseconds. */
#ifndef LUN_ETCD_RENEWAL_H
#define LUN_ETCD_RENEWAL_H

#include "base/clock.h"
#include "etcd/etcd.h"

struct renewal;

/* Each may stop, start or free any renewal. */
struct renewal_callbacks {
    /* A renewal sent at `sent_ns` is confirmed. */
    void (*on_renewed)(struct renewal *renewal, int64_t sent_ns, int64_t ttl_s);
    /* It is confirmed that etcd knows no such lease. It has been stopped. */
    void (*on_gone)(struct renewal *renewal);
    /* Etcd refuses to renew it, or to talk to this client at all, and says so for good: LUN_EPERMISSION,
     * LUN_EUNAUTHENTICATED. It is tried again all the same. */
    void (*on_refused)(struct renewal *renewal, const struct lun_err *err);
};

struct renewal {
    struct list in_etcd; /* linked: started */
    struct etcd *etcd;
    const struct renewal_callbacks *callbacks;
    int64_t lease, ttl_ns;
    int64_t ask_at_ns;  /* when it is sent next, unless a confirmed answer comes before */
    int64_t renewed_ns; /* when the latest confirmed renewal, or the grant, was sent; 0: not known */
    int64_t known_ns;   /* when it was started: the lease had been granted by then */
    struct etcd_member *last_member; /* the latest one asked */
    unsigned n_out;                  /* on streams: to be sent, sent, or answered and not yet confirmed */
    bool is_renewing;                /* asked, not yet confirmed */
    bool is_apart; /* may hold up those behind it, or end their stream: is asked on another than they are */
};

/* What passes at most between two renewals of a lease that is answered at once. */
static inline int64_t renewal_interval_ns(int64_t ttl_ns) {
    return ttl_ns / 10;
}
/* What passes at most, however many leases a client keeps, from the first answer of an etcd that was away until the
 * last renewal is confirmed: the next try to connect, the renewals, the reads. */
#define RENEWAL_RECOVERY_NS (800 * NS_PER_MS)

void renewal_init(struct renewal *renewal, struct etcd *etcd, const struct renewal_callbacks *callbacks);
/* Begins, or begins anew. `renewed_ns`: when it was last renewed, or granted; 0: nobody knows, it is renewed at once. */
void renewal_start(struct renewal *renewal, int64_t lease, int64_t ttl_ns, int64_t renewed_ns);
/* Renews now, if it is not being renewed. */
void renewal_hurry(struct renewal *renewal);
/* No callback any more. May be started again. Harmless when all zero or stopped. */
void renewal_stop(struct renewal *renewal);

#endif
