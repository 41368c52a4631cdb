/* etcd/watch.c - the watchers, and what the server says to them. See watch.h; the stream below is hub.c's.
 *
 *   stopped -> wanted -> creating -> created -> stopped
 *                ^----------+-----------+    the stream moved
 *
 * Creations are answered in the order in which they were asked for: each bears a number, and the answer with
 * that number is its. One stopped meanwhile leaves a gap: the answer finds nobody, and is cancelled. Events
 * find their watcher by the server's id, each anew, for the callback of the one before may have stopped,
 * freed or restarted it. */
#include "etcd/watch.h"

#include <stdlib.h>

#include "etcd/cluster.h"
#include "etcd/errclass.h"
#include "etcd/reply.h"

enum state { STOPPED = 0, WANTED, CREATING, CREATED };
enum { FIRST_BUCKETS = 16 };

/* ---- the created ones by id ------------------------------------------------------------------------- */

static struct watcher **bucket_of(struct hub *hub, int64_t id) {
    return &hub->buckets[(uint64_t)id % hub->n_buckets];
}

static struct watcher *find(struct hub *hub, int64_t id) {
    if (hub->n_buckets == 0)
        return NULL;
    struct watcher *watcher = *bucket_of(hub, id);
    while (watcher && watcher->id != id)
        watcher = watcher->next_by_id;
    return watcher;
}

static void link_by_id(struct hub *hub, struct watcher *watcher) {
    struct watcher **bucket = bucket_of(hub, watcher->id);
    watcher->next_by_id = *bucket;
    *bucket = watcher;
}

static void unlink_by_id(struct hub *hub, struct watcher *watcher) {
    struct watcher **place = bucket_of(hub, watcher->id);
    while (*place != watcher)
        place = &(*place)->next_by_id;
    *place = watcher->next_by_id;
    hub->n_created--;
}

/* Room for all that may be created, and one more. A table that cannot grow only becomes slower. */
static int reserve(struct hub *hub) {
    if (hub->n_created + (hub->n_asked - hub->n_answered) < hub->n_buckets)
        return 0;
    size_t n = hub->n_buckets ? hub->n_buckets * 2 : FIRST_BUCKETS;
    struct watcher **buckets = calloc(n, sizeof(struct watcher *));
    if (!buckets)
        return hub->n_buckets ? 0 : LUN_ENOMEM;
    free(hub->buckets);
    hub->buckets = buckets;
    hub->n_buckets = n;
    for (struct list *node = hub->created.next; node != &hub->created; node = node->next)
        link_by_id(hub, CONTAINER_OF(node, struct watcher, in_hub));
    return 0;
}

/* ---- asking ----------------------------------------------------------------------------------------- */

static void put_in(struct watcher *watcher, struct list *list, enum state state) {
    list_remove(&watcher->in_hub);
    list_push_back(list, &watcher->in_hub);
    watcher->state = (int)state;
}

static int ask(struct hub *hub, struct watcher *watcher) {
    if (!watcher->is_resumed)
        watcher->next_rev = watcher->start_rev;
    Etcdserverpb__WatchCreateRequest create = ETCDSERVERPB__WATCH_CREATE_REQUEST__INIT;
    Etcdserverpb__WatchCreateRequest__FilterType no_puts =
        ETCDSERVERPB__WATCH_CREATE_REQUEST__FILTER_TYPE__NOPUT;
    create.key = (ProtobufCBinaryData){watcher->key.len, (uint8_t *)watcher->key.data};
    create.range_end = (ProtobufCBinaryData){watcher->range_end.len, (uint8_t *)watcher->range_end.data};
    create.start_revision = watcher->next_rev;
    create.prev_kv = watcher->wants_prev_kv;
    create.filters = &no_puts;
    create.n_filters = watcher->is_deletes_only ? 1 : 0;
    Etcdserverpb__WatchRequest request = ETCDSERVERPB__WATCH_REQUEST__INIT;
    request.request_union_case = ETCDSERVERPB__WATCH_REQUEST__REQUEST_UNION_CREATE_REQUEST;
    request.create_request = &create;
    int rc = reserve(hub);
    if (!rc)
        rc = rpc_stream_send(hub->stream, &request.base);
    if (rc)
        return rc;
    if (list_is_empty(&hub->creating))
        hub->heard_ns = rpc_now(hub->etcd->rpc);
    watcher->id = (int64_t)hub->n_asked++;
    put_in(watcher, &hub->creating, CREATING);
    return 0;
}

int watch_ask_all(struct hub *hub) {
    int rc = 0;
    while (!rc && !list_is_empty(&hub->wanted))
        rc = ask(hub, CONTAINER_OF(hub->wanted.next, struct watcher, in_hub));
    return rc;
}

/* Without memory to say so the server keeps it as long as the stream lives; what it tells finds nobody. */
static void cancel(struct hub *hub, int64_t id) {
    Etcdserverpb__WatchCancelRequest cancel_request = ETCDSERVERPB__WATCH_CANCEL_REQUEST__INIT;
    cancel_request.watch_id = id;
    Etcdserverpb__WatchRequest request = ETCDSERVERPB__WATCH_REQUEST__INIT;
    request.request_union_case = ETCDSERVERPB__WATCH_REQUEST__REQUEST_UNION_CANCEL_REQUEST;
    request.cancel_request = &cancel_request;
    (void)rpc_stream_send(hub->stream, &request.base);
}

/* Out of whatever it is in; the server is not told. */
static void detach(struct hub *hub, struct watcher *watcher) {
    if (watcher->state == CREATED)
        unlink_by_id(hub, watcher);
    list_remove(&watcher->in_hub);
    watcher->state = STOPPED;
}

static void want_again(struct hub *hub, struct watcher *watcher) {
    detach(hub, watcher);
    put_in(watcher, &hub->wanted, WANTED);
}

