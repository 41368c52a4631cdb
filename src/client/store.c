/* client_store.c - the door to the plain store: operations, transactions, leases, status, watches. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/client.h"
#include "etcd/watch.h"

enum { DEFAULT_STATUS_MS = 2000 };

/* ---- calls ------------------------------------------------------------------------------------------ */

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

static void on_reply(void *arg, const struct etcd_reply *reply) {
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
    op->result.is_success = reply->is_success;
    op->result.lease = reply->lease;
    op->result.ttl_s = reply->ttl;
    op->result.granted_ttl_s = reply->granted_ttl;
    if (reply->n_results > 0 && !op_copy_results(op, reply))
        (void)op_fail(op, LUN_ENOMEM, "out of memory");
    else
        op_finish(op, NULL);
}

/* `what` is kept for errors: "get /config". */
static int begin(struct lun_client *client, const struct lun_ask *ask, const char *what, bool is_idempotent,
                 struct lun_op **ret, struct etcd_call_options *ret_how, struct lun_err *ret_err) {
    int rc = op_begin(client, ask, NULL, op_give_up_call, false, ret, ret_err);
    if (rc)
        return rc;
    struct lun_bytes copy;
    if (!op_copy(*ret, lun_bytes_of(what), &copy)) {
        op_discard(*ret);
        return lun_err_set(ret_err, LUN_ENOMEM, "out of memory");
    }
    (*ret)->object = (void *)(uintptr_t)copy.data;
    *ret_how = (struct etcd_call_options){.deadline_ns = client_deadline_ns(client, ask->timeout_ms),
                                          .is_idempotent = is_idempotent};
    return 0;
}

/* The end of every starting function: what the call that was tried returned. Leaves. */
static int begun(struct lun_client *client, struct lun_op *op, int rc, struct lun_op **ret_op,
                 const char *what, struct lun_err *ret_err) {
    if (rc) {
        op_discard(op);
        (void)lun_err_set(ret_err, rc, "%s: %s", what, lun_strerror(rc));
    } else if (ret_op) {
        *ret_op = op;
    }
    client_leave(client);
    return rc;
}

static int check_op(const struct lun_kv_op *op, struct lun_err *ret_err) {
    if (op->key.len == 0)
        return lun_err_set(ret_err, LUN_EINVALID, "the key is empty");
    if (op->range_end.len > 0 && op->kind == LUN_OP_PUT)
        return lun_err_set(ret_err, LUN_EINVALID, "put takes one key, not a range");
    return 0;
}

static void name_op(char *text, size_t n_bytes, const struct lun_kv_op *op) {
    static const char *const verbs[] = {"get", "put", "delete"};
    (void)snprintf(text, n_bytes, "%s %.*s", verbs[op->kind], op->key.len < 200 ? (int)op->key.len : 200,
                   (const char *)op->key.data);
}

int lun_kv(struct lun_client *client, const struct lun_kv_op *kv_op, const struct lun_ask *ask,
           struct lun_op **ret_op, struct lun_err *ret_err) {
    char what[256];
    struct etcd_call_options how;
    struct lun_op *op;
    int rc = check_op(kv_op, ret_err);
    if (rc || (rc = client_enter(client, ret_err)))
        return rc;
    name_op(what, sizeof what, kv_op);
    rc = begin(client, ask, what, kv_op->kind == LUN_OP_RANGE, &op, &how, ret_err);
    if (rc) {
        client_leave(client);
        return rc;
    }
    return begun(client, op, etcd_do(client->etcd, kv_op, &how, on_reply, op, &op->call), ret_op, what,
                 ret_err);
}

