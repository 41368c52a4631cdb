/* spec/unit/etcd/etcd_member_list_test.c - members that were not given are learnt from the cluster's list. */
#include "etcd_asking.h"

enum { OURS_ID = 7, TERM = 2, REVISION = 5, MANY = 20 };

struct listed {
    uint64_t id;
    const char *url;
    bool is_learner;
};

static struct world learning_world(size_t n, bool is_tls) {
    struct world world = world_of(n);
    rpc_enter(world.rpc);
    etcd_learn_members(world.etcd, is_tls);
    rpc_leave(world.rpc);
    return world;
}

/* Some call is answered: the cluster is known. */
static void meet(struct world *world) {
    struct got got;
    (void)get(world, &got, S);
    reply_range(flight(world, RPC_RANGE, "a:1"), NULL, REVISION);
    fake_run(world->fake);
    CHECK(got.n == 1 && got.code == 0);
}

static struct fake_call *await_call(struct world *world, int method, int64_t most_ns) {
    for (int64_t ns = 0; ns <= most_ns && !fake_call(world->fake, method); ns += 100 * MS)
        fake_advance(world->fake, 100 * MS);
    return fake_call(world->fake, method);
}

static void reply_list(struct fake_call *call, const struct listed *listed, size_t n) {
    Etcdserverpb__ResponseHeader header = header_of(OUR_CLUSTER, 0, TERM);
    Etcdserverpb__MemberListResponse response = ETCDSERVERPB__MEMBER_LIST_RESPONSE__INIT;
    Etcdserverpb__Member members[MANY], *pointers[MANY];
    char *urls[MANY];
    for (size_t i = 0; i < n; i++) {
        members[i] = (Etcdserverpb__Member)ETCDSERVERPB__MEMBER__INIT;
        urls[i] = (char *)(uintptr_t)listed[i].url;
        members[i].id = listed[i].id;
        members[i].islearner = listed[i].is_learner;
        members[i].n_clienturls = listed[i].url != NULL;
        members[i].clienturls = &urls[i];
        pointers[i] = &members[i];
    }
    response.header = &header;
    response.members = pointers;
    response.n_members = n;
    fake_reply(call, &response.base);
}

static void reply_status_of(struct fake_call *call, uint64_t cluster_id, uint64_t id, uint64_t term,
                            int64_t revision) {
    Etcdserverpb__ResponseHeader header = header_of(cluster_id, revision, term);
    Etcdserverpb__StatusResponse response = ETCDSERVERPB__STATUS_RESPONSE__INIT;
    header.member_id = id;
    response.header = &header;
    response.version = (char *)(uintptr_t) "3.4.23";
    fake_reply(call, &response.base);
}

/* The next read of the list is answered like this. */
static void list(struct world *world, const struct listed *listed, size_t n) {
    struct fake_call *call = await_call(world, RPC_MEMBER_LIST, 1000 * S);
    REQUIRE(call != NULL);
    CHECK(call->has_leader);
    reply_list(call, listed, n);
}

/* Answers each listed one that is asked to prove itself as it should; how many these were. */
static size_t prove_all(struct world *world, const struct listed *listed, size_t n) {
    size_t n_asked = 0;
    fake_advance(world->fake, S);
    for (struct fake_call *call; (call = fake_call(world->fake, RPC_MEMBER_STATUS)); n_asked++) {
        uint64_t id = 0;
        for (size_t i = 0; i < n; i++)
            if (listed[i].url && strstr(listed[i].url, call->address))
                id = listed[i].id;
        reply_status_of(call, OUR_CLUSTER, id, TERM, REVISION);
    }
    fake_run(world->fake);
    return n_asked;
}

static const struct listed a_and_d[] = {{OURS_ID, "http://a:1", false}, {4, "http://d:1", false}};

static struct world world_that_learnt_d(void) {
    struct world world = learning_world(1, false);
    meet(&world);
    list(&world, a_and_d, 2);
    CHECK(prove_all(&world, a_and_d, 2) == 1);
    CHECK(etcd_n_members(world.etcd) == 2);
    return world;
}

