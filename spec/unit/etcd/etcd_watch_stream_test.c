/* spec/unit/etcd/etcd_watch_stream_test.c - the stream that all watchers share: when it breaks, moves, is left and is closed. */
#include "etcd_watching.h"

#include "etcd/cluster.h"

static void member_fails(struct world *world, size_t i, const char *why) {
    rpc_enter(world->rpc);
    etcd_member_failed(world_member(world, i), why);
    rpc_leave(world->rpc);
}

/* ---- refused for good ------------------------------------------------------------------------------- */

static void a_stream_that_is_refused_for_good_ends_all(void) {
    struct world world = world_of(1);
    struct seen seen[2];
    start_all(seen, 2, &world);
    fake_break(open_on(&world, "a:1"), RPC_UNAUTHENTICATED, "etcdserver: invalid auth token");
    for (int i = 0; i < 2; i++)
        CHECK(seen[i].n_ended == 1 && seen[i].err.code == LUN_EUNAUTHENTICATED);
    fake_advance(world.fake, 60 * S);
    CHECK(fake_n_streams_opened(world.fake) == 1 && fake_n_timers(world.fake) == 0);
    world_close(&world);
}

/* ---- moving ----------------------------------------------------------------------------------------- */

/* The revisions from which the next `n` are asked for, by the letter that is their key. */
static void read_starts(struct fake_stream *stream, int n, int64_t *starts) {
    for (int i = 0; i < n; i++) {
        const Etcdserverpb__WatchCreateRequest *create = asked(stream);
        if (create->key.len == 1)
            starts[create->key.data[0] - 'a'] = create->start_revision;
    }
}

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
    say(stream, (struct says){.id = 1, .key = "g", .put_revs = REVS(6, 8), .revision = 50});
    say(stream, (struct says){.id = 2, .key = "r", .put_revs = REVS(6, 8), .revision = 50});
    fake_break(stream, RPC_UNAVAILABLE, "Socket closed");
    CHECK(fake_n_streams(world.fake, FAKE_ANY) == 0);
    fake_advance(world.fake, 10 * MS);
    stream = open_on(&world, "b:1");
    int64_t starts[26] = {0};
    read_starts(stream, 4, starts);
    CHECK(starts['f' - 'a'] == 0 && starts['g' - 'a'] == 5 && starts['r' - 'a'] == 9 &&
          starts['i' - 'a'] == 0);
    for (int i = 0; i < 4; i++)
        say_created(stream, i, 20);
    for (int i = 0; i < 4; i++)
        CHECK(all[i]->n_created == (i == 3 ? 1 : 2) && all[i]->n_ended == 0);
    fake_break(stream, RPC_UNAVAILABLE, "etcdserver: no leader");
    fake_advance(world.fake, 100 * MS);
    stream = open_on(&world, "a:1");
    read_starts(stream, 4, starts);
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
    struct fake_stream *stream = start_created(&seen, &world);
    member_fails(&world, 1, "refused"); /* another's fault: no matter */
    fake_run(world.fake);
    CHECK(fake_stream(world.fake, RPC_WATCH, 0) == stream);
    member_fails(&world, 0, "silent"); /* nobody is better */
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
static void a_member_that_falls_silent_is_left_within_two_seconds(void) {
    struct world world = world_of(2);
    struct seen seen;
    set_up(&seen, &world, "k");
    start(&seen);
    (void)asked(open_on(&world, "a:1"));
    say_created(open_on(&world, "a:1"), 0, 10);
    fake_advance(world.fake, 999 * MS);
    CHECK(fake_n_calls(world.fake, FAKE_ANY) == 0);
    fake_advance(world.fake, 10 * MS);
    struct fake_call *look = fake_call(world.fake, RPC_MEMBER_STATUS);
    REQUIRE(look);
    CHECK_TEXT(look->address, "a:1");
    fake_advance(world.fake, 990 * MS);
    (void)asked(open_on(&world, "b:1"));
    stop(&seen);
    world_close(&world);
}

static void answer(struct fake_call *look) {
    Etcdserverpb__ResponseHeader header = header_of(OUR_CLUSTER, 10, 2);
    Etcdserverpb__StatusResponse reply = ETCDSERVERPB__STATUS_RESPONSE__INIT;
    reply.header = &header;
    fake_reply(look, &reply.base);
}

