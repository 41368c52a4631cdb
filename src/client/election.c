/* client_election.c - the door to elections and terms. A candidacy is a term that has not begun: the place
 * belongs to the term from the start. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/client.h"
#include "recipe/guard.h"

struct lun_election {
    struct lun_session *session;
    char *name;
    struct lun_term *term; /* standing or leading; NULL: neither */
};

struct lun_term {
    struct lun_session *session;
    struct lun_election *election; /* NULL: freed, or no longer its current one */
    char *name;
    struct place *place; /* NULL: over */
    struct bytes key;
    int64_t token, mod_rev;
    bool is_begun;
    bool is_stopped; /* told to stop, for good */
    bool is_over;
    bool is_mod_unsure; /* a proclaim was not answered: somebody's change of the value may be our own */
    enum lun_reason reason;
    struct lun_op *campaign_op, *proclaim_op, *resign_op;
    struct list loss_ops;
    struct list txn_ops;
};

static struct lun_client *client_of(const struct lun_term *term) {
    return term->session->client;
}

/* ---- a term's end ----------------------------------------------------------------------------------- */

static void answer_loss(struct lun_term *term) {
    struct list *node;
    while ((node = list_pop_front(&term->loss_ops))) {
        struct lun_op *op = CONTAINER_OF(node, struct lun_op, in_object);
        op->result.reason = term->reason;
        op_finish(op, NULL);
    }
}

static void end_term(struct lun_term *term, enum lun_reason reason) {
    struct place *place = term->place;
    term->place = NULL;
    term->is_over = term->is_stopped = true;
    if (term->reason == LUN_NOT_LOST)
        term->reason = reason;
    if (term->election)
        term->election->term = NULL;
    term->election = NULL;
    place_give_up(place);
    answer_loss(term);
}

/* After end_term. */
static void term_free(struct lun_term *term) {
    session_unref(term->session);
    bytes_fini(&term->key);
    free(term->name);
    free(term);
}

static void finish(struct lun_op *op, const struct lun_err *err, const char *verb, const char *name) {
    struct lun_err wrapped;
    if (err) {
        wrapped = *err;
        (void)lun_err_wrap(&wrapped, "%s %s", verb, name);
    }
    op_finish(op, err ? &wrapped : NULL);
}

/* ---- what the place tells --------------------------------------------------------------------------- */

static void on_entered(struct place *place, const struct lun_err *err) {
    struct lun_term *term = place_owner(place);
    struct lun_op *op = term->campaign_op;
    struct lun_err copy;
    term->campaign_op = NULL;
    if (!err && bytes_copy(&term->key, place_key(place))) {
        (void)lun_err_set(&copy, LUN_ENOMEM, "out of memory");
        err = &copy;
    }
    if (err) {
        finish(op, err, "campaign", term->name);
        end_term(term, LUN_LOST_CLOSED);
        term_free(term);
        return;
    }
    term->is_begun = true;
    term->token = term->mod_rev = place_create_rev(place);
    op->result.term = term;
    op->result.token = term->token;
    finish(op, NULL, "campaign", term->name);
}

static void on_stop(struct place *place, enum lun_reason reason, bool is_lost) {
    struct lun_term *term = place_owner(place);
    term->is_stopped = true;
    term->reason = reason;
    if (is_lost) {
        end_term(term, reason);
        if (term->proclaim_op)
            term->proclaim_op->on_give_up(term->proclaim_op, LUN_ELOST);
        ops_give_up(&term->txn_ops, LUN_ELOST);
    } else {
        answer_loss(term);
    }
}

static void on_left(struct place *place, const struct lun_err *err) {
    struct lun_term *term = place_owner(place);
    struct lun_op *op = term->resign_op;
    bool is_gone = !err || err->code == LUN_ENOTOWNER || err->code == LUN_ELOST || err->code == LUN_ECLOSED;
    term->resign_op = NULL;
    if (op)
        finish(op, is_gone ? NULL : err, "resign", term->name);
    end_term(term, LUN_LOST_CLOSED);
}

