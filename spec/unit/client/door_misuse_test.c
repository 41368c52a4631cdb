/* spec/unit/client/door_misuse_test.c - arguments of lunarch.h that make no sense: each is refused with a sentence. */
#include "door_etcd.h"

#define REFUSED(call, sentence)                                                                              \
    do {                                                                                                     \
        struct lun_ask ask = asking(&answer, LIMIT_MS);                                                      \
        struct lun_err err = {0};                                                                            \
        (void)ask;                                                                                           \
        CHECK((call) == LUN_EINVALID);                                                                       \
        CHECK_TEXT(err.text, sentence);                                                                      \
    } while (0)

static void arguments_that_make_no_sense_are_refused(void) {
    struct lun_client *client = open_client();
    struct lun_session *session = open_session(client, 5);
    struct lun_election *election = new_election(session, "/door/sense");
    struct answer answer;
    struct lun_term *term = win(client, election);
    const struct lun_bytes key = lun_bytes_of("/k"), hollow = {NULL, 5}, huge = {"x", SIZE_MAX / 2};
    const struct lun_kv_op good = {.kind = LUN_OP_RANGE, .key = key};
    struct lun_kv_op op = good;
#define WITH(field, value, sentence)                                                                         \
    do {                                                                                                     \
        op = good;                                                                                           \
        op.field = value;                                                                                    \
        REFUSED(lun_kv(client, &op, &ask, NULL, &err), sentence);                                            \
    } while (0)
    WITH(kind, (enum lun_op_kind)7, "there is no kind of operation 7");
    WITH(kind, (enum lun_op_kind) - 1, "there is no kind of operation -1");
    WITH(sort_order, (enum lun_sort_order)3, "there is no order of sorting 3");
    WITH(sort_target, (enum lun_sort_target)9, "there is no target of sorting 9");
    WITH(limit, -1, "a limit or revision is below 0: -1");
    WITH(min_mod_rev, INT64_MIN, "a limit or revision is below 0: -9223372036854775808");
    WITH(key, hollow, "the key is NULL, and 5 bytes long");
    WITH(key, ((struct lun_bytes){NULL, 0}), "the key is empty");
    WITH(range_end, hollow, "the end of the range is NULL, and 5 bytes long");
    WITH(key, huge, "the key is 9223372036854775807 bytes long: no etcd takes more than 67108864");
    op = (struct lun_kv_op){.kind = LUN_OP_PUT, .key = key, .value = hollow};
    REFUSED(lun_kv(client, &op, &ask, NULL, &err), "the value is NULL, and 5 bytes long");
    op = (struct lun_kv_op){.kind = LUN_OP_PUT, .key = key, .lease = -4};
    REFUSED(lun_kv(client, &op, &ask, NULL, &err), "put: no lease has the id -4: ids are above 0");
    REFUSED(lun_kv(client, NULL, &ask, NULL, &err), "the operation is NULL");
    struct lun_txn txn = {.n_compares = 1};
    REFUSED(lun_txn(client, &txn, &ask, NULL, &err), "txn: the compares are NULL");
    txn = (struct lun_txn){.n_success = SIZE_MAX};
    REFUSED(lun_txn(client, &txn, &ask, NULL, &err),
            "txn: at most 128 compares, and as many operations a branch");
    txn = (struct lun_txn){.n_failure = 2};
    REFUSED(lun_txn(client, &txn, &ask, NULL, &err), "txn: the operations on failure are NULL");
    struct lun_cmp compare = {.target = (enum lun_cmp_target)5, .key = key};
    txn = (struct lun_txn){.compares = &compare, .n_compares = 1};
    REFUSED(lun_txn(client, &txn, &ask, NULL, &err), "txn: compare 1: there is no target of a compare 5");
    REFUSED(lun_term_txn(term, &txn, &ask, NULL, &err), "txn: compare 1: there is no target of a compare 5");
    compare = (struct lun_cmp){.result = (enum lun_cmp_result)4, .key = key};
    REFUSED(lun_txn(client, &txn, &ask, NULL, &err), "txn: compare 1: there is no relation of a compare 4");
    REFUSED(lun_txn(client, NULL, &ask, NULL, &err), "the transaction is NULL");
    REFUSED(lun_lease_grant(client, -1, 5, &ask, NULL, &err),
            "lease: no lease has the id -1: ids are above 0");
    REFUSED(lun_lease_revoke(client, 0, &ask, NULL, &err), "revoke: no lease has the id 0: ids are above 0");
    REFUSED(lun_lease_time_to_live(client, -2, &ask, NULL, &err),
            "time to live: no lease has the id -2: ids are above 0");
    REFUSED(lun_election_campaign(election, hollow, &ask, NULL, &err), "the value is NULL, and 5 bytes long");
    REFUSED(lun_term_proclaim(term, hollow, &ask, NULL, &err), "the value is NULL, and 5 bytes long");
    REFUSED(lun_session_await(session, (enum lun_session_state)12, &ask, NULL, &err),
            "session: there is no state 12");
    struct lun_session_options options = {.grace_ms = INT64_MAX};
    REFUSED(lun_session_open(client, &options, &ask, NULL, &err),
            "session: a grace of 9223372036854775807 ms is longer than any TTL");
    options = (struct lun_session_options){.lease = -1, .grace_ms = -1};
    REFUSED(lun_session_open(client, &options, &ask, NULL, &err),
            "session: no lease has the id -1: ids are above 0");
    struct lun_watch_options watched = {.key = key, .range_end = hollow};
    struct lun_watch *watch;
    REFUSED(lun_watch_open(client, &watched, &watch, &err),
            "watch: the end of the range is NULL, and 5 bytes long");
    REFUSED(lun_watch_open(client, NULL, &watch, &err), "watch: the options are NULL");
    struct lun_mutex *mutex;
    REFUSED(lun_mutex_new(session, NULL, false, &mutex, &err), "mutex: the name is NULL");
    struct lun_election *another;
    REFUSED(lun_election_new(session, NULL, &another, &err), "election: the name is NULL");
    struct lun_observer *observer;
    REFUSED(lun_observer_open(client, NULL, &observer, &err), "observe: the name is NULL");
    const char *const endpoints[] = {"127.0.0.1:1", NULL};
    struct lun_config config = {.endpoints = endpoints, .n_endpoints = 2};
    struct lun_client *never;
    REFUSED(lun_client_open(&config, &never, &err), "endpoint 2 is NULL");
    config.n_endpoints = SIZE_MAX;
    REFUSED(lun_client_open(&config, &never, &err),
            "18446744073709551615 endpoints: between 1 and 16 are needed");
    struct lun_err err = {0};
    CHECK(lun_status(client, NULL, NULL, &err) == LUN_EINVALID);
    lun_term_free(term);
    lun_election_free(election);
    lun_session_free(session);
    close_client(client);
}

int main(int argc, char **argv) {
    (void)argv;
    int rc = begin(argc);
    if (rc)
        return rc;
    RUN(arguments_that_make_no_sense_are_refused);
    return end();
}
