/* spec/unit/recipe/guard_test.c - a guarded transaction: what etcd is asked, and what its answer means. */
#include "check.h"
#include "recipe/guard.h"
#include "recipe_world.h"

static const char key[] = "/line/abc";
enum { PREFIX_LEN = 6 };

static int init(struct guard *guard, const struct lun_txn *user, struct lun_err *err) {
    *guard = (struct guard){.compares = NULL};
    return guard_init(guard, user, lun_bytes_of(key), PREFIX_LEN, 42, err);
}

static struct lun_kv_op put_to(const char *to) {
    return (struct lun_kv_op){.kind = LUN_OP_PUT, .key = lun_bytes_of(to), .value = lun_bytes_of("x")};
}

static struct lun_kv_op delete_of(const char *from, const char *range_end) {
    return (struct lun_kv_op){
        .kind = LUN_OP_DELETE, .key = lun_bytes_of(from), .range_end = lun_bytes_of(range_end)};
}

static void our_place_is_compared_and_read(void) {
    struct guard guard;
    struct lun_cmp compare = {.target = LUN_CMP_VALUE, .key = lun_bytes_of("/c"), .value = lun_bytes_of("v")};
    struct lun_kv_op write = put_to("/config"), read = {.kind = LUN_OP_RANGE, .key = lun_bytes_of("/c")};
    struct lun_txn user = {&compare, 1, &write, &read, 1, 1};
    REQUIRE(init(&guard, &user, NULL) == 0);
    CHECK(guard.txn.n_compares == 2);
    CHECK(guard.txn.compares[0].target == LUN_CMP_CREATE && guard.txn.compares[0].number == 42);
    CHECK(lun_bytes_equal(guard.txn.compares[0].key, lun_bytes_of(key)));
    CHECK(guard.txn.compares[0].result == LUN_CMP_EQUAL);
    CHECK(guard.txn.compares[1].target == LUN_CMP_VALUE);
    CHECK(guard.txn.n_success == 1 && guard.txn.success == &write);
    CHECK(guard.txn.n_failure == 2 && guard.txn.failure[1].kind == LUN_OP_RANGE);
    CHECK(lun_bytes_equal(guard.txn.failure[1].key, lun_bytes_of(key)));
    guard_fini(&guard);
}

static bool is_refused(struct lun_kv_op op) {
    struct guard guard;
    struct lun_err err;
    struct lun_txn success = {NULL, 0, &op, NULL, 1, 0}, failure = {NULL, 0, NULL, &op, 0, 1};
    int rc = init(&guard, &success, &err);
    guard_fini(&guard);
    int rc_failure = init(&guard, &failure, &err);
    guard_fini(&guard);
    CHECK(rc == rc_failure);
    return rc == LUN_EINVALID;
}

static void writes_inside_the_line_are_refused_in_either_branch(void) {
    CHECK(is_refused(put_to("/line/abc")));
    CHECK(is_refused(put_to("/line/")));
    CHECK(is_refused(put_to("/line/zzz")));
    CHECK(is_refused(delete_of("/line/abc", "")));
    CHECK(is_refused(delete_of("/line/a", "/line/b")));
    CHECK(is_refused(delete_of("/a", "/z")));
    CHECK(is_refused(delete_of("/", "/line/a")));
    struct lun_kv_op to_the_end = {.kind = LUN_OP_DELETE, .key = lun_bytes_of("/a"), .range_end = {"", 1}};
    CHECK(is_refused(to_the_end));
}

static void writes_beside_the_line_and_reads_are_taken(void) {
    CHECK(!is_refused(put_to("/line")));
    CHECK(!is_refused(put_to("/line2/abc")));
    CHECK(!is_refused(put_to("/lin")));
    CHECK(!is_refused(delete_of("/a", "/line/")));
    CHECK(!is_refused(delete_of("/line0", "/z")));
    struct lun_kv_op read = {
        .kind = LUN_OP_RANGE, .key = lun_bytes_of("/line/"), .range_end = lun_bytes_of("/line0")};
    CHECK(!is_refused(read));
    struct lun_kv_op to_the_end = {
        .kind = LUN_OP_DELETE, .key = lun_bytes_of("/line0"), .range_end = {"", 1}};
    CHECK(!is_refused(to_the_end));
}