static const struct place_callbacks place_callbacks = {on_entered, on_stop, on_left};

/* ---- campaign --------------------------------------------------------------------------------------- */

int lun_election_new(struct lun_session *session, const char *name, struct lun_election **ret_election,
                     struct lun_err *ret_err) {
    int rc = place_check_name(lun_bytes_of(name), ret_err);
    if (rc)
        return lun_err_wrap(ret_err, "election"), rc;
    rc = client_enter(session->client, ret_err);
    if (rc)
        return rc;
    struct lun_election *election = calloc(1, sizeof *election);
    if (election)
        election->name = strdup(name);
    if (!election || !election->name) {
        free(election);
        rc = lun_err_set(ret_err, LUN_ENOMEM, "election: out of memory");
    } else {
        election->session = session;
        session_ref(session);
        *ret_election = election;
    }
    client_leave(session->client);
    return rc;
}

static void give_up_campaigning(struct lun_op *op, int code) {
    struct lun_term *term = op->object;
    char what[256], span[32];
    (void)snprintf(what, sizeof what, "campaign %.200s", term->name);
    term->campaign_op = NULL;
    const char *owner = place_owner_text(term->place);
    if (code == LUN_ETIMEOUT && place_create_rev(term->place) != 0)
        (void)op_fail(op, code, "%s: not elected within %s%s%s", what, op_span(op, span, sizeof span),
                      owner[0] ? ": " : "", owner);
    else
        op_fail_silent(op, what, code);
    end_term(term, LUN_LOST_CLOSED);
    term_free(term);
}

/* Elected, but nobody came to take it. Inside. */
static void drop_term(struct lun_op *op) {
    struct lun_term *term = op->result.term;
    if (!term)
        return;
    end_term(term, LUN_LOST_CLOSED);
    term_free(term);
}

/* Asked when the win is taken. */
static int recheck_term(const struct lun_op *op, struct lun_err *ret_err) {
    const struct lun_term *term = op->result.term;
    if (!term->is_over && session_valid_until_ns(&term->session->core) != 0)
        return 0;
    enum lun_reason reason = term->is_over ? term->reason : session_reason(&term->session->core);
    return lun_err_set(ret_err, LUN_ELOST, "campaign %s: it was won, and lost before the answer was taken: %s",
                       term->name, lun_reason_name(reason));
}

int lun_election_campaign(struct lun_election *election, struct lun_bytes value, const struct lun_ask *ask,
                          struct lun_op **ret_op, struct lun_err *ret_err) {
    struct lun_client *client = election->session->client;
    int rc = client_enter(client, ret_err);
    if (rc)
        return rc;
    struct lun_op *op = NULL;
    struct lun_term *term = NULL;
    if (election->term) {
        rc = lun_err_set(ret_err, LUN_EINVALID,
                         "campaign %s: this object %s already: one object is one candidate", election->name,
                         election->term->is_begun ? "leads" : "stands");
        goto out;
    }
    term = calloc(1, sizeof *term);
    if (term)
        term->name = strdup(election->name);
    if (!term || !term->name) {
        rc = lun_err_set(ret_err, LUN_ENOMEM, "out of memory");
        goto fail;
    }
    list_init(&term->loss_ops);
    list_init(&term->txn_ops);
    rc = op_begin(client, ask, term, give_up_campaigning, true, &op, ret_err);
    if (rc)
        goto fail;
    rc = place_enter(&election->session->core, lun_bytes_of(election->name), value, PLACE_WAIT,
                     &place_callbacks, term, &term->place, ret_err);
    if (rc) {
        (void)lun_err_wrap(ret_err, "campaign %s", election->name);
        op_discard(op);
        goto fail;
    }
    term->session = election->session;
    session_ref(term->session);
    term->election = election;
    term->campaign_op = op;
    election->term = term;
    op->recheck = recheck_term;
    op->drop = drop_term;
    if (ret_op)
        *ret_op = op;
    goto out;

fail:
    if (term)
        free(term->name);
    free(term);
out:
    client_leave(client);
    return rc;
}

