/* spec/unit/door_test.c - liblunarch against a real etcd: what a C program sees. */
#include <inttypes.h>
#include <pthread.h>
#include <unistd.h>

#include "check.h"
#include "etcd_server.h"
#include "lunarch.h"

enum { LIMIT_MS = 10000 };

static struct etcd_server server;
static char endpoint[64];
static bool is_traced;

/* An answer, copied out of the callback. */
struct answer {
    bool is_there;
    int code;
    char text[512];
    struct lun_session *session;
    struct lun_term *term;
    int64_t token, revision, ttl_s;
    bool is_success, has_leader;
    char value[128];
    size_t n_results, n_events, n_kvs;
    int64_t count, deleted;
    enum lun_reason reason;
    enum lun_session_state state;
};

static void on_done(void *arg, const struct lun_result *result) {
    struct answer *answer = arg;
    answer->is_there = true;
    answer->code = result->err ? result->err->code : 0;
    snprintf(answer->text, sizeof answer->text, "%s", result->err ? result->err->text : "");
    answer->session = result->session;
    answer->term = result->term;
    answer->token = result->token;
    answer->revision = result->revision;
    answer->ttl_s = result->ttl_s;
    answer->is_success = result->is_success;
    answer->n_results = result->n_results;
    answer->n_events = result->n_events;
    answer->reason = result->reason;
    answer->state = result->state;
    answer->has_leader = result->leader != NULL;
    struct lun_bytes value = {"", 0};
    if (result->leader)
        value = result->leader->value;
    else if (result->n_results > 0 && result->results[0].n_kvs > 0)
        value = result->results[0].kvs[0].value;
    else if (result->n_events > 0)
        value = result->events[result->n_events - 1].kv.value;
    snprintf(answer->value, sizeof answer->value, "%.*s", (int)value.len, (const char *)value.data);
    if (result->n_results > 0) {
        answer->n_kvs = result->results[0].n_kvs;
        answer->count = result->results[0].count;
        answer->deleted = result->results[0].deleted;
    }
}

static struct lun_ask asking(struct answer *answer, int64_t timeout_ms) {
    *answer = (struct answer){.is_there = false};
    return (struct lun_ask){timeout_ms, on_done, answer};
}

static void on_trace(void *arg, const char *line) {
    (void)arg;
    fprintf(stderr, "# %s\n", line);
}

static bool await_answer(struct lun_client *client, const struct answer *answer) {
    int64_t until = lun_now_ns() + LIMIT_MS * INT64_C(1000000);
    while (!answer->is_there && lun_now_ns() < until)
        lun_client_poll(client, 100);
    return answer->is_there;
}

#define ANSWERED(client, call, answer)                                                                       \
    do {                                                                                                     \
        CHECK((call) == 0);                                                                                  \
        CHECK(await_answer(client, &(answer)));                                                              \
    } while (0)

static struct lun_client *open_client(void) {
    const char *endpoints[] = {endpoint};
    struct lun_config config = {
        .endpoints = endpoints, .n_endpoints = 1, .name = "tester", .on_trace = is_traced ? on_trace : NULL};
    struct lun_client *client = NULL;
    struct lun_err err;
    if (lun_client_open(&config, &client, &err))
        check_fail(__FILE__, __LINE__, err.text);
    return client;
}

static struct lun_session *open_session(struct lun_client *client, int64_t ttl_s) {
    struct answer answer;
    struct lun_session_options options = {.ttl_s = ttl_s, .grace_ms = -1};
    struct lun_ask ask = asking(&answer, LIMIT_MS);
    ANSWERED(client, lun_session_open(client, &options, &ask, NULL, NULL), answer);
    CHECK_TEXT(answer.text, "");
    return answer.session;
}

static struct lun_mutex *new_mutex(struct lun_session *session, const char *name) {
    struct lun_mutex *mutex = NULL;
    CHECK(lun_mutex_new(session, name, false, &mutex, NULL) == 0);
    return mutex;
}

static struct answer put(struct lun_client *client, const char *key, const char *value) {
    struct answer answer;
    struct lun_ask ask = asking(&answer, LIMIT_MS);
    struct lun_kv_op op = {.kind = LUN_OP_PUT, .key = lun_bytes_of(key), .value = lun_bytes_of(value)};
    ANSWERED(client, lun_kv(client, &op, &ask, NULL, NULL), answer);
    return answer;
}