static void the_list_is_read_a_second_after_the_first_answer_and_then_seldom(void) {
    struct world world = learning_world(1, false);
    fake_advance(world.fake, 100 * S);
    CHECK(fake_n_calls_made(world.fake) == 0);
    meet(&world);
    CHECK(await_call(&world, RPC_MEMBER_LIST, 400 * MS) == NULL);
    for (int64_t hour = fake_now(world.fake) + 3600 * S; fake_now(world.fake) < hour;) {
        struct fake_call *call = await_call(&world, RPC_MEMBER_LIST, S);
        if (call)
            reply_list(call, a_and_d, 1);
        fake_run(world.fake);
    }
    CHECK(fake_n_calls_made(world.fake) >= 20 && fake_n_calls_made(world.fake) <= 60);
    world_close(&world);
}

static void nothing_is_learnt_unless_it_is_wanted(void) {
    struct world world = world_of(1);
    meet(&world);
    CHECK(await_call(&world, RPC_MEMBER_LIST, 1000 * S) == NULL);
    world_close(&world);
}

static void a_listed_member_that_proves_itself_is_used_when_those_given_are_gone(void) {
    struct world world = world_that_learnt_d();
    struct etcd_member *learnt = etcd_member_at(world.etcd, 1);
    CHECK_TEXT(etcd_member_address(learnt), "d:1");
    CHECK(etcd_member_is_learnt(learnt) && !etcd_member_is_learnt(etcd_member_at(world.etcd, 0)));
    struct got got;
    (void)put(&world, &got, 10 * S);
    fake_refuse(flight(&world, RPC_PUT, "a:1"));
    fake_run(world.fake);
    reply_put(flight(&world, RPC_PUT, "d:1"), OUR_CLUSTER); /* it has shown whose it is */
    fake_run(world.fake);
    CHECK(got.n == 1 && got.code == 0);
    world_close(&world);
}

static void what_cannot_be_of_use_is_not_even_tried(void) {
    static const struct listed of_no_use[] = {{2, "http://0.0.0.0:2379", false},
                                              {3, "http://[::]:2379", false},
                                              {4, "https://d:1", false},
                                              {5, "http://localhost:2379", false},
                                              {6, "http://127.0.0.1:2379", false},
                                              {8, "http://[::1]:2379", false},
                                              {9, "http://127.1:2379", false},
                                              {10, "http://0:2379", false},
                                              {11, "http://[::ffff:127.0.0.1]:2379", false},
                                              {12, "unix:///tmp/x", false},
                                              {13, "", false},
                                              {14, "http://d:1,http://e:1", false},
                                              {15, "http://f:1", true},
                                              {OURS_ID, "http://another-name:1", false},
                                              {16, NULL, false}};
    struct world world = learning_world(1, false);
    meet(&world);
    list(&world, of_no_use, sizeof of_no_use / sizeof of_no_use[0]);
    CHECK(prove_all(&world, of_no_use, 0) == 0);
    CHECK(etcd_n_members(world.etcd) == 1);
    world_close(&world);
}

static void over_tls_only_members_that_speak_it_are_tried(void) {
    static const struct listed listed[] = {{2, "http://b:1", false}, {3, "https://c:1", false}};
    struct world world = learning_world(1, true);
    meet(&world);
    list(&world, listed, 2);
    CHECK(prove_all(&world, listed, 2) == 1);
    CHECK_TEXT(etcd_member_address(etcd_member_at(world.etcd, 1)), "c:1");
    world_close(&world);
}

static void addresses_of_this_machine_are_learnt_where_one_is_given(void) {
    static const struct listed listed[] = {{2, "http://127.0.0.1:4", false}};
    struct world world = {.fake = fake_new()};
    const char *given = "localhost:1";
    world.rpc = fake_rpc(world.fake);
    rpc_enter(world.rpc);
    REQUIRE(etcd_new(world.rpc, &given, 1, NULL, &world.etcd, NULL) == 0);
    etcd_learn_members(world.etcd, false);
    rpc_leave(world.rpc);
    struct got got;
    (void)get(&world, &got, S);
    reply_range(fake_call(world.fake, RPC_RANGE), NULL, REVISION);
    list(&world, listed, 1);
    CHECK(prove_all(&world, listed, 1) == 1 && etcd_n_members(world.etcd) == 2);
    world_close(&world);
}

