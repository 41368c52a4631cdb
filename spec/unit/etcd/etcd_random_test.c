/* spec/unit/etcd/etcd_random_test.c - calls and watchers under random weather: whatever happens, each call is
 * answered once, and a resumed watcher hears every event once, in order.
 *
 * SEEDS=n runs more; SEED=n that one alone. */
#include "etcd_world.h"

#include "etcd/watch.h"

enum {
    N_WATCHERS = 12,
    N_KEYS = 4,
    N_STEPS = 600,
    MAX_EVENTS = N_STEPS + 8,
    MAX_SERVED = 4096,
    N_CALLS = 16
};

static uint64_t state;

static unsigned draw(unsigned n) {
    state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (unsigned)((state >> 33) % n);
}

/* ---- the server's memory ---------------------------------------------------------------------------- */

static int64_t revision;           /* the latest */
static int event_keys[MAX_EVENTS]; /* by revision */
static const char keys[N_KEYS + 1] = "abcd";

struct served { /* a watcher as the server sees it */
    bool is_there;
    int key;
    int64_t next_rev;
};
static struct served served[MAX_SERVED]; /* of the open stream, by id */
static int n_served;
static size_t stream_seen; /* which of all that were opened: memory is used again */
static struct {
    int key;
    int64_t start_rev;
} asked[MAX_SERVED]; /* not answered yet */
static int n_asked, n_answered;

/* ---- ours ------------------------------------------------------------------------------------------- */

struct mine {
    struct watcher watcher;
    int key;
    bool is_running;
    int64_t expected_rev; /* nothing from here on has been told; 0: not created yet */
};
static struct mine mine[N_WATCHERS];
static struct world world;

static const struct watch_callbacks *callbacks(void);

static int64_t next_event(int key, int64_t from_rev) {
    for (int64_t rev = from_rev; rev <= revision; rev++)
        if (event_keys[rev] == key)
            return rev;
    return 0;
}

static void stop(struct mine *one) {
    watch_stop(&one->watcher);
    one->is_running = false;
}

static void start(struct mine *one) {
    *one = (struct mine){.key = (int)draw(N_KEYS), .is_running = true};
    one->watcher.callbacks = callbacks();
    one->watcher.key = (struct lun_bytes){&keys[one->key], 1};
    one->watcher.is_resumed = true;
    if (draw(2) && revision > 0)
        one->watcher.start_rev = one->expected_rev = 1 + (int64_t)draw((unsigned)revision);
    CHECK(watch_start(world.etcd, &one->watcher) == 0);
}

/* From within a callback. */
static void do_something(struct mine *one) {
    struct mine *other = &mine[draw(N_WATCHERS)];
    switch (draw(12)) {
    case 0:
        if (other->is_running)
            stop(other);
        else
            start(other);
        break;
    case 1:
        if (one->is_running) {
            stop(one);
            start(one);
        }
        break;
    case 2:
        etcd_member_failed(etcd_member_at(world.etcd, draw(3)), "random");
        break;
    default:
        break;
    }
}

static void on_created(struct watcher *watcher, int64_t at_rev) {
    struct mine *one = CONTAINER_OF(watcher, struct mine, watcher);
    CHECK(one->is_running);
    if (one->expected_rev == 0)
        one->expected_rev = at_rev + 1;
    do_something(one);
}

static void on_event(struct watcher *watcher, const struct watch_event *event) {
    struct mine *one = CONTAINER_OF(watcher, struct mine, watcher);
    CHECK(one->is_running);
    CHECK(event->kv.key.len == 1 && *(const char *)event->kv.key.data == keys[one->key]);
    CHECK(one->expected_rev > 0 && event->kv.mod_rev == next_event(one->key, one->expected_rev));
    one->expected_rev = event->kv.mod_rev + 1;
    do_something(one);
}

static void on_end(struct watcher *watcher, const struct lun_err *err, int64_t compact_rev) {
    struct mine *one = CONTAINER_OF(watcher, struct mine, watcher);
    (void)compact_rev;
    CHECK(one->is_running && err->code != 0);
    one->is_running = false;
    do_something(one);
}

static const struct watch_callbacks *callbacks(void) {
    static const struct watch_callbacks all = {on_created, on_event, on_end};
    return &all;
}

/* ---- what the server does --------------------------------------------------------------------------- */

