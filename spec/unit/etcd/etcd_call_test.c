/* spec/unit/etcd/etcd_call_test.c - one request and the members it is sent to: every way an attempt can end. */
#include "etcd_asking.h"

#include "etcd/cluster.h"

/* The first member has shown whose it is; then a write is refused by it, and goes to the second. */
static struct etcd_call *put_past_the_first(struct world *world, struct got *got, int64_t ns) {
    (void)get(world, got, 5 * S);
    reply_range(flight(world, RPC_RANGE, "a:1"), NULL, 5);
    struct etcd_call *call = put(world, got, ns);
    fake_refuse(flight(world, RPC_PUT, "a:1"));
    return call;
}

static void cancel(struct world *world, struct etcd_call *call) {
    rpc_enter(world->rpc);
    etcd_cancel(call);
    rpc_leave(world->rpc);
}

/* ---- answers ---------------------------------------------------------------------------------------- */

static void an_answer_is_handed_on(void) {
    struct world world = world_of(1);
    struct got got;
    (void)get(&world, &got, 5 * S);
    struct fake_call *call = flight(&world, RPC_RANGE, "a:1");
    CHECK(call->has_leader && call->token[0] == '\0');
    CHECK(call->deadline_ns == fake_now(world.fake) + ETCD_ATTEMPT_NS);
    int64_t sent = fake_now(world.fake);
    fake_freeze(world.fake, 10 * MS);
    reply_range(call, "k", 5);
    CHECK(got.n == 1 && got.code == 0 && !got.reply.has_unanswered);
    CHECK(got.reply.revision == 5 && got.reply.raft_term == 2 && got.reply.member_id == 7 &&
          got.reply.sent_ns == sent);
    CHECK(got.results[0].n_kvs == 1 && got.revs[0] == 5 && got.results[0].count == 1);
    CHECK_TEXT(got.address, "a:1");
    CHECK(etcd_highest_term(world.etcd) == 2);
    CHECK(fake_n_timers(world.fake) == 0);
    world_close(&world);
}

static void an_answer_that_is_a_refusal_ends_it(void) {
    static const struct {
        int status, code;
        const char *message;
    } rows[] = {
        {RPC_NOT_FOUND, LUN_EINVALID, "etcdserver: requested lease not found"},
        {RPC_FAILED_PRECONDITION, LUN_EINVALID, "etcdserver: lease already exists"},
        {RPC_OUT_OF_RANGE, LUN_ECOMPACTED, "etcdserver: mvcc: required revision has been compacted"},
        {RPC_PERMISSION_DENIED, LUN_EPERMISSION, "etcdserver: permission denied"},
        {RPC_RESOURCE_EXHAUSTED, LUN_ENOSPACE, "etcdserver: mvcc: database space exceeded"},
        {RPC_INVALID_ARGUMENT, LUN_EUNAUTHENTICATED, "etcdserver: user name is empty"},
        {RPC_UNAUTHENTICATED, LUN_EUNAUTHENTICATED, "etcdserver: invalid auth token"},
    };
    struct world world = world_of(2);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct got got;
        (void)put(&world, &got, 5 * S);
        fake_fail(flight(&world, RPC_PUT, "a:1"), rows[i].status, rows[i].message);
        CHECK(got.n == 1 && got.code == rows[i].code && got.err.status == rows[i].status);
        CHECK(!got.err.is_outcome_unknown && !got.err.is_retriable && !got.reply.has_unanswered);
        CHECK(strstr(got.err.text, rows[i].message));
        CHECK(etcd_is_lease_not_found(&got.err) == (i == 0) && etcd_is_lease_exists(&got.err) == (i == 1));
    }
    world_close(&world);
}

/* ---- one after another ------------------------------------------------------------------------------ */

