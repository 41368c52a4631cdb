/* client/observe.c - the first place of a line: asking for it once, and following it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/check.h"
#include "client/client.h"
#include "recipe/line.h"
#include "recipe/observer.h"

/* ---- asking once ------------------------------------------------------------------------------------ */

static void on_leader(void *arg, const struct etcd_reply *reply) {
    struct lun_op *op = arg;
    if (op_has_failed(op, reply))
        return;
    op->result.revision = reply->revision;
    if (reply->results[0].n_kvs > 0 && !op_set_leader(op, &reply->results[0].kvs[0]))
        (void)op_fail(op, LUN_ENOMEM, "out of memory");
    else
        op_finish(op, NULL);
}

struct leader_args {
    const char *what, *name;
};

static int start_asking(struct lun_op *op, const void *args, struct lun_err *ret_err) {
    const struct leader_args *asked = args;
    struct bytes prefix = {NULL, 0}, prefix_end = {NULL, 0};
    int rc = LUN_ENOMEM;
    if (!bytes_printf(&prefix, "%s/", asked->name) && !bytes_prefix_end(&prefix_end, bytes_view(&prefix)) &&
        !op_name(op, "%s of %s", asked->what, asked->name)) {
        struct lun_kv_op read = line_first(bytes_view(&prefix), bytes_view(&prefix_end));
        struct etcd_call_options how = {.deadline_ns = op_deadline_ns(op), .is_idempotent = true};
        rc = etcd_do(op->client->etcd, &read, &how, on_leader, op, &op->call);
    }
    bytes_fini(&prefix);
    bytes_fini(&prefix_end);
    if (rc)
        (void)lun_err_set(ret_err, rc, "%s of %s: %s", asked->what, asked->name, lun_strerror(rc));
    return rc;
}

int leader_ask(struct lun_client *client, const char *what, const char *name, const struct lun_ask *ask,
               struct lun_op **ret_op, struct lun_err *ret_err) {
    static const struct ask_kind kind = {
        .start = start_asking, .on_give_up = op_give_up_call, .has_own_deadline = true};
    const struct leader_args args = {what, name};
    return client_ask(client, &kind, NULL, &args, ask, ret_op, ret_err);
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
    int rc = check_name(client->etcd, name, "observe", ret_err);
    if (rc || (rc = client_enter(client, ret_err)))
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

static int start_next(struct lun_op *op, const void *args, struct lun_err *ret_err) {
    struct lun_observer *observer = op->object;
    (void)args;
    if (observer->op)
        return lun_err_set(ret_err, LUN_EINVALID,
                           "observe: another call is waiting for the next leader already");
    observer->op = op;
    observer_confirm(&observer->core);
    deliver(observer);
    return 0;
}

int lun_observer_next(struct lun_observer *observer, const struct lun_ask *ask, struct lun_op **ret_op,
                      struct lun_err *ret_err) {
    static const struct ask_kind kind = {.start = start_next, .on_give_up = give_up_next};
    return client_ask(observer->client, &kind, observer, NULL, ask, ret_op, ret_err);
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
