/* spec/unit/client/memory_line_test.c - memory is refused (memory_telling.h) to those who stand in lines: locks and elections. */
#include "memory_telling.h"

/* ---- locks ------------------------------------------------------------------------------------------ */

static void a_mutex_is_locked_and_unlocked_and_again(void) {
    (void)tale_open(0);
    struct lun_session *session = tale_session(0);
    struct lun_mutex *mutex = tale_mutex(session, "/lock");
    for (int i = 0; i < 3; i++) {
        (void)tale_lock(mutex);
        tale_pass(i * 200);
        tale_unlock(mutex);
    }
    tale_mutex_free(mutex);
    tale_close_session(session);
    tale_close(0);
}

/* One holds, the other waits and gets it, and then the other way round. */
static void hand_over(struct lun_mutex *first, struct lun_mutex *second) {
    struct answer *waiting, *busy;
    (void)tale_lock(first);
    GET(busy, LONG, lun_mutex_try_lock(second, &ask, &a->op, NULL));
    CHECK(busy->code == LUN_ELOCKED);
    for (int i = 0; i < 2; i++) {
        struct lun_mutex *holder = i ? second : first, *waiter = i ? first : second;
        BEGIN(waiting, LONG, lun_mutex_lock(waiter, &ask, &a->op, NULL));
        tale_pass(300);
        tale_unlock(holder);
        SETTLE(waiting, LONG, lun_mutex_lock(waiter, &ask, &a->op, NULL));
        FINE(waiting);
        CHECK(lun_mutex_is_held(waiter));
    }
    tale_unlock(first);
}

static void a_lock_is_handed_from_one_client_to_another(void) {
    struct lun_session *one, *other;
    open_two(&one, &other);
    struct lun_mutex *first = tale_mutex(one, "/hand"), *second = tale_mutex(other, "/hand");
    hand_over(first, second);
    tale_mutex_free(second);
    tale_mutex_free(first);
    close_two(one, other);
}

static void a_lock_is_handed_on_within_one_client(void) {
    (void)tale_open(0);
    struct lun_session *one = tale_session(0), *other = tale_session(0);
    struct lun_mutex *first = tale_mutex(one, "/hand"), *second = tale_mutex(other, "/hand");
    hand_over(first, second);
    tale_mutex_free(second);
    tale_mutex_free(first);
    tale_close_session(one);
    tale_close_session(other);
    tale_close(0);
}

static void a_free_lock_is_tried(void) {
    (void)tale_open(0);
    struct lun_session *session = tale_session(0);
    struct lun_mutex *mutex = tale_mutex(session, "/try");
    struct answer *answer;
    do { /* refused at first, its place may stand in its own way until it is gone */
        GET(answer, LONG, lun_mutex_try_lock(mutex, &ask, &a->op, NULL));
        tale_pass(answer->code == LUN_ELOCKED ? 1000 : 0);
    } while (answer->code == LUN_ELOCKED && starve_has_refused());
    FINE(answer);
    struct answer *owner;
    GET(owner, LONG, lun_mutex_owner(mutex, &ask, &a->op, NULL));
    CHECK(owner->code == 0 && owner->has_leader);
    tale_mutex_free(mutex); /* unlocks in the background */
    tale_close_session(session);
    tale_close(0);
}

/* Who gives up leaves nothing behind: the third gets it once the first lets go. */
static void waiters_give_up_and_the_next_is_served(void) {
    struct lun_session *one, *other;
    open_two(&one, &other);
    struct lun_mutex *first = tale_mutex(one, "/give"), *second = tale_mutex(other, "/give"),
                     *third = tale_mutex(other, "/give");
    struct answer *waiting, *late;
    (void)tale_lock(first);
    BEGIN(waiting, -1, lun_mutex_lock(second, &ask, &a->op, NULL));
    BEGIN(late, -1, lun_mutex_lock(third, &ask, &a->op, NULL));
    tale_pass(150);
    if (waiting->n_times == 0)
        lun_op_cancel(waiting->op);
    tale_await(waiting);
    CHECK(waiting->code == LUN_ECANCELLED || waiting->code == LUN_ENOMEM);
    GET(waiting, 300, lun_mutex_lock(second, &ask, &a->op, NULL));
    CHECK(waiting->code == LUN_ETIMEOUT || waiting->code == LUN_EUNAVAILABLE);
    tale_unlock(first);
    SETTLE(late, LONG, lun_mutex_lock(third, &ask, &a->op, NULL));
    FINE(late);
    tale_mutex_free(first);
    tale_mutex_free(second);
    tale_mutex_free(third);
    close_two(one, other);
}

