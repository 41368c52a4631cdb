/* spec/alike/frozen_test.c - what members of a cluster do that were frozen, thawed or cut off, row by row as it
 * was measured on real ones; what is drawn is tried under many seeds. */
#include "check.h"
#include "scene.h"

enum { SEEDS = 40, LEASE = 0x1000, LATER_LEASE = 0x2000, TTL_S = 10 };

static struct party party;

static void open_party(uint64_t seed) {
    party_open_sim_of(&party, seed);
    party_begin(&party);
    grant_lease(&party, LEASE, TTL_S);
    put_leased(&party, B("/k"), B(""), LEASE);
}

/* What the story says since. */
static const char *since(size_t from) {
    return party_tale(&party) + from;
}

static size_t here(void) {
    return strlen(party_tale(&party));
}

static void await_another_leader(int than) {
    while (sim_leader(party.sim) == than)
        sim_step(party.sim);
}

static const char *renew(int64_t lease) {
    size_t from = here();
    struct talk *renewals = talk_open(&party, RPC_LEASE_KEEP_ALIVE);
    talk_renew(renewals, lease);
    talk_tell(renewals, 1);
    talk_drop(renewals);
    return since(from);
}

/* The leader sleeps until another leads; with `is_over`, until the lease is over. */
static void let_leader_sleep(bool is_over) {
    int leader = party.member;
    sim_freeze(party.sim, leader);
    await_another_leader(leader);
    party_visit(&party, sim_leader(party.sim));
    grant_lease(&party, LATER_LEASE, 600);
    while (is_over && sim_has_lease(party.sim, LEASE))
        sim_step(party.sim);
    party_visit(&party, leader);
    sim_thaw(party.sim, leader);
}

static void a_thawed_leader_renews_leases_that_are_gone(void) {
    int n = 0;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        open_party(seed);
        let_leader_sleep(true);
        n += strstr(renew(LEASE), "TTL=10") != NULL;
        CHECK(!sim_has_lease(party.sim, LEASE));
        party_close(&party);
    }
    CHECK(n > SEEDS / 2);
}

static void a_read_through_a_thawed_leader_shows_the_new_term(void) {
    int n_refused = 0;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        open_party(seed);
        uint64_t term = party.last_term;
        let_leader_sleep(false);
        size_t from = here();
        if (get(&party, B("/k")) == RPC_OK)
            CHECK(party.last_term > term);
        else
            CHECK(strstr(since(from), "14 etcdserver: leader changed"));
        n_refused += strstr(since(from), "leader changed") != NULL;
        party_close(&party);
    }
    CHECK(n_refused > 0 && n_refused < SEEDS);
}

static void a_thawed_leader_denies_leases_granted_while_it_slept(void) {
    int n = 0;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        open_party(seed);
        let_leader_sleep(false);
        n += strstr(renew(LATER_LEASE), "TTL") == NULL;
        CHECK(sim_has_lease(party.sim, LATER_LEASE));
        party_close(&party);
    }
    CHECK(n > SEEDS / 2);
}

static void a_renewal_through_a_follower_hangs_while_the_leader_is_frozen(void) {
    open_party(1);
    int leader = party.member;
    party_visit(&party, (leader + 1) % SIM_MEMBERS);
    struct talk *renewals = talk_open(&party, RPC_LEASE_KEEP_ALIVE);
    sim_freeze(party.sim, leader);
    talk_renew(renewals, LEASE);
    party_pause(&party, 900 * NS_PER_MS);
    CHECK(talk_n_heard(renewals) == 0);
    talk_tell(renewals, 1);
    CHECK(sim_leader(party.sim) != leader);
    talk_drop(renewals);
    party_close(&party);
}

static void a_request_that_a_frozen_member_holds_is_carried_out_later(void) {
    open_party(1);
    int follower = (party.member + 1) % SIM_MEMBERS, leader = party.member;
    sim_freeze(party.sim, follower);
    party_visit(&party, follower);
    Etcdserverpb__PutRequest request = ETCDSERVERPB__PUT_REQUEST__INIT;
    request.key = binary(B("/late"));
    ask_later(&party, RPC_PUT, &request.base);
    party_pause(&party, 5 * NS_PER_S);
    party_visit(&party, leader);
    size_t from = here();
    get(&party, B("/late"));
    CHECK(!strstr(since(from), "kvs"));
    sim_thaw(party.sim, follower);
    ask_rest(&party);
    from = here();
    get(&party, B("/late"));
    CHECK(strstr(since(from), "kvs"));
    party_close(&party);
}

static void a_member_cut_off_ends_its_watches_after_four_seconds(void) {
    open_party(1);
    party_visit(&party, (party.member + 1) % SIM_MEMBERS);
    party.has_leader = true;
    struct talk *watch = talk_open(&party, RPC_WATCH);
    Etcdserverpb__WatchCreateRequest request = ETCDSERVERPB__WATCH_CREATE_REQUEST__INIT;
    request.key = binary(B("/k"));
    talk_watch(watch, &request);
    talk_tell(watch, 1);
    sim_cut(party.sim, party.member);
    int64_t cut_ns = sim_now(party.sim);
    size_t from = here();
    talk_tell(watch, 1);
    int64_t took_ns = sim_now(party.sim) - cut_ns;
    CHECK(strstr(since(from), "ends: 14 etcdserver: no leader"));
    /* timing: the simulator's */
    CHECK(took_ns > 3 * NS_PER_S && took_ns < 6 * NS_PER_S);
    talk_drop(watch);
    party_close(&party);
}

static void leases_are_extended_when_the_leader_changes(void) {
    open_party(1);
    int leader = party.member;
    party_pause(&party, (TTL_S - 1) * NS_PER_S);
    sim_stop(party.sim, leader);
    await_another_leader(leader);
    party_visit(&party, sim_leader(party.sim));
    party_pause(&party, (TTL_S - 1) * NS_PER_S);
    CHECK(sim_has_lease(party.sim, LEASE));
    party_pause(&party, 3 * NS_PER_S);
    CHECK(!sim_has_lease(party.sim, LEASE));
    party_close(&party);
}

int main(void) {
    RUN(a_thawed_leader_renews_leases_that_are_gone);
    RUN(a_read_through_a_thawed_leader_shows_the_new_term);
    RUN(a_thawed_leader_denies_leases_granted_while_it_slept);
    RUN(a_renewal_through_a_follower_hangs_while_the_leader_is_frozen);
    RUN(a_request_that_a_frozen_member_holds_is_carried_out_later);
    RUN(a_member_cut_off_ends_its_watches_after_four_seconds);
    RUN(leases_are_extended_when_the_leader_changes);
    return check_end();
}
