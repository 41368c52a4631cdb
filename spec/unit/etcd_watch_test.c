/* spec/unit/etcd_watch_test.c - watchers on one stream: every thing the server can say, at every time. */
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

static struct seen *seen_of(struct watcher *watcher) {
    return CONTAINER_OF(watcher, struct seen, watcher);
}

static void do_then(struct seen *seen) {
    void (*then)(struct seen *) = seen->then;
    seen->then = NULL;
    if (then)
        then(seen);
}

static void on_created(struct watcher *watcher, int64_t revision) {
    struct seen *seen = seen_of(watcher);
    seen->n_created++;
    seen->created_rev = revision;
    do_then(seen);
}

static void on_event(struct watcher *watcher, const struct watch_event *event) {
    struct seen *seen = seen_of(watcher);
    seen->n_events++;
    seen->last_rev = event->kv.mod_rev;
    seen->was_delete = event->is_delete;
    (void)snprintf(seen->prev, sizeof seen->prev, "%.*s", (int)event->prev_kv.value.len,
                   event->prev_kv.value.len ? (const char *)event->prev_kv.value.data : "");
    do_then(seen);
}

static void on_end(struct watcher *watcher, const struct lun_err *err, int64_t compact_rev) {
    struct seen *seen = seen_of(watcher);
    seen->n_ended++;
    seen->err = *err;
    seen->compact_rev = compact_rev;
    CHECK(!watch_is_running(watcher));
    do_then(seen);
}

static const struct watch_callbacks callbacks = {on_created, on_event, on_end};

static void set_up(struct seen *seen, struct world *world, const char *key) {
    *seen = (struct seen){.watcher = {.callbacks = &callbacks, .key = lun_bytes_of(key)}, .world = world};
}

static void start(struct seen *seen) {
    rpc_enter(seen->world->rpc);
    CHECK(watch_start(seen->world->etcd, &seen->watcher) == 0);
    rpc_leave(seen->world->rpc);
    CHECK(watch_is_running(&seen->watcher));
}

static void stop(struct seen *seen) {
    rpc_enter(seen->world->rpc);
    watch_stop(&seen->watcher);
    rpc_leave(seen->world->rpc);
    CHECK(!watch_is_running(&seen->watcher));
}

/* ---- the server's side ------------------------------------------------------------------------------ */

static struct fake_stream *open_on(struct world *world, const char *address) {
    struct fake_stream *stream = fake_stream(world->fake, RPC_WATCH, 0);
    if (!stream) {
        check_fail(__FILE__, __LINE__, "no watch stream is open");
        exit(check_end());
    }
    CHECK_TEXT(stream->address, address);
    CHECK(fake_n_streams(world->fake, FAKE_ANY) == 1);
    return stream;
}

/* The next thing asked for must be a creation. */
static const Etcdserverpb__WatchCreateRequest *asked(struct fake_stream *stream) {
    static Etcdserverpb__WatchCreateRequest none = ETCDSERVERPB__WATCH_CREATE_REQUEST__INIT;
    const Etcdserverpb__WatchRequest *request = (const Etcdserverpb__WatchRequest *)fake_sent(stream);
    CHECK(request &&
          request->request_union_case == ETCDSERVERPB__WATCH_REQUEST__REQUEST_UNION_CREATE_REQUEST);
    return request && request->create_request ? request->create_request : &none;
}

/* The next thing asked for must be a cancellation: its id, -1 if it is none. */
static int64_t asked_to_cancel(struct fake_stream *stream) {
    const Etcdserverpb__WatchRequest *request = (const Etcdserverpb__WatchRequest *)fake_sent(stream);
    CHECK(request &&
          request->request_union_case == ETCDSERVERPB__WATCH_REQUEST__REQUEST_UNION_CANCEL_REQUEST);
    return request && request->cancel_request ? request->cancel_request->watch_id : -1;
}

struct says {
    int64_t id, revision, compact_rev;
    bool created, canceled, has_no_header;
    uint64_t cluster_id;
    const char *reason;
    const int64_t *put_revs; /* 0-terminated; negative: a deletion */
};

static void say(struct fake_stream *stream, struct says says) {
    Etcdserverpb__ResponseHeader header =
        header_of(says.cluster_id ? says.cluster_id : OUR_CLUSTER, says.revision ? says.revision : 10, 2);
    Etcdserverpb__WatchResponse response = ETCDSERVERPB__WATCH_RESPONSE__INIT;
    Etcdserverpb__Event events[8], *pointers[8];
    Etcdserverpb__KeyValue kvs[8], prev = ETCDSERVERPB__KEY_VALUE__INIT;
    prev.key = text_data("k");
    prev.value = text_data("old");
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
        kvs[i].key = text_data("k");
        kvs[i].mod_revision = rev < 0 ? -rev : rev;
        events[i].type =
            rev < 0 ? ETCDSERVERPB__EVENT__EVENT_TYPE__DELETE : ETCDSERVERPB__EVENT__EVENT_TYPE__PUT;
        events[i].kv = &kvs[i];
        events[i].prev_kv = &prev;
        pointers[response.n_events++] = &events[i];
        response.events = pointers;
    }
    fake_say(stream, &response.base);
}

