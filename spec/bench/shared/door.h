/* spec/bench/shared/door.h - one client, by way of lunarch.h, and waiting for its answers. Whatever fails ends the
 * program. */
#ifndef LUN_BENCH_SHARED_DOOR_H
#define LUN_BENCH_SHARED_DOOR_H

#include <stdbool.h>

#include "lunarch.h"

extern struct lun_client *client;

/* host:port, or https://host:port: then LUNARCH_CACERT, and LUNARCH_CERT with LUNARCH_KEY, name files. */
void connect_to(const char *endpoint);
void disconnect(void);

struct answer {
    bool is_there;
    struct lun_session *session;
    int64_t count; /* of the first result */
    double at;     /* now_us() */
};

/* An asking without a limit, whose answer is awaited next. */
struct lun_ask asking(struct answer *answer);
void await_answer(const struct answer *answer);
void check(int rc);
void poll_for_ms(int ms);

/* With a TTL of 60 s. */
struct lun_session *session_open(void);
struct lun_mutex *mutex_new(struct lun_session *session, const char *name);
void lock(struct lun_mutex *mutex);
void unlock(struct lun_mutex *mutex);
/* How many places etcd has let into the line: a request in flight is no waiter. */
int64_t count_standing(const char *name);

#endif
