/* spec/unit/client/tale.c - see tale.h. */
#include "tale.h"

#include <stdio.h>
#include <stdlib.h>

#include "client/client.h"
#include "starve.h"

enum { PAUSE_MS = 100, FAMINE_MS = 2000, MOST_PAUSES = 200, MOST_STEPS = 2000000 };

struct tale *tale;
void (*tale_on_failure)(const char *file, int line, const char *what);
static int n_pauses;

/* ---- belief ----------------------------------------------------------------------------------------- */

static void on_delete(void *arg, const struct sim_kv *kv, enum sim_cause cause) {
    (void)arg, (void)kv;
    tale->is_changed = true;
    tale->is_robbed |= cause == SIM_BY_OPERATOR;
}

static void on_put(void *arg, const char *key, const char *value) {
    (void)arg, (void)key, (void)value;
    tale->n_puts++;
    tale->is_changed = true;
}

static int64_t token_of(const struct believer *believer) {
    if (believer->mutex)
        return lun_mutex_is_held(believer->mutex) ? lun_mutex_token(believer->mutex) : 0;
    bool is_valid = believer->term && lun_term_valid_until_ns(believer->term) != 0;
    return is_valid ? lun_term_token(believer->term) : 0;
}

static void check_beliefs(void) {
    tale->is_changed = false;
    for (size_t i = 0; i < TALE_BELIEVERS && !tale->is_robbed; i++) {
        const struct believer *believer = &tale->believers[i];
        int64_t token = token_of(believer);
        if (token == 0)
            continue;
        const struct sim_kv *first = sim_first(tale->sim, believer->prefix);
        if (!first || first->create_rev != token)
            tale_on_failure(__FILE__, __LINE__, "somebody believes to own who does not stand first");
    }
}

void tale_believe(struct lun_mutex *mutex, struct lun_term *term, const char *name) {
    for (size_t i = 0; i < TALE_BELIEVERS; i++) {
        struct believer *believer = &tale->believers[i];
        if (believer->mutex || believer->term)
            continue;
        believer->mutex = mutex;
        believer->term = term;
        (void)snprintf(believer->prefix, sizeof believer->prefix, "%s/", name);
        return;
    }
    tale_on_failure(__FILE__, __LINE__, "too many believers");
}

void tale_disbelieve(const void *of) {
    for (size_t i = 0; i < TALE_BELIEVERS; i++) {
        struct believer *believer = &tale->believers[i];
        if (of && (believer->mutex == of || believer->term == of))
            *believer = (struct believer){.mutex = NULL};
    }
}

/* ---- time ------------------------------------------------------------------------------------------- */

/* Memory is short for a while only. */
static void end_famine(struct sim_event *event) {
    (void)event;
    starve_end_famine();
}

static void step(void) {
    sim_step(tale->sim);
    if (starve_has_refused() && !tale->famine_end.run) {
        tale->famine_end.run = end_famine;
        sim_at(tale->sim, &tale->famine_end, sim_now(tale->sim) + FAMINE_MS * NS_PER_MS);
    }
    if (tale->is_changed)
        check_beliefs();
}

void tale_pass(int64_t ms) {
    int64_t until = sim_now(tale->sim) + ms * NS_PER_MS;
    while (sim_now(tale->sim) < until)
        step();
}

void tale_await(struct answer *answer) {
    int64_t until = sim_now(tale->sim) + TALE_PATIENCE_MS * NS_PER_MS;
    while (answer->rc == 0 && answer->n_times == 0 && sim_now(tale->sim) < until)
        step();
    if (answer->rc == 0 && answer->n_times == 0)
        tale_on_failure(__FILE__, __LINE__, "a call is not answered");
    if (answer->rc)
        answer->code = answer->rc;
}

/* The simulator polls for its clients; whoever waits here waits for the world to go on. (See --wrap.) */
int __real_rpc_poll(struct rpc *rpc, int64_t until_ns);
int __wrap_rpc_poll(struct rpc *rpc, int64_t until_ns);
int __wrap_rpc_poll(struct rpc *rpc, int64_t until_ns) {
    static int n_steps;
    if (until_ns == 0) {
        n_steps = 0;
        return __real_rpc_poll(rpc, 0);
    }
    if (++n_steps > MOST_STEPS) {
        tale_on_failure(__FILE__, __LINE__, "a client that was freed does not end");
        abort();
    }
    step();
    return 0;
}