static void there_is_room_for_all_but_one(void) {
    static struct lun_cmp compares[LUN_MAX_TXN_OPS];
    static struct lun_kv_op ops[LUN_MAX_TXN_OPS];
    for (int i = 0; i < LUN_MAX_TXN_OPS; i++) {
        compares[i] = (struct lun_cmp){.target = LUN_CMP_VERSION, .key = lun_bytes_of("/c")};
        ops[i] = (struct lun_kv_op){.kind = LUN_OP_RANGE, .key = lun_bytes_of("/c")};
    }
    struct guard guard;
    struct lun_err err;
    struct lun_txn full = {compares, LUN_MAX_TXN_OPS - 1, ops, ops, LUN_MAX_TXN_OPS, LUN_MAX_TXN_OPS - 1};
    CHECK(init(&guard, &full, &err) == 0);
    guard_fini(&guard);
    struct lun_txn over = full;
    over.n_compares++;
    CHECK(init(&guard, &over, &err) == LUN_EINVALID);
    over = full;
    over.n_failure++;
    CHECK(init(&guard, &over, &err) == LUN_EINVALID);
    CHECK(guard.compares == NULL && guard.failure == NULL);
}

static void the_last_read_tells_whose_compare_it_was(void) {
    struct lun_kv ours = {.create_rev = 42}, next = {.create_rev = 43};
    struct lun_kv_result results[] = {{.n_kvs = 0}, {.kvs = &ours, .n_kvs = 1}};
    struct etcd_reply reply = {.results = results, .n_results = 2};
    CHECK(guard_is_ours(&reply, 42));
    results[1].kvs = &next; /* the same key again, another place */
    CHECK(!guard_is_ours(&reply, 42));
    results[1].n_kvs = 0;
    CHECK(!guard_is_ours(&reply, 42));
}

/* ---- against the store ------------------------------------------------------------------------------ */

static struct etcd_reply kept;
static bool was_ours;

static void on_reply(void *arg, const struct etcd_reply *reply) {
    kept = *reply;
    if (!reply->err && !reply->is_success)
        was_ours = guard_is_ours(reply, *(const int64_t *)arg);
}

static bool write_guarded(struct world *world, int64_t create_rev) {
    struct guard guard;
    struct lun_kv_op write = put_to("/config");
    struct lun_txn user = {.success = &write, .n_success = 1};
    struct etcd_call_options how = {.deadline_ns = RPC_NEVER};
    rpc_enter(world->rpc);
    CHECK(guard_init(&guard, &user, lun_bytes_of(key), PREFIX_LEN, create_rev, NULL) == 0);
    CHECK(etcd_txn(world->etcd, &guard.txn, &how, on_reply, &create_rev, NULL) == 0);
    guard_fini(&guard);
    rpc_leave(world->rpc);
    world_run(world);
    return kept.is_success;
}

static void etcd_refuses_the_write_of_who_is_gone(void) {
    struct world *world = world_new(1);
    int64_t create_rev = world_put(world, key, "me", 0);
    CHECK(write_guarded(world, create_rev));
    world_delete(world, key);
    int64_t revision = world_revision(world);
    CHECK(!write_guarded(world, create_rev) && !was_ours);
    world_put(world, key, "the same name, another place", 0);
    CHECK(!write_guarded(world, create_rev) && !was_ours);
    CHECK(world_revision(world) == revision + 1);
    world_free(world);
}

int main(void) {
    RUN(our_place_is_compared_and_read);
    RUN(writes_inside_the_line_are_refused_in_either_branch);
    RUN(writes_beside_the_line_and_reads_are_taken);
    RUN(there_is_room_for_all_but_one);
    RUN(the_last_read_tells_whose_compare_it_was);
    RUN(etcd_refuses_the_write_of_who_is_gone);
    return check_end();
}
