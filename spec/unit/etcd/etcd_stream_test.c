/* spec/unit/etcd/etcd_stream_test.c - renewals and their confirmation, and what errors mean. */
#include "etcd_world.h"

#include "etcd/confirm.h"
#include "etcd/keepalive.h"
#include "etcd/status_class.h"

#define MS NS_PER_MS
#define S NS_PER_S

/* ---- keepalive -------------------------------------------------------------------------------------- */

struct renewed {
    int n_replies, n_broken;
    struct keepalive_reply reply;
    struct lun_err err;
    void (*then)(struct keepalive *keepalive);
};

static void on_reply(void *arg, struct keepalive *keepalive, const struct keepalive_reply *reply) {
    struct renewed *renewed = arg;
    renewed->n_replies++;
    renewed->reply = *reply;
    CHECK(!keepalive_is_waiting(keepalive));
    if (renewed->then)
        renewed->then(keepalive);
}

static void on_broken(void *arg, struct keepalive *keepalive, const struct lun_err *err) {
    struct renewed *renewed = arg;
    renewed->n_broken++;
    renewed->err = *err;
    if (renewed->then)
        renewed->then(keepalive);
}

static const struct keepalive_callbacks callbacks = {on_reply, on_broken};

static struct keepalive *open_keepalive(struct world *world, size_t i, struct renewed *renewed) {
    struct keepalive *keepalive = NULL;
    memset(renewed, 0, sizeof *renewed);
    rpc_enter(world->rpc);
    CHECK(keepalive_open(world->etcd, world_member(world, i), &callbacks, renewed, &keepalive) == 0);
    rpc_leave(world->rpc);
    CHECK(keepalive_member(keepalive) == world_member(world, i) && !keepalive_is_waiting(keepalive));
    return keepalive;
}

static void renew(struct world *world, struct keepalive *keepalive, int64_t lease) {
    rpc_enter(world->rpc);
    CHECK(keepalive_send(keepalive, lease) == 0);
    rpc_leave(world->rpc);
    CHECK(keepalive_is_waiting(keepalive) && keepalive_sent_ns(keepalive) == fake_now(world->fake));
}

static void close_keepalive(struct world *world, struct keepalive *keepalive) {
    rpc_enter(world->rpc);
    keepalive_close(keepalive);
    rpc_leave(world->rpc);
}

static struct fake_stream *open_stream(struct world *world) {
    struct fake_stream *stream = fake_stream(world->fake, RPC_LEASE_KEEP_ALIVE, 0);
    if (!stream)
        check_give_up(__FILE__, __LINE__, "no stream is open");
    return stream;
}

static void say(struct fake_stream *stream, uint64_t cluster_id, int64_t lease, int64_t ttl_s,
                uint64_t raft_term) {
    Etcdserverpb__ResponseHeader header = header_of(cluster_id, 10, raft_term);
    Etcdserverpb__LeaseKeepAliveResponse response = ETCDSERVERPB__LEASE_KEEP_ALIVE_RESPONSE__INIT;
    response.header = cluster_id ? &header : NULL;
    response.id = lease;
    response.ttl = ttl_s;
    fake_say(stream, &response.base);
}

static void a_renewal_bears_the_time_it_was_sent(void) {
    struct world world = world_of(1);
    struct renewed renewed;
    struct keepalive *keepalive = open_keepalive(&world, 0, &renewed);
    struct fake_stream *stream = open_stream(&world);
    CHECK(stream->has_leader);
    renew(&world, keepalive, 77);
    CHECK(((const Etcdserverpb__LeaseKeepAliveRequest *)fake_sent(stream))->id == 77);
    int64_t sent = fake_now(world.fake);
    fake_advance(world.fake, S);
    say(stream, OUR_CLUSTER, 77, 10, 4);
    CHECK(renewed.n_replies == 1 && renewed.reply.lease == 77 && renewed.reply.ttl_s == 10);
    CHECK(renewed.reply.sent_ns == sent && renewed.reply.raft_term == 4);
    CHECK(etcd_highest_term(world.etcd) == 0); /* a member alone may raise its own: a read confirms it */
    renew(&world, keepalive, 77);
    say(stream, OUR_CLUSTER, 77, 0, 4);
    CHECK(renewed.n_replies == 2 && renewed.reply.ttl_s == 0);
    close_keepalive(&world, keepalive);
    close_keepalive(&world, NULL);
    world_close(&world);
    CHECK(renewed.n_broken == 0);
}

