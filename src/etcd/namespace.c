/* etcd/namespace.c - moves the keys of a client's requests below its prefix, and those of replies out again: see
 * namespace.h. */
#include "etcd/namespace.h"

#include <stdlib.h>
#include <string.h>

/* ---- the part that is ours -------------------------------------------------------------------------- */

static bool has_prefix(const struct namespace *space) {
    return space->prefix.len > 0;
}

static bool ends_in_slash(struct lun_bytes prefix) {
    return ((const char *)prefix.data)[prefix.len - 1] == '/';
}

int namespace_init(struct namespace *space, const char *prefix) {
    struct lun_bytes given = lun_bytes_of(prefix ? prefix : "");
    *space = (struct namespace){.prefix = {NULL, 0}};
    if (given.len == 0)
        return 0;
    /* "/team-a/" and one byte more, which may be zero; or "/team-a/". Up to "/team-a0" in both cases. */
    bool is_folder = ends_in_slash(given);
    struct bytes folder = {NULL, 0};
    if (bytes_copy(&space->prefix, given) || bytes_printf(&folder, "%s%s", prefix, is_folder ? "" : "/") ||
        bytes_prefix_end(&space->end, bytes_view(&folder)) ||
        bytes_copy(&space->begin, (struct lun_bytes){folder.data, folder.len + (is_folder ? 1 : 0)})) {
        bytes_fini(&folder);
        namespace_fini(space);
        return LUN_ENOMEM;
    }
    bytes_fini(&folder);
    return 0;
}

void namespace_fini(struct namespace *space) {
    bytes_fini(&space->prefix);
    bytes_fini(&space->begin);
    bytes_fini(&space->end);
}

/* ---- one key, or one range -------------------------------------------------------------------------- */

static int compare(struct lun_bytes a, struct lun_bytes b) {
    size_t n = a.len < b.len ? a.len : b.len;
    int order = n > 0 ? memcmp(a.data, b.data, n) : 0;
    return order != 0 ? order : a.len < b.len ? -1 : a.len > b.len;
}

/* etcd's way of saying "to the end of the keys". */
static bool is_to_the_end(struct lun_bytes range_end) {
    return range_end.len == 1 && *(const char *)range_end.data == '\0';
}

static bool is_within(const struct namespace *space, struct lun_bytes key) {
    return compare(key, bytes_view(&space->begin)) >= 0 && compare(key, bytes_view(&space->end)) < 0;
}

/* The memory that is filled with keys. */
struct writer {
    const struct namespace *space;
    char *at;
    size_t n_bytes;
    int rc;
};

static struct lun_bytes write(struct writer *writer, struct lun_bytes key) {
    const struct bytes *prefix = &writer->space->prefix;
    struct lun_bytes written = {writer->at, prefix->len + key.len};
    memcpy(writer->at, prefix->data, prefix->len);
    if (key.len > 0)
        memcpy(writer->at + prefix->len, key.data, key.len);
    writer->at += written.len;
    return written;
}

static int move(struct writer *writer, struct lun_bytes *key, struct lun_bytes *range_end) {
    const struct namespace *space = writer->space;
    struct lun_bytes begin = bytes_view(&space->begin), end = bytes_view(&space->end);
    bool is_range = range_end->len > 0, has_end = is_range && !is_to_the_end(*range_end);
    bool is_empty = has_end && compare(*key, *range_end) >= 0; /* etcd answers with nothing: let it */
    *key = write(writer, *key);
    if (!is_range)
        return is_within(space, *key) ? 0 : LUN_EINVALID;
    *range_end = has_end ? write(writer, *range_end) : end;
    if (is_empty)
        return 0;
    if (compare(*key, begin) < 0)
        *key = begin;
    if (compare(*range_end, end) > 0)
        *range_end = end;
    return compare(*key, *range_end) < 0 ? 0 : LUN_EINVALID;
}

/* ---- whole requests --------------------------------------------------------------------------------- */

/* Called for each key of a request, and the end of its range; NULL for a request that takes none. */
typedef void visitor(struct writer *writer, ProtobufCBinaryData *key, ProtobufCBinaryData *range_end);

static void count(struct writer *writer, ProtobufCBinaryData *key, ProtobufCBinaryData *range_end) {
    size_t prefix_len = writer->space->prefix.len;
    writer->n_bytes += prefix_len + key->len + (range_end ? prefix_len + range_end->len : 0);
}

static ProtobufCBinaryData data_of(struct lun_bytes bytes) {
    return (ProtobufCBinaryData){bytes.len, (uint8_t *)bytes.data};
}

static struct lun_bytes bytes_of(ProtobufCBinaryData data) {
    return (struct lun_bytes){data.data, data.len};
}

static void rewrite(struct writer *writer, ProtobufCBinaryData *key, ProtobufCBinaryData *range_end) {
    struct lun_bytes new_key = bytes_of(*key),
                     new_end = range_end ? bytes_of(*range_end) : (struct lun_bytes){NULL, 0};
    int rc = move(writer, &new_key, &new_end);
    if (rc)
        writer->rc = rc;
    *key = data_of(new_key);
    if (range_end)
        *range_end = data_of(new_end);
}

