/* spec/unit/etcd/etcd_identity_test.c - which etcd answers, and that it is another one now. */
#include "etcd/cluster.h"
#include "etcd_asking.h"

struct told {
    struct etcd_follower follower;
    int n;
    int64_t began_ns;
};

static void on_began_anew(struct etcd_follower *follower, int64_t began_ns) {
    struct told *told = CONTAINER_OF(follower, struct told, follower);
    told->n++;
    told->began_ns = began_ns;
}

static void follow(struct world *world, struct told *told) {
    *told = (struct told){.follower.on_began_anew = on_began_anew};
    rpc_enter(world->rpc);
    etcd_follow(world->etcd, &told->follower);
    rpc_leave(world->rpc);
}

/* A read that is answered with this header; a moment passes before and after. */
static int read_as(struct world *world, uint64_t cluster_id, uint64_t raft_term, int64_t revision) {
    struct got got;
    fake_advance(world->fake, MS);
    (void)get(world, &got, 100 * MS);
    Etcdserverpb__ResponseHeader header = header_of(cluster_id, revision, raft_term);
    Etcdserverpb__RangeResponse range = ETCDSERVERPB__RANGE_RESPONSE__INIT;
    range.header = &header;
    fake_advance(world->fake, MS);
    struct fake_call *call = fake_call(world->fake, RPC_RANGE);
    if (call)
        fake_reply(call, &range.base);
    fake_advance(world->fake, 200 * MS);
    CHECK(got.n == 1);
    return got.code;
}

static void status_as(struct world *world, uint64_t cluster_id) {
    struct got got;
    (void)get(world, &got, 100 * MS);
    struct fake_call *call = fake_call(world->fake, RPC_MEMBER_STATUS);
    if (call)
        reply_status(call, cluster_id);
    fake_advance(world->fake, 200 * MS);
}

static void a_lower_term_is_another_etcd(void) {
    struct world world = world_of(1);
    struct told told;
    follow(&world, &told);
    (void)read_as(&world, OUR_CLUSTER, 5, 100);
    (void)read_as(&world, OUR_CLUSTER, 5, 101);
    CHECK(told.n == 0 && etcd_highest_term(world.etcd) == 5);
    (void)read_as(&world, OUR_CLUSTER, 2, 200);
    CHECK(told.n == 1 && etcd_highest_term(world.etcd) == 2);
    (void)read_as(&world, OUR_CLUSTER, 2, 200); /* no flapping */
    CHECK(told.n == 1);
    world_close(&world);
}

static void a_lower_revision_is_another_etcd(void) {
    struct world world = world_of(1);
    struct told told;
    follow(&world, &told);
    (void)read_as(&world, OUR_CLUSTER, 2, 100);
    (void)read_as(&world, OUR_CLUSTER, 2, 101);
    (void)read_as(&world, OUR_CLUSTER, 2, 1);
    CHECK(told.n == 1 && etcd_highest_revision(world.etcd) == 1);
    world_close(&world);
}

static void an_answer_asked_for_before_proves_nothing(void) {
    struct world world = world_of(1);
    struct told told;
    struct got early, late;
    follow(&world, &told);
    (void)get(&world, &early, 5 * S);
    fake_advance(world.fake, MS);
    (void)get(&world, &late, 5 * S);
    reply_range(fake_nth_call(world.fake, RPC_RANGE, 1), NULL, 100);
    reply_range(fake_call(world.fake, RPC_RANGE), NULL, 90);
    fake_run(world.fake);
    CHECK(early.n == 1 && late.n == 1 && told.n == 0);
    world_close(&world);
}

