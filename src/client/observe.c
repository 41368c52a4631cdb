/* client_observe.c - the door to "who is it now?" and to following that. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/client.h"
#include "recipe/line.h"
#include "recipe/observer.h"

/* ---- asking once ------------------------------------------------------------------------------------ */

static void on_leader(void *arg, const struct etcd_reply *reply) {
    struct lun_op *op = arg;
    op->call = NULL;
    if (reply->err) {
        struct lun_err err = *reply->err;
        if (err.code == LUN_ECANCELLED && op->give_up_code)
            err.code = op->give_up_code;
        (void)lun_err_wrap(&err, "%s", (const char *)op->object);
        op_finish(op, &err);
        return;
    }
    op->result.revision = reply->revision;
    if (reply->results[0].n_kvs > 0 && !op_set_leader(op, &reply->results[0].kvs[0]))
        (void)op_fail(op, LUN_ENOMEM, "out of memory");
    else
        op_finish(op, NULL);
}

int leader_ask(struct lun_client *client, const char *what, const char *name, const struct lun_ask *ask,
               struct lun_op **ret_op, struct lun_err *ret_err) {
    struct lun_op *op;
    struct bytes prefix = {NULL, 0}, prefix_end = {NULL, 0}, text = {NULL, 0};
    struct lun_bytes kept;
    int rc = op_begin(client, ask, NULL, op_give_up_call, false, &op, ret_err);
    if (rc)
        return rc;
    if (bytes_printf(&prefix, "%s/", name) || bytes_prefix_end(&prefix_end, bytes_view(&prefix)) ||
        bytes_printf(&text, "%s of %s", what, name) || !op_copy(op, bytes_view(&text), &kept)) {
        rc = LUN_ENOMEM;
    } else {
        op->object = (void *)(uintptr_t)kept.data;
        struct lun_kv_op read = line_first(bytes_view(&prefix), bytes_view(&prefix_end));
        struct etcd_call_options how = {.deadline_ns = client_deadline_ns(client, ask->timeout_ms),
                                        .is_idempotent = true};
        rc = etcd_do(client->etcd, &read, &how, on_leader, op, &op->call);
    }
    bytes_fini(&prefix);
    bytes_fini(&prefix_end);
    bytes_fini(&text);
    if (rc) {
        op_discard(op);
        return lun_err_set(ret_err, rc, "%s of %s: %s", what, name, lun_strerror(rc));
    }
    if (ret_op)
        *ret_op = op;
    return 0;
}

/* ---- following -------------------------------------------------------------------------------------- */

struct lun_observer {
    struct observer core;
    struct lun_client *client;
    struct list in_client;
    struct lun_op *op;
    bool is_told, was_leader; /* what was told last */
    int64_t told_create_rev, told_mod_rev;
    bool is_closing, is_closed, is_freed;
};

struct lun_observer *observer_of_client(struct list *in_client) {
    return CONTAINER_OF(in_client, struct lun_observer, in_client);
}

static void deliver(struct lun_observer *observer) {
    const struct observer *core = &observer->core;
    bool is_news = core->is_known && (!observer->is_told || observer->was_leader != core->has_leader ||
                                      (core->has_leader && (observer->told_create_rev != core->create_rev ||
                                                            observer->told_mod_rev != core->mod_rev)));
    struct lun_op *op = observer->op;
    if (!op || !is_news)
        return;
    observer->op = NULL;
    struct lun_kv kv = {.key = bytes_view(&core->key),
                        .value = bytes_view(&core->value),
                        .create_rev = core->create_rev,
                        .mod_rev = core->mod_rev};
    if (core->has_leader && !op_set_leader(op, &kv)) {
        (void)op_fail(op, LUN_ENOMEM, "observe: out of memory");
        return;
    }
    observer->is_told = true;
    observer->was_leader = core->has_leader;
    observer->told_create_rev = core->create_rev;
    observer->told_mod_rev = core->mod_rev;
    op->result.revision = core->revision;
    op_finish(op, NULL);
}

static void on_change(struct observer *core) {
    deliver(CONTAINER_OF(core, struct lun_observer, core));
}

static void on_closed(struct observer *core) {
    struct lun_observer *observer = CONTAINER_OF(core, struct lun_observer, core);
    struct lun_client *client = observer->client;
    observer->is_closed = true;
    list_remove(&observer->in_client);
    if (observer->is_freed)
        free(observer);
    client_on_ended(client);
}

int lun_observer_open(struct lun_client *client, const char *name, struct lun_observer **ret_observer,
                      struct lun_err *ret_err) {
    int rc = client_enter(client, ret_err);
    if (rc)
        return rc;
    struct lun_observer *observer = calloc(1, sizeof *observer);
    if (!observer) {
        rc = lun_err_set(ret_err, LUN_ENOMEM, "observe: out of memory");
    } else {
        observer->client = client;
        list_init(&observer->in_client);
        rc = observer_open(&observer->core, client->etcd, lun_bytes_of(name), on_change, ret_err);
    }
    if (rc) {
        (void)lun_err_wrap(ret_err, "observe");
        free(observer);
    } else {
        list_push_back(&client->observers, &observer->in_client);
        *ret_observer = observer;
    }
    client_leave(client);
    return rc;
}

static void give_up_next(struct lun_op *op, int code) {
    struct lun_observer *observer = op->object;
    observer->op = NULL;
    (void)op_fail(op, code, "observe: %s", lun_strerror(code));
}

int lun_observer_next(struct lun_observer *observer, const struct lun_ask *ask, struct lun_op **ret_op,
                      struct lun_err *ret_err) {
    struct lun_client *client = observer->client;
    int rc = client_enter(client, ret_err);
    if (rc)
        return rc;
    if (observer->op)
        rc = lun_err_set(ret_err, LUN_EINVALID, "observe: somebody is waiting for the next leader already");
    else
        rc = op_begin(client, ask, observer, give_up_next, true, &observer->op, ret_err);
    if (!rc) {
        if (ret_op)
            *ret_op = observer->op;
        deliver(observer);
    }
    client_leave(client);
    return rc;
}

void observer_cut_off(struct lun_observer *observer) {
    if (observer->op)
        give_up_next(observer->op, LUN_ECLOSED);
    if (observer->is_closing)
        return;
    observer->is_closing = true;
    observer_close(&observer->core, on_closed);
}

void lun_observer_free(struct lun_observer *observer) {
    if (!observer || client_enter_closed(observer->client))
        return;
    struct lun_client *client = observer->client;
    bool is_closed = observer->is_closed;
    observer->is_freed = true;
    if (is_closed)
        free(observer);
    else
        observer_cut_off(observer);
    client_leave(client);
}
