/* spec/alike/leaderless_scenes.c - a member that has lost its peers. */
#include "scene.h"

/* Whoever did not ask for a leader waits as long as etcd does. */
static void patience(struct party *party) {
    Etcdserverpb__RangeRequest range = ETCDSERVERPB__RANGE_REQUEST__INIT;
    Etcdserverpb__PutRequest put_request = ETCDSERVERPB__PUT_REQUEST__INIT;
    Etcdserverpb__LeaseGrantRequest grant = ETCDSERVERPB__LEASE_GRANT_REQUEST__INIT;
    Etcdserverpb__LeaseRevokeRequest revocation = ETCDSERVERPB__LEASE_REVOKE_REQUEST__INIT;
    Etcdserverpb__LeaseTimeToLiveRequest time = ETCDSERVERPB__LEASE_TIME_TO_LIVE_REQUEST__INIT;
    range.key = put_request.key = binary(B("/k"));
    grant.ttl = 60;
    revocation.id = time.id = 0x7000;
    struct talk *renewals = talk_open(party, RPC_LEASE_KEEP_ALIVE);
    talk_renew(renewals, 0x7000);
    ask_later(party, RPC_RANGE, &range.base);
    ask_later(party, RPC_PUT, &put_request.base);
    ask_later(party, RPC_LEASE_GRANT, &grant.base);
    ask_later(party, RPC_LEASE_REVOKE, &revocation.base);
    ask_later(party, RPC_LEASE_TIME_TO_LIVE, &time.base);
    ask_rest(party);
    talk_tell(renewals, 1);
    talk_drop(renewals);
}

static void alone(struct party *party) {
    put(party, B("/k"), B("v"));
    grant_lease(party, 0x7000, 600);
    party->has_leader = true;
    struct talk *watch = talk_open(party, RPC_WATCH), *renewals = talk_open(party, RPC_LEASE_KEEP_ALIVE);
    Etcdserverpb__WatchCreateRequest request = ETCDSERVERPB__WATCH_CREATE_REQUEST__INIT;
    request.key = binary(B("/k"));
    talk_watch(watch, &request);
    talk_tell(watch, 1);
    talk_renew(renewals, 0x7000);
    talk_tell(renewals, 1);
    party_lose_leader(party);
    get(party, B("/k"));
    put(party, B("/k"), B("w"));
    grant_lease(party, 0x7001, 600);
    Etcdserverpb__StatusRequest status = ETCDSERVERPB__STATUS_REQUEST__INIT;
    ask(party, RPC_MEMBER_STATUS, &status.base);
    party->has_leader = false;
    ask(party, RPC_MEMBER_STATUS, &status.base);
    ask_op(party, &(struct lun_kv_op){.key = B("/k"), .is_serializable = true});
    talk_tell(watch, 1);
    talk_tell(renewals, 1);
    party->has_leader = true;
    struct talk *late = talk_open(party, RPC_WATCH);
    talk_watch(late, &request);
    talk_tell(late, 1);
    talk_drop(late);
    party->has_leader = false;
    late = talk_open(party, RPC_WATCH);
    talk_watch(late, &request);
    talk_tell(late, 1);
    talk_drop(late);
    patience(party);
    talk_drop(watch);
    talk_drop(renewals);
}

const struct scene leaderless_scenes[] = {
    {"a member without a leader says so to whoever asked for one", alone}, {0}};
