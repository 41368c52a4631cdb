/* client/term.c - terms: a claim held once, and what a leader may do while it lasts. */
#include <stdlib.h>
#include <string.h>

#include "client/check.h"
#include "client/term.h"
#include "recipe/guard.h"

/* ---- its beginning and end -------------------------------------------------------------------------- */

static void detach(struct lun_term *term) {
    if (term->election)
        term->election->term = NULL;
    term->election = NULL;
}

static void term_free(struct lun_term *term) {
    detach(term);
    claim_fini(&term->claim);
    free(term);
}

static void on_held(struct claim *claim, struct lun_op *op) {
    term_of(claim)->mod_rev = claim->token;
    op->result.term = term_of(claim);
}

static void on_failed(struct claim *claim) {
    term_free(term_of(claim));
}

static void on_over(struct claim *claim) {
    struct lun_term *term = term_of(claim);
    detach(term);
    ensure_give_up(term, LUN_ELOST);
    if (claim_state(claim) != CLAIM_LOST)
        return;
    if (term->proclaim_op)
        term->proclaim_op->kind->on_give_up(term->proclaim_op, LUN_ELOST);
    ops_give_up(&term->txn_ops, LUN_ELOST);
}

static void on_stopped(struct claim *claim) {
    ensure_give_up(term_of(claim), LUN_ELOST);
}

static const struct claim_class term_claim = {.enter = "campaign",
                                              .leave = "resign",
                                              .none = "not elected",
                                              .busy = {[CLAIM_ENTERING] = "stands",
                                                       [CLAIM_HELD] = "leads",
                                                       [CLAIM_STOPPED] = "leads",
                                                       [CLAIM_LEAVING] = "leads"},
                                              .is_term = true,
                                              .on_held = on_held,
                                              .on_failed = on_failed,
                                              .on_stopped = on_stopped,
                                              .on_over = on_over,
                                              .drop = on_failed};

struct lun_term *term_new(struct lun_election *election) {
    struct lun_term *term = calloc(1, sizeof *term);
    if (!term || claim_init(&term->claim, &term_claim, election->session, election->name)) {
        free(term);
        return NULL;
    }
    term->election = election;
    list_init(&term->txn_ops);
    return term;
}

/* ---- questions -------------------------------------------------------------------------------------- */

int64_t lun_term_token(const struct lun_term *term) {
    return term->claim.token;
}

struct lun_bytes lun_term_key(const struct lun_term *term) {
    return bytes_view(&term->claim.key);
}

int64_t lun_term_stop_at_ns(struct lun_term *term) {
    struct claim *claim = &term->claim;
    if (client_enter_closed(claim_client(claim)))
        return 0;
    int64_t at_ns = claim_state(claim) == CLAIM_HELD ? session_stop_at_ns(&claim->session->core) : 0;
    client_leave(claim_client(claim));
    return at_ns;
}

int64_t lun_term_valid_until_ns(struct lun_term *term) {
    struct claim *claim = &term->claim;
    if (client_enter_closed(claim_client(claim)))
        return 0;
    int64_t at_ns = claim_is_held(claim) ? session_valid_until_ns(&claim->session->core) : 0;
    client_leave(claim_client(claim));
    return at_ns;
}

enum lun_reason lun_term_reason(struct lun_term *term) {
    struct lun_client *client = claim_client(&term->claim);
    if (client_enter_closed(client))
        return LUN_LOST_CLOSED;
    enum lun_reason reason = claim_reason(&term->claim);
    client_leave(client);
    return reason;
}

int lun_term_await_loss(struct lun_term *term, const struct lun_ask *ask, struct lun_op **ret_op,
                        struct lun_err *ret_err) {
    return claim_await_loss(&term->claim, ask, ret_op, ret_err);
}

/* ---- proclaim --------------------------------------------------------------------------------------- */

/* What a proclaim in flight needs; lives as long as its op. `term` NULL: freed meanwhile. */
struct proclaim {
    struct lun_term *term;
    struct lun_op *op;
    struct lun_bytes value;
    int give_up_code;
};

static int send_proclaim(struct proclaim *proclaim);

static void finish_proclaim(struct proclaim *proclaim, const struct lun_err *err) {
    struct lun_term *term = proclaim->term;
    if (term)
        term->proclaim_op = NULL;
    op_finish_named(proclaim->op, err, "proclaim", term ? term->claim.name : "of a freed term");
}

