/* client/watch.c - watches of keys: events wait here until they are asked for. */
#include <inttypes.h>
#include <stdlib.h>

#include "client/check.h"
#include "client/client.h"
#include "etcd/watch.h"

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
    if (err->code == LUN_ECOMPACTED && compact_rev > 0)
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
    if (!options)
        return lun_err_set(ret_err, LUN_EINVALID, "watch: the options are NULL");
    const struct lun_kv_op range = {
        .key = options->key, .range_end = options->range_end, .revision = options->start_rev};
    int rc = check_kv_op(client->etcd, &range, ret_err);
    if (rc)
        return lun_err_wrap(ret_err, "watch"), rc;
    rc = client_enter(client, ret_err);
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

static int start_next(struct lun_op *op, const void *args, struct lun_err *ret_err) {
    struct lun_watch *watch = op->object;
    (void)args;
    if (watch->next_op)
        return lun_err_set(ret_err, LUN_EINVALID,
                           "watch: another call is waiting for its next events already");
    watch->next_op = op;
    deliver(watch);
    if (watch->next_op && watch->end)
        end_watch(watch, watch->end);
    return 0;
}

int lun_watch_next(struct lun_watch *watch, const struct lun_ask *ask, struct lun_op **ret_op,
                   struct lun_err *ret_err) {
    static const struct ask_kind kind = {.start = start_next, .on_give_up = give_up_next};
    return client_ask(watch->client, &kind, watch, NULL, ask, ret_op, ret_err);
}

static int start_ready(struct lun_op *op, const void *args, struct lun_err *ret_err) {
    struct lun_watch *watch = op->object;
    (void)args;
    (void)ret_err;
    if (watch->end || watch->is_created)
        op_finish(op, watch->end);
    else
        list_push_back(&watch->ready_ops, &op->in_object);
    return 0;
}

int lun_watch_ready(struct lun_watch *watch, const struct lun_ask *ask, struct lun_op **ret_op,
                    struct lun_err *ret_err) {
    static const struct ask_kind kind = {.start = start_ready, .on_give_up = give_up_next};
    return client_ask(watch->client, &kind, watch, NULL, ask, ret_op, ret_err);
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
