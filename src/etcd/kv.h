/* etcd/kv.h - requests to the key-value store and to the lessor, and their replies, without protobuf.
 *
 * A call goes to one member after another until one has answered or the deadline has passed. Between rounds
 * it waits, with growing and jittered delays. What may be sent again is said by the caller (`is_idempotent`);
 * a write that may not is sent once only, unless it is certain that no server took it (it could not connect;
 * refused by hasleader; "too many requests"; a learner; an old token). An attempt that is given up is
 * cancelled, so that a frozen member drops it. Whether a copy may still be carried out afterwards is told by
 * `has_unanswered`.
 *
 * Slices in requests are borrowed for the call that starts them; those in replies for the callback. */
#ifndef LUN_ETCD_KV_H
#define LUN_ETCD_KV_H

#include "base/clock.h"
#include "base/kv.h"
#include "etcd/etcd.h"

struct etcd_reply {
    const struct lun_err *err; /* NULL: answered. The text names no request: the caller wraps it */
    bool has_unanswered; /* an attempt went out that was never answered: a copy of the request may yet be
                            carried out */
    struct etcd_member *member; /* who answered; NULL on error */
    int64_t sent_ns;            /* when the answered attempt was sent */
    int64_t revision;           /* of the header */
    uint64_t raft_term;
    uint64_t member_id; /* of the header */
    bool is_success;    /* txn: the compares held */
    const struct lun_kv_result
        *results; /* one per operation of the branch taken; one for a single operation */
    size_t n_results;
    int64_t lease, ttl, granted_ttl; /* grant, time to live: seconds; ttl -1: no such lease */
    const char *version;             /* member status */
    int64_t db_size, raft_index;     /* member status */
    uint64_t leader_id;              /* member status */
    char *const *complaints;         /* member status: alarms, "memberID:1 alarm:NOSPACE ", and more */
    size_t n_complaints;
    const char *token; /* authenticate */
};
typedef void (*etcd_reply_cb)(void *arg, const struct etcd_reply *reply);

struct etcd_call;

/* What a call is for. One client asks a member only so much at a time (etcd/window.h): what was given up counts
 * too, as long as the server may be working on it, and calls that find no room wait for it in the order in which
 * they came. Each class has room of its own, so that users' calls do not wait behind looks. */
enum etcd_call_class {
    ETCD_USER, /* a caller waits for its answer: entering, leaving, the store */
    ETCD_LOOK, /* a look at what may have changed: a waiter's, a holder's, an observer's re-reads, however many */
    ETCD_LEASE, /* grant, revoke, what a session's life depends on: never waits */
};

struct etcd_call_options {
    enum etcd_call_class class;
    int64_t deadline_ns;        /* for the whole call, all attempts; RPC_NEVER: until answered or cancelled */
    int64_t attempt_ns;         /* for one attempt, a span; 0: ETCD_ATTEMPT_NS */
    bool is_idempotent;         /* may be sent again although an earlier attempt may have been carried out */
    struct etcd_member *member; /* only this one; NULL: our choice */
};
#define ETCD_ATTEMPT_NS (2 * NS_PER_S)

/* All complete with: no error; LUN_EUNAVAILABLE (the deadline passed; the text names each member and what it
 * did); LUN_EUNKNOWN (a write that was sent and not answered, not idempotent); LUN_ECANCELLED; LUN_EINVALID,
 * LUN_EPERMISSION, LUN_EUNAUTHENTICATED, LUN_ENOSPACE, LUN_ECOMPACTED as etcd answers. Return 0, LUN_ENOMEM
 * or LUN_EINVALID (nothing was sent). `ret_call` may be NULL and is valid until the callback. */
int etcd_do(struct etcd *etcd, const struct lun_kv_op *op, const struct etcd_call_options *how,
            etcd_reply_cb on_reply, void *arg, struct etcd_call **ret_call);
int etcd_txn(struct etcd *etcd, const struct lun_txn *txn, const struct etcd_call_options *how,
             etcd_reply_cb on_reply, void *arg, struct etcd_call **ret_call);
/* `id` 0: the server chooses. Answers etcd_is_lease_exists when it is there already. */
int etcd_lease_grant(struct etcd *etcd, int64_t id, int64_t ttl_s, const struct etcd_call_options *how,
                     etcd_reply_cb on_reply, void *arg, struct etcd_call **ret_call);
/* Answers etcd_is_lease_not_found when it is gone already. */
int etcd_lease_revoke(struct etcd *etcd, int64_t id, const struct etcd_call_options *how,
                      etcd_reply_cb on_reply, void *arg, struct etcd_call **ret_call);
int etcd_lease_time_to_live(struct etcd *etcd, int64_t id, const struct etcd_call_options *how,
                            etcd_reply_cb on_reply, void *arg, struct etcd_call **ret_call);
/* Maintenance/Status of `how->member`. */
int etcd_member_status(struct etcd *etcd, const struct etcd_call_options *how, etcd_reply_cb on_reply,
                       void *arg, struct etcd_call **ret_call);

/* The callback still comes, later (LUN_ECANCELLED, or what was faster). `is_outcome_unknown` of the error
 * says whether it went out. */
void etcd_cancel(struct etcd_call *call);

bool etcd_is_lease_exists(const struct lun_err *err);
bool etcd_is_lease_not_found(const struct lun_err *err);

#endif
