/* spec/unit/client/memory_test.c - memory is refused (memory_telling.h) to clients, sessions, the plain store, and while all of it
 * is cancelled, closed and freed. */
#include "memory_telling.h"

/* ---- sessions --------------------------------------------------------------------------------------- */

static void a_client_opens_and_closes(void) {
    (void)tale_open(0);
    tale_close(0);
}

static void a_session_opens_is_renewed_and_closes(void) {
    (void)tale_open(0);
    struct lun_session *session = tale_session(0);
    tale_pass(4 * TALE_TTL_S * 1000);
    CHECK(lun_session_valid_until_ns(session) != 0);
    tale_close_session(session);
    tale_close(0);
}

static void part(int party, int64_t ms) {
    for (int member = 0; member < SIM_MEMBERS; member++)
        sim_client_hold(tale->parties[party].sim, member, ms * NS_PER_MS);
}

static void a_session_is_lost_and_another_opens(void) {
    (void)tale_open(0);
    struct lun_session *session = tale_session(0);
    struct lun_mutex *mutex = tale_mutex(session, "/lost");
    struct answer *loss, *state;
    (void)tale_lock(mutex);
    BEGIN(loss, -1, lun_mutex_await_loss(mutex, &ask, &a->op, NULL));
    part(0, (TALE_TTL_S + 3) * 1000);
    enum lun_session_state known = LUN_SESSION_ALIVE;
    while (known != LUN_SESSION_LOST) {
        GET(state, LONG, lun_session_await(session, known, &ask, &a->op, NULL));
        FINE(state);
        REQUIRE(state->state != known);
        known = state->state;
    }
    tale_await(loss);
    CHECK(loss->code == 0 && loss->reason == LUN_LOST_EXPIRED);
    CHECK(!lun_mutex_is_held(mutex));
    tale_mutex_free(mutex);
    tale_close_session(session);
    session = tale_session(0);
    mutex = tale_mutex(session, "/lost");
    (void)tale_lock(mutex);
    tale_mutex_free(mutex);
    tale_close_session(session);
    tale_close(0);
}

/* Its place is given up, the lease stays; who waits behind it is served, of this client and of another. */
static void a_lease_is_adopted_and_left_again(void) {
    struct lun_session *session, *follower;
    open_two(&session, &follower);
    struct lun_session_options options = {.lease = lun_session_lease(session), .grace_ms = -1};
    struct answer *adopted, *closed, *following, *waiting;
    GET(adopted, LONG, lun_session_open(client_of(1), &options, &ask, &a->op, NULL));
    FINE(adopted);
    REQUIRE(adopted->session);
    struct lun_mutex *first = tale_mutex(adopted->session, "/adopted"),
                     *second = tale_mutex(follower, "/adopted"), *third = tale_mutex(session, "/adopted");
    (void)tale_lock(first);
    BEGIN(following, LONG, lun_mutex_lock(second, &ask, &a->op, NULL));
    tale_pass(300);
    worsen(true);
    GET(closed, LONG, lun_session_close(adopted->session, false, &ask, &a->op, NULL));
    FINE(closed);
    worsen(false);
    SETTLE(following, LONG, lun_mutex_lock(second, &ask, &a->op, NULL));
    FINE(following);
    BEGIN(waiting, LONG, lun_mutex_lock(third, &ask, &a->op, NULL));
    tale_close_session(follower);
    SETTLE(waiting, LONG, lun_mutex_lock(third, &ask, &a->op, NULL));
    FINE(waiting);
    tale_mutex_free(first);
    tale_mutex_free(second);
    tale_mutex_free(third);
    lun_session_free(adopted->session);
    tale_close_session(session);
    tale_close(0);
    tale_close(1);
}

/* ---- the plain store -------------------------------------------------------------------------------- */

static struct answer *do_op(int party, const struct lun_kv_op *op) {
    struct answer *answer;
    GET(answer, LONG, lun_kv(client_of(party), op, &ask, &a->op, NULL));
    return answer;
}

static void put(int party, const char *key, const char *value) {
    struct lun_kv_op op = {.kind = LUN_OP_PUT, .key = lun_bytes_of(key), .value = lun_bytes_of(value)};
    struct answer *answer = do_op(party, &op);
    FINE(answer);
}

