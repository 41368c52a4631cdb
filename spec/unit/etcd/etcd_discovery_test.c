/* spec/unit/etcd/etcd_discovery_test.c - endpoints that DNS names. */
#include "etcd_asking.h"

#include "etcd/cluster.h"

static struct world discovering_world(const char *endpoint, bool is_tls) {
    struct world world = {.fake = fake_new()};
    world.rpc = fake_rpc(world.fake);
    rpc_enter(world.rpc);
    if (etcd_new(world.rpc, &endpoint, 1, NULL, &world.etcd, NULL))
        abort();
    etcd_discover(world.etcd, is_tls);
    rpc_leave(world.rpc);
    return world;
}

static void answer(struct world *world, const char *name, const char *const *hosts, size_t n) {
    struct rpc_lookup *lookup = fake_lookup(world->fake, name);
    REQUIRE(lookup != NULL);
    for (size_t i = 0; i < n; i++) {
        (void)snprintf(lookup->records[i].host, sizeof lookup->records[i].host, "%s", hosts[i]);
        lookup->records[i].port = 1;
    }
    lookup->n = n;
    lookup->is_missing = n == 0;
    if (n == 0)
        (void)snprintf(lookup->error, sizeof lookup->error, "DNS has no such SRV record");
    atomic_store(&lookup->is_done, true);
    fake_advance(world->fake, 100 * MS);
}

static void refuse_all(struct world *world) {
    for (struct fake_call *call; (call = fake_call(world->fake, FAKE_ANY));)
        fake_refuse(call);
}

/* All that are asked whose they are say so. */
static void prove(struct world *world) {
    for (struct fake_call *call; (call = fake_call(world->fake, RPC_MEMBER_STATUS));)
        reply_status(call, OUR_CLUSTER);
}

static const char *const a_and_b[] = {"a", "b"};

static void a_call_waits_until_dns_has_named_the_members(void) {
    struct world world = discovering_world("srv://example.com", false);
    struct got got;
    (void)get(&world, &got, 5 * S);
    refuse_all(&world);
    fake_advance(world.fake, 10 * MS);
    answer(&world, "_etcd-client._tcp.example.com", a_and_b, 2);
    fake_advance(world.fake, 300 * MS);
    struct fake_call *call = fake_call(world.fake, RPC_RANGE);
    REQUIRE(call != NULL);
    CHECK_TEXT(call->address, "a:1");
    reply_range(call, NULL, 5);
    CHECK(got.n == 1 && got.code == 0 && etcd_n_members(world.etcd) == 2);
    CHECK(!etcd_member_is_learnt(etcd_member_at(world.etcd, 0)));
    world_close(&world);
}

static void the_name_of_the_service_and_tls_are_part_of_the_question(void) {
    struct world world = discovering_world("srv://example.com./blue", true);
    answer(&world, "_etcd-client-ssl-blue._tcp.example.com", a_and_b, 2);
    CHECK(etcd_n_members(world.etcd) == 2);
    world_close(&world);
}

/* What a call says that no member was found for. */
static void check_trouble(struct world *world, const char *expected) {
    struct got got;
    (void)get(world, &got, 200 * MS);
    for (int i = 0; i < 10; i++) {
        refuse_all(world);
        fake_advance(world->fake, 50 * MS);
    }
    CHECK(got.n == 1 && got.code == LUN_EUNAVAILABLE);
    if (!strstr(got.err.text, expected)) {
        check_fail(__FILE__, __LINE__, expected);
        printf("# %s\n", got.err.text);
    }
}

static void without_a_record_calls_say_so_and_dns_is_asked_again(void) {
    struct world world = discovering_world("srv://example.com", false);
    check_trouble(&world, "srv://example.com has not been answered by DNS yet");
    answer(&world, "_etcd-client._tcp.example.com", NULL, 0);
    answer(&world, "_etcd-client-ssl._tcp.example.com", NULL, 0);
    check_trouble(&world, "DNS has no such SRV record (_etcd-client._tcp.example.com)");
    fake_advance(world.fake, 2 * S);
    answer(&world, "_etcd-client._tcp.example.com", a_and_b, 2);
    CHECK(etcd_n_members(world.etcd) == 2);
    world_close(&world);
}

static void records_of_the_other_scheme_alone_are_named(void) {
    struct world plain = discovering_world("srv://example.com", false);
    answer(&plain, "_etcd-client._tcp.example.com", NULL, 0);
    answer(&plain, "_etcd-client-ssl._tcp.example.com", a_and_b, 2);
    check_trouble(&plain, "DNS has records of members that speak TLS alone: set cacert");
    CHECK(etcd_n_members(plain.etcd) == 1);
    world_close(&plain);
    struct world tls = discovering_world("srv://example.com", true);
    answer(&tls, "_etcd-client-ssl._tcp.example.com", NULL, 0);
    answer(&tls, "_etcd-client._tcp.example.com", a_and_b, 2);
    check_trouble(&tls, "DNS has records of plaintext members alone, but TLS options are set");
    world_close(&tls);
}