static void say_created(struct fake_stream *stream, int64_t id, int64_t revision) {
    say(stream, (struct says){.id = id, .created = true, .revision = revision});
}

static void say_events(struct fake_stream *stream, int64_t id, const int64_t *revs) {
    say(stream, (struct says){.id = id, .put_revs = revs, .revision = 50});
}

#define REVS(...) ((const int64_t[]){__VA_ARGS__, 0})

/* ---- the happy path --------------------------------------------------------------------------------- */

static void a_watcher_is_asked_for_as_it_was_described(void) {
    struct world world = world_of(1);
    struct seen seen;
    set_up(&seen, &world, "k");
    seen.watcher.range_end = lun_bytes_of("l");
    seen.watcher.start_rev = 7;
    seen.watcher.is_deletes_only = true;
    seen.watcher.wants_prev_kv = true;
    start(&seen);
    struct fake_stream *stream = open_on(&world, "a:1");
    CHECK(stream->has_leader);
    const Etcdserverpb__WatchCreateRequest *create = asked(stream);
    CHECK(create->key.len == 1 && create->range_end.len == 1 && create->start_revision == 7 &&
          create->prev_kv);
    CHECK(create->n_filters == 1 &&
          create->filters[0] == ETCDSERVERPB__WATCH_CREATE_REQUEST__FILTER_TYPE__NOPUT);
    CHECK(!create->fragment && !create->progress_notify && create->watch_id == 0);
    say_created(stream, 0, 12);
    CHECK(seen.n_created == 1 && seen.created_rev == 12);
    say_events(stream, 0, REVS(-9));
    CHECK(seen.n_events == 1 && seen.last_rev == 9 && seen.was_delete);
    CHECK_TEXT(seen.prev, "old");
    stop(&seen);
    CHECK(asked_to_cancel(stream) == 0);
    say(stream, (struct says){.id = 0, .canceled = true});
    CHECK(seen.n_ended == 0);
    world_close(&world);
}

static void creations_are_answered_in_order(void) {
    struct world world = world_of(1);
    struct seen seen[3];
    for (int i = 0; i < 3; i++) {
        set_up(&seen[i], &world, "k");
        start(&seen[i]);
    }
    struct fake_stream *stream = open_on(&world, "a:1");
    for (int i = 0; i < 3; i++) {
        say_created(stream, 100 - i, 10 + i);
        for (int j = 0; j < 3; j++)
            CHECK(seen[j].n_created == (j <= i));
    }
    say_events(stream, 99, REVS(20));
    CHECK(seen[0].n_events == 0 && seen[1].n_events == 1 && seen[2].n_events == 0);
    world_close(&world);
}

static void events_come_once_each(void) {
    struct world world = world_of(1);
    struct seen seen;
    set_up(&seen, &world, "k");
    start(&seen);
    struct fake_stream *stream = open_on(&world, "a:1");
    say_created(stream, 0, 10);
    say_events(stream, 0, REVS(11, 12, 12)); /* two keys in one revision */
    CHECK(seen.n_events == 3);
    say_events(stream, 0, REVS(11, 12, 13));
    CHECK(seen.n_events == 4 && seen.last_rev == 13);
    say_events(stream, 7, REVS(14));
    CHECK(seen.n_events == 4);
    say(stream, (struct says){.id = 0, .revision = 90}); /* progress */
    CHECK(seen.n_events == 4);
    world_close(&world);
}

/* ---- stopping, in each state ------------------------------------------------------------------------ */

static void stopped_while_creating(void) {
    struct world world = world_of(1);
    struct seen seen[3];
    for (int i = 0; i < 3; i++) {
        set_up(&seen[i], &world, "k");
        start(&seen[i]);
    }
    struct fake_stream *stream = open_on(&world, "a:1");
    for (int i = 0; i < 3; i++)
        (void)asked(stream);
    stop(&seen[0]);
    stop(&seen[1]);
    start(&seen[1]); /* again, before its first answer */
    (void)asked(stream);
    CHECK(fake_sent(stream) == NULL); /* the id is not known yet */
    say_created(stream, 0, 10);
    CHECK(asked_to_cancel(stream) == 0);
    say_created(stream, 1, 10);
    CHECK(asked_to_cancel(stream) == 1);
    CHECK(seen[0].n_created == 0 && seen[1].n_created == 0);
    say_events(stream, 1, REVS(11)); /* of the stopped one */
    say_created(stream, 2, 10);
    say_created(stream, 3, 10);
    CHECK(seen[2].n_created == 1 && seen[1].n_created == 1 && seen[1].n_events == 0);
    say_events(stream, 3, REVS(11));
    CHECK(seen[1].n_events == 1 && seen[2].n_events == 0);
    world_close(&world);
}