static int check_txn(const struct lun_txn *txn, struct lun_err *ret_err) {
    if (txn->n_compares > LUN_MAX_TXN_OPS || txn->n_success > LUN_MAX_TXN_OPS ||
        txn->n_failure > LUN_MAX_TXN_OPS)
        return lun_err_set(ret_err, LUN_EINVALID, "txn: at most %d compares, and as many operations a branch",
                           LUN_MAX_TXN_OPS);
    for (size_t i = 0; i < txn->n_compares; i++)
        if (txn->compares[i].key.len == 0)
            return lun_err_set(ret_err, LUN_EINVALID, "txn: compare %zu: the key is empty", i + 1);
    for (size_t i = 0; i < txn->n_success + txn->n_failure; i++) {
        bool is_success = i < txn->n_success;
        const struct lun_kv_op *op = is_success ? &txn->success[i] : &txn->failure[i - txn->n_success];
        if (check_op(op, ret_err)) {
            (void)lun_err_wrap(ret_err, "txn: %s %zu", is_success ? "success" : "failure",
                               1 + (is_success ? i : i - txn->n_success));
            return LUN_EINVALID;
        }
    }
    return 0;
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

int lun_txn(struct lun_client *client, const struct lun_txn *txn, const struct lun_ask *ask,
            struct lun_op **ret_op, struct lun_err *ret_err) {
    struct etcd_call_options how;
    struct lun_op *op;
    int rc = check_txn(txn, ret_err);
    if (rc || (rc = client_enter(client, ret_err)))
        return rc;
    rc = begin(client, ask, "txn", is_read_only(txn), &op, &how, ret_err);
    if (rc) {
        client_leave(client);
        return rc;
    }
    return begun(client, op, etcd_txn(client->etcd, txn, &how, on_reply, op, &op->call), ret_op, "txn",
                 ret_err);
}

int lun_lease_grant(struct lun_client *client, int64_t lease, int64_t ttl_s, const struct lun_ask *ask,
                    struct lun_op **ret_op, struct lun_err *ret_err) {
    struct etcd_call_options how;
    struct lun_op *op;
    if (ttl_s < 1 || ttl_s > SESSION_MAX_TTL_S || lease < 0)
        return lun_err_set(ret_err, LUN_EINVALID, "lease: ttl must be 1 to %d seconds, not %" PRId64,
                           SESSION_MAX_TTL_S, ttl_s);
    int rc = client_enter(client, ret_err);
    if (rc)
        return rc;
    rc = begin(client, ask, "lease", false, &op, &how, ret_err);
    if (rc) {
        client_leave(client);
        return rc;
    }
    bool is_ours = lease == 0;
    while (is_ours && lease < INT64_C(1) << 60)
        lease = (int64_t)(rpc_random(client->rpc) >> 1);
    return begun(client, op, etcd_lease_grant(client->etcd, lease, ttl_s, &how, on_reply, op, &op->call),
                 ret_op, "lease", ret_err);
}

static void on_revoked(void *arg, const struct etcd_reply *reply) {
    struct etcd_reply gone = *reply;
    if (reply->err && etcd_is_lease_not_found(reply->err))
        gone.err = NULL;
    on_reply(arg, &gone);
}

int lun_lease_revoke(struct lun_client *client, int64_t lease, const struct lun_ask *ask,
                     struct lun_op **ret_op, struct lun_err *ret_err) {
    struct etcd_call_options how;
    struct lun_op *op;
    int rc = client_enter(client, ret_err);
    if (rc)
        return rc;
    rc = begin(client, ask, "revoke", true, &op, &how, ret_err);
    if (rc) {
        client_leave(client);
        return rc;
    }
    return begun(client, op, etcd_lease_revoke(client->etcd, lease, &how, on_revoked, op, &op->call), ret_op,
                 "revoke", ret_err);
}

int lun_lease_time_to_live(struct lun_client *client, int64_t lease, const struct lun_ask *ask,
                           struct lun_op **ret_op, struct lun_err *ret_err) {
    struct etcd_call_options how;
    struct lun_op *op;
    int rc = client_enter(client, ret_err);
    if (rc)
        return rc;
    rc = begin(client, ask, "time to live", true, &op, &how, ret_err);
    if (rc) {
        client_leave(client);
        return rc;
    }
    return begun(client, op, etcd_lease_time_to_live(client->etcd, lease, &how, on_reply, op, &op->call),
                 ret_op, "time to live", ret_err);
}

/* ---- status: every member is asked at once, the op answers when all have ---------------------------- */

struct status_call {
    struct status *status;
    struct etcd_call *call;
};

struct status {
    struct lun_op *op;
    struct lun_member *members;
    size_t n_members, n_out;
    int give_up_code;
    struct status_call calls[ETCD_MAX_MEMBERS];
};

static const char *op_string(struct lun_op *op, const char *string) {
    struct lun_bytes copy;
    return op_copy(op, lun_bytes_of(string ? string : ""), &copy) ? copy.data : "";
}

static void finish_status(struct status *status) {
    struct lun_op *op = status->op;
    if (status->n_out > 0)
        return;
    op->result.members = status->members;
    op->result.n_members = status->n_members;
    if (status->give_up_code)
        (void)op_fail(op, status->give_up_code, "status: %s", lun_strerror(status->give_up_code));
    else
        op_finish(op, NULL);
}

static void on_member_status(void *arg, const struct etcd_reply *reply) {
    struct status_call *call = arg;
    struct status *status = call->status;
    struct lun_member *member = &status->members[call - status->calls];
    call->call = NULL;
    status->n_out--;
    if (reply->err) {
        member->error = op_string(status->op, reply->err->text);
    } else {
        member->version = op_string(status->op, reply->version);
        member->member_id = reply->member_id;
        member->leader_id = reply->leader_id;
        member->db_size_bytes = reply->db_size;
        member->raft_index = reply->raft_index;
        member->raft_term = reply->raft_term;
        member->revision = reply->revision;
    }
    finish_status(status);
}

static void give_up_status(struct lun_op *op, int code) {
    struct status *status = op->object;
    status->give_up_code = code;
    for (size_t i = 0; i < status->n_members; i++)
        if (status->calls[i].call)
            etcd_cancel(status->calls[i].call);
}

int lun_status(struct lun_client *client, const struct lun_ask *ask, struct lun_op **ret_op,
               struct lun_err *ret_err) {
    int rc = client_enter(client, ret_err);
    if (rc)
        return rc;
    struct lun_op *op;
    rc = op_begin(client, ask, NULL, give_up_status, false, &op, ret_err);
    if (rc)
        goto out;
    struct status *status = op_alloc(op, sizeof *status);
    size_t n = etcd_n_members(client->etcd);
    if (status)
        status->members = op_alloc(op, n * sizeof *status->members);
    if (!status || !status->members) {
        op_discard(op);
        rc = lun_err_set(ret_err, LUN_ENOMEM, "out of memory");
        goto out;
    }
    op->object = status;
    status->op = op;
    status->n_members = n;
    int64_t timeout_ms =
        ask->timeout_ms >= 0 && ask->timeout_ms < DEFAULT_STATUS_MS ? ask->timeout_ms : DEFAULT_STATUS_MS;
    for (size_t i = 0; i < n; i++) {
        struct etcd_call_options how = {.deadline_ns = rpc_now(client->rpc) + timeout_ms * NS_PER_MS,
                                        .member = etcd_member_at(client->etcd, i)};
        status->calls[i].status = status;
        status->members[i].endpoint = op_string(op, etcd_member_address(how.member));
        if (etcd_member_status(client->etcd, &how, on_member_status, &status->calls[i],
                               &status->calls[i].call) == 0)
            status->n_out++;
        else
            status->members[i].error = "out of memory";
    }
    if (ret_op)
        *ret_op = op;
    finish_status(status);
out:
    client_leave(client);
    return rc;
}

/* ---- watch ------------------------------------------------------------------------------------------ */

struct entry {
    struct list in_watch;
    struct lun_event event;
    struct bytes key, value, prev_value;
};

struct lun_watch {
    struct lun_client *client;
    struct list in_client;
    struct watcher watcher;
    struct bytes key, range_end;
    struct list entries;
    int n_entries;
    bool is_created;
    struct lun_op *next_op;
    struct list ready_ops;
    struct lun_err *end; /* why it ended; NULL while it runs */
};

struct lun_watch *watch_of_client(struct list *in_client) {
    return CONTAINER_OF(in_client, struct lun_watch, in_client);
}

static void entry_free(struct entry *entry) {
    bytes_fini(&entry->key);
    bytes_fini(&entry->value);
    bytes_fini(&entry->prev_value);
    free(entry);
}

static struct lun_err no_memory = {.code = LUN_ENOMEM, .status = -1, .text = "watch: out of memory"};

static void end_watch(struct lun_watch *watch, const struct lun_err *err) {
    watch_stop(&watch->watcher);
    if (!watch->end) {
        watch->end = malloc(sizeof *watch->end);
        if (watch->end)
            *watch->end = *err;
        else
            watch->end = &no_memory;
    }
    if (watch->next_op) {
        struct lun_op *op = watch->next_op;
        watch->next_op = NULL;
        op_finish(op, watch->end);
    }
    struct list *node;
    while ((node = list_pop_front(&watch->ready_ops)))
        op_finish(CONTAINER_OF(node, struct lun_op, in_object), watch->end);
}

static bool copy_event(struct lun_op *op, const struct entry *entry, struct lun_event *ret) {
    *ret = entry->event;
    if (!op_copy(op, bytes_view(&entry->key), &ret->kv.key) ||
        !op_copy(op, bytes_view(&entry->value), &ret->kv.value))
        return false;
    if (ret->prev_kv.key.len == 0)
        return true;
    ret->prev_kv.key = ret->kv.key;
    return op_copy(op, bytes_view(&entry->prev_value), &ret->prev_kv.value);
}

static bool copy_events(struct lun_op *op, const struct lun_watch *watch) {
    struct lun_event *events = op_alloc(op, (size_t)watch->n_entries * sizeof *events);
    size_t n = 0;
    if (!events)
        return false;
    for (struct list *node = watch->entries.next; node != &watch->entries; node = node->next)
        if (!copy_event(op, CONTAINER_OF(node, struct entry, in_watch), &events[n++]))
            return false;
    op->result.events = events;
    op->result.n_events = n;
    return true;
}

static void drop_entries(struct lun_watch *watch) {
    struct list *node;
    while ((node = list_pop_front(&watch->entries)))
        entry_free(CONTAINER_OF(node, struct entry, in_watch));
    watch->n_entries = 0;
}

/* Hands the queue over to the op. Without memory for it the events stay where they are. */
static void deliver(struct lun_watch *watch) {
    struct lun_op *op = watch->next_op;
    if (!op || watch->n_entries == 0)
        return;
    watch->next_op = NULL;
    if (!copy_events(op, watch)) {
        (void)op_fail(op, LUN_ENOMEM, "watch: out of memory; ask again for its events");
        return;
    }
    drop_entries(watch);
    op_finish(op, NULL);
}

static void on_created(struct watcher *watcher, int64_t revision) {
    struct lun_watch *watch = CONTAINER_OF(watcher, struct lun_watch, watcher);
    struct list *node;
    watch->is_created = true;
    while ((node = list_pop_front(&watch->ready_ops))) {
        struct lun_op *op = CONTAINER_OF(node, struct lun_op, in_object);
        op->result.revision = revision;
        op_finish(op, NULL);
    }
}

static void on_event(struct watcher *watcher, const struct watch_event *event) {
    struct lun_watch *watch = CONTAINER_OF(watcher, struct lun_watch, watcher);
    struct lun_err err;
    if (watch->n_entries >= LUN_MAX_WATCH_EVENTS) {
        (void)lun_err_set(
            &err, LUN_EUNAVAILABLE,
            "watch: more than %d events are waiting to be taken: it fell too far behind; read, and watch again",
            LUN_MAX_WATCH_EVENTS);
        end_watch(watch, &err);
        return;
    }
    struct entry *entry = calloc(1, sizeof *entry);
    if (!entry || bytes_copy(&entry->key, event->kv.key) || bytes_copy(&entry->value, event->kv.value) ||
        bytes_copy(&entry->prev_value, event->prev_kv.value)) {
        if (entry)
            entry_free(entry);
        (void)lun_err_set(&err, LUN_ENOMEM, "watch: out of memory");
        end_watch(watch, &err);
        return;
    }
    entry->event =
        (struct lun_event){.is_delete = event->is_delete, .kv = event->kv, .prev_kv = event->prev_kv};
    list_init(&entry->in_watch);
    list_push_back(&watch->entries, &entry->in_watch);
    watch->n_entries++;
    deliver(watch);
}

static void on_end(struct watcher *watcher, const struct lun_err *err, int64_t compact_rev) {
    struct lun_err copy = *err;
    if (err->code == LUN_ECOMPACTED)
        (void)lun_err_set(&copy, LUN_ECOMPACTED,
                          "watch: revisions up to %" PRId64
                          " have been compacted: read, and watch from there",
                          compact_rev);
    else
        (void)lun_err_wrap(&copy, "watch");
    end_watch(CONTAINER_OF(watcher, struct lun_watch, watcher), &copy);
}

static const struct watch_callbacks watch_callbacks = {on_created, on_event, on_end};

int lun_watch_open(struct lun_client *client, const struct lun_watch_options *options,
                   struct lun_watch **ret_watch, struct lun_err *ret_err) {
    if (options->key.len == 0)
        return lun_err_set(ret_err, LUN_EINVALID, "watch: the key is empty");
    if (options->start_rev < 0)
        return lun_err_set(ret_err, LUN_EINVALID, "watch: the revision is below 0");
    int rc = client_enter(client, ret_err);
    if (rc)
        return rc;
    struct lun_watch *watch = calloc(1, sizeof *watch);
    if (!watch || bytes_copy(&watch->key, options->key) || bytes_copy(&watch->range_end, options->range_end))
        goto no_memory;
    watch->client = client;
    list_init(&watch->in_client);
    list_init(&watch->entries);
    list_init(&watch->ready_ops);
    watch->watcher.callbacks = &watch_callbacks;
    watch->watcher.key = bytes_view(&watch->key);
    watch->watcher.range_end = bytes_view(&watch->range_end);
    watch->watcher.start_rev = options->start_rev;
    watch->watcher.wants_prev_kv = options->wants_prev_kv;
    watch->watcher.is_deletes_only = options->is_deletes_only;
    watch->watcher.is_resumed = true;
    if (watch_start(client->etcd, &watch->watcher))
        goto no_memory;
    list_push_back(&client->watches, &watch->in_client);
    *ret_watch = watch;
    client_leave(client);
    return 0;

no_memory:
    if (watch) {
        bytes_fini(&watch->key);
        bytes_fini(&watch->range_end);
    }
    free(watch);
    client_leave(client);
    return lun_err_set(ret_err, LUN_ENOMEM, "watch: out of memory");
}

static void give_up_next(struct lun_op *op, int code) {
    struct lun_watch *watch = op->object;
    if (watch->next_op == op)
        watch->next_op = NULL;
    (void)op_fail(op, code, "watch: %s", lun_strerror(code));
}

int lun_watch_next(struct lun_watch *watch, const struct lun_ask *ask, struct lun_op **ret_op,
                   struct lun_err *ret_err) {
    struct lun_client *client = watch->client;
    int rc = client_enter(client, ret_err);
    if (rc)
        return rc;
    struct lun_op *op;
    if (watch->next_op)
        rc = lun_err_set(ret_err, LUN_EINVALID, "watch: somebody is waiting for its next events already");
    else
        rc = op_begin(client, ask, watch, give_up_next, true, &op, ret_err);
    if (!rc) {
        if (ret_op)
            *ret_op = op;
        watch->next_op = op;
        deliver(watch);
        if (watch->next_op && watch->end)
            end_watch(watch, watch->end);
    }
    client_leave(client);
    return rc;
}

int lun_watch_ready(struct lun_watch *watch, const struct lun_ask *ask, struct lun_op **ret_op,
                    struct lun_err *ret_err) {
    struct lun_client *client = watch->client;
    int rc = client_enter(client, ret_err);
    if (rc)
        return rc;
    struct lun_op *op;
    rc = op_begin(client, ask, watch, give_up_next, true, &op, ret_err);
    if (!rc) {
        if (ret_op)
            *ret_op = op;
        if (watch->end || watch->is_created)
            op_finish(op, watch->end);
        else
            list_push_back(&watch->ready_ops, &op->in_object);
    }
    client_leave(client);
    return rc;
}

void watch_cut_off(struct lun_watch *watch) {
    struct lun_err err;
    (void)lun_err_set(&err, LUN_ECLOSED, "watch: closed");
    end_watch(watch, &err);
    list_remove(&watch->in_client);
}

void lun_watch_free(struct lun_watch *watch) {
    if (!watch || client_enter_closed(watch->client))
        return;
    struct lun_client *client = watch->client;
    watch_cut_off(watch);
    drop_entries(watch);
    bytes_fini(&watch->key);
    bytes_fini(&watch->range_end);
    if (watch->end != &no_memory)
        free(watch->end);
    free(watch);
    client_leave(client);
}
