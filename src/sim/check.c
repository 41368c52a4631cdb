/* sim/check.c - what etcd refuses by looking at the request alone, in the order in which it looks. */
#include <stdio.h>

#include "sim/world.h"

/* An entry of the log is a request and a few bytes more; a message, what gRPC lets in. */
enum {
    MAX_TXN_OPS = 128,
    MAX_ENTRY_BYTES = 1536 * 1024,
    ENTRY_BYTES = 18,
    MAX_MESSAGE_BYTES = MAX_ENTRY_BYTES + 512 * 1024
};

static struct sim_answer fine(void) {
    return sim_reply(NULL);
}

static struct sim_answer invalid(const char *why) {
    return sim_refusal(RPC_INVALID_ARGUMENT, why);
}

static struct sim_answer check_key(ProtobufCBinaryData key) {
    return key.len > 0 ? fine() : invalid("etcdserver: key is not provided");
}

static struct sim_answer check_put(const Etcdserverpb__PutRequest *request) {
    if (request->key.len > 0 && request->ignore_value && request->value.len > 0)
        return invalid("etcdserver: value is provided");
    if (request->key.len > 0 && request->ignore_lease && request->lease != 0)
        return invalid("etcdserver: lease is provided");
    return check_key(request->key);
}

static struct sim_answer check_op(const Etcdserverpb__RequestOp *op) {
    switch (op->request_case) {
    case ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_RANGE:
        return check_key(op->request_range->key);
    case ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_PUT:
        return check_put(op->request_put);
    case ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_DELETE_RANGE:
        return check_key(op->request_delete_range->key);
    default:
        return invalid("etcdserver: key not found");
    }
}

static bool is_deleted_by(const Etcdserverpb__RequestOp *op, struct lun_bytes key) {
    if (op->request_case != ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_DELETE_RANGE)
        return false;
    const Etcdserverpb__DeleteRangeRequest *request = op->request_delete_range;
    struct sim_range range = sim_range_of(sim_bytes(request->key), sim_bytes(request->range_end));
    return !range.is_open && sim_range_has(&range, key);
}

static bool is_put_of(const Etcdserverpb__RequestOp *op, struct lun_bytes key) {
    return op->request_case == ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_PUT &&
           sim_bytes_order(sim_bytes(op->request_put->key), key) == 0;
}

/* No key may be put twice, nor put and deleted; etcd overlooks deletions without an end. */
static struct sim_answer check_overlaps(Etcdserverpb__RequestOp **ops, size_t n) {
    for (size_t i = 0; i < n; i++) {
        if (ops[i]->request_case != ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_PUT)
            continue;
        struct lun_bytes key = sim_bytes(ops[i]->request_put->key);
        for (size_t k = 0; k < n; k++)
            if (is_deleted_by(ops[k], key) || (k < i && is_put_of(ops[k], key)))
                return invalid("etcdserver: duplicate key given in txn request");
    }
    return fine();
}

static struct sim_answer check_branch(Etcdserverpb__RequestOp **ops, size_t n) {
    struct sim_answer answer = fine();
    for (size_t i = 0; i < n && answer.status == RPC_OK; i++)
        answer = check_op(ops[i]);
    return answer;
}

static struct sim_answer check_txn(const Etcdserverpb__TxnRequest *request) {
    if (request->n_compare > MAX_TXN_OPS || request->n_success > MAX_TXN_OPS ||
        request->n_failure > MAX_TXN_OPS)
        return invalid("etcdserver: too many operations in txn request");
    struct sim_answer answer = fine();
    for (size_t i = 0; i < request->n_compare && answer.status == RPC_OK; i++)
        answer = check_key(request->compare[i]->key);
    if (!answer.status)
        answer = check_branch(request->success, request->n_success);
    if (!answer.status)
        answer = check_branch(request->failure, request->n_failure);
    if (!answer.status)
        answer = check_overlaps(request->success, request->n_success);
    if (!answer.status)
        answer = check_overlaps(request->failure, request->n_failure);
    return answer;
}

static struct sim_answer check_content(enum rpc_method method, const ProtobufCMessage *request) {
    switch (method) {
    case RPC_RANGE:
        return check_key(((const Etcdserverpb__RangeRequest *)request)->key);
    case RPC_PUT:
        return check_put((const Etcdserverpb__PutRequest *)request);
    case RPC_DELETE_RANGE:
        return check_key(((const Etcdserverpb__DeleteRangeRequest *)request)->key);
    case RPC_TXN:
        return check_txn((const Etcdserverpb__TxnRequest *)request);
    default:
        return fine();
    }
}

struct sim_answer sim_check(struct sim *sim, enum rpc_method method, const ProtobufCMessage *request) {
    size_t n_bytes = protobuf_c_message_get_packed_size(request);
    if (n_bytes > MAX_MESSAGE_BYTES) {
        enum { TEXT_BYTES = 96 };
        char *why = sim_take(sim, TEXT_BYTES);
        (void)snprintf(why, TEXT_BYTES, "grpc: received message larger than max (%zu vs. %d)", n_bytes,
                       MAX_MESSAGE_BYTES);
        return sim_refusal(RPC_RESOURCE_EXHAUSTED, why);
    }
    struct sim_answer answer = check_content(method, request);
    if (!answer.status && n_bytes + ENTRY_BYTES > MAX_ENTRY_BYTES && sim_is_write(method, request))
        return invalid("etcdserver: request is too large");
    return answer;
}
