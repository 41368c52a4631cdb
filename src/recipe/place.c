/* recipe/place.c - the machine of one place in a line: enters, waits, confirms, holds, leaves. See place.h.
 *
 *   ENTERING --first--> HELD <--> CHECKING
 *      |  \              ^ |          |
 *      |   '-behind-> WAITING <--> LOOKING
 *      |                 |            |
 *      |reply lost       '-- given up, left, failed ---.
 *      v                                               v
 *   FINDING --there--> LEAVING <-----------------------'
 *      |                  |
 *      |not there         |deleted, or gone already
 *      '------------------+--> OWING    if a copy of the entering transaction may yet be carried out
 *                         '--> OVER     nothing of it can be left in etcd
 *
 * Suspended in, and what is in flight there:
 *   ENTERING   the entering transaction; sent again until answered (same key, same value: it finds itself).
 *              PLACE_TRY: before it a read, since a transaction that could write is written to the raft log even when
 *              it does not
 *   WAITING    nothing. Behind a place of this client: that tells. Else a watch on the predecessor. After 100 ms a watch
 *              on our own key; a timer
 *   LOOKING    one read (line.h says which), sent after whatever made us look
 *   HELD       nothing. After 100 ms a watch on our own key, a timer
 *   CHECKING   held, and a read of our key
 *   FINDING    a read of our key, whose create revision we do not know; or a cancelled look, until it is back
 *   LEAVING    the delete; sent again until answered. After an error that etcd insists on the timer: again later
 *   OWING      nothing. A watch on our key, a timer: whatever appears there is deleted (a debt of the session)
 *   OVER       possibly a cancelled call on its way back; freed once it is, and the owner has given it up
 *
 * The happy path is ENTERING, HELD, LEAVING, OVER, or through WAITING and LOOKING. Possible failure modes are
 * the end of the session (every state but OVER goes there: the keys go with the lease), our key vanishing
 * while we wait or hold (the owner is told, then OVER, or FINDING if a late copy may stand there), an error
 * that etcd insists on (the owner is told; what may be left is found and removed, tried again as long as the
 * session lives), and the owner giving up, in any state. One call in flight at a
 * time; a cancelled one still comes back, and place_tick then goes on from the state it finds.
 *
 * Departs from etcd's Go client: the entering transaction names the predecessor too (one round trip less);
 * the watch is on "from now", since a start at or below the current revision is served by a 100 ms loop; our
 * own key is watched; a win is always confirmed (two watches are not ordered against each other); a lost
 * reply leaves a debt, not a zombie; the places of one client wait for each other without etcd.
 *
 * One circle of calls inside this floor: a tick that takes a place out of the line ticks the one behind it
 * (place_watch.c). That one can only look or watch: it neither tells its owner nor ends. */
#include <assert.h>
#include <stdlib.h>

#include "recipe/place_machine.h"

#define TO_END (SM_ARC(OVER) | SM_ARC(OWING))
static const struct sm_state states[] = {
    [ENTERING] = {"entering", SM_ARC(WAITING) | SM_ARC(HELD) | SM_ARC(FINDING) | SM_ARC(LEAVING) | TO_END},
    [WAITING] = {"waiting", SM_ARC(LOOKING) | SM_ARC(FINDING) | SM_ARC(LEAVING) | TO_END},
    [LOOKING] = {"looking", SM_ARC(WAITING) | SM_ARC(HELD) | SM_ARC(FINDING) | SM_ARC(LEAVING) | TO_END},
    [HELD] = {"held", SM_ARC(CHECKING) | SM_ARC(FINDING) | SM_ARC(LEAVING) | TO_END},
    [CHECKING] = {"checking", SM_ARC(HELD) | SM_ARC(FINDING) | SM_ARC(LEAVING) | TO_END},
    [FINDING] = {"finding", SM_ARC(FINDING) | SM_ARC(LEAVING) | TO_END},
    [LEAVING] = {"leaving", SM_ARC(LEAVING) | TO_END},
    [OWING] = {"owing", SM_ARC(FINDING) | SM_ARC(LEAVING) | SM_ARC(OVER)},
    [OVER] = {"over", 0},
};