static void on_proclaimed(void *arg, const struct etcd_reply *reply) {
    struct proclaim *proclaim = arg;
    struct lun_term *term = proclaim->term;
    struct lun_err err;
    proclaim->op->call = NULL;
    if (term) /* one that is given up just now may have been carried out as well */
        term->is_mod_unsure |= reply->has_unanswered || (reply->err && reply->err->is_outcome_unknown);
    proclaim->op->result.revision = reply->revision;
    if (!reply->err && reply->is_success) {
        if (term) {
            term->mod_rev = reply->revision;
            term->is_mod_unsure = false; /* earlier ones can change nothing any more */
        }
        finish_proclaim(proclaim, NULL);
        return;
    }
    if (proclaim->give_up_code || reply->err) {
        if (proclaim->give_up_code)
            (void)lun_err_set(&err, proclaim->give_up_code, "%s", lun_strerror(proclaim->give_up_code));
        else
            err = *reply->err;
        finish_proclaim(proclaim, &err);
        return;
    }
    const struct lun_kv *kv = reply->results[0].n_kvs > 0 ? &reply->results[0].kvs[0] : NULL;
    bool is_standing = kv && kv->create_rev == term->claim.token;
    if (is_standing && term->is_mod_unsure) {
        /* The change may be an earlier attempt of ours: take it as such, and once more if it is not this very
         * value. */
        term->mod_rev = kv->mod_rev;
        term->is_mod_unsure = false;
        if (lun_bytes_equal(kv->value, proclaim->value)) {
            finish_proclaim(proclaim, NULL);
            return;
        }
        if (send_proclaim(proclaim) == 0)
            return;
        (void)lun_err_set(&err, LUN_ENOMEM, "out of memory");
        finish_proclaim(proclaim, &err);
        return;
    }
    (void)lun_err_set(&err, LUN_ENOTLEADER,
                      is_standing ? "another client has changed the value: resign and stand again"
                                  : "our key is gone");
    finish_proclaim(proclaim, &err);
}

static int send_proclaim(struct proclaim *proclaim) {
    struct lun_term *term = proclaim->term;
    struct lun_bytes key = bytes_view(&term->claim.key);
    struct lun_cmp compares[] = {{.target = LUN_CMP_CREATE, .key = key, .number = term->claim.token},
                                 {.target = LUN_CMP_MOD, .key = key, .number = term->mod_rev}};
    struct lun_kv_op put = {.kind = LUN_OP_PUT,
                            .key = key,
                            .value = proclaim->value,
                            .lease = lun_session_lease(term->claim.session)};
    struct lun_kv_op read = {.kind = LUN_OP_RANGE, .key = key};
    struct lun_txn txn = {compares, 2, &put, &read, 1, 1};
    struct etcd_call_options how = {.deadline_ns = RPC_NEVER, .is_idempotent = true};
    return etcd_txn(claim_client(&term->claim)->etcd, &txn, &how, on_proclaimed, proclaim,
                    &proclaim->op->call);
}

static void give_up_proclaiming(struct lun_op *op, int code) {
    struct proclaim *proclaim = op->object;
    proclaim->give_up_code = code;
    if (op->call)
        etcd_cancel(op->call);
}

static int check_term(const struct lun_term *term, const char *verb, struct lun_err *ret_err) {
    const struct claim *claim = &term->claim;
    if (claim_is_held(claim) && claim_state(claim) == CLAIM_HELD)
        return 0;
    return lun_err_set(ret_err, LUN_ELOST, "%s %s: the term is over: %s", verb, claim->name,
                       claim->reason                         ? lun_reason_name(claim->reason)
                       : claim_state(claim) == CLAIM_LEAVING ? "resigned"
                                                             : "expired");
}

static int start_proclaim(struct lun_op *op, const void *args, struct lun_err *ret_err) {
    struct lun_term *term = op->object;
    const struct lun_bytes *value = args;
    int rc = check_term(term, "proclaim", ret_err);
    if (rc)
        return rc;
    if (term->proclaim_op)
        return lun_err_set(ret_err, LUN_EINVALID, "proclaim %s: another one is under way", term->claim.name);
    struct proclaim *proclaim = op_alloc(op, sizeof *proclaim);
    op->object = proclaim;
    if (proclaim)
        *proclaim = (struct proclaim){.term = term, .op = op};
    if (!proclaim || !op_copy(op, *value, &proclaim->value) || send_proclaim(proclaim))
        return lun_err_set(ret_err, LUN_ENOMEM, "proclaim %s: out of memory", term->claim.name);
    term->proclaim_op = op;
    return 0;
}

int lun_term_proclaim(struct lun_term *term, struct lun_bytes value, const struct lun_ask *ask,
                      struct lun_op **ret_op, struct lun_err *ret_err) {
    static const struct ask_kind kind = {.start = start_proclaim, .on_give_up = give_up_proclaiming};
    int rc = check_bytes(value, "value", ret_err);
    return rc ? rc : client_ask(claim_client(&term->claim), &kind, term, &value, ask, ret_op, ret_err);
}

/* ---- guarded transactions --------------------------------------------------------------------------- */

