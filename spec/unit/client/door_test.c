/* spec/unit/client/door_test.c - liblunarch against a real etcd: what a C program sees. */
#include <sys/wait.h>

#include "door_etcd.h"

static void the_plain_store_answers(void) {
    struct lun_client *client = open_client();
    struct answer answer = put(client, "/plain/a", "one");
    CHECK(answer.code == 0 && answer.revision > 0);
    answer = get(client, "/plain/a");
    CHECK_TEXT(answer.value, "one");
    struct lun_cmp compare = {
        .target = LUN_CMP_VALUE, .key = lun_bytes_of("/plain/a"), .value = lun_bytes_of("two")};
    struct lun_kv_op read = {.kind = LUN_OP_RANGE, .key = lun_bytes_of("/plain/a")};
    struct lun_txn txn = {.compares = &compare, .n_compares = 1, .failure = &read, .n_failure = 1};
    GET(client, answer, lun_txn(client, &txn, &ask, NULL, NULL));
    CHECK(!answer.is_success);
    CHECK_TEXT(answer.value, "one");
    close_client(client);
}

static void a_mutex_is_locked_and_unlocked(void) {
    struct lun_client *client = open_client();
    struct lun_session *session = open_session(client, 5);
    struct lun_mutex *mutex = new_mutex(session, "/door/lock");
    struct answer answer;
    GET(client, answer, lun_mutex_lock(mutex, &ask, NULL, NULL));
    CHECK_TEXT(answer.text, "");
    CHECK(answer.token > 0);
    CHECK(lun_mutex_is_held(mutex));
    CHECK(count_under(client, "/door/lock/") == 1);
    GET(client, answer, lun_mutex_unlock(mutex, &ask, NULL, NULL));
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
    GET(client, got, lun_mutex_lock(first, &ask, NULL, NULL));
    BEGIN(waited, LIMIT_MS, lun_mutex_lock(second, &ask, NULL, NULL));
    struct answer busy;
    struct lun_mutex *third = new_mutex(b, "/door/hand");
    GET(client, busy, lun_mutex_try_lock(third, &ask, NULL, NULL));
    CHECK(busy.code == LUN_ELOCKED);
    CHECK(strstr(busy.text, "locked by tester on ") != NULL);
    CHECK(!waited.is_there);
    GET(client, left, lun_mutex_unlock(first, &ask, NULL, NULL));
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
    GET(client, answer, lun_mutex_lock(first, &ask, NULL, NULL));
    BEGIN(answer, 200, lun_mutex_lock(second, &ask, NULL, NULL));
    CHECK(await_answer(client, &answer));
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
    GET(client, answer, lun_observer_next(observer, &ask, NULL, NULL));
    CHECK(answer.code == 0 && !answer.has_leader);
    CHECK(lun_election_new(session, "/door/vote", &election, NULL) == 0);
    GET(client, answer, lun_election_campaign(election, lun_bytes_of("A"), &ask, NULL, NULL));
    CHECK_TEXT(answer.text, "");
    REQUIRE(answer.term);
    struct lun_term *term = answer.term;
    GET(client, answer, lun_observer_next(observer, &ask, NULL, NULL));
    CHECK_TEXT(answer.value, "A");
    GET(client, answer, lun_term_proclaim(term, lun_bytes_of("A2"), &ask, NULL, NULL));
    CHECK_TEXT(answer.text, "");
    GET(client, answer, lun_observer_next(observer, &ask, NULL, NULL));
    CHECK_TEXT(answer.value, "A2");
    struct lun_kv_op write = {
        .kind = LUN_OP_PUT, .key = lun_bytes_of("/door/config"), .value = lun_bytes_of("by A")};
    struct lun_txn txn = {.success = &write, .n_success = 1};
    GET(client, answer, lun_term_txn(term, &txn, &ask, NULL, NULL));
    CHECK(answer.code == 0 && answer.is_success);
    struct answer loss;
    BEGIN(loss, -1, lun_term_await_loss(term, &ask, NULL, NULL));
    GET(client, answer, lun_term_resign(term, &ask, NULL, NULL));
    CHECK_TEXT(answer.text, "");
    CHECK(await_answer(client, &loss));
    CHECK(loss.reason == LUN_LOST_CLOSED);
    GET(client, answer, lun_observer_next(observer, &ask, NULL, NULL));
    CHECK(!answer.has_leader);
    struct lun_ask ask = asking(&answer, LIMIT_MS);
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
    GET(client, answer, lun_mutex_lock(mutex, &ask, NULL, NULL));
    int64_t until = lun_now_ns() + INT64_C(4500000000);
    while (lun_now_ns() < until) {
        CHECK(lun_session_state(session) == LUN_SESSION_ALIVE);
        lun_client_poll(client, 100);
    }
    CHECK(lun_mutex_is_held(mutex));
    BEGIN(state, LIMIT_MS, lun_session_await(session, LUN_SESSION_ALIVE, &ask, NULL, NULL));
    BEGIN(loss, LIMIT_MS, lun_mutex_await_loss(mutex, &ask, NULL, NULL));
    GET(client, answer, lun_lease_revoke(client, lun_session_lease(session), &ask, NULL, NULL));
    CHECK(await_answer(client, &loss));
    CHECK(loss.reason == LUN_LOST_KEY_DELETED || loss.reason == LUN_LOST_REVOKED);
    CHECK(await_answer(client, &state));
    CHECK(state.state == LUN_SESSION_LOST && state.reason == LUN_LOST_REVOKED);
    lun_mutex_free(mutex);
    lun_session_free(session);
    close_client(client);
}

