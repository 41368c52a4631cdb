/* client/client.c - a client: opening it, polling it, closing it, freeing it. The files of this floor stand in a circle, for one
 * reason: a client closes what was made of it, and that enters and leaves the core through it. */
#include <assert.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fork.h"
#include "client/check.h"
#include "client/client.h"

#define CUT_OFF_SLICE_NS (20 * NS_PER_MS)

/* ---- inside and outside ----------------------------------------------------------------------------- */

bool client_is_ours(const struct lun_client *client) {
    return client->fork_depth == fork_depth();
}

int client_enter_closed(struct lun_client *client) {
    if (!client_is_ours(client))
        return LUN_ECLOSED;
    rpc_enter(client->rpc);
    return 0;
}

int client_enter(struct lun_client *client, struct lun_err *ret_err) {
    if (client_enter_closed(client))
        return lun_err_set(
            ret_err, LUN_ECLOSED,
            "this client was opened before fork: open one of its own in the child (gRPC does not survive a fork)");
    if (!client->is_closing)
        return 0;
    rpc_leave(client->rpc);
    return lun_err_set(ret_err, LUN_ECLOSED, "the client is closed");
}

void client_leave(struct lun_client *client) {
    rpc_leave(client->rpc);
}

int64_t client_deadline_ns(const struct lun_client *client, int64_t timeout_ms) {
    bool is_none = timeout_ms < 0 || timeout_ms >= INT64_MAX / (2 * NS_PER_MS);
    return is_none ? RPC_NEVER : rpc_now(client->rpc) + timeout_ms * NS_PER_MS;
}

/* ---- trace ------------------------------------------------------------------------------------------ */

struct trace_entry {
    struct list in_client;
    bool is_warning;
    char line[];
};

static void keep_line(struct lun_client *client, const char *line, bool is_warning) {
    size_t n = strlen(line) + 1;
    struct trace_entry *entry =
        client->n_trace_lines < CLIENT_MAX_TRACE_LINES ? malloc(sizeof *entry + n) : NULL;
    if (!entry) {
        client->n_trace_dropped++;
        return;
    }
    memcpy(entry->line, line, n);
    entry->is_warning = is_warning;
    list_init(&entry->in_client);
    list_push_back(&client->trace_lines, &entry->in_client);
    client->n_trace_lines++;
    if (!client->is_cut_off)
        rpc_deliver(client->rpc, &client->trace_note);
}

static void on_trace_line(void *arg, const char *line) {
    keep_line(arg, line, false);
}

static void on_warning_line(void *arg, const char *line) {
    keep_line(arg, line, true);
}

/* Nobody is to be called any more. */
static void be_quiet(struct lun_client *client) {
    client->on_trace = client->on_warning = NULL;
    client->trace.on_line = client->warnings.on_line = NULL;
}

static void on_trace_poll(struct rpc_completion *note) {
    struct lun_client *client = CONTAINER_OF(note, struct lun_client, trace_note);
    struct list lines, *node;
    rpc_enter(client->rpc);
    list_move(&client->trace_lines, &lines);
    int n_dropped = client->n_trace_dropped;
    client->n_trace_lines = client->n_trace_dropped = 0;
    rpc_leave(client->rpc);
    while ((node = list_pop_front(&lines))) {
        struct trace_entry *entry = CONTAINER_OF(node, struct trace_entry, in_client);
        if (!client->is_cut_off) { /* freed or abandoned, by a callback too: nothing is called any more */
            client->n_called++;
            (entry->is_warning ? client->on_warning : client->on_trace)(client->trace_arg, entry->line);
        }
        free(entry);
    }
    if (!client->is_cut_off && n_dropped > 0 && client->on_trace) {
        char line[64];
        (void)snprintf(line, sizeof line, "(%d lines dropped: poll more often)", n_dropped);
        client->on_trace(client->trace_arg, line);
    }
}

/* ---- opening ---------------------------------------------------------------------------------------- */

static void on_close_timer(struct rpc_timer *timer);

static const char *const default_endpoints[] = {"127.0.0.1:2379"};

int lun_endpoints(const char *const *endpoints, size_t n_endpoints,
                  void (*on_endpoint)(void *arg, const char *text), void *arg, struct lun_err *ret_err) {
    struct endpoints found = {0};
    int rc = check_config(&(struct lun_config){.endpoints = endpoints, .n_endpoints = n_endpoints}, ret_err);
    if (!rc)
        rc = endpoints_parse(endpoints, n_endpoints, &found, ret_err);
    for (size_t i = 0; i < found.n && !rc; i++) {
        char text[ENDPOINT_ADDRESS_BYTES + 8];
        endpoint_write(&found.items[i], text, sizeof text);
        on_endpoint(arg, text);
    }
    return rc;
}

