/* client/mutex.c - mutexes: a claim that can be held again and again, and counted where it is reentrant. */
#include <stdlib.h>

#include "client/check.h"
#include "client/claim.h"

struct lun_mutex {
    struct claim claim;
    bool is_reentrant;
    unsigned depth; /* how often it is locked */
};

static struct lun_mutex *mutex_of(struct claim *claim) {
    return CONTAINER_OF(claim, struct lun_mutex, claim);
}

static void on_held(struct claim *claim, struct lun_op *op) {
    (void)op;
    mutex_of(claim)->depth = 1;
}

/* Once, in the background. */
static void unlock_once(struct claim *claim) {
    struct lun_mutex *mutex = mutex_of(claim);
    if (mutex->depth > 1 && claim_state(claim) != CLAIM_LOST)
        mutex->depth--;
    else
        claim_drop(claim, LUN_LOST_CLOSED);
}

static const struct claim_class mutex_claim = {.enter = "lock",
                                               .leave = "unlock",
                                               .none = "not free",
                                               .busy = {[CLAIM_ENTERING] = "being locked",
                                                        [CLAIM_HELD] = "locked",
                                                        [CLAIM_STOPPED] = "locked",
                                                        [CLAIM_LEAVING] = "being unlocked"},
                                               .on_held = on_held,
                                               .drop = unlock_once};

int lun_mutex_new(struct lun_session *session, const char *name, bool is_reentrant,
                  struct lun_mutex **ret_mutex, struct lun_err *ret_err) {
    int rc = check_name(session->client->etcd, name, "mutex", ret_err);
    if (rc || (rc = client_enter(session->client, ret_err)))
        return rc;
    struct lun_mutex *mutex = calloc(1, sizeof *mutex);
    if (!mutex || claim_init(&mutex->claim, &mutex_claim, session, name)) {
        free(mutex);
        rc = lun_err_set(ret_err, LUN_ENOMEM, "mutex: out of memory");
    } else {
        mutex->is_reentrant = is_reentrant;
        *ret_mutex = mutex;
    }
    client_leave(session->client);
    return rc;
}

/* ---- lock ------------------------------------------------------------------------------------------- */

static int start_lock(struct lun_op *op, const void *args, struct lun_err *ret_err) {
    struct claim *claim = op->object;
    struct lun_mutex *mutex = mutex_of(claim);
    const enum place_mode *mode = args;
    bool is_held = claim_is_held(claim);
    if (is_held && mutex->is_reentrant) {
        mutex->depth++;
        claim_set_held(claim, op);
        op_finish(op, NULL);
        return 0;
    }
    enum claim_state state = claim_state(claim);
    if (is_held || state == CLAIM_ENTERING || state == CLAIM_LEAVING)
        return lun_err_set(ret_err, LUN_EINVALID,
                           "lock %s: this object is %s already: one object is one owner", claim->name,
                           claim->class->busy[state]);
    claim_drop(claim, session_lapse_reason(&claim->session->core)); /* lost, by the clock alone perhaps */
    return claim_enter(claim, op, bytes_view(&op->client->identity), *mode, ret_err);
}

static int lock(struct lun_mutex *mutex, enum place_mode mode, const struct lun_ask *ask,
                struct lun_op **ret_op, struct lun_err *ret_err) {
    static const struct ask_kind kind = {.start = start_lock, .on_give_up = claim_give_up};
    return client_ask(claim_client(&mutex->claim), &kind, &mutex->claim, &mode, ask, ret_op, ret_err);
}

int lun_mutex_lock(struct lun_mutex *mutex, const struct lun_ask *ask, struct lun_op **ret_op,
                   struct lun_err *ret_err) {
    return lock(mutex, PLACE_WAIT, ask, ret_op, ret_err);
}

int lun_mutex_try_lock(struct lun_mutex *mutex, const struct lun_ask *ask, struct lun_op **ret_op,
                       struct lun_err *ret_err) {
    return lock(mutex, PLACE_TRY, ask, ret_op, ret_err);
}

/* ---- unlock ----------------------------------------------------------------------------------------- */