static void one_that_does_not_prove_itself_is_never_asked_and_costs_no_call_anything(void) {
    static const struct {
        uint64_t cluster_id, id, term;
        int64_t revision;
    } strangers[] = {{OTHER_CLUSTER, 4, TERM, REVISION},
                     {OUR_CLUSTER, 3, TERM, REVISION},
                     {OUR_CLUSTER, 4, TERM - 1, REVISION},
                     {OUR_CLUSTER, 4, TERM, REVISION - 1}};
    for (size_t i = 0; i <= sizeof strangers / sizeof strangers[0]; i++) {
        struct world world = learning_world(1, false);
        struct got got;
        meet(&world);
        for (int round = 0; round < 4; round++) {
            list(&world, a_and_d, 2);
            fake_advance(world.fake, S);
            struct fake_call *call = flight(&world, RPC_MEMBER_STATUS, "d:1");
            if (i < sizeof strangers / sizeof strangers[0])
                reply_status_of(call, strangers[i].cluster_id, strangers[i].id, strangers[i].term,
                                strangers[i].revision);
            else
                fake_refuse(call);
            fake_run(world.fake);
        }
        CHECK(etcd_n_members(world.etcd) == 1);
        (void)put(&world, &got, 2 * S);
        fake_advance(world.fake, 1900 * MS);
        (void)flight(&world, RPC_PUT, "a:1"); /* the whole time is its own */
        fake_advance(world.fake, S);
        CHECK(got.n == 1 && got.code == LUN_EUNKNOWN && !strstr(got.err.text, "d:1"));
        world_close(&world);
    }
}

static void one_that_is_not_listed_any_more_is_left(void) {
    struct world world = world_that_learnt_d();
    list(&world, a_and_d, 1);
    fake_run(world.fake);
    CHECK(etcd_n_members(world.etcd) == 1);
    CHECK(etcd_after(world.etcd, etcd_member_at(world.etcd, 0)) == etcd_member_at(world.etcd, 0));
    list(&world, a_and_d, 2); /* and used again */
    CHECK(prove_all(&world, a_and_d, 2) == 1);
    CHECK(etcd_n_members(world.etcd) == 2);
    world_close(&world);
}

static void as_many_are_learnt_as_may_be_given(void) {
    struct listed listed[MANY];
    char urls[MANY][32];
    struct world world = learning_world(1, false);
    for (int i = 0; i < MANY; i++) {
        (void)snprintf(urls[i], sizeof urls[i], "http://m%02d:1", i);
        listed[i] = (struct listed){100 + (uint64_t)i, urls[i], false};
    }
    meet(&world);
    list(&world, listed, MANY);
    CHECK(prove_all(&world, listed, MANY) == ENDPOINT_MAX);
    CHECK(etcd_n_members(world.etcd) == 1 + ENDPOINT_MAX);
    world_close(&world);
}

static void members_replaced_for_ever_find_room(void) {
    struct world world = learning_world(1, false);
    meet(&world);
    for (uint64_t i = 0; i < 3 * ENDPOINT_MAX; i++) {
        char url[32];
        (void)snprintf(url, sizeof url, "http://n%u:1", (unsigned)i);
        struct listed now[] = {{OURS_ID, "http://a:1", false}, {100 + i, url, false}};
        list(&world, now, 2);
        CHECK(prove_all(&world, now, 2) == 1);
        CHECK(etcd_n_members(world.etcd) == 2);
        fake_advance(world.fake, 60 * S);
    }
    world_close(&world);
}

