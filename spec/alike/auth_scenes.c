/* spec/alike/auth_scenes.c - users and tokens. root may do all, ann what is below /ann. */
#include <string.h>

#include "scene.h"

/* Since etcd 3.4.42, 3.5.28 and 3.6.9 leases are checked as keys are: before, hardly at all; and a watch without
 * an end was let through where a read was not. */
static bool is_strict(const struct party *party) {
    return strncmp(party->version, "3.4", 3) != 0;
}

static void everything(struct party *party) {
    put(party, B("/ann/k"), B("v"));
    get(party, B("/ann/k"));
    del(party, B("/ann/k"), B(""));
    get(party, B("/bob/k"));
    put(party, B("/bob/k"), B("v"));
    del(party, B("/bob/k"), B(""));
    put(party, B(""), B("no key"));
    ask_op(party, &(struct lun_kv_op){.key = B("/ann/"), .range_end = B("/ann0")});
    ask_op(party, &(struct lun_kv_op){.key = B("/ann/a"), .range_end = B("/ann/b")});
    ask_op(party, &(struct lun_kv_op){.key = B("/ann/"), .range_end = B("/b")});
    ask_op(party, &(struct lun_kv_op){.key = B("/ann/"), .range_end = B("\0")});
    ask_op(party, &(struct lun_kv_op){.key = B("/ann/k"), .is_serializable = true});
    struct lun_cmp mine = {.target = LUN_CMP_CREATE, .key = B("/ann/k")},
                   theirs = {.target = LUN_CMP_CREATE, .key = B("/bob/k")};
    struct lun_kv_op write = {.kind = LUN_OP_PUT, .key = B("/ann/k"), .value = B("txn")},
                     read = {.key = B("/ann/k")}, other = {.key = B("/bob/k")};
    ask_txn(party, &(struct lun_txn){&mine, 1, &write, &read, 1, 1});
    ask_txn(party, &(struct lun_txn){&theirs, 1, &write, &read, 1, 1});
    ask_txn(party, &(struct lun_txn){&mine, 1, &write, &other, 1, 1});
    ask_txn(party, &(struct lun_txn){&mine, 1, &read, &read, 1, 1});
}

static void leases(struct party *party) {
    const char *root = ask_token(party, "root", "toor");
    const char *user = party->token;
    grant_lease(party, LEASE_AUTH, 600);
    party->token = root;
    grant_lease(party, LEASE_AUTH, 600);
    put_leased(party, B("/bob/l"), B(""), LEASE_AUTH);
    party->token = user;
    struct talk *renewals = talk_open(party, RPC_LEASE_KEEP_ALIVE);
    talk_renew(renewals, LEASE_AUTH);
    talk_tell(renewals, 1);
    talk_drop(renewals);
    time_to_live(party, LEASE_AUTH, true);
    put_leased(party, B("/ann/l"), B(""), LEASE_AUTH);
    revoke_lease(party, LEASE_AUTH);
    party->token = root;
    revoke_lease(party, LEASE_AUTH);
}

static void watch(struct party *party, struct lun_bytes key, struct lun_bytes range_end) {
    struct talk *talk = talk_open(party, RPC_WATCH);
    Etcdserverpb__WatchCreateRequest request = ETCDSERVERPB__WATCH_CREATE_REQUEST__INIT;
    request.key = binary(key);
    request.range_end = binary(range_end);
    talk_watch(talk, &request);
    talk_tell(talk, 1);
    talk_drop(talk);
}

static void watches(struct party *party) {
    watch(party, B("/ann/k"), B(""));
    watch(party, B("/ann/"), B("/ann0"));
    watch(party, B("/bob"), B(""));
    watch(party, B("/ann/"), B("/b"));
}

static void all(struct party *party) {
    everything(party);
    watches(party);
    if (!is_strict(party))
        return;
    leases(party);
    watch(party, B("/ann"), B("\0"));
}

static void with_token(struct party *party) {
    party->token = ask_token(party, "ann", "secret");
    all(party);
}

static void as_root(struct party *party) {
    party->token = ask_token(party, "root", "toor");
    all(party);
}

static void without_token(struct party *party) {
    all(party);
}

static void wrong_token(struct party *party) {
    party->token = "aaaaaaaaaaaaaaaa.1";
    all(party);
}

static void authenticate(struct party *party) {
    Etcdserverpb__AuthenticateRequest request = ETCDSERVERPB__AUTHENTICATE_REQUEST__INIT;
    request.name = "ann";
    request.password = "wrong";
    ask(party, RPC_AUTHENTICATE, &request.base);
    request.name = "nobody";
    ask(party, RPC_AUTHENTICATE, &request.base);
    request.name = "";
    ask(party, RPC_AUTHENTICATE, &request.base);
    request.name = "ann";
    request.password = "secret";
    ask(party, RPC_AUTHENTICATE, &request.base);
}

const struct scene auth_scenes[] = {{"who may authenticate", authenticate},
                                    {"a user may touch what is the user's", with_token},
                                    {"root may touch all", as_root},
                                    {"nobody may touch nothing", without_token},
                                    {"a token that nobody knows", wrong_token},
                                    {0}};
