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
    int n_times; /* once, and no more */
    int code;
    char text[512];
    struct lun_session *session;
    struct lun_term *term;
    int64_t token, revision, ttl_s, lease;
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
    answer->n_times++;
    answer->code = result->err ? result->err->code : 0;
    snprintf(answer->text, sizeof answer->text, "%s", result->err ? result->err->text : "");
    answer->session = result->session;
    answer->term = result->term;
    answer->token = result->token;
    answer->revision = result->revision;
    answer->ttl_s = result->ttl_s;
    answer->lease = result->lease;
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

static struct lun_election *new_election(struct lun_session *session, const char *name) {
    struct lun_election *election = NULL;
    CHECK(lun_election_new(session, name, &election, NULL) == 0);
    return election;
}

static struct lun_term *win(struct lun_client *client, struct lun_election *election) {
    struct answer answer;
    struct lun_ask ask = asking(&answer, LIMIT_MS);
    ANSWERED(client, lun_election_campaign(election, lun_bytes_of("A"), &ask, NULL, NULL), answer);
    CHECK_TEXT(answer.text, "");
    return answer.term;
}

static void lock(struct lun_client *client, struct lun_mutex *mutex) {
    struct answer answer;
    struct lun_ask ask = asking(&answer, LIMIT_MS);
    ANSWERED(client, lun_mutex_lock(mutex, &ask, NULL, NULL), answer);
    CHECK_TEXT(answer.text, "");
}

/* Whatever comes up within so long. */
static void poll_for(struct lun_client *client, int64_t ms) {
    int64_t until = lun_now_ns() + ms * INT64_C(1000000);
    while (lun_now_ns() < until)
        lun_client_poll(client, 10);
}

static void on_any_trace(void *arg, const char *line) {
    (void)line;
    ++*(int *)arg;
}

static void a_traced_client_that_nobody_polls_is_freed_without_a_word(void) {
    int n_lines = 0;
    const char *endpoints[] = {endpoint};
    struct lun_config config = {
        .endpoints = endpoints, .n_endpoints = 1, .on_trace = on_any_trace, .trace_arg = &n_lines};
    struct lun_client *client = NULL;
    REQUIRE(lun_client_open(&config, &client, NULL) == 0);
    struct answer answer;
    struct lun_ask ask = asking(&answer, LIMIT_MS);
    CHECK(lun_session_open(client, NULL, &ask, NULL, NULL) == 0);
    usleep(100000);
    lun_client_free(client);
    CHECK(n_lines == 0 && answer.n_times == 0);
}

static void an_election_is_freed_before_its_term(void) {
    struct lun_client *client = open_client();
    struct lun_session *session = open_session(client, 5);
    struct lun_election *election = new_election(session, "/door/order");
    struct lun_term *term = win(client, election);
    struct answer answer;
    struct lun_ask ask = asking(&answer, LIMIT_MS);
    ANSWERED(client, lun_term_resign(term, &ask, NULL, NULL), answer);
    lun_election_free(election);
    lun_session_free(session);
    lun_term_free(term);
    close_client(client);
}

static void an_election_is_freed_while_its_term_lasts(void) {
    struct lun_client *client = open_client();
    struct lun_session *session = open_session(client, 5);
    struct lun_election *election = new_election(session, "/door/order");
    struct lun_term *term = win(client, election);
    lun_election_free(election);
    CHECK(lun_term_stop_at_ns(term) > 0);
    CHECK(count_under(client, "/door/order/") == 1);
    lun_term_free(term);
    poll_for(client, 100);
    CHECK(count_under(client, "/door/order/") == 0);
    lun_session_free(session);
    close_client(client);
}

static void an_election_freed_while_it_campaigns_answers_and_leaves(void) {
    struct lun_client *client = open_client();
    struct lun_session *session = open_session(client, 5);
    struct lun_mutex *mutex = new_mutex(session, "/door/campaign");
    lock(client, mutex);
    struct lun_election *election = new_election(session, "/door/campaign");
    struct answer answer;
    struct lun_ask ask = asking(&answer, -1);
    CHECK(lun_election_campaign(election, lun_bytes_of("A"), &ask, NULL, NULL) == 0);
    poll_for(client, 100);
    CHECK(count_under(client, "/door/campaign/") == 2);
    lun_election_free(election);
    CHECK(await_answer(client, &answer));
    CHECK(answer.code == LUN_ECLOSED);
    poll_for(client, 100);
    CHECK(answer.n_times == 1);
    CHECK(count_under(client, "/door/campaign/") == 1);
    lun_mutex_free(mutex);
    lun_session_free(session);
    close_client(client);
}

