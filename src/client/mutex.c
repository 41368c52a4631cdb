/* client_mutex.c - the door to mutexes: one object is one owner, with at most one place in the line.
 *
 *   FREE --lock--> LOCKING --entered--> LOCKED --unlock--> UNLOCKING --answered--> FREE
 * A loss while LOCKED leaves it LOCKED with `is_lost`: unlock then says so and makes it FREE; so does locking
 * it again. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/client.h"

enum state { FREE, LOCKING, LOCKED, UNLOCKING };

struct lun_mutex {
    struct lun_session *session;
    char *name;
    enum state state;
    bool is_reentrant;
    bool is_lost;
    enum lun_reason reason;
    unsigned depth;
    struct place *place;
    int64_t token;
    struct bytes key;
    struct lun_op *op; /* lock or unlock */
    struct list loss_ops;
    struct list won_ops; /* answers that say it is locked, and are not taken */
};

static struct lun_client *client_of(const struct lun_mutex *mutex) {
    return mutex->session->client;
}

static void let_go(struct lun_mutex *mutex) {
    struct place *place = mutex->place;
    mutex->place = NULL;
    place_give_up(place);
}

static void become_free(struct lun_mutex *mutex) {
    let_go(mutex);
    mutex->state = FREE;
    mutex->is_lost = false;
    mutex->depth = 0;
    mutex->token = 0;
    bytes_fini(&mutex->key);
}

static void answer_loss(struct lun_mutex *mutex, enum lun_reason reason) {
    struct list *node;
    while ((node = list_pop_front(&mutex->loss_ops))) {
        struct lun_op *op = CONTAINER_OF(node, struct lun_op, in_object);
        op->result.reason = reason;
        op_finish(op, NULL);
    }
}

static void finish(struct lun_mutex *mutex, const struct lun_err *err, const char *verb) {
    struct lun_op *op = mutex->op;
    mutex->op = NULL;
    if (!op)
        return;
    struct lun_err wrapped;
    if (err) {
        wrapped = *err;
        if (err->code != LUN_ELOCKED)
            (void)lun_err_wrap(&wrapped, "%s %s", verb, mutex->name);
    }
    op_finish(op, err ? &wrapped : NULL);
}

static bool is_held(const struct lun_mutex *mutex) {
    return mutex->state == LOCKED && !mutex->is_lost && session_valid_until_ns(&mutex->session->core) != 0;
}

/* ---- a lock's answer, until it is taken -------------------------------------------------------------- */

static bool is_same_hold(const struct lun_op *op) {
    const struct lun_mutex *mutex = op->object;
    return mutex && mutex->state == LOCKED && mutex->token == op->result.token;
}

static int recheck_won(const struct lun_op *op, struct lun_err *ret_err) {
    const struct lun_mutex *mutex = op->object;
    if (!is_same_hold(op))
        return lun_err_set(ret_err, LUN_ELOST, "lock %s: it was unlocked before this answer was taken",
                           mutex ? mutex->name : "");
    if (is_held(mutex))
        return 0;
    enum lun_reason reason = mutex->is_lost ? mutex->reason : session_reason(&mutex->session->core);
    return lun_err_set(ret_err, LUN_ELOST, "lock %s: it was won, and lost before the answer was taken: %s",
                       mutex->name, lun_reason_name(reason));
}

static void unlock_once(struct lun_mutex *mutex) {
    if (mutex->depth > 1 && !mutex->is_lost) {
        mutex->depth--;
    } else {
        become_free(mutex);
        answer_loss(mutex, LUN_LOST_CLOSED);
    }
}

static void drop_won(struct lun_op *op) {
    if (is_same_hold(op))
        unlock_once(op->object);
}

/* Of a lock that is held: what the op answers. */
static void set_won(struct lun_op *op, struct lun_mutex *mutex) {
    op->result.token = mutex->token;
    op->recheck = recheck_won;
    op->drop = drop_won;
    op->untaken = &mutex->won_ops;
}

static void forget_won(struct lun_mutex *mutex) {
    struct list *node;
    while ((node = list_pop_front(&mutex->won_ops)))
        CONTAINER_OF(node, struct lun_op, in_object)->object = NULL;
}

/* ---- what the place tells --------------------------------------------------------------------------- */

static void on_entered(struct place *place, const struct lun_err *err) {
    struct lun_mutex *mutex = place_owner(place);
    struct lun_err copy;
    if (!err && bytes_copy(&mutex->key, place_key(place))) {
        (void)lun_err_set(&copy, LUN_ENOMEM, "out of memory");
        err = &copy;
    } else if (err) {
        copy = *err;
    }
    if (err) {
        become_free(mutex);
        finish(mutex, &copy, "lock");
        return;
    }
    mutex->state = LOCKED;
    mutex->depth = 1;
    mutex->token = place_create_rev(place);
    set_won(mutex->op, mutex);
    finish(mutex, NULL, "lock");
}

static void on_stop(struct place *place, enum lun_reason reason, bool is_lost) {
    struct lun_mutex *mutex = place_owner(place);
    if (is_lost) {
        mutex->is_lost = true;
        mutex->reason = reason;
        let_go(mutex);
    }
    answer_loss(mutex, reason);
}