static struct answer get(struct lun_client *client, const char *key) {
    struct answer answer;
    struct lun_ask ask = asking(&answer, LIMIT_MS);
    struct lun_kv_op op = {.kind = LUN_OP_RANGE, .key = lun_bytes_of(key)};
    ANSWERED(client, lun_kv(client, &op, &ask, NULL, NULL), answer);
    return answer;
}

static int64_t count_under(struct lun_client *client, const char *prefix) {
    struct answer answer;
    char end[128];
    snprintf(end, sizeof end, "%s", prefix);
    end[strlen(end) - 1]++;
    struct lun_ask ask = asking(&answer, LIMIT_MS);
    struct lun_kv_op op = {.kind = LUN_OP_RANGE,
                           .key = lun_bytes_of(prefix),
                           .range_end = lun_bytes_of(end),
                           .is_count_only = true};
    ANSWERED(client, lun_kv(client, &op, &ask, NULL, NULL), answer);
    return answer.count;
}

static void close_client(struct lun_client *client) {
    struct answer answer;
    struct lun_ask ask = asking(&answer, LIMIT_MS);
    ANSWERED(client, lun_client_close(client, &ask, NULL, NULL), answer);
    CHECK(answer.code == 0);
    lun_client_free(client);
}

static void the_plain_store_answers(void) {
    struct lun_client *client = open_client();
    struct answer answer = put(client, "/plain/a", "one");
    CHECK(answer.code == 0 && answer.revision > 0);
    answer = get(client, "/plain/a");
    CHECK_TEXT(answer.value, "one");
    struct lun_ask ask = asking(&answer, LIMIT_MS);
    struct lun_cmp compare = {
        .target = LUN_CMP_VALUE, .key = lun_bytes_of("/plain/a"), .value = lun_bytes_of("two")};
    struct lun_kv_op read = {.kind = LUN_OP_RANGE, .key = lun_bytes_of("/plain/a")};
    struct lun_txn txn = {.compares = &compare, .n_compares = 1, .failure = &read, .n_failure = 1};
    ANSWERED(client, lun_txn(client, &txn, &ask, NULL, NULL), answer);
    CHECK(!answer.is_success);
    CHECK_TEXT(answer.value, "one");
    close_client(client);
}

static void a_mutex_is_locked_and_unlocked(void) {
    struct lun_client *client = open_client();
    struct lun_session *session = open_session(client, 5);
    struct lun_mutex *mutex = new_mutex(session, "/door/lock");
    struct answer answer;
    struct lun_ask ask = asking(&answer, LIMIT_MS);
    ANSWERED(client, lun_mutex_lock(mutex, &ask, NULL, NULL), answer);
    CHECK_TEXT(answer.text, "");
    CHECK(answer.token > 0);
    CHECK(lun_mutex_is_held(mutex));
    CHECK(count_under(client, "/door/lock/") == 1);
    ask = asking(&answer, LIMIT_MS);
    ANSWERED(client, lun_mutex_unlock(mutex, &ask, NULL, NULL), answer);
    CHECK_TEXT(answer.text, "");
    CHECK(!lun_mutex_is_held(mutex));
    CHECK(count_under(client, "/door/lock/") == 0);
    lun_mutex_free(mutex);
    lun_session_free(session);
    close_client(client);
}