static void a_stopped_one_is_refused_unheard(void) {
    struct world world = world_of(1);
    struct seen seen[2];
    for (int i = 0; i < 2; i++) {
        set_up(&seen[i], &world, "k");
        start(&seen[i]);
    }
    struct fake_stream *stream = open_on(&world, "a:1");
    stop(&seen[0]);
    say(stream, (struct says){
                    .id = -1, .created = true, .canceled = true, .reason = "etcdserver: permission denied"});
    CHECK(seen[0].n_ended == 0);
    say_created(stream, 0, 10);
    CHECK(seen[1].n_created == 1);
    world_close(&world);
}

static void events_for_stopped_ones_are_dropped(void) {
    struct world world = world_of(1);
    struct seen seen;
    set_up(&seen, &world, "k");
    start(&seen);
    struct fake_stream *stream = open_on(&world, "a:1");
    (void)asked(stream);
    say_created(stream, 4, 10);
    stop(&seen);
    CHECK(asked_to_cancel(stream) == 4);
    say_events(stream, 4, REVS(11));
    CHECK(seen.n_events == 0);
    stop(&seen); /* harmless */
    struct watcher zero;
    memset(&zero, 0, sizeof zero);
    rpc_enter(world.rpc);
    watch_stop(&zero);
    rpc_leave(world.rpc);
    CHECK(!watch_is_running(&zero));
    world_close(&world);
}

/* ---- ends ------------------------------------------------------------------------------------------- */

static void a_compacted_one_is_told_how_far(void) {
    struct world world = world_of(1);
    struct seen seen;
    set_up(&seen, &world, "k");
    seen.watcher.start_rev = 3;
    start(&seen);
    struct fake_stream *stream = open_on(&world, "a:1");
    say_created(stream, 0, 30);
    CHECK(seen.n_created == 1);
    say(stream, (struct says){.id = 0, .canceled = true, .compact_rev = 20});
    CHECK(seen.n_ended == 1 && seen.err.code == LUN_ECOMPACTED && seen.compact_rev == 20);
    CHECK_TEXT(seen.err.text, "revision 3 has been compacted (up to 20)");
    seen.watcher.start_rev = 21;
    start(&seen);
    (void)asked(stream);
    CHECK(asked(stream)->start_revision == 21);
    world_close(&world);
}

static void a_refused_one_is_told_why(void) {
    static const struct {
        const char *reason;
        int code;
    } rows[] = {
        {"etcdserver: permission denied", LUN_EPERMISSION},
        {"rpc error: code = PermissionDenied desc = etcdserver: permission denied", LUN_EPERMISSION},
        {"rpc error: code = OutOfRange desc = etcdserver: mvcc: required revision has been compacted",
         LUN_ECOMPACTED},
        {"rpc error: code = Unauthenticated desc = etcdserver: invalid auth token", LUN_EUNAUTHENTICATED},
        {"etcdserver: user name is empty", LUN_EUNAUTHENTICATED},
        {"mvcc: watcher range is empty", LUN_EINVALID}};
    struct world world = world_of(1);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct seen seen;
        set_up(&seen, &world, "k");
        start(&seen);
        struct fake_stream *stream = open_on(&world, "a:1");
        say(stream, (struct says){.id = -1, .created = true, .canceled = true, .reason = rows[i].reason});
        CHECK(seen.n_ended == 1 && seen.err.code == rows[i].code && seen.n_created == 0);
        CHECK_TEXT(seen.err.text, rows[i].reason);
    }
    world_close(&world);
}

static void one_ended_without_a_reason_is_created_anew(void) {
    struct world world = world_of(1);
    struct seen seen;
    set_up(&seen, &world, "k");
    start(&seen);
    struct fake_stream *stream = open_on(&world, "a:1");
    say_created(stream, 0, 10);
    say(stream, (struct says){.id = 0, .canceled = true});
    CHECK(seen.n_ended == 0 && watch_is_running(&seen.watcher));
    fake_advance(world.fake, 10 * MS);
    stream = open_on(&world, "a:1");
    (void)asked(stream);
    say_created(stream, 0, 12);
    CHECK(seen.n_created == 2);
    world_close(&world);
}

static void a_stream_that_is_refused_for_good_ends_all(void) {
    struct world world = world_of(1);
    struct seen seen[2];
    for (int i = 0; i < 2; i++) {
        set_up(&seen[i], &world, "k");
        start(&seen[i]);
    }
    fake_break(open_on(&world, "a:1"), RPC_UNAUTHENTICATED, "etcdserver: invalid auth token");
    for (int i = 0; i < 2; i++)
        CHECK(seen[i].n_ended == 1 && seen[i].err.code == LUN_EUNAUTHENTICATED);
    fake_advance(world.fake, 60 * S);
    CHECK(fake_n_streams_opened(world.fake) == 1 && fake_n_timers(world.fake) == 0);
    world_close(&world);
}

