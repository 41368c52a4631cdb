/* spec/unit/client/long_line_test.c - what long lines cost etcd: requests, and keys that it reads for them, counted by the
 * simulator. Nothing that a waiter does may grow with the line. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "check.h"
#include "tale.h"

#define LONG TALE_PATIENCE_MS
#define NAME "/long"

enum { MOST = 400, HELD_BY = 0, WAITING_IN = 1 };

static struct lun_session *holding, *waiting;
static struct lun_mutex *held, *waiters[MOST];
static struct answer *locked[MOST];

static void fail(const char *file, int line, const char *what) {
    check_fail(file, line, what);
}

static struct sim_load load_of(int party) {
    return sim_client_load(tale->parties[party].sim, RPC_TXN);
}

static struct lun_mutex *mutex_new(struct lun_session *session) {
    struct lun_mutex *mutex = NULL;
    MAKE(lun_mutex_new(session, NAME, false, &mutex, NULL));
    return mutex;
}

/* One holds; `n` of another client wait. */
static void begin(int n) {
    tale_on_failure = fail;
    tale_begin(7);
    (void)tale_open(HELD_BY);
    (void)tale_open(WAITING_IN);
    holding = tale_session(HELD_BY);
    waiting = tale_session(WAITING_IN);
    held = mutex_new(holding);
    struct answer *answer;
    GET(answer, LONG, lun_mutex_lock(held, &ask, &a->op, NULL));
    FINE(answer);
    for (int i = 0; i < n; i++) {
        waiters[i] = mutex_new(waiting);
        BEGIN(locked[i], -1, lun_mutex_lock(waiters[i], &ask, &a->op, NULL));
    }
    tale_pass(2000);
}

static void finish(int n) {
    for (int i = 0; i < n; i++)
        lun_mutex_free(waiters[i]);
    lun_mutex_free(held);
    tale_close_session(holding);
    tale_close_session(waiting);
    tale_close(HELD_BY);
    tale_close(WAITING_IN);
    tale_end();
}

/* ---- entering --------------------------------------------------------------------------------------- */

static uint64_t keys_to_enter(int n) {
    begin(n);
    uint64_t n_keys = load_of(WAITING_IN).n_keys;
    finish(n);
    return n_keys;
}

static void entering_behind_others_of_the_client_reads_nothing_of_the_line(void) {
    uint64_t few = keys_to_enter(MOST / 4), many = keys_to_enter(MOST);
    (void)fprintf(stderr, "# keys read to enter: %d waiters %" PRIu64 ", %d waiters %" PRIu64 "\n", MOST / 4,
                  few, MOST, many);
    CHECK(many <= 5 * few);
    CHECK(many <= 4 * MOST);
}

/* ---- waiting ---------------------------------------------------------------------------------------- */

static void idle_waiters_of_a_client_read_as_one_does(void) {
    uint64_t n_requests[2], n_keys[2];
    for (int k = 0; k < 2; k++) {
        int n = k == 0 ? 1 : MOST;
        begin(n);
        struct sim_load before = load_of(WAITING_IN);
        tale_pass(120000);
        struct sim_load after = load_of(WAITING_IN);
        n_requests[k] = after.n_requests - before.n_requests;
        n_keys[k] = after.n_keys - before.n_keys;
        finish(n);
    }
    (void)fprintf(stderr, "# in 120 s: 1 waiter %" PRIu64 " reads, %d waiters %" PRIu64 "\n", n_requests[0],
                  MOST, n_requests[1]);
    CHECK(n_requests[0] > 0 && n_requests[1] <= n_requests[0] + 2);
    CHECK(n_keys[1] <= 2 * n_requests[1]);
}

/* ---- served ----------------------------------------------------------------------------------------- */

/* Keys read for all hand-offs through `n` waiters. `is_written`: others write meanwhile, between the entering
 * transactions too, so that revisions do not show who is next. */
static uint64_t keys_of_a_chain(int n) {
    begin(n);
    uint64_t before = load_of(WAITING_IN).n_keys;
    struct answer *answer;
    GET(answer, LONG, lun_mutex_unlock(held, &ask, &a->op, NULL));
    FINE(answer);
    int64_t token = 0;
    for (int i = 0; i < n; i++) {
        int first = -1;
        while (first < 0) {
            for (int k = 0; k < n && first < 0; k++)
                first = locked[k] && locked[k]->n_times > 0 ? k : -1;
            if (first < 0)
                tale_pass(1);
        }
        FINE(locked[first]);
        CHECK(locked[first]->token > token);
        token = locked[first]->token;
        locked[first] = NULL;
        lun_mutex_release(waiters[first]);
    }
    uint64_t n_keys = load_of(WAITING_IN).n_keys - before;
    finish(n);
    return n_keys;
}

static void a_hand_off_in_a_long_line_reads_no_more_than_in_a_short_one(void) {
    uint64_t few = keys_of_a_chain(MOST / 8), many = keys_of_a_chain(MOST);
    (void)fprintf(stderr, "# keys read for a hand-off: %d waiters %.2f, %d waiters %.2f\n", MOST / 8,
                  (double)few / (MOST / 8), MOST, (double)many / MOST);
    CHECK(many <= 4 * 8 * few);
}

int main(void) {
    RUN(entering_behind_others_of_the_client_reads_nothing_of_the_line);
    RUN(idle_waiters_of_a_client_read_as_one_does);
    RUN(a_hand_off_in_a_long_line_reads_no_more_than_in_a_short_one);
    return check_end();
}
