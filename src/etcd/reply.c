/* etcd/reply.c - turns etcd's replies into plain data, and refuses those with missing or false parts. See reply.h. */
#include "etcd/reply.h"

#include <inttypes.h>
#include <stdlib.h>

#include "etcd/malformed.h"

static struct lun_bytes bytes_of(ProtobufCBinaryData data) {
    return (struct lun_bytes){data.data, data.len};
}

int reply_kv(const struct namespace *space, const Etcdserverpb__KeyValue *message, struct lun_kv *ret_kv,
             struct lun_err *ret_err) {
    struct lun_bytes key = {NULL, 0};
    if (message && !namespace_leave(space, message->key, &key))
        return lun_err_set(ret_err, LUN_EUNAVAILABLE,
                           "sent a malformed reply (a key that does not begin with the client's prefix)");
    *ret_kv = message ? (struct lun_kv){.key = key,
                                        .value = bytes_of(message->value),
                                        .create_rev = message->create_revision,
                                        .mod_rev = message->mod_revision,
                                        .version = message->version,
                                        .lease = message->lease}
                      : (struct lun_kv){0};
    return 0;
}

const Etcdserverpb__ResponseHeader *reply_header(enum rpc_method method, const ProtobufCMessage *message) {
    switch (method) {
    case RPC_RANGE:
        return ((const Etcdserverpb__RangeResponse *)message)->header;
    case RPC_PUT:
        return ((const Etcdserverpb__PutResponse *)message)->header;
    case RPC_DELETE_RANGE:
        return ((const Etcdserverpb__DeleteRangeResponse *)message)->header;
    case RPC_TXN:
        return ((const Etcdserverpb__TxnResponse *)message)->header;
    case RPC_COMPACT:
        return ((const Etcdserverpb__CompactionResponse *)message)->header;
    case RPC_LEASE_GRANT:
        return ((const Etcdserverpb__LeaseGrantResponse *)message)->header;
    case RPC_LEASE_REVOKE:
        return ((const Etcdserverpb__LeaseRevokeResponse *)message)->header;
    case RPC_LEASE_TIME_TO_LIVE:
        return ((const Etcdserverpb__LeaseTimeToLiveResponse *)message)->header;
    case RPC_AUTHENTICATE:
        return ((const Etcdserverpb__AuthenticateResponse *)message)->header;
    case RPC_MEMBER_LIST:
        return ((const Etcdserverpb__MemberListResponse *)message)->header;
    case RPC_MEMBER_STATUS:
        return ((const Etcdserverpb__StatusResponse *)message)->header;
    case RPC_LEASE_KEEP_ALIVE:
        return ((const Etcdserverpb__LeaseKeepAliveResponse *)message)->header;
    case RPC_WATCH:
        return ((const Etcdserverpb__WatchResponse *)message)->header;
    case RPC_N_METHODS:
        break;
    }
    return NULL;
}

/* ---- results of operations -------------------------------------------------------------------------- */

/* The three replies seen as one: which pairs came with which operation. */
struct part {
    enum lun_op_kind kind;
    const Etcdserverpb__RangeResponse *range;
    const Etcdserverpb__PutResponse *put;
    const Etcdserverpb__DeleteRangeResponse *delete_range;
};

static bool part_of_op(struct part *part, const Etcdserverpb__ResponseOp *op) {
    *part = (struct part){0};
    switch (op ? op->response_case : ETCDSERVERPB__RESPONSE_OP__RESPONSE__NOT_SET) {
    case ETCDSERVERPB__RESPONSE_OP__RESPONSE_RESPONSE_RANGE:
        part->kind = LUN_OP_RANGE;
        part->range = op->response_range;
        return part->range != NULL;
    case ETCDSERVERPB__RESPONSE_OP__RESPONSE_RESPONSE_PUT:
        part->kind = LUN_OP_PUT;
        part->put = op->response_put;
        return part->put != NULL;
    case ETCDSERVERPB__RESPONSE_OP__RESPONSE_RESPONSE_DELETE_RANGE:
        part->kind = LUN_OP_DELETE;
        part->delete_range = op->response_delete_range;
        return part->delete_range != NULL;
    default:
        return false;
    }
}

