/* etcd/kv.c - the requests of kv.h, each a message and a call. */
#include "etcd/kv.h"

#include <string.h>

#include "etcd/call.h"
#include "etcd/cluster.h"
#include "etcd/request.h"

int etcd_do(struct etcd *etcd, const struct lun_kv_op *op, const struct etcd_call_options *how,
            etcd_reply_cb on_reply, void *arg, struct etcd_call **ret_call) {
    union request_op request;
    struct request_meta meta;
    request_of_op(&request, &meta, op);
    return call_start(etcd, &meta, NULL, &request.base, how, on_reply, arg, ret_call);
}

int etcd_txn(struct etcd *etcd, const struct lun_txn *txn, const struct etcd_call_options *how,
             etcd_reply_cb on_reply, void *arg, struct etcd_call **ret_call) {
    struct request_txn request;
    struct request_meta meta;
    int rc = request_of_txn(&request, &meta, txn);
    if (rc)
        return rc;
    uint8_t kinds[2 * LUN_MAX_TXN_OPS];
    request_kinds(kinds, txn);
    rc = call_start(etcd, &meta, kinds, &request.message.base, how, on_reply, arg, ret_call);
    request_txn_fini(&request);
    return rc;
}

int etcd_lease_grant(struct etcd *etcd, int64_t id, int64_t ttl_s, const struct etcd_call_options *how,
                     etcd_reply_cb on_reply, void *arg, struct etcd_call **ret_call) {
    Etcdserverpb__LeaseGrantRequest request = ETCDSERVERPB__LEASE_GRANT_REQUEST__INIT;
    request.id = id;
    request.ttl = ttl_s;
    struct request_meta meta = {.method = RPC_LEASE_GRANT, .is_write = true, .lease = id, .ttl_s = ttl_s};
    return call_start(etcd, &meta, NULL, &request.base, how, on_reply, arg, ret_call);
}

int etcd_lease_revoke(struct etcd *etcd, int64_t id, const struct etcd_call_options *how,
                      etcd_reply_cb on_reply, void *arg, struct etcd_call **ret_call) {
    Etcdserverpb__LeaseRevokeRequest request = ETCDSERVERPB__LEASE_REVOKE_REQUEST__INIT;
    request.id = id;
    struct request_meta meta = {.method = RPC_LEASE_REVOKE, .is_write = true};
    return call_start(etcd, &meta, NULL, &request.base, how, on_reply, arg, ret_call);
}

int etcd_lease_time_to_live(struct etcd *etcd, int64_t id, const struct etcd_call_options *how,
                            etcd_reply_cb on_reply, void *arg, struct etcd_call **ret_call) {
    Etcdserverpb__LeaseTimeToLiveRequest request = ETCDSERVERPB__LEASE_TIME_TO_LIVE_REQUEST__INIT;
    request.id = id;
    struct request_meta meta = {.method = RPC_LEASE_TIME_TO_LIVE, .lease = id};
    return call_start(etcd, &meta, NULL, &request.base, how, on_reply, arg, ret_call);
}

int etcd_member_status(struct etcd *etcd, const struct etcd_call_options *how, etcd_reply_cb on_reply,
                       void *arg, struct etcd_call **ret_call) {
    Etcdserverpb__StatusRequest request = ETCDSERVERPB__STATUS_REQUEST__INIT;
    struct request_meta meta = {.method = RPC_MEMBER_STATUS, .needs_no_leader = true};
    return call_start(etcd, &meta, NULL, &request.base, how, on_reply, arg, ret_call);
}

bool etcd_is_lease_exists(const struct lun_err *err) {
    return err && err->status == RPC_FAILED_PRECONDITION && strstr(err->text, "lease already exists") != NULL;
}

bool etcd_is_lease_not_found(const struct lun_err *err) {
    return err && err->status == RPC_NOT_FOUND && strstr(err->text, "lease not found") != NULL;
}