static void an_unlock_answers_who_awaits_the_loss(void) {
    struct lun_client *client = open_client();
    struct lun_session *session = open_session(client, 5);
    struct lun_mutex *mutex = new_mutex(session, "/door/unlocked");
    lock(client, mutex);
    struct answer unlocked, loss;
    BEGIN(loss, -1, lun_mutex_await_loss(mutex, &ask, NULL, NULL));
    GET(client, unlocked, lun_mutex_unlock(mutex, &ask, NULL, NULL));
    CHECK(unlocked.code == 0);
    CHECK(await_answer(client, &loss));
    CHECK(loss.code == 0 && loss.reason == LUN_LOST_CLOSED);
    lun_mutex_free(mutex);
    lun_session_free(session);
    close_client(client);
}

static void an_unlock_that_is_not_answered_in_time_still_answers_who_awaits_the_loss(void) {
    struct lun_client *client = open_client();
    struct lun_session *session = open_session(client, 20);
    struct lun_mutex *mutex = new_mutex(session, "/door/slow");
    lock(client, mutex);
    struct answer unlocked, loss;
    BEGIN(loss, -1, lun_mutex_await_loss(mutex, &ask, NULL, NULL));
    etcd_server_freeze(&server);
    BEGIN(unlocked, 100, lun_mutex_unlock(mutex, &ask, NULL, NULL));
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
    GET(client, answer, lun_session_open(client, &options, &ask, NULL, NULL));
    CHECK(answer.code == LUN_ELOST && !answer.session);
    close_client(client);
}

static void a_session_whose_opening_is_cancelled_is_not_there(void) {
    struct lun_client *client = open_client();
    struct answer answer;
    struct lun_op *op = NULL;
    etcd_server_freeze(&server); /* the answer must not be faster */
    BEGIN(answer, LIMIT_MS, lun_session_open(client, NULL, &ask, &op, NULL));
    lun_op_cancel(op);
    CHECK(await_answer(client, &answer));
    CHECK(answer.code == LUN_ECANCELLED && !answer.session);
    etcd_server_thaw(&server);
    close_client(client);
}

struct drops {
    int n_before, n_dropped; /* lines told before it was told how many were not, and how many */
};

static void on_line(void *arg, const char *line) {
    struct drops *drops = arg;
    if (drops->n_dropped == 0 && sscanf(line, "(%d lines dropped: poll more often)", &drops->n_dropped) != 1)
        drops->n_before++;
}

static void on_counted(void *arg, const struct lun_result *result) {
    (void)result;
    ++*(int *)arg;
}

