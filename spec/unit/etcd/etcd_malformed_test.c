/* spec/unit/etcd/etcd_malformed_test.c - each number of each reply at its extremes: a reply that no etcd can mean is
 * named as malformed, and nothing is made of it. */
#include "etcd_asking.h"
#include "etcd_watching.h"

/* Each of these is put into one field of a reply that is well otherwise. */
static const int64_t extremes[] = {INT64_MIN, INT64_MIN + 1, -1, 0, INT64_MAX - 1, INT64_MAX};
enum { N_EXTREMES = sizeof extremes / sizeof extremes[0] };

struct field {
    const char *name;
    int64_t least, most; /* what is well */
    int64_t *at;
};

static struct lun_kv_op range_op(void) {
    return (struct lun_kv_op){.kind = LUN_OP_RANGE, .key = lun_bytes_of("k")};
}

static bool is_fine(const struct field *field, int64_t value) {
    return value >= field->least && value <= field->most;
}

/* Asks, and answers with the message however often it is asked for. */
static struct got answered(struct world *world, void (*ask_for)(struct world *, struct got *), int method,
                           const ProtobufCMessage *message) {
    struct got got;
    ask_for(world, &got);
    while (got.n == 0) {
        struct fake_call *call = fake_call(world->fake, method);
        if (call)
            fake_reply(call, message);
        else
            fake_advance(world->fake, 10 * MS);
    }
    return got;
}

/* What is well is taken; all else is named. */
static void check_field(const struct field *field, void (*ask_for)(struct world *, struct got *), int method,
                        const ProtobufCMessage *message) {
    int64_t well = *field->at;
    for (int i = 0; i < N_EXTREMES; i++) {
        struct world world = world_of(1);
        *field->at = extremes[i];
        struct got got = answered(&world, ask_for, method, message);
        bool is_right = is_fine(field, extremes[i])
                            ? got.code == 0
                            : got.code != 0 && strstr(got.err.text, "malformed reply (");
        if (!is_right)
            printf("#   %s %lld: %s\n", field->name, (long long)extremes[i], got.err.text);
        CHECK(is_right);
        world_close(&world);
    }
    *field->at = well;
}

static void ask_range(struct world *world, struct got *got) {
    struct lun_kv_op op = range_op();
    (void)ask(world, got, &op, within(world, S));
}

static void ask_delete(struct world *world, struct got *got) {
    (void)ask(world, got,
              &(struct lun_kv_op){.kind = LUN_OP_DELETE, .key = lun_bytes_of("k"), .wants_prev_kv = true},
              within(world, S));
}

static void ask_grant(struct world *world, struct got *got) {
    struct etcd_call_options how = within(world, S);
    *got = (struct got){0};
    rpc_enter(world->rpc);
    CHECK(etcd_lease_grant(world->etcd, 77, 10, &how, got_reply, got, NULL) == 0);
    rpc_leave(world->rpc);
}

static void ask_time_to_live(struct world *world, struct got *got) {
    struct etcd_call_options how = within(world, S);
    *got = (struct got){0};
    rpc_enter(world->rpc);
    CHECK(etcd_lease_time_to_live(world->etcd, 77, &how, got_reply, got, NULL) == 0);
    rpc_leave(world->rpc);
}

static void ask_status(struct world *world, struct got *got) {
    struct etcd_call_options how = within(world, S);
    how.member = world_member(world, 0);
    *got = (struct got){0};
    rpc_enter(world->rpc);
    CHECK(etcd_member_status(world->etcd, &how, got_reply, got, NULL) == 0);
    rpc_leave(world->rpc);
}

static void ranges(void) {
    Etcdserverpb__ResponseHeader header = header_of(OUR_CLUSTER, 50, 2);
    Etcdserverpb__RangeResponse range = ETCDSERVERPB__RANGE_RESPONSE__INIT;
    Etcdserverpb__KeyValue kv = ETCDSERVERPB__KEY_VALUE__INIT, *kvs = &kv;
    kv.key = text_data("k");
    kv.create_revision = kv.mod_revision = 9;
    kv.version = 1;
    range.header = &header;
    range.kvs = &kvs;
    range.n_kvs = 1;
    range.count = 1;
    struct field fields[] = {
        {"count", 1, INT64_MAX, &range.count},
        {"create revision", 1, 9, &kv.create_revision},
        {"mod revision", 9, 50, &kv.mod_revision},
        {"version", 1, INT64_MAX, &kv.version},
        {"lease", INT64_MIN, INT64_MAX, &kv.lease}, /* etcd takes any */
        {"revision", 9, (INT64_C(1) << 62) - 1, &header.revision},
        {"raft term", 1, (INT64_C(1) << 62) - 1, (int64_t *)&header.raft_term},
    };
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
        check_field(&fields[i], ask_range, RPC_RANGE, &range.base);
    }
    struct world world = world_of(1);
    kv.key = (ProtobufCBinaryData){0, NULL};
    struct lun_err err = answered(&world, ask_range, RPC_RANGE, &range.base).err;
    CHECK(strstr(err.text, "a:1 sent a malformed reply (a pair without a key)") != NULL);
    kv.key = text_data("k");
    header.member_id = 0;
    err = answered(&world, ask_range, RPC_RANGE, &range.base).err;
    CHECK(strstr(err.text, "a:1 sent a malformed reply (member id 0)") != NULL);
    header.member_id = 7;
    header.cluster_id = 0;
    err = answered(&world, ask_range, RPC_RANGE, &range.base).err;
    CHECK(strstr(err.text, "a:1 sent a malformed reply (cluster id 0)") != NULL);
    world_close(&world);
}