static void when_all_members_are_silent_dns_is_asked_again(void) {
    static const char *const c[] = {"c"};
    struct world world = discovering_world("srv://example.com", false);
    struct got got;
    answer(&world, "_etcd-client._tcp.example.com", a_and_b, 2);
    prove(&world);
    fake_advance(world.fake, 60 * S);
    CHECK(fake_lookup(world.fake, "_etcd-client._tcp.example.com") == NULL);
    (void)put(&world, &got, 60 * S);
    for (int i = 0; i < 10; i++) {
        refuse_all(&world);
        fake_advance(world.fake, 500 * MS);
    }
    answer(&world, "_etcd-client._tcp.example.com", c, 1);
    CHECK(etcd_n_members(world.etcd) == 1);
    CHECK_TEXT(etcd_member_address(etcd_member_at(world.etcd, 0)), "c:1");
    prove(&world);
    refuse_all(&world);
    fake_advance(world.fake, S);
    prove(&world);
    struct fake_call *call = fake_call(world.fake, RPC_PUT);
    REQUIRE(call != NULL);
    CHECK_TEXT(call->address, "c:1");
    reply_put(call, OUR_CLUSTER);
    CHECK(got.n == 1 && got.code == 0);
    world_close(&world);
}

/* Long or strange names, or none that fits a client's list. */
static void an_answer_that_is_of_no_use_takes_nobody_away_and_dns_is_asked_again(void) {
    static const char *const strange[] = {"a b", "\\009c", "d/e"};
    struct world world = discovering_world("srv://example.com", false);
    answer(&world, "_etcd-client._tcp.example.com", strange, 3);
    check_trouble(&world, "DNS names no member that can be used (_etcd-client._tcp.example.com)");
    fake_advance(world.fake, 2 * S);
    answer(&world, "_etcd-client._tcp.example.com", a_and_b, 2);
    REQUIRE(etcd_n_members(world.etcd) == 2);
    prove(&world);
    fake_advance(world.fake, 10 * S);
    world_enter(&world);
    etcd_member_failed(etcd_member_at(world.etcd, 0), "is away");
    etcd_member_failed(etcd_member_at(world.etcd, 1), "is away");
    world_leave(&world);
    fake_advance(world.fake, S);
    answer(&world, "_etcd-client._tcp.example.com", strange, 3);
    CHECK(etcd_n_members(world.etcd) == 2);
    world_close(&world);
}

static void one_member_is_left_whatever_leaves(void) {
    struct world world = discovering_world("srv://example.com", false);
    answer(&world, "_etcd-client._tcp.example.com", a_and_b, 2);
    prove(&world);
    world_enter(&world);
    for (int i = 0; i < 2; i++)
        etcd_member_leave(etcd_member_at(world.etcd, 0), "is not listed any more");
    world_leave(&world);
    CHECK(etcd_n_members(world.etcd) == 1);
    CHECK_TEXT(etcd_member_address(etcd_member_at(world.etcd, 0)), "b:1");
    world_close(&world);
}

/* Each reads its part of a list that is of two clusters. */
static void show_two_clusters(struct world *world) {
    for (int i = 0; i < 4; i++) {
        struct got got;
        (void)get(world, &got, S);
        for (struct fake_call *call; (call = fake_call(world->fake, RPC_MEMBER_STATUS));)
            reply_status(call, strcmp(call->address, "a:1") == 0 ? OUR_CLUSTER : OTHER_CLUSTER);
        for (struct fake_call *call; (call = fake_call(world->fake, RPC_RANGE));)
            reply_range(call, NULL, 5);
        fake_advance(world->fake, 2 * S);
    }
}

static void a_member_of_another_cluster_is_forgotten_once_dns_names_it_no_more(void) {
    static const char *const a_and_c[] = {"a", "c"};
    struct world world = discovering_world("srv://example.com", false);
    struct got got;
    answer(&world, "_etcd-client._tcp.example.com", a_and_b, 2);
    show_two_clusters(&world);
    (void)get(&world, &got, S);
    fake_advance(world.fake, 10 * S);
    CHECK(got.n == 1 && got.code == LUN_EINVALID && strstr(got.err.text, "two clusters"));
    answer(&world, "_etcd-client._tcp.example.com", a_and_c, 2);
    prove(&world);
    (void)get(&world, &got, S);
    fake_run(world.fake);
    struct fake_call *call = fake_call(world.fake, RPC_RANGE);
    REQUIRE(call != NULL);
    reply_range(call, NULL, 5);
    CHECK(got.n == 1 && got.code == 0);
    world_close(&world);
}

static void the_cluster_is_closed_while_dns_is_silent(void) {
    struct world world = discovering_world("srv://example.com", false);
    fake_advance(world.fake, S);
    world_close(&world);
}

int main(void) {
    RUN(a_call_waits_until_dns_has_named_the_members);
    RUN(the_name_of_the_service_and_tls_are_part_of_the_question);
    RUN(without_a_record_calls_say_so_and_dns_is_asked_again);
    RUN(records_of_the_other_scheme_alone_are_named);
    RUN(when_all_members_are_silent_dns_is_asked_again);
    RUN(an_answer_that_is_of_no_use_takes_nobody_away_and_dns_is_asked_again);
    RUN(one_member_is_left_whatever_leaves);
    RUN(a_member_of_another_cluster_is_forgotten_once_dns_names_it_no_more);
    RUN(the_cluster_is_closed_while_dns_is_silent);
    return check_end();
}
