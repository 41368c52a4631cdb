/* spec/bench/shared/door.c - see door.h. */
#include "shared/door.h"

#include <stdio.h>
#include <stdlib.h>

#include "shared/figures.h"

struct lun_client *client;

static void on_done(void *arg, const struct lun_result *result) {
    struct answer *answer = arg;
    if (result->err)
        fail(result->err->text);
    answer->is_there = true;
    answer->session = result->session;
    answer->count = result->n_results > 0 ? result->results[0].count : 0;
    answer->at = now_us();
}

struct lun_ask asking(struct answer *answer) {
    *answer = (struct answer){.is_there = false};
    return (struct lun_ask){-1, on_done, answer};
}

void await_answer(const struct answer *answer) {
    while (!answer->is_there)
        (void)lun_client_poll(client, -1);
}

void check(int rc) {
    if (rc)
        fail(lun_strerror(rc));
}

void poll_for_ms(int ms) {
    for (double end = now_us() + ms * 1e3, left; (left = end - now_us()) > 0;)
        (void)lun_client_poll(client, (int64_t)(left / 1e3) + 1);
}

void connect_to(const char *endpoint) {
    struct lun_config config = {.endpoints = &endpoint,
                                .n_endpoints = 1,
                                .name = "bench",
                                .cacert = getenv("LUNARCH_CACERT"),
                                .cert = getenv("LUNARCH_CERT"),
                                .key = getenv("LUNARCH_KEY")};
    check(lun_client_open(&config, &client, NULL));
}

void disconnect(void) {
    struct answer answer;
    struct lun_ask ask = asking(&answer);
    check(lun_client_close(client, &ask, NULL, NULL));
    await_answer(&answer);
    lun_client_free(client);
}

struct lun_session *session_open(void) {
    struct answer answer;
    struct lun_ask ask = asking(&answer);
    struct lun_session_options options = {.ttl_s = 60, .grace_ms = -1};
    check(lun_session_open(client, &options, &ask, NULL, NULL));
    await_answer(&answer);
    return answer.session;
}

struct lun_mutex *mutex_new(struct lun_session *session, const char *name) {
    struct lun_mutex *mutex;
    check(lun_mutex_new(session, name, false, &mutex, NULL));
    return mutex;
}

void lock(struct lun_mutex *mutex) {
    struct answer answer;
    struct lun_ask ask = asking(&answer);
    check(lun_mutex_lock(mutex, &ask, NULL, NULL));
    await_answer(&answer);
}

void unlock(struct lun_mutex *mutex) {
    struct answer answer;
    struct lun_ask ask = asking(&answer);
    check(lun_mutex_unlock(mutex, &ask, NULL, NULL));
    await_answer(&answer);
}

int64_t count_standing(const char *name) {
    char prefix[96], end[96];
    struct answer answer;
    struct lun_ask ask = asking(&answer);
    (void)snprintf(prefix, sizeof prefix, "%s/", name);
    (void)snprintf(end, sizeof end, "%s0", name);
    struct lun_kv_op count = {.kind = LUN_OP_RANGE,
                              .key = lun_bytes_of(prefix),
                              .range_end = lun_bytes_of(end),
                              .is_count_only = true};
    check(lun_kv(client, &count, &ask, NULL, NULL));
    await_answer(&answer);
    return answer.count;
}
