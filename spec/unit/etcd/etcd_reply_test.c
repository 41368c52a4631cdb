/* spec/unit/etcd/etcd_reply_test.c - what is read out of replies, and replies that are no replies. */
#include "etcd_asking.h"

static void a_reply_without_a_header_is_no_answer(void) {
    struct world world = world_of(2);
    struct got got;
    Etcdserverpb__PutResponse response = ETCDSERVERPB__PUT_RESPONSE__INIT;
    (void)put(&world, &got, 5 * S);
    fake_reply(flight(&world, RPC_PUT, "a:1"), &response.base);
    CHECK(got.n == 1 && got.code == LUN_EUNKNOWN);
    CHECK(strstr(got.err.text, "a:1 sent a reply without a header"));
    Etcdserverpb__RangeResponse range = ETCDSERVERPB__RANGE_RESPONSE__INIT;
    (void)get(&world, &got, 5 * S);
    fake_reply(flight(&world, RPC_RANGE, "b:1"), &range.base);
    reply_range(flight(&world, RPC_RANGE, "a:1"), NULL, 5);
    CHECK(got.n == 1 && got.code == 0);
    world_close(&world);
}

static struct etcd_call *two_ops(struct world *world, struct got *got) {
    static struct lun_kv_op success[2], failure[1];
    success[0] = (struct lun_kv_op){.kind = LUN_OP_PUT, .key = lun_bytes_of("k")};
    success[1] = (struct lun_kv_op){.kind = LUN_OP_RANGE, .key = lun_bytes_of("k")};
    failure[0] = (struct lun_kv_op){.kind = LUN_OP_DELETE, .key = lun_bytes_of("k")};
    struct lun_cmp compare = {.target = LUN_CMP_CREATE, .key = lun_bytes_of("k")};
    struct lun_txn txn = {.compares = &compare,
                          .n_compares = 1,
                          .success = success,
                          .n_success = 2,
                          .failure = failure,
                          .n_failure = 1};
    struct etcd_call_options how = within(world, 5 * S);
    struct etcd_call *call = NULL;
    *got = (struct got){0};
    rpc_enter(world->rpc);
    CHECK(etcd_txn(world->etcd, &txn, &how, got_reply, got, &call) == 0);
    rpc_leave(world->rpc);
    return call;
}

/* `kinds`: p, r, d, or - for a result without content. */
static void reply_txn(struct fake_call *call, bool is_success, const char *kinds) {
    Etcdserverpb__ResponseHeader header = header_of(OUR_CLUSTER, 900, 2);
    Etcdserverpb__TxnResponse txn = ETCDSERVERPB__TXN_RESPONSE__INIT;
    Etcdserverpb__ResponseOp ops[4], *pointers[4];
    Etcdserverpb__PutResponse put_response = ETCDSERVERPB__PUT_RESPONSE__INIT;
    Etcdserverpb__RangeResponse range = ETCDSERVERPB__RANGE_RESPONSE__INIT;
    Etcdserverpb__DeleteRangeResponse delete_range = ETCDSERVERPB__DELETE_RANGE_RESPONSE__INIT;
    Etcdserverpb__KeyValue kv[10], *kvs[10];
    for (int i = 0; i < 10; i++) {
        etcdserverpb__key_value__init(&kv[i]);
        kv[i].key = text_data("k");
        kv[i].create_revision = kv[i].mod_revision = 100 + i;
        kv[i].version = 1;
        kvs[i] = &kv[i];
    }
    put_response.prev_kv = &kv[3];
    range.kvs = kvs;
    range.n_kvs = 10;
    range.count = 10;
    for (size_t i = 0; kinds[i]; i++) {
        etcdserverpb__response_op__init(&ops[i]);
        pointers[i] = &ops[i];
        if (kinds[i] == 'p') {
            ops[i].response_case = ETCDSERVERPB__RESPONSE_OP__RESPONSE_RESPONSE_PUT;
            ops[i].response_put = &put_response;
        } else if (kinds[i] == 'r') {
            ops[i].response_case = ETCDSERVERPB__RESPONSE_OP__RESPONSE_RESPONSE_RANGE;
            ops[i].response_range = &range;
        } else if (kinds[i] == 'd') {
            ops[i].response_case = ETCDSERVERPB__RESPONSE_OP__RESPONSE_RESPONSE_DELETE_RANGE;
            ops[i].response_delete_range = &delete_range;
        }
    }
    txn.header = &header;
    txn.succeeded = is_success;
    txn.responses = pointers;
    txn.n_responses = strlen(kinds);
    fake_reply(call, &txn.base);
}

static void a_transactions_results_are_checked(void) {
    struct world world = world_of(1);
    struct got got;
    (void)two_ops(&world, &got);
    reply_txn(flight(&world, RPC_TXN, "a:1"), true, "pr");
    CHECK(got.n == 1 && got.code == 0 && got.reply.is_success && got.reply.n_results == 2);
    CHECK(got.results[0].kind == LUN_OP_PUT && got.results[0].n_kvs == 1 && got.revs[0] == 103);
    CHECK(got.results[1].kind == LUN_OP_RANGE && got.results[1].n_kvs == 10 && got.revs[1] == 100);
    (void)two_ops(&world, &got);
    reply_txn(flight(&world, RPC_TXN, "a:1"), false, "d");
    CHECK(got.n == 1 && got.code == 0 && !got.reply.is_success && got.results[0].kind == LUN_OP_DELETE);
    static const char *const bad[] = {"", "p", "prr", "rp", "p-", "dd"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        (void)two_ops(&world, &got);
        reply_txn(flight(&world, RPC_TXN, "a:1"), true, bad[i]);
        CHECK(got.n == 1 && got.code == LUN_EUNKNOWN && strstr(got.err.text, "malformed"));
    }
    (void)two_ops(&world, &got);
    reply_txn(flight(&world, RPC_TXN, "a:1"), false, "p");
    CHECK(got.n == 1 && got.code == LUN_EUNKNOWN);
    world_close(&world);
}

