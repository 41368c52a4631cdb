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

/* ---- what an operator changes ---------------------------------------------------------------------------- */

/* Without a token, as the core does: etcd 3.4 looks at one here too. */
static void ask_as_ann(struct party *party, const char *password) {
    const char *token = party->token;
    Etcdserverpb__AuthenticateRequest request = ETCDSERVERPB__AUTHENTICATE_REQUEST__INIT;
    request.name = "ann";
    request.password = (char *)(uintptr_t)password;
    party->token = NULL;
    ask(party, RPC_AUTHENTICATE, &request.base);
    party->token = token;
}

static void read_write_watch(struct party *party) {
    put(party, B("/ann/k"), B("v"));
    get(party, B("/ann/k"));
    struct lun_kv_op read = {.key = B("/ann/k")};
    ask_txn(party, &(struct lun_txn){.success = &read, .n_success = 1});
    watch(party, B("/ann/k"), B(""));
}

/* The tokens that her old password brought end with it, on open streams too. */
static void another_password(struct party *party) {
    const char *old = ask_token(party, "ann", "secret");
    struct talk *renewals = NULL;
    party->token = old;
    read_write_watch(party);
    if (is_strict(party)) {
        grant_lease(party, LEASE_AUTH + 1, 600);
        renewals = talk_open(party, RPC_LEASE_KEEP_ALIVE);
        talk_renew(renewals, LEASE_AUTH + 1);
        talk_tell(renewals, 1);
    }
    party_change_users(party, ANN_HAS_ANOTHER_PASSWORD);
    read_write_watch(party);
    if (renewals) {
        talk_renew(renewals, LEASE_AUTH + 1);
        talk_tell(renewals, 1);
        talk_drop(renewals);
    }
    ask_as_ann(party, "secret");
    ask_as_ann(party, "another");
    party->token = ask_token(party, "ann", "another");
    read_write_watch(party);
    if (is_strict(party))
        revoke_lease(party, LEASE_AUTH + 1);
    party_change_users(party, ANN_HAS_HER_PASSWORD);
    read_write_watch(party);
    party->token = old;
    read_write_watch(party);
    ask_as_ann(party, "another");
    party->token = ask_token(party, "ann", "secret");
    read_write_watch(party);
}

static void with_rights(struct party *party, enum users_change rights) {
    party_change_users(party, rights);
    all(party);
}

/* Her token stays good, and a watch goes on whatever she may do by now. */
static void other_rights(struct party *party) {
    Etcdserverpb__WatchCreateRequest request = ETCDSERVERPB__WATCH_CREATE_REQUEST__INIT;
    const char *root = ask_token(party, "root", "toor"), *ann = ask_token(party, "ann", "secret");
    party->token = ann;
    struct talk *talk = talk_open(party, RPC_WATCH);
    request.key = binary(B("/ann/seen"));
    talk_watch(talk, &request);
    talk_tell(talk, 1);
    static const enum users_change rights[] = {ANN_MAY_READ, ANN_MAY_WRITE, ANN_MAY_NOTHING, ANN_MAY_ALL};
    for (size_t i = 0; i < sizeof rights / sizeof rights[0]; i++) {
        with_rights(party, rights[i]);
        party->token = root;
        put(party, B("/ann/seen"), B("by root"));
        talk_tell(talk, 1);
        party->token = ann;
    }
    talk_drop(talk);
}

