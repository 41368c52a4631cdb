/* etcd/watch.c - the watchers, and what the server says to them. See watch.h; the stream below is watch_stream.c's.
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
#include <string.h>

#include "etcd/cluster.h"
#include "etcd/reply.h"
#include "etcd/status_class.h"

enum state { STOPPED = 0, WANTED, CREATING, CREATED };
enum { FIRST_BUCKETS = 16 };

/* ---- the created ones by id ------------------------------------------------------------------------- */

static struct watcher **bucket_of(struct watch_stream *stream, int64_t id) {
    return &stream->buckets[(uint64_t)id % stream->n_buckets];
}

static struct watcher *find(struct watch_stream *stream, int64_t id) {
    if (stream->n_buckets == 0)
        return NULL;
    struct watcher *watcher = *bucket_of(stream, id);
    while (watcher && watcher->id != id)
        watcher = watcher->next_by_id;
    return watcher;
}

static void link_by_id(struct watch_stream *stream, struct watcher *watcher) {
    struct watcher **bucket = bucket_of(stream, watcher->id);
    watcher->next_by_id = *bucket;
    *bucket = watcher;
}

static void unlink_by_id(struct watch_stream *stream, struct watcher *watcher) {
    struct watcher **place = bucket_of(stream, watcher->id);
    while (*place != watcher)
        place = &(*place)->next_by_id;
    *place = watcher->next_by_id;
    stream->n_created--;
}

/* Room for all that may be created, and one more. A table that cannot grow only becomes slower. */
static int reserve(struct watch_stream *stream) {
    if (stream->n_created + (stream->n_asked - stream->n_answered) < stream->n_buckets)
        return 0;
    size_t n = stream->n_buckets ? stream->n_buckets * 2 : FIRST_BUCKETS;
    struct watcher **buckets = calloc(n, sizeof(struct watcher *));
    if (!buckets)
        return stream->n_buckets ? 0 : LUN_ENOMEM;
    free(stream->buckets);
    stream->buckets = buckets;
    stream->n_buckets = n;
    for (struct list *node = stream->created.next; node != &stream->created; node = node->next)
        link_by_id(stream, CONTAINER_OF(node, struct watcher, in_stream));
    return 0;
}

/* ---- asking ----------------------------------------------------------------------------------------- */

static void put_in(struct watcher *watcher, struct list *list, enum state state) {
    list_remove(&watcher->in_stream);
    list_push_back(list, &watcher->in_stream);
    watcher->state = (int)state;
}

static int ask(struct watch_stream *stream, struct watcher *watcher) {
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
    void *keys = NULL;
    int rc = reserve(stream);
    if (!rc)
        rc = namespace_enter(&stream->etcd->namespace, RPC_WATCH, &request.base, &keys);
    if (!rc)
        rc = rpc_stream_send(stream->rpc_stream, &request.base);
    free(keys);
    if (rc)
        return rc;
    int64_t now_ns = rpc_now(stream->etcd->rpc);
    if (list_is_empty(&stream->creating))
        stream->heard_ns = now_ns;
    if (stream->n_asked == stream->n_answered)
        stream->asked_ns = now_ns;
    watcher->id = (int64_t)stream->n_asked++;
    put_in(watcher, &stream->creating, CREATING);
    return 0;
}

int watch_ask_all(struct watch_stream *stream) {
    int rc = 0;
    while (!rc && !list_is_empty(&stream->wanted))
        rc = ask(stream, CONTAINER_OF(stream->wanted.next, struct watcher, in_stream));
    return rc;
}

/* Without memory to say so the server keeps it as long as the stream lives; what it tells finds nobody. */
static void cancel(struct watch_stream *stream, int64_t id) {
    Etcdserverpb__WatchCancelRequest cancel_request = ETCDSERVERPB__WATCH_CANCEL_REQUEST__INIT;
    cancel_request.watch_id = id;
    Etcdserverpb__WatchRequest request = ETCDSERVERPB__WATCH_REQUEST__INIT;
    request.request_union_case = ETCDSERVERPB__WATCH_REQUEST__REQUEST_UNION_CANCEL_REQUEST;
    request.cancel_request = &cancel_request;
    (void)rpc_stream_send(stream->rpc_stream, &request.base);
}

