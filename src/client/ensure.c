/* client/ensure.c - so much of a term is surely left: by the clock, or after a renewal that is asked for now.
 *
 * A call waits for at most one renewal that was sent after it was asked for: one that comes back with less than is wanted
 * took too long, and another would as well. */
#include <stdio.h>

#include "client/term.h"

/* What a call that waits needs; lives as long as its op. */
struct ensure {
    struct lun_term *term; /* answers the call before it goes */
    int64_t span_ns, asked_ns;
};

/* Ours, and not told to stop. */
static bool lasts(const struct claim *claim) {
    return claim_state(claim) == CLAIM_HELD && claim_is_held(claim);
}

static int64_t left_ns(const struct claim *claim) {
    return session_valid_until_ns(&claim->session->core) - rpc_now(claim_client(claim)->rpc);
}

static void give_up(struct lun_op *op, int code) {
    const struct ensure *ensure = op->object;
    const struct claim *claim = &ensure->term->claim;
    char what[256];
    (void)snprintf(what, sizeof what, "ensure %.200s", claim->name);
    if (code == LUN_ELOST)
        (void)op_fail(op, code, "%s: the term is over: %s", what, lun_reason_name(claim_reason(claim)));
    else
        op_fail_silent(op, what, code);
}

static void on_renewed(struct lun_op *op) {
    const struct ensure *ensure = op->object;
    const struct session *session = &ensure->term->claim.session->core;
    int64_t left = left_ns(&ensure->term->claim);
    if (!lasts(&ensure->term->claim))
        give_up(op, LUN_ELOST);
    else if (left >= ensure->span_ns)
        op_finish(op, NULL);
    else if (session->confirmed_send_ns >= ensure->asked_ns)
        (void)op_fail(op, LUN_EUNAVAILABLE,
                      "ensure %s: etcd renews too slowly: %.1f s are left after a renewal",
                      ensure->term->claim.name, (double)left / (double)NS_PER_S);
    else
        (void)session_suspect(&ensure->term->claim.session->core); /* renews again, now */
}

void ensure_on_renewed(struct lun_session *session) {
    struct list todo, *node;
    list_move(&session->ensure_ops, &todo);
    while ((node = list_pop_front(&todo))) {
        list_push_back(&session->ensure_ops, node);
        on_renewed(CONTAINER_OF(node, struct lun_op, in_object));
    }
}

void ensure_give_up(struct lun_term *term, int code) {
    struct list todo, *node;
    list_move(&term->claim.session->ensure_ops, &todo);
    while ((node = list_pop_front(&todo))) {
        struct lun_op *op = CONTAINER_OF(node, struct lun_op, in_object);
        const struct ensure *ensure = op->object;
        list_push_back(&term->claim.session->ensure_ops, node);
        if (ensure->term == term)
            give_up(op, code);
    }
}

static int start(struct lun_op *op, const void *args, struct lun_err *ret_err) {
    struct lun_term *term = op->object;
    const int64_t *span_ns = args;
    struct claim *claim = &term->claim;
    struct session *session = &claim->session->core;
    int64_t most_ns = session_longest_ns(session);
    if (*span_ns > most_ns)
        return lun_err_set(
            ret_err, LUN_EINVALID,
            "ensure %s: never are more than %.1f s certain at a TTL of %d s: %.1f s cannot be ensured",
            claim->name, (double)most_ns / (double)NS_PER_S, (int)session->ttl_s,
            (double)*span_ns / (double)NS_PER_S);
    if (!lasts(claim))
        return lun_err_set(ret_err, LUN_ELOST, "ensure %s: the term is over: %s", claim->name,
                           lun_reason_name(claim_reason(claim)));
    if (left_ns(claim) >= *span_ns) {
        op_finish(op, NULL);
        return 0;
    }
    struct ensure *ensure = op_alloc(op, sizeof *ensure);
    if (!ensure)
        return lun_err_set(ret_err, LUN_ENOMEM, "ensure %s: out of memory", claim->name);
    *ensure = (struct ensure){term, *span_ns, rpc_now(op->client->rpc)};
    op->object = ensure;
    list_push_back(&claim->session->ensure_ops, &op->in_object);
    (void)session_suspect(session);
    return 0;
}

int lun_term_ensure(struct lun_term *term, int64_t span_ms, const struct lun_ask *ask, struct lun_op **ret_op,
                    struct lun_err *ret_err) {
    static const struct ask_kind kind = {.start = start, .on_give_up = give_up};
    int64_t span_ns = span_ms > LUN_MAX_TTL_S * INT64_C(1000) ? INT64_MAX
                      : span_ms > 0                           ? span_ms * NS_PER_MS
                                                              : 0;
    return client_ask(claim_client(&term->claim), &kind, term, &span_ns, ask, ret_op, ret_err);
}