/* They cannot prove themselves, and took the room of others for ever. */
static void listed_members_without_an_id_take_no_room(void) {
    struct world world = learning_world(1, false);
    meet(&world);
    for (int round = 0; round < 5; round++) {
        struct listed nameless[MANY];
        char urls[MANY][32];
        for (int i = 0; i < MANY; i++) {
            (void)snprintf(urls[i], sizeof urls[i], "http://m%d-%d:1", round, i);
            nameless[i] = (struct listed){0, urls[i], false};
        }
        list(&world, nameless, MANY);
        CHECK(prove_all(&world, nameless, MANY) == 0);
    }
    list(&world, a_and_d, 2);
    CHECK(prove_all(&world, a_and_d, 2) == 1);
    CHECK(etcd_n_members(world.etcd) == 2);
    world_close(&world);
}

/* For as long as etcd is asked about it, though it is listed no more and its room is wanted. */
static void a_member_that_is_asked_about_stays_what_it_is(void) {
    static const struct listed a_and_e[] = {{OURS_ID, "http://a:1", false}, {5, "http://e:1", false}};
    struct world world = world_that_learnt_d();
    struct etcd_call_options how = {.deadline_ns = fake_now(world.fake) + 1000 * S,
                                    .member = etcd_member_at(world.etcd, 1)};
    struct got got = {0};
    list(&world, a_and_d, 1);
    world_enter(&world);
    CHECK(etcd_member_status(world.etcd, &how, got_reply, &got, NULL) == 0);
    world_leave(&world);
    fake_advance(world.fake, 61 * S);
    list(&world, a_and_e, 2);
    fake_advance(world.fake, S);
    CHECK_TEXT(etcd_member_address(how.member), "d:1");
    reply_status_of(flight(&world, RPC_MEMBER_STATUS, "d:1"), OUR_CLUSTER, 4, TERM, REVISION);
    CHECK(got.n == 1 && got.code == 0);
    reply_status_of(flight(&world, RPC_MEMBER_STATUS, "e:1"), OUR_CLUSTER, 5, TERM, REVISION);
    CHECK(etcd_n_members(world.etcd) == 2);
    world_close(&world);
}

static void one_that_is_listed_twice_is_learnt_once(void) {
    static const struct listed twice[] = {{4, "http://d:1", false}, {4, "http://d:1", false}};
    struct world world = learning_world(1, false);
    meet(&world);
    list(&world, twice, 2);
    CHECK(prove_all(&world, twice, 2) == 1);
    CHECK(etcd_n_members(world.etcd) == 2);
    world_close(&world);
}

/* One that asks for a while: the one given answers for one cluster, those learnt for another; 0: cannot be reached. */
static void let_answer(struct world *world, uint64_t given, uint64_t learnt) {
    struct got got;
    (void)put_again(world, &got, 3 * S);
    for (int i = 0; i < 35; i++) {
        for (struct fake_call *call; (call = fake_call(world->fake, FAKE_ANY));) {
            uint64_t cluster_id = call->address[0] == 'a' ? given : learnt;
            if (cluster_id == 0 || call->method == RPC_MEMBER_LIST)
                fake_refuse(call);
            else if (call->method == RPC_MEMBER_STATUS)
                reply_status(call, cluster_id);
            else
                reply_put(call, cluster_id);
        }
        fake_advance(world->fake, 100 * MS);
    }
    CHECK(got.n == 1);
}

static struct world world_that_learnt_two(void) {
    static const struct listed three[] = {
        {OURS_ID, "http://a:1", false}, {4, "http://d:1", false}, {5, "http://e:1", false}};
    struct world world = learning_world(1, false);
    meet(&world);
    list(&world, three, 3);
    CHECK(prove_all(&world, three, 3) == 2);
    return world;
}

static void members_learnt_do_not_speak_for_another_cluster(void) {
    struct world world = world_that_learnt_two();
    let_answer(&world, 0, OTHER_CLUSTER);
    CHECK(etcd_n_members(world.etcd) == 3 && etcd_began_ns(world.etcd) == 0);
    meet(&world);
    world_close(&world);
}