static void the_plain_store_answers(void) {
    (void)tale_open(0);
    put(0, "/a/1", "one");
    put(0, "/a/2", "two");
    put(0, "/a/3", "three");
    put(0, "/a/4", "four");
    put(0, "/a/5", "five");
    struct lun_kv_op read = {
        .kind = LUN_OP_RANGE, .key = lun_bytes_of("/a/"), .range_end = lun_bytes_of("/a0")};
    struct answer *answer = do_op(0, &read);
    CHECK_TEXT(answer->value, "one");
    CHECK(answer->count == 5);
    struct lun_cmp compare = {
        .target = LUN_CMP_VALUE, .key = lun_bytes_of("/a/1"), .value = lun_bytes_of("one")};
    struct lun_kv_op branch[] = {
        {.kind = LUN_OP_DELETE, .key = lun_bytes_of("/a/1"), .wants_prev_kv = true}, read, read, read};
    struct lun_txn txn = {&compare, 1, branch, &read, 4, 1};
    GET(answer, LONG, lun_txn(client_of(0), &txn, &ask, &a->op, NULL));
    FINE(answer);
    GET(answer, LONG, lun_lease_grant(client_of(0), 0, TALE_TTL_S, &ask, &a->op, NULL));
    FINE(answer);
    int64_t lease = answer->lease;
    GET(answer, LONG, lun_lease_time_to_live(client_of(0), lease, &ask, &a->op, NULL));
    FINE(answer);
    GET(answer, LONG, lun_lease_revoke(client_of(0), lease, &ask, &a->op, NULL));
    FINE(answer);
    GET(answer, LONG, lun_status(client_of(0), &ask, &a->op, NULL));
    CHECK(answer->code == 0 && answer->n_members == SIM_MEMBERS);
    tale_close(0);
}

static struct lun_watch *watch_from(int64_t start_rev) {
    struct lun_watch_options options = {.key = lun_bytes_of("/w/"),
                                        .range_end = lun_bytes_of("/w0"),
                                        .start_rev = start_rev,
                                        .wants_prev_kv = true};
    struct lun_watch *watch = NULL;
    MAKE(lun_watch_open(client_of(0), &options, &watch, NULL));
    return watch;
}

static void a_watch_tells_of_every_event(void) {
    (void)tale_open(0);
    (void)tale_open(1);
    put(1, "/w/0", "0");
    struct lun_watch *watch = watch_from(2);
    struct answer *next = NULL, *ready;
    BEGIN(ready, LONG, lun_watch_ready(watch, &ask, &a->op, NULL));
    for (int i = 1; i <= 3; i++)
        put(1, "/w/1", i < 3 ? "again" : "last");
    tale_await(ready);
    CHECK(ready->code == 0 || ready->code == LUN_ENOMEM);
    size_t n_seen = 0;
    int n_refused = 0;
    while (n_seen < tale->n_puts) {
        BEGIN(next, LONG, lun_watch_next(watch, &ask, &a->op, NULL));
        tale_await(next);
        n_seen += next->code == 0 ? next->n_events : 0;
        CHECK(next->code == 0 || next->code == LUN_ENOMEM);
        n_refused = next->code == 0 ? 0 : n_refused + 1;
        if (n_refused > 0)
            tale_pass(100);
        if (n_refused > 25) { /* it has ended: again from the beginning */
            lun_watch_free(watch);
            watch = watch_from(2);
            n_refused = 0;
            n_seen = 0;
        }
    }
    CHECK(n_seen == tale->n_puts);
    CHECK(next && strcmp(next->value, "last") == 0);
    lun_watch_free(watch);
    tale_close(0);
    tale_close(1);
}

static void cancel(const struct answer *answer) {
    if (answer->rc == 0 && answer->n_times == 0)
        lun_op_cancel(answer->op);
}

