/* spec/unit/etcd/etcd_token_test.c - a user's token under leases that are renewed: what waits for it, what is made again with
 * the next one, and when that is asked for. */
#include <stdio.h>

#include "etcd_world.h"

#include "etcd/cluster.h"
#include "etcd/renewal.h"

static void on_renewed(struct renewal *renewal, int64_t sent_ns, int64_t ttl_s) {
    (void)renewal, (void)sent_ns, (void)ttl_s;
}

static void on_gone(struct renewal *renewal) {
    (void)renewal;
}

static void on_refused(struct renewal *renewal, const struct lun_err *err) {
    (void)renewal, (void)err;
}

static const struct renewal_callbacks callbacks = {on_renewed, on_gone, on_refused};

/* It is due at once. */
static void start_now(struct world *world, struct renewal *renewal, int64_t ttl_s) {
    world_enter(world);
    renewal_start(renewal, 1, ttl_s * NS_PER_S, 0);
    world_leave(world);
}

static void begin(struct world *world, struct renewal *renewal, int64_t ttl_s) {
    *world = world_of(1);
    world_enter(world);
    if (etcd_set_user(world->etcd, "ann", "secret"))
        abort();
    world_leave(world);
    renewal_init(renewal, world->etcd, &callbacks);
    start_now(world, renewal, ttl_s);
}

static void end(struct world *world, struct renewal *renewal) {
    world_enter(world);
    renewal_stop(renewal);
    world_leave(world);
    world_close(world);
}

/* NULL: it is not. */
static struct fake_call *asked_for_token(struct world *world) {
    fake_run(world->fake);
    if (fake_call(world->fake, RPC_MEMBER_STATUS)) /* whose member it is */
        reply_status(fake_call(world->fake, RPC_MEMBER_STATUS), OUR_CLUSTER);
    fake_run(world->fake);
    return fake_call(world->fake, RPC_AUTHENTICATE);
}

static void give_token(struct world *world, const char *token) {
    struct fake_call *call = asked_for_token(world);
    Etcdserverpb__ResponseHeader header = header_of(OUR_CLUSTER, 5, 2);
    Etcdserverpb__AuthenticateResponse response = ETCDSERVERPB__AUTHENTICATE_RESPONSE__INIT;
    REQUIRE(call);
    response.header = &header;
    response.token = (char *)(uintptr_t)token;
    fake_reply(call, &response.base);
    fake_run(world->fake);
}

/* A signed one that ends so much later. */
static void give_signed(struct world *world, int64_t life_s) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    char payload[32], token[64] = "header.";
    size_t n = strlen(token);
    (void)snprintf(payload, sizeof payload, "{\"exp\":%014lld}",
                   (long long)(fake_now(world->fake) / NS_PER_S + life_s)); /* 21 bytes: no rest */
    for (const char *at = payload; *at; at += 3)
        for (int shift = 18; shift >= 0; shift -= 6)
            token[n++] =
                digits[((unsigned)at[0] << 16 | (unsigned)at[1] << 8 | (unsigned)at[2]) >> shift & 63];
    (void)snprintf(token + n, sizeof token - n, ".signature");
    give_token(world, token);
}

/* The newest stream of renewals says so. */
static void say_renewed(struct world *world) {
    size_t n = fake_n_streams(world->fake, RPC_LEASE_KEEP_ALIVE);
    REQUIRE(n > 0);
    struct fake_stream *stream = fake_stream(world->fake, RPC_LEASE_KEEP_ALIVE, n - 1);
    Etcdserverpb__ResponseHeader header = header_of(OUR_CLUSTER, 5, 2);
    Etcdserverpb__LeaseKeepAliveResponse response = ETCDSERVERPB__LEASE_KEEP_ALIVE_RESPONSE__INIT;
    while (fake_sent(stream)) {
    }
    response.header = &header;
    response.id = 1;
    response.ttl = 10;
    fake_say(stream, &response.base);
    fake_run(world->fake);
}

static void confirm(struct world *world) {
    struct fake_call *read = fake_call(world->fake, RPC_RANGE);
    REQUIRE(read);
    reply_range(read, NULL, 5);
    fake_run(world->fake);
}

static void refuse(struct world *world, int method, int status, const char *message) {
    struct fake_call *call = fake_call(world->fake, method);
    REQUIRE(call);
    fake_fail(call, status, message);
    fake_run(world->fake);
}

