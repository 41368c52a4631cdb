/* spec/unit/rpc/threaded_test.c - the door under many threads: a real background poller, a real validity thread, callers that lock, try, stand,
 * cancel, close, and ask about validity without any lock, on a simulated etcd with faults (threaded_sim.h).
 *
 * Written for ThreadSanitizer; in the other builds a short form of the same. */
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#include "base/clock.h"
#include "check.h"
#include "lunarch.h"
#include "sim/sim.h"
#include "threaded_sim.h"

#if defined(__SANITIZE_THREAD__)
enum { SECONDS = 20 };
#else
enum { SECONDS = 3 };
#endif
enum { CALLERS = 4, NAMES = 3, TTL_S = 2, STUCK_S = 40 };

static const char *const names[NAMES] = {"/threads/a", "/threads/b", "/threads/c"};

/* A client and whoever polls it: a thread of its own, or each caller for itself. */
struct party {
    struct lun_client *client;
    struct lun_session *shared; /* asked about by everybody, never closed */
    pthread_t poller;
};

struct caller {
    struct party *party;
    pthread_t thread;
    bool is_polling; /* itself */
    uint64_t seed;
    atomic_ulong n_done;
    struct lun_session *session;
    struct lun_mutex *mutex; /* asked about while it is locked and unlocked; NULL: none */
};

static struct party many, single; /* four callers and one that polls; one that does all by itself */
static struct caller callers[CALLERS + 1];
static atomic_bool is_stopping, is_unpolled;
static atomic_int n_failures, n_wins, n_lost, n_cancelled, n_terms, n_timeouts;
static atomic_long n_asked;

static void fail(const char *what) {
    if (atomic_fetch_add(&n_failures, 1) < 10)
        fprintf(stderr, "# %s\n", what);
}

/* ---- who owns: tokens rise, whoever records one while it holds --------------------------------------- */

static pthread_mutex_t record_lock = PTHREAD_MUTEX_INITIALIZER;
static int64_t last_token[NAMES];

static void record(int name, int64_t token, bool is_held) {
    if (is_held && token <= last_token[name])
        fail("somebody holds it whose token is not the latest");
    if (is_held)
        last_token[name] = token;
}

static void record_mutex(int name, struct lun_mutex *mutex, int64_t token) {
    pthread_mutex_lock(&record_lock);
    record(name, token, lun_mutex_is_held(mutex));
    pthread_mutex_unlock(&record_lock);
}

static void record_term(int name, struct lun_term *term) {
    pthread_mutex_lock(&record_lock);
    record(name, lun_term_token(term), lun_term_valid_until_ns(term) != 0);
    pthread_mutex_unlock(&record_lock);
}

/* ---- asking, and waiting for the answer --------------------------------------------------------------- */

struct answer {
    pthread_mutex_t lock;
    pthread_cond_t told;
    struct lun_op *op; /* valid until told */
    int n_times, code;
    int64_t token;
    struct lun_session *session;
    struct lun_term *term;
};

static void on_done(void *arg, const struct lun_result *result) {
    struct answer *answer = arg;
    pthread_mutex_lock(&answer->lock);
    answer->n_times++;
    answer->code = result->err ? result->err->code : 0;
    answer->token = result->token;
    answer->session = result->session;
    answer->term = result->term;
    pthread_cond_signal(&answer->told);
    pthread_mutex_unlock(&answer->lock);
}

static struct lun_ask asking(struct answer *answer, int64_t timeout_ms) {
    *answer = (struct answer){.lock = PTHREAD_MUTEX_INITIALIZER, .told = PTHREAD_COND_INITIALIZER};
    return (struct lun_ask){timeout_ms, on_done, answer};
}

static uint64_t draw(struct caller *caller, uint64_t n) {
    uint64_t z = caller->seed += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return (z ^ (z >> 31)) % n;
}

static void rest(int64_t us) {
    (void)nanosleep(&(struct timespec){.tv_nsec = us * 1000}, NULL);
}