/* A lease and what stands on it, looked after by one who may not any more. */
static void a_right_withdrawn_from_who_renews(struct party *party) {
    if (!is_strict(party))
        return;
    party->token = ask_token(party, "ann", "secret");
    grant_lease(party, LEASE_AUTH + 2, 600);
    put_leased(party, B("/ann/l"), B(""), LEASE_AUTH + 2);
    struct talk *renewals = talk_open(party, RPC_LEASE_KEEP_ALIVE);
    talk_renew(renewals, LEASE_AUTH + 2);
    talk_tell(renewals, 1);
    party_change_users(party, ANN_MAY_READ);
    talk_renew(renewals, LEASE_AUTH + 2);
    talk_tell(renewals, 1);
    talk_drop(renewals);
    time_to_live(party, LEASE_AUTH + 2, true);
    revoke_lease(party, LEASE_AUTH + 2);
    party_change_users(party, ANN_MAY_WRITE);
    time_to_live(party, LEASE_AUTH + 2, true);
    party_change_users(party, ANN_MAY_ALL);
    revoke_lease(party, LEASE_AUTH + 2);
}

/* A token is looked at then too by etcd 3.4. */
static void authentication_off_and_on(struct party *party) {
    const char *old = ask_token(party, "ann", "secret");
    party->token = old;
    get(party, B("/ann/k"));
    party_change_users(party, NOBODY_SHOWS_A_TOKEN);
    ask_as_ann(party, "secret");
    if (is_strict(party))
        all(party);
    party->token = NULL;
    all(party);
    party_change_users(party, EVERYBODY_SHOWS_A_TOKEN);
    read_write_watch(party);
    party->token = old;
    read_write_watch(party);
    party->token = ask_token(party, "ann", "secret");
    read_write_watch(party);
}

const struct scene auth_scenes[] = {{"who may authenticate", authenticate},
                                    {"a user may touch what is the user's", with_token},
                                    {"root may touch all", as_root},
                                    {"nobody may touch nothing", without_token},
                                    {"a token that nobody knows", wrong_token},
                                    {"another password", another_password},
                                    {"other rights", other_rights},
                                    {"a right withdrawn from who renews", a_right_withdrawn_from_who_renews},
                                    {"authentication off and on", authentication_off_and_on},
                                    {0}};

/* ---- tokens that live for two seconds ---------------------------------------------------------------------- */

static void expired(struct party *party) {
    struct talk *renewals = NULL;
    party->token = ask_token(party, "ann", "secret");
    struct talk *seen = talk_open(party, RPC_WATCH);
    Etcdserverpb__WatchCreateRequest request = ETCDSERVERPB__WATCH_CREATE_REQUEST__INIT;
    request.key = binary(B("/ann/seen"));
    talk_watch(seen, &request);
    talk_tell(seen, 1);
    if (is_strict(party)) {
        grant_lease(party, LEASE_AUTH + 3, 600);
        renewals = talk_open(party, RPC_LEASE_KEEP_ALIVE);
    }
    party_pause(party, 6 * NS_PER_S);
    read_write_watch(party);
    if (renewals) {
        talk_renew(renewals, LEASE_AUTH + 3);
        talk_tell(renewals, 1);
        talk_drop(renewals);
    }
    party->token = ask_token(party, "ann", "secret");
    put(party, B("/ann/seen"), B("with another token"));
    talk_tell(seen, 1);
    talk_drop(seen);
    if (is_strict(party))
        revoke_lease(party, LEASE_AUTH + 3);
}

const struct scene fleeting_scenes[] = {{"a token that has expired", expired}, {0}};

/* ---- tokens that are signed --------------------------------------------------------------------------------- */

/* It names the state that users and roles were in: any change makes it worth nothing, a gift too. */
static void outdated(struct party *party) {
    party->token = ask_token(party, "ann", "secret");
    read_write_watch(party);
    party_change_users(party, ANN_MAY_READ);
    read_write_watch(party);
    party->token = ask_token(party, "ann", "secret");
    read_write_watch(party);
    party_change_users(party, ANN_MAY_ALL);
    read_write_watch(party);
    party->token = ask_token(party, "ann", "secret");
    read_write_watch(party);
}

static void foreign(struct party *party) {
    party->token = "eyJhbGciOiJIUzI1NiJ9.e30.aaaa";
    read_write_watch(party);
}

const struct scene signed_scenes[] = {
    {"a signed token and a change of users", outdated}, {"a token that others signed", foreign}, {0}};