/* With a token, and a renewal that was answered: the read that confirms the member is under way. */
static void begin_renewed(struct world *world, struct renewal *renewal, int64_t ttl_s) {
    begin(world, renewal, ttl_s);
    give_token(world, "one");
    say_renewed(world);
}

static const char invalid[] = "etcdserver: invalid auth token";

static void a_renewal_that_is_due_before_there_is_a_token_waits_for_it(void) {
    struct world world;
    struct renewal renewal;
    begin(&world, &renewal, 10);
    REQUIRE(asked_for_token(&world));
    CHECK(fake_n_streams(world.fake, RPC_LEASE_KEEP_ALIVE) == 0);
    give_token(&world, "one");
    struct fake_stream *stream = fake_stream(world.fake, RPC_LEASE_KEEP_ALIVE, 0);
    REQUIRE(stream);
    CHECK_TEXT(stream->token, "one");
    end(&world, &renewal);
}

static void a_read_that_confirms_is_made_again_once_when_its_token_has_ended(void) {
    struct world world;
    struct renewal renewal;
    begin_renewed(&world, &renewal, 10);
    static const char *const tokens[] = {"one", "two"};
    for (int i = 0; i < 2; i++) {
        REQUIRE(fake_call(world.fake, RPC_RANGE));
        CHECK_TEXT(fake_call(world.fake, RPC_RANGE)->token, tokens[i]);
        refuse(&world, RPC_RANGE, RPC_UNAUTHENTICATED, invalid);
        CHECK(!fake_call(world.fake, RPC_RANGE));
        if (i == 0)
            give_token(&world, "two");
    }
    CHECK(world.etcd->tally.n_unconfirmed == 1);
    end(&world, &renewal);
}

/* The refusal of the read has shown nothing of the member: what follows has its own time. */
static void so_is_the_status_that_follows_one_that_was_not_permitted(void) {
    struct world world;
    struct renewal renewal;
    begin_renewed(&world, &renewal, 10);
    refuse(&world, RPC_RANGE, RPC_PERMISSION_DENIED, "etcdserver: permission denied");
    CHECK_TEXT(fake_call(world.fake, RPC_MEMBER_STATUS)->token, "one");
    refuse(&world, RPC_MEMBER_STATUS, RPC_UNAUTHENTICATED, invalid);
    CHECK(!fake_call(world.fake, RPC_RANGE));
    struct fake_call *call = fake_call(world.fake, RPC_AUTHENTICATE);
    REQUIRE(call);
    give_token(&world, "two");
    struct fake_call *status = fake_call(world.fake, RPC_MEMBER_STATUS);
    REQUIRE(status);
    CHECK_TEXT(status->token, "two");
    CHECK(!fake_call(world.fake, RPC_RANGE));
    reply_status(status, OUR_CLUSTER);
    fake_run(world.fake);
    CHECK(world.etcd->tally.n_confirmed == 1);
    end(&world, &renewal);
}

static void let_pass(struct world *world, int64_t ns) {
    for (; ns > 0; ns -= 100 * NS_PER_MS)
        fake_advance(world->fake, 100 * NS_PER_MS);
}

/* A third of the TTL. Until then what waits has not failed; after it, the renewal is asked for again. */
static void a_read_waits_for_its_token_no_longer_than_one_may_take(void) {
    struct world world;
    struct renewal renewal;
    begin_renewed(&world, &renewal, 9);
    refuse(&world, RPC_RANGE, RPC_UNAUTHENTICATED, invalid);
    let_pass(&world, 2900 * NS_PER_MS);
    CHECK(world.etcd->tally.n_unconfirmed == 0);
    let_pass(&world, 200 * NS_PER_MS);
    CHECK(world.etcd->tally.n_unconfirmed == 1);
    end(&world, &renewal);
}

/* What is left of the time of the first read is nothing to judge the member by. */
static void a_read_made_again_may_take_as_long_as_the_first(void) {
    struct world world;
    struct renewal renewal;
    begin_renewed(&world, &renewal, 9);
    let_pass(&world, 2 * NS_PER_S);
    refuse(&world, RPC_RANGE, RPC_UNAUTHENTICATED, invalid);
    give_token(&world, "two");
    let_pass(&world, 2 * NS_PER_S);
    confirm(&world);
    CHECK(world.etcd->tally.n_confirmed == 1 && world.etcd->tally.n_unconfirmed == 0);
    end(&world, &renewal);
}