static bool part_of_reply(struct part *part, enum rpc_method method, const ProtobufCMessage *message) {
    *part = (struct part){0};
    if (method == RPC_RANGE) {
        part->kind = LUN_OP_RANGE;
        part->range = (const Etcdserverpb__RangeResponse *)message;
    } else if (method == RPC_PUT) {
        part->kind = LUN_OP_PUT;
        part->put = (const Etcdserverpb__PutResponse *)message;
    } else {
        part->kind = LUN_OP_DELETE;
        part->delete_range = (const Etcdserverpb__DeleteRangeResponse *)message;
    }
    return true;
}

static size_t part_n_kvs(const struct part *part) {
    switch (part->kind) {
    case LUN_OP_RANGE:
        return part->range->n_kvs;
    case LUN_OP_PUT:
        return part->put->prev_kv ? 1 : 0;
    case LUN_OP_DELETE:
        return part->delete_range->n_prev_kvs;
    }
    return 0;
}

static int check_part(const struct part *part, int64_t revision, struct lun_err *ret_err) {
    switch (part->kind) {
    case LUN_OP_RANGE:
        return malformed_range(part->range, revision, ret_err);
    case LUN_OP_PUT:
        return part->put->prev_kv ? malformed_kv(part->put->prev_kv, revision, ret_err) : 0;
    case LUN_OP_DELETE:
        return malformed_delete(part->delete_range, revision, ret_err);
    }
    return 0;
}

static const Etcdserverpb__KeyValue *part_kv(const struct part *part, size_t i) {
    switch (part->kind) {
    case LUN_OP_RANGE:
        return part->range->kvs[i];
    case LUN_OP_PUT:
        return part->put->prev_kv;
    case LUN_OP_DELETE:
        return part->delete_range->prev_kvs[i];
    }
    return NULL;
}

static const Etcdserverpb__ResponseHeader *part_header(const struct part *part) {
    switch (part->kind) {
    case LUN_OP_RANGE:
        return part->range->header;
    case LUN_OP_PUT:
        return part->put->header;
    case LUN_OP_DELETE:
        return part->delete_range->header;
    }
    return NULL;
}

/* Fills one result, its pairs from `kvs` on. */
static int read_part(const struct namespace *space, struct lun_kv_result *result, struct lun_kv *kvs,
                     const struct part *part, struct lun_err *ret_err) {
    int rc = 0;
    *result = (struct lun_kv_result){.kind = part->kind, .kvs = kvs, .n_kvs = part_n_kvs(part)};
    if (part->kind == LUN_OP_RANGE) {
        result->count = part->range->count;
        result->has_more = part->range->more;
    } else if (part->kind == LUN_OP_DELETE) {
        result->deleted = part->delete_range->deleted;
    }
    for (size_t i = 0; i < result->n_kvs && !rc; i++)
        rc = reply_kv(space, part_kv(part, i), &kvs[i], ret_err);
    return rc;
}

static int make_room(struct reply_room *room, size_t n_results, size_t n_kvs) {
    if (n_results > REPLY_FEW_RESULTS && !(room->results = malloc(n_results * sizeof *room->results)))
        return LUN_ENOMEM;
    if (n_kvs > REPLY_FEW_KVS && !(room->kvs = malloc(n_kvs * sizeof *room->kvs)))
        return LUN_ENOMEM;
    return 0;
}

/* The last operation sees all that the transaction changed: it bears the revision of the whole. A false one would become the
 * create revision of a key, and a fencing token. */
