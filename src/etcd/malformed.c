/* etcd/malformed.c - finds what cannot be in a reply of a sane etcd: false revisions, ids, TTLs and counts.
 * See malformed.h. */
#include "etcd/malformed.h"

#include <inttypes.h>

/* A grant may be longer than was asked for: etcd raises it to what its election timeout needs, 75 s at the most. */
enum { RAISED_TTL_S = 300 };
/* They are given out one after another. */
#define MAX_WATCH_ID UINT32_MAX

int malformed(struct lun_err *ret_err, const char *what, int64_t number) {
    return lun_err_set(ret_err, LUN_EUNAVAILABLE, "sent a malformed reply (%s %" PRId64 ")", what, number);
}

static bool is_revision(int64_t revision) {
    return revision >= 1 && revision < ETCD_MAX_REVISION;
}

int malformed_header(const Etcdserverpb__ResponseHeader *header, bool is_present, struct lun_err *ret_err) {
    if (header->cluster_id == 0)
        return malformed(ret_err, "cluster id", 0);
    if (header->member_id == 0)
        return malformed(ret_err, "member id", 0);
    if (!is_revision(header->revision) && (is_present || header->revision != 0))
        return malformed(ret_err, "revision", header->revision);
    if (header->raft_term >= (uint64_t)ETCD_MAX_REVISION || (is_present && header->raft_term == 0))
        return malformed(ret_err, "raft term", (int64_t)header->raft_term);
    return 0;
}

int malformed_kv(const Etcdserverpb__KeyValue *kv, int64_t revision, struct lun_err *ret_err) {
    if (kv->key.len == 0)
        return lun_err_set(ret_err, LUN_EUNAVAILABLE, "sent a malformed reply (a pair without a key)");
    if (!is_revision(kv->mod_revision) || kv->mod_revision > revision)
        return malformed(ret_err, "mod revision", kv->mod_revision);
    if (kv->create_revision < 1 || kv->create_revision > kv->mod_revision)
        return malformed(ret_err, "create revision", kv->create_revision);
    if (kv->version < 1)
        return malformed(ret_err, "version", kv->version);
    return 0;
}

int malformed_ttl(int64_t ttl_s, int64_t least, struct lun_err *ret_err) {
    return ttl_s >= least && ttl_s <= ETCD_MAX_TTL_S ? 0 : malformed(ret_err, "ttl", ttl_s);
}

int malformed_grant(const Etcdserverpb__LeaseGrantResponse *grant, int64_t asked_lease, int64_t asked_ttl_s,
                    struct lun_err *ret_err) {
    if (grant->id == 0 || (asked_lease != 0 && grant->id != asked_lease))
        return malformed(ret_err, "lease", grant->id);
    if (grant->ttl > asked_ttl_s && grant->ttl > RAISED_TTL_S)
        return malformed(ret_err, "ttl", grant->ttl);
    return malformed_ttl(grant->ttl, 1, ret_err);
}

int malformed_time_to_live(const Etcdserverpb__LeaseTimeToLiveResponse *answer, int64_t asked_lease,
                           struct lun_err *ret_err) {
    if (answer->id != asked_lease)
        return malformed(ret_err, "lease", answer->id);
    int rc = malformed_ttl(answer->ttl, -1, ret_err);
    return rc ? rc : malformed_ttl(answer->grantedttl, 0, ret_err);
}

int malformed_status(const Etcdserverpb__StatusResponse *status, struct lun_err *ret_err) {
    if (status->dbsize < 0)
        return malformed(ret_err, "database size", status->dbsize);
    if (status->raftindex > (uint64_t)INT64_MAX)
        return malformed(ret_err, "raft index", (int64_t)status->raftindex);
    if (status->raftterm >= (uint64_t)ETCD_MAX_REVISION)
        return malformed(ret_err, "raft term", (int64_t)status->raftterm);
    return 0;
}

static int malformed_kvs(Etcdserverpb__KeyValue *const *kvs, size_t n_kvs, int64_t revision,
                         struct lun_err *ret_err) {
    int rc = 0;
    for (size_t i = 0; i < n_kvs && !rc; i++)
        rc = malformed_kv(kvs[i], revision, ret_err);
    return rc;
}

int malformed_range(const Etcdserverpb__RangeResponse *range, int64_t revision, struct lun_err *ret_err) {
    if (range->count < 0 || (uint64_t)range->count < range->n_kvs)
        return malformed(ret_err, "count", range->count);
    if (range->more && (uint64_t)range->count == range->n_kvs)
        return malformed(ret_err, "more than its count", range->count);
    return malformed_kvs(range->kvs, range->n_kvs, revision, ret_err);
}

int malformed_delete(const Etcdserverpb__DeleteRangeResponse *reply, int64_t revision,
                     struct lun_err *ret_err) {
    if (reply->deleted < 0 || (uint64_t)reply->deleted < reply->n_prev_kvs)
        return malformed(ret_err, "deleted", reply->deleted);
    return malformed_kvs(reply->prev_kvs, reply->n_prev_kvs, revision, ret_err);
}

static int malformed_event(const Etcdserverpb__Event *event, int64_t revision, struct lun_err *ret_err) {
    bool is_delete = event->type == ETCDSERVERPB__EVENT__EVENT_TYPE__DELETE;
    if (!is_delete && event->type != ETCDSERVERPB__EVENT__EVENT_TYPE__PUT)
        return malformed(ret_err, "event type", (int64_t)event->type);
    if (!event->kv)
        return lun_err_set(ret_err, LUN_EUNAVAILABLE, "sent a malformed reply (an event without a pair)");
    Etcdserverpb__KeyValue kv = *event->kv;
    if (is_delete) /* of which etcd sends the key and the revision only */
        kv.create_revision = kv.version = 1;
    int rc = malformed_kv(&kv, revision, ret_err);
    if (rc || !event->prev_kv)
        return rc;
    return malformed_kv(event->prev_kv, event->kv->mod_revision, ret_err);
}

int malformed_watch(const Etcdserverpb__WatchResponse *response, struct lun_err *ret_err) {
    bool is_end = response->canceled && response->n_events == 0; /* etcd leaves the revision out */
    if (response->header->revision == 0 && !is_end)
        return malformed(ret_err, "revision", 0);
    bool is_refusal = response->created && response->canceled && response->watch_id == -1;
    if (!is_refusal && (uint64_t)response->watch_id > MAX_WATCH_ID)
        return malformed(ret_err, "watch id", response->watch_id);
    if (response->compact_revision < 0 || response->compact_revision >= ETCD_MAX_REVISION)
        return malformed(ret_err, "compact revision", response->compact_revision);
    int rc = 0;
    for (size_t i = 0; i < response->n_events && !rc; i++)
        rc = malformed_event(response->events[i], response->header->revision, ret_err);
    return rc;
}