static int configure(struct etcd *etcd, const struct lun_config *config) {
    bool has_user = config->user && config->user[0] != '\0', is_tls = false;
    int rc = has_user ? etcd_set_user(etcd, config->user, config->password) : 0;
    if (!rc)
        rc = etcd_set_prefix(etcd, config->prefix);
    if (rc || check_tls(config, &is_tls, NULL))
        return rc;
    if (!config->only_given_endpoints)
        etcd_learn_members(etcd, is_tls);
    etcd_discover(etcd, is_tls);
    return 0;
}

static int start(struct lun_client *client, const struct lun_config *config, struct lun_err *ret_err) {
    bool has_endpoints = config && config->endpoints;
    rpc_enter(client->rpc);
    int rc = rpc_timer_init(client->rpc, &client->close_timer, on_close_timer);
    if (rc)
        (void)lun_err_set(ret_err, rc, "out of memory");
    else
        rc = etcd_new(client->rpc, has_endpoints ? config->endpoints : default_endpoints,
                      has_endpoints ? config->n_endpoints : 1, &client->trace, &client->etcd, ret_err);
    if (!rc && (rc = configure(client->etcd, config ? config : &(struct lun_config){0}))) {
        (void)lun_err_set(ret_err, rc, "out of memory");
        etcd_free(client->etcd);
    }
    if (!rc)
        etcd_set_warnings(client->etcd, &client->warnings);
    if (!rc)
        (void)etcd_survey(client->etcd); /* without memory for it: as each member comes to be asked */
    if (rc)
        rpc_timer_fini(&client->close_timer);
    rpc_leave(client->rpc);
    return rc;
}

static int fill(struct lun_client *client, const struct lun_config *config, struct lun_err *ret_err) {
    client->fork_depth = fork_depth();
    place_index_init(&client->places);
    list_init(&client->ops);
    list_init(&client->close_ops);
    list_init(&client->sessions);
    list_init(&client->observers);
    list_init(&client->watches);
    list_init(&client->trace_lines);
    list_init(&client->in_abandoned);
    rpc_completion_init(&client->trace_note, on_trace_poll);
    if (config && config->on_trace) {
        client->trace = (struct trace){on_trace_line, client};
        client->on_trace = config->on_trace;
    }
    if (config && config->on_warning) {
        client->warnings = (struct trace){on_warning_line, client};
        client->on_warning = config->on_warning;
    }
    client->trace_arg = config ? config->trace_arg : NULL;
    if (place_identity(&client->identity, config ? config->name : NULL))
        return lun_err_set(ret_err, LUN_ENOMEM, "out of memory");
    return 0;
}

int client_open_on(struct rpc *rpc, const struct lun_config *config, struct lun_client **ret_client,
                   struct lun_err *ret_err) {
    if (check_config(config, ret_err))
        return LUN_EINVALID;
    struct lun_client *client = calloc(1, sizeof *client);
    if (!client)
        return lun_err_set(ret_err, LUN_ENOMEM, "out of memory");
    client->rpc = rpc;
    int rc = fill(client, config, ret_err);
    if (!rc)
        rc = start(client, config, ret_err);
    if (rc) {
        bytes_fini(&client->identity);
        free(client);
        return rc;
    }
    *ret_client = client;
    return 0;
}

int lun_client_fd(const struct lun_client *client) {
    return client_is_ours(client) ? rpc_fd(client->rpc) : -1;
}

int lun_client_poll(struct lun_client *client, int64_t timeout_ms) {
    if (!client_is_ours(client))
        return LUN_ECLOSED;
    int64_t until_ns = timeout_ms == 0 ? 0 : client_deadline_ns(client, timeout_ms);
    client->n_called = 0;
    client->poller = pthread_self();
    client->is_polled = true;
    int rc = rpc_poll(client->rpc, until_ns);
    client->is_polled = false;
    if (client->n_called > 0)
        rc = client->n_called;
    else if (rc > 0)
        rc = 0;
    if (client->is_to_be_freed)
        lun_client_free(client);
    return rc;
}

/* ---- closing ---------------------------------------------------------------------------------------- */

static void cut_off_sessions(struct lun_client *client) {
    struct list todo, *node;
    list_move(&client->sessions, &todo);
    while ((node = list_pop_front(&todo))) {
        list_push_back(&client->sessions, node);
        session_cut_off(CONTAINER_OF(node, struct lun_session, in_client));
    }
}

static const struct ask_kind close_kind;

static void give_up_closing(struct lun_op *op, int code) {
    (void)code; /* cancelled: do not wait for etcd any more; it is answered when nothing is in flight */
    cut_off_sessions(op->client);
}

/* Everything but the closing itself. */
static void answer_all(struct lun_client *client, int code) {
    struct list todo, *node;
    list_move(&client->ops, &todo);
    while ((node = list_pop_front(&todo))) {
        struct lun_op *op = CONTAINER_OF(node, struct lun_op, in_client);
        list_push_back(&client->ops, node);
        if (op->kind != &close_kind)
            op->kind->on_give_up(op, code);
    }
}