void watch_rewind(struct hub *hub) {
    while (!list_is_empty(&hub->created))
        want_again(hub, CONTAINER_OF(hub->created.next, struct watcher, in_hub));
    while (!list_is_empty(&hub->creating))
        want_again(hub, CONTAINER_OF(hub->creating.next, struct watcher, in_hub));
}

/* ---- ending ----------------------------------------------------------------------------------------- */

static void end(struct hub *hub, struct watcher *watcher, const struct lun_err *err, int64_t compact_rev) {
    detach(hub, watcher);
    watcher->callbacks->on_end(watcher, err, compact_rev);
}

void watch_drop_all(struct hub *hub, const struct lun_err *err) {
    watch_rewind(hub);
    struct list batch, *node;
    list_move(&hub->wanted, &batch);
    while ((node = list_pop_front(&batch))) {
        struct watcher *watcher = CONTAINER_OF(node, struct watcher, in_hub);
        watcher->state = STOPPED;
        if (err)
            watcher->callbacks->on_end(watcher, err, 0);
    }
}

/* The server ended it, or would not create it. */
static void on_refused(struct hub *hub, struct watcher *watcher,
                       const Etcdserverpb__WatchResponse *response) {
    const char *reason = response->cancel_reason ? response->cancel_reason : "";
    struct err_class class = err_classify_reason(reason);
    struct lun_err err;
    if (response->compact_revision > 0) {
        lun_err_set(&err, LUN_ECOMPACTED, "revision %lld has been compacted (up to %lld)",
                    (long long)watcher->next_rev, (long long)response->compact_revision);
        end(hub, watcher, &err, response->compact_revision);
    } else if (class.again == ERR_AGAIN_NEVER || class.is_token_stale) {
        lun_err_set(&err, class.code, "%s", reason);
        end(hub, watcher, &err, 0);
    } else {
        hub_break(hub);
    }
}

/* ---- what the server says --------------------------------------------------------------------------- */

static void on_created(struct hub *hub, const Etcdserverpb__WatchResponse *response) {
    if (hub->n_answered == hub->n_asked || (!response->canceled && find(hub, response->watch_id))) {
        etcd_member_failed(hub->member, "answered a watch that was not asked for");
        hub_break(hub);
        return;
    }
    int64_t number = (int64_t)hub->n_answered++;
    struct watcher *watcher = NULL;
    if (!list_is_empty(&hub->creating))
        watcher = CONTAINER_OF(hub->creating.next, struct watcher, in_hub);
    if (watcher && watcher->id != number)
        watcher = NULL;
    if (response->canceled) {
        if (watcher)
            on_refused(hub, watcher, response);
        return;
    }
    if (!watcher) {
        cancel(hub, response->watch_id);
        return;
    }
    put_in(watcher, &hub->created, CREATED);
    watcher->id = response->watch_id;
    link_by_id(hub, watcher);
    hub->n_created++;
    if (watcher->is_resumed && watcher->next_rev == 0)
        watcher->next_rev = response->header->revision + 1;
    watcher->callbacks->on_created(watcher, response->header->revision);
}

static void on_canceled(struct hub *hub, const Etcdserverpb__WatchResponse *response) {
    struct watcher *watcher = find(hub, response->watch_id);
    if (watcher)
        on_refused(hub, watcher, response);
}

static void on_events(struct hub *hub, const Etcdserverpb__WatchResponse *response) {
    int64_t newest_rev = 0;
    for (size_t i = 0; i < response->n_events; i++) {
        const Etcdserverpb__Event *event = response->events[i];
        struct watcher *watcher = find(hub, response->watch_id);
        if (!watcher)
            return;
        if (!event->kv || event->kv->mod_revision < watcher->next_rev)
            continue;
        if (event->kv->mod_revision > newest_rev)
            newest_rev = event->kv->mod_revision;
        struct watch_event told = {.is_delete = event->type == ETCDSERVERPB__EVENT__EVENT_TYPE__DELETE,
                                   .kv = reply_kv(event->kv),
                                   .prev_kv = reply_kv(event->prev_kv),
                                   .revision = response->header->revision};
        watcher->callbacks->on_event(watcher, &told);
    }
    struct watcher *watcher = find(hub, response->watch_id);
    if (watcher && newest_rev >= watcher->next_rev)
        watcher->next_rev = newest_rev + 1;
}

void watch_on_message(struct hub *hub, const ProtobufCMessage *message) {
    const Etcdserverpb__WatchResponse *response = (const Etcdserverpb__WatchResponse *)message;
    if (response->created)
        on_created(hub, response);
    else if (response->canceled)
        on_canceled(hub, response);
    else
        on_events(hub, response);
}

/* ---- starting and stopping -------------------------------------------------------------------------- */

int watch_start(struct etcd *etcd, struct watcher *watcher) {
    if (etcd->is_closing)
        return LUN_ECLOSED;
    struct hub *hub = &etcd->hub;
    watcher->etcd = etcd;
    watcher->next_rev = watcher->start_rev;
    list_init(&watcher->in_hub);
    put_in(watcher, &hub->wanted, WANTED);
    int rc = hub_wake(hub);
    if (rc && watcher->state == WANTED)
        detach(hub, watcher);
    return rc;
}

void watch_stop(struct watcher *watcher) {
    if (watcher->state == STOPPED)
        return;
    struct hub *hub = &watcher->etcd->hub;
    bool is_known = watcher->state == CREATED;
    int64_t id = watcher->id;
    detach(hub, watcher);
    if (is_known && hub->stream)
        cancel(hub, id);
    hub_rearm(hub);
}

bool watch_is_running(const struct watcher *watcher) {
    return watcher->state != STOPPED;
}
