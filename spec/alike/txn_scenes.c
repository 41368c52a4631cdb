/* spec/alike/txn_scenes.c - transactions. */
#include <stdlib.h>

#include "scene.h"

#define N_OF(array) (sizeof(array) / sizeof((array)[0]))

static const struct lun_kv_op nothing[] = {{0}};

/* The compare alone: both branches are empty. */
static void compare(struct party *party, struct lun_cmp cmp) {
    ask_txn(party, &(struct lun_txn){.compares = &cmp, .n_compares = 1, .success = nothing});
}

static void every_compare(struct party *party) {
    grant_lease(party, LEASE_TXN, 600);
    put(party, B("/c/1"), B("v1"));
    put(party, B("/c/2"), B("v2"));
    put_leased(party, B("/c/2"), B("v2"), LEASE_TXN);
    static const struct lun_bytes ranges[][2] = {{B("/c/2"), B("")},         {B("/c/"), B("/c0")},
                                                 {B("/none/"), B("/none0")}, {B("/none"), B("")},
                                                 {B("/c/2"), B("\0")},       {B("/c/2"), B("/c/1")}};
    int64_t base = party->base_rev;
    int64_t counts[] = {0, 1, 2, LEASE_TXN}, revisions[] = {0, base, base + 1, base + 3};
    for (size_t r = 0; r < N_OF(ranges); r++)
        for (int target = LUN_CMP_VERSION; target <= LUN_CMP_LEASE; target++)
            for (int result = LUN_CMP_EQUAL; result <= LUN_CMP_NOT_EQUAL; result++) {
                struct lun_cmp cmp = {.target = (enum lun_cmp_target)target,
                                      .result = (enum lun_cmp_result)result,
                                      .key = ranges[r][0],
                                      .range_end = ranges[r][1],
                                      .value = B("v2")};
                bool is_revision = target == LUN_CMP_CREATE || target == LUN_CMP_MOD;
                for (size_t i = 0; i < (target == LUN_CMP_VALUE ? 1 : N_OF(counts)); i++) {
                    cmp.number = is_revision ? revisions[i] : counts[i];
                    compare(party, cmp);
                }
            }
    revoke_lease(party, LEASE_TXN);
}

/* What the line does: the key is absent, so put it, and see who owns and who precedes. */
static void enter(struct party *party) {
    put(party, B("/line/2"), B("second"));
    put(party, B("/line/1"), B("first, by name"));
    struct lun_cmp absent = {.target = LUN_CMP_CREATE, .key = B("/line/3")};
    struct lun_kv_op success[] = {
        {.kind = LUN_OP_PUT, .key = B("/line/3"), .value = B("me")},
        {.key = B("/line/"),
         .range_end = B("/line0"),
         .limit = 1,
         .sort_order = LUN_SORT_ASCEND,
         .sort_target = LUN_SORT_CREATE},
        {.key = B("/line/"),
         .range_end = B("/line0"),
         .limit = 2,
         .sort_order = LUN_SORT_DESCEND,
         .sort_target = LUN_SORT_CREATE,
         .is_keys_only = true},
    };
    struct lun_txn txn = {&absent, 1, success, &success[1], 3, 2};
    ask_txn(party, &txn);
    ask_txn(party, &txn);
    /* try_lock: nobody is there. */
    struct lun_cmp empty = {.target = LUN_CMP_CREATE, .key = B("/line/"), .range_end = B("/line0")};
    txn.compares = &empty;
    ask_txn(party, &txn);
    del(party, B("/line/"), B("/line0"));
    ask_txn(party, &txn);
}