int lun_election_leader(struct lun_election *election, const struct lun_ask *ask, struct lun_op **ret_op,
                        struct lun_err *ret_err) {
    struct lun_client *client = election->session->client;
    int rc = client_enter(client, ret_err);
    if (rc)
        return rc;
    rc = leader_ask(client, "leader", election->name, ask, ret_op, ret_err);
    client_leave(client);
    return rc;
}

void lun_election_free(struct lun_election *election) {
    if (!election || client_enter_closed(election->session->client))
        return;
    struct lun_client *client = election->session->client;
    struct lun_term *term = election->term;
    if (term && term->campaign_op)
        term->campaign_op->on_give_up(term->campaign_op, LUN_ECLOSED);
    else if (term)
        term->election = NULL;
    session_unref(election->session);
    free(election->name);
    free(election);
    client_leave(client);
}

/* ---- questions -------------------------------------------------------------------------------------- */

int64_t lun_term_token(const struct lun_term *term) {
    return term->token;
}

struct lun_bytes lun_term_key(const struct lun_term *term) {
    return bytes_view(&term->key);
}

int64_t lun_term_stop_at_ns(struct lun_term *term) {
    if (client_enter_closed(client_of(term)))
        return 0;
    int64_t at = term->is_stopped || term->resign_op ? 0 : session_stop_at_ns(&term->session->core);
    client_leave(client_of(term));
    return at;
}

int64_t lun_term_valid_until_ns(struct lun_term *term) {
    if (client_enter_closed(client_of(term)))
        return 0;
    int64_t at = term->is_over || term->resign_op ? 0 : session_valid_until_ns(&term->session->core);
    client_leave(client_of(term));
    return at;
}

enum lun_reason lun_term_reason(struct lun_term *term) {
    if (client_enter_closed(client_of(term)))
        return LUN_LOST_CLOSED;
    enum lun_reason reason = term->reason;
    if (reason == LUN_NOT_LOST)
        reason = session_reason(&term->session->core); /* the clock knows it before the machine is told */
    client_leave(client_of(term));
    return reason;
}

static void give_up_awaiting(struct lun_op *op, int code) {
    (void)op_fail(op, code, "await loss: %s", lun_strerror(code));
}

int lun_term_await_loss(struct lun_term *term, const struct lun_ask *ask, struct lun_op **ret_op,
                        struct lun_err *ret_err) {
    struct lun_client *client = client_of(term);
    int rc = client_enter(client, ret_err);
    if (rc)
        return rc;
    struct lun_op *op;
    rc = op_begin(client, ask, term, give_up_awaiting, true, &op, ret_err);
    if (!rc) {
        if (ret_op)
            *ret_op = op;
        list_push_back(&term->loss_ops, &op->in_object);
        if (!term->is_stopped && session_stop_at_ns(&term->session->core) <= rpc_now(client->rpc)) {
            term->is_stopped = true;
            term->reason = LUN_LOST_EXPIRED;
        }
        if (term->is_stopped)
            answer_loss(term);
    }
    client_leave(client);
    return rc;
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
    finish(proclaim->op, err, "proclaim", term ? term->name : "of a freed term");
}

static void on_proclaimed(void *arg, const struct etcd_reply *reply) {
    struct proclaim *proclaim = arg;
    struct lun_term *term = proclaim->term;
    struct lun_err err;
    proclaim->op->call = NULL;
    if (term && reply->err)
        term->is_mod_unsure |= reply->has_unanswered || reply->err->is_outcome_unknown;
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
    bool is_standing = kv && kv->create_rev == term->token;
    term->is_mod_unsure |= reply->has_unanswered;
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
                      is_standing ? "somebody else has changed the value: resign and stand again"
                                  : "our key is gone");
    finish_proclaim(proclaim, &err);
}