/* Each is taken back: at once, on its way, or when it has been answered already. */
static void what_was_asked_is_cancelled(void) {
    (void)tale_open(0);
    struct lun_session *session = tale_session(0);
    struct lun_mutex *mutex = tale_mutex(session, "/cancel"), *held = tale_mutex(session, "/cancel2");
    struct lun_election *election = new_election(session, "/cancel3");
    struct lun_observer *observer = NULL;
    struct lun_watch *watch = watch_from(0);
    struct lun_kv_op read = {.kind = LUN_OP_RANGE, .key = lun_bytes_of("/x")},
                     write = {.kind = LUN_OP_PUT, .key = lun_bytes_of("/x")};
    MAKE(lun_observer_open(client_of(0), "/cancel3", &observer, NULL));
    (void)tale_lock(held);
    for (int64_t delay_ms = 0; delay_ms < 8; delay_ms += 3) {
        enum { N = 12 };
        struct answer *answers[N];
        struct lun_client *client = client_of(0);
        BEGIN(answers[0], LONG, lun_mutex_lock(mutex, &ask, &a->op, NULL));
        BEGIN(answers[1], LONG, lun_mutex_await_loss(held, &ask, &a->op, NULL));
        BEGIN(answers[2], LONG, lun_election_campaign(election, lun_bytes_of("A"), &ask, &a->op, NULL));
        BEGIN(answers[3], LONG, lun_observer_next(observer, &ask, &a->op, NULL));
        BEGIN(answers[4], LONG, lun_watch_next(watch, &ask, &a->op, NULL));
        BEGIN(answers[5], LONG, lun_kv(client, &read, &ask, &a->op, NULL));
        BEGIN(answers[6], LONG, lun_kv(client, &write, &ask, &a->op, NULL));
        BEGIN(answers[7], LONG, lun_status(client, &ask, &a->op, NULL));
        BEGIN(answers[8], LONG, lun_session_open(client, NULL, &ask, &a->op, NULL));
        BEGIN(answers[9], LONG, lun_session_await(session, LUN_SESSION_ALIVE, &ask, &a->op, NULL));
        BEGIN(answers[10], LONG, lun_election_leader(election, &ask, &a->op, NULL));
        BEGIN(answers[11], LONG, lun_watch_ready(watch, &ask, &a->op, NULL));
        tale_pass(delay_ms);
        for (int i = 0; i < N; i++)
            cancel(answers[i]);
        for (int i = 0; i < N; i++) {
            tale_await(answers[i]);
            CHECK(answers[i]->code == 0 || answers[i]->code == LUN_ECANCELLED ||
                  answers[i]->code == LUN_ENOMEM || answers[i]->code == LUN_EUNKNOWN);
        }
        if (answers[4]->code == LUN_ENOMEM || answers[11]->code == LUN_ENOMEM) {
            lun_watch_free(watch);
            watch = watch_from(0);
        }
        if (lun_mutex_is_held(mutex))
            lun_mutex_release(mutex);
        lun_term_free(answers[2]->term);
        lun_session_free(answers[8]->session);
    }
    lun_observer_free(observer);
    lun_watch_free(watch);
    lun_election_free(election);
    tale_mutex_free(mutex);
    tale_mutex_free(held);
    tale_close_session(session);
    tale_close(0);
}

/* ---- ends ------------------------------------------------------------------------------------------- */

/* Everything is under way, and the client is closed, then freed; the other one is freed without being closed. */
static void clients_are_closed_and_freed_amid_everything(void) {
    struct lun_session *one, *other;
    open_two(&one, &other);
    struct lun_mutex *first = tale_mutex(one, "/amid"), *second = tale_mutex(other, "/amid"),
                     *third = tale_mutex(one, "/amid");
    struct lun_election *election = new_election(other, "/amid2");
    struct lun_observer *observer = NULL;
    struct lun_watch *watch = watch_from(0);
    struct answer *answer, *vote, *opened;
    MAKE(lun_observer_open(client_of(1), "/amid2", &observer, NULL));
    (void)tale_lock(first);
    BEGIN(answer, -1, lun_mutex_lock(third, &ask, &a->op, NULL));
    BEGIN(answer, -1, lun_mutex_lock(second, &ask, &a->op, NULL));
    BEGIN(vote, -1, lun_election_campaign(election, lun_bytes_of("B"), &ask, &a->op, NULL));
    BEGIN(answer, -1, lun_watch_next(watch, &ask, &a->op, NULL));
    BEGIN(opened, -1, lun_session_open(client_of(1), NULL, &ask, &a->op, NULL));
    tale_pass(2);
    GET(answer, 5000, lun_client_close(client_of(0), &ask, &a->op, NULL));
    FINE(answer);
    tale_disbelieve(first);
    tale_disbelieve(second);
    tale_disbelieve(third);
    lun_mutex_free(first);
    lun_mutex_free(third);
    lun_session_free(one);
    lun_watch_free(watch);
    tale_free(0);
    tale->is_cut_off = true;
    lun_term_free(vote->term);
    lun_session_free(opened->session);
    lun_mutex_free(second);
    lun_election_free(election);
    lun_observer_free(observer);
    lun_session_free(other);
    tale_free(1);
}

static void a_client_is_abandoned_and_shut_down(void) {
    (void)tale_open(0);
    struct lun_session *session = tale_session(0);
    struct lun_mutex *mutex = tale_mutex(session, "/left");
    struct answer *answer;
    (void)tale_lock(mutex);
    BEGIN(answer, LONG, lun_mutex_await_loss(mutex, &ask, &a->op, NULL));
    (void)answer;
    tale_mutex_free(mutex);
    lun_session_free(session);
    tale->is_cut_off = true;
    lun_client_abandon(client_of(0));
    lun_shutdown(LONG);
}

int main(void) {
    tale_on_failure = check_fail;
    TELL(a_client_opens_and_closes);
    TELL(a_session_opens_is_renewed_and_closes);
    TELL(a_session_is_lost_and_another_opens);
    TELL(a_lease_is_adopted_and_left_again);
    TELL(the_plain_store_answers);
    TELL(a_watch_tells_of_every_event);
    TELL(clients_are_closed_and_freed_amid_everything);
    TELL(what_was_asked_is_cancelled);
    TELL(a_client_is_abandoned_and_shut_down);
    return check_end();
}