static void deletions(void) {
    Etcdserverpb__ResponseHeader header = header_of(OUR_CLUSTER, 50, 2);
    Etcdserverpb__DeleteRangeResponse reply = ETCDSERVERPB__DELETE_RANGE_RESPONSE__INIT;
    reply.header = &header;
    struct field deleted = {"deleted", 0, INT64_MAX, &reply.deleted};
    check_field(&deleted, ask_delete, RPC_DELETE_RANGE, &reply.base);
}

static void grants(void) {
    Etcdserverpb__ResponseHeader header = header_of(OUR_CLUSTER, 50, 2);
    Etcdserverpb__LeaseGrantResponse grant = ETCDSERVERPB__LEASE_GRANT_RESPONSE__INIT;
    grant.header = &header;
    grant.id = 77;
    grant.ttl = 10;
    struct field fields[] = {{"ttl", 1, 300, &grant.ttl}, {"lease", 77, 77, &grant.id}};
    for (size_t i = 0; i < 2; i++) {
        check_field(&fields[i], ask_grant, RPC_LEASE_GRANT, &grant.base);
    }
    struct world world = world_of(1);
    grant.ttl = INT64_C(9223372037);
    struct lun_err err = answered(&world, ask_grant, RPC_LEASE_GRANT, &grant.base).err;
    CHECK(strstr(err.text, "a:1 sent a malformed reply (ttl 9223372037)") != NULL);
    world_close(&world);
}

static void times_to_live(void) {
    Etcdserverpb__ResponseHeader header = header_of(OUR_CLUSTER, 50, 2);
    Etcdserverpb__LeaseTimeToLiveResponse answer = ETCDSERVERPB__LEASE_TIME_TO_LIVE_RESPONSE__INIT;
    answer.header = &header;
    answer.id = 77;
    answer.ttl = answer.grantedttl = 10;
    struct field fields[] = {{"ttl", -1, INT64_C(9000000000), &answer.ttl},
                             {"granted ttl", 0, INT64_C(9000000000), &answer.grantedttl},
                             {"lease", 77, 77, &answer.id}};
    for (size_t i = 0; i < 3; i++) {
        check_field(&fields[i], ask_time_to_live, RPC_LEASE_TIME_TO_LIVE, &answer.base);
    }
}

static void statuses(void) {
    Etcdserverpb__ResponseHeader header = header_of(OUR_CLUSTER, 50, 2);
    Etcdserverpb__StatusResponse status = ETCDSERVERPB__STATUS_RESPONSE__INIT;
    status.header = &header;
    struct field fields[] = {{"database size", 0, INT64_MAX, &status.dbsize},
                             {"raft index", 0, INT64_MAX, (int64_t *)&status.raftindex},
                             {"raft term", 0, (INT64_C(1) << 62) - 1, (int64_t *)&status.raftterm}};
    for (size_t i = 0; i < 3; i++) {
        check_field(&fields[i], ask_status, RPC_MEMBER_STATUS, &status.base);
    }
}

/* A stream that says such a thing is left, and nobody is told of it. */
static void a_watch_event_is_malformed(int64_t mod_rev, int64_t revision, int64_t id) {
    struct world world = world_of(2);
    struct seen seen;
    struct fake_stream *stream = start_created(&seen, &world);
    say(stream, (struct says){.id = id, .put_revs = (const int64_t[]){mod_rev, 0}, .revision = revision});
    fake_run(world.fake);
    CHECK(seen.n_events == 0 && seen.n_ended == 0);
    char failures[256];
    etcd_describe_failures(world.etcd, failures, sizeof failures);
    CHECK(strstr(failures, "a:1 sent a malformed reply (") != NULL);
    stop(&seen);
    world_close(&world);
}

static void watches(void) {
    a_watch_event_is_malformed(INT64_MAX, 50, 0);
    a_watch_event_is_malformed(INT64_MAX, INT64_MAX, 0);
    a_watch_event_is_malformed(12, INT64_MIN, 0);
    a_watch_event_is_malformed(12, -1, 0);
    a_watch_event_is_malformed(51, 50, 0);
    a_watch_event_is_malformed(12, 50, -1);
}

/* No call is made with it: each would fail in this process. */
static void a_token_is_malformed(const char *token) {
    Etcdserverpb__ResponseHeader header = header_of(OUR_CLUSTER, 50, 2);
    Etcdserverpb__AuthenticateResponse reply = ETCDSERVERPB__AUTHENTICATE_RESPONSE__INIT;
    struct world world = world_of(1);
    struct got got;
    reply.header = &header;
    reply.token = (char *)(uintptr_t)token;
    rpc_enter(world.rpc);
    CHECK(etcd_set_user(world.etcd, "ann", "secret") == 0);
    rpc_leave(world.rpc);
    ask_range(&world, &got);
    while (got.n == 0 && !fake_call(world.fake, RPC_RANGE)) {
        struct fake_call *call = fake_call(world.fake, RPC_AUTHENTICATE);
        if (call)
            fake_reply(call, &reply.base);
        else
            fake_advance(world.fake, 10 * MS);
    }
    CHECK(got.n == 1 && strstr(got.err.text, "a:1 sent a malformed reply (a token that ") != NULL);
    world_close(&world);
}

static void tokens(void) {
    a_token_is_malformed("");
    a_token_is_malformed("one\ntwo");
    a_token_is_malformed("t\xc3\xb6ken");
    a_token_is_malformed("\x7f");
}

int main(void) {
    RUN(ranges);
    RUN(deletions);
    RUN(grants);
    RUN(times_to_live);
    RUN(statuses);
    RUN(watches);
    RUN(tokens);
    return check_end();
}