static void a_term_freed_with_everything_asked_answers_each_once(void) {
    struct lun_client *client = open_client();
    struct lun_session *session = open_session(client, 20);
    struct lun_election *election = new_election(session, "/door/freed");
    struct lun_term *term = win(client, election);
    struct answer proclaimed, written, loss;
    struct lun_kv_op write = {
        .kind = LUN_OP_PUT, .key = lun_bytes_of("/door/config"), .value = lun_bytes_of("x")};
    struct lun_txn txn = {.success = &write, .n_success = 1};
    etcd_server_freeze(&server);
    struct lun_ask ask = asking(&proclaimed, -1);
    CHECK(lun_term_proclaim(term, lun_bytes_of("B"), &ask, NULL, NULL) == 0);
    ask = asking(&written, -1);
    CHECK(lun_term_txn(term, &txn, &ask, NULL, NULL) == 0);
    ask = asking(&loss, -1);
    CHECK(lun_term_await_loss(term, &ask, NULL, NULL) == 0);
    poll_for(client, 50);
    CHECK(!proclaimed.is_there && !written.is_there && !loss.is_there);
    lun_term_free(term);
    poll_for(client, 200);
    CHECK(proclaimed.n_times == 1 && proclaimed.code == LUN_ECLOSED);
    CHECK(written.n_times == 1 && written.code == LUN_ECLOSED);
    CHECK(loss.n_times == 1 && loss.reason == LUN_LOST_CLOSED);
    etcd_server_thaw(&server);
    poll_for(client, 200);
    CHECK(proclaimed.n_times == 1 && written.n_times == 1 && loss.n_times == 1);
    lun_election_free(election);
    lun_session_free(session);
    close_client(client);
}

static void an_unlock_that_is_not_answered_in_time_still_answers_who_awaits_the_loss(void) {
    struct lun_client *client = open_client();
    struct lun_session *session = open_session(client, 20);
    struct lun_mutex *mutex = new_mutex(session, "/door/slow");
    lock(client, mutex);
    struct answer unlocked, loss;
    struct lun_ask ask = asking(&loss, -1);
    CHECK(lun_mutex_await_loss(mutex, &ask, NULL, NULL) == 0);
    etcd_server_freeze(&server);
    ask = asking(&unlocked, 100);
    CHECK(lun_mutex_unlock(mutex, &ask, NULL, NULL) == 0);
    poll_for(client, 300);
    CHECK(unlocked.n_times == 1 && unlocked.code == LUN_ETIMEOUT);
    CHECK(loss.n_times == 1 && loss.reason == LUN_LOST_CLOSED);
    etcd_server_thaw(&server);
    poll_for(client, 500);
    CHECK(count_under(client, "/door/slow/") == 0);
    lun_mutex_free(mutex);
    lun_session_free(session);
    close_client(client);
}

static void a_session_of_a_lease_that_does_not_exist_is_not_opened(void) {
    struct lun_client *client = open_client();
    struct answer answer;
    struct lun_session_options options = {.grace_ms = -1, .lease = 12345};
    struct lun_ask ask = asking(&answer, LIMIT_MS);
    ANSWERED(client, lun_session_open(client, &options, &ask, NULL, NULL), answer);
    CHECK(answer.code == LUN_ELOST && !answer.session);
    ask = asking(&answer, LIMIT_MS);
    struct lun_op *op = NULL;
    CHECK(lun_session_open(client, NULL, &ask, &op, NULL) == 0);
    lun_op_cancel(op);
    CHECK(await_answer(client, &answer));
    CHECK(answer.code == LUN_ECANCELLED && !answer.session);
    close_client(client);
}