static int check_revision(const Etcdserverpb__TxnResponse *txn, struct lun_err *ret_err) {
    struct part last;
    if (txn->n_responses == 0 || !part_of_op(&last, txn->responses[txn->n_responses - 1]))
        return 0;
    const Etcdserverpb__ResponseHeader *header = part_header(&last);
    if (!header || !txn->header || header->revision == 0 || header->revision == txn->header->revision)
        return 0;
    return lun_err_set(ret_err, LUN_EUNAVAILABLE,
                       "sent a malformed reply (revision %" PRId64 ", and %" PRId64 " of its last operation)",
                       txn->header->revision, header->revision);
}

/* Checks that it took a branch it could take, and that each operation of that has its result; counts the pairs. */
static int check_txn(const Etcdserverpb__TxnResponse *txn, const struct request_meta *meta,
                     const uint8_t *kinds, size_t *ret_n_kvs, struct lun_err *ret_err) {
    size_t n = txn->succeeded ? meta->n_success : meta->n_failure;
    const uint8_t *expected = txn->succeeded ? kinds : kinds + meta->n_success;
    if (!txn->succeeded && !meta->is_conditional)
        return lun_err_set(
            ret_err, LUN_EUNAVAILABLE,
            "sent a malformed reply (a transaction without conditions whose conditions failed)");
    if (txn->n_responses != n)
        return lun_err_set(ret_err, LUN_EUNAVAILABLE,
                           "sent a malformed reply (%zu results for %zu operations)", txn->n_responses, n);
    for (size_t i = 0; i < n; i++) {
        struct part part;
        if (!part_of_op(&part, txn->responses[i]) || part.kind != (enum lun_op_kind)expected[i])
            return lun_err_set(ret_err, LUN_EUNAVAILABLE,
                               "sent a malformed reply (operation %zu has not its result)", i + 1);
        int rc = check_part(&part, txn->header ? txn->header->revision : 0, ret_err);
        if (rc)
            return rc;
        *ret_n_kvs += part_n_kvs(&part);
    }
    return 0;
}

static int read_txn(struct reply_room *room, const struct namespace *space, const struct request_meta *meta,
                    const uint8_t *kinds, const Etcdserverpb__TxnResponse *txn, struct etcd_reply *reply,
                    struct lun_err *ret_err) {
    size_t n_kvs = 0;
    int rc = check_txn(txn, meta, kinds, &n_kvs, ret_err);
    if (!rc)
        rc = check_revision(txn, ret_err);
    if (rc)
        return rc;
    rc = make_room(room, txn->n_responses, n_kvs);
    if (rc)
        return lun_err_set(ret_err, rc, "out of memory");
    struct lun_kv *kvs = room->kvs;
    for (size_t i = 0; i < txn->n_responses; i++) {
        struct part part;
        (void)part_of_op(&part, txn->responses[i]);
        rc = read_part(space, &room->results[i], kvs, &part, ret_err);
        if (rc)
            return rc;
        kvs += room->results[i].n_kvs;
    }
    reply->is_success = txn->succeeded;
    reply->results = room->results;
    reply->n_results = txn->n_responses;
    return 0;
}

static int read_single(struct reply_room *room, const struct namespace *space, enum rpc_method method,
                       const ProtobufCMessage *message, struct etcd_reply *reply, struct lun_err *ret_err) {
    struct part part;
    (void)part_of_reply(&part, method, message);
    int rc = check_part(&part, reply->revision, ret_err);
    if (rc)
        return rc;
    rc = make_room(room, 1, part_n_kvs(&part));
    if (rc)
        return lun_err_set(ret_err, rc, "out of memory");
    rc = read_part(space, &room->results[0], room->kvs, &part, ret_err);
    if (rc)
        return rc;
    reply->is_success = true;
    reply->results = room->results;
    reply->n_results = 1;
    return 0;
}

/* ---- the others ------------------------------------------------------------------------------------- */

