/* spec/unit/etcd/etcd_namespace_test.c - a client's prefix: what becomes of each key that is asked for, what comes back,
 * and that nothing of another's is ever meant. */
#include "etcd/namespace.h"

#include "etcd/request.h"

#include "etcd_asking.h"
#include "etcd_watching.h"

/* ---- one key, one range ------------------------------------------------------------------------------ */

static const struct {
    const char *prefix, *key, *range_end;    /* "\\0" stands for one zero byte */
    const char *expected_key, *expected_end; /* NULL: refused */
} rows[] = {
    /* without a prefix nothing is touched */
    {"", "k", "", "k", ""},
    {"", "\\0", "\\0", "\\0", "\\0"},
    {"", "b", "a", "b", "a"},
    /* single keys */
    {"/team-a", "/k", "", "/team-a/k", ""},
    {"/team-a", "//k", "", "/team-a//k", ""},
    {"/team-a", "/", "", "/team-a/", ""},
    {"/team-a", "k", "", NULL, NULL}, /* a key of "/team-ak" */
    {"/team-a", "0", "", NULL, NULL},
    {"/team-a", "\\0", "", NULL, NULL},
    {"/team-a/", "k", "", "/team-a/k", ""},
    {"/team-a/", "/k", "", "/team-a//k", ""},
    {"/team-a/", "\\0", "", "/team-a/\\0", ""},
    {"team", "/k", "", "team/k", ""},
    {"/", "k", "", "/k", ""},
    /* ranges within */
    {"/team-a", "/b", "/d", "/team-a/b", "/team-a/d"},
    {"/team-a", "/jobs/", "/jobs0", "/team-a/jobs/", "/team-a/jobs0"},
    {"/team-a/", "b", "d", "/team-a/b", "/team-a/d"},
    /* all keys, and to the end: never beyond our own */
    {"/team-a", "\\0", "\\0", "/team-a/", "/team-a0"},
    {"/team-a", "/b", "\\0", "/team-a/b", "/team-a0"},
    {"/team-a/", "\\0", "\\0", "/team-a/\\0", "/team-a0"},
    {"/team-a/", "b", "\\0", "/team-a/b", "/team-a0"},
    {"/", "\\0", "\\0", "/\\0", "0"},
    /* ranges that reach out on either side are cut */
    {"/team-a", "!", "/m", "/team-a/", "/team-a/m"},
    {"/team-a", "/m", "z", "/team-a/m", "/team-a0"},
    {"/team-a", "!", "z", "/team-a/", "/team-a0"},
    {"/team-a", "/\xff\xff", "0", "/team-a/\xff\xff", "/team-a0"},
    {"/team-a/", "b", "\xff\xff", "/team-a/b", "/team-a/\xff\xff"},
    /* ranges that hold nothing of ours are refused, those that hold nothing at all are sent */
    {"/team-a", "a", "z", NULL, NULL},
    {"/team-a", "!", "#", NULL, NULL},
    {"/team-a", "z", "\\0", NULL, NULL},
    {"/team-a", "/b", "/a", "/team-a/b", "/team-a/a"},
    {"/team-a/", "b", "b", "/team-a/b", "/team-a/b"},
};

/* The text with "\\0" as a zero byte. */
static struct lun_bytes unescaped(const char *text, char *room) {
    size_t n = 0;
    for (; *text; text++, n++) {
        bool is_zero = text[0] == '\\' && text[1] == '0';
        room[n] = is_zero ? '\0' : *text;
        text += is_zero;
    }
    return (struct lun_bytes){room, n};
}

static bool is_data(ProtobufCBinaryData data, const char *escaped) {
    char room[64];
    return lun_bytes_equal((struct lun_bytes){data.data, data.len}, unescaped(escaped, room));
}

static void each_key_and_range_is_moved_below_the_prefix_or_refused(void) {
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char key_room[64], end_room[64];
        struct namespace space;
        union request_op request;
        struct request_meta meta;
        struct lun_err err = {0};
        void *memory;
        struct lun_kv_op op = {.kind = LUN_OP_RANGE,
                               .key = unescaped(rows[i].key, key_room),
                               .range_end = unescaped(rows[i].range_end, end_room)};
        REQUIRE(namespace_init(&space, rows[i].prefix) == 0);
        request_of_op(&request, &meta, &op);
        int rc = namespace_enter(&space, RPC_RANGE, &request.base, &memory);
        CHECK(rc == (rows[i].expected_key ? 0 : LUN_EINVALID));
        CHECK(namespace_check(&space, op.key, op.range_end, &err) == rc);
        CHECK(!rc || strstr(err.text, "with the prefix \"/team-a\" keys and names begin with '/'"));
        if (!rc && !(is_data(request.range.key, rows[i].expected_key) &&
                     is_data(request.range.range_end, rows[i].expected_end)))
            check_fail(__FILE__, (int)i, rows[i].key);
        if (!rc)
            free(memory);
        namespace_fini(&space);
    }
}

