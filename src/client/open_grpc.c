/* client/open_grpc.c - clients in the real world: opened on gRPC, on the machine's clock, and the list of those that
 * nobody closed. What is simulated brings a file of its own in place of this one. */
#include <pthread.h>

#include "base/clock.h"
#include "base/fork.h"
#include "client/check.h"
#include "client/client.h"
#include "rpc/grpc.h"

#define ABANDONED_MS 5000
#define SLICE_NS (20 * NS_PER_MS)

int64_t lun_now_ns(void) {
    return clock_boottime_ns();
}

static pthread_mutex_t abandoned_lock = PTHREAD_MUTEX_INITIALIZER;
static struct list abandoned = {&abandoned, &abandoned};

void lun_client_abandon(struct lun_client *client) {
    if (!client || client->fork_depth != fork_depth())
        return;
    client_dismiss(client, ABANDONED_MS);
    pthread_mutex_lock(&abandoned_lock);
    list_push_back(&abandoned, &client->in_abandoned);
    pthread_mutex_unlock(&abandoned_lock);
}

/* Takes out the first abandoned client, or the first that has ended; of this process. */
static struct lun_client *take_abandoned(bool is_ended_only) {
    struct lun_client *found = NULL;
    pthread_mutex_lock(&abandoned_lock);
    for (struct list *node = abandoned.next; node != &abandoned && !found; node = node->next) {
        struct lun_client *client = CONTAINER_OF(node, struct lun_client, in_abandoned);
        if (client->fork_depth == fork_depth() && (!is_ended_only || client_is_over(client)))
            found = client;
    }
    if (found)
        list_remove(&found->in_abandoned);
    pthread_mutex_unlock(&abandoned_lock);
    return found;
}

static void reap_abandoned(void) {
    struct lun_client *client;
    while ((client = take_abandoned(true)))
        lun_client_free(client);
}

static int open_rpc(const struct lun_config *config, struct rpc **ret_rpc, struct lun_err *ret_err) {
    bool is_tls = false;
    int rc = config ? check_tls(config, &is_tls, ret_err) : 0;
    if (rc || !is_tls)
        return rc ? rc : rpc_grpc_new(NULL, ret_rpc, ret_err);
    struct rpc_tls tls = {.is_unverified = config->insecure_skip_tls_verify};
#define TAKE(field) tls.field = config->field;
    RPC_TLS_STRINGS(TAKE)
#undef TAKE
    return rpc_grpc_new(&tls, ret_rpc, ret_err);
}

int lun_client_open(const struct lun_config *config, struct lun_client **ret_client,
                    struct lun_err *ret_err) {
    reap_abandoned();
    struct rpc *rpc;
    int rc = check_config(config, ret_err);
    if (rc)
        return rc;
    rc = open_rpc(config, &rpc, ret_err);
    if (!rc && (rc = client_open_on(rpc, config, ret_client, ret_err)))
        rpc_free(rpc);
    return rc;
}

void lun_shutdown(int64_t timeout_ms) {
    bool is_endless = timeout_ms < 0 || timeout_ms > RPC_NEVER / (2 * NS_PER_MS);
    int64_t until_ns = is_endless ? RPC_NEVER : clock_boottime_ns() + timeout_ms * NS_PER_MS;
    struct lun_client *client;
    while ((client = take_abandoned(false))) {
        int64_t now_ns = clock_boottime_ns();
        while (!client_is_over(client) && now_ns < until_ns) {
            int64_t slice_ns = until_ns - now_ns < SLICE_NS ? until_ns - now_ns : SLICE_NS;
            (void)rpc_poll(client->rpc, now_ns + slice_ns);
            now_ns = clock_boottime_ns();
        }
        lun_client_free(client);
    }
}