static void a_member_that_says_that_it_is_there_is_kept(void) {
    struct world world = world_of(2);
    struct seen seen;
    set_up(&seen, &world, "k");
    start(&seen);
    say_created(open_on(&world, "a:1"), 0, 10);
    for (int i = 0; i < 20; i++) {
        fake_advance(world.fake, 1100 * MS);
        struct fake_call *look = fake_call(world.fake, RPC_MEMBER_STATUS);
        REQUIRE(look);
        answer(look);
    }
    CHECK(fake_n_streams_opened(world.fake) == 1 && fake_n_calls_made(world.fake) == 20);
    (void)open_on(&world, "a:1");
    stop(&seen);
    world_close(&world);
}

/* It creates watches after 3 s, as it answers anything: the stream is not left before, nor when more is watched. */
static void a_far_away_member_has_time_to_create_a_watch(void) {
    struct world world = world_of(2);
    struct seen seen, late;
    set_up(&seen, &world, "k");
    set_up(&late, &world, "l");
    world_member(&world, 0)->windows[WINDOW_USER].answer_ns = 3 * S;
    start(&seen);
    struct fake_stream *stream = open_on(&world, "a:1");
    (void)asked(stream);
    fake_advance(world.fake, 3 * S);
    CHECK(open_on(&world, "a:1") == stream);
    say_created(stream, 0, 10);
    CHECK(seen.n_created == 1);
    start(&late);
    (void)asked(stream);
    fake_advance(world.fake, 3 * S);
    say_created(stream, 1, 10);
    CHECK(late.n_created == 1 && fake_n_streams_opened(world.fake) == 1);
    stop(&seen);
    stop(&late);
    world_close(&world);
}

static void a_member_whose_answers_take_long_is_waited_for_longer(void) {
    struct world world = world_of(2);
    struct seen seen;
    set_up(&seen, &world, "k");
    start(&seen);
    say_created(open_on(&world, "a:1"), 0, 10);
    world_member(&world, 0)->windows[WINDOW_USER].answer_ns = 1500 * MS;
    fake_advance(world.fake, 1100 * MS);
    fake_advance(world.fake, 3 * S);
    struct fake_call *look = fake_call(world.fake, RPC_MEMBER_STATUS);
    REQUIRE(look);
    answer(look);
    CHECK(fake_n_streams_opened(world.fake) == 1);
    stop(&seen);
    world_close(&world);
}

/* A client that only watches measures nothing but that. */
static void a_member_that_creates_slowly_is_waited_for_longer(void) {
    struct world world = world_of(2);
    struct seen seen;
    set_up(&seen, &world, "k");
    start(&seen);
    fake_advance(world.fake, 1500 * MS);
    say_created(open_on(&world, "a:1"), 0, 10);
    for (int i = 0; i < 10; i++) {
        fake_advance(world.fake, 1100 * MS);
        struct fake_call *look = fake_call(world.fake, RPC_MEMBER_STATUS);
        REQUIRE(look);
        fake_advance(world.fake, 1500 * MS);
        answer(look);
    }
    CHECK(fake_n_streams_opened(world.fake) == 1);
    fake_advance(world.fake, 1100 * MS);
    struct fake_call *look = fake_call(world.fake, RPC_MEMBER_STATUS);
    REQUIRE(look);
    answer(look); /* it is near now: left as soon as another */
    fake_advance(world.fake, 2 * S);
    (void)open_on(&world, "b:1");
    stop(&seen);
    world_close(&world);
}

static void a_member_that_is_heard_of_or_alone_is_not_asked(void) {
    struct world world = world_of(2);
    struct seen seen;
    set_up(&seen, &world, "k");
    start(&seen);
    say_created(open_on(&world, "a:1"), 0, 10);
    for (int i = 0; i < 20; i++) { /* by a renewal, say */
        fake_advance(world.fake, 900 * MS);
        rpc_enter(world.rpc);
        etcd_member_answered(world_member(&world, 0));
        rpc_leave(world.rpc);
    }
    CHECK(fake_n_calls_made(world.fake) == 0);
    stop(&seen);
    world_close(&world);

    world = world_of(1);
    set_up(&seen, &world, "k");
    start(&seen);
    say_created(open_on(&world, "a:1"), 0, 10);
    fake_advance(world.fake, 3600 * S);
    CHECK(fake_n_calls_made(world.fake) == 0 && fake_n_streams_opened(world.fake) == 1);
    stop(&seen);
    world_close(&world);
}