static void a_refused_connection_goes_to_the_next_at_once(void) {
    struct world world = world_of(3);
    struct got got;
    (void)put(&world, &got, 5 * S);
    fake_refuse(flight(&world, RPC_PUT, "a:1"));
    fake_refuse(flight(&world, RPC_PUT, "b:1"));
    reply_put(flight(&world, RPC_PUT, "c:1"), OUR_CLUSTER);
    CHECK(got.n == 1 && got.code == 0 && !got.reply.has_unanswered);
    CHECK_TEXT(got.address, "c:1");
    (void)get(&world, &got, 5 * S); /* the choice stays with who answers */
    reply_range(flight(&world, RPC_RANGE, "c:1"), NULL, 5);
    CHECK(got.n == 1);
    world_close(&world);
}

static void a_repeated_request_is_the_same(void) {
    struct world world = world_of(2);
    struct got got;
    char key[] = "the key", value[] = "the value";
    (void)ask(&world, &got,
              &(struct lun_kv_op){.kind = LUN_OP_PUT,
                                  .key = {key, 7},
                                  .value = {value, 9},
                                  .lease = INT64_C(0x7123456789abcdef),
                                  .wants_prev_kv = true},
              within(&world, 5 * S));
    memset(key, 'x', sizeof key);
    memset(value, 'x', sizeof value);
    fake_refuse(flight(&world, RPC_PUT, "a:1"));
    struct fake_call *call = flight(&world, RPC_PUT, "b:1");
    const Etcdserverpb__PutRequest *request = (const Etcdserverpb__PutRequest *)call->request;
    CHECK(request->key.len == 7 && memcmp(request->key.data, "the key", 7) == 0);
    CHECK(request->value.len == 9 && memcmp(request->value.data, "the value", 9) == 0);
    CHECK(request->lease == INT64_C(0x7123456789abcdef) && request->prev_kv);
    reply_put(call, OUR_CLUSTER);
    CHECK(got.n == 1 && got.code == 0);
    world_close(&world);
}

static void between_rounds_it_waits_longer_and_longer(void) {
    struct world world = world_of(2);
    struct got got;
    (void)get(&world, &got, RPC_NEVER);
    int64_t longest = 0;
    for (int round = 0; round < 20; round++) {
        for (int i = 0; i < 2; i++)
            fake_refuse(fake_call(world.fake, RPC_RANGE));
        int64_t delay = fake_next_timer(world.fake) - fake_now(world.fake);
        longest = delay > longest ? delay : longest;
        CHECK(round > 0 || delay <= 75 * MS);
        next_round(&world);
    }
    CHECK(longest > 100 * MS && longest <= 125 * MS); /* etcd, once it is there again, is found soon */
    reply_range(fake_call(world.fake, RPC_RANGE), NULL, 5);
    CHECK(got.n == 1 && got.code == 0);
    world_close(&world);
}

static void many_calls_wait_longer_than_one(void) {
    struct world world = world_of(1);
    struct got got;
    enum { N_OTHERS = 300 };
    for (int i = 0; i < N_OTHERS; i++)
        etcd_out_begin(world.etcd);
    (void)get(&world, &got, RPC_NEVER);
    int64_t longest = 0;
    for (int round = 0; round < 20; round++) {
        fake_refuse(fake_call(world.fake, RPC_RANGE));
        int64_t delay = fake_next_timer(world.fake) - fake_now(world.fake);
        longest = delay > longest ? delay : longest;
        next_round(&world);
    }
    CHECK(longest > 300 * MS && longest <= 500 * MS);
    reply_range(fake_call(world.fake, RPC_RANGE), NULL, 5);
    CHECK(got.n == 1 && got.code == 0);
    for (int i = 0; i < N_OTHERS; i++)
        etcd_out_end(world.etcd);
    world_close(&world);
}

static void who_was_not_at_fault_is_asked_again_later(void) {
    struct world world = world_of(2);
    struct got got;
    (void)put(&world, &got, 5 * S);
    fake_fail(flight(&world, RPC_PUT, "a:1"), RPC_RESOURCE_EXHAUSTED, "etcdserver: too many requests");
    next_round(&world);
    reply_put(flight(&world, RPC_PUT, "a:1"), OUR_CLUSTER);
    CHECK(got.n == 1 && got.code == 0 && !got.reply.has_unanswered);
    world_close(&world);
}