static void a_waiter_gets_the_lock_when_the_holder_leaves(void) {
    struct lun_client *client = open_client();
    struct lun_session *a = open_session(client, 5), *b = open_session(client, 5);
    struct lun_mutex *first = new_mutex(a, "/door/hand"), *second = new_mutex(b, "/door/hand");
    struct answer got, waited, left;
    struct lun_ask ask = asking(&got, LIMIT_MS);
    ANSWERED(client, lun_mutex_lock(first, &ask, NULL, NULL), got);
    struct lun_ask ask_waited = asking(&waited, LIMIT_MS);
    CHECK(lun_mutex_lock(second, &ask_waited, NULL, NULL) == 0);
    struct answer busy;
    struct lun_mutex *third = new_mutex(b, "/door/hand");
    struct lun_ask ask_busy = asking(&busy, LIMIT_MS);
    ANSWERED(client, lun_mutex_try_lock(third, &ask_busy, NULL, NULL), busy);
    CHECK(busy.code == LUN_ELOCKED);
    CHECK(strstr(busy.text, "locked by tester on ") != NULL);
    CHECK(!waited.is_there);
    ask = asking(&left, LIMIT_MS);
    ANSWERED(client, lun_mutex_unlock(first, &ask, NULL, NULL), left);
    CHECK(await_answer(client, &waited));
    CHECK(waited.code == 0 && waited.token > got.token);
    lun_mutex_free(third);
    lun_mutex_free(second);
    lun_mutex_free(first);
    lun_session_free(a);
    lun_session_free(b);
    close_client(client);
}

static void a_waiter_that_gives_up_leaves_nothing(void) {
    struct lun_client *client = open_client();
    struct lun_session *session = open_session(client, 5);
    struct lun_mutex *first = new_mutex(session, "/door/give"), *second = new_mutex(session, "/door/give");
    struct answer answer;
    struct lun_ask ask = asking(&answer, LIMIT_MS);
    ANSWERED(client, lun_mutex_lock(first, &ask, NULL, NULL), answer);
    ask = asking(&answer, 200);
    ANSWERED(client, lun_mutex_lock(second, &ask, NULL, NULL), answer);
    CHECK(answer.code == LUN_ETIMEOUT);
    CHECK(strstr(answer.text, "lock /door/give: not free within 0.2 s: locked by this very program") != NULL);
    for (int i = 0; i < 100 && count_under(client, "/door/give/") != 1; i++)
        lun_client_poll(client, 10);
    CHECK(count_under(client, "/door/give/") == 1);
    lun_mutex_free(second);
    lun_mutex_free(first);
    lun_session_free(session);
    close_client(client);
}

static void a_term_is_won_guarded_proclaimed_and_resigned(void) {
    struct lun_client *client = open_client();
    struct lun_session *session = open_session(client, 5);
    struct lun_election *election = NULL;
    struct lun_observer *observer = NULL;
    struct answer answer;
    CHECK(lun_observer_open(client, "/door/vote", &observer, NULL) == 0);
    struct lun_ask ask = asking(&answer, LIMIT_MS);
    ANSWERED(client, lun_observer_next(observer, &ask, NULL, NULL), answer);
    CHECK(answer.code == 0 && !answer.has_leader);
    CHECK(lun_election_new(session, "/door/vote", &election, NULL) == 0);
    ask = asking(&answer, LIMIT_MS);
    ANSWERED(client, lun_election_campaign(election, lun_bytes_of("A"), &ask, NULL, NULL), answer);
    CHECK_TEXT(answer.text, "");
    REQUIRE(answer.term);
    struct lun_term *term = answer.term;
    ask = asking(&answer, LIMIT_MS);
    ANSWERED(client, lun_observer_next(observer, &ask, NULL, NULL), answer);
    CHECK_TEXT(answer.value, "A");
    ask = asking(&answer, LIMIT_MS);
    ANSWERED(client, lun_term_proclaim(term, lun_bytes_of("A2"), &ask, NULL, NULL), answer);
    CHECK_TEXT(answer.text, "");
    ask = asking(&answer, LIMIT_MS);
    ANSWERED(client, lun_observer_next(observer, &ask, NULL, NULL), answer);
    CHECK_TEXT(answer.value, "A2");
    struct lun_kv_op write = {
        .kind = LUN_OP_PUT, .key = lun_bytes_of("/door/config"), .value = lun_bytes_of("by A")};
    struct lun_txn txn = {.success = &write, .n_success = 1};
    ask = asking(&answer, LIMIT_MS);
    ANSWERED(client, lun_term_txn(term, &txn, &ask, NULL, NULL), answer);
    CHECK(answer.code == 0 && answer.is_success);
    struct answer loss;
    struct lun_ask ask_loss = asking(&loss, -1);
    CHECK(lun_term_await_loss(term, &ask_loss, NULL, NULL) == 0);
    ask = asking(&answer, LIMIT_MS);
    ANSWERED(client, lun_term_resign(term, &ask, NULL, NULL), answer);
    CHECK_TEXT(answer.text, "");
    CHECK(await_answer(client, &loss));
    CHECK(loss.reason == LUN_LOST_CLOSED);
    ask = asking(&answer, LIMIT_MS);
    ANSWERED(client, lun_observer_next(observer, &ask, NULL, NULL), answer);
    CHECK(!answer.has_leader);
    CHECK(lun_term_txn(term, &txn, &ask, NULL, NULL) == LUN_ELOST);
    lun_term_free(term);
    lun_election_free(election);
    lun_observer_free(observer);
    lun_session_free(session);
    close_client(client);
}

