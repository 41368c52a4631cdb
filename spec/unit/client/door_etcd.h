/* spec/unit/client/door_etcd.h - a C program of liblunarch's, and the real etcd it talks to: opening, asking, awaiting. */
#ifndef LUN_UNIT_DOOR_ETCD_H
#define LUN_UNIT_DOOR_ETCD_H

#include <inttypes.h>
#include <unistd.h>

#include "check.h"
#include "etcd_server.h"
#include "lunarch.h"

enum { LIMIT_MS = 60000 };

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

static inline void on_done(void *arg, const struct lun_result *result) {
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

static inline struct lun_ask asking(struct answer *answer, int64_t timeout_ms) {
    *answer = (struct answer){.is_there = false};
    return (struct lun_ask){timeout_ms, on_done, answer};
}

static inline void on_trace(void *arg, const char *line) {
    (void)arg;
    fprintf(stderr, "# %s\n", line);
}

static inline bool await_answer(struct lun_client *client, const struct answer *answer) {
    int64_t until = lun_now_ns() + LIMIT_MS * INT64_C(1000000);
    while (!answer->is_there && lun_now_ns() < until)
        lun_client_poll(client, 100);
    return answer->is_there;
}

/* Asks by `call`, in which `ask` asks for `answer`; it comes later. */
#define BEGIN(answer, timeout_ms, call)                                                                      \
    do {                                                                                                     \
        struct lun_ask ask = asking(&(answer), timeout_ms);                                                  \
        CHECK((call) == 0);                                                                                  \
    } while (0)
/* The same, and awaits the answer. */
#define GET(client, answer, call)                                                                            \
    do {                                                                                                     \
        BEGIN(answer, LIMIT_MS, call);                                                                       \
        CHECK(await_answer(client, &(answer)));                                                              \
    } while (0)

static inline struct lun_client *open_client(void) {
    const char *endpoints[] = {endpoint};
    struct lun_config config = {
        .endpoints = endpoints, .n_endpoints = 1, .name = "tester", .on_trace = is_traced ? on_trace : NULL};
    struct lun_client *client = NULL;
    struct lun_err err;
    if (lun_client_open(&config, &client, &err))
        check_fail(__FILE__, __LINE__, err.text);
    return client;
}

static inline struct lun_session *open_session(struct lun_client *client, int64_t ttl_s) {
    struct answer answer;
    struct lun_session_options options = {.ttl_s = ttl_s, .grace_ms = -1};
    GET(client, answer, lun_session_open(client, &options, &ask, NULL, NULL));
    CHECK_TEXT(answer.text, "");
    return answer.session;
}

static inline struct lun_mutex *new_mutex(struct lun_session *session, const char *name) {
    struct lun_mutex *mutex = NULL;
    CHECK(lun_mutex_new(session, name, false, &mutex, NULL) == 0);
    return mutex;
}

static inline struct answer put(struct lun_client *client, const char *key, const char *value) {
    struct answer answer;
    struct lun_kv_op op = {.kind = LUN_OP_PUT, .key = lun_bytes_of(key), .value = lun_bytes_of(value)};
    GET(client, answer, lun_kv(client, &op, &ask, NULL, NULL));
    return answer;
}

static inline struct answer get(struct lun_client *client, const char *key) {
    struct answer answer;
    struct lun_kv_op op = {.kind = LUN_OP_RANGE, .key = lun_bytes_of(key)};
    GET(client, answer, lun_kv(client, &op, &ask, NULL, NULL));
    return answer;
}

static inline int64_t count_under(struct lun_client *client, const char *prefix) {
    struct answer answer;
    char end[128];
    snprintf(end, sizeof end, "%s", prefix);
    end[strlen(end) - 1]++;
    struct lun_kv_op op = {.kind = LUN_OP_RANGE,
                           .key = lun_bytes_of(prefix),
                           .range_end = lun_bytes_of(end),
                           .is_count_only = true};
    GET(client, answer, lun_kv(client, &op, &ask, NULL, NULL));
    return answer.count;
}

static inline void close_client(struct lun_client *client) {
    struct answer answer;
    GET(client, answer, lun_client_close(client, &ask, NULL, NULL));
    CHECK(answer.code == 0);
    lun_client_free(client);
}

static inline struct lun_election *new_election(struct lun_session *session, const char *name) {
    struct lun_election *election = NULL;
    CHECK(lun_election_new(session, name, &election, NULL) == 0);
    return election;
}

static inline struct lun_term *win(struct lun_client *client, struct lun_election *election) {
    struct answer answer;
    GET(client, answer, lun_election_campaign(election, lun_bytes_of("A"), &ask, NULL, NULL));
    CHECK_TEXT(answer.text, "");
    return answer.term;
}

static inline void lock(struct lun_client *client, struct lun_mutex *mutex) {
    struct answer answer;
    GET(client, answer, lun_mutex_lock(mutex, &ask, NULL, NULL));
    CHECK_TEXT(answer.text, "");
}

/* Whatever comes up within so long. */
static inline void poll_for(struct lun_client *client, int64_t ms) {
    int64_t until = lun_now_ns() + ms * INT64_C(1000000);
    while (lun_now_ns() < until)
        lun_client_poll(client, 10);
}

/* Whether the stories can be told: 0, or what the program is to exit with. Any argument: what happens is traced. */
static inline int begin(int argc) {
    is_traced = argc > 1;
    if (!etcd_program())
        return check_skip("there is no etcd: set ETCD to the program");
    if (!etcd_server_start(&server))
        check_give_up(__FILE__, __LINE__, "etcd does not start");
    snprintf(endpoint, sizeof endpoint, "127.0.0.1:%d", server.port);
    return 0;
}

static inline int end(void) {
    etcd_server_stop(&server);
    return check_end();
}

#endif
