/* spec/unit/etcd/etcd_watching.h - watchers on the stream of a server that is played by the test: starting them, what they
 * were told, what was asked of the server, and what it says. */
#ifndef LUN_UNIT_ETCD_WATCHING_H
#define LUN_UNIT_ETCD_WATCHING_H

#include "etcd_world.h"

#include "etcd/watch.h"

#define MS NS_PER_MS
#define S NS_PER_S

struct seen {
    struct watcher watcher;
    int n_created, n_events, n_ended;
    int64_t created_rev, last_rev, compact_rev;
    bool was_delete;
    char prev[32];
    struct lun_err err;
    void (*then)(struct seen *seen); /* within the next callback, once */
    struct seen *other;
    struct world *world;
};

static inline struct seen *seen_of(struct watcher *watcher) {
    return CONTAINER_OF(watcher, struct seen, watcher);
}

static inline void do_then(struct seen *seen) {
    void (*then)(struct seen *) = seen->then;
    seen->then = NULL;
    if (then)
        then(seen);
}

static inline void on_created(struct watcher *watcher, int64_t revision) {
    struct seen *seen = seen_of(watcher);
    seen->n_created++;
    seen->created_rev = revision;
    do_then(seen);
}

static inline void on_event(struct watcher *watcher, const struct watch_event *event) {
    struct seen *seen = seen_of(watcher);
    seen->n_events++;
    seen->last_rev = event->kv.mod_rev;
    seen->was_delete = event->is_delete;
    (void)snprintf(seen->prev, sizeof seen->prev, "%.*s", (int)event->prev_kv.value.len,
                   event->prev_kv.value.len ? (const char *)event->prev_kv.value.data : "");
    do_then(seen);
}

static inline void on_end(struct watcher *watcher, const struct lun_err *err, int64_t compact_rev) {
    struct seen *seen = seen_of(watcher);
    seen->n_ended++;
    seen->err = *err;
    seen->compact_rev = compact_rev;
    CHECK(!watch_is_running(watcher));
    do_then(seen);
}

static const struct watch_callbacks callbacks = {on_created, on_event, on_end};

static inline void set_up(struct seen *seen, struct world *world, const char *key) {
    *seen = (struct seen){.watcher = {.callbacks = &callbacks, .key = lun_bytes_of(key)}, .world = world};
}

static inline void start(struct seen *seen) {
    rpc_enter(seen->world->rpc);
    CHECK(watch_start(seen->world->etcd, &seen->watcher) == 0);
    rpc_leave(seen->world->rpc);
    CHECK(watch_is_running(&seen->watcher));
}

static inline void stop(struct seen *seen) {
    rpc_enter(seen->world->rpc);
    watch_stop(&seen->watcher);
    rpc_leave(seen->world->rpc);
    CHECK(!watch_is_running(&seen->watcher));
}

/* ---- the server's side ------------------------------------------------------------------------------ */

static inline struct fake_stream *open_on(struct world *world, const char *address) {
    struct fake_stream *stream = fake_stream(world->fake, RPC_WATCH, 0);
    if (!stream)
        check_give_up(__FILE__, __LINE__, "no watch stream is open");
    CHECK_TEXT(stream->address, address);
    CHECK(fake_n_streams(world->fake, FAKE_ANY) == 1);
    return stream;
}

/* The next thing asked for must be a creation. */
static inline const Etcdserverpb__WatchCreateRequest *asked(struct fake_stream *stream) {
    static Etcdserverpb__WatchCreateRequest none = ETCDSERVERPB__WATCH_CREATE_REQUEST__INIT;
    const Etcdserverpb__WatchRequest *request = (const Etcdserverpb__WatchRequest *)fake_sent(stream);
    CHECK(request &&
          request->request_union_case == ETCDSERVERPB__WATCH_REQUEST__REQUEST_UNION_CREATE_REQUEST);
    return request && request->create_request ? request->create_request : &none;
}

/* The next thing asked for must be a cancellation: its id, -1 if it is none. */
static inline int64_t asked_to_cancel(struct fake_stream *stream) {
    const Etcdserverpb__WatchRequest *request = (const Etcdserverpb__WatchRequest *)fake_sent(stream);
    CHECK(request &&
          request->request_union_case == ETCDSERVERPB__WATCH_REQUEST__REQUEST_UNION_CANCEL_REQUEST);
    return request && request->cancel_request ? request->cancel_request->watch_id : -1;
}

struct says {
    int64_t id, revision, compact_rev;
    bool created, canceled, has_no_header;
    uint64_t cluster_id;
    const char *reason, *key; /* key NULL: "k" */
    const int64_t *put_revs;  /* 0-terminated; negative: a deletion */
};

static inline void say(struct fake_stream *stream, struct says says) {
    Etcdserverpb__ResponseHeader header =
        header_of(says.cluster_id ? says.cluster_id : OUR_CLUSTER, says.revision ? says.revision : 10, 2);
    Etcdserverpb__WatchResponse response = ETCDSERVERPB__WATCH_RESPONSE__INIT;
    Etcdserverpb__Event events[8], *pointers[8];
    Etcdserverpb__KeyValue kvs[8], prev = ETCDSERVERPB__KEY_VALUE__INIT;
    prev.key = text_data("k");
    prev.value = text_data("old");
    prev.create_revision = prev.mod_revision = prev.version = 1;
    response.header = says.has_no_header ? NULL : &header;
    response.watch_id = says.id;
    response.created = says.created;
    response.canceled = says.canceled;
    response.compact_revision = says.compact_rev;
    if (says.reason)
        response.cancel_reason = (char *)(uintptr_t)says.reason;
    for (size_t i = 0; says.put_revs && says.put_revs[i]; i++) {
        int64_t rev = says.put_revs[i];
        etcdserverpb__event__init(&events[i]);
        etcdserverpb__key_value__init(&kvs[i]);
        kvs[i].key = text_data(says.key ? says.key : "k");
        kvs[i].mod_revision = rev < 0 ? -rev : rev;
        kvs[i].create_revision = kvs[i].version = 1;
        events[i].type =
            rev < 0 ? ETCDSERVERPB__EVENT__EVENT_TYPE__DELETE : ETCDSERVERPB__EVENT__EVENT_TYPE__PUT;
        events[i].kv = &kvs[i];
        events[i].prev_kv = &prev;
        pointers[response.n_events++] = &events[i];
        response.events = pointers;
    }
    fake_say(stream, &response.base);
}

static inline void say_created(struct fake_stream *stream, int64_t id, int64_t revision) {
    say(stream, (struct says){.id = id, .created = true, .revision = revision});
}

static inline void say_events(struct fake_stream *stream, int64_t id, const int64_t *revs) {
    say(stream, (struct says){.id = id, .put_revs = revs, .revision = 50});
}

#define REVS(...) ((const int64_t[]){__VA_ARGS__, 0})

/* ---- the usual beginnings --------------------------------------------------------------------------- */

/* A watcher of "k" on the first member; created as number 0 at revision 10. */
static inline struct fake_stream *start_created(struct seen *seen, struct world *world) {
    set_up(seen, world, "k");
    start(seen);
    struct fake_stream *stream = open_on(world, "a:1");
    say_created(stream, 0, 10);
    return stream;
}

/* So many watchers of "k", none of them created yet. */
static inline void start_all(struct seen *seen, size_t n, struct world *world) {
    for (size_t i = 0; i < n; i++) {
        set_up(&seen[i], world, "k");
        start(&seen[i]);
    }
}

#endif