static void a_renewal_of_a_senseless_ttl_is_malformed(void) {
    static const int64_t ttls[] = {-1, -3, INT64_MIN, INT64_C(9223372037), INT64_MAX};
    for (size_t i = 0; i < sizeof ttls / sizeof ttls[0]; i++) {
        struct world world = world_of(1);
        struct renewed renewed;
        struct keepalive *keepalive = open_keepalive(&world, 0, &renewed);
        renew(&world, keepalive, 77);
        say(open_stream(&world), OUR_CLUSTER, 77, ttls[i], 4);
        fake_run(world.fake);
        CHECK(renewed.n_replies == 0 && renewed.n_broken == 1);
        CHECK(strstr(renewed.err.text, "a:1: sent a malformed reply (ttl ") != NULL);
        world_close(&world);
    }
}

static void answers_to_nothing_are_ignored(void) {
    struct world world = world_of(1);
    struct renewed renewed;
    struct keepalive *keepalive = open_keepalive(&world, 0, &renewed);
    struct fake_stream *stream = open_stream(&world);
    say(stream, OUR_CLUSTER, 77, 10, 4);
    renew(&world, keepalive, 77);
    say(stream, OUR_CLUSTER, 78, 10, 4);
    CHECK(renewed.n_replies == 0 && keepalive_is_waiting(keepalive));
    say(stream, OUR_CLUSTER, 77, 10, 4);
    say(stream, OUR_CLUSTER, 77, 10, 4);
    CHECK(renewed.n_replies == 1);
    close_keepalive(&world, keepalive);
    world_close(&world);
}