static void a_member_without_a_leader_is_passed_over(void) {
    struct world world = world_of(2);
    struct got got;
    (void)put(&world, &got, 5 * S);
    fake_fail(flight(&world, RPC_PUT, "a:1"), RPC_UNAVAILABLE, "etcdserver: no leader");
    reply_put(flight(&world, RPC_PUT, "b:1"), OUR_CLUSTER);
    CHECK(got.n == 1 && got.code == 0 && !got.reply.has_unanswered);
    world_close(&world);
}

static void a_serializable_read_needs_no_leader(void) {
    struct world world = world_of(1);
    struct got got;
    (void)ask(&world, &got,
              &(struct lun_kv_op){.kind = LUN_OP_RANGE, .key = lun_bytes_of("k"), .is_serializable = true},
              within(&world, S));
    struct fake_call *call = flight(&world, RPC_RANGE, "a:1");
    CHECK(!call->has_leader && ((const Etcdserverpb__RangeRequest *)call->request)->serializable);
    reply_range(call, NULL, 5);
    world_close(&world);
}

/* ---- writes whose outcome is unknown ---------------------------------------------------------------- */

static void a_write_that_was_sent_is_not_repeated(void) {
    static const struct {
        int status;
        const char *message;
    } rows[] = {{RPC_UNAVAILABLE, "Socket closed"},
                {RPC_UNAVAILABLE, "etcdserver: leader changed"},
                {RPC_UNAVAILABLE, "etcdserver: request timed out, possibly due to previous leader failure"},
                {RPC_UNAVAILABLE, "etcdserver: server stopped"},
                {RPC_UNKNOWN, "context canceled"},
                {RPC_CANCELLED, "the server cancelled it"},
                {RPC_INTERNAL, "the reply could not be unpacked"}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct world world = world_of(2);
        struct got got;
        (void)put(&world, &got, 5 * S);
        fake_fail(flight(&world, RPC_PUT, "a:1"), rows[i].status, rows[i].message);
        CHECK(got.n == 1 && got.code == LUN_EUNKNOWN && got.err.is_outcome_unknown &&
              got.reply.has_unanswered);
        CHECK(strstr(got.err.text, "a:1") && strstr(got.err.text, rows[i].message));
        world_close(&world);
    }
}

static void a_repeatable_write_is_repeated_and_says_so(void) {
    struct world world = world_of(2);
    struct got got;
    (void)put_again(&world, &got, 5 * S);
    fake_fail(flight(&world, RPC_PUT, "a:1"), RPC_UNAVAILABLE, "Socket closed");
    reply_put(flight(&world, RPC_PUT, "b:1"), OUR_CLUSTER);
    CHECK(got.n == 1 && got.code == 0 && got.reply.has_unanswered);
    world_close(&world);
}

static void a_read_has_no_outcome(void) {
    struct world world = world_of(1);
    struct got got;
    (void)get(&world, &got, 100 * MS);
    fake_fail(flight(&world, RPC_RANGE, "a:1"), RPC_UNAVAILABLE, "Socket closed");
    fake_advance(world.fake, S);
    CHECK(got.n == 1 && got.code == LUN_EUNAVAILABLE && !got.err.is_outcome_unknown &&
          got.reply.has_unanswered);
    world_close(&world);
}

static void a_transaction_of_reads_is_a_read(void) {
    struct world world = world_of(2);
    struct got got = {0};
    struct lun_kv_op op = {.kind = LUN_OP_RANGE, .key = lun_bytes_of("k")};
    struct etcd_call_options how = within(&world, 5 * S);
    rpc_enter(world.rpc);
    CHECK(etcd_txn(world.etcd, &(struct lun_txn){.success = &op, .n_success = 1}, &how, got_reply, &got,
                   NULL) == 0);
    rpc_leave(world.rpc);
    fake_fail(flight(&world, RPC_TXN, "a:1"), RPC_UNAVAILABLE, "Socket closed");
    CHECK(got.n == 0);
    fake_refuse(flight(&world, RPC_TXN, "b:1"));
    fake_advance(world.fake, 10 * S);
    CHECK(got.n == 1 && !got.err.is_outcome_unknown);
    world_close(&world);
}