static struct fake_stream *look(void) {
    struct fake_stream *stream = fake_stream(world.fake, RPC_WATCH, 0);
    if (fake_n_streams_opened(world.fake) != stream_seen) {
        stream_seen = fake_n_streams_opened(world.fake);
        n_served = n_asked = n_answered = 0;
    }
    if (!stream)
        return NULL;
    const Etcdserverpb__WatchRequest *request;
    while ((request = (const Etcdserverpb__WatchRequest *)fake_sent(stream))) {
        if (request->request_union_case == ETCDSERVERPB__WATCH_REQUEST__REQUEST_UNION_CANCEL_REQUEST) {
            int64_t id = request->cancel_request->watch_id;
            CHECK(id >= 0 && id < n_served && served[id].is_there);
            if (id >= 0 && id < n_served)
                served[id].is_there = false;
        } else if (n_asked < MAX_SERVED) {
            asked[n_asked].key = (int)(strchr(keys, request->create_request->key.data[0]) - keys);
            asked[n_asked++].start_rev = request->create_request->start_revision;
        }
    }
    return stream;
}

static void say(struct fake_stream *stream, Etcdserverpb__WatchResponse *response) {
    Etcdserverpb__ResponseHeader header = header_of(OUR_CLUSTER, revision, 2);
    response->header = &header;
    fake_say(stream, &response->base);
    (void)look();
}

static void answer_creation(struct fake_stream *stream, bool is_refused) {
    if (n_answered == n_asked)
        return;
    Etcdserverpb__WatchResponse response = ETCDSERVERPB__WATCH_RESPONSE__INIT;
    int i = n_answered++;
    response.created = true;
    response.canceled = is_refused;
    response.watch_id = is_refused ? -1 : n_served;
    response.cancel_reason =
        is_refused ? (char *)(uintptr_t) "etcdserver: permission denied" : response.cancel_reason;
    if (!is_refused)
        served[n_served++] =
            (struct served){.is_there = true,
                            .key = asked[i].key,
                            .next_rev = asked[i].start_rev ? asked[i].start_rev : revision + 1};
    say(stream, &response);
}

static void deliver(struct fake_stream *stream, int id, int most) {
    if (id >= n_served || !served[id].is_there)
        return;
    Etcdserverpb__WatchResponse response = ETCDSERVERPB__WATCH_RESPONSE__INIT;
    Etcdserverpb__Event events[4], *pointers[4];
    Etcdserverpb__KeyValue kvs[4];
    for (int64_t rev; most-- > 0 && (rev = next_event(served[id].key, served[id].next_rev));) {
        size_t i = response.n_events++;
        etcdserverpb__event__init(&events[i]);
        etcdserverpb__key_value__init(&kvs[i]);
        kvs[i].key = (ProtobufCBinaryData){1, (uint8_t *)(uintptr_t)&keys[served[id].key]};
        kvs[i].mod_revision = rev;
        kvs[i].create_revision = kvs[i].version = 1;
        events[i].kv = &kvs[i];
        pointers[i] = &events[i];
        served[id].next_rev = rev + 1;
    }
    response.watch_id = id;
    response.events = pointers;
    if (response.n_events > 0)
        say(stream, &response);
}

static void end_one(struct fake_stream *stream, int id) {
    if (id >= n_served || !served[id].is_there)
        return;
    Etcdserverpb__WatchResponse response = ETCDSERVERPB__WATCH_RESPONSE__INIT;
    response.watch_id = id;
    response.canceled = true;
    response.compact_revision = draw(2) ? 1 : 0; /* else without a reason: created anew */
    served[id].is_there = false;
    say(stream, &response);
}

