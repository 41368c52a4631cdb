/* spec/unit/etcd/etcd_live_watch_test.c - watches of a real etcd, through gRPC. */
#include "etcd_live.h"

struct seen {
    struct watcher watcher;
    int n_created, n_events, n_deletes, n_ended;
    int64_t created_rev, last_rev, compact_rev;
    struct lun_err err;
    char value[64], prev[64];
};

static struct seen *seen_of(struct watcher *watcher) {
    return CONTAINER_OF(watcher, struct seen, watcher);
}

static void on_created(struct watcher *watcher, int64_t revision) {
    seen_of(watcher)->created_rev = revision;
    seen_of(watcher)->n_created++;
    rpc_deliver(rpc, &wake);
}

static void copy_value(char *to, const struct lun_kv *kv) {
    (void)snprintf(to, 64, "%.*s", (int)kv->value.len, kv->value.len ? (const char *)kv->value.data : "");
}

static void on_event(struct watcher *watcher, const struct watch_event *event) {
    struct seen *seen = seen_of(watcher);
    seen->n_events++;
    seen->n_deletes += event->is_delete;
    CHECK(event->kv.mod_rev > seen->last_rev);
    seen->last_rev = event->kv.mod_rev;
    copy_value(seen->value, &event->kv);
    copy_value(seen->prev, &event->prev_kv);
    rpc_deliver(rpc, &wake);
}

static void on_end(struct watcher *watcher, const struct lun_err *err, int64_t compact_rev) {
    struct seen *seen = seen_of(watcher);
    seen->err = *err;
    seen->compact_rev = compact_rev;
    seen->n_ended++;
    rpc_deliver(rpc, &wake);
}

static const struct watch_callbacks watch_callbacks = {on_created, on_event, on_end};

static void watch_key(struct seen *seen, const char *key) {
    seen->watcher.callbacks = &watch_callbacks;
    seen->watcher.key = lun_bytes_of(key);
    rpc_enter(rpc);
    CHECK(watch_start(etcd, &seen->watcher) == 0);
    rpc_leave(rpc);
}

static void unwatch(struct seen *seen) {
    rpc_enter(rpc);
    watch_stop(&seen->watcher);
    rpc_leave(rpc);
}

static void a_watcher_is_told_what_happens(void) {
    open_server();
    struct seen all = {.watcher = {.wants_prev_kv = true}}, deletes = {.watcher = {.is_deletes_only = true}};
    watch_key(&all, "/w");
    watch_key(&deletes, "/w");
    CHECK(wait_for(&all.n_created, 1) && wait_for(&deletes.n_created, 1));
    CHECK(put("/w", "one", 0) == 0);
    CHECK(all.created_rev + 1 == got.reply.revision);
    CHECK(wait_for(&all.n_events, 1));
    CHECK_TEXT(all.value, "one");
    CHECK(put("/w", "two", 0) == 0);
    CHECK(wait_for(&all.n_events, 2));
    CHECK_TEXT(all.prev, "one");
    CHECK(delete ("/w") == 0);
    CHECK(wait_for(&all.n_deletes, 1) && wait_for(&deletes.n_deletes, 1));
    CHECK(deletes.n_events == 1 && deletes.last_rev == got.reply.revision);
    unwatch(&all);
    CHECK(put("/w", "three", 0) == 0);
    CHECK(delete ("/w") == 0);
    CHECK(wait_for(&deletes.n_deletes, 2));
    CHECK(all.n_events == 3);
    unwatch(&deletes);
    close_cluster();
}