/* ---- deadlines -------------------------------------------------------------------------------------- */

static void the_deadline_comes_between_rounds(void) {
    struct world world = world_of(1);
    struct got got;
    int64_t end = fake_now(world.fake) + 30 * MS;
    (void)put(&world, &got, 30 * MS);
    fake_refuse(flight(&world, RPC_PUT, "a:1"));
    CHECK(got.n == 0 && fake_next_timer(world.fake) == end);
    fake_advance(world.fake, 30 * MS);
    CHECK(got.n == 1 && got.code == LUN_EUNAVAILABLE && !got.err.is_outcome_unknown);
    CHECK_TEXT(got.err.text, "no etcd member answered within 30 ms (a:1 refused)");
    world_close(&world);
}

static void a_deadline_that_has_passed_sends_nothing(void) {
    struct world world = world_of(1);
    struct got got;
    (void)get(&world, &got, -S);
    CHECK(got.n == 0 && fake_n_calls_made(world.fake) == 0);
    fake_run(world.fake);
    CHECK(got.n == 1 && got.code == LUN_EUNAVAILABLE && !got.reply.has_unanswered);
    world_close(&world);
}

static void the_last_error_tells_what_was_said(void) {
    struct world world = world_of(1);
    struct got got;
    (void)get(&world, &got, 20 * MS);
    fake_fail(flight(&world, RPC_RANGE, "a:1"), RPC_RESOURCE_EXHAUSTED, "etcdserver: too many requests");
    fake_advance(world.fake, 20 * MS);
    CHECK_TEXT(got.err.text, "no etcd member answered within 20 ms (a:1 etcdserver: too many requests)");
    world_close(&world);
}

static void one_member_alone_can_be_asked(void) {
    struct world world = world_of(2);
    struct got got;
    struct etcd_call_options how = within(&world, 300 * MS);
    how.member = world_member(&world, 1);
    (void)get_how(&world, &got, how);
    for (; got.n == 0; fake_advance(world.fake, MS)) {
        struct fake_call *call = fake_call(world.fake, RPC_RANGE);
        if (!call)
            continue;
        CHECK_TEXT(call->address, "b:1");
        fake_refuse(call);
    }
    CHECK_TEXT(got.err.text, "no etcd member answered within 300 ms (b:1 refused)");
    world_close(&world);
}

/* ---- cancelling, in each state ---------------------------------------------------------------------- */

static void cancelled_while_asking(void) {
    struct world world = world_of(2);
    struct got got;
    struct etcd_call *call = put(&world, &got, 5 * S);
    cancel(&world, call);
    cancel(&world, call);
    CHECK(got.n == 0);
    fake_run(world.fake);
    CHECK(got.n == 1 && got.code == LUN_ECANCELLED && got.err.is_outcome_unknown && got.reply.has_unanswered);
    CHECK(fake_n_calls_made(world.fake) == 1);
    CHECK(etcd_pick(world.etcd) == world_member(&world, 0)); /* nobody is to blame */
    world_close(&world);
}

static void cancelled_but_the_answer_was_faster(void) {
    struct world world = world_of(2);
    struct got got;
    cancel(&world, put(&world, &got, 5 * S));
    reply_put(fake_cancelled_call(world.fake, RPC_PUT), OUR_CLUSTER);
    CHECK(got.n == 1 && got.code == 0);
    cancel(&world, put(&world, &got, 5 * S));
    fake_fail(fake_cancelled_call(world.fake, RPC_PUT), RPC_PERMISSION_DENIED,
              "etcdserver: permission denied");
    CHECK(got.n == 1 && got.code == LUN_EPERMISSION);
    cancel(&world, put_again(&world, &got, 5 * S));
    fake_refuse(fake_cancelled_call(world.fake, RPC_PUT));
    CHECK(got.n == 1 && got.code == LUN_ECANCELLED && !got.err.is_outcome_unknown);
    CHECK(fake_n_calls(world.fake, FAKE_ANY) == 0);
    world_close(&world);
}

