/* etcd/request.c - turns operations and transactions into etcd's messages. See request.h. */
#include "etcd/request.h"

#include <stdlib.h>

static ProtobufCBinaryData binary(struct lun_bytes bytes) {
    return (ProtobufCBinaryData){bytes.len, (uint8_t *)bytes.data};
}

static void fill_range(Etcdserverpb__RangeRequest *range, const struct lun_kv_op *op) {
    etcdserverpb__range_request__init(range);
    range->key = binary(op->key);
    range->range_end = binary(op->range_end);
    range->limit = op->limit;
    range->revision = op->revision;
    range->sort_order = (Etcdserverpb__RangeRequest__SortOrder)op->sort_order;
    range->sort_target = (Etcdserverpb__RangeRequest__SortTarget)op->sort_target;
    range->serializable = op->is_serializable;
    range->keys_only = op->is_keys_only;
    range->count_only = op->is_count_only;
    range->min_mod_revision = op->min_mod_rev;
    range->max_mod_revision = op->max_mod_rev;
    range->min_create_revision = op->min_create_rev;
    range->max_create_revision = op->max_create_rev;
}

static void fill_put(Etcdserverpb__PutRequest *put, const struct lun_kv_op *op) {
    etcdserverpb__put_request__init(put);
    put->key = binary(op->key);
    put->value = binary(op->value);
    put->lease = op->lease;
    put->prev_kv = op->wants_prev_kv;
}

static void fill_delete(Etcdserverpb__DeleteRangeRequest *delete_range, const struct lun_kv_op *op) {
    etcdserverpb__delete_range_request__init(delete_range);
    delete_range->key = binary(op->key);
    delete_range->range_end = binary(op->range_end);
    delete_range->prev_kv = op->wants_prev_kv;
}

static bool is_serializable(const struct lun_kv_op *op) {
    return op->kind == LUN_OP_RANGE && op->is_serializable;
}

static bool is_scan(const struct lun_kv_op *op) {
    return op->kind == LUN_OP_RANGE && op->range_end.len > 0;
}

void request_of_op(union request_op *ret_request, struct request_meta *ret_meta, const struct lun_kv_op *op) {
    enum rpc_method method = RPC_RANGE;
    switch (op->kind) {
    case LUN_OP_RANGE:
        fill_range(&ret_request->range, op);
        break;
    case LUN_OP_PUT:
        fill_put(&ret_request->put, op);
        method = RPC_PUT;
        break;
    case LUN_OP_DELETE:
        fill_delete(&ret_request->delete_range, op);
        method = RPC_DELETE_RANGE;
        break;
    }
    *ret_meta = (struct request_meta){.method = method,
                                      .is_write = op->kind != LUN_OP_RANGE,
                                      .needs_no_leader = is_serializable(op),
                                      .is_serializable = is_serializable(op),
                                      .is_scan = is_scan(op),
                                      .n_success = 1};
}

/* ---- transactions ----------------------------------------------------------------------------------- */

struct txn_op {
    Etcdserverpb__RequestOp message;
    union request_op body;
};

/* All of a transaction in one piece of memory: pointers first, for they are aligned as strictly as anything
 * behind them. */
struct txn_memory {
    Etcdserverpb__Compare **compare_pointers;
    Etcdserverpb__RequestOp **op_pointers;
    Etcdserverpb__Compare *compares;
    struct txn_op *ops;
};

static int allocate(struct txn_memory *ret, size_t n_compares, size_t n_ops) {
    char *memory = malloc(n_compares * (sizeof(void *) + sizeof *ret->compares) +
                          n_ops * (sizeof(void *) + sizeof *ret->ops) + 1);
    if (!memory)
        return LUN_ENOMEM;
    ret->compare_pointers = (Etcdserverpb__Compare **)(void *)memory;
    ret->op_pointers = (Etcdserverpb__RequestOp **)(void *)(ret->compare_pointers + n_compares);
    ret->compares = (Etcdserverpb__Compare *)(void *)(ret->op_pointers + n_ops);
    ret->ops = (struct txn_op *)(void *)(ret->compares + n_compares);
    return 0;
}