static void order_within(struct party *party) {
    put(party, B("/o/1"), B("old"));
    struct lun_kv_op ops[] = {
        {.key = B("/o/"), .range_end = B("/o0")},
        {.kind = LUN_OP_PUT, .key = B("/o/1"), .value = B("new"), .wants_prev_kv = true},
        {.key = B("/o/"), .range_end = B("/o0")},
        {.kind = LUN_OP_PUT, .key = B("/o/3"), .value = B("three")},
        {.kind = LUN_OP_PUT, .key = B("/o/2"), .value = B("two")},
        {.key = B("/o/"), .range_end = B("/o0"), .revision = party->base_rev + 1},
        {.kind = LUN_OP_DELETE, .key = B("/p"), .range_end = B("/q"), .wants_prev_kv = true},
        {.key = B("/o/"), .range_end = B("/o0"), .limit = 1, .is_keys_only = true},
    };
    ask_txn(party, &(struct lun_txn){.success = ops, .n_success = N_OF(ops)});
    get_all(party);
    struct lun_kv_op mixed[] = {
        {.kind = LUN_OP_DELETE, .key = B("/none")},
        {.key = B("/o/1")},
        {.kind = LUN_OP_DELETE, .key = B("/o/1"), .wants_prev_kv = true},
        {.kind = LUN_OP_DELETE, .key = B("/o/"), .range_end = B("/o0"), .wants_prev_kv = true},
        {.key = B("/o/"), .range_end = B("/o0")},
        {.kind = LUN_OP_PUT, .key = B("/r"), .value = B("r")},
    };
    ask_txn(party, &(struct lun_txn){.success = mixed, .n_success = N_OF(mixed)});
    get_all(party);
}

static void no_change(struct party *party) {
    put(party, B("/k"), B("v"));
    struct lun_kv_op ops[] = {{.kind = LUN_OP_DELETE, .key = B("/none")}, {.key = B("/k")}};
    ask_txn(party, &(struct lun_txn){.success = ops, .n_success = 2});
    ask_txn(party, &(struct lun_txn){.success = &ops[1], .n_success = 1});
    ask_txn(party, &(struct lun_txn){.success = nothing});
    get(party, B("/k"));
}

static void duplicates(struct party *party) {
    struct lun_kv_op twice[] = {{.kind = LUN_OP_PUT, .key = B("/k"), .value = B("1")},
                                {.kind = LUN_OP_PUT, .key = B("/k"), .value = B("2")}};
    struct lun_kv_op both[] = {{.kind = LUN_OP_PUT, .key = B("/k"), .value = B("1")},
                               {.kind = LUN_OP_DELETE, .key = B("/k")}};
    struct lun_kv_op inside[] = {{.kind = LUN_OP_DELETE, .key = B("/a"), .range_end = B("/z")},
                                 {.kind = LUN_OP_PUT, .key = B("/k"), .value = B("1")}};
    struct lun_kv_op beside[] = {{.kind = LUN_OP_DELETE, .key = B("/a"), .range_end = B("/k")},
                                 {.kind = LUN_OP_PUT, .key = B("/k"), .value = B("1")}};
    struct lun_kv_op deleted[] = {{.kind = LUN_OP_DELETE, .key = B("/a"), .range_end = B("/z")},
                                  {.kind = LUN_OP_DELETE, .key = B("/k")}};
    ask_txn(party, &(struct lun_txn){.success = twice, .n_success = 2});
    ask_txn(party, &(struct lun_txn){.failure = twice, .n_failure = 2, .success = nothing});
    ask_txn(party, &(struct lun_txn){.success = both, .n_success = 2});
    ask_txn(party, &(struct lun_txn){.success = inside, .n_success = 2});
    ask_txn(party, &(struct lun_txn){.success = beside, .n_success = 2});
    ask_txn(party, &(struct lun_txn){.success = deleted, .n_success = 2});
    ask_txn(party, &(struct lun_txn){.success = twice, .n_success = 1, .failure = &twice[1], .n_failure = 1});
    get_all(party);
}

static void refusals(struct party *party) {
    put(party, B("/k"), B("v"));
    struct lun_cmp present = {.target = LUN_CMP_VERSION, .result = LUN_CMP_GREATER, .key = B("/k")};
    struct lun_cmp keyless = {.target = LUN_CMP_VERSION};
    struct lun_kv_op leased[] = {{.kind = LUN_OP_PUT, .key = B("/a"), .value = B("")},
                                 {.kind = LUN_OP_PUT, .key = B("/b"), .value = B(""), .lease = 0xdead}};
    struct lun_kv_op future[] = {{.key = B("/k"), .revision = party->base_rev + 99},
                                 {.kind = LUN_OP_PUT, .key = B("/a"), .value = B("")}};
    struct lun_kv_op empty[] = {{.kind = LUN_OP_PUT, .key = B("")}, {.key = B("")}, {.kind = LUN_OP_DELETE}};
    ask_txn(party, &(struct lun_txn){&present, 1, leased, nothing, 2, 0});
    ask_txn(party, &(struct lun_txn){&present, 1, nothing, leased, 0, 2}); /* the branch not taken */
    ask_txn(party, &(struct lun_txn){.success = future, .n_success = 1});
    ask_txn(party, &(struct lun_txn){.success = future, .n_success = 2});
    for (size_t i = 0; i < 3; i++)
        ask_txn(party, &(struct lun_txn){.success = &empty[i], .n_success = 1});
    ask_txn(party, &(struct lun_txn){&keyless, 1, nothing, nothing, 0, 0});
    compact(party, 1);
    put(party, B("/k"), B("w"));
    struct lun_kv_op old = {.key = B("/k"), .revision = party->base_rev};
    ask_txn(party, &(struct lun_txn){.success = &old, .n_success = 1});
    get_all(party);
}