/* ---- moving ----------------------------------------------------------------------------------------- */

static void a_broken_stream_is_opened_elsewhere(void) {
    struct world world = world_of(2);
    struct seen fresh, from, resumed, idle;
    set_up(&fresh, &world, "f");
    set_up(&from, &world, "g");
    from.watcher.start_rev = 5;
    set_up(&resumed, &world, "r");
    resumed.watcher.start_rev = 5;
    resumed.watcher.is_resumed = true;
    set_up(&idle, &world, "i");
    idle.watcher.is_resumed = true;
    struct seen *all[] = {&fresh, &from, &resumed, &idle};
    for (int i = 0; i < 4; i++)
        start(all[i]);
    struct fake_stream *stream = open_on(&world, "a:1");
    for (int i = 0; i < 3; i++) /* the last is still being created */
        say_created(stream, i, 10);
    say_events(stream, 1, REVS(6, 8));
    say_events(stream, 2, REVS(6, 8));
    fake_break(stream, RPC_UNAVAILABLE, "Socket closed");
    CHECK(fake_n_streams(world.fake, FAKE_ANY) == 0);
    fake_advance(world.fake, 10 * MS);
    stream = open_on(&world, "b:1");
    int64_t starts[26] = {0};
    for (int i = 0; i < 4; i++) {
        const Etcdserverpb__WatchCreateRequest *create = asked(stream);
        if (create->key.len == 1)
            starts[create->key.data[0] - 'a'] = create->start_revision;
    }
    CHECK(starts['f' - 'a'] == 0 && starts['g' - 'a'] == 5 && starts['r' - 'a'] == 9 &&
          starts['i' - 'a'] == 0);
    for (int i = 0; i < 4; i++)
        say_created(stream, i, 20);
    for (int i = 0; i < 4; i++)
        CHECK(all[i]->n_created == (i == 3 ? 1 : 2) && all[i]->n_ended == 0);
    fake_break(stream, RPC_UNAVAILABLE, "etcdserver: no leader");
    fake_advance(world.fake, 100 * MS);
    stream = open_on(&world, "a:1");
    for (int i = 0; i < 4; i++) {
        const Etcdserverpb__WatchCreateRequest *create = asked(stream);
        if (create->key.len == 1)
            starts[create->key.data[0] - 'a'] = create->start_revision;
    }
    CHECK(starts['i' - 'a'] == 21); /* it was created at 20: nothing after that may be missed */
    world_close(&world);
}

static void a_stream_that_keeps_breaking_is_opened_less_and_less_often(void) {
    struct world world = world_of(1);
    struct seen seen;
    set_up(&seen, &world, "k");
    start(&seen);
    int64_t delay = 0;
    for (int i = 0; i < 20; i++) {
        fake_break(open_on(&world, "a:1"), RPC_UNAVAILABLE, "Connection refused");
        delay = fake_next_timer(world.fake) - fake_now(world.fake);
        CHECK(delay > 0 && delay <= 750 * MS);
        CHECK(i > 0 || delay <= 8 * MS);
        fake_advance(world.fake, delay);
    }
    CHECK(delay >= 250 * MS);
    fake_advance(world.fake, 1500 * MS); /* a good one makes up for it */
    fake_break(open_on(&world, "a:1"), RPC_UNAVAILABLE, "Socket closed");
    CHECK(fake_next_timer(world.fake) - fake_now(world.fake) <= 8 * MS);
    stop(&seen); /* while backing off: nothing more happens */
    CHECK(fake_n_timers(world.fake) == 0);
    fake_advance(world.fake, 60 * S);
    CHECK(fake_n_streams(world.fake, FAKE_ANY) == 0);
    world_close(&world);
}

static void started_while_backing_off(void) {
    struct world world = world_of(1);
    struct seen seen[2];
    for (int i = 0; i < 2; i++)
        set_up(&seen[i], &world, "k");
    start(&seen[0]);
    fake_break(open_on(&world, "a:1"), RPC_UNAVAILABLE, "Socket closed");
    start(&seen[1]);
    CHECK(fake_n_streams(world.fake, FAKE_ANY) == 0);
    fake_advance(world.fake, 10 * MS);
    struct fake_stream *stream = open_on(&world, "a:1");
    say_created(stream, 0, 10);
    say_created(stream, 1, 10);
    CHECK(seen[0].n_created == 1 && seen[1].n_created == 1);
    world_close(&world);
}