static void one_false_header_is_forgotten(void) {
    static const struct {
        uint64_t cluster_id, raft_term;
        int64_t revision;
    } lies[] = {
        {OUR_CLUSTER, UINT64_C(1) << 62, 100}, {OUR_CLUSTER, 2, INT64_C(1) << 60}, {OTHER_CLUSTER, 2, 100}};
    for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        struct world world = world_of(1);
        struct told told;
        follow(&world, &told);
        (void)read_as(&world, OUR_CLUSTER, 2, 100);
        (void)read_as(&world, OUR_CLUSTER, 2, 100);
        (void)read_as(&world, lies[i].cluster_id, lies[i].raft_term, lies[i].revision);
        status_as(&world, OUR_CLUSTER);
        CHECK(read_as(&world, OUR_CLUSTER, 2, 100) == 0);
        CHECK(told.n == 0 && etcd_highest_term(world.etcd) == 2 && etcd_highest_revision(world.etcd) == 100);
        world_close(&world);
    }
}

static void another_id_in_every_answer_is_another_etcd(void) {
    struct world world = world_of(2);
    struct told told;
    follow(&world, &told);
    (void)read_as(&world, OUR_CLUSTER, 2, 100);
    for (int i = 0; i < 4; i++) {
        struct got got;
        (void)get(&world, &got, 300 * MS);
        for (struct fake_call *call; (call = fake_call(world.fake, FAKE_ANY)); fake_run(world.fake)) {
            Etcdserverpb__ResponseHeader header = header_of(OTHER_CLUSTER, 5, 2);
            Etcdserverpb__RangeResponse range = ETCDSERVERPB__RANGE_RESPONSE__INIT;
            range.header = &header;
            if (call->method == RPC_MEMBER_STATUS)
                reply_status(call, OTHER_CLUSTER);
            else
                fake_reply(call, &range.base);
        }
        fake_advance(world.fake, 300 * MS);
    }
    CHECK(told.n == 1);
    struct got got;
    (void)put(&world, &got, S);
    reply_put(fake_call(world.fake, RPC_PUT), OTHER_CLUSTER);
    CHECK(got.code == 0);
    world_close(&world);
}

static void a_member_of_ours_that_is_silent_keeps_its_cluster(void) {
    struct world world = world_of(2);
    struct told told;
    follow(&world, &told);
    (void)read_as(&world, OUR_CLUSTER, 2, 100); /* a:1; then it is down, and b:1 is of another cluster */
    for (int i = 0; i < 10; i++) {
        struct got got;
        (void)get(&world, &got, 300 * MS);
        for (struct fake_call *call; (call = fake_call(world.fake, FAKE_ANY)); fake_run(world.fake)) {
            if (strcmp(call->address, "a:1") == 0)
                fake_refuse(call);
            else
                reply_status(call, OTHER_CLUSTER);
        }
        fake_advance(world.fake, 300 * MS);
        CHECK(got.code == LUN_EUNAVAILABLE || got.code == LUN_EINVALID);
    }
    CHECK(told.n == 1 && told.began_ns == ETCD_BEGAN_NEVER); /* it never was of ours: two in one list */
    world_close(&world);
}

/* For `half_seconds` of them every Status is answered: a:1 belongs to this cluster, b:1 to that. How often b:1 was asked. */
static int show(struct world *world, int half_seconds, uint64_t cluster_of_a, uint64_t cluster_of_b) {
    int n_of_b = 0;
    for (int i = 0; i < half_seconds; i++) {
        for (struct fake_call *call; (call = fake_call(world->fake, RPC_MEMBER_STATUS));) {
            bool is_a = strcmp(call->address, "a:1") == 0;
            n_of_b += !is_a;
            reply_status(call, is_a ? cluster_of_a : cluster_of_b);
        }
        fake_advance(world->fake, 500 * MS);
    }
    return n_of_b;
}

static struct world two_clusters(struct told *told) {
    struct world world = world_of(2);
    follow(&world, told);
    rpc_enter(world.rpc);
    CHECK(etcd_survey(world.etcd) == 0);
    rpc_leave(world.rpc);
    (void)show(&world, 6, OUR_CLUSTER, OTHER_CLUSTER);
    CHECK(told->n == 1 && told->began_ns == ETCD_BEGAN_NEVER);
    return world;
}

static int put_as(struct world *world, struct got *got, uint64_t cluster_id) {
    (void)put(world, got, S);
    fake_run(world->fake);
    struct fake_call *call = fake_call(world->fake, RPC_PUT);
    if (call)
        reply_put(call, cluster_id);
    CHECK(got->n == 1);
    return got->code;
}