static void an_adopted_lease_of_two_seconds_is_kept(void) {
    struct lun_client *client = open_client();
    struct answer answer;
    struct lun_ask ask = asking(&answer, LIMIT_MS);
    ANSWERED(client, lun_lease_grant(client, 0, 2, &ask, NULL, NULL), answer);
    struct lun_session_options options = {.grace_ms = -1, .lease = answer.lease};
    ask = asking(&answer, LIMIT_MS);
    ANSWERED(client, lun_session_open(client, &options, &ask, NULL, NULL), answer);
    struct lun_session *session = answer.session;
    REQUIRE(session);
    CHECK(lun_session_ttl_s(session) == 2);
    poll_for(client, 4000);
    CHECK(lun_session_state(session) == LUN_SESSION_ALIVE);
    ask = asking(&answer, LIMIT_MS);
    ANSWERED(client, lun_session_close(session, true, &ask, NULL, NULL), answer);
    lun_session_free(session);
    close_client(client);
}

static void a_frozen_etcd_ends_a_lock_early_and_every_question_says_so(void) {
    struct lun_client *client = open_client();
    struct lun_session *session = open_session(client, 2);
    struct lun_mutex *mutex = NULL;
    CHECK(lun_mutex_new(session, "/door/early", true, &mutex, NULL) == 0);
    lock(client, mutex);
    struct answer loss, again;
    struct lun_ask ask = asking(&loss, -1);
    CHECK(lun_mutex_await_loss(mutex, &ask, NULL, NULL) == 0);
    etcd_server_freeze(&server);
    int64_t stop_at = lun_mutex_stop_at_ns(mutex), valid_until = lun_session_valid_until_ns(session);
    CHECK(await_answer(client, &loss));
    int64_t told = lun_now_ns();
    CHECK(told >= stop_at && told < valid_until);
    while (lun_now_ns() < valid_until) /* not polling: the clock alone has to say it */
        CHECK(lun_mutex_is_held(mutex) || lun_now_ns() >= valid_until);
    CHECK(!lun_mutex_is_held(mutex));
    CHECK(lun_mutex_token(mutex) == 0);
    CHECK(lun_session_state(session) == LUN_SESSION_LOST);
    CHECK(lun_session_reason(session) == LUN_LOST_EXPIRED);
    ask = asking(&again, LIMIT_MS);
    if (lun_mutex_lock(mutex, &ask, NULL, NULL) == 0) {
        CHECK(await_answer(client, &again));
        CHECK(again.code == LUN_ELOST);
    }
    etcd_server_thaw(&server);
    lun_mutex_free(mutex);
    lun_session_free(session);
    close_client(client);
}

static void whatever_is_out_is_answered_once_when_the_client_closes(void) {
    struct lun_client *client = open_client();
    struct lun_session *session = open_session(client, 5);
    struct lun_mutex *holder = new_mutex(session, "/door/out"), *waiter = new_mutex(session, "/door/out");
    struct lun_election *election = new_election(session, "/door/out");
    struct lun_observer *observer = NULL;
    struct lun_watch *watch = NULL;
    lock(client, holder);
    struct answer answers[6];
    struct lun_ask ask = asking(&answers[0], -1);
    CHECK(lun_mutex_lock(waiter, &ask, NULL, NULL) == 0);
    ask = asking(&answers[1], -1);
    CHECK(lun_election_campaign(election, lun_bytes_of("A"), &ask, NULL, NULL) == 0);
    ask = asking(&answers[2], -1);
    CHECK(lun_mutex_await_loss(holder, &ask, NULL, NULL) == 0);
    CHECK(lun_observer_open(client, "/door/nothing", &observer, NULL) == 0);
    ask = asking(&answers[3], LIMIT_MS);
    ANSWERED(client, lun_observer_next(observer, &ask, NULL, NULL), answers[3]);
    ask = asking(&answers[3], -1);
    CHECK(lun_observer_next(observer, &ask, NULL, NULL) == 0);
    struct lun_watch_options options = {.key = lun_bytes_of("/door/nothing")};
    CHECK(lun_watch_open(client, &options, &watch, NULL) == 0);
    ask = asking(&answers[4], -1);
    CHECK(lun_watch_next(watch, &ask, NULL, NULL) == 0);
    ask = asking(&answers[5], -1);
    CHECK(lun_session_await(session, LUN_SESSION_ALIVE, &ask, NULL, NULL) == 0);
    poll_for(client, 100);
    struct answer closed;
    ask = asking(&closed, LIMIT_MS);
    ANSWERED(client, lun_client_close(client, &ask, NULL, NULL), closed);
    poll_for(client, 100);
    for (int i = 0; i < 6; i++)
        CHECK(answers[i].n_times == 1);
    CHECK(closed.n_times == 1);
    lun_watch_free(watch);
    lun_observer_free(observer);
    lun_election_free(election);
    lun_mutex_free(waiter);
    lun_mutex_free(holder);
    lun_session_free(session);
    lun_client_free(client);
    client = open_client();
    CHECK(count_under(client, "/door/out/") == 0);
    close_client(client);
}