static int send_proclaim(struct proclaim *proclaim) {
    struct lun_term *term = proclaim->term;
    struct lun_bytes key = bytes_view(&term->key);
    struct lun_cmp compares[] = {{.target = LUN_CMP_CREATE, .key = key, .number = term->token},
                                 {.target = LUN_CMP_MOD, .key = key, .number = term->mod_rev}};
    struct lun_kv_op put = {
        .kind = LUN_OP_PUT, .key = key, .value = proclaim->value, .lease = lun_session_lease(term->session)};
    struct lun_kv_op read = {.kind = LUN_OP_RANGE, .key = key};
    struct lun_txn txn = {compares, 2, &put, &read, 1, 1};
    struct etcd_call_options how = {.deadline_ns = RPC_NEVER, .is_idempotent = true};
    return etcd_txn(client_of(term)->etcd, &txn, &how, on_proclaimed, proclaim, &proclaim->op->call);
}

static void give_up_proclaiming(struct lun_op *op, int code) {
    struct proclaim *proclaim = op->object;
    proclaim->give_up_code = code;
    if (op->call)
        etcd_cancel(op->call);
}

static int check_term(const struct lun_term *term, const char *verb, struct lun_err *ret_err) {
    if (!term->is_over && !term->is_stopped && !term->resign_op &&
        session_valid_until_ns(&term->session->core) != 0)
        return 0;
    return lun_err_set(ret_err, LUN_ELOST, "%s %s: the term is over: %s", verb, term->name,
                       term->reason      ? lun_reason_name(term->reason)
                       : term->resign_op ? "resigned"
                                         : "expired");
}

int lun_term_proclaim(struct lun_term *term, struct lun_bytes value, const struct lun_ask *ask,
                      struct lun_op **ret_op, struct lun_err *ret_err) {
    struct lun_client *client = client_of(term);
    int rc = client_enter(client, ret_err);
    if (rc)
        return rc;
    struct lun_op *op = NULL;
    rc = check_term(term, "proclaim", ret_err);
    if (!rc && term->proclaim_op)
        rc = lun_err_set(ret_err, LUN_EINVALID, "proclaim %s: another one is under way", term->name);
    if (!rc)
        rc = op_begin(client, ask, NULL, give_up_proclaiming, true, &op, ret_err);
    if (rc)
        goto out;
    struct proclaim *proclaim = op_alloc(op, sizeof *proclaim);
    op->object = proclaim;
    if (proclaim)
        *proclaim = (struct proclaim){.term = term, .op = op};
    if (!proclaim || !op_copy(op, value, &proclaim->value) || send_proclaim(proclaim)) {
        op_discard(op);
        rc = lun_err_set(ret_err, LUN_ENOMEM, "proclaim %s: out of memory", term->name);
        goto out;
    }
    term->proclaim_op = op;
    if (ret_op)
        *ret_op = op;
out:
    client_leave(client);
    return rc;
}

/* ---- guarded transactions --------------------------------------------------------------------------- */

struct guarded {
    struct lun_op *op;
    int64_t create_rev;
    const char *name;
};

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

static void on_guarded(void *arg, const struct etcd_reply *reply) {
    struct guarded *guarded = arg;
    struct lun_op *op = guarded->op;
    struct lun_err err;
    op->call = NULL;
    if (reply->err) {
        err = *reply->err;
        if (err.code == LUN_ECANCELLED && op->give_up_code == LUN_ELOST)
            set_cut_short(&err);
        else if (err.code == LUN_ECANCELLED && op->give_up_code)
            err.code = op->give_up_code;
        finish(op, &err, "txn", guarded->name);
        return;
    }
    if (!reply->is_success && !guard_is_ours(reply, guarded->create_rev)) {
        (void)lun_err_set(&err, LUN_ENOTLEADER, "etcd refused it: we do not lead any more");
        finish(op, &err, "txn", guarded->name);
        return;
    }
    op->result.revision = reply->revision;
    op->result.is_success = reply->is_success;
    struct etcd_reply shown = *reply;
    if (!reply->is_success)
        shown.n_results--;
    if (op_copy_results(op, &shown))
        op_finish(op, NULL);
    else
        (void)op_fail(op, LUN_ENOMEM, "txn %s: out of memory", guarded->name);
}