/* No answer came before the term was lost. One that comes now could only be a refusal, or the news of a write
 * that was carried out in time. */
static void set_cut_short(struct lun_err *err) {
    if (err->is_outcome_unknown)
        (void)lun_err_set(
            err, LUN_EUNKNOWN,
            "the term was lost before the reply: the write may or may not have been carried out");
    else
        (void)lun_err_set(err, LUN_ELOST, "the term was lost before etcd answered");
}

/* The op's object is the key's create revision: the term may be gone by then. */
static void on_guarded(void *arg, const struct etcd_reply *reply) {
    struct lun_op *op = arg;
    const int64_t *create_rev = op->object;
    struct lun_err err;
    struct etcd_reply shown = *reply;
    if (reply->err && reply->err->code == LUN_ECANCELLED && op->give_up_code == LUN_ELOST) {
        err = *reply->err;
        set_cut_short(&err);
        shown.err = &err;
    } else if (!reply->err && !reply->is_success && !guard_is_ours(reply, *create_rev)) {
        (void)lun_err_set(&err, LUN_ENOTLEADER, "etcd refused it: we do not lead any more");
        shown.err = &err;
    }
    if (op_has_failed(op, &shown))
        return;
    op->result.revision = reply->revision;
    op->result.is_success = reply->is_success;
    if (!reply->is_success)
        shown.n_results--;
    if (op_copy_results(op, &shown))
        op_finish(op, NULL);
    else
        (void)op_fail(op, LUN_ENOMEM, "%s: out of memory", op->what);
}

static int start_txn(struct lun_op *op, const void *args, struct lun_err *ret_err) {
    struct lun_term *term = op->object;
    struct claim *claim = &term->claim;
    struct guard guard = {.compares = NULL};
    int64_t *create_rev = op_alloc(op, sizeof *create_rev);
    int rc = check_term(term, "txn", ret_err);
    if (!rc)
        rc =
            guard_init(&guard, args, bytes_view(&claim->key), strlen(claim->name) + 1, claim->token, ret_err);
    if (rc)
        goto out;
    struct etcd_call_options how = {.deadline_ns = op_deadline_ns(op)};
    if (!create_rev || op_name(op, "txn %s", claim->name)) {
        rc = LUN_ENOMEM;
    } else {
        *create_rev = claim->token;
        op->object = create_rev;
        rc = etcd_txn(op->client->etcd, &guard.txn, &how, on_guarded, op, &op->call);
    }
    if (!rc)
        list_push_back(&term->txn_ops, &op->in_object);
    else
        (void)lun_err_set(ret_err, rc, "txn %s: %s", claim->name, lun_strerror(rc));
out:
    guard_fini(&guard);
    return rc;
}

int lun_term_txn(struct lun_term *term, const struct lun_txn *txn, const struct lun_ask *ask,
                 struct lun_op **ret_op, struct lun_err *ret_err) {
    static const struct ask_kind kind = {
        .start = start_txn, .on_give_up = op_give_up_call, .has_own_deadline = true};
    int rc = check_txn(claim_client(&term->claim)->etcd, txn, ret_err);
    return rc ? rc : client_ask(claim_client(&term->claim), &kind, term, txn, ask, ret_op, ret_err);
}

/* ---- resign ----------------------------------------------------------------------------------------- */

static int start_resign(struct lun_op *op, const void *args, struct lun_err *ret_err) {
    struct claim *claim = op->object;
    enum claim_state state = claim_state(claim);
    (void)args;
    if (state == CLAIM_LEAVING)
        return lun_err_set(ret_err, LUN_EINVALID, "resign %s: it is under way already", claim->name);
    if (state == CLAIM_HELD || state == CLAIM_STOPPED)
        claim_leave(claim, op);
    else
        op_finish(op, NULL);
    return 0;
}

int lun_term_resign(struct lun_term *term, const struct lun_ask *ask, struct lun_op **ret_op,
                    struct lun_err *ret_err) {
    static const struct ask_kind kind = {
        .start = start_resign, .on_give_up = claim_give_up, .is_for_closed = true};
    return client_ask(claim_client(&term->claim), &kind, &term->claim, NULL, ask, ret_op, ret_err);
}

void lun_term_free(struct lun_term *term) {
    if (!term || client_enter_closed(claim_client(&term->claim)))
        return;
    struct lun_client *client = claim_client(&term->claim);
    if (term->proclaim_op) {
        struct proclaim *proclaim = term->proclaim_op->object;
        proclaim->term = NULL;
        give_up_proclaiming(term->proclaim_op, LUN_ECLOSED);
    }
    ops_give_up(&term->txn_ops, LUN_ECLOSED);
    ensure_give_up(term, LUN_ECLOSED);
    term_free(term);
    client_leave(client);
}