static void a_thousand_watchers_share_a_stream(void) {
    enum { N = 1000 };
    static struct seen seen[N];
    static char keys[N][32];
    memset(seen, 0, sizeof seen);
    open_server();
    for (int i = 0; i < N; i++) {
        (void)snprintf(keys[i], sizeof keys[i], "/many/%d", i);
        watch_key(&seen[i], keys[i]);
    }
    for (int i = 0; i < N; i++)
        REQUIRE(wait_for(&seen[i].n_created, 1));
    for (int i = 0; i < N; i += 100)
        CHECK(put(keys[i], keys[i], 0) == 0);
    for (int i = 0; i < N; i += 100) {
        CHECK(wait_for(&seen[i].n_events, 1));
        CHECK_TEXT(seen[i].value, keys[i]);
    }
    for (int i = 0; i < N; i++)
        CHECK(seen[i].n_events == (i % 100 == 0));
    for (int i = 0; i < N; i++)
        unwatch(&seen[i]);
    close_cluster();
}

static void a_compacted_watcher_is_told_so(void) {
    open_server();
    for (int i = 0; i < 3; i++)
        CHECK(put("/c", "x", 0) == 0);
    int64_t revision = got.reply.revision;
    char command[256];
    const char *ctl = getenv("ETCDCTL") ? getenv("ETCDCTL") : "etcdctl";
    (void)snprintf(command, sizeof command, "%s --endpoints=%s compact %lld >/dev/null 2>&1", ctl,
                   server.address, (long long)revision);
    REQUIRE(system(command) == 0);
    struct seen seen = {.watcher = {.start_rev = revision - 2}};
    watch_key(&seen, "/c");
    CHECK(wait_for(&seen.n_ended, 1));
    CHECK(seen.err.code == LUN_ECOMPACTED && seen.compact_rev == revision && seen.n_events == 0);
    CHECK(!watch_is_running(&seen.watcher));
    close_cluster();
}

static void a_refused_watcher_is_told_why(void) {
    open_server();
    struct seen seen = {.watcher = {.range_end = lun_bytes_of("/a")}}, good = {.n_created = 0};
    watch_key(&seen, "/b"); /* an empty range */
    watch_key(&good, "/b");
    CHECK(wait_for(&seen.n_ended, 1) && wait_for(&good.n_created, 1));
    CHECK(seen.err.code == LUN_EINVALID && seen.n_created == 0);
    CHECK(put("/b", "x", 0) == 0);
    CHECK(wait_for(&good.n_events, 1));
    unwatch(&good);
    close_cluster();
}

static void a_watch_survives_its_server(void) {
    open_server();
    CHECK(put("/s", "before", 0) == 0);
    struct seen resumed = {.watcher = {.is_resumed = true, .start_rev = got.reply.revision}},
                fresh = {.n_created = 0};
    watch_key(&resumed, "/s");
    watch_key(&fresh, "/s");
    CHECK(wait_for(&resumed.n_events, 1) && wait_for(&fresh.n_created, 1));
    etcd_server_kill(&server);
    sleep_ms(100);
    etcd_server_spawn(&server);
    CHECK(wait_for(&resumed.n_created, 2) && wait_for(&fresh.n_created, 2));
    CHECK(put("/s", "after", 0) == 0);
    CHECK(wait_for(&resumed.n_events, 2) && wait_for(&fresh.n_events, 1));
    CHECK_TEXT(resumed.value, "after");
    CHECK(resumed.n_events == 2 && fresh.n_events == 1); /* nothing twice */
    unwatch(&resumed);
    unwatch(&fresh);
    close_cluster();
}

int main(void) {
    if (!etcd_program())
        return check_skip("no etcd on the PATH, nor in $ETCD");
    if (!etcd_server_start(&server))
        check_give_up(__FILE__, __LINE__, "etcd could not be started");
    rpc_completion_init(&wake, on_wake);
    struct lun_err err;
    if (rpc_grpc_new(NULL, &rpc, &err))
        check_give_up(__FILE__, __LINE__, err.text);
    RUN(a_watcher_is_told_what_happens);
    RUN(a_thousand_watchers_share_a_stream);
    RUN(a_compacted_watcher_is_told_so);
    RUN(a_refused_watcher_is_told_why);
    RUN(a_watch_survives_its_server);
    rpc_free(rpc);
    etcd_server_stop(&server);
    return check_end();
}
