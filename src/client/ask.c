/* ask.c - an asked call, from asking until its callback has run on the thread that polls, or its answer is taken. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/client.h"

struct block {
    struct list in_op;
    max_align_t data[];
};

static struct lun_err no_memory = {.code = LUN_ENOMEM, .status = -1, .text = "out of memory"};

void *op_alloc(struct lun_op *op, size_t n_bytes) {
    struct block *block = malloc(sizeof *block + n_bytes);
    if (!block)
        return NULL;
    list_init(&block->in_op);
    list_push_back(&op->blocks, &block->in_op);
    memset(block->data, 0, n_bytes);
    return block->data;
}

bool op_copy(struct lun_op *op, struct lun_bytes from, struct lun_bytes *ret) {
    char *data = op_alloc(op, from.len + 1);
    if (!data)
        return false;
    if (from.len > 0)
        memcpy(data, from.data, from.len);
    *ret = (struct lun_bytes){data, from.len};
    return true;
}

bool op_copy_kv(struct lun_op *op, const struct lun_kv *from, struct lun_kv *ret) {
    *ret = *from;
    return op_copy(op, from->key, &ret->key) && op_copy(op, from->value, &ret->value);
}

bool op_copy_results(struct lun_op *op, const struct etcd_reply *reply) {
    struct lun_kv_result *results = op_alloc(op, (reply->n_results + 1) * sizeof *results);
    if (!results)
        return false;
    for (size_t i = 0; i < reply->n_results; i++) {
        const struct lun_kv_result *from = &reply->results[i];
        struct lun_kv *kvs = op_alloc(op, (from->n_kvs + 1) * sizeof *kvs);
        if (!kvs)
            return false;
        for (size_t k = 0; k < from->n_kvs; k++)
            if (!op_copy_kv(op, &from->kvs[k], &kvs[k]))
                return false;
        results[i] = *from;
        results[i].kvs = kvs;
    }
    op->result.results = results;
    op->result.n_results = reply->n_results;
    return true;
}

bool op_set_leader(struct lun_op *op, const struct lun_kv *kv) {
    struct lun_leader *leader = op_alloc(op, sizeof *leader);
    if (!leader || !op_copy(op, kv->key, &leader->key) || !op_copy(op, kv->value, &leader->value))
        return false;
    leader->token = kv->create_rev;
    leader->revision = kv->mod_rev;
    op->result.leader = leader;
    return true;
}

static void op_free(struct lun_op *op) {
    struct list *node;
    while ((node = list_pop_front(&op->blocks)))
        free(CONTAINER_OF(node, struct block, in_op));
    if (op->err != &no_memory)
        free(op->err);
    free(op);
}

/* ---- answering -------------------------------------------------------------------------------------- */

/* Inside. */
static void give_back(struct lun_op *op) {
    if (op->drop && !op->err)
        op->drop(op);
    op->drop = NULL;
    list_remove(&op->in_object);
}

static void set_err(struct lun_op *op, const struct lun_err *err) {
    op->err = malloc(sizeof *op->err);
    if (op->err)
        *op->err = *err;
    else
        op->err = &no_memory;
}

/* The client ends before anybody polled. Inside. */
static void discard_answer(struct lun_op *op) {
    give_back(op);
    op_free(op);
}

/* S2, in every world: what states that something is ours is asked once more when the answer is taken. One that is
 * a loss by then leaves nothing behind. Outside, on the user's thread. */
static void recheck(struct lun_op *op) {
    struct lun_err lost;
    if (op->err || !op->recheck)
        return;
    rpc_enter(op->client->rpc);
    if (op->recheck(op, &lost)) {
        give_back(op);
        set_err(op, &lost);
        op->result = (struct lun_result){.err = op->err};
    }
    rpc_leave(op->client->rpc);
}

static void detach(struct lun_op *op) {
    if (!op->untaken)
        return;
    rpc_enter(op->client->rpc);
    list_remove(&op->in_object);
    rpc_leave(op->client->rpc);
}

