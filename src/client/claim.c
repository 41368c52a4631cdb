/* client/claim.c - holding a place: what mutexes and terms have in common. See claim.h. What the place tells is turned into answers here, and nowhere else. */
#include "client/claim.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct sm_state states[] = {
    [CLAIM_FREE] = {"FREE", SM_ARC(CLAIM_ENTERING)},
    [CLAIM_ENTERING] = {"ENTERING", SM_ARC(CLAIM_HELD) | SM_ARC(CLAIM_FREE)},
    [CLAIM_HELD] = {"HELD",
                    SM_ARC(CLAIM_STOPPED) | SM_ARC(CLAIM_LEAVING) | SM_ARC(CLAIM_LOST) | SM_ARC(CLAIM_FREE)},
    [CLAIM_STOPPED] = {"STOPPED", SM_ARC(CLAIM_LEAVING) | SM_ARC(CLAIM_LOST) | SM_ARC(CLAIM_FREE)},
    [CLAIM_LEAVING] = {"LEAVING", SM_ARC(CLAIM_FREE)},
    [CLAIM_LOST] = {"LOST", SM_ARC(CLAIM_FREE)},
};

static const struct sm_class claim_machine = {
    .name = "claim", .states = states, .n_states = sizeof states / sizeof *states};

int claim_init(struct claim *claim, const struct claim_class *class, struct lun_session *session,
               const char *name) {
    *claim = (struct claim){.class = class, .rule = line_one_holds, .session = session, .name = strdup(name)};
    if (!claim->name)
        return LUN_ENOMEM;
    sm_init(&claim->sm, &claim_machine, etcd_trace(session->client->etcd), CLAIM_FREE);
    list_init(&claim->loss_ops);
    list_init(&claim->untaken);
    session_ref(session);
    return 0;
}

void claim_fini(struct claim *claim) {
    struct list *node;
    if (claim->op)
        claim->op->kind->on_give_up(claim->op, LUN_ECLOSED);
    claim_drop(claim, LUN_LOST_CLOSED);
    while ((node = list_pop_front(&claim->untaken)))
        CONTAINER_OF(node, struct lun_op, in_object)->object = NULL;
    session_unref(claim->session);
    bytes_fini(&claim->key);
    free(claim->name);
}

/* ---- questions -------------------------------------------------------------------------------------- */

enum claim_state claim_state(const struct claim *claim) {
    return (enum claim_state)claim->sm.state;
}

static bool is_ours(const struct claim *claim) {
    return claim->sm.state == CLAIM_HELD || claim->sm.state == CLAIM_STOPPED;
}

bool claim_is_held(const struct claim *claim) {
    return is_ours(claim) && session_valid_until_ns(&claim->session->core) != 0;
}

enum lun_reason claim_reason(const struct claim *claim) {
    return claim->reason ? claim->reason : session_reason(&claim->session->core);
}

bool claim_is_blocked(const struct claim *claim, char *ret_text, size_t n_bytes) {
    const char *text = claim->sm.state == CLAIM_ENTERING ? place_obstacle_text(claim->place) : "";
    (void)snprintf(ret_text, n_bytes, "%s", text);
    return text[0] != '\0';
}

/* ---- its end ---------------------------------------------------------------------------------------- */

static void answer_loss(struct claim *claim, enum lun_reason reason) {
    struct list *node;
    while ((node = list_pop_front(&claim->loss_ops))) {
        struct lun_op *op = CONTAINER_OF(node, struct lun_op, in_object);
        op->result.reason = reason;
        op_finish(op, NULL);
    }
}

static void end_in(struct claim *claim, enum claim_state state) {
    struct place *place = claim->place;
    claim->place = NULL;
    place_give_up(place);
    if (state == CLAIM_FREE && !claim->class->is_term)
        bytes_fini(&claim->key);
    sm_move(&claim->sm, state);
}

/* Answers the calls that await the loss, and calls the owner. */
static void tell_over(struct claim *claim, enum lun_reason reason) {
    if (!claim->reason)
        claim->reason = reason;
    answer_loss(claim, claim->class->is_term ? claim->reason : reason);
    if (claim->class->on_over)
        claim->class->on_over(claim);
}