static void members_learnt_of_an_etcd_that_is_no_more_are_left(void) {
    struct world world = world_that_learnt_two();
    let_answer(&world, OTHER_CLUSTER, 0);
    CHECK(etcd_n_members(world.etcd) == 1 && etcd_began_ns(world.etcd) != 0);
    world_close(&world);
}

static void a_failure_lets_the_list_be_read_soon(void) {
    struct world world = learning_world(1, false);
    struct got got;
    meet(&world);
    list(&world, a_and_d, 1);
    fake_advance(world.fake, 60 * S);
    size_t n = fake_n_calls_made(world.fake);
    (void)put(&world, &got, 10 * MS);
    fake_fail(flight(&world, RPC_PUT, "a:1"), RPC_UNAVAILABLE, "etcdserver: no leader");
    CHECK(await_call(&world, RPC_MEMBER_LIST, 1600 * MS) != NULL);
    CHECK(fake_n_calls_made(world.fake) == n + 2);
    world_close(&world);
}

static void a_list_that_cannot_be_read_is_asked_for_seldom(void) {
    struct world world = learning_world(1, false);
    int n = 0;
    meet(&world);
    for (int64_t hour = fake_now(world.fake) + 3600 * S; fake_now(world.fake) < hour;) {
        struct fake_call *call = await_call(&world, RPC_MEMBER_LIST, S);
        if (call) {
            fake_fail(call, RPC_PERMISSION_DENIED, "etcdserver: permission denied");
            n++;
        }
        fake_run(world.fake);
    }
    CHECK(n >= 30 && n <= 80);
    world_close(&world);
}

static void the_cluster_is_closed_in_whatever_state(void) {
    struct world reading = learning_world(1, false);
    meet(&reading);
    CHECK(await_call(&reading, RPC_MEMBER_LIST, 2 * S) != NULL);
    world_close(&reading);
    struct world settling = learning_world(1, false);
    meet(&settling);
    list(&settling, a_and_d, 2);
    world_close(&settling);
    struct world probing = learning_world(1, false);
    meet(&probing);
    list(&probing, a_and_d, 2);
    fake_advance(probing.fake, S);
    (void)flight(&probing, RPC_MEMBER_STATUS, "d:1");
    world_close(&probing);
}

static void without_memory_it_is_tried_again(void) {
    struct world world = learning_world(1, false);
    meet(&world);
    fake_fail_next(world.fake, 1);
    fake_advance(world.fake, 2 * S);
    list(&world, a_and_d, 2);
    fake_fail_next(world.fake, 1);
    fake_advance(world.fake, 2 * S);
    CHECK(etcd_n_members(world.etcd) == 1);
    list(&world, a_and_d, 2);
    CHECK(prove_all(&world, a_and_d, 2) == 1);
    world_close(&world);
}

int main(void) {
    RUN(the_list_is_read_a_second_after_the_first_answer_and_then_seldom);
    RUN(nothing_is_learnt_unless_it_is_wanted);
    RUN(a_listed_member_that_proves_itself_is_used_when_those_given_are_gone);
    RUN(what_cannot_be_of_use_is_not_even_tried);
    RUN(over_tls_only_members_that_speak_it_are_tried);
    RUN(addresses_of_this_machine_are_learnt_where_one_is_given);
    RUN(one_that_does_not_prove_itself_is_never_asked_and_costs_no_call_anything);
    RUN(one_that_is_not_listed_any_more_is_left);
    RUN(as_many_are_learnt_as_may_be_given);
    RUN(members_replaced_for_ever_find_room);
    RUN(listed_members_without_an_id_take_no_room);
    RUN(a_member_that_is_asked_about_stays_what_it_is);
    RUN(one_that_is_listed_twice_is_learnt_once);
    RUN(members_learnt_do_not_speak_for_another_cluster);
    RUN(members_learnt_of_an_etcd_that_is_no_more_are_left);
    RUN(a_failure_lets_the_list_be_read_soon);
    RUN(a_list_that_cannot_be_read_is_asked_for_seldom);
    RUN(the_cluster_is_closed_in_whatever_state);
    RUN(without_memory_it_is_tried_again);
    return check_end();
}