static void a_broken_keepalive_says_why(void) {
    static const struct {
        int status, code;
        bool is_fault;
        const char *message, *text;
    } rows[] = {
        {RPC_UNAVAILABLE, LUN_EUNAVAILABLE, true, "etcdserver: no leader", "a:1 etcdserver: no leader"},
        {RPC_UNAVAILABLE, LUN_EUNAVAILABLE, true, "Socket closed", "a:1 broke off (Socket closed)"},
        {RPC_UNKNOWN, LUN_EUNAVAILABLE, true, "not a primary lessor", "a:1 broke off (not a primary lessor)"},
        {RPC_UNAUTHENTICATED, LUN_EUNAUTHENTICATED, false, "etcdserver: invalid auth token",
         "a:1 etcdserver: invalid auth token"},
        {RPC_OK, LUN_EUNAVAILABLE, true, "", "a:1 ended the stream"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct world world = world_of(2);
        struct renewed renewed;
        renew(&world, open_keepalive(&world, 0, &renewed), 77);
        fake_break(open_stream(&world), rows[i].status, rows[i].message);
        CHECK(renewed.n_broken == 1 && renewed.n_replies == 0 && renewed.err.code == rows[i].code);
        CHECK_TEXT(renewed.err.text, rows[i].text);
        CHECK((etcd_pick(world.etcd) == world_member(&world, 1)) == rows[i].is_fault);
        world_close(&world);
    }
}

static void a_reply_that_cannot_be_used_breaks_it(void) {
    for (uint64_t cluster_id = 0; cluster_id <= OTHER_CLUSTER; cluster_id += OTHER_CLUSTER) {
        struct world world = world_of(2);
        struct renewed first, second;
        struct keepalive *keepalive = open_keepalive(&world, 0, &first);
        renew(&world, keepalive, 77);
        say(open_stream(&world), OUR_CLUSTER, 77, 10, 4);
        close_keepalive(&world, keepalive);
        fake_run(world.fake);
        renew(&world, open_keepalive(&world, 1, &second), 77);
        say(open_stream(&world), cluster_id, 77, 10, 9);
        CHECK(second.n_replies == 0 && second.n_broken == 0);
        fake_run(world.fake);
        CHECK(second.n_broken == 1 && second.err.code == LUN_EUNAVAILABLE);
        CHECK(strstr(second.err.text,
                     cluster_id ? "b:1: belongs to another cluster" : "b:1: sent a reply without a header"));
        world_close(&world);
    }
}

static void a_keepalive_may_be_closed_from_its_callbacks(void) {
    struct world world = world_of(1);
    struct renewed renewed;
    struct keepalive *keepalive = open_keepalive(&world, 0, &renewed);
    renewed.then = keepalive_close;
    renew(&world, keepalive, 77);
    say(open_stream(&world), OUR_CLUSTER, 77, 10, 4);
    fake_run(world.fake);
    CHECK(renewed.n_replies == 1 && renewed.n_broken == 0 && fake_n_streams(world.fake, FAKE_ANY) == 0);
    (void)open_keepalive(&world, 0, &renewed);
    renewed.then = keepalive_close;
    fake_break(open_stream(&world), RPC_UNAVAILABLE, "Socket closed");
    CHECK(renewed.n_broken == 1);
    world_close(&world);
}

static void closing_waits_for_a_keepalive(void) {
    struct world world = world_of(1);
    struct renewed renewed;
    struct keepalive *keepalive = open_keepalive(&world, 0, &renewed);
    rpc_enter(world.rpc);
    etcd_close(world.etcd, world_on_closed, &world.n_closed);
    rpc_leave(world.rpc);
    fake_advance(world.fake, 10 * S);
    CHECK(world.n_closed == 0);
    close_keepalive(&world, keepalive);
    fake_run(world.fake);
    CHECK(world.n_closed == 1);
    rpc_enter(world.rpc);
    CHECK(keepalive_open(world.etcd, world_member(&world, 0), &callbacks, &renewed, &keepalive) ==
          LUN_ECLOSED);
    etcd_free(world.etcd);
    rpc_leave(world.rpc);
    fake_free(world.fake);
}

static void a_keepalive_without_memory(void) {
    struct world world = world_of(1);
    struct renewed renewed;
    struct keepalive *keepalive = NULL;
    rpc_enter(world.rpc);
    fake_fail_next(world.fake, 1);
    CHECK(keepalive_open(world.etcd, world_member(&world, 0), &callbacks, &renewed, &keepalive) ==
          LUN_ENOMEM);
    rpc_leave(world.rpc);
    keepalive = open_keepalive(&world, 0, &renewed);
    rpc_enter(world.rpc);
    fake_fail_next(world.fake, 1);
    CHECK(keepalive_send(keepalive, 77) == LUN_ENOMEM && !keepalive_is_waiting(keepalive));
    keepalive_close(keepalive);
    rpc_leave(world.rpc);
    world_close(&world);
}

/* ---- confirm ---------------------------------------------------------------------------------------- */

struct asker {
    struct confirm confirm;
    int n;
    int code;
    uint64_t term;
    struct etcd_member *member;
    void (*then)(struct asker *asker);
    struct asker *other;
};

static void on_confirmed(struct confirm *confirm, const struct lun_err *err, uint64_t raft_term) {
    struct asker *asker = CONTAINER_OF(confirm, struct asker, confirm);
    asker->n++;
    asker->code = err ? err->code : 0;
    asker->term = raft_term;
    CHECK(!confirm->is_waiting);
    void (*then)(struct asker *) = asker->then;
    asker->then = NULL;
    if (then)
        then(asker);
}

static void start(struct world *world, struct asker *asker, size_t i, int64_t attempt_ns) {
    *asker = (struct asker){.member = world_member(world, i)};
    confirm_init(&asker->confirm, on_confirmed);
    rpc_enter(world->rpc);
    CHECK(confirm_start(&asker->confirm, asker->member, attempt_ns) == 0);
    rpc_leave(world->rpc);
    CHECK(asker->n == 0 && asker->confirm.is_waiting);
}

static void reply_term(struct fake_call *call, uint64_t raft_term) {
    Etcdserverpb__ResponseHeader header = header_of(OUR_CLUSTER, 10, raft_term);
    Etcdserverpb__RangeResponse range = ETCDSERVERPB__RANGE_RESPONSE__INIT;
    range.header = &header;
    fake_reply(call, &range.base);
}

static void one_read_serves_all_who_asked_before_it(void) {
    struct world world = world_of(2);
    struct asker first, second, third, other;
    start(&world, &first, 0, S);
    struct fake_call *call = fake_call(world.fake, RPC_RANGE);
    const Etcdserverpb__RangeRequest *range = (const Etcdserverpb__RangeRequest *)call->request;
    CHECK(range->count_only && !range->serializable && range->key.len == 1 && range->range_end.len == 0);
    CHECK(call->has_leader && call->deadline_ns == fake_now(world.fake) + S);
    start(&world, &second, 0, 200 * MS); /* too late for this read */
    start(&world, &third, 0, 300 * MS);
    start(&world, &other, 1, S); /* another member: a read of its own */
    CHECK(fake_n_calls(world.fake, RPC_RANGE) == 2);
    reply_term(call, 5);
    CHECK(first.n == 1 && first.code == 0 && first.term == 5 && second.n == 0 &&
          etcd_highest_term(world.etcd) == 5);
    call = fake_call(world.fake, RPC_RANGE);
    CHECK_TEXT(call->address, "b:1");
    reply_term(call, 4);
    CHECK(other.n == 1 && other.term == 4 && etcd_highest_term(world.etcd) == 5);
    call = fake_call(world.fake, RPC_RANGE);
    CHECK(call->deadline_ns == fake_now(world.fake) + 300 * MS);
    reply_term(call, 6);
    CHECK(second.n == 1 && third.n == 1 && second.term == 6 && third.term == 6);
    CHECK(fake_n_calls(world.fake, FAKE_ANY) == 0);
    world_close(&world);
}

static void a_read_that_fails_says_so(void) {
    struct world world = world_of(2);
    struct asker asker;
    start(&world, &asker, 0, 300 * MS);
    fake_fail(fake_call(world.fake, RPC_RANGE), RPC_UNAVAILABLE, "etcdserver: leader changed");
    CHECK(asker.n == 1 && asker.code == LUN_EUNAVAILABLE);
    CHECK(etcd_pick(world.etcd) == world_member(&world, 0)); /* nobody's fault */
    start(&world, &asker, 0, 300 * MS);
    fake_advance(world.fake, 300 * MS);
    CHECK(asker.n == 1 && asker.code == LUN_EUNAVAILABLE);
    CHECK(etcd_pick(world.etcd) == world_member(&world, 0));
    start(&world, &asker, 0, 300 * MS);
    fake_advance(world.fake, 300 * MS);
    CHECK(etcd_pick(world.etcd) == world_member(&world, 1)); /* silent for 600 ms by now */
    start(&world, &asker, 1, 300 * MS);
    Etcdserverpb__RangeResponse range = ETCDSERVERPB__RANGE_RESPONSE__INIT;
    fake_reply(fake_call(world.fake, RPC_RANGE), &range.base);
    CHECK(asker.n == 1 && asker.code == LUN_EUNAVAILABLE);
    world_close(&world);
}

static void stop_other(struct asker *asker) {
    confirm_stop(&asker->other->confirm);
}

static void start_again(struct asker *asker) {
    CHECK(confirm_start(&asker->confirm, asker->member, S) == 0);
}

static void who_waits_may_stop_and_start_again(void) {
    struct world world = world_of(1);
    struct asker askers[4];
    for (int i = 0; i < 4; i++) /* the first is served by the first read, the others by the second */
        start(&world, &askers[i], 0, S);
    rpc_enter(world.rpc);
    confirm_stop(&askers[3].confirm);
    confirm_stop(&askers[3].confirm);
    rpc_leave(world.rpc);
    askers[0].then = start_again;
    reply_term(fake_call(world.fake, RPC_RANGE), 5);
    CHECK(askers[0].n == 1 && askers[0].confirm.is_waiting);
    askers[1].then = stop_other;
    askers[1].other = &askers[2];
    reply_term(fake_call(world.fake, RPC_RANGE), 5);
    CHECK(askers[1].n == 1 && askers[2].n == 0 && askers[3].n == 0);
    reply_term(fake_call(world.fake, RPC_RANGE), 7);
    CHECK(askers[0].n == 2 && askers[0].term == 7);
    CHECK(fake_n_calls(world.fake, FAKE_ANY) == 0);
    world_close(&world);
}

static void all_may_stop_while_the_read_is_out(void) {
    struct world world = world_of(1);
    struct asker asker;
    start(&world, &asker, 0, S);
    rpc_enter(world.rpc);
    confirm_stop(&asker.confirm);
    rpc_leave(world.rpc);
    start(&world, &asker, 0, S); /* not served by a read sent before it asked */
    reply_term(fake_call(world.fake, RPC_RANGE), 5);
    CHECK(asker.n == 0);
    reply_term(fake_call(world.fake, RPC_RANGE), 6);
    CHECK(asker.n == 1 && asker.term == 6);
    world_close(&world);
}

static void closing_answers_who_waits(void) {
    struct world world = world_of(1);
    struct asker first, second;
    start(&world, &first, 0, S);
    start(&world, &second, 0, S);
    world_close(&world);
    CHECK(first.n == 1 && first.code == LUN_ECANCELLED && second.n == 1 && second.code == LUN_ECLOSED);
}

static void a_confirmation_without_memory(void) {
    struct world world = world_of(1);
    struct asker first, second;
    confirm_init(&first.confirm, on_confirmed);
    rpc_enter(world.rpc);
    fake_fail_next(world.fake, 1);
    CHECK(confirm_start(&first.confirm, world_member(&world, 0), S) == LUN_ENOMEM &&
          !first.confirm.is_waiting);
    rpc_leave(world.rpc);
    start(&world, &first, 0, S);
    start(&world, &second, 0, S);
    fake_fail_next(world.fake, 1);
    reply_term(fake_call(world.fake, RPC_RANGE), 5);
    CHECK(first.n == 1 && first.code == 0 && second.n == 1 && second.code == LUN_ENOMEM);
    world_close(&world);
}

/* ---- what errors mean ------------------------------------------------------------------------------- */

static void errors_are_told_apart(void) {
    enum { NEVER = AGAIN_NEVER, HERE = AGAIN_HERE, ELSE = AGAIN_ELSEWHERE };
    static const struct {
        int status;
        const char *message;
        bool is_unsent;
        int code, again;
        bool is_unknown, is_fault, is_stale;
    } rows[] = {
        {RPC_UNAVAILABLE, "failed to connect", true, LUN_EUNAVAILABLE, ELSE, false, true, false},
        {RPC_UNAVAILABLE, "Socket closed", false, LUN_EUNAVAILABLE, ELSE, true, true, false},
        {RPC_UNAVAILABLE, "etcdserver: no leader", false, LUN_EUNAVAILABLE, ELSE, false, true, false},
        {RPC_UNAVAILABLE, "etcdserver: leader changed", false, LUN_EUNAVAILABLE, ELSE, true, false, false},
        {RPC_UNAVAILABLE, "etcdserver: server stopped", false, LUN_EUNAVAILABLE, ELSE, true, true, false},
        {RPC_UNAVAILABLE, "etcdserver: request timed out, possibly due to connection lost", false,
         LUN_EUNAVAILABLE, ELSE, true, true, false},
        {RPC_UNAVAILABLE, "etcdserver: unhealthy cluster", false, LUN_EUNAVAILABLE, ELSE, true, true, false},
        {RPC_RESOURCE_EXHAUSTED, "etcdserver: too many requests", false, LUN_EUNAVAILABLE, HERE, false, false,
         false},
        {RPC_RESOURCE_EXHAUSTED, "etcdserver: mvcc: database space exceeded", false, LUN_ENOSPACE, NEVER,
         false, false, false},
        {RPC_RESOURCE_EXHAUSTED, "Received message larger than max (5 vs. 4)", false, LUN_EINVALID, NEVER,
         true, false, false},
        {RPC_UNKNOWN, "not a primary lessor", false, LUN_EUNAVAILABLE, ELSE, false, true, false},
        {RPC_UNKNOWN, "raft proposal dropped", false, LUN_EUNAVAILABLE, HERE, false, false, false},
        {RPC_FAILED_PRECONDITION, "etcdserver: rpc not supported for learner", false, LUN_EUNAVAILABLE, ELSE,
         false, true, false},
        {RPC_FAILED_PRECONDITION, "etcdserver: not leader", false, LUN_EUNAVAILABLE, ELSE, false, true,
         false},
        {RPC_FAILED_PRECONDITION, "etcdserver: lease already exists", false, LUN_EINVALID, NEVER, false,
         false, false},
        {RPC_OUT_OF_RANGE, "etcdserver: mvcc: required revision has been compacted", false, LUN_ECOMPACTED,
         NEVER, false, false, false},
        {RPC_OUT_OF_RANGE, "etcdserver: mvcc: required revision is a future revision", false, LUN_EINVALID,
         NEVER, false, false, false},
        {RPC_UNAUTHENTICATED, "etcdserver: invalid auth token", false, LUN_EUNAUTHENTICATED, HERE, false,
         false, true},
        {RPC_INVALID_ARGUMENT, "etcdserver: user name is empty", false, LUN_EUNAUTHENTICATED, HERE, false,
         false, true},
        {RPC_INVALID_ARGUMENT, "etcdserver: revision of auth store is old", false, LUN_EUNAUTHENTICATED, HERE,
         false, false, true},
        {RPC_INVALID_ARGUMENT, "etcdserver: authentication failed, invalid user ID or password", false,
         LUN_EUNAUTHENTICATED, NEVER, false, false, false},
        {RPC_INVALID_ARGUMENT, "etcdserver: duplicate key given in txn request", false, LUN_EINVALID, NEVER,
         false, false, false},
        {RPC_PERMISSION_DENIED, "etcdserver: permission denied", false, LUN_EPERMISSION, NEVER, false, false,
         false},
        {RPC_NOT_FOUND, "etcdserver: requested lease not found", false, LUN_EINVALID, NEVER, false, false,
         false},
        {RPC_UNIMPLEMENTED, "unknown service etcdserverpb.KV", false, LUN_EUNAVAILABLE, ELSE, false, true,
         false},
        {RPC_INTERNAL, "does not unpack", false, LUN_EUNAVAILABLE, ELSE, true, true, false},
        {RPC_DATA_LOSS, "etcdserver: corrupt cluster", false, LUN_EUNAVAILABLE, ELSE, true, true, false},
        {99, "", false, LUN_EUNAVAILABLE, ELSE, true, true, false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct status_class class = status_classify(rows[i].status, rows[i].message, rows[i].is_unsent);
        if (class.code != rows[i].code || (int)class.again != rows[i].again ||
            class.is_outcome_unknown != rows[i].is_unknown || class.is_member_fault != rows[i].is_fault ||
            class.is_token_stale != rows[i].is_stale)
            check_fail(__FILE__, __LINE__, rows[i].message);
    }
}

static void a_member_that_cannot_be_reached_is_told_by_its_reason(void) {
    static const struct {
        const char *message, *text;
    } rows[] = {
        {"Failed to connect to remote host: Connection refused", "refused"},
        {"DNS resolution failed for nowhere:1: C-ares status is not ARES_SUCCESS",
         "cannot be found: its name does not resolve"},
        {"last error: UNAVAILABLE: Failed parsing HTTP/2", "does not speak HTTP/2: is it an etcd?"},
        {"Trying to connect an http1.x server", "does not speak HTTP/2: is it an etcd?"},
        {"", "could not be reached"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char text[100];
        status_describe(
            text, sizeof text,
            &(struct rpc_result){.status = RPC_UNAVAILABLE, .message = rows[i].message, .is_unsent = true});
        CHECK_TEXT(text, rows[i].text);
    }
}

int main(void) {
    RUN(a_renewal_bears_the_time_it_was_sent);
    RUN(a_renewal_of_a_senseless_ttl_is_malformed);
    RUN(answers_to_nothing_are_ignored);
    RUN(a_broken_keepalive_says_why);
    RUN(a_reply_that_cannot_be_used_breaks_it);
    RUN(a_keepalive_may_be_closed_from_its_callbacks);
    RUN(closing_waits_for_a_keepalive);
    RUN(a_keepalive_without_memory);
    RUN(one_read_serves_all_who_asked_before_it);
    RUN(a_read_that_fails_says_so);
    RUN(who_waits_may_stop_and_start_again);
    RUN(all_may_stop_while_the_read_is_out);
    RUN(closing_answers_who_waits);
    RUN(a_confirmation_without_memory);
    RUN(errors_are_told_apart);
    RUN(a_member_that_cannot_be_reached_is_told_by_its_reason);
    return check_end();
}