static void on_poll(struct rpc_completion *note) {
    struct lun_op *op = CONTAINER_OF(note, struct lun_op, note);
    struct lun_client *client = op->client;
    if (client->is_cut_off) { /* freed or abandoned: nobody is to be called any more */
        rpc_enter(client->rpc);
        discard_answer(op);
        rpc_leave(client->rpc);
        return;
    }
    client->n_called++;
    op->result.err = op->err;
    recheck(op);
    op->is_telling = true;
    op->ask.on_done(op->ask.arg, &op->result);
    op->is_telling = false;
    if (op->is_unwanted)
        lun_op_free(op);
    else if (!op->is_kept)
        lun_op_take(op);
}

/* ---- an answer that is kept ------------------------------------------------------------------------- */

void lun_op_keep(struct lun_op *op) {
    op->is_kept = true;
}

const struct lun_result *lun_op_result(struct lun_op *op) {
    static const struct lun_err forked = {
        .code = LUN_ECLOSED, .status = -1, .text = "the client belongs to the process that forked this one"};
    static const struct lun_result nothing = {.err = &forked};
    if (!client_is_ours(op->client))
        return &nothing;
    recheck(op);
    return &op->result;
}

void lun_op_take(struct lun_op *op) {
    if (op->is_telling) {
        op->is_kept = false;
        return;
    }
    if (client_is_ours(op->client))
        detach(op);
    op_free(op);
}

void lun_op_free(struct lun_op *op) {
    if (!op)
        return;
    if (op->is_telling) {
        op->is_unwanted = true;
        return;
    }
    if (client_is_ours(op->client)) {
        rpc_enter(op->client->rpc);
        give_back(op);
        rpc_leave(op->client->rpc);
    }
    op_free(op);
}

void op_finish(struct lun_op *op, const struct lun_err *err) {
    rpc_timer_fini(&op->timer);
    list_remove(&op->in_client);
    list_remove(&op->in_object);
    if (err)
        set_err(op, err);
    else if (op->untaken)
        list_push_back(op->untaken, &op->in_object);
    if (op->client->is_cut_off)
        discard_answer(op);
    else
        rpc_deliver(op->client->rpc, &op->note);
}

int op_fail(struct lun_op *op, int code, const char *format, ...) {
    char text[LUN_ERR_TEXT_BYTES];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    struct lun_err err;
    (void)lun_err_set(&err, code, "%s", text);
    op_finish(op, &err);
    return code;
}

void op_finish_named(struct lun_op *op, const struct lun_err *err, const char *verb, const char *name) {
    struct lun_err wrapped;
    if (err) {
        wrapped = *err;
        (void)lun_err_wrap(&wrapped, "%s %s", verb, name);
    }
    op_finish(op, err ? &wrapped : NULL);
}

bool op_has_failed(struct lun_op *op, const struct etcd_reply *reply) {
    op->call = NULL;
    if (!reply->err)
        return false;
    struct lun_err err = *reply->err;
    if (err.code == LUN_ECANCELLED && op->give_up_code)
        err.code = op->give_up_code;
    else if (etcd_is_lease_not_found(&err))
        err.code = LUN_ELOST;
    if (op->what)
        (void)lun_err_wrap(&err, "%s", op->what);
    op_finish(op, &err);
    return true;
}

const char *op_span(const struct lun_op *op, char *text, size_t n_bytes) {
    (void)snprintf(text, n_bytes, "%g s", (double)op->ask.timeout_ms / 1000);
    return text;
}

void op_fail_silent(struct lun_op *op, const char *what, int code) {
    char members[LUN_ERR_TEXT_BYTES / 2], span[32];
    etcd_describe_failures(op->client->etcd, members, sizeof members);
    if (code != LUN_ETIMEOUT)
        (void)op_fail(op, code, "%s: %s", what, code == LUN_ECLOSED ? "the client was closed" : "cancelled");
    else
        (void)op_fail(op, LUN_EUNAVAILABLE, "%s: no etcd member answered within %s%s%s%s", what,
                      op_span(op, span, sizeof span), members[0] ? " (" : "", members, members[0] ? ")" : "");
}