static void a_failed_member_is_left_for_a_better_one(void) {
    struct world world = world_of(2);
    struct seen seen;
    set_up(&seen, &world, "k");
    start(&seen);
    struct fake_stream *stream = open_on(&world, "a:1");
    say_created(stream, 0, 10);
    rpc_enter(world.rpc);
    etcd_member_failed(world_member(&world, 1), "refused"); /* another's fault: no matter */
    rpc_leave(world.rpc);
    fake_run(world.fake);
    CHECK(fake_stream(world.fake, RPC_WATCH, 0) == stream);
    rpc_enter(world.rpc);
    etcd_member_failed(world_member(&world, 0), "silent"); /* nobody is better */
    rpc_leave(world.rpc);
    fake_run(world.fake);
    CHECK(fake_stream(world.fake, RPC_WATCH, 0) == stream);
    rpc_enter(world.rpc);
    etcd_member_answered(world_member(&world, 1)); /* now somebody is */
    rpc_leave(world.rpc);
    CHECK(fake_stream(world.fake, RPC_WATCH, 0) == stream); /* never within the call */
    fake_run(world.fake);
    stream = open_on(&world, "b:1");
    (void)asked(stream);
    say_created(stream, 0, 11);
    CHECK(seen.n_created == 2 && seen.n_ended == 0);
    world_close(&world);
}

static void a_member_that_answers_meanwhile_is_kept(void) {
    struct world world = world_of(2);
    struct seen seen, late;
    set_up(&seen, &world, "k");
    set_up(&late, &world, "l");
    start(&seen);
    struct fake_stream *stream = open_on(&world, "a:1");
    (void)asked(stream);
    say_created(stream, 0, 10);
    rpc_enter(world.rpc);
    etcd_member_failed(world_member(&world, 0), "silent");
    CHECK(watch_start(world.etcd, &late.watcher) == 0);
    etcd_member_answered(world_member(&world, 0));
    rpc_leave(world.rpc);
    fake_run(world.fake);
    CHECK(open_on(&world, "a:1") == stream);
    CHECK(asked(stream)->key.data[0] == 'l');
    say_created(stream, 1, 10);
    CHECK(late.n_created == 1);
    world_close(&world);
}

static void a_member_that_creates_nothing_is_left(void) {
    struct world world = world_of(2);
    struct seen seen;
    set_up(&seen, &world, "k");
    start(&seen);
    (void)open_on(&world, "a:1");
    fake_advance(world.fake, 1999 * MS);
    (void)open_on(&world, "a:1");
    fake_advance(world.fake, 20 * MS);
    struct fake_stream *stream = open_on(&world, "b:1");
    CHECK(etcd_pick(world.etcd) == world_member(&world, 1));
    (void)asked(stream);
    say_created(stream, 0, 10);
    fake_advance(world.fake, 60 * S); /* who only has nothing to tell is not silent */
    CHECK(open_on(&world, "b:1") == stream);
    world_close(&world);
    struct world alone = world_of(1);
    set_up(&seen, &alone, "k");
    start(&seen);
    stream = open_on(&alone, "a:1");
    fake_advance(alone.fake, 60 * S);
    CHECK(open_on(&alone, "a:1") == stream); /* nowhere else to go */
    world_close(&alone);
}

/* A stream that is to be left, but has not been yet, is heard: what it says counts. */
static void a_stream_is_heard_until_it_is_left(void) {
    struct world world = world_of(2);
    struct seen seen;
    set_up(&seen, &world, "k");
    seen.watcher.is_resumed = true;
    start(&seen);
    struct fake_stream *stream = open_on(&world, "a:1");
    say_created(stream, 0, 10);
    rpc_enter(world.rpc);
    etcd_member_failed(world_member(&world, 0), "silent");
    rpc_leave(world.rpc);
    say_events(stream, 0, REVS(11)); /* and so it has answered: it is kept */
    CHECK(seen.n_events == 1);
    fake_run(world.fake);
    CHECK(open_on(&world, "a:1") == stream);
    world_close(&world);
}

static void a_member_of_another_cluster_is_not_heard(void) {
    struct world world = world_of(2);
    struct seen seen;
    set_up(&seen, &world, "k");
    start(&seen);
    say_created(open_on(&world, "a:1"), 0, 10);
    fake_break(open_on(&world, "a:1"), RPC_UNAVAILABLE, "Socket closed");
    fake_advance(world.fake, 10 * MS);
    say(open_on(&world, "b:1"), (struct says){.id = 0, .created = true, .cluster_id = OTHER_CLUSTER});
    CHECK(seen.n_created == 1);
    char text[200];
    etcd_describe_failures(world.etcd, text, sizeof text);
    CHECK(strstr(text, "b:1 belongs to another cluster") != NULL);
    fake_advance(world.fake, S);
    (void)open_on(&world, "a:1");
    world_close(&world);
}

