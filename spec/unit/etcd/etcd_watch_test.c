/* spec/unit/etcd/etcd_watch_test.c - watchers on one stream: every thing the server can say, at every time, and what the
 * callbacks may do. */
#include "etcd_watching.h"

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
    start_all(seen, 3, &world);
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
    struct fake_stream *stream = start_created(&seen, &world);
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
    start_all(seen, 3, &world);
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
    start_all(seen, 2, &world);
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
        CHECK(strstr(seen.err.text, rows[i].reason));
    }
    world_close(&world);
}

static void one_ended_without_a_reason_is_created_anew(void) {
    struct world world = world_of(1);
    struct seen seen;
    struct fake_stream *stream = start_created(&seen, &world);
    say(stream, (struct says){.id = 0, .canceled = true});
    CHECK(seen.n_ended == 0 && watch_is_running(&seen.watcher));
    fake_advance(world.fake, 10 * MS);
    stream = open_on(&world, "a:1");
    (void)asked(stream);
    say_created(stream, 0, 12);
    CHECK(seen.n_created == 2);
    world_close(&world);
}

/* ---- nonsense --------------------------------------------------------------------------------------- */

static void an_event_without_a_pair_is_no_event(void) {
    struct world world = world_of(1);
    struct seen seen;
    struct fake_stream *stream = start_created(&seen, &world);
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
    struct fake_stream *stream = start_created(&seen, &world);
    (void)asked(stream);
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
    start_all(seen, 2, &world);
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
    RUN(an_event_without_a_pair_is_no_event);
    RUN(a_callback_may_stop_its_watcher);
    RUN(a_callback_may_restart_its_watcher);
    RUN(a_callback_may_free_its_watcher);
    RUN(a_callback_may_stop_or_start_others);
    RUN(a_callback_may_fail_the_member);
    RUN(a_callback_may_close_everything);
    RUN(all_ended_may_start_again);
    return check_end();
}