/* Out of whatever it is in; the server is not told. */
static void detach(struct watch_stream *stream, struct watcher *watcher) {
    if (watcher->state == CREATED)
        unlink_by_id(stream, watcher);
    list_remove(&watcher->in_stream);
    watcher->state = STOPPED;
}

static void want_again(struct watch_stream *stream, struct watcher *watcher) {
    detach(stream, watcher);
    put_in(watcher, &stream->wanted, WANTED);
}

void watch_rewind(struct watch_stream *stream) {
    while (!list_is_empty(&stream->created))
        want_again(stream, CONTAINER_OF(stream->created.next, struct watcher, in_stream));
    while (!list_is_empty(&stream->creating))
        want_again(stream, CONTAINER_OF(stream->creating.next, struct watcher, in_stream));
}

/* ---- ending ----------------------------------------------------------------------------------------- */

static void end(struct watch_stream *stream, struct watcher *watcher, const struct lun_err *err,
                int64_t compact_rev) {
    detach(stream, watcher);
    watcher->callbacks->on_end(watcher, err, compact_rev);
}

void watch_drop_all(struct watch_stream *stream, const struct lun_err *err) {
    watch_rewind(stream);
    struct list batch, *node;
    list_move(&stream->wanted, &batch);
    while ((node = list_pop_front(&batch))) {
        struct watcher *watcher = CONTAINER_OF(node, struct watcher, in_stream);
        watcher->state = STOPPED;
        if (err)
            watcher->callbacks->on_end(watcher, err, 0);
    }
}

/* The server ended it, or would not create it. */
static void on_refused(struct watch_stream *stream, struct watcher *watcher,
                       const Etcdserverpb__WatchResponse *response) {
    const char *reason = response->cancel_reason ? response->cancel_reason : "";
    struct status_class class = status_classify_reason(reason);
    auth_judge_bare(stream->is_bare, &class);
    struct lun_err err;
    if (response->compact_revision > 0) {
        lun_err_set(&err, LUN_ECOMPACTED, "revision %lld has been compacted (up to %lld)",
                    (long long)watcher->next_rev, (long long)response->compact_revision);
        end(stream, watcher, &err, response->compact_revision);
    } else if (class.is_token_stale &&
               auth_has_user(&stream->etcd->auth)) { /* the stream keeps the token it began with */
        auth_refused(&stream->etcd->auth, stream->generation);
        watch_stream_break(stream);
    } else if (class.again == AGAIN_NEVER || class.is_token_stale) {
        lun_err_set(&err, class.code, "%s", reason);
        auth_explain(&stream->etcd->auth, &err);
        end(stream, watcher, &err, 0);
    } else {
        watch_stream_break(stream);
    }
}

/* ---- what the server says --------------------------------------------------------------------------- */

/* Creations are answered in their order: the first answer is the one to the oldest. */
static void measure(struct watch_stream *stream) {
    if (stream->asked_ns != 0)
        stream->member->distance_ns = rpc_now(stream->etcd->rpc) - stream->asked_ns;
    stream->asked_ns = 0;
}

static void on_created(struct watch_stream *stream, const Etcdserverpb__WatchResponse *response) {
    if (stream->n_answered == stream->n_asked || (!response->canceled && find(stream, response->watch_id))) {
        etcd_member_failed(stream->member, "answered a watch that was not asked for");
        watch_stream_break(stream);
        return;
    }
    measure(stream);
    int64_t number = (int64_t)stream->n_answered++;
    struct watcher *watcher = NULL;
    if (!list_is_empty(&stream->creating))
        watcher = CONTAINER_OF(stream->creating.next, struct watcher, in_stream);
    if (watcher && watcher->id != number)
        watcher = NULL;
    if (response->canceled) {
        if (watcher)
            on_refused(stream, watcher, response);
        return;
    }
    if (!watcher) {
        cancel(stream, response->watch_id);
        return;
    }
    put_in(watcher, &stream->created, CREATED);
    watcher->id = response->watch_id;
    link_by_id(stream, watcher);
    stream->n_created++;
    if (watcher->is_resumed && watcher->next_rev == 0)
        watcher->next_rev = response->header->revision + 1;
    watcher->callbacks->on_created(watcher, response->header->revision);
}

