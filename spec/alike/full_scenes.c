/* spec/alike/full_scenes.c - an etcd without room. */
#include "scene.h"

static void no_space(struct party *party) {
    put(party, B("/k"), B("not written"));
    grant_lease(party, LEASE_FULL + 1, 60);
    struct lun_kv_op write = {.kind = LUN_OP_PUT, .key = B("/k"), .value = B("not written")};
    struct lun_kv_op read = {.key = B("/kept")}, remove = {.kind = LUN_OP_DELETE, .key = B("/kept/1")};
    struct lun_cmp cmp = {.target = LUN_CMP_CREATE, .key = B("/nobody")};
    ask_txn(party, &(struct lun_txn){&cmp, 1, &write, &read, 1, 1});
    ask_txn(party, &(struct lun_txn){&cmp, 1, &read, &write, 1, 1}); /* the branch that is not taken */
    ask_txn(party, &(struct lun_txn){&cmp, 1, &read, &read, 1, 1});
    ask_txn(party, &(struct lun_txn){&cmp, 1, &remove, &read, 1, 1});
    get_all(party);
    del(party, B("/kept/2"), B(""));
    time_to_live(party, LEASE_FULL, true);
    struct talk *renewals = talk_open(party, RPC_LEASE_KEEP_ALIVE);
    talk_renew(renewals, LEASE_FULL);
    talk_tell(renewals, 1);
    talk_drop(renewals);
    revoke_lease(party, LEASE_FULL);
    revoke_lease(party, LEASE_FULL);
    get_all(party);
    put(party, B("/k"), B("not written, though there is room again"));
}

static void setting(struct party *party) {
    grant_lease(party, LEASE_FULL, 600);
    put_leased(party, B("/kept/1"), B("1"), LEASE_FULL);
    put_leased(party, B("/kept/2"), B("2"), LEASE_FULL);
    put_leased(party, B("/kept/3"), B("3"), LEASE_FULL);
    party_fill(party);
    no_space(party);
}

const struct scene full_scenes[] = {{"without room, what frees some still works", setting}, {0}};
