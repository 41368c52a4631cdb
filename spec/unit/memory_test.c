/* spec/unit/memory_test.c - every request for memory refused in turn, in the main stories, through the door.
 *
 * Each story is told again and again: with its first request refused, with its second, and so on until none is left
 * to refuse; and again with several refused from there on, or all for two seconds. However memory fails, the story
 * comes to its end: nothing crashes or leaks, each call is answered once, nobody believes wrongly, nothing stays in the queue. */
#include <inttypes.h>
#include <stdio.h>

#include "check.h"
#include "starve.h"
#include "tale.h"

static uint64_t seed;

#define LONG TALE_PATIENCE_MS

static struct lun_client *client_of(int party) {
    return tale->parties[party].client;
}

static void worsen(bool is_poor) {
    sim_set_faults(tale->sim, &(struct sim_faults){.reply_lost = is_poor ? 150 : 0,
                                                   .request_lost = is_poor ? 50 : 0,
                                                   .late_after_cancel = is_poor ? 300 : 0});
}

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
    (void)tale_open(0);
    (void)tale_open(1);
    struct lun_session *session = tale_session(0), *follower = tale_session(1);
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
    (void)tale_open(0);
    (void)tale_open(1);
    struct lun_session *one = tale_session(0), *other = tale_session(1);
    struct lun_mutex *first = tale_mutex(one, "/hand"), *second = tale_mutex(other, "/hand");
    hand_over(first, second);
    tale_mutex_free(second);
    tale_mutex_free(first);
    tale_close_session(one);
    tale_close_session(other);
    tale_close(0);
    tale_close(1);
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
    (void)tale_open(0);
    (void)tale_open(1);
    struct lun_session *one = tale_session(0), *other = tale_session(1);
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
    tale_close_session(one);
    tale_close_session(other);
    tale_close(0);
    tale_close(1);
}

/* Replies are lost, requests too: debts are made, and paid. */
static void a_lock_is_taken_where_replies_get_lost(void) {
    (void)tale_open(0);
    (void)tale_open(1);
    struct lun_session *one = tale_session(0), *other = tale_session(1);
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
    tale_close_session(one);
    tale_close_session(other);
    tale_close(0);
    tale_close(1);
}

enum { CROWD = 20 };

/* More of everything than there was room for at first: places, watches, timers, calls. */
static void a_crowd_waits_and_is_served(void) {
    (void)tale_open(0);
    (void)tale_open(1);
    struct lun_session *one = tale_session(0), *other = tale_session(1);
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
    (void)tale_open(0);
    (void)tale_open(1);
    struct lun_session *one = tale_session(0), *other = tale_session(1), *third = tale_session(1);
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
    tale_close_session(one);
    tale_close_session(third);
    tale_close(0);
    tale_close(1);
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
    lun_session_orphan(session);
    lun_session_free(session);
    tale_close(0);
}

/* ---- elections -------------------------------------------------------------------------------------- */

static struct lun_election *new_election(struct lun_session *session, const char *name) {
    struct lun_election *election = NULL;
    MAKE(lun_election_new(session, name, &election, NULL));
    return election;
}

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
    (void)tale_open(0);
    (void)tale_open(1);
    struct lun_session *one = tale_session(0), *other = tale_session(1);
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
    tale_close_session(one);
    tale_close_session(other);
    tale_close(0);
    tale_close(1);
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
    CHECK(refused->rc == LUN_ELOST);
    term_free(term);
    lun_election_free(election);
    tale_close_session(session);
    tale_close(0);
}

/* Nobody answers for sure; values are changed all the same, and terms end in whatever way. */
static void terms_end_in_every_way_where_replies_get_lost(void) {
    (void)tale_open(0);
    (void)tale_open(1);
    struct lun_session *one = tale_session(0), *other = tale_session(1);
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
    tale_close_session(one);
    tale_close_session(other);
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
    (void)tale_open(0);
    (void)tale_open(1);
    struct lun_session *one = tale_session(0), *other = tale_session(1);
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

/* ---- telling them ----------------------------------------------------------------------------------- */

/* False: it came to its end without having been refused anything. */
static bool tell(void (*story)(void), size_t n_before, size_t n_refused) {
    bool was_failing = check_is_failing;
    tale_begin(seed);
    starve_begin(n_before, n_refused);
    story();
    bool has_refused = starve_has_refused();
    tale_end();
    if (check_is_failing && !was_failing)
        printf("# with %zu refused after %zu: SEED=%llu REFUSE=%zu,%zu tells it alone\n", n_refused, n_before,
               (unsigned long long)seed, n_before, n_refused);
    return has_refused;
}

/* All of them where the story is short, else a sample; under ASan all in the first telling. */
static size_t stride_of(size_t n_points, bool is_first) {
#if defined(__SANITIZE_ADDRESS__)
    return 1 + n_points / (is_first ? 1000 : 50);
#elif defined(__SANITIZE_THREAD__)
    return 1 + n_points / (is_first ? 10 : 2); /* there is one thread only */
#else
    return 1 + n_points / (is_first ? 150 : 100);
#endif
}

static void tell_with_every_refusal(void (*story)(void), bool is_first) {
    static const size_t lengths[] = {1, 2, 5, 12, STARVE_FAMINE};
    (void)tell(story, 0, 0);
    size_t n_points = starve_n_asked(), stride = stride_of(n_points, is_first), n_told = 0;
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0] && !check_is_failing; i++)
        for (size_t n = i % stride; tell(story, n, lengths[i]) && !check_is_failing; n += stride)
            n_told++;
    printf("# seed %llu: %zu requests for memory; told %zu times\n", (unsigned long long)seed, n_points,
           n_told);
}

