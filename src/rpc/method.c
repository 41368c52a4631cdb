/* rpc/method.c - etcd's methods: their paths, and the messages that go and come. */
#include "rpc/rpc.h"

#include "etcd.pb-c.h"

#define UNARY(service, method, request, reply)                                                               \
    {                                                                                                        \
        "/etcdserverpb." service "/" method, &etcdserverpb__##request##__descriptor,                         \
            &etcdserverpb__##reply##__descriptor, false                                                      \
    }
#define STREAM(service, method, request, reply)                                                              \
    {                                                                                                        \
        "/etcdserverpb." service "/" method, &etcdserverpb__##request##__descriptor,                         \
            &etcdserverpb__##reply##__descriptor, true                                                       \
    }

static const struct rpc_method_info methods[RPC_N_METHODS] = {
    [RPC_RANGE] = UNARY("KV", "Range", range_request, range_response),
    [RPC_PUT] = UNARY("KV", "Put", put_request, put_response),
    [RPC_DELETE_RANGE] = UNARY("KV", "DeleteRange", delete_range_request, delete_range_response),
    [RPC_TXN] = UNARY("KV", "Txn", txn_request, txn_response),
    [RPC_COMPACT] = UNARY("KV", "Compact", compaction_request, compaction_response),
    [RPC_LEASE_GRANT] = UNARY("Lease", "LeaseGrant", lease_grant_request, lease_grant_response),
    [RPC_LEASE_REVOKE] = UNARY("Lease", "LeaseRevoke", lease_revoke_request, lease_revoke_response),
    [RPC_LEASE_TIME_TO_LIVE] =
        UNARY("Lease", "LeaseTimeToLive", lease_time_to_live_request, lease_time_to_live_response),
    [RPC_AUTHENTICATE] = UNARY("Auth", "Authenticate", authenticate_request, authenticate_response),
    [RPC_MEMBER_LIST] = UNARY("Cluster", "MemberList", member_list_request, member_list_response),
    [RPC_MEMBER_STATUS] = UNARY("Maintenance", "Status", status_request, status_response),
    [RPC_LEASE_KEEP_ALIVE] =
        STREAM("Lease", "LeaseKeepAlive", lease_keep_alive_request, lease_keep_alive_response),
    [RPC_WATCH] = STREAM("Watch", "Watch", watch_request, watch_response),
};

const struct rpc_method_info *rpc_method_info(enum rpc_method method) {
    return &methods[method];
}
