/* etcd/request.h - from plain data to etcd's messages. */
#ifndef LUN_ETCD_REQUEST_H
#define LUN_ETCD_REQUEST_H

#include <stdbool.h>
#include <stdint.h>

#include "etcd.pb-c.h"

#include "base/kv.h"
#include "rpc/rpc.h"

/* What has to be remembered of a request: how to send it again, and what its reply must look like. */
struct request_meta {
    enum rpc_method method;
    bool is_write;        /* changes something, so that a lost reply matters */
    bool needs_no_leader; /* is answered by a member that knows none */
    bool is_serializable; /* only reads, each content with what the member knows */
    bool is_scan;         /* reads a range of keys */
    bool is_tokenless;    /* carries no token: it asks for one */
    bool is_conditional;  /* a transaction that compares something: without that, it cannot but succeed */
    uint16_t n_success, n_failure;
    int64_t lease, ttl_s; /* grant, time to live: what was asked for; 0: the server chooses */
};

/* One operation, as a message of its own. Lives in its caller's memory and borrows from `op`. */
union request_op {
    ProtobufCMessage base;
    Etcdserverpb__RangeRequest range;
    Etcdserverpb__PutRequest put;
    Etcdserverpb__DeleteRangeRequest delete_range;
};
void request_of_op(union request_op *ret_request, struct request_meta *ret_meta, const struct lun_kv_op *op);

/* A transaction: freed with request_txn_fini. */
struct request_txn {
    Etcdserverpb__TxnRequest message;
    void *memory;
};
/* 0, LUN_ENOMEM, LUN_EINVALID (too many operations). */
int request_of_txn(struct request_txn *ret_request, struct request_meta *ret_meta, const struct lun_txn *txn);
void request_txn_fini(struct request_txn *request);

/* The kinds (enum lun_op_kind) of a request's operations, success before failure: n_success + n_failure
 * bytes. */
void request_kinds(uint8_t *ret_kinds, const struct lun_txn *txn);

#endif