static void cancelled_while_waiting(void) {
    struct world world = world_of(1);
    struct got got;
    struct etcd_call *call = put(&world, &got, 5 * S);
    fake_refuse(flight(&world, RPC_PUT, "a:1"));
    cancel(&world, call);
    CHECK(got.n == 0);
    fake_run(world.fake);
    CHECK(got.n == 1 && got.code == LUN_ECANCELLED && !got.err.is_outcome_unknown &&
          !got.reply.has_unanswered);
    world_close(&world);
}

static void cancelled_while_verifying(void) {
    struct world world = world_of(2);
    struct got got;
    struct etcd_call *call = put_past_the_first(&world, &got, 5 * S);
    (void)flight(&world, RPC_MEMBER_STATUS, "b:1");
    cancel(&world, call);
    fake_run(world.fake);
    CHECK(got.n == 1 && got.code == LUN_ECANCELLED && !got.err.is_outcome_unknown);
    call = put(&world, &got, 5 * S);
    (void)flight(&world, RPC_MEMBER_STATUS, "b:1");
    cancel(&world, call);
    reply_status(fake_cancelled_call(world.fake, RPC_MEMBER_STATUS), OUR_CLUSTER);
    CHECK(got.n == 1 && got.code == LUN_ECANCELLED && !got.err.is_outcome_unknown);
    CHECK(fake_n_calls(world.fake, FAKE_ANY) == 0);
    world_close(&world);
}

static void closing_answers_every_call(void) {
    struct world world = world_of(1);
    struct got got[3];
    for (int i = 0; i < 3; i++)
        (void)put(&world, &got[i], RPC_NEVER);
    fake_refuse(fake_call(world.fake, RPC_PUT));
    world_close(&world);
    for (int i = 0; i < 3; i++)
        CHECK(got[i].n == 1 && got[i].code == LUN_ECANCELLED);
}

/* ---- clusters --------------------------------------------------------------------------------------- */

static void a_new_member_shows_whose_it_is_before_it_is_written_to(void) {
    struct world world = world_of(2);
    struct got got;
    (void)put_past_the_first(&world, &got, 5 * S);
    struct fake_call *status = flight(&world, RPC_MEMBER_STATUS, "b:1");
    CHECK(!status->has_leader);
    reply_status(status, OUR_CLUSTER);
    reply_put(flight(&world, RPC_PUT, "b:1"), OUR_CLUSTER);
    CHECK(got.n == 1 && got.code == 0);
    (void)put(&world, &got, 5 * S); /* once is enough */
    reply_put(flight(&world, RPC_PUT, "b:1"), OUR_CLUSTER);
    world_close(&world);
}

static void a_member_of_another_cluster_is_never_written_to(void) {
    struct world world = world_of(2);
    struct got got;
    (void)put_past_the_first(&world, &got, S);
    reply_status(flight(&world, RPC_MEMBER_STATUS, "b:1"), OTHER_CLUSTER);
    for (; got.n == 0; fake_advance(world.fake, MS)) {
        struct fake_call *call = fake_call(world.fake, FAKE_ANY);
        if (!call)
            continue;
        CHECK(call->method == RPC_MEMBER_STATUS || call->address[0] == 'a');
        if (call->method == RPC_MEMBER_STATUS)
            reply_status(call, OTHER_CLUSTER);
        else
            fake_refuse(call);
    }
    CHECK(got.code == LUN_EINVALID && !got.err.is_outcome_unknown);
    CHECK_TEXT(got.err.text, "the endpoints are of two clusters: a:1 belongs to cluster c1, b:1 to c2; list "
                             "the members of one");
    world_close(&world);
}

