/* spec/alike/lease_scenes.c - leases and their renewals. */
#include "scene.h"

static void grants(struct party *party) {
    grant_lease(party, LEASE_LEASE, 60);
    grant_lease(party, LEASE_LEASE, 60);
    grant_lease(party, LEASE_LEASE, 7);
    for (int64_t ttl = -1; ttl <= 3; ttl++)
        grant_lease(party, LEASE_LEASE + 10 + ttl, ttl);
    grant_lease(party, LEASE_LEASE + 1, INT64_C(9000000000));
    grant_lease(party, LEASE_LEASE + 2, INT64_C(9000000001));
    grant_lease(party, INT64_C(0x7fffffffffffffff), 60);
    grant_lease(party, -5, 60);
    Etcdserverpb__LeaseGrantRequest chosen = ETCDSERVERPB__LEASE_GRANT_REQUEST__INIT;
    chosen.ttl = 2;
    party_say(party, "an id of the server's choice: %d", ask_aside(party, RPC_LEASE_GRANT, &chosen.base));
    for (int64_t i = 0; i <= 1; i++)
        revoke_lease(party, LEASE_LEASE + i);
    for (int64_t ttl = -1; ttl <= 3; ttl++)
        revoke_lease(party, LEASE_LEASE + 10 + ttl);
    revoke_lease(party, INT64_C(0x7fffffffffffffff));
    revoke_lease(party, -5);
    revoke_lease(party, LEASE_LEASE);
    revoke_lease(party, 0);
}

static void revocation(struct party *party) {
    grant_lease(party, LEASE_LEASE, 600);
    grant_lease(party, LEASE_LEASE + 1, 600);
    put_leased(party, B("/b"), B("1"), LEASE_LEASE);
    put_leased(party, B("/a"), B("2"), LEASE_LEASE);
    put_leased(party, B("/c"), B("3"), LEASE_LEASE + 1);
    put_leased(party, B("/d"), B("4"), LEASE_LEASE);
    put_leased(party, B("/d"), B("5"), LEASE_LEASE + 1);
    put(party, B("/e"), B("6"));
    time_to_live(party, LEASE_LEASE, true);
    time_to_live(party, LEASE_LEASE + 1, true);
    time_to_live(party, LEASE_LEASE + 1, false);
    revoke_lease(party, LEASE_LEASE);
    get_all(party);
    time_to_live(party, LEASE_LEASE, true);
    time_to_live(party, 0x777777, false);
    put_leased(party, B("/c"), B("7"), 0);
    revoke_lease(party, LEASE_LEASE + 1);
    get_all(party);
    grant_lease(party, LEASE_LEASE, 600);
    time_to_live(party, LEASE_LEASE, true);
    revoke_lease(party, LEASE_LEASE);
    get_all(party);
}

static void renewals(struct party *party) {
    struct talk *talk = talk_open(party, RPC_LEASE_KEEP_ALIVE);
    grant_lease(party, LEASE_LEASE, 30);
    talk_renew(talk, LEASE_LEASE);
    talk_renew(talk, 0x888888);
    talk_renew(talk, LEASE_LEASE);
    talk_tell(talk, 3);
    revoke_lease(party, LEASE_LEASE);
    talk_renew(talk, LEASE_LEASE);
    talk_tell(talk, 1);
    grant_lease(party, LEASE_LEASE, 40);
    put_leased(party, B("/k"), B(""), LEASE_LEASE);
    talk_renew(talk, LEASE_LEASE);
    talk_renew(talk, 0);
    talk_tell(talk, 2);
    revoke_lease(party, LEASE_LEASE);
    talk_close(talk);
}

static void expiry(struct party *party) {
    struct talk *renewals = talk_open(party, RPC_LEASE_KEEP_ALIVE), *watch = talk_open(party, RPC_WATCH);
    Etcdserverpb__WatchCreateRequest all = ETCDSERVERPB__WATCH_CREATE_REQUEST__INIT;
    all.key = all.range_end = binary(B("\0"));
    all.prev_kv = 1;
    talk_watch(watch, &all);
    talk_tell(watch, 1);
    grant_lease(party, LEASE_LEASE, 3);
    grant_lease(party, LEASE_LEASE + 1, 600);
    put_leased(party, B("/z"), B("1"), LEASE_LEASE);
    put_leased(party, B("/y"), B("2"), LEASE_LEASE);
    put_leased(party, B("/x"), B("3"), LEASE_LEASE + 1);
    put_leased(party, B("/w"), B("4"), LEASE_LEASE);
    talk_renew(renewals, LEASE_LEASE);
    talk_tell(renewals, 1);
    talk_tell(watch, 5);
    get_all(party);
    time_to_live(party, LEASE_LEASE, true);
    talk_renew(renewals, LEASE_LEASE);
    talk_tell(renewals, 1);
    revoke_lease(party, LEASE_LEASE);
    revoke_lease(party, LEASE_LEASE + 1);
    talk_drop(renewals);
    talk_close(watch);
}

const struct scene lease_scenes[] = {
    {"a lease is granted", grants},
    {"a revocation deletes all keys at once", revocation},
    {"a renewal of an unknown lease answers 0, and the stream stays", renewals},
    {"an expiry deletes all keys in one revision", expiry},
    {0}};