static void nonsense_breaks_the_stream_and_nothing_else(void) {
    static const struct says rows[] = {
        {.id = 0, .created = true, .has_no_header = true},
        {.id = 0, .has_no_header = true},
        {.id = 1, .created = true},                                 /* not asked for */
        {.id = -1, .created = true, .canceled = true, .reason = ""} /* neither */
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct world world = world_of(2);
        struct seen seen;
        set_up(&seen, &world, "k");
        start(&seen);
        struct fake_stream *stream = open_on(&world, "a:1");
        say_created(stream, 0, 10);
        say(stream, rows[i]);
        CHECK(seen.n_ended == 0);
        fake_advance(world.fake, 10 * MS);
        stream = open_on(&world, "b:1");
        (void)asked(stream);
        say_created(stream, 0, 10);
        CHECK(seen.n_created == 2);
        world_close(&world);
    }
}

static void an_event_without_a_pair_is_no_event(void) {
    struct world world = world_of(1);
    struct seen seen;
    set_up(&seen, &world, "k");
    start(&seen);
    struct fake_stream *stream = open_on(&world, "a:1");
    say_created(stream, 0, 10);
    Etcdserverpb__ResponseHeader header = header_of(OUR_CLUSTER, 11, 2);
    Etcdserverpb__WatchResponse response = ETCDSERVERPB__WATCH_RESPONSE__INIT;
    Etcdserverpb__Event event = ETCDSERVERPB__EVENT__INIT, *events = &event;
    response.header = &header;
    response.events = &events;
    response.n_events = 1;
    fake_say(stream, &response.base);
    CHECK(seen.n_events == 0);
    world_close(&world);
}

static void two_of_one_id_break_the_stream(void) {
    struct world world = world_of(1);
    struct seen seen[2];
    for (int i = 0; i < 2; i++) {
        set_up(&seen[i], &world, "k");
        start(&seen[i]);
    }
    struct fake_stream *stream = open_on(&world, "a:1");
    say_created(stream, 5, 10);
    say_created(stream, 5, 10);
    CHECK(seen[1].n_created == 0);
    fake_advance(world.fake, 10 * MS);
    stream = open_on(&world, "a:1");
    say_created(stream, 5, 10);
    say_created(stream, 6, 10);
    CHECK(seen[0].n_created == 2 && seen[1].n_created == 1);
    world_close(&world);
}

/* ---- callbacks that do things ----------------------------------------------------------------------- */

static void stop_itself(struct seen *seen) {
    watch_stop(&seen->watcher);
}

static void stop_other(struct seen *seen) {
    watch_stop(&seen->other->watcher);
}

static void restart_itself(struct seen *seen) {
    watch_stop(&seen->watcher);
    CHECK(watch_start(seen->world->etcd, &seen->watcher) == 0);
}

static void free_itself(struct seen *seen) {
    watch_stop(&seen->watcher);
    free(seen);
}

static void start_other(struct seen *seen) {
    CHECK(watch_start(seen->world->etcd, &seen->other->watcher) == 0);
}

static void close_all(struct seen *seen) {
    etcd_close(seen->world->etcd, world_on_closed, &seen->world->n_closed);
}

static void fail_member(struct seen *seen) {
    etcd_member_failed(etcd_member_at(seen->world->etcd, 0), "refused");
}

static void a_callback_may_stop_its_watcher(void) {
    struct world world = world_of(1);
    struct seen seen;
    set_up(&seen, &world, "k");
    seen.then = stop_itself;
    start(&seen);
    struct fake_stream *stream = open_on(&world, "a:1");
    (void)asked(stream);
    say_created(stream, 3, 10);
    CHECK(!watch_is_running(&seen.watcher) && asked_to_cancel(stream) == 3);
    start(&seen);
    (void)asked(stream);
    say_created(stream, 4, 10);
    seen.then = stop_itself;
    say_events(stream, 4, REVS(11, 12));
    CHECK(seen.n_events == 1 && asked_to_cancel(stream) == 4);
    world_close(&world);
}

static void a_callback_may_restart_its_watcher(void) {
    struct world world = world_of(1);
    struct seen seen;
    set_up(&seen, &world, "k");
    start(&seen);
    struct fake_stream *stream = open_on(&world, "a:1");
    (void)asked(stream);
    say_created(stream, 0, 10);
    seen.then = restart_itself;
    say_events(stream, 0, REVS(11, 12)); /* the second belongs to the old one */
    CHECK(seen.n_events == 1 && asked_to_cancel(stream) == 0);
    (void)asked(stream);
    say_created(stream, 1, 12);
    say_events(stream, 1, REVS(13));
    CHECK(seen.n_created == 2 && seen.n_events == 2);
    seen.then = restart_itself;
    say(stream, (struct says){.id = 1, .canceled = true, .compact_rev = 9});
    CHECK(seen.n_ended == 1 && watch_is_running(&seen.watcher));
    world_close(&world);
}