/* Replies are lost, requests too: debts are made, and paid. */
static void a_lock_is_taken_where_replies_get_lost(void) {
    struct lun_session *one, *other;
    open_two(&one, &other);
    struct lun_mutex *first = tale_mutex(one, "/poor"), *second = tale_mutex(other, "/poor");
    worsen(true);
    for (int i = 0; i < 3; i++) {
        (void)tale_lock(first);
        struct answer *waiting;
        BEGIN(waiting, LONG, lun_mutex_lock(second, &ask, &a->op, NULL));
        tale_pass(200);
        tale_unlock(first);
        SETTLE(waiting, LONG, lun_mutex_lock(second, &ask, &a->op, NULL));
        FINE(waiting);
        tale_unlock(second);
    }
    worsen(false);
    tale_mutex_free(first);
    tale_mutex_free(second);
    close_two(one, other);
}

enum { CROWD = 20 };

/* More of everything than there was room for at first: places, watches, timers, calls. */
static void a_crowd_waits_and_is_served(void) {
    struct lun_session *one, *other;
    open_two(&one, &other);
    struct lun_mutex *held[CROWD], *wanted[CROWD];
    struct answer *waiting[CROWD], *reads[2 * CROWD];
    for (int i = 0; i < CROWD; i++) {
        char name[16];
        (void)snprintf(name, sizeof name, "/crowd%d", i);
        held[i] = tale_mutex(one, name);
        wanted[i] = tale_mutex(other, name);
        (void)tale_lock(held[i]);
        BEGIN(waiting[i], LONG, lun_mutex_lock(wanted[i], &ask, &a->op, NULL));
    }
    struct lun_kv_op read = {.kind = LUN_OP_RANGE, .key = lun_bytes_of("/crowd0")};
    for (int i = 0; i < 2 * CROWD; i++)
        BEGIN(reads[i], LONG, lun_kv(client_of(1), &read, &ask, &a->op, NULL));
    tale_pass(400);
    for (int i = 0; i < 2 * CROWD; i++)
        tale_await(reads[i]);
    for (int i = 0; i < CROWD; i++)
        tale_disbelieve(held[i]);
    tale_close_session(one);
    for (int i = 0; i < CROWD; i++) {
        SETTLE(waiting[i], LONG, lun_mutex_lock(wanted[i], &ask, &a->op, NULL));
        FINE(waiting[i]);
        tale_mutex_free(wanted[i]);
        lun_mutex_free(held[i]);
    }
    tale_close_session(other);
    tale_close(0);
    tale_close(1);
}

/* Connections break, etcd's leader stops and comes back, revisions are compacted, while they wait. */
static void waiters_are_served_though_connections_break(void) {
    struct lun_session *one, *other;
    open_two(&one, &other);
    struct lun_session *third = tale_session(1);
    struct lun_mutex *first = tale_mutex(one, "/broken"), *second = tale_mutex(other, "/broken"),
                     *behind = tale_mutex(third, "/broken");
    struct lun_observer *observer = NULL;
    MAKE(lun_observer_open(client_of(1), "/broken", &observer, NULL));
    struct answer *waiting, *last, *seen;
    (void)tale_lock(first);
    BEGIN(waiting, -1, lun_mutex_lock(second, &ask, &a->op, NULL));
    tale_pass(50);
    BEGIN(last, -1, lun_mutex_lock(behind, &ask, &a->op, NULL));
    tale_pass(250);
    for (int member = 0; member < SIM_MEMBERS; member++) {
        sim_client_reset(tale->parties[1].sim, member);
        sim_compact(tale->sim);
        tale_pass(300);
    }
    int leader = sim_leader(tale->sim);
    sim_stop(tale->sim, leader);
    tale_pass(2500);
    sim_start(tale->sim, leader);
    tale_pass(500);
    tale_unlock(first);
    tale_await(waiting);
    CHECK(waiting->code == 0 || waiting->code == LUN_ENOMEM); /* who is refused stands behind the last */
    GET(seen, LONG, lun_observer_next(observer, &ask, &a->op, NULL));
    CHECK(seen->code == 0);
    tale_close_session(other);
    SETTLE(last, LONG, lun_mutex_lock(behind, &ask, &a->op, NULL));
    FINE(last);
    lun_observer_free(observer);
    tale_mutex_free(first);
    tale_mutex_free(second);
    tale_mutex_free(behind);
    close_two(one, third);
}