static void fill_compare(Etcdserverpb__Compare *message, const struct lun_cmp *compare) {
    etcdserverpb__compare__init(message);
    message->target = (Etcdserverpb__Compare__CompareTarget)compare->target;
    message->result = (Etcdserverpb__Compare__CompareResult)compare->result;
    message->key = binary(compare->key);
    message->range_end = binary(compare->range_end);
    switch (compare->target) {
    case LUN_CMP_VERSION:
        message->target_union_case = ETCDSERVERPB__COMPARE__TARGET_UNION_VERSION;
        message->version = compare->number;
        break;
    case LUN_CMP_CREATE:
        message->target_union_case = ETCDSERVERPB__COMPARE__TARGET_UNION_CREATE_REVISION;
        message->create_revision = compare->number;
        break;
    case LUN_CMP_MOD:
        message->target_union_case = ETCDSERVERPB__COMPARE__TARGET_UNION_MOD_REVISION;
        message->mod_revision = compare->number;
        break;
    case LUN_CMP_VALUE:
        message->target_union_case = ETCDSERVERPB__COMPARE__TARGET_UNION_VALUE;
        message->value = binary(compare->value);
        break;
    case LUN_CMP_LEASE:
        message->target_union_case = ETCDSERVERPB__COMPARE__TARGET_UNION_LEASE;
        message->lease = compare->number;
        break;
    }
}

static void fill_op(struct txn_op *txn_op, const struct lun_kv_op *op) {
    Etcdserverpb__RequestOp *message = &txn_op->message;
    etcdserverpb__request_op__init(message);
    switch (op->kind) {
    case LUN_OP_RANGE:
        fill_range(&txn_op->body.range, op);
        message->request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_RANGE;
        message->request_range = &txn_op->body.range;
        break;
    case LUN_OP_PUT:
        fill_put(&txn_op->body.put, op);
        message->request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_PUT;
        message->request_put = &txn_op->body.put;
        break;
    case LUN_OP_DELETE:
        fill_delete(&txn_op->body.delete_range, op);
        message->request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_DELETE_RANGE;
        message->request_delete_range = &txn_op->body.delete_range;
        break;
    }
}

/* Fills `n` operations from `ops` on, points to them from `pointers` on. */
static void fill_branch(struct request_meta *meta, struct txn_op *txn_ops, Etcdserverpb__RequestOp **pointers,
                        const struct lun_kv_op *ops, size_t n) {
    for (size_t i = 0; i < n; i++) {
        fill_op(&txn_ops[i], &ops[i]);
        pointers[i] = &txn_ops[i].message;
        meta->is_write = meta->is_write || ops[i].kind != LUN_OP_RANGE;
        meta->is_serializable = meta->is_serializable && is_serializable(&ops[i]);
        meta->is_scan = meta->is_scan || is_scan(&ops[i]);
    }
}

int request_of_txn(struct request_txn *ret_request, struct request_meta *ret_meta,
                   const struct lun_txn *txn) {
    if (txn->n_compares > LUN_MAX_TXN_OPS || txn->n_success > LUN_MAX_TXN_OPS ||
        txn->n_failure > LUN_MAX_TXN_OPS)
        return LUN_EINVALID;
    struct txn_memory memory;
    int rc = allocate(&memory, txn->n_compares, txn->n_success + txn->n_failure);
    if (rc)
        return rc;
    for (size_t i = 0; i < txn->n_compares; i++) {
        fill_compare(&memory.compares[i], &txn->compares[i]);
        memory.compare_pointers[i] = &memory.compares[i];
    }
    Etcdserverpb__RequestOp **failure = memory.op_pointers + txn->n_success;
    *ret_meta = (struct request_meta){.method = RPC_TXN,
                                      .is_serializable = true,
                                      .is_conditional = txn->n_compares > 0,
                                      .n_success = (uint16_t)txn->n_success,
                                      .n_failure = (uint16_t)txn->n_failure};
    fill_branch(ret_meta, memory.ops, memory.op_pointers, txn->success, txn->n_success);
    fill_branch(ret_meta, memory.ops + txn->n_success, failure, txn->failure, txn->n_failure);

    etcdserverpb__txn_request__init(&ret_request->message);
    ret_request->message.n_compare = txn->n_compares;
    ret_request->message.compare = memory.compare_pointers;
    ret_request->message.n_success = txn->n_success;
    ret_request->message.success = memory.op_pointers;
    ret_request->message.n_failure = txn->n_failure;
    ret_request->message.failure = failure;
    ret_request->memory = memory.compare_pointers;
    return 0;
}

void request_txn_fini(struct request_txn *request) {
    free(request->memory);
}

void request_kinds(uint8_t *ret_kinds, const struct lun_txn *txn) {
    for (size_t i = 0; i < txn->n_success; i++)
        *ret_kinds++ = (uint8_t)txn->success[i].kind;
    for (size_t i = 0; i < txn->n_failure; i++)
        *ret_kinds++ = (uint8_t)txn->failure[i].kind;
}