static void who_polls_seldom_is_told_how_many_trace_lines_were_dropped(void) {
    enum { KEPT = 1000, N = KEPT + 1 }; /* each request is worth a line at least */
    const char *endpoints[] = {endpoint};
    struct drops drops = {0, 0};
    struct lun_config config = {
        .endpoints = endpoints, .n_endpoints = 1, .on_trace = on_line, .trace_arg = &drops};
    struct lun_client *client = NULL;
    REQUIRE(lun_client_open(&config, &client, NULL) == 0);
    struct lun_kv_op read = {.kind = LUN_OP_RANGE, .key = lun_bytes_of("/door/traced")};
    int n_answered = 0;
    struct lun_ask ask = {LIMIT_MS, on_counted, &n_answered};
    for (int i = 0; i < N; i++)
        CHECK(lun_kv(client, &read, &ask, NULL, NULL) == 0);
    int64_t until = lun_now_ns() + LIMIT_MS * INT64_C(1000000);
    while (n_answered < N && lun_now_ns() < until)
        lun_client_poll(client, 100);
    CHECK(n_answered == N);
    CHECK(drops.n_before == KEPT && drops.n_dropped > 0);
    close_client(client);
}

static void an_adopted_lease_of_two_seconds_is_kept(void) {
    struct lun_client *client = open_client();
    struct answer answer;
    GET(client, answer, lun_lease_grant(client, 0, 2, &ask, NULL, NULL));
    struct lun_session_options options = {.grace_ms = -1, .lease = answer.lease};
    GET(client, answer, lun_session_open(client, &options, &ask, NULL, NULL));
    struct lun_session *session = answer.session;
    REQUIRE(session);
    CHECK(lun_session_ttl_s(session) == 2);
    poll_for(client, 4000);
    CHECK(lun_session_state(session) == LUN_SESSION_ALIVE);
    GET(client, answer, lun_session_close(session, true, &ask, NULL, NULL));
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
    BEGIN(loss, -1, lun_mutex_await_loss(mutex, &ask, NULL, NULL));
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
    struct lun_ask ask = asking(&again, LIMIT_MS);
    if (lun_mutex_lock(mutex, &ask, NULL, NULL) == 0) {
        CHECK(await_answer(client, &again));
        CHECK(again.code == LUN_ELOST);
    }
    etcd_server_thaw(&server);
    lun_mutex_free(mutex);
    lun_session_free(session);
    close_client(client);
}