/* At everybody's sessions, as the holder of each would: without a lock; and at the own mutex, whatever state it is in. */
static void look_around(struct caller *caller) {
    struct lun_session *shared[] = {many.shared, single.shared};
    for (size_t i = 0; i < sizeof shared / sizeof shared[0]; i++) {
        int64_t stop_at = lun_session_stop_at_ns(shared[i]);
        int64_t valid_until = lun_session_valid_until_ns(shared[i]);
        if (stop_at > valid_until && valid_until != 0)
            fail("stop_at is later than valid_until");
        if (valid_until == 0 && lun_session_state(shared[i]) < LUN_SESSION_LOST)
            fail("lost by the clock, and not lost");
        atomic_fetch_add(&n_asked, 1);
    }
    if (!caller->mutex)
        return;
    bool is_held = lun_mutex_is_held(caller->mutex);
    if (is_held && lun_mutex_token(caller->mutex) != 0 && lun_mutex_stop_at_ns(caller->mutex) == 0 &&
        lun_mutex_is_held(caller->mutex))
        fail("held, and told to have stopped");
}

static void await(struct caller *caller, struct answer *answer) {
    pthread_mutex_lock(&answer->lock);
    while (answer->n_times == 0) {
        if (caller->is_polling) {
            pthread_mutex_unlock(&answer->lock);
            (void)lun_client_poll(caller->party->client, 50);
            pthread_mutex_lock(&answer->lock);
        } else {
            pthread_cond_wait(&answer->told, &answer->lock);
        }
    }
    if (answer->n_times != 1)
        fail("answered twice");
    pthread_mutex_unlock(&answer->lock);
    atomic_fetch_add(&caller->n_done, 1);
}

/* Perhaps takes it back, while it is on its way or while its answer is being told. */
static void settle(struct caller *caller, struct answer *answer) {
    if (draw(caller, 4) == 0) {
        rest((int64_t)draw(caller, 4000));
        pthread_mutex_lock(&answer->lock);
        if (answer->n_times == 0)
            lun_op_cancel(answer->op);
        pthread_mutex_unlock(&answer->lock);
    }
    look_around(caller);
    await(caller, answer);
    atomic_fetch_add(&n_cancelled, answer->code == LUN_ECANCELLED);
    atomic_fetch_add(&n_timeouts, answer->code == LUN_ETIMEOUT);
}

/* ---- what callers do ---------------------------------------------------------------------------------- */

static struct lun_session *open_session(struct caller *caller) {
    struct lun_session_options options = {.ttl_s = TTL_S, .grace_ms = -1};
    struct answer answer;
    do {
        struct lun_ask ask = asking(&answer, 5000);
        if (lun_session_open(caller->party->client, &options, &ask, &answer.op, NULL))
            fail("a session is not asked for");
        await(caller, &answer);
    } while (answer.code);
    return answer.session;
}

static void close_session(struct caller *caller) {
    struct answer answer;
    struct lun_ask ask = asking(&answer, 3000);
    if (draw(caller, 2) && lun_session_close(caller->session, true, &ask, &answer.op, NULL) == 0)
        await(caller, &answer);
    lun_session_free(caller->session);
    caller->session = NULL;
}

static void work(struct caller *caller) {
    for (uint64_t i = draw(caller, 4); i > 0; i--) {
        look_around(caller);
        rest((int64_t)draw(caller, 2000));
    }
}