/* What is true in each state, checked on entering it. */
static bool invariant(const struct sm *sm) {
    const struct place *place = CONTAINER_OF(sm, struct place, sm);
    bool is_in_line = !list_is_empty(&place->in_line);
    bool is_watching = watch_is_running(&place->own_watch) || place_is_watching_predecessor(place);
    switch (sm->state) {
    case ENTERING:
        return !is_in_line && !is_watching && !place->is_told;
    case WAITING:
        return !place->call && !place->is_told && !place->is_paced;
    case LOOKING:
        return place->call && !place->is_told;
    case HELD:
        return !place->call && place->is_proven && place->create_rev;
    case CHECKING:
        return place->call && place->is_proven && place->create_rev;
    case FINDING:
        return !is_in_line && !is_watching;
    case LEAVING:
        return place->create_rev && !is_watching;
    case OWING:
        return !place->call && !is_in_line && !place->create_rev && place->has_unanswered;
    default:
        return !is_in_line && !is_watching;
    }
}

const struct sm_class place_class = {
    .name = "place", .states = states, .n_states = sizeof states / sizeof states[0], .invariant = invariant};

struct place *place_of(struct list *in_session) {
    return CONTAINER_OF(in_session, struct place, in_session);
}

void *place_owner(const struct place *place) {
    return place->owner;
}

struct lun_bytes place_key(const struct place *place) {
    return (struct lun_bytes){place->key, place->key_len};
}

int64_t place_create_rev(const struct place *place) {
    return place->create_rev;
}

bool place_is_held(const struct place *place) {
    return place->sm.state == HELD || place->sm.state == CHECKING;
}

static bool is_held_here(const struct line *line) {
    return !list_is_empty(&line->places) &&
           place_is_held(CONTAINER_OF(line->places.next, struct place, in_line));
}

const char *place_owner_text(const struct place *place) {
    if (is_held_here(place->line))
        return "locked by this very program";
    return place->line->owner_text ? place->line->owner_text : "";
}

const char *place_obstacle_text(const struct place *place) {
    const struct line *line = place->line;
    const struct place *first =
        list_is_empty(&line->places) ? place : CONTAINER_OF(line->places.next, struct place, in_line);
    return first->obstacle ? first->obstacle : "";
}

/* ---- waiting and holding ---------------------------------------------------------------------------- */

/* Proven to be first: to HELD. */
static void hold(struct place *place) {
    place_forget_predecessor(place);
    place->is_proven = true;
    sm_move(&place->sm, HELD);
    if (!watch_is_running(&place->own_watch))
        place->own_watch_at_ns = place_now(place) + OWN_WATCH_AFTER_NS;
    place_plan_reread(place, REREAD_NS, false);
    place_schedule(place);
    if (session_valid_until_ns(place->session) == 0)
        return; /* the validity will tell the session, and the session us: not a win any more */
    place_tell_entered(place, NULL);
}

/* From WAITING to LOOKING, from HELD to CHECKING. */
static void look(struct place *place, enum line_ask ask, bool wants_owner) {
    if (place_send_look(place, ask, wants_owner)) {
        place_plan_retry(place);
        place_schedule(place);
        return;
    }
    if (wants_owner)
        place->line->owner_read_ns = place_now(place);
    sm_move(&place->sm, place->sm.state == HELD ? CHECKING : LOOKING);
}

/* The owner is read once by the first place of this client, and anew when a wait is about to end: at most once a second,
 * however many end. */
static bool wants_owner(struct place *place) {
    int64_t read_ns = place->line->owner_read_ns;
    bool is_due = place_is_owner_due(place);
    if (is_due)
        place->owner_at_ns = RPC_NEVER;
    if (read_ns == 0)
        return is_due || !place_ahead(place);
    return is_due && place_now(place) - read_ns >= NS_PER_S && pace_has_room(place_pace(place));
}

static enum line_ask question_of(const struct place *place) {
    if (place->is_proven)
        return LINE_PROVEN;
    if (!line_is_single(place->rule))
        return LINE_BEFORE;
    if (place->predecessor_rev)
        return LINE_BLOCKER;
    return place_behind(place) && !place->is_far_back ? LINE_FRONT : LINE_BEFORE;
}

