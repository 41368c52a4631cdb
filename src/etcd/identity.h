/* etcd/identity.h - which etcd answers, and that it is another one now under the same addresses. For the files of
 * this folder only; what others need of it is in etcd.h (followers). */
#ifndef LUN_ETCD_IDENTITY_H
#define LUN_ETCD_IDENTITY_H

#include "etcd.pb-c.h"

#include "base/list.h"
#include "etcd/mark.h"
#include "rpc/rpc.h"

struct etcd;
struct etcd_member;

struct identity {
    uint64_t cluster_id; /* 0: not known yet */
    struct mark term, revision;
    uint64_t other_id;                  /* another cluster's, that members have shown... */
    unsigned n_other;                   /* ...in so many answers since the last of ours */
    const struct etcd_member *stranger; /* of another cluster from the start: two clusters are in one list */
    int64_t began_ns; /* when etcd began anew: what was sent before counts for nothing; 0: never */
    struct list followers;
    bool is_to_tell;        /* the followers, not the watches alone */
    struct rpc_timer timer; /* tells them, out of whatever callback it was found in */
};

/* What is known of a reply besides its header. */
struct heard {
    int64_t sent_ns; /* when it was asked for: the request, or the stream it came on */
    bool is_present; /* it reflects all that was committed before: a write, a linearizable read */
};

/* 0 or LUN_ENOMEM. */
int identity_init(struct etcd *etcd);
/* Takes one that is all zero. */
void identity_fini(struct etcd *etcd);

/* A reply with this header came from `member`: pins the cluster's id, raises the marks, trusts the member again.
 * LUN_EUNAVAILABLE when there is no header, when it bears what no etcd can mean, or when it is of another cluster:
 * then the reply counts for nothing. */
int etcd_saw_header(struct etcd_member *member, const Etcdserverpb__ResponseHeader *header,
                    struct heard heard, struct lun_err *ret_err);

/* Whether this header is below a mark: a sign, though no proof, that etcd began anew (etcd_confirm tells). */
bool identity_is_suspect(const struct etcd *etcd, const Etcdserverpb__ResponseHeader *header);

/* Two clusters in one list: LUN_EINVALID, and which endpoint belongs where. 0: not so. */
int identity_check(const struct etcd *etcd, struct lun_err *ret_err);

#endif
