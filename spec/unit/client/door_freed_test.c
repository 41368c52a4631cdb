/* spec/unit/client/door_freed_test.c - handles freed and clients closed, whatever is under way and whoever else is asking. */
#include <pthread.h>

#include "door_etcd.h"

static void a_client_is_freed_in_the_middle_of_everything(void) {
    for (int i = 0; i < 20; i++) {
        struct lun_client *client = open_client();
        struct lun_session *session = open_session(client, 5);
        struct lun_mutex *mutex = new_mutex(session, "/door/middle");
        struct answer answer;
        BEGIN(answer, -1, lun_mutex_lock(mutex, &ask, NULL, NULL));
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
    BEGIN(answer, LIMIT_MS, lun_session_open(client, NULL, &ask, NULL, NULL));
    usleep(100000);
    lun_client_free(client);
    CHECK(n_lines == 0 && answer.n_times == 0);
}

/* ---- in a callback of its own */

static void free_it(void *arg, const struct lun_result *result) {
    (void)result;
    struct lun_client **client = arg;
    lun_client_free(*client);
    *client = NULL;
}

static void free_at_a_line(void *arg, const char *line) {
    (void)line;
    struct lun_client **client = arg;
    if (*client)
        lun_client_free(*client);
    *client = NULL;
}

static void a_client_is_freed_in_an_answers_callback(void) {
    struct lun_client *client = open_client(), *polled = client;
    struct answer other;
    struct lun_ask ask_to_free = {.timeout_ms = LIMIT_MS, .on_done = free_it, .arg = &client};
    BEGIN(other, LIMIT_MS, lun_session_open(client, NULL, &ask, NULL, NULL));
    REQUIRE(lun_status(client, &ask_to_free, NULL, NULL) == 0);
    while (client)
        (void)lun_client_poll(polled, 1000);
    CHECK(other.n_times <= 1);
}

static void a_client_is_freed_in_the_callback_of_a_trace_line(void) {
    struct lun_client *client = NULL;
    const char *endpoints[] = {endpoint};
    struct lun_config config = {
        .endpoints = endpoints, .n_endpoints = 1, .on_trace = free_at_a_line, .trace_arg = &client};
    REQUIRE(lun_client_open(&config, &client, NULL) == 0);
    struct lun_client *polled = client;
    struct answer answer;
    BEGIN(answer, LIMIT_MS, lun_session_open(client, NULL, &ask, NULL, NULL));
    while (client)
        (void)lun_client_poll(polled, 1000);
    CHECK(answer.n_times == 0);
}

static void an_election_is_freed_before_its_term(void) {
    struct lun_client *client = open_client();
    struct lun_session *session = open_session(client, 5);
    struct lun_election *election = new_election(session, "/door/order");
    struct lun_term *term = win(client, election);
    struct answer answer;
    GET(client, answer, lun_term_resign(term, &ask, NULL, NULL));
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
    BEGIN(answer, -1, lun_election_campaign(election, lun_bytes_of("A"), &ask, NULL, NULL));
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
    BEGIN(proclaimed, -1, lun_term_proclaim(term, lun_bytes_of("B"), &ask, NULL, NULL));
    BEGIN(written, -1, lun_term_txn(term, &txn, &ask, NULL, NULL));
    BEGIN(loss, -1, lun_term_await_loss(term, &ask, NULL, NULL));
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

static void whatever_is_out_is_answered_once_when_the_client_closes(void) {
    struct lun_client *client = open_client();
    struct lun_session *session = open_session(client, 5);
    struct lun_mutex *holder = new_mutex(session, "/door/out"), *waiter = new_mutex(session, "/door/out");
    struct lun_election *election = new_election(session, "/door/out");
    struct lun_observer *observer = NULL;
    struct lun_watch *watch = NULL;
    lock(client, holder);
    struct answer answers[6];
    BEGIN(answers[0], -1, lun_mutex_lock(waiter, &ask, NULL, NULL));
    BEGIN(answers[1], -1, lun_election_campaign(election, lun_bytes_of("A"), &ask, NULL, NULL));
    BEGIN(answers[2], -1, lun_mutex_await_loss(holder, &ask, NULL, NULL));
    CHECK(lun_observer_open(client, "/door/nothing", &observer, NULL) == 0);
    GET(client, answers[3], lun_observer_next(observer, &ask, NULL, NULL));
    BEGIN(answers[3], -1, lun_observer_next(observer, &ask, NULL, NULL));
    struct lun_watch_options options = {.key = lun_bytes_of("/door/nothing")};
    CHECK(lun_watch_open(client, &options, &watch, NULL) == 0);
    BEGIN(answers[4], -1, lun_watch_next(watch, &ask, NULL, NULL));
    BEGIN(answers[5], -1, lun_session_await(session, LUN_SESSION_ALIVE, &ask, NULL, NULL));
    poll_for(client, 100);
    struct answer closed;
    GET(client, closed, lun_client_close(client, &ask, NULL, NULL));
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

static void wins_that_nobody_takes_are_given_up_with_the_client(void) {
    struct lun_client *client = open_client();
    struct lun_session *session = open_session(client, 5);
    struct lun_election *election = new_election(session, "/door/untaken");
    struct lun_mutex *mutex = new_mutex(session, "/door/untaken-too");
    struct answer answer, locked, opened;
    BEGIN(answer, -1, lun_election_campaign(election, lun_bytes_of("A"), &ask, NULL, NULL));
    BEGIN(locked, -1, lun_mutex_lock(mutex, &ask, NULL, NULL));
    BEGIN(opened, -1, lun_session_open(client, NULL, &ask, NULL, NULL));
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

int main(int argc, char **argv) {
    (void)argv;
    int rc = begin(argc);
    if (rc)
        return rc;
    RUN(a_client_is_freed_in_the_middle_of_everything);
    RUN(a_traced_client_that_nobody_polls_is_freed_without_a_word);
    RUN(a_client_is_freed_in_an_answers_callback);
    RUN(a_client_is_freed_in_the_callback_of_a_trace_line);
    RUN(an_election_is_freed_before_its_term);
    RUN(an_election_is_freed_while_its_term_lasts);
    RUN(an_election_freed_while_it_campaigns_answers_and_leaves);
    RUN(a_term_freed_with_everything_asked_answers_each_once);
    RUN(whatever_is_out_is_answered_once_when_the_client_closes);
    RUN(wins_that_nobody_takes_are_given_up_with_the_client);
    RUN(one_thread_polls_while_others_ask);
    return end();
}