/* Each seed has its own losses and delays. */
static void tell_all(void (*story)(void)) {
    static const uint64_t seeds[] = {7, 108, 178};
    const char *only = getenv("REFUSE"), *chosen = getenv("SEED");
    size_t n_before, n_refused;
    for (size_t i = 0; i < sizeof seeds / sizeof seeds[0]; i++) {
        seed = chosen ? (uint64_t)atoll(chosen) : seeds[i];
        if (only && sscanf(only, "%zu,%zu", &n_before, &n_refused) == 2)
            (void)tell(story, n_before, n_refused);
        else
            tell_with_every_refusal(story, i == 0);
        if (chosen)
            break;
    }
}

#define STARVE(story)                                                                                        \
    static void story##_whenever_memory_fails(void) {                                                        \
        tell_all(story);                                                                                     \
    }
STARVE(a_client_opens_and_closes)
STARVE(a_session_opens_is_renewed_and_closes)
STARVE(a_session_is_lost_and_another_opens)
STARVE(a_lease_is_adopted_and_left_again)
STARVE(a_mutex_is_locked_and_unlocked_and_again)
STARVE(a_lock_is_handed_from_one_client_to_another)
STARVE(a_lock_is_handed_on_within_one_client)
STARVE(a_free_lock_is_tried)
STARVE(waiters_give_up_and_the_next_is_served)
STARVE(a_lock_is_taken_where_replies_get_lost)
STARVE(a_leader_is_elected_observed_and_resigns)
STARVE(a_leader_writes_guarded_and_is_deposed)
STARVE(the_plain_store_answers)
STARVE(a_watch_tells_of_every_event)
STARVE(clients_are_closed_and_freed_amid_everything)
STARVE(a_crowd_waits_and_is_served)
STARVE(waiters_are_served_though_connections_break)
STARVE(a_reentrant_mutex_counts)
STARVE(terms_end_in_every_way_where_replies_get_lost)
STARVE(what_was_asked_is_cancelled)
STARVE(a_client_is_abandoned_and_shut_down)

int main(void) {
    tale_on_failure = check_fail;
    RUN(a_client_opens_and_closes_whenever_memory_fails);
    RUN(a_session_opens_is_renewed_and_closes_whenever_memory_fails);
    RUN(a_session_is_lost_and_another_opens_whenever_memory_fails);
    RUN(a_lease_is_adopted_and_left_again_whenever_memory_fails);
    RUN(a_mutex_is_locked_and_unlocked_and_again_whenever_memory_fails);
    RUN(a_lock_is_handed_from_one_client_to_another_whenever_memory_fails);
    RUN(a_lock_is_handed_on_within_one_client_whenever_memory_fails);
    RUN(a_free_lock_is_tried_whenever_memory_fails);
    RUN(waiters_give_up_and_the_next_is_served_whenever_memory_fails);
    RUN(a_lock_is_taken_where_replies_get_lost_whenever_memory_fails);
    RUN(a_leader_is_elected_observed_and_resigns_whenever_memory_fails);
    RUN(a_leader_writes_guarded_and_is_deposed_whenever_memory_fails);
    RUN(the_plain_store_answers_whenever_memory_fails);
    RUN(a_watch_tells_of_every_event_whenever_memory_fails);
    RUN(clients_are_closed_and_freed_amid_everything_whenever_memory_fails);
    RUN(a_crowd_waits_and_is_served_whenever_memory_fails);
    RUN(waiters_are_served_though_connections_break_whenever_memory_fails);
    RUN(a_reentrant_mutex_counts_whenever_memory_fails);
    RUN(terms_end_in_every_way_where_replies_get_lost_whenever_memory_fails);
    RUN(what_was_asked_is_cancelled_whenever_memory_fails);
    RUN(a_client_is_abandoned_and_shut_down_whenever_memory_fails);
    return check_end();
}
