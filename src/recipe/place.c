/* recipe/place.c - see place.h.
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
 *              PLACE_TRY: before it the same one without its writes, since one that could write is written to
 *              the raft log even when it does not
 *   WAITING    nothing. A watch on the predecessor (none if it is one of ours: it tells), after 100 ms one on
 *              our own key, a timer
 *   LOOKING    one read of our key and our predecessor, sent after whatever made us look; when the predecessor is
 *              gone, one of our key and whoever is before us now
 *   HELD       nothing. After 100 ms a watch on our own key, a timer
 *   CHECKING   held, and a read of our key
 *   FINDING    a read of our key, whose create revision we do not know; or a cancelled look, until it is back
 *   LEAVING    the delete; sent again until answered. After an error that etcd insists on the timer: again later
 *   OWING      nothing. A watch on our key, a timer: whatever appears there is deleted (a debt of the session)
 *   OVER       possibly a cancelled call on its way back; freed once it is, and the owner has let go
 *
 * The happy path is ENTERING, HELD, LEAVING, OVER, or through WAITING and LOOKING. Possible failure modes are
 * the end of the session (every state but OVER goes there: the keys go with the lease), our key vanishing
 * while we wait or hold (the owner is told, then OVER, or FINDING if a late copy may stand there), an error
 * that etcd insists on (the owner is told; what may be left is found and removed, tried again as long as the
 * session lives), and the owner giving up, in any state. One call in flight at a
 * time; a cancelled one still comes back, and `on_x` then goes on from the state it finds.
 *
 * Departs from etcd's Go client: the entering transaction names the predecessor too (one round trip less);
 * the watch is on "from now", since a start at or below the current revision is served by a 100 ms loop; our
 * own key is watched; a win is always confirmed (two watches are not ordered against each other); a lost
 * reply leaves a debt, not a zombie. */
#include "recipe/place_machine.h"

#include <assert.h>
#include <stdlib.h>

#define TO_END (SM_ARC(OVER) | SM_ARC(OWING))
static const struct sm_state states[] = {
    [ENTERING] = {"entering", SM_ARC(WAITING) | SM_ARC(LOOKING) | SM_ARC(HELD) | SM_ARC(FINDING) |
                                  SM_ARC(LEAVING) | TO_END},
    [WAITING] = {"waiting", SM_ARC(LOOKING) | SM_ARC(FINDING) | SM_ARC(LEAVING) | TO_END},
    [LOOKING] = {"looking", SM_ARC(LOOKING) | SM_ARC(WAITING) | SM_ARC(HELD) | SM_ARC(FINDING) |
                                SM_ARC(LEAVING) | TO_END},
    [HELD] = {"held", SM_ARC(CHECKING) | SM_ARC(FINDING) | SM_ARC(LEAVING) | TO_END},
    [CHECKING] = {"checking", SM_ARC(HELD) | SM_ARC(FINDING) | SM_ARC(LEAVING) | TO_END},
    [FINDING] = {"finding", SM_ARC(FINDING) | SM_ARC(LEAVING) | TO_END},
    [LEAVING] = {"leaving", SM_ARC(LEAVING) | TO_END},
    [OWING] = {"owing", SM_ARC(FINDING) | SM_ARC(LEAVING) | SM_ARC(OVER)},
    [OVER] = {"over", 0},
};

const struct sm_class place_class = {"place", states, sizeof states / sizeof states[0]};

struct place *place_of(struct list *in_session) {
    return CONTAINER_OF(in_session, struct place, in_session);
}

void *place_owner(const struct place *place) {
    return place->owner;
}

struct session *place_session(const struct place *place) {
    return place->session;
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

const char *place_owner_text(const struct place *place) {
    while (place->ahead)
        place = place->ahead;
    if (place_is_held(place))
        return "locked by this very program";
    return place->owner_text ? place->owner_text : "";
}

/* ---- its end ---------------------------------------------------------------------------------------- */

void place_maybe_free(struct place *place) {
    if (place->sm.state != OVER || place->call || place->callbacks)
        return;
    struct session *session = place->session;
    assert(list_is_empty(&place->followers) && !place->ahead);
    list_remove(&place->in_session);
    crowd_remove(session->crowd, &place->in_crowd);
    rpc_timer_fini(&place->timer);
    bytes_fini(&place->predecessor);
    bytes_fini(&place->value);
    free(place->owner_text);
    free(place->key);
    free(place);
    session_on_place_ended(session);
}

/* ---- telling the owner: always the last thing a step does ------------------------------------------- */

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

const struct lun_err place_not_ours = {
    .code = LUN_ENOTOWNER, .status = -1, .text = "the key had been deleted by somebody else"};

/* ---- the timer -------------------------------------------------------------------------------------- */

/* In LEAVING and FINDING it was for want of memory, or etcd would not: again. */
void place_on_timer(struct rpc_timer *timer) {
    struct place *place = CONTAINER_OF(timer, struct place, timer);
    switch (place->sm.state) {
    case LEAVING:
        place_begin_leaving(place);
        break;
    case FINDING:
    case OWING:
        place_find(place);
        break;
    case WAITING:
    case HELD:
        place_on_waiting_timer(place);
        break;
    default:
        break;
    }
}

/* ---- the owner, and the session --------------------------------------------------------------------- */

void place_leave(struct place *place) {
    assert(place_is_held(place));
    place->is_leaving_asked = true;
    if (place->call)
        etcd_cancel(place->call); /* CHECKING: on_looked goes on */
    else
        place_begin_leaving(place);
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

void place_on_stop(struct place *place) {
    if (place_is_held(place) && place->callbacks && place->is_told && !place->is_leaving_asked)
        place->callbacks->on_stop(place, LUN_LOST_EXPIRED, false);
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
        place_stop_watching(place);
        sm_move(&place->sm, OVER);
        place_release_followers(place);
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
    if (place->sm.state != OVER) {
        place_stop_watching(place);
        sm_move(&place->sm, OVER);
        place_release_followers(place);
    }
    place_maybe_free(place);
}