static void watch_step(void) {
    static const int weather[] = {RPC_UNAVAILABLE, RPC_INTERNAL, RPC_UNKNOWN, RPC_CANCELLED};
    struct fake_stream *stream = look();
    unsigned what = draw(100);
    struct mine *one = &mine[draw(N_WATCHERS)];
    if (what < 15) {
        rpc_enter(world.rpc);
        if (one->is_running)
            stop(one);
        else
            start(one);
        rpc_leave(world.rpc);
    } else if (what < 35) {
        event_keys[++revision] = (int)draw(N_KEYS);
    } else if (what < 42) {
        fake_advance(world.fake, (int64_t)draw(40) * NS_PER_MS);
    } else if (what < 43) {
        fake_advance(world.fake, (int64_t)draw(8) * NS_PER_S);
    } else if (!stream) {
        return;
    } else if (what < 60) {
        answer_creation(stream, draw(20) == 0);
    } else if (what < 95) {
        deliver(stream, n_served ? (int)draw((unsigned)n_served) : 0, 1 + (int)draw(4));
    } else if (what < 97) {
        end_one(stream, n_served ? (int)draw((unsigned)n_served) : 0);
    } else if (what < 99) {
        fake_break(stream, weather[draw(4)], "random weather");
    } else {
        rpc_enter(world.rpc);
        if (draw(2))
            etcd_member_failed(etcd_member_at(world.etcd, draw(3)), "random weather");
        else
            etcd_member_answered(etcd_member_at(world.etcd, draw(3)));
        rpc_leave(world.rpc);
    }
}

static bool is_all_told(void) {
    for (int i = 0; i < N_WATCHERS; i++)
        if (mine[i].is_running &&
            (mine[i].expected_rev == 0 || next_event(mine[i].key, mine[i].expected_rev)))
            return false;
    return true;
}

static void watchers_hear_everything_once_whatever_the_weather(uint64_t seed) {
    state = seed;
    world = world_of(3);
    memset(mine, 0, sizeof mine);
    revision = 0;
    n_served = n_asked = n_answered = 0;
    stream_seen = 0;
    for (int i = 0; i < N_STEPS; i++)
        watch_step();
    for (int i = 0; i < 2000 && !is_all_told(); i++) { /* the weather clears */
        struct fake_stream *stream = look();
        if (stream && n_answered < n_asked)
            answer_creation(stream, false);
        else if (stream && i < n_served + 2000)
            for (int id = 0; id < n_served && stream == look(); id++)
                deliver(stream, id, 4);
        fake_advance(world.fake, 10 * NS_PER_MS);
    }
    CHECK(is_all_told());
    world_close(&world);
}

/* ---- calls ------------------------------------------------------------------------------------------ */

static struct {
    int n_asked, n_answered;
    struct etcd_call *call; /* NULL once answered */
    bool is_write, is_idempotent;
    bool is_taken; /* a server may have carried it out */
    int64_t until_ns;
} calls[N_CALLS];

static void on_reply(void *arg, const struct etcd_reply *reply) {
    size_t i = (size_t)(uintptr_t)arg;
    calls[i].n_answered++;
    calls[i].call = NULL;
    if (reply->err)
        CHECK(reply->err->text[0] != '\0' && reply->err->code < 0);
    if (reply->err && reply->err->code == LUN_EUNKNOWN)
        CHECK(calls[i].is_write && !calls[i].is_idempotent && reply->has_unanswered);
    if (reply->err && reply->err->is_outcome_unknown)
        CHECK(calls[i].is_write && reply->has_unanswered);
    CHECK(reply->err || reply->member);
}

static void ask(size_t i) {
    struct etcd_call_options how = {.deadline_ns = RPC_NEVER, .is_idempotent = draw(2)};
    if (draw(4))
        how.deadline_ns = fake_now(world.fake) + (int64_t)draw(5000) * NS_PER_MS;
    if (draw(8) == 0)
        how.member = world_member(&world, draw(3));
    char key = (char)i; /* tells the server whose it is */
    struct lun_kv_op op = {.kind = draw(2) ? LUN_OP_PUT : LUN_OP_RANGE, .key = {&key, 1}};
    calls[i].is_taken = false;
    calls[i].is_write = op.kind == LUN_OP_PUT;
    calls[i].is_idempotent = how.is_idempotent;
    calls[i].until_ns = how.deadline_ns;
    rpc_enter(world.rpc);
    CHECK(etcd_do(world.etcd, &op, &how, on_reply, (void *)(uintptr_t)i, &calls[i].call) == 0);
    rpc_leave(world.rpc);
    calls[i].n_asked++;
}

/* What the server may have carried out must not come again, unless it was said that it may. */
static void note_outcome(const struct fake_call *call, int status, const char *message) {
    if (call->method != RPC_PUT)
        return;
    size_t i = ((const Etcdserverpb__PutRequest *)call->request)->key.data[0];
    CHECK(!calls[i].is_taken || calls[i].is_idempotent);
    bool is_refused = strstr(message, "no leader") || strstr(message, "too many") ||
                      strstr(message, "denied") || strstr(message, "name is empty");
    calls[i].is_taken = status >= 0 && !is_refused;
}

