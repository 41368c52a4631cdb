/* client/session.c - sessions, as lunarch.h shows them. */
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "client/check.h"
#include "client/client.h"

void session_ref(struct lun_session *session) {
    (void)atomic_fetch_add(&session->n_refs, 1);
}

void session_unref(struct lun_session *session) {
    unsigned before = atomic_fetch_sub(&session->n_refs, 1);
    assert(before > 0);
    if (before != 1)
        return;
    rpc_validity_unshare(&session->core.validity);
    free(session);
}

void session_cut_off(struct lun_session *session) {
    session_kill(&session->core);
}

/* ---- what the machine tells ------------------------------------------------------------------------- */

static struct lun_session *session_of(struct session *core) {
    return CONTAINER_OF(core, struct lun_session, core);
}

static void on_opened(struct session *core, const struct lun_err *err) {
    struct lun_session *session = session_of(core);
    struct lun_op *op = session->open_op;
    session->open_op = NULL;
    if (!op)
        return; /* given up before */
    if (!err) {
        op->result.session = session;
        session_ref(session); /* the user's */
        session->is_wanted = true;
    }
    op_finish(op, err);
    if (err)
        session_close(core, true);
}

static void on_state(struct session *core) {
    struct lun_session *session = session_of(core);
    struct list todo, *node;
    list_move(&session->state_ops, &todo);
    while ((node = list_pop_front(&todo))) {
        struct lun_op *op = CONTAINER_OF(node, struct lun_op, in_object);
        op->result.state = session_state(core);
        op->result.reason = core->reason;
        op_finish(op, NULL);
    }
}

static void on_ended(struct session *core) {
    struct lun_session *session = session_of(core);
    struct list *node;
    while (!list_is_empty(&session->close_ops)) {
        node = list_pop_front(&session->close_ops);
        op_finish(CONTAINER_OF(node, struct lun_op, in_object), NULL);
    }
    session->is_ended = true;
    list_remove(&session->in_client);
    struct lun_client *client = session->client;
    session_unref(session);
    client_on_ended(client);
}

static void on_renewed(struct session *core) {
    ensure_on_renewed(session_of(core));
}

static const struct session_callbacks callbacks = {on_opened, on_state, on_ended, on_renewed};

/* ---- opening ---------------------------------------------------------------------------------------- */

static void give_up_opening(struct lun_op *op, int code) {
    struct lun_session *session = op->object;
    session->open_op = NULL;
    op_fail_silent(op, "session", code);
    session_close(&session->core, !session->core.is_adopted);
}

/* Opened, but nobody came to take it. Inside. */
static void drop_session(struct lun_op *op) {
    struct lun_session *session = op->result.session;
    if (!session->is_ended)
        session_close(&session->core, !session->core.is_adopted);
    session_unref(session);
}

/* Asked when the session is taken. */
static int recheck_opened(const struct lun_op *op, struct lun_err *ret_err) {
    struct lun_session *session = op->result.session;
    if (session_valid_until_ns(&session->core) != 0)
        return 0;
    return lun_err_set(ret_err, LUN_ELOST, "session: it was opened, and lost before the answer was taken: %s",
                       lun_reason_name(session_reason(&session->core)));
}

static int start_opening(struct lun_op *op, const void *args, struct lun_err *ret_err) {
    const struct lun_session_options *options = args;
    struct lun_client *client = op->client;
    struct lun_session *session = calloc(1, sizeof *session);
    if (!session)
        return lun_err_set(ret_err, LUN_ENOMEM, "out of memory");
    struct session_options core_options = {.ttl_s = options->ttl_s ? options->ttl_s : SESSION_DEFAULT_TTL_S,
                                           .grace_ns =
                                               options->grace_ms < 0 ? -1 : options->grace_ms * NS_PER_MS,
                                           .lease = options->lease,
                                           .index = &client->places};
    session->client = client;
    session->n_refs = 1; /* the machine's */
    session->open_op = op;
    list_init(&session->in_client);
    list_init(&session->close_ops);
    list_init(&session->state_ops);
    list_init(&session->ensure_ops);
    int rc = session_start(&session->core, client->etcd, &core_options, &callbacks, ret_err);
    if (rc) {
        free(session);
        return rc;
    }
    op->object = session;
    op->recheck = recheck_opened;
    op->drop = drop_session;
    list_push_back(&client->sessions, &session->in_client);
    return 0;
}

int lun_session_open(struct lun_client *client, const struct lun_session_options *options,
                     const struct lun_ask *ask, struct lun_op **ret_op, struct lun_err *ret_err) {
    static const struct lun_session_options defaults = {.grace_ms = -1};
    static const struct ask_kind kind = {.start = start_opening, .on_give_up = give_up_opening};
    if (!options)
        options = &defaults;
    if (options->lease < 0)
        return check_lease(options->lease, "session", ret_err);
    if (options->grace_ms > SESSION_MAX_TTL_S * INT64_C(1000))
        return lun_err_set(ret_err, LUN_EINVALID, "session: a grace of %" PRId64 " ms is longer than any TTL",
                           options->grace_ms);
    return client_ask(client, &kind, NULL, options, ask, ret_op, ret_err);
}