static int start_unlock(struct lun_op *op, const void *args, struct lun_err *ret_err) {
    struct claim *claim = op->object;
    struct lun_mutex *mutex = mutex_of(claim);
    (void)args;
    switch (claim_state(claim)) {
    case CLAIM_HELD:
    case CLAIM_STOPPED:
        if (--mutex->depth > 0)
            op_finish(op, NULL);
        else
            claim_leave(claim, op);
        return 0;
    case CLAIM_LOST:
        (void)op_fail(op, claim->reason == LUN_LOST_KEY_DELETED ? LUN_ENOTOWNER : LUN_ELOST,
                      "unlock %s: it had been lost: %s", claim->name, lun_reason_name(claim->reason));
        claim_drop(claim, claim->reason);
        return 0;
    case CLAIM_FREE:
    case CLAIM_ENTERING:
    case CLAIM_LEAVING:
        break;
    }
    return lun_err_set(ret_err, LUN_ENOTOWNER, "unlock %s: it is not locked by this object", claim->name);
}

int lun_mutex_unlock(struct lun_mutex *mutex, const struct lun_ask *ask, struct lun_op **ret_op,
                     struct lun_err *ret_err) {
    static const struct ask_kind kind = {.start = start_unlock, .on_give_up = claim_give_up};
    return client_ask(claim_client(&mutex->claim), &kind, &mutex->claim, NULL, ask, ret_op, ret_err);
}

void lun_mutex_release(struct lun_mutex *mutex) {
    struct lun_client *client = claim_client(&mutex->claim);
    if (client_enter_closed(client))
        return;
    enum claim_state state = claim_state(&mutex->claim);
    if (state != CLAIM_ENTERING && state != CLAIM_LEAVING)
        unlock_once(&mutex->claim);
    client_leave(client);
}

/* ---- questions -------------------------------------------------------------------------------------- */

int lun_mutex_owner(struct lun_mutex *mutex, const struct lun_ask *ask, struct lun_op **ret_op,
                    struct lun_err *ret_err) {
    return claim_ask_leader(&mutex->claim, "owner", ask, ret_op, ret_err);
}

static int start_position(struct lun_op *op, const void *args, struct lun_err *ret_err) {
    const struct claim *claim = op->object;
    (void)args;
    return claim_start_position(op, claim, claim->name, ret_err);
}

int lun_mutex_position(struct lun_mutex *mutex, const struct lun_ask *ask, struct lun_op **ret_op,
                       struct lun_err *ret_err) {
    static const struct ask_kind kind = {
        .start = start_position, .on_give_up = op_give_up_call, .has_own_deadline = true};
    return client_ask(claim_client(&mutex->claim), &kind, &mutex->claim, NULL, ask, ret_op, ret_err);
}

int lun_mutex_await_loss(struct lun_mutex *mutex, const struct lun_ask *ask, struct lun_op **ret_op,
                         struct lun_err *ret_err) {
    return claim_await_loss(&mutex->claim, ask, ret_op, ret_err);
}

bool lun_mutex_is_held(struct lun_mutex *mutex) {
    struct lun_client *client = claim_client(&mutex->claim);
    if (client_enter_closed(client))
        return false;
    bool is_held = claim_is_held(&mutex->claim);
    client_leave(client);
    return is_held;
}

bool lun_mutex_blocked_by(struct lun_mutex *mutex, char *ret_text, size_t n_bytes) {
    struct lun_client *client = claim_client(&mutex->claim);
    if (client_enter_closed(client))
        return false;
    bool is_blocked = claim_is_blocked(&mutex->claim, ret_text, n_bytes);
    client_leave(client);
    return is_blocked;
}

int64_t lun_mutex_token(const struct lun_mutex *mutex) {
    struct lun_client *client = claim_client(&mutex->claim);
    if (client_enter_closed(client))
        return 0;
    int64_t token = claim_is_held(&mutex->claim) ? mutex->claim.token : 0;
    client_leave(client);
    return token;
}

int64_t lun_mutex_stop_at_ns(struct lun_mutex *mutex) {
    struct lun_client *client = claim_client(&mutex->claim);
    if (client_enter_closed(client))
        return 0;
    int64_t at_ns = claim_is_held(&mutex->claim) ? session_stop_at_ns(&mutex->claim.session->core) : 0;
    client_leave(client);
    return at_ns;
}

struct lun_bytes lun_mutex_key(const struct lun_mutex *mutex) {
    return client_is_ours(claim_client(&mutex->claim)) ? bytes_view(&mutex->claim.key)
                                                       : (struct lun_bytes){NULL, 0};
}

void lun_mutex_free(struct lun_mutex *mutex) {
    if (!mutex || client_enter_closed(claim_client(&mutex->claim)))
        return;
    struct lun_client *client = claim_client(&mutex->claim);
    claim_fini(&mutex->claim);
    free(mutex);
    client_leave(client);
}