static void a_reentrant_mutex_counts(void) {
    (void)tale_open(0);
    struct lun_session *session = tale_session(0);
    struct lun_mutex *mutex = NULL;
    MAKE(lun_mutex_new(session, "/again", true, &mutex, NULL));
    tale_believe(mutex, NULL, "/again");
    (void)tale_lock(mutex);
    (void)tale_lock(mutex);
    struct answer *answer;
    GET(answer, LONG, lun_mutex_unlock(mutex, &ask, &a->op, NULL));
    CHECK(answer->code == 0 || starve_has_refused());
    lun_mutex_release(mutex);
    lun_mutex_release(mutex);
    tale_mutex_free(mutex);
    (void)lun_session_orphan(session, NULL);
    lun_session_free(session);
    tale_close(0);
}

/* ---- elections -------------------------------------------------------------------------------------- */

static struct lun_term *campaign(struct lun_election *election, const char *name, const char *value) {
    struct answer *answer;
    GET(answer, LONG, lun_election_campaign(election, lun_bytes_of(value), &ask, &a->op, NULL));
    FINE(answer);
    if (answer->term)
        tale_believe(NULL, answer->term, name);
    return answer->term;
}

static void term_free(struct lun_term *term) {
    tale_disbelieve(term);
    lun_term_free(term);
}

static void resign(struct lun_term *term) {
    struct answer *answer;
    BEGIN(answer, LONG, lun_term_resign(term, &ask, &a->op, NULL));
    tale_await(answer);
    if (answer->code != LUN_ENOMEM) /* then it goes on in the background */
        FINE(answer);
}

/* Until the leader is who was expected: the latest is told, not every one. */
static void observe(struct lun_observer *observer, const char *value) {
    struct answer *seen;
    do {
        GET(seen, LONG, lun_observer_next(observer, &ask, &a->op, NULL));
        FINE(seen);
    } while (seen->code == 0 && strcmp(seen->value, value) != 0);
}

static void a_leader_is_elected_observed_and_resigns(void) {
    struct lun_session *one, *other;
    open_two(&one, &other);
    struct lun_election *first = new_election(one, "/vote"), *second = new_election(other, "/vote");
    struct lun_observer *observer = NULL;
    MAKE(lun_observer_open(client_of(1), "/vote", &observer, NULL));
    struct lun_term *term = campaign(first, "/vote", "A");
    REQUIRE(term);
    observe(observer, "A");
    struct answer *waiting, *leader, *proclaimed;
    BEGIN(waiting, LONG, lun_election_campaign(second, lun_bytes_of("B"), &ask, &a->op, NULL));
    GET(proclaimed, LONG, lun_term_proclaim(term, lun_bytes_of("A2"), &ask, &a->op, NULL));
    FINE(proclaimed);
    GET(leader, LONG, lun_election_leader(second, &ask, &a->op, NULL));
    CHECK_TEXT(leader->value, "A2");
    observe(observer, "A2");
    resign(term);
    term_free(term);
    SETTLE(waiting, LONG, lun_election_campaign(second, lun_bytes_of("B"), &ask, &a->op, NULL));
    FINE(waiting);
    observe(observer, "B");
    lun_term_free(waiting->term); /* resigns in the background */
    lun_observer_free(observer);
    lun_election_free(first);
    lun_election_free(second);
    close_two(one, other);
}