/* Answers take 1.5 s: it is asked for 3 s before the end of the present one, not at two thirds of what is left. */
static void far_away_the_next_signed_token_is_asked_for_earlier(void) {
    struct world world;
    struct renewal renewal;
    begin(&world, &renewal, 9);
    REQUIRE(asked_for_token(&world));
    fake_advance(world.fake, 1500 * NS_PER_MS);
    give_signed(&world, 6);
    int64_t left_ns = 6 * NS_PER_S - fake_now(world.fake) % NS_PER_S, early_ns = left_ns - 3 * NS_PER_S;
    fake_advance(world.fake, early_ns - 100 * NS_PER_MS);
    CHECK(!asked_for_token(&world));
    fake_advance(world.fake, 200 * NS_PER_MS);
    CHECK(asked_for_token(&world));
    end(&world, &renewal);
}

/* As soon as a newer one is there: newer servers look at the stream's token at each renewal. */
static void renewals_go_on_a_stream_with_the_newest_token(void) {
    struct world world;
    struct renewal renewal;
    begin(&world, &renewal, 9);
    give_signed(&world, 6);
    say_renewed(&world);
    confirm(&world);
    CHECK(fake_n_streams(world.fake, RPC_LEASE_KEEP_ALIVE) == 1);
    while (!asked_for_token(&world)) {
        fake_advance(world.fake, 100 * NS_PER_MS);
        if (!fake_sent(fake_stream(world.fake, RPC_LEASE_KEEP_ALIVE, 0)))
            continue;
        say_renewed(&world);
        fake_advance(world.fake, 20 * NS_PER_MS);
        confirm(&world);
    }
    give_token(&world, "two");
    let_pass(&world, NS_PER_S);
    CHECK(fake_n_streams(world.fake, RPC_LEASE_KEEP_ALIVE) == 2);
    CHECK_TEXT(fake_stream(world.fake, RPC_LEASE_KEEP_ALIVE, 1)->token, "two");
    end(&world, &renewal);
}

static void what_would_carry_a_signed_token_past_its_end_waits_for_the_next(void) {
    struct world world;
    struct renewal renewal;
    begin(&world, &renewal, 60);
    give_signed(&world, 3);
    say_renewed(&world);
    confirm(&world);
    let_pass(&world, 7 * NS_PER_S); /* renewals are due every 6 s */
    CHECK(fake_n_streams(world.fake, RPC_LEASE_KEEP_ALIVE) == 1);
    CHECK(!fake_sent(fake_stream(world.fake, RPC_LEASE_KEEP_ALIVE, 0)));
    give_token(&world, "two");
    CHECK(fake_n_streams(world.fake, RPC_LEASE_KEEP_ALIVE) == 2);
    end(&world, &renewal);
}

/* Sixteen refusals: the pauses have grown as long as they do. */
static void a_user_that_was_refused_for_a_wrong_password_asks_again_within_15_s(void) {
    struct world world;
    struct renewal renewal;
    begin(&world, &renewal, 3600);
    for (int i = 0; i < 16; i++) {
        struct fake_call *call = asked_for_token(&world);
        for (int64_t waited_ns = 0; !call && waited_ns < 16 * NS_PER_S; waited_ns += 100 * NS_PER_MS) {
            fake_advance(world.fake, 100 * NS_PER_MS);
            start_now(&world, &renewal, 3600);
            call = asked_for_token(&world);
        }
        REQUIRE(call);
        fake_fail(call, RPC_INVALID_ARGUMENT,
                  "etcdserver: authentication failed, invalid user ID or password");
    }
    end(&world, &renewal);
}

int main(void) {
    RUN(a_renewal_that_is_due_before_there_is_a_token_waits_for_it);
    RUN(a_read_that_confirms_is_made_again_once_when_its_token_has_ended);
    RUN(so_is_the_status_that_follows_one_that_was_not_permitted);
    RUN(a_read_waits_for_its_token_no_longer_than_one_may_take);
    RUN(a_read_made_again_may_take_as_long_as_the_first);
    RUN(far_away_the_next_signed_token_is_asked_for_earlier);
    RUN(renewals_go_on_a_stream_with_the_newest_token);
    RUN(what_would_carry_a_signed_token_past_its_end_waits_for_the_next);
    RUN(a_user_that_was_refused_for_a_wrong_password_asks_again_within_15_s);
    return check_end();
}