/* Behind a place of this client: it tells when it is gone. */
static void wait_here(struct place *place) {
    place_forget_predecessor(place);
    place->is_dirty = false;
    if (!place->is_own_watch_lost)
        place->reread_at_ns = RPC_NEVER;
    bool is_owner_asked = wants_owner(place) && !is_held_here(place->line);
    if (is_owner_asked || place_is_look_due(place))
        look(place, LINE_OWN, is_owner_asked);
    else
        place_schedule(place);
}

/* In WAITING: what is to be done now? */
static void go_on_waiting(struct place *place) {
    if (place_ahead(place)) {
        wait_here(place);
        return;
    }
    enum line_ask ask = question_of(place);
    bool is_caused = place->is_proven || place->predecessor_rev == 0 || place->is_dirty;
    if (is_caused || place_is_owner_due(place) || place_is_look_due(place)) {
        bool has_looked = ask == LINE_BLOCKER || !line_is_single(place->rule);
        look(place, ask, has_looked && wants_owner(place));
        return;
    }
    if (!place_is_watching_predecessor(place) && !place_watch_predecessor(place))
        place_plan_retry(place);
    place_schedule(place);
}

static void go_on_holding(struct place *place) {
    if (place_is_look_due(place))
        look(place, LINE_OWN, false);
    else
        place_schedule(place);
}

/* To WAITING, or back to it. `blocker` may be NULL: nothing new is known. */
static void wait_behind(struct place *place, const struct lun_kv *blocker) {
    bool is_learnt = !blocker || place_learn_predecessor(place, blocker);
    sm_move(&place->sm, WAITING);
    if (is_learnt) {
        go_on_waiting(place);
    } else {
        place_plan_retry(place); /* no memory: asks again then */
        place_schedule(place);
    }
}

/* ---- looking ---------------------------------------------------------------------------------------- */

static void look_failed(struct place *place, const struct lun_err *err) {
    struct lun_err copy = *err;
    if (place->sm.state == CHECKING) { /* it says nothing about our key: go on holding, ask again later */
        sm_move(&place->sm, HELD);
        if (copy.code == LUN_ENOMEM)
            place_plan_retry(place);
        else
            place_plan_reread(place, REREAD_NS, false);
        place_schedule(place);
        return;
    }
    place_clean_up(place, 0);
    place_tell_entered(place, &copy);
}

static void remember_owner(struct place *place, const struct lun_kv *owner) {
    struct bytes text;
    if (!owner || place_describe(&text, line_prefix(place->line), owner))
        return;
    free(place->line->owner_text);
    place->line->owner_text = text.data;
}

/* Our own key is there, and another place is before it, or may be. */
static void looked_in_vain(struct place *place, enum line_verdict verdict, const struct lun_kv *blocker,
                           int64_t revision) {
    bool is_whole_line = place->ask == LINE_BEFORE || place->ask == LINE_FRONT;
    if (verdict == LINE_UNKNOWN && place->ask == LINE_BLOCKER)
        place->predecessor_rev = 0;
    place->is_far_back = verdict == LINE_UNKNOWN && place->ask == LINE_FRONT;
    bool is_watched = place->ask == LINE_BLOCKER || !line_is_single(place->rule);
    if (is_watched && verdict == LINE_BLOCKED && !place->is_dirty)
        place_plan_hedges(place,
                          revision); /* a read sent before the watch was made proves nothing about it */
    wait_behind(place, is_whole_line ? blocker : NULL);
}

static void looked(struct place *place, const struct etcd_reply *reply) {
    const struct lun_kv *blockers;
    size_t n_blockers;
    struct line_question question;
    if (place_is_unwanted(place)) {
        place_clean_up(place, 0);
        return;
    }
    if (reply->err) {
        look_failed(place, reply->err);
        return;
    }
    place_question(place, place->ask, place->is_asking_owner, &question);
    enum line_verdict verdict = line_judge(&question, reply->results, &blockers, &n_blockers);
    if (verdict == LINE_GONE) {
        place_vanish(place);
        return;
    }
    place_plan_reread(place, REREAD_NS, false);
    if (place->is_own_watch_lost)
        place_watch_own(place, reply->revision + 1);
    remember_owner(place, line_owner(&question, reply->results));
    if (place->ask == LINE_FRONT)
        place_learn_front(place, &reply->results[1]);
    if (place->sm.state == CHECKING) {
        sm_move(&place->sm, HELD);
        place_schedule(place);
    } else if (verdict == LINE_HOLDS) {
        hold(place);
    } else {
        looked_in_vain(place, verdict, n_blockers > 0 ? &blockers[0] : NULL, reply->revision);
    }
}

