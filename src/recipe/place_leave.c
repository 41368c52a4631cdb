/* recipe/place_leave.c - how a place ends: what it may have in etcd is removed, however often that takes; the owner is
 * told; the memory goes. */
#include <stdlib.h>

#include "recipe/place_machine.h"

/* ---- its end ---------------------------------------------------------------------------------------- */

/* Frees one that is OVER, that nobody owns, and that has nothing in flight. */
void place_maybe_free(struct place *place) {
    if (place->sm.state != OVER || place->call || place->callbacks)
        return;
    struct session *session = place->session;
    list_remove(&place->in_session);
    place_index_remove(session->index, &place->in_index);
    place_index_line_release(session->index, place->line);
    rpc_timer_fini(&place->timer);
    bytes_fini(&place->predecessor);
    free(place->obstacle);
    free(place->predecessor_watch);
    bytes_fini(&place->value);
    free(place->key);
    free(place);
    session_on_place_ended(session);
}

/* ---- telling the owner: always the last thing a step does, for the place may be freed then ------------ */

void place_tell_entered(struct place *place, const struct lun_err *err) {
    if (!place->callbacks || place->is_told)
        return;
    place->is_told = true;
    place->callbacks->on_entered(place, err);
}

void place_tell_left(struct place *place, const struct lun_err *err) {
    if (!place->callbacks || !place->is_leaving_asked)
        return;
    place->is_leaving_asked = false;
    place->callbacks->on_left(place, err);
}

/* What the owner waits for, or holds, is over. */
void place_tell_over(struct place *place, enum lun_reason reason) {
    struct lun_err err;
    int code = reason == LUN_LOST_CLOSED ? LUN_ECLOSED : LUN_ELOST;
    (void)lun_err_set(&err, code,
                      reason == LUN_LOST_CLOSED ? "the session was closed%s" : "the place was lost: %s",
                      reason == LUN_LOST_CLOSED ? "" : lun_reason_name(reason));
    if (!place->callbacks)
        return;
    if (!place->is_told)
        place_tell_entered(place, &err);
    else if (place->is_leaving_asked)
        place_tell_left(place, &err);
    else
        place->callbacks->on_stop(place, reason, true);
}

static const struct lun_err not_ours = {
    .code = LUN_ENOTOWNER, .status = -1, .text = "the key had been deleted by another client"};

/* ---- leaving: what a place may have in etcd is removed, however often that takes ---------------------- */

/* To OVER without a word: nothing more is sent. */
void place_end(struct place *place, bool is_gone) {
    place_stop_watching(place);
    place_step_out(place, is_gone);
    sm_move(&place->sm, OVER);
}

/* Nothing of it is in etcd as of `revision`: to OVER, or to OWING. */
static void settle(struct place *place, int64_t revision) {
    place_stop_watching(place);
    const struct session *session = place->session;
    int64_t left_ns = session->debts_until_ns - place_now(place);
    bool is_lease_kept = !session_is_over(session) || session_is_dispersing(session);
    if (!place->has_unanswered || !is_lease_kept || left_ns <= 0) {
        place_end(place, true);
        return;
    }
    place_step_out(place, true);
    place->create_rev = 0;
    sm_move(&place->sm, OWING);
    place->own_watch.is_deletes_only = false;
    place->own_watch.start_rev = revision + 1;
    bool is_watching = watch_start(place_etcd(place), &place->own_watch) == 0;
    int64_t until_reread = is_watching ? place_jittered(place, REREAD_NS) : REWATCH_NS;
    rpc_timer_start(&place->timer, place_now(place) + (until_reread < left_ns ? until_reread : left_ns));
}

/* Our key is there: to LEAVING. */
void place_begin_leaving(struct place *place) {
    place_stop_watching(place);
    if (place_send_delete(place))
        rpc_timer_start(&place->timer, place_now(place) + REWATCH_NS); /* no memory: again in a while */
    sm_move(&place->sm, LEAVING);
}

/* Our key may be there: to FINDING. A look that is still in flight was cancelled: then once that is back. */
void place_find(struct place *place) {
    place_stop_watching(place);
    place_step_out(place, false);
    sm_move(&place->sm, FINDING);
    if (!place->call && place_send_find(place))
        rpc_timer_start(&place->timer, place_now(place) + REWATCH_NS);
}

/* Whatever may be in etcd is removed. From a state in which nothing is in flight. */
void place_clean_up(struct place *place, int64_t revision) {
    if (place->create_rev)
        place_begin_leaving(place);
    else if (place->has_unanswered)
        place_find(place);
    else
        settle(place, revision);
}

/* Cancelled because the session closes, though its lease lives on: the same again, this time with an end. */
static bool is_cut_short(const struct place *place, const struct etcd_reply *reply) {
    return reply->err && reply->err->code == LUN_ECANCELLED && session_is_dispersing(place->session);
}

/* Etcd refused, or there was no memory to ask: the key must not stay as long as its lease is renewed. What etcd
 * refuses is given up once the session is closed; of one that is only lost, the user may be good again. */
static void insist_later(struct place *place, const struct lun_err *err) {
    bool is_ours = err->code == LUN_ENOMEM;
    if (!is_ours && session_state(place->session) == LUN_SESSION_CLOSED) {
        place_end(place, false);
        return;
    }
    rpc_timer_start(&place->timer,
                    place_now(place) + place_jittered(place, is_ours ? REWATCH_NS : REREAD_NS));
}

void place_deleted(struct place *place, const struct etcd_reply *reply) {
    place->has_unanswered |= reply->has_unanswered || (reply->err && reply->err->is_outcome_unknown);
    if (is_cut_short(place, reply)) {
        place_begin_leaving(place);
        return;
    }
    bool is_owned = place->callbacks != NULL;
    if (reply->err) {
        struct lun_err err = *reply->err;
        insist_later(place, &err);
        place_tell_left(place, &err);
    } else {
        bool is_deleted = reply->results[0].deleted > 0 || reply->has_unanswered;
        settle(place, reply->revision);
        place_tell_left(place, is_deleted ? NULL : &not_ours);
    }
    if (!is_owned)
        place_maybe_free(place);
}

void place_found(struct place *place, const struct etcd_reply *reply) {
    if (is_cut_short(place, reply)) {
        place_find(place);
    } else if (reply->err) {
        insist_later(place, reply->err);
    } else if (reply->results[0].n_kvs > 0) {
        place->create_rev = reply->results[0].kvs[0].create_rev;
        place_begin_leaving(place);
    } else {
        settle(place, reply->revision);
    }
    place_maybe_free(place);
}

/* Our key is gone although the session believes itself alive. A late copy may stand in its place. */
void place_vanish(struct place *place) {
    if (!session_suspect(place->session))
        return; /* it was over, and has told us so */
    if (place->call)
        etcd_cancel(place->call);
    place_step_out(place, true);
    place->create_rev = 0;
    if (place->has_unanswered)
        place_find(place);
    else
        settle(place, 0);
    if (place->is_leaving_asked)
        place_tell_left(place, &not_ours);
    else
        place_tell_over(place, LUN_LOST_KEY_DELETED);
}