/* An operation and a compare that say nothing. */
static void hollow(struct party *party) {
    put(party, B("/k"), B("v"));
    Etcdserverpb__RequestOp op = ETCDSERVERPB__REQUEST_OP__INIT, *ops = &op;
    Etcdserverpb__Compare cmp = ETCDSERVERPB__COMPARE__INIT, *cmps = &cmp;
    Etcdserverpb__TxnRequest request = ETCDSERVERPB__TXN_REQUEST__INIT;
    request.n_success = 1;
    request.success = &ops;
    ask(party, RPC_TXN, &request.base);
    request.n_success = 0;
    request.n_compare = 1;
    request.compare = &cmps;
    ask(party, RPC_TXN, &request.base);
    for (int target = 0; target <= 5; target++)
        for (int result = 0; result <= 4; result++) {
            cmp.key = binary(B("/k"));
            cmp.target = (Etcdserverpb__Compare__CompareTarget)target;
            cmp.result = (Etcdserverpb__Compare__CompareResult)result;
            if (target <= 4 && result <= 3) /* unknown names do not print */
                ask(party, RPC_TXN, &request.base);
        }
    cmp.target = ETCDSERVERPB__COMPARE__COMPARE_TARGET__VERSION;
    cmp.target_union_case = ETCDSERVERPB__COMPARE__TARGET_UNION_CREATE_REVISION;
    cmp.create_revision = party->base_rev;
    cmp.result = ETCDSERVERPB__COMPARE__COMPARE_RESULT__EQUAL;
    ask(party, RPC_TXN, &request.base);
}

enum { MANY = 129 };

static void too_many(struct party *party) {
    Etcdserverpb__RangeRequest range = ETCDSERVERPB__RANGE_REQUEST__INIT;
    range.key = binary(B("/k"));
    Etcdserverpb__RequestOp op = ETCDSERVERPB__REQUEST_OP__INIT, *ops[MANY];
    op.request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_RANGE;
    op.request_range = &range;
    Etcdserverpb__Compare cmp = ETCDSERVERPB__COMPARE__INIT, *cmps[MANY];
    cmp.key = binary(B("/k"));
    cmp.target_union_case = ETCDSERVERPB__COMPARE__TARGET_UNION_VERSION;
    for (size_t i = 0; i < MANY; i++) {
        ops[i] = &op;
        cmps[i] = &cmp;
    }
    Etcdserverpb__TxnRequest request = ETCDSERVERPB__TXN_REQUEST__INIT;
    request.success = request.failure = ops;
    request.compare = cmps;
    static const size_t counts[][3] = {{128, 128, 128}, {129, 0, 0}, {0, 129, 0}, {0, 0, 129}};
    for (size_t i = 0; i < N_OF(counts); i++) {
        request.n_compare = counts[i][0];
        request.n_success = counts[i][1];
        request.n_failure = counts[i][2];
        ask(party, RPC_TXN, &request.base);
    }
}

const struct scene txn_scenes[] = {{"every compare, on keys and ranges, empty ones too", every_compare},
                                   {"a place is entered in one transaction", enter},
                                   {"later operations see the earlier ones", order_within},
                                   {"a transaction that changes nothing keeps the revision", no_change},
                                   {"no key is written twice", duplicates},
                                   {"a transaction is refused as a whole", refusals},
                                   {"what is left out counts as zero", hollow},
                                   {"at most 128 operations", too_many},
                                   {0}};