static void every_key_of_every_request_is_moved(void) {
    struct namespace space;
    struct request_txn request;
    struct request_meta meta;
    void *memory;
    struct lun_cmp compares[] = {{.target = LUN_CMP_CREATE, .key = lun_bytes_of("/a")},
                                 {.target = LUN_CMP_CREATE, .key = {"", 1}, .range_end = {"", 1}}};
    struct lun_kv_op success[] = {{.kind = LUN_OP_PUT, .key = lun_bytes_of("/b")},
                                  {.kind = LUN_OP_DELETE, .key = {"", 1}, .range_end = {"", 1}},
                                  {.kind = LUN_OP_RANGE, .key = lun_bytes_of("/c")}};
    struct lun_kv_op failure[] = {
        {.kind = LUN_OP_RANGE, .key = lun_bytes_of("/d"), .range_end = lun_bytes_of("/e")}};
    struct lun_txn txn = {compares, 2, success, failure, 3, 1};
    REQUIRE(namespace_init(&space, "/t") == 0);
    REQUIRE(request_of_txn(&request, &meta, &txn) == 0);
    REQUIRE(namespace_enter(&space, RPC_TXN, &request.message.base, &memory) == 0);
    CHECK(is_data(request.message.compare[0]->key, "/t/a") && request.message.compare[0]->range_end.len == 0);
    CHECK(is_data(request.message.compare[1]->key, "/t/") &&
          is_data(request.message.compare[1]->range_end, "/t0"));
    CHECK(is_data(request.message.success[0]->request_put->key, "/t/b"));
    CHECK(is_data(request.message.success[1]->request_delete_range->key, "/t/"));
    CHECK(is_data(request.message.success[1]->request_delete_range->range_end, "/t0"));
    CHECK(is_data(request.message.success[2]->request_range->key, "/t/c"));
    CHECK(is_data(request.message.failure[0]->request_range->key, "/t/d"));
    CHECK(is_data(request.message.failure[0]->request_range->range_end, "/t/e"));
    free(memory);
    request_txn_fini(&request);

    failure[0].key = failure[0].range_end = lun_bytes_of("x"); /* one bad key is enough */
    failure[0].range_end.len = 0;
    REQUIRE(request_of_txn(&request, &meta, &txn) == 0);
    CHECK(namespace_enter(&space, RPC_TXN, &request.message.base, &memory) == LUN_EINVALID);
    request_txn_fini(&request);
    namespace_fini(&space);
}

/* ---- nothing of another's ---------------------------------------------------------------------------- */

enum { MOST = 3 };
static const char alphabet[] = {'\0', '.', '/', '0', '\xff'};

/* All keys over the alphabet, of up to MOST bytes, by number. */
static struct lun_bytes nth(size_t n, char *room) {
    size_t len = 0;
    for (; n > 0; n = (n - 1) / sizeof alphabet)
        room[len++] = alphabet[(n - 1) % sizeof alphabet];
    return (struct lun_bytes){room, len};
}

static int order(struct lun_bytes a, struct lun_bytes b) {
    int differs = memcmp(a.data, b.data, a.len < b.len ? a.len : b.len);
    return differs ? differs : (a.len > b.len) - (a.len < b.len);
}

/* As etcd reads a range. */
static bool is_in(struct lun_bytes key, struct lun_bytes begin, struct lun_bytes end) {
    if (end.len == 0)
        return lun_bytes_equal(key, begin);
    bool is_open = end.len == 1 && *(const char *)end.data == '\0';
    return order(key, begin) >= 0 && (is_open || order(key, end) < 0);
}

/* A range that a client with a prefix asks for means a key of etcd's if and only if the same range without one means the
 * key that the client knows it by; and none that it knows by no name. */