static void for_each_op(Etcdserverpb__RequestOp **ops, size_t n, visitor *visit, struct writer *writer) {
    for (size_t i = 0; i < n; i++) {
        switch (ops[i]->request_case) {
        case ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_RANGE:
            visit(writer, &ops[i]->request_range->key, &ops[i]->request_range->range_end);
            break;
        case ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_PUT:
            visit(writer, &ops[i]->request_put->key, NULL);
            break;
        case ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_DELETE_RANGE:
            visit(writer, &ops[i]->request_delete_range->key, &ops[i]->request_delete_range->range_end);
            break;
        default:
            writer->rc = LUN_EINVALID;
            break;
        }
    }
}

static void for_each_of_txn(Etcdserverpb__TxnRequest *txn, visitor *visit, struct writer *writer) {
    for (size_t i = 0; i < txn->n_compare; i++)
        visit(writer, &txn->compare[i]->key, &txn->compare[i]->range_end);
    for_each_op(txn->success, txn->n_success, visit, writer);
    for_each_op(txn->failure, txn->n_failure, visit, writer);
}

/* Every method stands here: one that is added says whether it has keys. */
static void for_each(enum rpc_method method, ProtobufCMessage *request, visitor *visit,
                     struct writer *writer) {
    switch (method) {
    case RPC_RANGE: {
        Etcdserverpb__RangeRequest *range = (Etcdserverpb__RangeRequest *)request;
        visit(writer, &range->key, &range->range_end);
        break;
    }
    case RPC_PUT:
        visit(writer, &((Etcdserverpb__PutRequest *)request)->key, NULL);
        break;
    case RPC_DELETE_RANGE: {
        Etcdserverpb__DeleteRangeRequest *delete_range = (Etcdserverpb__DeleteRangeRequest *)request;
        visit(writer, &delete_range->key, &delete_range->range_end);
        break;
    }
    case RPC_TXN:
        for_each_of_txn((Etcdserverpb__TxnRequest *)request, visit, writer);
        break;
    case RPC_WATCH: {
        Etcdserverpb__WatchRequest *watch = (Etcdserverpb__WatchRequest *)request;
        if (watch->request_union_case == ETCDSERVERPB__WATCH_REQUEST__REQUEST_UNION_CREATE_REQUEST)
            visit(writer, &watch->create_request->key, &watch->create_request->range_end);
        break;
    }
    case RPC_LEASE_TIME_TO_LIVE: /* the keys of a lease are never asked for: they may be others' */
    case RPC_COMPACT:
    case RPC_LEASE_GRANT:
    case RPC_LEASE_REVOKE:
    case RPC_LEASE_KEEP_ALIVE:
    case RPC_AUTHENTICATE:
    case RPC_MEMBER_LIST:
    case RPC_MEMBER_STATUS:
    case RPC_N_METHODS:
        break;
    }
}

int namespace_enter(const struct namespace *space, enum rpc_method method, ProtobufCMessage *request,
                    void **ret_memory) {
    struct writer writer = {.space = space};
    *ret_memory = NULL;
    if (!has_prefix(space))
        return 0;
    for_each(method, request, count, &writer);
    char *memory = writer.at = malloc(writer.n_bytes + 1);
    if (!memory)
        return LUN_ENOMEM;
    for_each(method, request, rewrite, &writer);
    if (writer.rc) {
        free(memory);
        return writer.rc;
    }
    *ret_memory = memory;
    return 0;
}

/* ---- what callers ask ------------------------------------------------------------------------------- */

int namespace_check(const struct namespace *space, struct lun_bytes key, struct lun_bytes range_end,
                    struct lun_err *ret_err) {
    struct writer writer = {.space = space};
    ProtobufCBinaryData key_data = data_of(key), end_data = data_of(range_end);
    if (!has_prefix(space))
        return 0;
    count(&writer, &key_data, &end_data);
    char *memory = writer.at = malloc(writer.n_bytes + 1);
    if (!memory)
        return lun_err_set(ret_err, LUN_ENOMEM, "out of memory");
    int rc = move(&writer, &key, &range_end);
    free(memory);
    return rc ? lun_err_set(ret_err, rc, "with the prefix \"%.200s\" keys and names begin with '/'",
                            space->prefix.data)
              : 0;
}

struct lun_bytes namespace_first(const struct namespace *space) {
    return has_prefix(space) ? bytes_view(&space->begin) : (struct lun_bytes){"", 1};
}

bool namespace_leave(const struct namespace *space, ProtobufCBinaryData from, struct lun_bytes *ret_key) {
    struct lun_bytes key = bytes_of(from);
    if (!has_prefix(space)) {
        *ret_key = key;
        return true;
    }
    if (!is_within(space, key))
        return false;
    *ret_key = (struct lun_bytes){(const char *)key.data + space->prefix.len, key.len - space->prefix.len};
    return true;
}