/* ---- asking ----------------------------------------------------------------------------------------- */

static void on_done(void *arg, const struct lun_result *result) {
    struct answer *answer = arg;
    answer->n_times++;
    answer->code = result->err ? result->err->code : 0;
    (void)snprintf(answer->text, sizeof answer->text, "%s", result->err ? result->err->text : "");
    answer->session = result->session;
    answer->term = result->term;
    answer->token = result->token;
    answer->revision = result->revision;
    answer->lease = result->lease;
    answer->ttl_s = result->ttl_s;
    answer->is_success = result->is_success;
    answer->has_leader = result->leader != NULL;
    answer->n_results = result->n_results;
    answer->n_events = result->n_events;
    answer->n_members = result->n_members;
    answer->reason = result->reason;
    answer->state = result->state;
    struct lun_bytes value = {"", 0};
    if (result->leader)
        value = result->leader->value;
    else if (result->n_results > 0 && result->results[0].n_kvs > 0)
        value = result->results[0].kvs[0].value;
    else if (result->n_events > 0)
        value = result->events[result->n_events - 1].kv.value;
    if (result->n_results > 0)
        answer->count = result->results[0].count;
    (void)snprintf(answer->value, sizeof answer->value, "%.*s", (int)value.len, (const char *)value.data);
}

struct answer *tale_answer(void) {
    if (tale->n_answers == TALE_ANSWERS) {
        tale_on_failure(__FILE__, __LINE__, "too many calls for one story");
        abort();
    }
    return &tale->answers[tale->n_answers++];
}

struct lun_ask tale_ask(struct answer *answer, int64_t timeout_ms) {
    return (struct lun_ask){timeout_ms, on_done, answer};
}

bool tale_shall_ask_again(int code) {
    if (code != LUN_ENOMEM)
        return false;
    if (!starve_has_refused())
        tale_on_failure(__FILE__, __LINE__, "out of memory although none was refused");
    if (++n_pauses > MOST_PAUSES) {
        tale_on_failure(__FILE__, __LINE__, "out of memory for ever");
        return false;
    }
    tale_pass(PAUSE_MS);
    return true;
}

void tale_is_fine(const char *file, int line, const struct answer *answer) {
    if (answer->code == 0)
        return;
    tale_on_failure(file, line, "answered with an error");
    printf("#   %s: %s\n", lun_strerror_name(answer->code), answer->text);
}

/* ---- beginning and end ------------------------------------------------------------------------------ */

static struct tale the_tale;

void tale_begin(uint64_t seed) {
    static const struct sim_watcher watcher = {.on_delete = on_delete, .on_put = on_put};
    tale = &the_tale;
    *tale = (struct tale){.sim = sim_new(seed)};
    n_pauses = 0;
    sim_look_on(tale->sim, &watcher);
    for (int i = 0; i < TALE_PARTIES; i++)
        tale->parties[i].sim = sim_client_new(tale->sim, i ? "other" : "one", 0);
}

static void check_answers(void) {
    for (size_t i = 0; i < tale->n_answers; i++) {
        const struct answer *answer = &tale->answers[i];
        if (answer->n_times > 1 || (answer->rc != 0 && answer->n_times > 0))
            tale_on_failure(__FILE__, __LINE__, "answered more often than asked");
        if (answer->rc == 0 && answer->n_times == 0 && !tale->is_cut_off)
            tale_on_failure(__FILE__, __LINE__, "asked and never answered");
    }
}

static void check_leftovers(const struct sim_client *client) {
    const char *left = sim_client_leftovers(client);
    if (left)
        tale_on_failure(__FILE__, __LINE__, left);
}