static void a_range_means_the_same_keys_with_a_prefix_and_none_outside(void) {
    static const char *const prefixes[] = {"/", ".", "./", "/0", "//"};
    size_t n = 1 + 5 + 25 + 125;
    for (size_t p = 0; p < sizeof prefixes / sizeof *prefixes; p++) {
        struct namespace space;
        REQUIRE(namespace_init(&space, prefixes[p]) == 0);
        for (size_t b = 1; b < n; b += 2)
            for (size_t e = 0; e < n; e += 3) {
                char begin_room[8], end_room[8];
                struct lun_bytes begin = nth(b, begin_room), end = nth(e, end_room);
                Etcdserverpb__RangeRequest range = ETCDSERVERPB__RANGE_REQUEST__INIT;
                void *memory = NULL;
                range.key = (ProtobufCBinaryData){begin.len, (uint8_t *)begin_room};
                range.range_end = (ProtobufCBinaryData){end.len, (uint8_t *)end_room};
                bool is_sent = namespace_enter(&space, RPC_RANGE, &range.base, &memory) == 0;
                for (size_t k = 1; k < n; k++) { /* every key there might be in etcd */
                    char room[8];
                    struct lun_bytes key = nth(k, room), known;
                    bool is_meant =
                        is_sent && is_in(key, (struct lun_bytes){range.key.data, range.key.len},
                                         (struct lun_bytes){range.range_end.data, range.range_end.len});
                    bool is_ours =
                        namespace_leave(&space, (ProtobufCBinaryData){key.len, (uint8_t *)room}, &known);
                    if (is_meant != (is_ours && is_in(known, begin, end)))
                        check_fail(__FILE__, __LINE__, prefixes[p]);
                }
                free(memory);
            }
        namespace_fini(&space);
    }
}

/* ---- what comes back --------------------------------------------------------------------------------- */

static struct world world_below(const char *prefix) {
    struct world world = world_of(1);
    rpc_enter(world.rpc);
    if (etcd_set_prefix(world.etcd, prefix))
        abort();
    rpc_leave(world.rpc);
    return world;
}

static void a_pair_comes_back_as_the_client_knows_it_and_a_foreign_one_is_malformed(void) {
    struct world world = world_below("/team-a");
    struct got got;
    struct lun_kv_op op = {.kind = LUN_OP_RANGE, .key = lun_bytes_of("/k")};
    (void)ask(&world, &got, &op, within(&world, 5 * S));
    const Etcdserverpb__RangeRequest *range =
        (const Etcdserverpb__RangeRequest *)flight(&world, RPC_RANGE, "a:1")->request;
    CHECK(is_data(range->key, "/team-a/k"));
    reply_range(flight(&world, RPC_RANGE, "a:1"), "/team-a/k", 5);
    CHECK(got.n == 1 && got.code == 0);
    CHECK_TEXT(got.key, "/k");
    static const char *const foreign[] = {"/k", "/team-ab/k", "/team-a", "/team-b/k", "/team-a0"};
    for (size_t i = 0; i < sizeof foreign / sizeof *foreign; i++) {
        (void)ask(&world, &got, &op, within(&world, 100 * MS));
        while (got.n == 0) {
            if (fake_call(world.fake, RPC_RANGE))
                reply_range(fake_call(world.fake, RPC_RANGE), foreign[i], 5);
            fake_advance(world.fake, 10 * MS);
        }
        CHECK(got.n == 1 && got.code == LUN_EUNAVAILABLE);
        CHECK(strstr(got.err.text, "a key that does not begin with the client's prefix") != NULL);
    }
    world_close(&world);
}

static void a_watch_is_asked_for_below_the_prefix_and_a_foreign_event_is_malformed(void) {
    struct world world = world_below("/team-a");
    struct seen seen;
    set_up(&seen, &world, "/k");
    seen.watcher.range_end = (struct lun_bytes){"", 1};
    start(&seen);
    struct fake_stream *stream = open_on(&world, "a:1");
    const Etcdserverpb__WatchCreateRequest *create = asked(stream);
    CHECK(is_data(create->key, "/team-a/k") && is_data(create->range_end, "/team-a0"));
    say_created(stream, 0, 12);
    say(stream, (struct says){.id = 0, .key = "/team-ab/k", .put_revs = REVS(20), .revision = 20});
    CHECK(seen.n_created == 1 && seen.n_events == 0 && stream->is_cancelled);
    stop(&seen);
    world_close(&world);
}

int main(void) {
    RUN(a_watch_is_asked_for_below_the_prefix_and_a_foreign_event_is_malformed);
    RUN(each_key_and_range_is_moved_below_the_prefix_or_refused);
    RUN(every_key_of_every_request_is_moved);
    RUN(a_range_means_the_same_keys_with_a_prefix_and_none_outside);
    RUN(a_pair_comes_back_as_the_client_knows_it_and_a_foreign_one_is_malformed);
    return check_end();
}