static void on_etcd_closed(void *arg) {
    struct lun_client *client = arg;
    struct list *node;
    client->is_etcd_closed = true;
    while ((node = list_pop_front(&client->close_ops)))
        op_finish(CONTAINER_OF(node, struct lun_op, in_object), NULL);
}

void client_on_ended(struct lun_client *client) {
    if (!client->is_closing || !list_is_empty(&client->sessions) || !list_is_empty(&client->observers))
        return;
    rpc_timer_stop(&client->close_timer);
    etcd_close(client->etcd, on_etcd_closed, client);
}

static void on_close_timer(struct rpc_timer *timer) {
    cut_off_sessions(CONTAINER_OF(timer, struct lun_client, close_timer));
}

/* Sessions are closed as they would be, the rest at once. */
static void begin_closing(struct lun_client *client, int64_t timeout_ms) {
    struct list *node, todo;
    client->is_closing = true;
    answer_all(client, LUN_ECLOSED);
    list_move(&client->observers, &todo);
    while ((node = list_pop_front(&todo))) {
        list_push_back(&client->observers, node);
        observer_cut_off(observer_of_client(node));
    }
    while (!list_is_empty(&client->watches))
        watch_cut_off(watch_of_client(client->watches.next));
    list_move(&client->sessions, &todo);
    while ((node = list_pop_front(&todo))) {
        struct lun_session *session = CONTAINER_OF(node, struct lun_session, in_client);
        list_push_back(&client->sessions, node);
        session_close(&session->core, !session->core.is_adopted);
    }
    client->close_until_ns = client_deadline_ns(client, timeout_ms);
    rpc_timer_start(&client->close_timer, client->close_until_ns);
    client_on_ended(client);
}

/* Closing goes on: the earlier of two limits counts. */
static void hurry_closing(struct lun_client *client, int64_t timeout_ms) {
    int64_t until_ns = client_deadline_ns(client, timeout_ms);
    if (until_ns < client->close_until_ns) {
        client->close_until_ns = until_ns;
        rpc_timer_start(&client->close_timer, until_ns);
    }
}

static int start_closing(struct lun_op *op, const void *args, struct lun_err *ret_err) {
    struct lun_client *client = op->client;
    (void)args;
    (void)ret_err;
    if (client->is_etcd_closed) {
        op_finish(op, NULL);
        return 0;
    }
    list_push_back(&client->close_ops, &op->in_object);
    if (client->is_closing)
        hurry_closing(client, op->ask.timeout_ms);
    else
        begin_closing(client, op->ask.timeout_ms);
    return 0;
}

static const struct ask_kind close_kind = {
    .start = start_closing, .on_give_up = give_up_closing, .has_own_deadline = true, .is_for_closed = true};

int lun_client_close(struct lun_client *client, const struct lun_ask *ask, struct lun_op **ret_op,
                     struct lun_err *ret_err) {
    return client_ask(client, &close_kind, client, NULL, ask, ret_op, ret_err);
}

/* ---- ending ----------------------------------------------------------------------------------------- */

static void finish_free(struct lun_client *client) {
    struct list *node;
    rpc_enter(client->rpc);
    rpc_withdraw(client->rpc, &client->trace_note);
    rpc_timer_fini(&client->close_timer);
    etcd_free(client->etcd);
    place_index_fini(&client->places);
    rpc_leave(client->rpc);
    rpc_free(client->rpc);
    while ((node = list_pop_front(&client->trace_lines)))
        free(CONTAINER_OF(node, struct trace_entry, in_client));
    bytes_fini(&client->identity);
    free(client);
}

/* Ends it, without callbacks, and without waiting for etcd. Inside. */
static void cut_off(struct lun_client *client) {
    client->is_cut_off = true;
    if (!client->is_closing)
        begin_closing(client, 0);
    cut_off_sessions(client);
}

void lun_client_free(struct lun_client *client) {
    if (!client || !client_is_ours(client))
        return;
    rpc_enter(client->rpc);
    be_quiet(client);
    cut_off(client);
    rpc_leave(client->rpc);
    client->is_to_be_freed = client->is_polled && pthread_equal(client->poller, pthread_self());
    if (client->is_to_be_freed)
        return;
    /* What was answered before is still in the inbox; nobody is to be called any more. */
    while (!client_is_over(client))
        (void)rpc_poll(client->rpc, rpc_now(client->rpc) + CUT_OFF_SLICE_NS);
    (void)rpc_poll(client->rpc, 0);
    finish_free(client);
}

void client_dismiss(struct lun_client *client, int64_t timeout_ms) {
    rpc_enter(client->rpc);
    be_quiet(client);
    client->is_cut_off = true;
    if (!client->is_closing)
        begin_closing(client, timeout_ms);
    rpc_leave(client->rpc);
}

bool client_is_over(struct lun_client *client) {
    rpc_enter(client->rpc);
    bool is_over = client->is_etcd_closed;
    rpc_leave(client->rpc);
    return is_over;
}