static void a_win_that_is_told_too_late_is_a_loss(void) {
    struct lun_client *client = open_client();
    struct lun_session *session = open_session(client, 2);
    struct lun_mutex *mutex = new_mutex(session, "/door/late");
    struct lun_election *election = new_election(session, "/door/late-too");
    struct answer locked, elected;
    struct lun_ask ask = asking(&locked, -1);
    CHECK(lun_mutex_lock(mutex, &ask, NULL, NULL) == 0);
    ask = asking(&elected, -1);
    CHECK(lun_election_campaign(election, lun_bytes_of("A"), &ask, NULL, NULL) == 0);
    usleep(200000); /* both won by now, and nobody has polled */
    etcd_server_freeze(&server);
    while (lun_session_valid_until_ns(session) != 0)
        usleep(1000);
    CHECK(await_answer(client, &locked) && await_answer(client, &elected));
    CHECK(locked.code == LUN_ELOST && elected.code == LUN_ELOST && !elected.term);
    etcd_server_thaw(&server);
    lun_election_free(election);
    lun_mutex_free(mutex);
    lun_session_free(session);
    close_client(client);
}

static void wins_that_nobody_takes_are_given_up_with_the_client(void) {
    struct lun_client *client = open_client();
    struct lun_session *session = open_session(client, 5);
    struct lun_election *election = new_election(session, "/door/untaken");
    struct lun_mutex *mutex = new_mutex(session, "/door/untaken-too");
    struct answer answer, locked, opened;
    struct lun_ask ask = asking(&answer, -1);
    CHECK(lun_election_campaign(election, lun_bytes_of("A"), &ask, NULL, NULL) == 0);
    ask = asking(&locked, -1);
    CHECK(lun_mutex_lock(mutex, &ask, NULL, NULL) == 0);
    ask = asking(&opened, -1);
    CHECK(lun_session_open(client, NULL, &ask, NULL, NULL) == 0);
    usleep(200000);
    lun_mutex_free(mutex);
    lun_election_free(election);
    lun_session_free(session);
    lun_client_abandon(client);
    lun_shutdown(5000);
    CHECK(answer.n_times == 0 && locked.n_times == 0 && opened.n_times == 0);
    client = open_client();
    CHECK(count_under(client, "/door/untaken") == 0);
    close_client(client);
}

struct asker {
    pthread_t thread;
    struct lun_session *session;
    _Atomic int n_answered;
    _Atomic bool is_done;
    int number, n_won;
};

static void on_asked(void *arg, const struct lun_result *result) {
    struct asker *asker = arg;
    if (!result->err)
        asker->n_won++;
    asker->n_answered++;
}

static void *ask_in_a_thread(void *arg) {
    struct asker *asker = arg;
    int n_asked = 0; /* an unlock's answer must not be taken for that of the next lock */
    for (int i = 0; i < 40; i++) {
        struct lun_mutex *mutex = new_mutex(asker->session, "/door/threads");
        struct lun_ask ask = {LIMIT_MS, on_asked, asker};
        struct lun_op *op = NULL;
        CHECK(lun_mutex_lock(mutex, &ask, &op, NULL) == 0);
        n_asked++;
        if ((i + asker->number) % 4 == 0) {
            lun_mutex_free(mutex); /* whatever it is doing */
        } else {
            while (asker->n_answered < n_asked)
                usleep(50);
            if (i % 4 == 1) {
                CHECK(lun_mutex_unlock(mutex, &ask, NULL, NULL) == 0);
                n_asked++;
            }
            lun_mutex_free(mutex);
        }
        while (asker->n_answered < n_asked)
            usleep(50);
    }
    asker->is_done = true;
    return NULL;
}