void tale_end(void) {
    starve_end();
    check_answers();
    /* What could not be revoked has lapsed by then. */
    tale_pass((TALE_TTL_S + 3) * 1000);
    TALE_CHECK(sim_n_leases(tale->sim) == 0);
    for (size_t i = 0; i < sim_n_kvs(tale->sim); i++)
        TALE_CHECK(sim_kv_at(tale->sim, i)->lease == 0);
    for (int i = 0; i < TALE_PARTIES; i++)
        check_leftovers(tale->parties[i].sim);
    for (size_t i = 0; i < tale->n_further; i++)
        check_leftovers(tale->further[i]);
    sim_free(tale->sim);
    TALE_CHECK(starve_n_live() == 0);
    tale = NULL;
}

struct sim_client *tale_another(void) {
    if (tale->n_further == TALE_FURTHER) {
        tale_on_failure(__FILE__, __LINE__, "too many clients for one story");
        abort();
    }
    return tale->further[tale->n_further++] = sim_client_new(tale->sim, "further", 0);
}

static void on_trace(void *arg, const char *line) {
    (void)arg;
    if (getenv("TALE_TRACE"))
        printf("# %.3f %s\n", (double)sim_now(tale->sim) / (double)NS_PER_S, line);
}

struct lun_client *tale_open(int i) {
    static const char *const names[] = {"one", "other"};
    struct party *party = &tale->parties[i];
    struct lun_config config = {.endpoints = sim_addresses,
                                .n_endpoints = SIM_MEMBERS,
                                .name = names[i],
                                .on_trace = on_trace,
                                .only_given_endpoints = true};
    struct lun_err err;
    int rc;
    do {
        rc = client_open_on(sim_client_rpc(party->sim), &config, &party->client, &err);
        if (rc)
            TALE_CHECK(err.code == rc && sim_client_leftovers(party->sim) == NULL);
    } while (tale_shall_ask_again(rc));
    TALE_CHECK(rc == 0);
    return party->client;
}

void tale_free(int i) {
    struct party *party = &tale->parties[i];
    lun_client_free(party->client);
    party->client = NULL;
}

void tale_close(int i) {
    struct lun_client *client = tale->parties[i].client;
    struct answer *answer;
    GET(answer, 30000, lun_client_close(client, &ask, &a->op, NULL));
    FINE(answer);
    tale_free(i);
}

struct lun_session *tale_session(int i) {
    struct lun_session_options options = {.ttl_s = TALE_TTL_S, .grace_ms = -1};
    struct answer *answer;
    GET(answer, 30000, lun_session_open(tale->parties[i].client, &options, &ask, &a->op, NULL));
    FINE(answer);
    return answer->session;
}

void tale_close_session(struct lun_session *session) {
    struct answer *answer;
    int64_t lease = lun_session_lease(session);
    GET(answer, 30000, lun_session_close(session, true, &ask, &a->op, NULL));
    FINE(answer);
    TALE_CHECK(!sim_has_lease(tale->sim, lease));
    lun_session_free(session);
}

struct lun_mutex *tale_mutex(struct lun_session *session, const char *name) {
    struct lun_mutex *mutex = NULL;
    MAKE(lun_mutex_new(session, name, false, &mutex, NULL));
    tale_believe(mutex, NULL, name);
    return mutex;
}

void tale_mutex_free(struct lun_mutex *mutex) {
    tale_disbelieve(mutex);
    lun_mutex_free(mutex);
}

struct answer *tale_lock(struct lun_mutex *mutex) {
    struct answer *answer;
    GET(answer, TALE_PATIENCE_MS, lun_mutex_lock(mutex, &ask, &a->op, NULL));
    FINE(answer);
    TALE_CHECK(lun_mutex_is_held(mutex) && lun_mutex_token(mutex) == answer->token);
    return answer;
}

void tale_unlock(struct lun_mutex *mutex) {
    struct answer *answer;
    BEGIN(answer, TALE_PATIENCE_MS, lun_mutex_unlock(mutex, &ask, &a->op, NULL));
    tale_await(answer);
    if (answer->code != LUN_ENOMEM)
        FINE(answer);
    TALE_CHECK(!lun_mutex_is_held(mutex));
}
