/* spec/bench/shared/lock.c - see lock.h. */
#include "shared/lock.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "shared/figures.h"

ProtobufCBinaryData text_of(const char *text) {
    return (ProtobufCBinaryData){strlen(text), (uint8_t *)(uintptr_t)text};
}

void lock_name(struct lock_key *lock, const char *bench, int number, int64_t lease) {
    int pid = (int)getpid();
    (void)snprintf(lock->prefix, sizeof lock->prefix, "/%s/%d-%d/", bench, pid, number);
    (void)snprintf(lock->end, sizeof lock->end, "/%s/%d-%d0", bench, pid, number); /* '0' follows '/' */
    (void)snprintf(lock->key, sizeof lock->key, "%s%llx", lock->prefix, (unsigned long long)lease);
    lock->lease = lease;
}

static Etcdserverpb__RequestOp op_of_range(Etcdserverpb__RangeRequest *range) {
    Etcdserverpb__RequestOp op = ETCDSERVERPB__REQUEST_OP__INIT;
    op.request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_RANGE;
    op.request_range = range;
    return op;
}

void lock_request(const struct lock_key *lock,
                  void (*send)(void *arg, const Etcdserverpb__TxnRequest *request), void *arg) {
    Etcdserverpb__Compare is_absent = ETCDSERVERPB__COMPARE__INIT;
    is_absent.target = ETCDSERVERPB__COMPARE__COMPARE_TARGET__CREATE;
    is_absent.key = text_of(lock->key);
    is_absent.target_union_case = ETCDSERVERPB__COMPARE__TARGET_UNION_CREATE_REVISION;
    Etcdserverpb__PutRequest put = ETCDSERVERPB__PUT_REQUEST__INIT;
    put.key = is_absent.key;
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
    txn.compare = (Etcdserverpb__Compare *[]){&is_absent};
    txn.n_success = txn.n_failure = 2;
    txn.success = (Etcdserverpb__RequestOp *[]){&put_op, &owner_op};
    txn.failure = (Etcdserverpb__RequestOp *[]){&get_op, &owner_op};
    send(arg, &txn);
}

Etcdserverpb__DeleteRangeRequest unlock_request(const struct lock_key *lock) {
    Etcdserverpb__DeleteRangeRequest request = ETCDSERVERPB__DELETE_RANGE_REQUEST__INIT;
    request.key = text_of(lock->key);
    return request;
}

bool lock_is_won(const Etcdserverpb__TxnResponse *reply) {
    if (!reply->succeeded || reply->n_responses != 2)
        fail("a lock transaction found the key already there");
    const Etcdserverpb__RangeResponse *owner = reply->responses[1]->response_range;
    return owner->n_kvs == 1 && owner->kvs[0]->create_revision == reply->header->revision;
}