static void on_canceled(struct watch_stream *stream, const Etcdserverpb__WatchResponse *response) {
    struct watcher *watcher = find(stream, response->watch_id);
    if (watcher)
        on_refused(stream, watcher, response);
}

static int compare(struct lun_bytes key, struct lun_bytes bound) {
    size_t n = key.len < bound.len ? key.len : bound.len;
    int order = n > 0 ? memcmp(key.data, bound.data, n) : 0;
    return order != 0 ? order : key.len < bound.len ? -1 : key.len > bound.len;
}

static bool is_watched(const struct watcher *watcher, struct lun_bytes key) {
    struct lun_bytes end = watcher->range_end;
    if (end.len == 0)
        return compare(key, watcher->key) == 0;
    bool is_to_the_end = end.len == 1 && *(const char *)end.data == '\0';
    return compare(key, watcher->key) >= 0 && (is_to_the_end || compare(key, end) < 0);
}

/* False: the watcher has not asked for this key. */
static bool read_event(const struct watch_stream *stream, const struct watcher *watcher,
                       const Etcdserverpb__Event *event, struct watch_event *ret_event) {
    const struct namespace *space = &stream->etcd->namespace;
    *ret_event = (struct watch_event){.is_delete = event->type == ETCDSERVERPB__EVENT__EVENT_TYPE__DELETE};
    return reply_kv(space, event->kv, &ret_event->kv, NULL) == 0 && is_watched(watcher, ret_event->kv.key) &&
           reply_kv(space, event->prev_kv, &ret_event->prev_kv, NULL) == 0;
}

static void on_events(struct watch_stream *stream, const Etcdserverpb__WatchResponse *response) {
    int64_t newest_rev = 0;
    for (size_t i = 0; i < response->n_events; i++) {
        const Etcdserverpb__Event *event = response->events[i];
        struct watcher *watcher = find(stream, response->watch_id);
        if (!watcher)
            return;
        struct watch_event told;
        if (!read_event(stream, watcher, event, &told)) {
            etcd_member_failed(stream->member,
                               "sent a malformed reply (an event of a key that is not watched)");
            watch_stream_break(stream);
            return;
        }
        if (event->kv->mod_revision < watcher->next_rev)
            continue;
        if (event->kv->mod_revision > newest_rev)
            newest_rev = event->kv->mod_revision;
        told.revision = response->header->revision;
        watcher->callbacks->on_event(watcher, &told);
    }
    struct watcher *watcher = find(stream, response->watch_id);
    if (watcher && newest_rev >= watcher->next_rev)
        watcher->next_rev = newest_rev + 1;
}

void watch_on_message(struct watch_stream *stream, const ProtobufCMessage *message) {
    const Etcdserverpb__WatchResponse *response = (const Etcdserverpb__WatchResponse *)message;
    if (response->created)
        on_created(stream, response);
    else if (response->canceled)
        on_canceled(stream, response);
    else
        on_events(stream, response);
}

/* ---- starting and stopping -------------------------------------------------------------------------- */

int watch_start(struct etcd *etcd, struct watcher *watcher) {
    if (etcd->is_closing)
        return LUN_ECLOSED;
    struct watch_stream *stream = &etcd->watch_stream;
    watcher->etcd = etcd;
    watcher->next_rev = watcher->start_rev;
    list_init(&watcher->in_stream);
    put_in(watcher, &stream->wanted, WANTED);
    int rc = watch_stream_wake(stream);
    if (rc && watcher->state == WANTED)
        detach(stream, watcher);
    return rc;
}

void watch_stop(struct watcher *watcher) {
    if (watcher->state == STOPPED)
        return;
    struct watch_stream *stream = &watcher->etcd->watch_stream;
    bool is_known = watcher->state == CREATED;
    int64_t id = watcher->id;
    detach(stream, watcher);
    if (is_known && stream->rpc_stream)
        cancel(stream, id);
    watch_stream_rearm(stream);
}

bool watch_is_running(const struct watcher *watcher) {
    return watcher->state != STOPPED;
}