static void answer(struct fake_call *call) {
    static const struct {
        int status;
        const char *message;
    } bad[] = {{RPC_UNAVAILABLE, "Socket closed"},
               {RPC_UNAVAILABLE, "etcdserver: no leader"},
               {RPC_UNAVAILABLE, "etcdserver: leader changed"},
               {RPC_RESOURCE_EXHAUSTED, "etcdserver: too many requests"},
               {RPC_PERMISSION_DENIED, "etcdserver: permission denied"},
               {RPC_INVALID_ARGUMENT, "etcdserver: user name is empty"},
               {RPC_UNKNOWN, ""},
               {RPC_INTERNAL, "no message"}};
    uint64_t cluster_id = draw(20) ? OUR_CLUSTER : OTHER_CLUSTER;
    unsigned what = draw(10);
    if (what < 3) {
        size_t i = draw(8);
        note_outcome(call, bad[i].status, bad[i].message);
        fake_fail(call, bad[i].status, bad[i].message);
    } else if (what < 5) {
        note_outcome(call, -1, "refused");
        fake_refuse(call);
    } else if (call->method == RPC_MEMBER_STATUS) {
        reply_status(call, cluster_id);
    } else if (call->method == RPC_PUT) {
        note_outcome(call, cluster_id == OUR_CLUSTER ? RPC_OK : -1, "");
        reply_put(call, cluster_id);
    } else {
        reply_range(call, draw(2) ? "k" : NULL, 5);
    }
}

static void each_call_is_answered_once_whatever_the_weather(uint64_t seed) {
    state = seed;
    world = world_of(3);
    memset(calls, 0, sizeof calls);
    ask(0); /* whose cluster it is */
    if (calls[0].is_write)
        reply_put(fake_call(world.fake, RPC_PUT), OUR_CLUSTER);
    else if (fake_call(world.fake, RPC_RANGE))
        reply_range(fake_call(world.fake, RPC_RANGE), NULL, 5);
    for (int step = 0; step < N_STEPS; step++) {
        size_t i = draw(N_CALLS);
        unsigned what = draw(10);
        struct fake_call *call =
            draw(4) ? fake_call(world.fake, FAKE_ANY) : fake_cancelled_call(world.fake, FAKE_ANY);
        if (what < 3 && !calls[i].call) {
            ask(i);
        } else if (what < 4 && calls[i].call) {
            rpc_enter(world.rpc);
            etcd_cancel(calls[i].call);
            rpc_leave(world.rpc);
        } else if (what < 8 && call) {
            answer(call);
        } else {
            fake_advance(world.fake, (int64_t)draw(300) * NS_PER_MS);
        }
    }
    for (size_t j = 0; j < N_CALLS; j++) /* deadlines are kept, answered or not */
        if (calls[j].call && calls[j].until_ns != RPC_NEVER)
            fake_advance(world.fake, 5 * NS_PER_S);
    for (size_t j = 0; j < N_CALLS; j++)
        CHECK(!calls[j].call || calls[j].until_ns == RPC_NEVER);
    world_close(&world);
    for (size_t j = 0; j < N_CALLS; j++)
        CHECK(calls[j].n_asked == calls[j].n_answered);
}

/* ---- */

static uint64_t first_seed = 1, n_seeds = 300;

static void run_seeds(void (*test)(uint64_t seed)) {
    for (uint64_t seed = first_seed; seed < first_seed + n_seeds && !check_is_failing; seed++) {
        test(seed);
        if (check_is_failing)
            printf("# SEED=%llu\n", (unsigned long long)seed);
    }
}

static void watchers_hear_everything_once(void) {
    run_seeds(watchers_hear_everything_once_whatever_the_weather);
}

static void each_call_is_answered_once(void) {
    run_seeds(each_call_is_answered_once_whatever_the_weather);
}

int main(void) {
    if (getenv("SEEDS"))
        n_seeds = strtoull(getenv("SEEDS"), NULL, 10);
    if (getenv("SEED")) {
        first_seed = strtoull(getenv("SEED"), NULL, 10);
        n_seeds = 1;
    }
    RUN(watchers_hear_everything_once);
    RUN(each_call_is_answered_once);
    return check_end();
}