/* ---- closing ---------------------------------------------------------------------------------------- */

static void give_up_closing(struct lun_op *op, int code) {
    char span[32];
    if (code == LUN_ETIMEOUT)
        (void)op_fail(
            op, LUN_ETIMEOUT,
            "session: close: etcd did not answer within %s; the lease is revoked in the background, or lapses",
            op_span(op, span, sizeof span));
    else
        (void)op_fail(op, code, "session: close: %s", lun_strerror(code));
}

static int start_closing(struct lun_op *op, const void *args, struct lun_err *ret_err) {
    struct lun_session *session = op->object;
    const bool *is_revoked = args;
    (void)ret_err;
    if (session->is_ended) {
        op_finish(op, NULL);
    } else {
        list_push_back(&session->close_ops, &op->in_object);
        session_close(&session->core, *is_revoked || !session->core.is_adopted);
    }
    return 0;
}

int lun_session_close(struct lun_session *session, bool is_revoked, const struct lun_ask *ask,
                      struct lun_op **ret_op, struct lun_err *ret_err) {
    static const struct ask_kind kind = {
        .start = start_closing, .on_give_up = give_up_closing, .is_for_closed = true};
    return client_ask(session->client, &kind, session, &is_revoked, ask, ret_op, ret_err);
}

int lun_session_orphan(struct lun_session *session, struct lun_err *ret_err) {
    int rc = client_enter(session->client, ret_err);
    if (rc)
        return rc;
    if (!session->is_ended)
        session_orphan(&session->core);
    client_leave(session->client);
    return 0;
}

void lun_session_free(struct lun_session *session) {
    if (!session || client_enter_closed(session->client))
        return;
    struct lun_client *client = session->client;
    ops_give_up(&session->state_ops, LUN_ECLOSED);
    if (!session->is_ended)
        session_close(&session->core, !session->core.is_adopted);
    session_unref(session);
    client_leave(client);
}

/* ---- questions -------------------------------------------------------------------------------------- */

static void give_up_awaiting(struct lun_op *op, int code) {
    (void)op_fail(op, code, "session: await: %s", lun_strerror(code));
}

static int start_awaiting(struct lun_op *op, const void *args, struct lun_err *ret_err) {
    struct lun_session *session = op->object;
    const enum lun_session_state *known = args;
    (void)ret_err;
    op->result.state = session_state(&session->core);
    op->result.reason = session->core.reason;
    if (op->result.state != *known)
        op_finish(op, NULL);
    else
        list_push_back(&session->state_ops, &op->in_object);
    return 0;
}

int lun_session_await(struct lun_session *session, enum lun_session_state known, const struct lun_ask *ask,
                      struct lun_op **ret_op, struct lun_err *ret_err) {
    static const struct ask_kind kind = {.start = start_awaiting, .on_give_up = give_up_awaiting};
    if ((unsigned)known > LUN_SESSION_CLOSED)
        return lun_err_set(ret_err, LUN_EINVALID, "session: there is no state %d", (int)known);
    return client_ask(session->client, &kind, session, &known, ask, ret_op, ret_err);
}

int64_t lun_session_lease(const struct lun_session *session) {
    return session->core.lease;
}

int64_t lun_session_ttl_s(const struct lun_session *session) {
    return session->core.ttl_s;
}

/* In a forked child nothing renews: it holds nothing. */
int64_t lun_session_valid_until_ns(struct lun_session *session) {
    return client_is_ours(session->client) ? session_valid_until_ns(&session->core) : 0;
}

int64_t lun_session_stop_at_ns(struct lun_session *session) {
    return client_is_ours(session->client) ? session_stop_at_ns(&session->core) : 0;
}

const _Atomic int64_t *lun_session_share(struct lun_session *session) {
    if (client_enter_closed(session->client))
        return NULL;
    const _Atomic int64_t *word = session->is_ended ? NULL : session_share(&session->core);
    client_leave(session->client);
    return word;
}

int64_t lun_session_away_limit_ns(const struct lun_session *session) {
    return session_away_limit_ns(&session->core);
}

enum lun_session_state lun_session_state(struct lun_session *session) {
    if (client_enter_closed(session->client))
        return LUN_SESSION_CLOSED;
    enum lun_session_state state = session_state(&session->core);
    if (state <= LUN_SESSION_JEOPARDY && session_valid_until_ns(&session->core) == 0)
        state = LUN_SESSION_LOST; /* the clock knows it before the machine has been told */
    client_leave(session->client);
    return state;
}

int lun_session_refusal(struct lun_session *session, char *text, size_t n_bytes) {
    if (client_enter_closed(session->client)) {
        if (n_bytes > 0)
            text[0] = '\0';
        return 0;
    }
    int n = snprintf(text, n_bytes, "%s", session_refusal(&session->core));
    client_leave(session->client);
    return n;
}

enum lun_reason lun_session_reason(struct lun_session *session) {
    if (client_enter_closed(session->client))
        return LUN_LOST_CLOSED;
    enum lun_reason reason = session_reason(&session->core);
    client_leave(session->client);
    return reason;
}