static void use_mutex(struct caller *caller) {
    int name = (int)draw(caller, NAMES);
    struct lun_mutex *mutex = NULL;
    struct answer answer;
    if (lun_mutex_new(caller->session, names[name], false, &mutex, NULL))
        fail("no mutex");
    caller->mutex = mutex;
    bool is_trying = draw(caller, 3) == 0;
    struct lun_ask ask = asking(&answer, (int64_t)draw(caller, 200));
    int rc = is_trying ? lun_mutex_try_lock(mutex, &ask, &answer.op, NULL)
                       : lun_mutex_lock(mutex, &ask, &answer.op, NULL);
    if (rc == 0)
        settle(caller, &answer);
    if (rc == 0 && answer.code == 0) {
        atomic_fetch_add(&n_wins, 1);
        record_mutex(name, mutex, answer.token);
        work(caller);
        struct answer unlocked;
        ask = asking(&unlocked, 1000);
        if (draw(caller, 3) == 0)
            lun_mutex_release(mutex);
        else if (lun_mutex_unlock(mutex, &ask, &unlocked.op, NULL) == 0)
            settle(caller, &unlocked);
    }
    caller->mutex = NULL;
    lun_mutex_free(mutex);
}

static void lead(struct caller *caller, struct lun_term *term, int name) {
    struct answer loss, proclaimed, resigned;
    atomic_fetch_add(&n_terms, 1);
    record_term(name, term);
    struct lun_ask ask = asking(&loss, 2000);
    bool is_awaiting = lun_term_await_loss(term, &ask, &loss.op, NULL) == 0;
    ask = asking(&proclaimed, 500);
    if (lun_term_proclaim(term, lun_bytes_of("again"), &ask, &proclaimed.op, NULL) == 0)
        settle(caller, &proclaimed);
    ask = asking(&resigned, 1000);
    if (draw(caller, 2) && lun_term_resign(term, &ask, &resigned.op, NULL) == 0)
        settle(caller, &resigned);
    lun_term_free(term);
    if (is_awaiting)
        await(caller, &loss);
}

static void use_election(struct caller *caller) {
    /* The lines of mutexes and elections are the same thing: tokens rise in both together. */
    int name = (int)draw(caller, NAMES);
    struct lun_election *election = NULL;
    struct answer answer;
    if (lun_election_new(caller->session, names[name], &election, NULL))
        fail("no election");
    struct lun_ask ask = asking(&answer, (int64_t)draw(caller, 200));
    if (lun_election_campaign(election, lun_bytes_of("me"), &ask, &answer.op, NULL) == 0) {
        settle(caller, &answer);
        if (answer.code == 0)
            lead(caller, answer.term, name);
    }
    lun_election_free(election);
}

static void use_store(struct caller *caller) {
    struct answer answer;
    struct lun_kv_op op = {.kind = draw(caller, 2) ? LUN_OP_PUT : LUN_OP_RANGE,
                           .key = lun_bytes_of("/threads/data"),
                           .value = lun_bytes_of("x")};
    struct lun_ask ask = asking(&answer, 300);
    if (lun_kv(caller->party->client, &op, &ask, &answer.op, NULL) == 0)
        settle(caller, &answer);
}

static void *caller_main(void *arg) {
    struct caller *caller = arg;
    caller->session = open_session(caller);
    while (!atomic_load(&is_stopping)) {
        if (lun_session_valid_until_ns(caller->session) == 0 || draw(caller, 100) == 0) {
            atomic_fetch_add(&n_lost, lun_session_reason(caller->session) != LUN_NOT_LOST);
            close_session(caller);
            caller->session = open_session(caller);
        }
        switch (draw(caller, 8)) {
        case 0:
        case 1:
            use_election(caller);
            break;
        case 2:
            use_store(caller);
            break;
        default:
            use_mutex(caller);
            break;
        }
    }
    close_session(caller);
    return NULL;
}

/* ---- who polls, who watches, and all of it -------------------------------------------------------------- */

static void *poller_main(void *arg) {
    struct party *party = arg;
    for (unsigned i = 0; !atomic_load(&is_unpolled); i++) {
        struct pollfd pollfd = {.fd = lun_client_fd(party->client), .events = POLLIN};
        if (i % 3 == 0)
            (void)poll(&pollfd, 1, 20);
        (void)lun_client_poll(party->client, i % 3 == 0 ? 0 : 20);
    }
    return NULL;
}