void claim_drop(struct claim *claim, enum lun_reason reason) {
    if (claim->sm.state == CLAIM_FREE)
        return;
    end_in(claim, CLAIM_FREE);
    tell_over(claim, reason);
}

/* ---- a win, until it is taken ------------------------------------------------------------------------ */

static bool is_same_hold(const struct lun_op *op) {
    const struct claim *claim = op->object;
    return claim && (is_ours(claim) || claim->sm.state == CLAIM_LOST) && claim->token == op->result.token;
}

static int recheck_held(const struct lun_op *op, struct lun_err *ret_err) {
    const struct claim *claim = op->object;
    if (!is_same_hold(op))
        return lun_err_set(ret_err, LUN_ELOST, "%s %s: it was given up before this answer was taken",
                           claim ? claim->class->enter : "", claim ? claim->name : "");
    if (claim_is_held(claim))
        return 0;
    return lun_err_set(ret_err, LUN_ELOST, "%s %s: it was won, and lost before the answer was taken: %s",
                       claim->class->enter, claim->name, lun_reason_name(claim_reason(claim)));
}

static void drop_held(struct lun_op *op) {
    struct claim *claim = op->object;
    if (!is_same_hold(op))
        return;
    if (claim->class->drop)
        claim->class->drop(claim);
    else
        claim_drop(claim, LUN_LOST_CLOSED);
}

void claim_set_held(struct claim *claim, struct lun_op *op) {
    op->result.token = claim->token;
    op->recheck = recheck_held;
    op->drop = drop_held;
    if (!claim->class->is_term) /* a term has no other owner until it is taken */
        op->untaken = &claim->untaken;
}

/* ---- what the place tells --------------------------------------------------------------------------- */

static struct lun_op *take_op(struct claim *claim) {
    struct lun_op *op = claim->op;
    claim->op = NULL;
    return op;
}

/* Not entered: after the op was answered. */
static void fail(struct claim *claim) {
    end_in(claim, CLAIM_FREE);
    if (claim->class->on_failed)
        claim->class->on_failed(claim);
}

static void on_entered(struct place *place, const struct lun_err *err) {
    struct claim *claim = place_owner(place);
    struct lun_op *op = take_op(claim);
    struct lun_err no_memory;
    if (!err && bytes_copy(&claim->key, place_key(place))) {
        (void)lun_err_set(&no_memory, LUN_ENOMEM, "out of memory");
        err = &no_memory;
    }
    if (err && err->code == LUN_ELOCKED)
        op_finish(op, err);
    else if (err)
        op_finish_named(op, err, claim->class->enter, claim->name);
    if (err) {
        fail(claim);
        return;
    }
    sm_move(&claim->sm, CLAIM_HELD);
    claim->token = place_create_rev(place);
    claim_set_held(claim, op);
    if (claim->class->on_held)
        claim->class->on_held(claim, op);
    op_finish(op, NULL);
}

static void on_stop(struct place *place, enum lun_reason reason, bool is_lost) {
    struct claim *claim = place_owner(place);
    if (!is_ours(claim))
        return;
    if (is_lost || claim->class->is_term)
        claim->reason = reason;
    if (is_lost) {
        end_in(claim, CLAIM_LOST);
        tell_over(claim, reason);
        return;
    }
    if (claim->class->is_term && claim->sm.state == CLAIM_HELD)
        sm_move(&claim->sm, CLAIM_STOPPED);
    if (claim->class->on_stopped)
        claim->class->on_stopped(claim);
    answer_loss(claim, reason);
}

static void on_left(struct place *place, const struct lun_err *err) {
    struct claim *claim = place_owner(place);
    struct lun_op *op = take_op(claim);
    bool is_gone = err && (err->code == LUN_ENOTOWNER || err->code == LUN_ELOST || err->code == LUN_ECLOSED);
    if (op)
        op_finish_named(op, claim->class->is_term && is_gone ? NULL : err, claim->class->leave, claim->name);
    end_in(claim, CLAIM_FREE);
    tell_over(claim, LUN_LOST_CLOSED);
}

static const struct place_callbacks place_callbacks = {on_entered, on_stop, on_left};

/* ---- entering and leaving --------------------------------------------------------------------------- */