static void on_left(struct place *place, const struct lun_err *err) {
    struct lun_mutex *mutex = place_owner(place);
    struct lun_err copy;
    if (err)
        copy = *err;
    become_free(mutex);
    finish(mutex, err ? &copy : NULL, "unlock");
    answer_loss(mutex, LUN_LOST_CLOSED);
}

static const struct place_callbacks place_callbacks = {on_entered, on_stop, on_left};

/* ---- giving up -------------------------------------------------------------------------------------- */

static void give_up_locking(struct lun_op *op, int code) {
    struct lun_mutex *mutex = op->object;
    char what[256], span[32];
    (void)snprintf(what, sizeof what, "lock %.200s", mutex->name);
    mutex->op = NULL;
    bool is_answered = place_create_rev(mutex->place) != 0;
    const char *owner = place_owner_text(mutex->place);
    if (code == LUN_ETIMEOUT && is_answered)
        (void)op_fail(op, code, "%s: not free within %s%s%s", what, op_span(op, span, sizeof span),
                      owner[0] ? ": " : "", owner);
    else
        op_fail_silent(op, what, code);
    become_free(mutex);
}

static void give_up_unlocking(struct lun_op *op, int code) {
    struct lun_mutex *mutex = op->object;
    mutex->op = NULL;
    (void)op_fail(op, code, "unlock %.200s: %s; it is given up in the background", mutex->name,
                  lun_strerror(code));
    become_free(mutex);
    answer_loss(mutex, LUN_LOST_CLOSED);
}

static void give_up_awaiting(struct lun_op *op, int code) {
    (void)op_fail(op, code, "await loss: %s", lun_strerror(code));
}

/* ---- the door --------------------------------------------------------------------------------------- */

int lun_mutex_new(struct lun_session *session, const char *name, bool is_reentrant,
                  struct lun_mutex **ret_mutex, struct lun_err *ret_err) {
    int rc = place_check_name(lun_bytes_of(name), ret_err);
    if (rc)
        return lun_err_wrap(ret_err, "mutex"), rc;
    rc = client_enter(session->client, ret_err);
    if (rc)
        return rc;
    struct lun_mutex *mutex = calloc(1, sizeof *mutex);
    if (mutex)
        mutex->name = strdup(name);
    if (!mutex || !mutex->name) {
        free(mutex);
        rc = lun_err_set(ret_err, LUN_ENOMEM, "mutex: out of memory");
    } else {
        mutex->session = session;
        mutex->is_reentrant = is_reentrant;
        list_init(&mutex->loss_ops);
        list_init(&mutex->won_ops);
        session_ref(session);
        *ret_mutex = mutex;
    }
    client_leave(session->client);
    return rc;
}

static int check_lockable(const struct lun_mutex *mutex, struct lun_err *ret_err) {
    static const char *const is[] = {"", "being locked", "locked", "being unlocked"};
    if (mutex->state == FREE || (mutex->state == LOCKED && !is_held(mutex)))
        return 0;
    return lun_err_set(ret_err, LUN_EINVALID, "lock %s: this object is %s already: one object is one owner",
                       mutex->name, is[mutex->state]);
}

/* In a locked reentrant one: counts, and answers at once. */
static int lock_again(struct lun_mutex *mutex, const struct lun_ask *ask, struct lun_op **ret_op,
                      struct lun_err *ret_err) {
    struct lun_op *op;
    int rc = op_begin(client_of(mutex), ask, mutex, give_up_awaiting, false, &op, ret_err);
    if (rc)
        return rc;
    mutex->depth++;
    set_won(op, mutex);
    if (ret_op)
        *ret_op = op;
    op_finish(op, NULL);
    return 0;
}

static int lock(struct lun_mutex *mutex, enum place_mode mode, const struct lun_ask *ask,
                struct lun_op **ret_op, struct lun_err *ret_err) {
    struct lun_client *client = client_of(mutex);
    int rc = client_enter(client, ret_err);
    if (rc)
        return rc;
    struct lun_op *op = NULL;
    if (mutex->is_reentrant && is_held(mutex)) {
        rc = lock_again(mutex, ask, ret_op, ret_err);
        goto out;
    }
    rc = check_lockable(mutex, ret_err);
    if (rc)
        goto out;
    become_free(mutex);
    answer_loss(mutex, LUN_LOST_EXPIRED); /* lost by the clock alone, and nobody was told yet */
    rc = op_begin(client, ask, mutex, give_up_locking, true, &op, ret_err);
    if (rc)
        goto out;
    rc = place_enter(&mutex->session->core, lun_bytes_of(mutex->name), bytes_view(&client->identity), mode,
                     &place_callbacks, mutex, &mutex->place, ret_err);
    if (rc) {
        (void)lun_err_wrap(ret_err, "lock %s", mutex->name);
        op_discard(op);
        goto out;
    }
    mutex->state = LOCKING;
    mutex->op = op;
    if (ret_op)
        *ret_op = op;
out:
    client_leave(client);
    return rc;
}