/* The header of the last result bears it again. */
static void a_transaction_whose_revision_is_told_in_two_ways_is_malformed(void) {
    struct world world = world_of(1);
    for (int64_t revision = 99; revision <= 101; revision++) {
        struct got got;
        (void)two_ops(&world, &got);
        Etcdserverpb__ResponseHeader whole = header_of(OUR_CLUSTER, 100, 2), part = {0};
        Etcdserverpb__TxnResponse txn = ETCDSERVERPB__TXN_RESPONSE__INIT;
        Etcdserverpb__ResponseOp ops[2], *pointers[] = {&ops[0], &ops[1]};
        Etcdserverpb__PutResponse put = ETCDSERVERPB__PUT_RESPONSE__INIT;
        Etcdserverpb__RangeResponse range = ETCDSERVERPB__RANGE_RESPONSE__INIT;
        etcdserverpb__response_header__init(&part);
        part.revision = revision;
        range.header = &part;
        for (int i = 0; i < 2; i++)
            etcdserverpb__response_op__init(&ops[i]);
        ops[0].response_case = ETCDSERVERPB__RESPONSE_OP__RESPONSE_RESPONSE_PUT;
        ops[0].response_put = &put;
        ops[1].response_case = ETCDSERVERPB__RESPONSE_OP__RESPONSE_RESPONSE_RANGE;
        ops[1].response_range = &range;
        txn.header = &whole;
        txn.succeeded = true;
        txn.responses = pointers;
        txn.n_responses = 2;
        fake_reply(flight(&world, RPC_TXN, "a:1"), &txn.base);
        CHECK(got.n == 1 && got.code == (revision == 100 ? 0 : LUN_EUNKNOWN));
        CHECK(revision == 100 || strstr(got.err.text, "sent a malformed reply (revision 100, and "));
    }
    world_close(&world);
}

static void a_transaction_without_conditions_cannot_fail(void) {
    struct world world = world_of(1);
    struct got got = {0};
    struct lun_kv_op read = {.kind = LUN_OP_RANGE, .key = lun_bytes_of("k")};
    struct lun_txn txn = {.success = &read, .n_success = 1};
    struct etcd_call_options how = within(&world, 5 * S);
    rpc_enter(world.rpc);
    CHECK(etcd_txn(world.etcd, &txn, &how, got_reply, &got, NULL) == 0);
    rpc_leave(world.rpc);
    reply_txn(flight(&world, RPC_TXN, "a:1"), false, "");
    next_round(&world);
    CHECK(got.n == 0);
    reply_txn(flight(&world, RPC_TXN, "a:1"), true, "r");
    CHECK(got.n == 1 && got.code == 0 && got.reply.n_results == 1);
    world_close(&world);
}

static void a_grant_of_no_time_is_malformed(void) {
    struct world world = world_of(1);
    struct got got = {0};
    struct etcd_call_options how = within(&world, 5 * S);
    Etcdserverpb__ResponseHeader header = header_of(OUR_CLUSTER, 900, 2);
    Etcdserverpb__LeaseGrantResponse grant = ETCDSERVERPB__LEASE_GRANT_RESPONSE__INIT;
    grant.header = &header;
    grant.id = 5;
    rpc_enter(world.rpc);
    CHECK(etcd_lease_grant(world.etcd, 5, 10, &how, got_reply, &got, NULL) == 0);
    rpc_leave(world.rpc);
    fake_reply(flight(&world, RPC_LEASE_GRANT, "a:1"), &grant.base);
    CHECK(got.n == 1 && got.code == LUN_EUNKNOWN);
    how.is_idempotent = true;
    got = (struct got){0};
    rpc_enter(world.rpc);
    CHECK(etcd_lease_grant(world.etcd, 5, 10, &how, got_reply, &got, NULL) == 0);
    rpc_leave(world.rpc);
    grant.error = (char *)(uintptr_t) "no";
    fake_reply(flight(&world, RPC_LEASE_GRANT, "a:1"), &grant.base);
    next_round(&world);
    grant.error = (char *)protobuf_c_empty_string;
    grant.ttl = 12;
    fake_reply(flight(&world, RPC_LEASE_GRANT, "a:1"), &grant.base);
    CHECK(got.n == 1 && got.code == 0 && got.reply.lease == 5 && got.reply.ttl == 12);
    world_close(&world);
}

static void a_status_is_read(void) {
    struct world world = world_of(2);
    struct got got = {0};
    struct etcd_call_options how = within(&world, 5 * S);
    how.member = world_member(&world, 1);
    rpc_enter(world.rpc);
    CHECK(etcd_member_status(world.etcd, &how, got_reply, &got, NULL) == 0);
    rpc_leave(world.rpc);
    reply_status(flight(&world, RPC_MEMBER_STATUS, "b:1"), OUR_CLUSTER);
    CHECK(got.n == 1 && got.reply.leader_id == 7 && got.reply.raft_index == 9 && got.reply.db_size == 100);
    CHECK_TEXT(got.text, "3.4.23");
    world_close(&world);
}

int main(void) {
    RUN(a_reply_without_a_header_is_no_answer);
    RUN(a_transactions_results_are_checked);
    RUN(a_transaction_whose_revision_is_told_in_two_ways_is_malformed);
    RUN(a_transaction_without_conditions_cannot_fail);
    RUN(a_grant_of_no_time_is_malformed);
    RUN(a_status_is_read);
    return check_end();
}