/* ---- asking ----------------------------------------------------------------------------------------- */

static void on_timer(struct rpc_timer *timer) {
    struct lun_op *op = CONTAINER_OF(timer, struct lun_op, timer);
    op->kind->on_give_up(op, LUN_ETIMEOUT);
}

static int op_begin(struct lun_client *client, const struct ask_kind *kind, const struct lun_ask *ask,
                    struct lun_op **ret_op, struct lun_err *ret_err) {
    if (!ask || !ask->on_done)
        return lun_err_set(ret_err, LUN_EINVALID, "an asking call needs a callback");
    struct lun_op *op = calloc(1, sizeof *op);
    if (!op)
        return lun_err_set(ret_err, LUN_ENOMEM, "out of memory");
    rpc_completion_init(&op->note, on_poll);
    op->client = client;
    op->ask = *ask;
    op->kind = kind;
    list_init(&op->in_client);
    list_init(&op->in_object);
    list_init(&op->blocks);
    if (rpc_timer_init(client->rpc, &op->timer, on_timer)) {
        op_free(op);
        return lun_err_set(ret_err, LUN_ENOMEM, "out of memory");
    }
    if (!kind->has_own_deadline)
        rpc_timer_start(&op->timer, op_deadline_ns(op));
    list_push_back(&client->ops, &op->in_client);
    *ret_op = op;
    return 0;
}

static void op_take_back(struct lun_op *op) {
    rpc_timer_fini(&op->timer);
    list_remove(&op->in_client);
    list_remove(&op->in_object);
    op_free(op);
}

/* The op may be answered, and its callback run by another thread, before `start` returns: `ret_op` is set before. */
int client_ask(struct lun_client *client, const struct ask_kind *kind, void *object, const void *args,
               const struct lun_ask *ask, struct lun_op **ret_op, struct lun_err *ret_err) {
    struct lun_op *op = NULL, *before = ret_op ? *ret_op : NULL;
    int rc = kind->is_for_closed && client_is_ours(client) ? client_enter_closed(client)
                                                           : client_enter(client, ret_err);
    if (rc)
        return rc;
    rc = op_begin(client, kind, ask, &op, ret_err);
    if (rc)
        goto out;
    op->object = object;
    if (ret_op)
        *ret_op = op;
    rc = kind->start(op, args, ret_err);
    if (rc) {
        op_take_back(op);
        if (ret_op)
            *ret_op = before;
    }
out:
    client_leave(client);
    return rc;
}

int64_t op_deadline_ns(const struct lun_op *op) {
    return client_deadline_ns(op->client, op->ask.timeout_ms);
}

int op_name(struct lun_op *op, const char *format, ...) {
    char text[LUN_ERR_TEXT_BYTES];
    struct lun_bytes copy;
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (!op_copy(op, lun_bytes_of(text), &copy))
        return LUN_ENOMEM;
    op->what = copy.data;
    return 0;
}

void op_give_up_call(struct lun_op *op, int code) {
    op->give_up_code = code;
    if (op->call)
        etcd_cancel(op->call);
}

void ops_give_up(struct list *ops, int code) {
    struct list todo, *node;
    list_move(ops, &todo);
    while ((node = list_pop_front(&todo))) {
        struct lun_op *op = CONTAINER_OF(node, struct lun_op, in_object);
        op->kind->on_give_up(op, code);
    }
}

/* Outside. The op may have been answered already, its note waiting for a poll: then there is nothing to do. */
void lun_op_cancel(struct lun_op *op) {
    struct lun_client *client = op->client;
    if (client_enter_closed(client))
        return;
    if (!list_is_empty(&op->in_client))
        op->kind->on_give_up(op, LUN_ECANCELLED);
    client_leave(client);
}
