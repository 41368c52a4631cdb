/* client/position.c - how many places are before one of ours in its line: asked of etcd, and of nobody else. */
#include "client/claim.h"
#include "recipe/line.h"

static void on_reply(void *arg, const struct etcd_reply *reply) {
    struct lun_op *op = arg;
    if (op_has_failed(op, reply))
        return;
    op->result.position = (int64_t)reply->results[0].n_kvs;
    op->result.revision = reply->revision;
    op_finish(op, NULL);
}

/* Their keys are read, for etcd counts without regard to the revision. */
int claim_start_position(struct lun_op *op, const struct claim *claim, const char *name,
                         struct lun_err *ret_err) {
    struct bytes prefix = {NULL, 0}, prefix_end = {NULL, 0};
    int64_t own_rev = claim && claim->place ? place_create_rev(claim->place) : 0;
    int rc = LUN_ENOMEM;
    if (own_rev == 0)
        return lun_err_set(ret_err, LUN_ENOTOWNER, "position in %s: this object has no place in the line",
                           name);
    if (!bytes_printf(&prefix, "%s/", name) && !bytes_prefix_end(&prefix_end, bytes_view(&prefix)) &&
        !op_name(op, "position in %s", name)) {
        struct lun_kv_op read = {.kind = LUN_OP_RANGE,
                                 .key = bytes_view(&prefix),
                                 .range_end = bytes_view(&prefix_end),
                                 .max_create_rev = own_rev,
                                 .is_keys_only = true};
        struct etcd_call_options how = {.deadline_ns = op_deadline_ns(op), .is_idempotent = true};
        rc = etcd_do(op->client->etcd, &read, &how, on_reply, op, &op->call);
    }
    bytes_fini(&prefix);
    bytes_fini(&prefix_end);
    return rc ? lun_err_set(ret_err, rc, "position in %s: %s", name, lun_strerror(rc)) : 0;
}
