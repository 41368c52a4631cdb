/* client/store.c - the plain store: operations, transactions, leases. */
#include <inttypes.h>
#include <stdio.h>

#include "client/check.h"
#include "client/client.h"

/* ---- calls ------------------------------------------------------------------------------------------ */

static void on_reply(void *arg, const struct etcd_reply *reply) {
    struct lun_op *op = arg;
    if (op_has_failed(op, reply))
        return;
    op->result.revision = reply->revision;
    op->result.is_success = reply->is_success;
    op->result.lease = reply->lease;
    op->result.ttl_s = reply->ttl;
    op->result.granted_ttl_s = reply->granted_ttl;
    if (reply->n_results > 0 && !op_copy_results(op, reply))
        (void)op_fail(op, LUN_ENOMEM, "out of memory");
    else
        op_finish(op, NULL);
}

/* What a start function returns: `rc` with its sentence. */
static int begun(const struct lun_op *op, int rc, struct lun_err *ret_err) {
    return rc ? lun_err_set(ret_err, rc, "%s: %s", op->what ? op->what : "etcd", lun_strerror(rc)) : 0;
}

static struct etcd_call_options how_of(const struct lun_op *op, bool is_idempotent) {
    return (struct etcd_call_options){.deadline_ns = op_deadline_ns(op), .is_idempotent = is_idempotent};
}

static int start_kv(struct lun_op *op, const void *args, struct lun_err *ret_err) {
    static const char *const verbs[] = {"get", "put", "delete"};
    const struct lun_kv_op *kv_op = args;
    struct etcd_call_options how = how_of(op, kv_op->kind == LUN_OP_RANGE);
    /* No key, or a zero byte: where the range of all keys begins. */
    const char *key = kv_op->key.data;
    bool is_all = kv_op->key.len == 0 || (kv_op->key.len == 1 && key[0] == '\0');
    int rc = is_all ? op_name(op, "%s of all keys", verbs[kv_op->kind])
                    : op_name(op, "%s %.*s", verbs[kv_op->kind],
                              kv_op->key.len < 200 ? (int)kv_op->key.len : 200, key);
    if (!rc)
        rc = etcd_do(op->client->etcd, kv_op, &how, on_reply, op, &op->call);
    return begun(op, rc, ret_err);
}

int lun_kv(struct lun_client *client, const struct lun_kv_op *kv_op, const struct lun_ask *ask,
           struct lun_op **ret_op, struct lun_err *ret_err) {
    static const struct ask_kind kind = {
        .start = start_kv, .on_give_up = op_give_up_call, .has_own_deadline = true};
    int rc = check_kv_op(client->etcd, kv_op, ret_err);
    return rc ? rc : client_ask(client, &kind, NULL, kv_op, ask, ret_op, ret_err);
}

static bool is_read_only(const struct lun_txn *txn) {
    for (size_t i = 0; i < txn->n_success; i++)
        if (txn->success[i].kind != LUN_OP_RANGE)
            return false;
    for (size_t i = 0; i < txn->n_failure; i++)
        if (txn->failure[i].kind != LUN_OP_RANGE)
            return false;
    return true;
}

static int start_txn(struct lun_op *op, const void *args, struct lun_err *ret_err) {
    const struct lun_txn *txn = args;
    struct etcd_call_options how = how_of(op, is_read_only(txn));
    op->what = "txn";
    return begun(op, etcd_txn(op->client->etcd, txn, &how, on_reply, op, &op->call), ret_err);
}

int lun_txn(struct lun_client *client, const struct lun_txn *txn, const struct lun_ask *ask,
            struct lun_op **ret_op, struct lun_err *ret_err) {
    static const struct ask_kind kind = {
        .start = start_txn, .on_give_up = op_give_up_call, .has_own_deadline = true};
    int rc = check_txn(client->etcd, txn, ret_err);
    return rc ? rc : client_ask(client, &kind, NULL, txn, ask, ret_op, ret_err);
}

/* ---- leases ----------------------------------------------------------------------------------------- */

struct lease_args {
    int64_t lease, ttl_s;
};

static int start_grant(struct lun_op *op, const void *args, struct lun_err *ret_err) {
    const struct lease_args *asked = args;
    struct etcd_call_options how = how_of(op, false);
    int64_t lease = asked->lease;
    bool is_ours = lease == 0;
    while (is_ours && lease < INT64_C(1) << 60)
        lease = (int64_t)(rpc_random(op->client->rpc) >> 1);
    op->what = "lease";
    return begun(op, etcd_lease_grant(op->client->etcd, lease, asked->ttl_s, &how, on_reply, op, &op->call),
                 ret_err);
}

int lun_lease_grant(struct lun_client *client, int64_t lease, int64_t ttl_s, const struct lun_ask *ask,
                    struct lun_op **ret_op, struct lun_err *ret_err) {
    static const struct ask_kind kind = {
        .start = start_grant, .on_give_up = op_give_up_call, .has_own_deadline = true};
    const struct lease_args args = {lease, ttl_s};
    if (lease < 0)
        return check_lease(lease, "lease", ret_err);
    if (ttl_s < 1 || ttl_s > SESSION_MAX_TTL_S)
        return lun_err_set(ret_err, LUN_EINVALID, "lease: ttl must be 1 to %d seconds, not %" PRId64,
                           SESSION_MAX_TTL_S, ttl_s);
    return client_ask(client, &kind, NULL, &args, ask, ret_op, ret_err);
}

static void on_revoked(void *arg, const struct etcd_reply *reply) {
    struct etcd_reply gone = *reply;
    if (reply->err && etcd_is_lease_not_found(reply->err))
        gone.err = NULL;
    on_reply(arg, &gone);
}

static int start_revoke(struct lun_op *op, const void *args, struct lun_err *ret_err) {
    const struct lease_args *asked = args;
    struct etcd_call_options how = how_of(op, true);
    op->what = "revoke";
    return begun(op, etcd_lease_revoke(op->client->etcd, asked->lease, &how, on_revoked, op, &op->call),
                 ret_err);
}

int lun_lease_revoke(struct lun_client *client, int64_t lease, const struct lun_ask *ask,
                     struct lun_op **ret_op, struct lun_err *ret_err) {
    static const struct ask_kind kind = {
        .start = start_revoke, .on_give_up = op_give_up_call, .has_own_deadline = true};
    const struct lease_args args = {.lease = lease};
    int rc = check_lease(lease, "revoke", ret_err);
    return rc ? rc : client_ask(client, &kind, NULL, &args, ask, ret_op, ret_err);
}

static int start_time_to_live(struct lun_op *op, const void *args, struct lun_err *ret_err) {
    const struct lease_args *asked = args;
    struct etcd_call_options how = how_of(op, true);
    op->what = "time to live";
    return begun(op, etcd_lease_time_to_live(op->client->etcd, asked->lease, &how, on_reply, op, &op->call),
                 ret_err);
}

int lun_lease_time_to_live(struct lun_client *client, int64_t lease, const struct lun_ask *ask,
                           struct lun_op **ret_op, struct lun_err *ret_err) {
    static const struct ask_kind kind = {
        .start = start_time_to_live, .on_give_up = op_give_up_call, .has_own_deadline = true};
    const struct lease_args args = {.lease = lease};
    int rc = check_lease(lease, "time to live", ret_err);
    return rc ? rc : client_ask(client, &kind, NULL, &args, ask, ret_op, ret_err);
}