/* ---- entering --------------------------------------------------------------------------------------- */

static void entering_failed(struct place *place, const struct lun_err *err) {
    struct lun_err copy = *err;
    place->has_unanswered |= copy.is_outcome_unknown;
    if (place->callbacks && etcd_is_lease_not_found(err)) {
        session_on_lease_not_found(place->session); /* tells every place, this one too */
        return;
    }
    bool is_owned = place->callbacks != NULL;
    place_clean_up(place, 0);
    place_tell_entered(place, &copy);
    if (!is_owned)
        place_maybe_free(place);
}

/* PLACE_TRY found a place there. It may be our own: of an earlier attempt whose reply was lost. */
static void busy(struct place *place, const struct etcd_reply *reply) {
    const struct lun_kv_result *owner = &reply->results[0];
    if (owner->n_kvs > 0 && place->create_rev && owner->kvs[0].create_rev == place->create_rev) {
        hold(place);
        return;
    }
    struct lun_err err;
    struct bytes text = {NULL, 0};
    if (owner->n_kvs > 0)
        (void)place_describe(&text, line_prefix(place->line), &owner->kvs[0]);
    (void)lun_err_set(&err, LUN_ELOCKED, "%s",
                      text.data ? text.data : "locked by another, which has just left");
    bytes_fini(&text);
    place_clean_up(place, reply->revision);
    place_tell_entered(place, &err);
}

/* PLACE_TRY has looked whether anybody is there. Nothing was written. */
static void peeked(struct place *place, const struct etcd_reply *reply) {
    if (!place->callbacks) {
        place_clean_up(place, 0);
        place_maybe_free(place);
        return;
    }
    if (reply->err) {
        struct lun_err err = *reply->err;
        err.is_outcome_unknown = false;
        entering_failed(place, &err);
        return;
    }
    size_t n = reply->results[0].n_kvs;
    if (n == 1) {
        busy(place, reply);
        return;
    }
    place->peek = n == 0 ? PEEK_OVER : PEEK_OWNER;
    if (place_send_enter(place, bytes_view(&place->value))) {
        struct lun_err err;
        (void)lun_err_set(&err, LUN_ENOMEM, "out of memory");
        entering_failed(place, &err);
    }
}

/* The create revision of our key, 0 if it is not there. */
static int64_t entered_rev(const struct place *place, const struct etcd_reply *reply) {
    const struct lun_kv_result *own = &reply->results[place->mode == PLACE_TRY ? 1 : 0];
    if (reply->is_success)
        return reply->revision;
    return own->n_kvs > 0 ? own->kvs[0].create_rev : 0;
}

static void entered(struct place *place, const struct etcd_reply *reply) {
    if (place->peek != PEEK_OVER) {
        peeked(place, reply);
        return;
    }
    place->has_unanswered = reply->has_unanswered;
    if (reply->err) {
        entering_failed(place, reply->err);
        return;
    }
    place->create_rev = entered_rev(place, reply);
    if (place->create_rev)
        place_step_in(place);
    place->own_watch.start_rev = place->create_rev + 1;
    place->own_watch_at_ns = place_now(place) + OWN_WATCH_AFTER_NS;
    place_plan_reread(place, REREAD_NS, false);
    const struct lun_kv_result *line = reply->is_success && place->is_scanning ? &reply->results[1] : NULL;
    if (!place->callbacks) {
        place_clean_up(place, reply->revision);
        place_maybe_free(place);
    } else if (place->mode == PLACE_TRY && !reply->is_success) {
        busy(place, reply);
    } else if (place->mode == PLACE_TRY || (line && line->n_kvs == 1)) {
        hold(place); /* proved by the very transaction that made us first */
    } else {
        wait_behind(place, line && line->n_kvs > 1 && line_is_single(place->rule) ? &line->kvs[1] : NULL);
    }
}