static void a_win_that_is_told_too_late_is_a_loss(void) {
    struct lun_client *client = open_client();
    struct lun_session *session = open_session(client, 2);
    struct lun_mutex *mutex = new_mutex(session, "/door/late");
    struct lun_election *election = new_election(session, "/door/late-too");
    struct answer locked, elected;
    BEGIN(locked, -1, lun_mutex_lock(mutex, &ask, NULL, NULL));
    BEGIN(elected, -1, lun_election_campaign(election, lun_bytes_of("A"), &ask, NULL, NULL));
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

static struct lun_op *kept;

static void on_kept(void *arg, const struct lun_result *result) {
    on_done(arg, result);
    lun_op_keep(kept);
}

static void on_unwanted(void *arg, const struct lun_result *result) {
    on_done(arg, result);
    lun_op_free(kept);
}

static struct lun_ask keeping(struct answer *answer, lun_done_cb *on_answer) {
    struct lun_ask ask = asking(answer, LIMIT_MS);
    ask.on_done = on_answer;
    return ask;
}

static void locks(struct lun_client *client, struct lun_mutex *mutex, lun_done_cb *on_answer) {
    struct answer answer;
    struct lun_ask ask = keeping(&answer, on_answer);
    CHECK(lun_mutex_lock(mutex, &ask, &kept, NULL) == 0);
    CHECK(await_answer(client, &answer));
    CHECK(answer.code == 0);
}

static void a_kept_answer_is_asked_again_and_taken_or_given_back(void) {
    struct lun_client *client = open_client();
    struct lun_session *session = open_session(client, 5);
    struct lun_mutex *mutex = new_mutex(session, "/door/kept");
    locks(client, mutex, on_kept);
    CHECK(!lun_op_result(kept)->err && lun_op_result(kept)->token == lun_mutex_token(mutex));
    lun_op_take(kept);
    CHECK(lun_mutex_is_held(mutex));
    lun_mutex_release(mutex);
    locks(client, mutex, on_kept);
    lun_op_free(kept);
    CHECK(!lun_mutex_is_held(mutex));
    locks(client, mutex, on_unwanted);
    CHECK(!lun_mutex_is_held(mutex));
    /* What it tells of is not what was locked later, and may be gone altogether. */
    locks(client, mutex, on_kept);
    struct lun_op *earlier = kept;
    lun_mutex_release(mutex);
    locks(client, mutex, on_kept);
    CHECK(lun_op_result(earlier)->err->code == LUN_ELOST);
    lun_op_free(earlier);
    CHECK(lun_mutex_is_held(mutex));
    lun_mutex_free(mutex);
    CHECK(lun_op_result(kept)->err->code == LUN_ELOST);
    CHECK(lun_op_result(kept)->token == 0);
    lun_op_free(kept);
    lun_op_free(NULL);
    lun_session_free(session);
    close_client(client);
}

static void a_kept_win_that_is_lost_leaves_nothing_behind(void) {
    struct lun_client *client = open_client();
    struct lun_session *session = open_session(client, 5);
    struct lun_election *election = new_election(session, "/door/kept-term");
    struct answer answer;
    struct lun_ask own = keeping(&answer, on_kept);
    CHECK(lun_election_campaign(election, lun_bytes_of("A"), &own, &kept, NULL) == 0);
    CHECK(await_answer(client, &answer));
    CHECK(!lun_op_result(kept)->err);
    struct lun_op *won = kept;
    GET(client, answer, lun_lease_revoke(client, lun_session_lease(session), &ask, NULL, NULL));
    for (int i = 0; i < 1000 && !lun_op_result(won)->err; i++)
        lun_client_poll(client, 10);
    REQUIRE(lun_op_result(won)->err);
    CHECK(lun_op_result(won)->err->code == LUN_ELOST);
    CHECK(strstr(lun_op_result(won)->err->text,
                 "campaign /door/kept-term: it was won, and lost before the answer was taken: "));
    CHECK(!lun_op_result(won)->term);
    lun_op_take(won);
    lun_election_free(election);
    lun_session_free(session);
    close_client(client);
}

/* In the child: the number of what is not as it should be. */
static int look_in_child(struct lun_client *client, struct lun_session *session, struct lun_mutex *mutex,
                         struct lun_term *term) {
    struct lun_kv_op read = {.kind = LUN_OP_RANGE, .key = lun_bytes_of("/k")};
    struct lun_watch_options options = {.key = lun_bytes_of("/k")};
    struct lun_txn txn = {.success = &read, .n_success = 1};
    struct answer answer;
    struct lun_ask ask = asking(&answer, LIMIT_MS);
    struct lun_err err = {0};
    struct lun_mutex *another;
    struct lun_election *election;
    struct lun_observer *observer;
    struct lun_watch *watch;
    const int refused[] = {lun_kv(client, &read, &ask, NULL, &err),
                           lun_txn(client, &txn, &ask, NULL, NULL),
                           lun_lease_grant(client, 0, 5, &ask, NULL, NULL),
                           lun_lease_revoke(client, 1, &ask, NULL, NULL),
                           lun_lease_time_to_live(client, 1, &ask, NULL, NULL),
                           lun_status(client, &ask, NULL, NULL),
                           lun_watch_open(client, &options, &watch, NULL),
                           lun_observer_open(client, "/o", &observer, NULL),
                           lun_session_open(client, NULL, &ask, NULL, NULL),
                           lun_session_close(session, true, &ask, NULL, NULL),
                           lun_session_orphan(session, NULL),
                           lun_session_await(session, LUN_SESSION_ALIVE, &ask, NULL, NULL),
                           lun_mutex_new(session, "/m", false, &another, NULL),
                           lun_election_new(session, "/e", &election, NULL),
                           lun_mutex_lock(mutex, &ask, NULL, NULL),
                           lun_mutex_try_lock(mutex, &ask, NULL, NULL),
                           lun_mutex_unlock(mutex, &ask, NULL, NULL),
                           lun_mutex_owner(mutex, &ask, NULL, NULL),
                           lun_mutex_await_loss(mutex, &ask, NULL, NULL),
                           lun_term_proclaim(term, lun_bytes_of("B"), &ask, NULL, NULL),
                           lun_term_txn(term, &txn, &ask, NULL, NULL),
                           lun_term_await_loss(term, &ask, NULL, NULL),
                           lun_term_resign(term, &ask, NULL, NULL),
                           lun_client_close(client, &ask, NULL, NULL),
                           lun_client_poll(client, 1000)};
    int n_wrong = 0;
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
        n_wrong += refused[i] != LUN_ECLOSED;
    n_wrong += !strstr(err.text, "before fork") + answer.is_there;
    n_wrong += lun_session_valid_until_ns(session) != 0 || lun_session_stop_at_ns(session) != 0;
    n_wrong +=
        lun_session_state(session) != LUN_SESSION_CLOSED || lun_session_reason(session) != LUN_LOST_CLOSED;
    n_wrong += lun_mutex_is_held(mutex) || lun_mutex_token(mutex) != 0 || lun_mutex_stop_at_ns(mutex) != 0;
    n_wrong += lun_mutex_key(mutex).len != 0 || lun_client_fd(client) != -1;
    n_wrong += lun_term_stop_at_ns(term) != 0 || lun_term_valid_until_ns(term) != 0;
    n_wrong += lun_term_reason(term) != LUN_LOST_CLOSED;
    lun_mutex_release(mutex);
    lun_term_free(term);
    lun_mutex_free(mutex);
    lun_session_free(session);
    lun_client_free(client);
    lun_shutdown(INT64_MAX);
    return n_wrong;
}

static void a_forked_child_holds_nothing_and_is_refused_everything(void) {
    struct lun_client *client = open_client();
    struct lun_session *session = open_session(client, 5);
    struct lun_mutex *mutex = new_mutex(session, "/door/forked");
    struct lun_election *election = new_election(session, "/door/forked-too");
    struct answer answer;
    GET(client, answer, lun_mutex_lock(mutex, &ask, NULL, NULL));
    struct lun_term *term = win(client, election);
    REQUIRE(term && lun_session_stop_at_ns(session) > 0);
    pid_t child = fork();
    REQUIRE(child >= 0);
    if (child == 0)
        _exit(look_in_child(client, session, mutex, term));
    int status;
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    CHECK(lun_mutex_is_held(mutex) && lun_term_valid_until_ns(term) > 0);
    lun_term_free(term);
    lun_election_free(election);
    lun_mutex_free(mutex);
    lun_session_free(session);
    close_client(client);
}

static void a_released_mutex_is_free_at_once(void) {
    struct lun_client *client = open_client();
    struct lun_session *session = open_session(client, 5);
    struct lun_mutex *mutex = new_mutex(session, "/door/released");
    struct answer first, second;
    lun_mutex_release(mutex);
    GET(client, first, lun_mutex_lock(mutex, &ask, NULL, NULL));
    lun_mutex_release(mutex);
    CHECK(!lun_mutex_is_held(mutex));
    GET(client, second, lun_mutex_lock(mutex, &ask, NULL, NULL));
    CHECK_TEXT(second.text, "");
    CHECK(second.token > first.token);
    CHECK(count_under(client, "/door/released/") == 1);
    lun_mutex_free(mutex);
    lun_session_free(session);
    close_client(client);
}

int main(int argc, char **argv) {
    (void)argv;
    int rc = begin(argc);
    if (rc)
        return rc;
    RUN(the_plain_store_answers);
    RUN(a_mutex_is_locked_and_unlocked);
    RUN(a_waiter_gets_the_lock_when_the_holder_leaves);
    RUN(a_waiter_that_gives_up_leaves_nothing);
    RUN(a_term_is_won_guarded_proclaimed_and_resigned);
    RUN(a_session_outlives_its_ttl_and_a_revoked_one_is_told);
    RUN(an_unlock_answers_who_awaits_the_loss);
    RUN(an_unlock_that_is_not_answered_in_time_still_answers_who_awaits_the_loss);
    RUN(a_session_of_a_lease_that_does_not_exist_is_not_opened);
    RUN(a_session_whose_opening_is_cancelled_is_not_there);
    RUN(who_polls_seldom_is_told_how_many_trace_lines_were_dropped);
    RUN(an_adopted_lease_of_two_seconds_is_kept);
    RUN(a_frozen_etcd_ends_a_lock_early_and_every_question_says_so);
    RUN(a_win_that_is_told_too_late_is_a_loss);
    RUN(a_kept_answer_is_asked_again_and_taken_or_given_back);
    RUN(a_kept_win_that_is_lost_leaves_nothing_behind);
    RUN(a_forked_child_holds_nothing_and_is_refused_everything);
    RUN(a_released_mutex_is_free_at_once);
    return end();
}