static void a_session_outlives_its_ttl_and_a_revoked_one_is_told(void) {
    struct lun_client *client = open_client();
    struct lun_session *session = open_session(client, 2);
    struct lun_mutex *mutex = new_mutex(session, "/door/revoked");
    struct answer answer, state, loss;
    struct lun_ask ask = asking(&answer, LIMIT_MS);
    ANSWERED(client, lun_mutex_lock(mutex, &ask, NULL, NULL), answer);
    int64_t until = lun_now_ns() + INT64_C(4500000000);
    while (lun_now_ns() < until) {
        CHECK(lun_session_state(session) == LUN_SESSION_ALIVE);
        lun_client_poll(client, 100);
    }
    CHECK(lun_mutex_is_held(mutex));
    struct lun_ask ask_state = asking(&state, LIMIT_MS), ask_loss = asking(&loss, LIMIT_MS);
    CHECK(lun_session_await(session, LUN_SESSION_ALIVE, &ask_state, NULL, NULL) == 0);
    CHECK(lun_mutex_await_loss(mutex, &ask_loss, NULL, NULL) == 0);
    int64_t before = lun_now_ns();
    ask = asking(&answer, LIMIT_MS);
    ANSWERED(client, lun_lease_revoke(client, lun_session_lease(session), &ask, NULL, NULL), answer);
    CHECK(await_answer(client, &loss));
    CHECK(loss.reason == LUN_LOST_KEY_DELETED || loss.reason == LUN_LOST_REVOKED);
    CHECK(lun_now_ns() - before < INT64_C(250000000));
    CHECK(await_answer(client, &state));
    CHECK(state.state == LUN_SESSION_LOST && state.reason == LUN_LOST_REVOKED);
    lun_mutex_free(mutex);
    lun_session_free(session);
    close_client(client);
}

static void a_client_is_freed_in_the_middle_of_everything(void) {
    for (int i = 0; i < 20; i++) {
        struct lun_client *client = open_client();
        struct lun_session *session = open_session(client, 5);
        struct lun_mutex *mutex = new_mutex(session, "/door/middle");
        struct answer answer;
        struct lun_ask ask = asking(&answer, -1);
        CHECK(lun_mutex_lock(mutex, &ask, NULL, NULL) == 0);
        lun_client_poll(client, i % 5);
        lun_mutex_free(mutex);
        lun_session_free(session);
        if (i % 2)
            lun_client_free(client);
        else
            lun_client_abandon(client);
    }
    lun_shutdown(5000);
}

int main(int argc, char **argv) {
    (void)argv;
    is_traced = argc > 1;
    if (!etcd_program())
        return check_skip("there is no etcd: set ETCD to the program");
    if (!etcd_server_start(&server))
        return check_fail(__FILE__, __LINE__, "etcd does not start"), 1;
    snprintf(endpoint, sizeof endpoint, "127.0.0.1:%d", server.port);
    RUN(the_plain_store_answers);
    RUN(a_mutex_is_locked_and_unlocked);
    RUN(a_waiter_gets_the_lock_when_the_holder_leaves);
    RUN(a_waiter_that_gives_up_leaves_nothing);
    RUN(a_term_is_won_guarded_proclaimed_and_resigned);
    RUN(a_session_outlives_its_ttl_and_a_revoked_one_is_told);
    RUN(a_client_is_freed_in_the_middle_of_everything);
    etcd_server_stop(&server);
    return check_end();
}