int claim_enter(struct claim *claim, struct lun_op *op, struct lun_bytes value, enum place_mode mode,
                struct lun_err *ret_err) {
    int rc = place_enter(&claim->session->core, lun_bytes_of(claim->name), value, mode, claim->rule,
                         &place_callbacks, claim, &claim->place, ret_err);
    if (rc)
        return lun_err_wrap(ret_err, "%s %s", claim->class->enter, claim->name), rc;
    place_set_deadline(claim->place, op_deadline_ns(op)); /* the owner is read anew by then */
    sm_move(&claim->sm, CLAIM_ENTERING);
    claim->token = 0;
    claim->entered_ns = rpc_now(op->client->rpc);
    claim->reason = LUN_NOT_LOST;
    claim->op = op;
    return 0;
}

void claim_leave(struct claim *claim, struct lun_op *op) {
    sm_move(&claim->sm, CLAIM_LEAVING);
    claim->op = op;
    place_leave(claim->place);
}

static void give_up_entering(struct claim *claim, struct lun_op *op, int code) {
    char what[256], span[32];
    (void)snprintf(what, sizeof what, "%s %.200s", claim->class->enter, claim->name);
    const char *obstacle = place_obstacle_text(claim->place), *owner = place_owner_text(claim->place);
    if (obstacle[0] && strncmp(owner, "blocked", 7) != 0)
        owner = obstacle;
    const char *by =
        claim->class->is_term && strncmp(owner, "blocked", 7) != 0 ? strstr(owner, " by ") : NULL;
    if (code == LUN_ETIMEOUT && place_create_rev(claim->place) != 0)
        (void)op_fail(op, code, "%s: %s within %s%s%s%s", what, claim->class->none,
                      op_span(op, span, sizeof span), owner[0] ? ": " : "", by ? "led" : "", by ? by : owner);
    else
        op_fail_silent(op, what, code);
    fail(claim);
}

void claim_give_up(struct lun_op *op, int code) {
    struct claim *claim = op->object;
    claim->op = NULL;
    if (claim->sm.state == CLAIM_ENTERING) {
        give_up_entering(claim, op, code);
        return;
    }
    (void)op_fail(op, code, "%s %.200s: %s; it goes on in the background", claim->class->leave, claim->name,
                  lun_strerror(code));
    claim_drop(claim, LUN_LOST_CLOSED);
}

/* ---- asking ----------------------------------------------------------------------------------------- */

static void give_up_awaiting(struct lun_op *op, int code) {
    (void)op_fail(op, code, "await loss: %s", lun_strerror(code));
}

static int start_awaiting(struct lun_op *op, const void *args, struct lun_err *ret_err) {
    struct claim *claim = op->object;
    bool is_term = claim->class->is_term;
    bool is_due = session_stop_at_ns(&claim->session->core) <= rpc_now(op->client->rpc);
    (void)args;
    if (!is_term && !is_ours(claim) && claim->sm.state != CLAIM_LOST)
        return lun_err_set(ret_err, LUN_ENOTOWNER, "await loss of %s: it is not %s by this object",
                           claim->name, claim->class->busy[CLAIM_HELD]);
    if (is_due && is_term && claim->sm.state == CLAIM_HELD) {
        sm_move(&claim->sm, CLAIM_STOPPED);
        claim->reason = session_lapse_reason(&claim->session->core);
    }
    list_push_back(&claim->loss_ops, &op->in_object);
    if (claim->reason || is_due)
        answer_loss(claim, claim->reason ? claim->reason : session_lapse_reason(&claim->session->core));
    return 0;
}

int claim_await_loss(struct claim *claim, const struct lun_ask *ask, struct lun_op **ret_op,
                     struct lun_err *ret_err) {
    static const struct ask_kind kind = {.start = start_awaiting, .on_give_up = give_up_awaiting};
    return client_ask(claim_client(claim), &kind, claim, NULL, ask, ret_op, ret_err);
}

int claim_ask_leader(const struct claim *claim, const char *what, const struct lun_ask *ask,
                     struct lun_op **ret_op, struct lun_err *ret_err) {
    return leader_ask(claim_client(claim), what, claim->name, ask, ret_op, ret_err);
}