static void a_leader_writes_guarded_and_is_deposed(void) {
    (void)tale_open(0);
    struct lun_session *session = tale_session(0);
    struct lun_election *election = new_election(session, "/guard");
    struct lun_term *term = campaign(election, "/guard", "A");
    REQUIRE(term);
    struct lun_kv_op put = {.kind = LUN_OP_PUT, .key = lun_bytes_of("/data"), .value = lun_bytes_of("1")},
                     read = {.kind = LUN_OP_RANGE, .key = lun_bytes_of("/data")};
    struct lun_cmp absent = {.target = LUN_CMP_CREATE, .key = lun_bytes_of("/data")};
    struct lun_txn txn = {&absent, 1, &put, &read, 1, 1};
    struct answer *written, *loss;
    GET(written, LONG, lun_term_txn(term, &txn, &ask, &a->op, NULL));
    FINE(written);
    tale_pass(500); /* until its own key is watched */
    BEGIN(loss, LONG, lun_term_await_loss(term, &ask, &a->op, NULL));
    char key[LUN_ERR_TEXT_BYTES];
    (void)snprintf(key, sizeof key, "%.*s", (int)lun_term_key(term).len,
                   (const char *)lun_term_key(term).data);
    sim_delete(tale->sim, key);
    SETTLE(loss, LONG, lun_term_await_loss(term, &ask, &a->op, NULL));
    CHECK(loss->code == 0 && loss->reason == LUN_LOST_KEY_DELETED);
    struct answer *refused = tale_answer();
    struct lun_ask ask = tale_ask(refused, LONG);
    refused->rc = lun_term_txn(term, &txn, &ask, NULL, NULL);
    CHECK(refused->rc == LUN_ELOST || refused->rc == LUN_ENOMEM);
    term_free(term);
    lun_election_free(election);
    tale_close_session(session);
    tale_close(0);
}

/* Nobody answers for sure; values are changed all the same, and terms end in whatever way. */
static void terms_end_in_every_way_where_replies_get_lost(void) {
    struct lun_session *one, *other;
    open_two(&one, &other);
    struct lun_election *first = new_election(one, "/ways"), *second = new_election(other, "/ways");
    struct lun_kv_op put = {.kind = LUN_OP_PUT, .key = lun_bytes_of("/data"), .value = lun_bytes_of("1")};
    struct lun_txn txn = {.success = &put, .n_success = 1};
    for (int i = 0; i < 3; i++) {
        worsen(true);
        struct lun_term *term = campaign(first, "/ways", "A");
        REQUIRE(term);
        struct answer *answer;
        for (int k = 0; k < 4; k++) {
            const char *value = k % 2 ? "odd" : "even";
            GET(answer, k ? LONG : 20, lun_term_proclaim(term, lun_bytes_of(value), &ask, &a->op, NULL));
            bool is_stopped = lun_term_stop_at_ns(term) == 0; /* no renewal came through for long */
            CHECK(answer->code == 0 || (k == 0 && answer->code == LUN_ETIMEOUT) ||
                  (is_stopped && answer->code == LUN_ELOST));
        }
        GET(answer, 400, lun_election_campaign(second, lun_bytes_of("B"), &ask, &a->op, NULL));
        CHECK(answer->code == LUN_ETIMEOUT || answer->code == LUN_EUNAVAILABLE);
        worsen(false);
        tale_pass(1000);
        worsen(true);
        BEGIN(answer, LONG, lun_term_proclaim(term, lun_bytes_of("more"), &ask, &a->op, NULL));
        BEGIN(answer, LONG, lun_term_txn(term, &txn, &ask, &a->op, NULL));
        if (i == 1) {
            BEGIN(answer, 1, lun_term_resign(term, &ask, &a->op, NULL));
            tale_await(answer);
        } else if (i == 2) {
            BEGIN(answer, LONG, lun_term_resign(term, &ask, &a->op, NULL));
        }
        worsen(false);
        term_free(term);
        tale_pass(100);
    }
    lun_election_free(first);
    lun_election_free(second);
    close_two(one, other);
}

int main(void) {
    tale_on_failure = check_fail;
    TELL(a_mutex_is_locked_and_unlocked_and_again);
    TELL(a_lock_is_handed_from_one_client_to_another);
    TELL(a_lock_is_handed_on_within_one_client);
    TELL(a_free_lock_is_tried);
    TELL(waiters_give_up_and_the_next_is_served);
    TELL(a_lock_is_taken_where_replies_get_lost);
    TELL(a_leader_is_elected_observed_and_resigns);
    TELL(a_leader_writes_guarded_and_is_deposed);
    TELL(a_crowd_waits_and_is_served);
    TELL(waiters_are_served_though_connections_break);
    TELL(a_reentrant_mutex_counts);
    TELL(terms_end_in_every_way_where_replies_get_lost);
    return check_end();
}