static void two_clusters_in_one_list_are_an_error(void) {
    struct told told;
    struct got got;
    struct world world = two_clusters(&told);
    CHECK(put_as(&world, &got, OUR_CLUSTER) == LUN_EINVALID);
    CHECK_TEXT(got.err.text,
               "the endpoints are of two clusters: a:1 belongs to cluster c1, b:1 to c2; list the "
               "members of one");
    world_close(&world);
}

static void a_member_of_another_cluster_is_asked_again_now_and_then(void) {
    struct told told;
    struct got got;
    struct world world = two_clusters(&told);
    int n = show(&world, 120, OUR_CLUSTER, OTHER_CLUSTER);
    CHECK(n >= 10 && n <= 40);
    CHECK(told.n == 1 && put_as(&world, &got, OUR_CLUSTER) == LUN_EINVALID);
    world_close(&world);
}

static void so_is_one_that_a_call_has_found(void) {
    struct told told;
    struct got got;
    struct world world = world_of(2);
    follow(&world, &told);
    CHECK(put_as(&world, &got, OUR_CLUSTER) == 0);
    rpc_enter(world.rpc);
    etcd_member_failed(etcd_member_at(world.etcd, 0), "silent");
    rpc_leave(world.rpc);
    (void)get(&world, &got, 8 * S);
    (void)show(&world, 16, OUR_CLUSTER, OTHER_CLUSTER);
    CHECK(told.n == 1 && told.began_ns == ETCD_BEGAN_NEVER);
    CHECK(show(&world, 60, OUR_CLUSTER, OTHER_CLUSTER) >= 5);
    world_close(&world);
}

static void a_member_that_shows_our_cluster_after_all_makes_the_list_one_again(void) {
    struct told told;
    struct got got;
    struct world world = two_clusters(&told);
    (void)show(&world, 10, OUR_CLUSTER, OUR_CLUSTER);
    CHECK(told.n == 1 && put_as(&world, &got, OUR_CLUSTER) == 0);
    world_close(&world);
}

static void the_list_is_one_again_when_all_members_are_of_the_other_cluster(void) {
    struct told told;
    struct got got;
    struct world world = two_clusters(&told);
    (void)show(&world, 40, OTHER_CLUSTER, OTHER_CLUSTER);
    CHECK(told.n == 2 && told.began_ns != ETCD_BEGAN_NEVER);
    CHECK(put_as(&world, &got, OTHER_CLUSTER) == 0);
    world_close(&world);
}

static void the_list_is_one_again_when_the_member_of_ours_is_not_in_it_any_more(void) {
    struct told told;
    struct world world = two_clusters(&told);
    rpc_enter(world.rpc);
    etcd_member_leave(etcd_member_at(world.etcd, 0), "is not named by DNS any more");
    rpc_leave(world.rpc);
    (void)read_as(&world, OTHER_CLUSTER, 2, 5);
    (void)show(&world, 40, OUR_CLUSTER, OTHER_CLUSTER);
    CHECK(read_as(&world, OTHER_CLUSTER, 2, 5) == 0);
    world_close(&world);
}

int main(void) {
    RUN(a_lower_term_is_another_etcd);
    RUN(a_lower_revision_is_another_etcd);
    RUN(an_answer_asked_for_before_proves_nothing);
    RUN(one_false_header_is_forgotten);
    RUN(another_id_in_every_answer_is_another_etcd);
    RUN(a_member_of_ours_that_is_silent_keeps_its_cluster);
    RUN(two_clusters_in_one_list_are_an_error);
    RUN(a_member_of_another_cluster_is_asked_again_now_and_then);
    RUN(so_is_one_that_a_call_has_found);
    RUN(a_member_that_shows_our_cluster_after_all_makes_the_list_one_again);
    RUN(the_list_is_one_again_when_all_members_are_of_the_other_cluster);
    RUN(the_list_is_one_again_when_the_member_of_ours_is_not_in_it_any_more);
    return check_end();
}