static int read_grant(const struct request_meta *meta, const Etcdserverpb__LeaseGrantResponse *grant,
                      struct etcd_reply *reply, struct lun_err *ret_err) {
    if (grant->error && grant->error[0] != '\0')
        return lun_err_set(ret_err, LUN_EUNAVAILABLE, "sent a grant with an error (%s)", grant->error);
    int rc = malformed_grant(grant, meta->lease, meta->ttl_s, ret_err);
    if (rc)
        return rc;
    reply->lease = grant->id;
    reply->ttl = reply->granted_ttl = grant->ttl;
    return 0;
}

static int read_time_to_live(const struct request_meta *meta,
                             const Etcdserverpb__LeaseTimeToLiveResponse *answer, struct etcd_reply *reply,
                             struct lun_err *ret_err) {
    int rc = malformed_time_to_live(answer, meta->lease, ret_err);
    if (rc)
        return rc;
    reply->lease = answer->id;
    reply->ttl = answer->ttl;
    reply->granted_ttl = answer->grantedttl;
    return 0;
}

static int read_status(const Etcdserverpb__StatusResponse *status, struct etcd_reply *reply,
                       struct lun_err *ret_err) {
    int rc = malformed_status(status, ret_err);
    if (rc)
        return rc;
    reply->version = status->version;
    reply->db_size = status->dbsize;
    reply->raft_index = (int64_t)status->raftindex;
    reply->leader_id = status->leader;
    reply->complaints = status->errors;
    reply->n_complaints = status->n_errors;
    if (reply->raft_term == 0)
        reply->raft_term = status->raftterm;
    return 0;
}

/* Whether it can be a header of a call. */
static bool is_sendable(const char *token) {
    while (*token >= ' ' && *token <= '~')
        token++;
    return *token == '\0';
}

static int read_token(const Etcdserverpb__AuthenticateResponse *answer, struct etcd_reply *reply,
                      struct lun_err *ret_err) {
    if (!answer->token || answer->token[0] == '\0')
        return lun_err_set(ret_err, LUN_EUNAVAILABLE, "sent a malformed reply (a token that is empty)");
    if (!is_sendable(answer->token))
        return lun_err_set(ret_err, LUN_EUNAVAILABLE,
                           "sent a malformed reply (a token that no header can have)");
    reply->token = answer->token;
    return 0;
}

int reply_read(struct reply_room *room, const struct namespace *space, const struct request_meta *meta,
               const uint8_t *kinds, const ProtobufCMessage *message, struct etcd_reply *ret_reply,
               struct lun_err *ret_err) {
    room->results = room->few_results;
    room->kvs = room->few_kvs;
    *ret_reply = (struct etcd_reply){.is_success = true};
    const Etcdserverpb__ResponseHeader *header = reply_header(meta->method, message);
    if (header) {
        ret_reply->revision = header->revision;
        ret_reply->raft_term = header->raft_term;
        ret_reply->member_id = header->member_id;
    }
    switch (meta->method) {
    case RPC_RANGE:
    case RPC_PUT:
    case RPC_DELETE_RANGE:
        return read_single(room, space, meta->method, message, ret_reply, ret_err);
    case RPC_TXN:
        return read_txn(room, space, meta, kinds, (const Etcdserverpb__TxnResponse *)message, ret_reply,
                        ret_err);
    case RPC_LEASE_GRANT:
        return read_grant(meta, (const Etcdserverpb__LeaseGrantResponse *)message, ret_reply, ret_err);
    case RPC_LEASE_TIME_TO_LIVE:
        return read_time_to_live(meta, (const Etcdserverpb__LeaseTimeToLiveResponse *)message, ret_reply,
                                 ret_err);
    case RPC_AUTHENTICATE:
        return read_token((const Etcdserverpb__AuthenticateResponse *)message, ret_reply, ret_err);
    case RPC_MEMBER_STATUS:
        return read_status((const Etcdserverpb__StatusResponse *)message, ret_reply, ret_err);
    default:
        return 0;
    }
}

void reply_room_fini(struct reply_room *room) {
    if (room->results != room->few_results)
        free(room->results);
    if (room->kvs != room->few_kvs)
        free(room->kvs);
}