static void one_thread_polls_while_others_ask(void) {
    struct lun_client *client = open_client();
    struct lun_session *session = open_session(client, 5);
    struct asker askers[3] = {0};
    for (int i = 0; i < 3; i++) {
        askers[i].session = session;
        askers[i].number = i;
        CHECK(pthread_create(&askers[i].thread, NULL, ask_in_a_thread, &askers[i]) == 0);
    }
    int64_t until = lun_now_ns() + INT64_C(60000000000);
    while (!(askers[0].is_done && askers[1].is_done && askers[2].is_done) && lun_now_ns() < until)
        lun_client_poll(client, 20);
    for (int i = 0; i < 3; i++)
        pthread_join(askers[i].thread, NULL);
    poll_for(client, 300);
    CHECK(count_under(client, "/door/threads/") == 0);
    CHECK(askers[0].n_won > 0);
    lun_session_free(session);
    close_client(client);
}

static void a_released_mutex_is_free_at_once(void) {
    struct lun_client *client = open_client();
    struct lun_session *session = open_session(client, 5);
    struct lun_mutex *mutex = new_mutex(session, "/door/released");
    struct answer first, second;
    struct lun_ask ask = asking(&first, LIMIT_MS);
    lun_mutex_release(mutex);
    ANSWERED(client, lun_mutex_lock(mutex, &ask, NULL, NULL), first);
    lun_mutex_release(mutex);
    CHECK(!lun_mutex_is_held(mutex));
    ask = asking(&second, LIMIT_MS);
    ANSWERED(client, lun_mutex_lock(mutex, &ask, NULL, NULL), second);
    CHECK_TEXT(second.text, "");
    CHECK(second.token > first.token);
    CHECK(count_under(client, "/door/released/") == 1);
    lun_mutex_free(mutex);
    lun_session_free(session);
    close_client(client);
}

int main(int argc, char **argv) {
    (void)argv;
    is_traced = argc > 1;
    if (!etcd_program())
        return check_skip("there is no etcd: set ETCD to the program");
    if (!etcd_server_start(&server))
        check_give_up(__FILE__, __LINE__, "etcd does not start");
    snprintf(endpoint, sizeof endpoint, "127.0.0.1:%d", server.port);
    RUN(the_plain_store_answers);
    RUN(a_mutex_is_locked_and_unlocked);
    RUN(a_waiter_gets_the_lock_when_the_holder_leaves);
    RUN(a_waiter_that_gives_up_leaves_nothing);
    RUN(a_term_is_won_guarded_proclaimed_and_resigned);
    RUN(a_session_outlives_its_ttl_and_a_revoked_one_is_told);
    RUN(a_client_is_freed_in_the_middle_of_everything);
    RUN(a_traced_client_that_nobody_polls_is_freed_without_a_word);
    RUN(an_election_is_freed_before_its_term);
    RUN(an_election_is_freed_while_its_term_lasts);
    RUN(an_election_freed_while_it_campaigns_answers_and_leaves);
    RUN(a_term_freed_with_everything_asked_answers_each_once);
    RUN(an_unlock_that_is_not_answered_in_time_still_answers_who_awaits_the_loss);
    RUN(a_session_of_a_lease_that_does_not_exist_is_not_opened);
    RUN(an_adopted_lease_of_two_seconds_is_kept);
    RUN(a_frozen_etcd_ends_a_lock_early_and_every_question_says_so);
    RUN(whatever_is_out_is_answered_once_when_the_client_closes);
    RUN(a_win_that_is_told_too_late_is_a_loss);
    RUN(wins_that_nobody_takes_are_given_up_with_the_client);
    RUN(one_thread_polls_while_others_ask);
    RUN(a_released_mutex_is_free_at_once);
    etcd_server_stop(&server);
    return check_end();
}
