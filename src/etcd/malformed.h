/* etcd/malformed.h - numbers that no etcd can mean: a reply that bears one is malformed, and is not believed in any
 * part. Pure. For the files of this folder only.
 *
 * Each function returns 0, or LUN_EUNAVAILABLE with a text that goes on where the member's name left off: "sent a
 * malformed reply (revision -1)". */
#ifndef LUN_ETCD_MALFORMED_H
#define LUN_ETCD_MALFORMED_H

#include "etcd.pb-c.h"

#include "base/err.h"

/* Revisions and terms below this leave room to count on. */
#define ETCD_MAX_REVISION (INT64_C(1) << 62)
/* The longest lease that etcd grants, in seconds. */
#define ETCD_MAX_TTL_S INT64_C(9000000000)

int malformed(struct lun_err *ret_err, const char *what, int64_t number);
/* `is_present`: of a reply that reflects the present; others may leave the revision out. */
int malformed_header(const Etcdserverpb__ResponseHeader *header, bool is_present, struct lun_err *ret_err);
/* A pair as the store has it; `revision`: of the reply's header. */
int malformed_kv(const Etcdserverpb__KeyValue *kv, int64_t revision, struct lun_err *ret_err);
/* What is left of a lease, or was granted: `least` to ETCD_MAX_TTL_S. */
int malformed_ttl(int64_t ttl_s, int64_t least, struct lun_err *ret_err);
int malformed_grant(const Etcdserverpb__LeaseGrantResponse *grant, int64_t asked_lease, int64_t asked_ttl_s,
                    struct lun_err *ret_err);
int malformed_time_to_live(const Etcdserverpb__LeaseTimeToLiveResponse *answer, int64_t asked_lease,
                           struct lun_err *ret_err);
int malformed_status(const Etcdserverpb__StatusResponse *status, struct lun_err *ret_err);
int malformed_range(const Etcdserverpb__RangeResponse *range, int64_t revision, struct lun_err *ret_err);
int malformed_delete(const Etcdserverpb__DeleteRangeResponse *reply, int64_t revision,
                     struct lun_err *ret_err);
/* Of a watch stream; its header has been checked. */
int malformed_watch(const Etcdserverpb__WatchResponse *response, struct lun_err *ret_err);

#endif