static void a_stream_is_heard_until_it_is_left(void) {
    struct world world = world_of(2);
    struct seen seen;
    set_up(&seen, &world, "k");
    seen.watcher.is_resumed = true;
    start(&seen);
    struct fake_stream *stream = open_on(&world, "a:1");
    say_created(stream, 0, 10);
    member_fails(&world, 0, "silent");
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
        struct fake_stream *stream = start_created(&seen, &world);
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

static void two_of_one_id_break_the_stream(void) {
    struct world world = world_of(1);
    struct seen seen[2];
    start_all(seen, 2, &world);
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

/* ---- nothing left ----------------------------------------------------------------------------------- */

static void a_stream_of_no_use_is_closed_after_a_while(void) {
    struct world world = world_of(1);
    struct seen seen;
    struct fake_stream *stream = start_created(&seen, &world);
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
    start_all(seen, N, &world);
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

/* A client with nothing but a watch: many changes came in one message, so one reply alone bore the revision, and the
 * etcd that began anew has passed the one before. */
static void a_watch_alone_ends_when_etcd_begins_anew(void) {
    struct world world = world_of(1);
    struct seen seen;
    set_up(&seen, &world, "k");
    seen.watcher.is_resumed = true;
    start(&seen);
    struct fake_stream *stream = open_on(&world, "a:1");
    say_created(stream, 0, 3);
    say(stream, (struct says){.id = 0, .put_revs = REVS(4, 23), .revision = 23});
    fake_break(stream, RPC_UNAVAILABLE, "Socket closed");
    fake_advance(world.fake, 10 * MS);
    say_created(open_on(&world, "a:1"), 0, 4);
    fake_advance(world.fake, MS);
    struct fake_call *call = fake_call(world.fake, RPC_RANGE);
    CHECK(call && seen.n_ended == 0);
    Etcdserverpb__ResponseHeader header = header_of(OUR_CLUSTER, 4, 2);
    Etcdserverpb__RangeResponse range = ETCDSERVERPB__RANGE_RESPONSE__INIT;
    range.header = &header;
    if (call)
        fake_reply(call, &range.base);
    fake_advance(world.fake, MS);
    CHECK(seen.n_ended == 1 && seen.err.code == LUN_ECOMPACTED);
    world_close(&world);
}

int main(void) {
    RUN(a_stream_that_is_refused_for_good_ends_all);
    RUN(a_broken_stream_is_opened_elsewhere);
    RUN(a_stream_that_keeps_breaking_is_opened_less_and_less_often);
    RUN(started_while_backing_off);
    RUN(a_failed_member_is_left_for_a_better_one);
    RUN(a_member_that_answers_meanwhile_is_kept);
    RUN(a_member_that_creates_nothing_is_left);
    RUN(a_member_that_falls_silent_is_left_within_two_seconds);
    RUN(a_member_that_says_that_it_is_there_is_kept);
    RUN(a_far_away_member_has_time_to_create_a_watch);
    RUN(a_member_whose_answers_take_long_is_waited_for_longer);
    RUN(a_member_that_creates_slowly_is_waited_for_longer);
    RUN(a_member_that_is_heard_of_or_alone_is_not_asked);
    RUN(a_stream_is_heard_until_it_is_left);
    RUN(a_member_of_another_cluster_is_not_heard);
    RUN(nonsense_breaks_the_stream_and_nothing_else);
    RUN(two_of_one_id_break_the_stream);
    RUN(a_stream_of_no_use_is_closed_after_a_while);
    RUN(stopped_before_it_was_created_leaves_nothing);
    RUN(without_memory_nothing_is_started);
    RUN(a_thousand_move_together);
    RUN(a_watch_alone_ends_when_etcd_begins_anew);
    return check_end();
}