int lun_term_txn(struct lun_term *term, const struct lun_txn *txn, const struct lun_ask *ask,
                 struct lun_op **ret_op, struct lun_err *ret_err) {
    struct lun_client *client = client_of(term);
    int rc = client_enter(client, ret_err);
    if (rc)
        return rc;
    struct lun_op *op = NULL;
    struct guard guard = {.compares = NULL};
    struct lun_bytes name;
    rc = check_term(term, "txn", ret_err);
    if (!rc)
        rc = guard_init(&guard, txn, bytes_view(&term->key), strlen(term->name) + 1, term->token, ret_err);
    if (!rc)
        rc = op_begin(client, ask, NULL, op_give_up_call, false, &op, ret_err);
    if (rc)
        goto out;
    struct etcd_call_options how = {.deadline_ns = client_deadline_ns(client, ask->timeout_ms)};
    struct guarded *guarded = op_alloc(op, sizeof *guarded);
    if (!guarded || !op_copy(op, lun_bytes_of(term->name), &name))
        rc = LUN_ENOMEM;
    if (!rc) {
        *guarded = (struct guarded){.op = op, .create_rev = term->token, .name = name.data};
        rc = etcd_txn(client->etcd, &guard.txn, &how, on_guarded, guarded, &op->call);
    }
    if (!rc)
        list_push_back(&term->txn_ops, &op->in_object);
    if (rc) {
        op_discard(op);
        (void)lun_err_set(ret_err, rc, "txn %s: %s", term->name, lun_strerror(rc));
    } else if (ret_op) {
        *ret_op = op;
    }
out:
    guard_fini(&guard);
    client_leave(client);
    return rc;
}

/* ---- resign ----------------------------------------------------------------------------------------- */

static void give_up_resigning(struct lun_op *op, int code) {
    struct lun_term *term = op->object;
    term->resign_op = NULL;
    (void)op_fail(op, code, "resign %s: %s; it goes on in the background", term->name, lun_strerror(code));
    end_term(term, LUN_LOST_CLOSED);
}

int lun_term_resign(struct lun_term *term, const struct lun_ask *ask, struct lun_op **ret_op,
                    struct lun_err *ret_err) {
    struct lun_client *client = client_of(term);
    int rc = client_enter(client, ret_err);
    if (rc)
        return rc;
    struct lun_op *op = NULL;
    if (term->resign_op)
        rc = lun_err_set(ret_err, LUN_EINVALID, "resign %s: it is under way already", term->name);
    else
        rc = op_begin(client, ask, term, give_up_resigning, true, &op, ret_err);
    if (!rc) {
        if (ret_op)
            *ret_op = op;
        if (term->is_over) {
            op_finish(op, NULL);
        } else {
            term->resign_op = op;
            place_leave(term->place);
        }
    }
    client_leave(client);
    return rc;
}

void lun_term_free(struct lun_term *term) {
    if (!term || client_enter_closed(client_of(term)))
        return;
    struct lun_client *client = client_of(term);
    if (term->proclaim_op) {
        struct proclaim *proclaim = term->proclaim_op->object;
        proclaim->term = NULL;
        give_up_proclaiming(term->proclaim_op, LUN_ECLOSED);
    }
    if (term->resign_op)
        give_up_resigning(term->resign_op, LUN_ECLOSED);
    ops_give_up(&term->txn_ops, LUN_ECLOSED);
    end_term(term, LUN_LOST_CLOSED);
    term_free(term);
    client_leave(client);
}