int lun_mutex_lock(struct lun_mutex *mutex, const struct lun_ask *ask, struct lun_op **ret_op,
                   struct lun_err *ret_err) {
    return lock(mutex, PLACE_WAIT, ask, ret_op, ret_err);
}

int lun_mutex_try_lock(struct lun_mutex *mutex, const struct lun_ask *ask, struct lun_op **ret_op,
                       struct lun_err *ret_err) {
    return lock(mutex, PLACE_TRY, ask, ret_op, ret_err);
}

int lun_mutex_unlock(struct lun_mutex *mutex, const struct lun_ask *ask, struct lun_op **ret_op,
                     struct lun_err *ret_err) {
    struct lun_client *client = client_of(mutex);
    int rc = client_enter(client, ret_err);
    if (rc)
        return rc;
    struct lun_op *op;
    if (mutex->state != LOCKED)
        rc = lun_err_set(ret_err, LUN_ENOTOWNER, "unlock %s: it is not locked by this object", mutex->name);
    else
        rc = op_begin(client, ask, mutex, give_up_unlocking, mutex->depth == 1 && !mutex->is_lost, &op,
                      ret_err);
    if (rc)
        goto out;
    if (ret_op)
        *ret_op = op;
    if (mutex->is_lost) {
        enum lun_reason reason = mutex->reason;
        become_free(mutex);
        (void)op_fail(op, reason == LUN_LOST_KEY_DELETED ? LUN_ENOTOWNER : LUN_ELOST,
                      "unlock %s: it had been lost: %s", mutex->name, lun_reason_name(reason));
    } else if (--mutex->depth > 0) {
        op_finish(op, NULL);
    } else {
        mutex->state = UNLOCKING;
        mutex->op = op;
        place_leave(mutex->place);
    }
out:
    client_leave(client);
    return rc;
}

void lun_mutex_release(struct lun_mutex *mutex) {
    struct lun_client *client = client_of(mutex);
    if (client_enter_closed(client))
        return;
    if (mutex->state == LOCKED)
        unlock_once(mutex);
    client_leave(client);
}

int lun_mutex_owner(struct lun_mutex *mutex, const struct lun_ask *ask, struct lun_op **ret_op,
                    struct lun_err *ret_err) {
    struct lun_client *client = client_of(mutex);
    int rc = client_enter(client, ret_err);
    if (rc)
        return rc;
    rc = leader_ask(client, "owner", mutex->name, ask, ret_op, ret_err);
    client_leave(client);
    return rc;
}

int lun_mutex_await_loss(struct lun_mutex *mutex, const struct lun_ask *ask, struct lun_op **ret_op,
                         struct lun_err *ret_err) {
    struct lun_client *client = client_of(mutex);
    int rc = client_enter(client, ret_err);
    if (rc)
        return rc;
    struct lun_op *op;
    if (mutex->state != LOCKED)
        rc = lun_err_set(ret_err, LUN_ENOTOWNER, "await loss of %s: it is not locked by this object",
                         mutex->name);
    else
        rc = op_begin(client, ask, mutex, give_up_awaiting, true, &op, ret_err);
    if (rc)
        goto out;
    if (ret_op)
        *ret_op = op;
    if (mutex->is_lost || session_stop_at_ns(&mutex->session->core) <= rpc_now(client->rpc)) {
        op->result.reason = mutex->is_lost ? mutex->reason : LUN_LOST_EXPIRED;
        op_finish(op, NULL);
    } else {
        list_push_back(&mutex->loss_ops, &op->in_object);
    }
out:
    client_leave(client);
    return rc;
}

bool lun_mutex_is_held(struct lun_mutex *mutex) {
    if (client_enter_closed(client_of(mutex)))
        return false;
    bool is = is_held(mutex);
    client_leave(client_of(mutex));
    return is;
}

int64_t lun_mutex_token(const struct lun_mutex *mutex) {
    if (client_enter_closed(client_of(mutex)))
        return 0;
    int64_t token = is_held(mutex) ? mutex->token : 0;
    client_leave(client_of(mutex));
    return token;
}

int64_t lun_mutex_stop_at_ns(struct lun_mutex *mutex) {
    if (client_enter_closed(client_of(mutex)))
        return 0;
    int64_t at = is_held(mutex) ? session_stop_at_ns(&mutex->session->core) : 0;
    client_leave(client_of(mutex));
    return at;
}

struct lun_bytes lun_mutex_key(const struct lun_mutex *mutex) {
    return bytes_view(&mutex->key);
}

void lun_mutex_free(struct lun_mutex *mutex) {
    if (!mutex || client_enter_closed(client_of(mutex)))
        return;
    struct lun_client *client = client_of(mutex);
    if (mutex->op)
        mutex->op->on_give_up(mutex->op, LUN_ECLOSED);
    become_free(mutex);
    answer_loss(mutex, LUN_LOST_CLOSED);
    forget_won(mutex);
    session_unref(mutex->session);
    free(mutex->name);
    free(mutex);
    client_leave(client);
}
