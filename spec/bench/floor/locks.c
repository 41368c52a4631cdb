/* spec/bench/floor/locks.c - see locks.h. */
#include "floor/locks.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "etcd.pb-c.h"
#include "floor/figures.h"

ProtobufCBinaryData text_of(const char *text) {
    return (ProtobufCBinaryData){strlen(text), (uint8_t *)(uintptr_t)text};
}

static bool is_renewed;

static void on_renewal(void *message) {
    (void)message;
    is_renewed = true;
}

int64_t session_grant(void) {
    struct unary unary = {.then = NULL};
    Etcdserverpb__LeaseGrantRequest request = ETCDSERVERPB__LEASE_GRANT_REQUEST__INIT;
    request.ttl = 60;
    unary_ask(&unary, GRANT, &request.base, &etcdserverpb__lease_grant_response__descriptor);
    Etcdserverpb__LeaseGrantResponse *reply = unary_wait(&unary);
    int64_t lease = reply->id;
    reply_free(reply);
    return lease;
}

void session_open(struct session *session) {
    session->lease = session_grant();
    stream_open(&session->renewals, KEEP_ALIVE, &etcdserverpb__lease_keep_alive_response__descriptor,
                on_renewal);
    Etcdserverpb__LeaseKeepAliveRequest request = ETCDSERVERPB__LEASE_KEEP_ALIVE_REQUEST__INIT;
    request.id = session->lease;
    is_renewed = false;
    stream_send(&session->renewals, &request.base);
    wire_drive_until(&is_renewed);
}

void session_close(struct session *session) {
    struct unary unary = {.then = NULL};
    Etcdserverpb__LeaseRevokeRequest request = ETCDSERVERPB__LEASE_REVOKE_REQUEST__INIT;
    request.id = session->lease;
    unary_ask(&unary, REVOKE, &request.base, &etcdserverpb__lease_revoke_response__descriptor);
    reply_free(unary_wait(&unary));
    stream_close(&session->renewals);
}

void lock_name(struct lock *lock, int number, int64_t lease) {
    snprintf(lock->prefix, sizeof lock->prefix, "/floor/%d-%d/", (int)getpid(), number);
    snprintf(lock->end, sizeof lock->end, "/floor/%d-%d0", (int)getpid(), number); /* '0' follows '/' */
    snprintf(lock->key, sizeof lock->key, "%s%llx", lock->prefix, (unsigned long long)lease);
    lock->lease = lease;
}

static Etcdserverpb__RequestOp op_of_range(Etcdserverpb__RangeRequest *range) {
    Etcdserverpb__RequestOp op = ETCDSERVERPB__REQUEST_OP__INIT;
    op.request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_RANGE;
    op.request_range = range;
    return op;
}

void lock_ask(struct lock *lock, struct unary *unary) {
    Etcdserverpb__Compare compare_create = ETCDSERVERPB__COMPARE__INIT;
    compare_create.target = ETCDSERVERPB__COMPARE__COMPARE_TARGET__CREATE;
    compare_create.key = text_of(lock->key);
    compare_create.target_union_case = ETCDSERVERPB__COMPARE__TARGET_UNION_CREATE_REVISION;
    Etcdserverpb__PutRequest put = ETCDSERVERPB__PUT_REQUEST__INIT;
    put.key = compare_create.key;
    put.lease = lock->lease;
    Etcdserverpb__RangeRequest get = ETCDSERVERPB__RANGE_REQUEST__INIT, owner = get;
    get.key = put.key;
    owner.key = text_of(lock->prefix);
    owner.range_end = text_of(lock->end);
    owner.limit = 1;
    owner.sort_target = ETCDSERVERPB__RANGE_REQUEST__SORT_TARGET__CREATE;
    owner.sort_order = ETCDSERVERPB__RANGE_REQUEST__SORT_ORDER__ASCEND;
    Etcdserverpb__RequestOp put_op = ETCDSERVERPB__REQUEST_OP__INIT;
    put_op.request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_PUT;
    put_op.request_put = &put;
    Etcdserverpb__RequestOp get_op = op_of_range(&get), owner_op = op_of_range(&owner);
    Etcdserverpb__TxnRequest txn = ETCDSERVERPB__TXN_REQUEST__INIT;
    txn.n_compare = 1;
    txn.compare = (Etcdserverpb__Compare *[]){&compare_create};
    txn.n_success = txn.n_failure = 2;
    txn.success = (Etcdserverpb__RequestOp *[]){&put_op, &owner_op};
    txn.failure = (Etcdserverpb__RequestOp *[]){&get_op, &owner_op};
    unary_ask(unary, TXN, &txn.base, &etcdserverpb__txn_response__descriptor);
}

int64_t lock_answer(struct unary *unary, bool *ret_is_owner) {
    Etcdserverpb__TxnResponse *reply = unary->reply;
    if (!reply->succeeded || reply->n_responses != 2)
        fail("a lock transaction found the key already there");
    Etcdserverpb__RangeResponse *owner = reply->responses[1]->response_range;
    int64_t revision = reply->header->revision;
    *ret_is_owner = owner->n_kvs == 1 && owner->kvs[0]->create_revision == revision;
    reply_free(reply);
    return revision;
}

void lock_take(struct lock *lock) {
    struct unary unary = {.then = NULL};
    bool is_owner;
    lock_ask(lock, &unary);
    (void)unary_wait(&unary);
    (void)lock_answer(&unary, &is_owner);
    if (!is_owner)
        fail("somebody else holds the lock");
}

void unlock_ask(struct lock *lock, struct unary *unary) {
    Etcdserverpb__DeleteRangeRequest request = ETCDSERVERPB__DELETE_RANGE_REQUEST__INIT;
    request.key = text_of(lock->key);
    unary_ask(unary, DELETE, &request.base, &etcdserverpb__delete_range_response__descriptor);
}

void lock_release(struct lock *lock) {
    struct unary unary = {.then = NULL};
    unlock_ask(lock, &unary);
    reply_free(unary_wait(&unary));
}