static void open_party(struct party *party, struct caller *opener) {
    struct lun_config config = {.endpoints = sim_addresses, .n_endpoints = SIM_MEMBERS, .name = "threads"};
    struct lun_err err;
    if (lun_client_open(&config, &party->client, &err)) {
        fprintf(stderr, "# %s\n", err.text);
        abort();
    }
    party->shared = open_session(opener);
}

static void close_party(struct party *party, struct caller *closer) {
    struct answer answer;
    lun_session_free(party->shared);
    struct lun_ask ask = asking(&answer, 5000);
    if (lun_client_close(party->client, &ask, &answer.op, NULL))
        fail("a client is not closed");
    await(closer, &answer);
    lun_client_free(party->client);
}

/* Ends the program if a caller has got no answer for long. */
static void watch_over(int seconds) {
    unsigned long seen[CALLERS + 1] = {0};
    int idle_s[CALLERS + 1] = {0};
    for (int s = 0; s < seconds; s++) {
        rest(999999);
        for (int i = 0; i <= CALLERS; i++) {
            unsigned long n = atomic_load(&callers[i].n_done);
            idle_s[i] = n == seen[i] ? idle_s[i] + 1 : 0;
            seen[i] = n;
            if (idle_s[i] < STUCK_S)
                continue;
            fprintf(stderr, "# caller %d has had no answer for %d s\n", i, STUCK_S);
            abort();
        }
    }
}

static void *alarm_main(void *arg) {
    (void)arg;
    for (int s = 0; s < STUCK_S * 2; s++) {
        rest(999999);
        if (atomic_load(&is_unpolled))
            return NULL;
    }
    fprintf(stderr, "# it does not come to an end\n");
    abort();
}

static void many_threads_share_clients_where_etcd_is_in_trouble(void) {
    threaded_sim_start(11);
    struct caller opener = {.party = &many, .is_polling = true};
    open_party(&many, &opener);
    struct caller other = {.party = &single, .is_polling = true};
    open_party(&single, &other);
    CHECK(pthread_create(&many.poller, NULL, poller_main, &many) == 0);
    threaded_sim_trouble(true);
    for (int i = 0; i <= CALLERS; i++) {
        struct caller *caller = &callers[i];
        caller->party = i < CALLERS ? &many : &single;
        caller->is_polling = i == CALLERS;
        caller->seed = (uint64_t)i + 1;
        CHECK(pthread_create(&caller->thread, NULL, caller_main, caller) == 0);
    }
    watch_over(SECONDS);
    threaded_sim_trouble(false);
    atomic_store(&is_stopping, true);
    pthread_t alarm;
    CHECK(pthread_create(&alarm, NULL, alarm_main, NULL) == 0);
    unsigned long n_done = 0;
    for (int i = 0; i <= CALLERS; i++) {
        (void)pthread_join(callers[i].thread, NULL);
        n_done += atomic_load(&callers[i].n_done);
    }
    atomic_store(&is_unpolled, true);
    (void)pthread_join(many.poller, NULL);
    (void)pthread_join(alarm, NULL);
    close_party(&many, &opener);
    close_party(&single, &other);
    const char *left = threaded_sim_stop();
    if (left)
        fail(left);
    printf(
        "# %lu answers, %d locks, %d terms, %d cancelled, %d timed out, %d sessions lost or closed, %ld looks\n",
        n_done, atomic_load(&n_wins), atomic_load(&n_terms), atomic_load(&n_cancelled),
        atomic_load(&n_timeouts), atomic_load(&n_lost), atomic_load(&n_asked));
    CHECK(atomic_load(&n_failures) == 0);
    CHECK(atomic_load(&n_wins) > SECONDS && atomic_load(&n_terms) > 0);
}

int main(void) {
    RUN(many_threads_share_clients_where_etcd_is_in_trouble);
    return check_end();
}