static void a_callback_may_free_its_watcher(void) {
    struct world world = world_of(1);
    for (int i = 0; i < 3; i++) {
        struct seen *seen = malloc(sizeof *seen);
        set_up(seen, &world, "k");
        if (i == 0)
            seen->then = free_itself;
        start(seen);
        struct fake_stream *stream = open_on(&world, "a:1");
        say_created(stream, i, 10);
        if (i == 0)
            continue;
        seen->then = free_itself;
        if (i == 1)
            say_events(stream, i, REVS(11, 12));
        else
            say(stream, (struct says){.id = i, .canceled = true, .compact_rev = 9});
    }
    world_close(&world);
}

static void a_callback_may_stop_or_start_others(void) {
    struct world world = world_of(1);
    struct seen first, second, third;
    set_up(&first, &world, "k");
    set_up(&second, &world, "l");
    set_up(&third, &world, "m");
    start(&first);
    start(&second);
    first.then = stop_other;
    first.other = &second;
    struct fake_stream *stream = open_on(&world, "a:1");
    (void)asked(stream);
    (void)asked(stream);
    say_created(stream, 0, 10); /* stops the second, which is still being created */
    say_created(stream, 1, 10);
    CHECK(second.n_created == 0 && asked_to_cancel(stream) == 1);
    first.then = start_other;
    first.other = &third;
    say_events(stream, 0, REVS(11));
    CHECK(asked(stream)->key.data[0] == 'm');
    say_created(stream, 2, 11);
    first.then = stop_other;
    say_events(stream, 0, REVS(12));
    say_events(stream, 2, REVS(12));
    CHECK(third.n_created == 1 && third.n_events == 0);
    world_close(&world);
}

static void a_callback_may_fail_the_member(void) {
    struct world world = world_of(2);
    struct seen seen;
    set_up(&seen, &world, "k");
    seen.watcher.is_resumed = true;
    start(&seen);
    struct fake_stream *stream = open_on(&world, "a:1");
    say_created(stream, 0, 10);
    seen.then = fail_member;
    say_events(stream, 0, REVS(11, 11, 12)); /* the rest is heard all the same */
    CHECK(seen.n_events == 3);
    fake_run(world.fake);
    CHECK(asked(open_on(&world, "b:1"))->start_revision == 13);
    world_close(&world);
}

static void a_callback_may_close_everything(void) {
    struct world world = world_of(1);
    struct seen seen[2];
    for (int i = 0; i < 2; i++) {
        set_up(&seen[i], &world, "k");
        start(&seen[i]);
    }
    struct fake_stream *stream = open_on(&world, "a:1");
    say_created(stream, 0, 10);
    say_created(stream, 1, 10);
    seen[0].then = close_all;
    say_events(stream, 0, REVS(11, 12));
    CHECK(seen[0].n_events == 1 && !watch_is_running(&seen[1].watcher) && seen[1].n_ended == 0);
    rpc_enter(world.rpc);
    CHECK(watch_start(world.etcd, &seen[1].watcher) == LUN_ECLOSED);
    rpc_leave(world.rpc);
    fake_run(world.fake);
    CHECK(world.n_closed == 1);
    rpc_enter(world.rpc);
    etcd_free(world.etcd);
    rpc_leave(world.rpc);
    stop(&seen[1]); /* touches nothing of what is gone */
    fake_free(world.fake);
}

static void all_ended_may_start_again(void) {
    struct world world = world_of(1);
    struct seen seen;
    set_up(&seen, &world, "k");
    start(&seen);
    seen.then = restart_itself;
    fake_break(open_on(&world, "a:1"), RPC_PERMISSION_DENIED, "etcdserver: permission denied");
    CHECK(seen.n_ended == 1 && watch_is_running(&seen.watcher));
    say_created(open_on(&world, "a:1"), 0, 10);
    CHECK(seen.n_created == 1);
    world_close(&world);
}

/* ---- nothing left ----------------------------------------------------------------------------------- */

static void a_stream_of_no_use_is_closed_after_a_while(void) {
    struct world world = world_of(1);
    struct seen seen;
    set_up(&seen, &world, "k");
    start(&seen);
    struct fake_stream *stream = open_on(&world, "a:1");
    say_created(stream, 0, 10);
    stop(&seen);
    fake_advance(world.fake, S);
    CHECK(open_on(&world, "a:1") == stream);
    start(&seen); /* in time: the same stream serves */
    say_created(stream, 1, 10);
    fake_advance(world.fake, 60 * S);
    CHECK(open_on(&world, "a:1") == stream && seen.n_created == 2);
    stop(&seen);
    fake_advance(world.fake, 10 * S);
    CHECK(fake_n_streams(world.fake, FAKE_ANY) == 0 && fake_n_timers(world.fake) == 0);
    start(&seen);
    CHECK(fake_n_streams_opened(world.fake) == 2);
    world_close(&world);
}