/* It may be its header alone that is false: the write may have been carried out. */
static void a_member_that_changes_its_cluster_is_refused(void) {
    struct world world = world_of(2);
    struct got got;
    (void)get(&world, &got, 5 * S);
    reply_range(flight(&world, RPC_RANGE, "a:1"), NULL, 5);
    (void)put(&world, &got, 5 * S);
    reply_put(flight(&world, RPC_PUT, "a:1"), OTHER_CLUSTER);
    CHECK(got.n == 1 && got.code == LUN_EUNKNOWN && got.err.is_outcome_unknown);
    (void)put_again(&world, &got, 5 * S);
    reply_status(flight(&world, RPC_MEMBER_STATUS, "b:1"), OUR_CLUSTER);
    reply_put(flight(&world, RPC_PUT, "b:1"), OUR_CLUSTER);
    CHECK(got.n == 1 && got.code == 0);
    CHECK_TEXT(got.address, "b:1");
    world_close(&world);
}

static void a_member_that_may_not_tell_is_asked_all_the_same(void) {
    struct world world = world_of(2);
    struct got got;
    (void)put_past_the_first(&world, &got, 5 * S);
    fake_fail(flight(&world, RPC_MEMBER_STATUS, "b:1"), RPC_PERMISSION_DENIED,
              "etcdserver: permission denied");
    reply_put(flight(&world, RPC_PUT, "b:1"), OUR_CLUSTER);
    CHECK(got.n == 1 && got.code == 0);
    world_close(&world);
}

/* ---- memory ----------------------------------------------------------------------------------------- */

static void without_memory_nothing_is_asked(void) {
    struct world world = world_of(2);
    struct got got = {0};
    struct lun_kv_op op = {.kind = LUN_OP_PUT, .key = lun_bytes_of("k")};
    struct etcd_call_options how = within(&world, 5 * S);
    fake_fail_next(world.fake, 1);
    rpc_enter(world.rpc);
    CHECK(etcd_do(world.etcd, &op, &how, got_reply, &got, NULL) == LUN_ENOMEM);
    rpc_leave(world.rpc);
    fake_advance(world.fake, 10 * S);
    CHECK(got.n == 0);
    (void)put(&world, &got, 5 * S);
    fake_fail_next(world.fake, 1);
    fake_refuse(flight(&world, RPC_PUT, "a:1"));
    CHECK(got.n == 1 && got.code == LUN_ENOMEM && !got.err.is_outcome_unknown);
    world_close(&world);
}

int main(void) {
    RUN(an_answer_is_handed_on);
    RUN(an_answer_that_is_a_refusal_ends_it);
    RUN(a_refused_connection_goes_to_the_next_at_once);
    RUN(a_repeated_request_is_the_same);
    RUN(between_rounds_it_waits_longer_and_longer);
    RUN(many_calls_wait_longer_than_one);
    RUN(who_was_not_at_fault_is_asked_again_later);
    RUN(a_member_without_a_leader_is_passed_over);
    RUN(a_serializable_read_needs_no_leader);
    RUN(a_write_that_was_sent_is_not_repeated);
    RUN(a_repeatable_write_is_repeated_and_says_so);
    RUN(a_read_has_no_outcome);
    RUN(a_transaction_of_reads_is_a_read);
    RUN(the_deadline_comes_between_rounds);
    RUN(a_deadline_that_has_passed_sends_nothing);
    RUN(the_last_error_tells_what_was_said);
    RUN(one_member_alone_can_be_asked);
    RUN(cancelled_while_asking);
    RUN(cancelled_but_the_answer_was_faster);
    RUN(cancelled_while_waiting);
    RUN(cancelled_while_verifying);
    RUN(closing_answers_every_call);
    RUN(a_new_member_shows_whose_it_is_before_it_is_written_to);
    RUN(a_member_of_another_cluster_is_never_written_to);
    RUN(a_member_that_changes_its_cluster_is_refused);
    RUN(a_member_that_may_not_tell_is_asked_all_the_same);
    RUN(without_memory_nothing_is_asked);
    return check_end();
}