/* ---- the machine ------------------------------------------------------------------------------------ */

void place_tick(struct place *place) {
    const struct etcd_reply *reply = place->reply;
    bool is_due = place->is_due, is_key_gone = place->is_key_gone;
    place->reply = NULL;
    place->is_due = place->is_key_gone = false;
    switch (place->sm.state) {
    case ENTERING:
        if (reply)
            entered(place, reply);
        break;
    case WAITING:
        if (is_key_gone)
            place_vanish(place);
        else if (place_is_unwanted(place))
            place_clean_up(place, 0);
        else
            go_on_waiting(place);
        break;
    case HELD:
        if (is_key_gone)
            place_vanish(place);
        else if (place_is_unwanted(place))
            place_clean_up(place, 0);
        else
            go_on_holding(place);
        break;
    case LOOKING:
    case CHECKING:
        if (is_key_gone)
            place_vanish(place);
        else if (reply)
            looked(place, reply);
        break;
    case FINDING:
        if (reply)
            place_found(place, reply);
        else if (is_due)
            place_find(place);
        break;
    case LEAVING:
        if (reply)
            place_deleted(place, reply);
        else if (is_due)
            place_begin_leaving(place);
        break;
    case OWING:
        if (place->create_rev)
            place_begin_leaving(place); /* a late copy has appeared */
        else if (is_due)
            place_find(place);
        break;
    default: /* OVER */
        place_maybe_free(place);
        break;
    }
}

void place_on_timer(struct rpc_timer *timer) {
    struct place *place = CONTAINER_OF(timer, struct place, timer);
    place->is_due = true;
    place_tick(place);
}

/* ---- the owner, and the session --------------------------------------------------------------------- */

void place_leave(struct place *place) {
    assert(place_is_held(place));
    place->is_leaving_asked = true;
    if (place->call)
        etcd_cancel(place->call);
    else
        place_tick(place);
}

void place_give_up(struct place *place) {
    if (!place)
        return;
    place->callbacks = NULL;
    switch (place->sm.state) {
    case ENTERING:
    case LOOKING:
    case CHECKING:
        if (place->call)
            etcd_cancel(place->call);
        break;
    case WAITING:
    case HELD:
        place_clean_up(place, 0);
        break;
    default:
        break;
    }
    place_maybe_free(place);
}

void place_set_deadline(struct place *place, int64_t deadline_ns) {
    enum { BEFORE_MS = 100 };
    place->owner_at_ns = deadline_ns == RPC_NEVER ? RPC_NEVER : deadline_ns - BEFORE_MS * NS_PER_MS;
}

void place_on_stop(struct place *place) {
    if (place_is_held(place) && place->callbacks && place->is_told && !place->is_leaving_asked)
        place->callbacks->on_stop(place, session_lapse_reason(place->session), false);
}

void place_on_session_over(struct place *place, enum lun_reason reason) {
    if (place->sm.state == OVER) {
        place_maybe_free(place);
        return;
    }
    bool is_dispersing = session_is_dispersing(place->session);
    if (place->call)
        etcd_cancel(place->call);
    if (is_dispersing) {
        bool has_looked = (place->sm.state == LOOKING || place->sm.state == CHECKING) && !place->call;
        if (place->sm.state == WAITING || place->sm.state == HELD || has_looked)
            place_clean_up(place, 0);
        else if (!place->call)
            rpc_timer_start(&place->timer, place_now(place)); /* it was to be tried, or to look, later */
    } else {
        place_end(place, false);
    }
    bool is_kept = place->callbacks != NULL;
    place_tell_over(place, reason);
    if (!is_kept)
        place_maybe_free(place);
}

void place_kill(struct place *place) {
    place->callbacks = NULL;
    if (place->call)
        etcd_cancel(place->call);
    if (place->sm.state != OVER)
        place_end(place, false);
    place_maybe_free(place);
}