static void stopped_before_it_was_created_leaves_nothing(void) {
    struct world world = world_of(1);
    struct seen seen;
    set_up(&seen, &world, "k");
    start(&seen);
    stop(&seen);
    struct fake_stream *stream = open_on(&world, "a:1");
    (void)asked(stream);
    say_created(stream, 0, 10);
    CHECK(asked_to_cancel(stream) == 0);
    say(stream, (struct says){.id = 0, .canceled = true});
    fake_advance(world.fake, 10 * S);
    CHECK(fake_n_streams(world.fake, FAKE_ANY) == 0);
    world_close(&world);
}

static void without_memory_nothing_is_started(void) {
    struct world world = world_of(1);
    struct seen seen, other;
    set_up(&seen, &world, "k");
    set_up(&other, &world, "l");
    rpc_enter(world.rpc);
    fake_fail_next(world.fake, 1);
    CHECK(watch_start(world.etcd, &seen.watcher) == LUN_ENOMEM);
    rpc_leave(world.rpc);
    CHECK(!watch_is_running(&seen.watcher) && fake_n_streams(world.fake, FAKE_ANY) == 0);
    start(&other);
    fake_fail_next(world.fake, 1);
    rpc_enter(world.rpc);
    CHECK(watch_start(world.etcd, &seen.watcher) == LUN_ENOMEM);
    rpc_leave(world.rpc);
    CHECK(!watch_is_running(&seen.watcher) && watch_is_running(&other.watcher));
    fake_break(open_on(&world, "a:1"), RPC_UNAVAILABLE, "Socket closed");
    fake_fail_next(world.fake, 2); /* while opening again: later */
    fake_advance(world.fake, 3 * S);
    struct fake_stream *stream = open_on(&world, "a:1");
    (void)asked(stream);
    say_created(stream, 0, 10);
    CHECK(other.n_created == 1);
    world_close(&world);
}

static void a_thousand_move_together(void) {
    enum { N = 1000 };
    static struct seen seen[N];
    struct world world = world_of(2);
    for (int i = 0; i < N; i++) {
        set_up(&seen[i], &world, "k");
        start(&seen[i]);
    }
    struct fake_stream *stream = open_on(&world, "a:1");
    for (int i = 0; i < N; i++)
        say_created(stream, i, 10);
    for (int i = 0; i < N; i += 3)
        stop(&seen[i]);
    fake_break(stream, RPC_UNAVAILABLE, "Socket closed");
    fake_advance(world.fake, 10 * MS);
    stream = open_on(&world, "b:1");
    int n = 0;
    while (fake_sent(stream))
        say_created(stream, 7 * n++, 10);
    CHECK(n == N - (N + 2) / 3);
    for (int i = 0; i < n; i++)
        say_events(stream, 7 * i, REVS(11));
    for (int i = 0; i < N; i++)
        CHECK(seen[i].n_events == (i % 3 != 0));
    world_close(&world);
}

int main(void) {
    RUN(a_watcher_is_asked_for_as_it_was_described);
    RUN(creations_are_answered_in_order);
    RUN(events_come_once_each);
    RUN(stopped_while_creating);
    RUN(a_stopped_one_is_refused_unheard);
    RUN(events_for_stopped_ones_are_dropped);
    RUN(a_compacted_one_is_told_how_far);
    RUN(a_refused_one_is_told_why);
    RUN(one_ended_without_a_reason_is_created_anew);
    RUN(a_stream_that_is_refused_for_good_ends_all);
    RUN(a_broken_stream_is_opened_elsewhere);
    RUN(a_stream_that_keeps_breaking_is_opened_less_and_less_often);
    RUN(started_while_backing_off);
    RUN(a_failed_member_is_left_for_a_better_one);
    RUN(a_member_that_answers_meanwhile_is_kept);
    RUN(a_member_that_creates_nothing_is_left);
    RUN(a_stream_is_heard_until_it_is_left);
    RUN(a_member_of_another_cluster_is_not_heard);
    RUN(nonsense_breaks_the_stream_and_nothing_else);
    RUN(an_event_without_a_pair_is_no_event);
    RUN(two_of_one_id_break_the_stream);
    RUN(a_callback_may_stop_its_watcher);
    RUN(a_callback_may_restart_its_watcher);
    RUN(a_callback_may_free_its_watcher);
    RUN(a_callback_may_stop_or_start_others);
    RUN(a_callback_may_fail_the_member);
    RUN(a_callback_may_close_everything);
    RUN(all_ended_may_start_again);
    RUN(a_stream_of_no_use_is_closed_after_a_while);
    RUN(stopped_before_it_was_created_leaves_nothing);
    RUN(without_memory_nothing_is_started);
    RUN(a_thousand_move_together);
    return check_end();
}
