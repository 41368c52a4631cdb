/* recipe/place_wait.c - a place that waits, and one that holds: who is before us, watches, reads, and when.
 *
 * Waiting is a watch on the predecessor alone, from "now"; once the server knows it, one read, since what
 * happened before is not told. If others wrote meanwhile the server may serve that watch from its slow loop:
 * then a few more reads (hedges) in the first 150 ms. An event is only a reason to look: what counts is the
 * read. A predecessor of this very client tells by itself. */
#include "recipe/place_machine.h"

#include <stdlib.h>

#include "recipe/line.h"

/* When to read again after a watch began that may sit in the server's slow loop, until that has run. */
static const int64_t hedges_ns[PLACE_N_HEDGES] = {10 * NS_PER_MS, 25 * NS_PER_MS,  45 * NS_PER_MS,
                                                  70 * NS_PER_MS, 100 * NS_PER_MS, 150 * NS_PER_MS};

/* ---- places of one client behind each other --------------------------------------------------------- */

static void unfollow(struct place *place) {
    place->ahead = NULL;
    list_remove(&place->in_followers);
}

/* Those who wait for this place: it is gone, or it can no longer tell. Either way they look for themselves. */
void place_release_followers(struct place *place) {
    struct list todo, *node;
    list_move(&place->followers, &todo);
    while ((node = list_pop_front(&todo))) {
        struct place *follower = CONTAINER_OF(node, struct place, in_followers);
        follower->ahead = NULL;
        follower->is_predecessor_gone = true;
        if (follower->sm.state == WAITING && !session_is_over(follower->session))
            place_look(follower, LOOKING);
        else
            follower->is_dirty = true;
    }
}

/* Will it tell when its key goes? From being in etcd until its delete is answered, or its own watch says so. */
static bool can_be_followed(const struct place *place) {
    return place->create_rev && place->sm.state != ENTERING && place->sm.state < FINDING;
}

static struct place *find_ours(const struct place *place, const struct lun_kv *kv) {
    struct crowd_node *node = crowd_find(place->session->crowd, kv->key);
    struct place *ours = node ? CONTAINER_OF(node, struct place, in_crowd) : NULL;
    bool is_it =
        ours && ours->create_rev == kv->create_rev && (can_be_followed(ours) || ours->sm.state == LEAVING);
    return is_it && !session_is_over(ours->session) ? ours : NULL;
}

/* ---- when to look ----------------------------------------------------------------------------------- */

void place_stop_watching(struct place *place) {
    unfollow(place);
    watch_stop(&place->own_watch);
    watch_stop(&place->predecessor_watch);
    rpc_timer_stop(&place->timer);
}

static void schedule(struct place *place) {
    int64_t at = place->reread_at_ns;
    if (place->own_watch_at_ns < at)
        at = place->own_watch_at_ns;
    if (place->sm.state == WAITING && place->hedge < PLACE_N_HEDGES) {
        int64_t hedge_at = place->hedge_base_ns + hedges_ns[place->hedge];
        if (hedge_at < at)
            at = hedge_at;
    }
    rpc_timer_start(&place->timer, at);
}

static void watch_own(struct place *place) {
    place->own_watch_at_ns = RPC_NEVER;
    if (watch_start(place_etcd(place), &place->own_watch))
        place->own_watch_at_ns = place_now(place) + REWATCH_NS;
}

/* The next slow re-read. One that waits for another place of this client needs none: that one looks, and tells. */
static void plan_reread(struct place *place, int64_t span_ns, bool is_urgent) {
    span_ns = pace_stretched(&place->session->crowd->pace, span_ns);
    place->reread_at_ns = place_now(place) + place_jittered(place, span_ns);
    place->is_urgent = is_urgent;
    place->has_slot = false;
}

/* A safety read is due. False: not yet, it got a later slot. */
static bool take_slot(struct place *place, int64_t now_ns) {
    struct pace *pace = &place->session->crowd->pace;
    bool has_room = pace_has_room(pace);
    if (!place->has_slot || !has_room) {
        place->reread_at_ns = pace_slot(pace, has_room ? now_ns : now_ns + PACE_FULL_NS,
                                        place->is_urgent ? PACE_URGENT_NS : PACE_IDLE_NS);
        place->has_slot = true;
    }
    return place->reread_at_ns <= now_ns;
}

/* A hedge is due: true when it may go. Those that are overdue because answers are slow, or find no room, are left out. */
static bool take_hedge(struct place *place, int64_t now_ns) {
    bool is_due = false;
    while (place->sm.state == WAITING && place->hedge < PLACE_N_HEDGES &&
           place->hedge_base_ns + hedges_ns[place->hedge] <= now_ns) {
        place->hedge++;
        is_due = true;
    }
    return is_due && pace_has_room(&place->session->crowd->pace);
}

static void look_paced(struct place *place, int next_state) {
    place->is_paced = true;
    pace_begin(&place->session->crowd->pace);
    place_look(place, next_state);
}

void place_on_waiting_timer(struct place *place) {
    int64_t t = place_now(place);
    if (place->own_watch_at_ns <= t)
        watch_own(place);
    if (take_hedge(place, t) || (place->reread_at_ns <= t && take_slot(place, t)))
        look_paced(place, place->sm.state == HELD ? CHECKING : LOOKING);
    else
        schedule(place);
}

/* ---- the watches ------------------------------------------------------------------------------------ */

/* Our key is gone although the session believes itself alive. A late copy may stand in its place. */
static void vanish(struct place *place) {
    if (!session_suspect(place->session))
        return; /* it was over, and has told us so */
    if (place->call)
        etcd_cancel(place->call);
    place->create_rev = 0;
    if (place->has_unanswered)
        place_find(place);
    else
        place_settle(place, 0);
    if (place->is_leaving_asked)
        place_tell_left(place, &place_not_ours);
    else
        place_tell_over(place, LUN_LOST_KEY_DELETED);
}

static void on_predecessor_created(struct watcher *watcher, int64_t revision) {
    struct place *place = CONTAINER_OF(watcher, struct place, predecessor_watch);
    place->predecessor_watched_rev = revision;
    place->hedge = PLACE_N_HEDGES;
    place->hedge_base_ns = 0;
    if (place->sm.state == WAITING)
        place_look(place, LOOKING);
    else
        place->is_dirty = true;
}

static void on_predecessor_event(struct watcher *watcher, const struct watch_event *event) {
    struct place *place = CONTAINER_OF(watcher, struct place, predecessor_watch);
    if (!event->is_delete)
        return;
    place->is_predecessor_gone = true;
    if (place->sm.state == WAITING)
        place_look(place, LOOKING);
    else
        place->is_dirty = true;
}

static void on_predecessor_watch_end(struct watcher *watcher, const struct lun_err *err,
                                     int64_t compact_rev) {
    struct place *place = CONTAINER_OF(watcher, struct place, predecessor_watch);
    (void)err, (void)compact_rev;
    plan_reread(place, REWATCH_NS, true); /* looks, and watches again */
    if (place->sm.state == WAITING)
        schedule(place);
}

const struct watch_callbacks place_predecessor_callbacks = {on_predecessor_created, on_predecessor_event,
                                                            on_predecessor_watch_end};

static void on_own_created(struct watcher *watcher, int64_t revision) {
    (void)watcher, (void)revision; /* it starts right after our create revision: nothing is missed */
}

static void on_own_event(struct watcher *watcher, const struct watch_event *event) {
    struct place *place = CONTAINER_OF(watcher, struct place, own_watch);
    if (place->sm.state == OWING) {
        if (event->is_delete)
            return;
        place->create_rev = event->kv.create_rev; /* the late copy */
        place_begin_leaving(place);
        return;
    }
    if (!event->is_delete || event->kv.mod_rev <= place->create_rev)
        return;
    vanish(place);
}

static void on_own_watch_end(struct watcher *watcher, const struct lun_err *err, int64_t compact_rev) {
    struct place *place = CONTAINER_OF(watcher, struct place, own_watch);
    (void)compact_rev;
    place->is_own_watch_lost = true;
    if (place->sm.state == OWING) {
        rpc_timer_start(&place->timer, place_now(place) + place_jittered(place, REWATCH_NS));
        return;
    }
    /* Look, then watch from the revision of the reply. */
    plan_reread(place, REWATCH_NS, true);
    if (err->code == LUN_ECOMPACTED)
        place->reread_at_ns = place_now(place);
    if (place->sm.state == WAITING || place->sm.state == HELD)
        schedule(place);
}

const struct watch_callbacks place_own_callbacks = {on_own_created, on_own_event, on_own_watch_end};

/* ---- to wait, to look, to hold ---------------------------------------------------------------------- */

void place_hold(struct place *place) {
    unfollow(place);
    watch_stop(&place->predecessor_watch);
    bytes_fini(&place->predecessor);
    free(place->owner_text);
    place->owner_text = NULL;
    sm_move(&place->sm, HELD);
    int64_t t = place_now(place);
    if (!watch_is_running(&place->own_watch))
        place->own_watch_at_ns = t + OWN_WATCH_AFTER_NS;
    plan_reread(place, REREAD_NS, false);
    schedule(place);
    if (session_valid_until_ns(place->session) == 0)
        return; /* the validity will tell the session, and the session us: not a win any more */
    place_tell_entered(place, NULL);
}

/* Waits for the one before us; `kv` borrowed. */
void place_wait_for(struct place *place, const struct lun_kv *kv) {
    struct place *ours = find_ours(place, kv);
    if (ours) {
        watch_stop(&place->predecessor_watch);
        unfollow(place);
        place->ahead = ours;
        place->is_predecessor_gone = false;
        place->reread_at_ns = RPC_NEVER; /* that one looks, and tells */
        place->hedge = PLACE_N_HEDGES;
        list_push_back(&ours->followers, &place->in_followers);
        sm_move(&place->sm, WAITING);
        schedule(place);
        return;
    }
    bool is_same =
        place->predecessor_rev == kv->create_rev && lun_bytes_equal(bytes_view(&place->predecessor), kv->key);
    if (!is_same || !watch_is_running(&place->predecessor_watch)) {
        watch_stop(&place->predecessor_watch);
        bytes_fini(&place->predecessor);
        place->is_predecessor_gone = false;
        place->predecessor_watched_rev = 0;
        place->predecessor_rev = kv->create_rev;
        place->hedge = PLACE_N_HEDGES;
        place->hedge_base_ns = 0;
        if (bytes_copy(&place->predecessor, kv->key) == 0) {
            place->predecessor_watch.key = bytes_view(&place->predecessor);
            if (watch_start(place_etcd(place), &place->predecessor_watch))
                plan_reread(place, REWATCH_NS, true);
        } else {
            place->is_predecessor_gone = true;
            plan_reread(place, REWATCH_NS, true);
        }
    }
    sm_move(&place->sm, WAITING);
    schedule(place);
}

static void remember_owner(struct place *place, const struct lun_kv_result *result) {
    struct bytes text;
    if (result->n_kvs == 0 || place_describe(&text, &result->kvs[0]))
        return;
    free(place->owner_text);
    place->owner_text = text.data;
}

/* Did this read show that nothing was written since the watch was made? Then the server serves it at once;
 * otherwise it may sit in the slow loop, which says nothing for 100 ms. */
static void plan_hedges(struct place *place, int64_t read_rev) {
    if (place->predecessor_watched_rev == 0)
        return;
    if (place->hedge == PLACE_N_HEDGES && place->hedge_base_ns == 0 &&
        read_rev > place->predecessor_watched_rev) {
        place->hedge_base_ns = place_now(place);
        place->hedge = 0;
    } else if (place->hedge_base_ns == 0) {
        place->hedge_base_ns = -1; /* synchronised: no hedges for this watch */
    }
}

static void look_again_if_dirty(struct place *place) {
    if (place->is_dirty)
        place_look(place, LOOKING);
}

/* Our own key is there. */
static void on_looked_before(struct place *place, const struct etcd_reply *reply) {
    if (reply->n_results == 1) { /* behind one of ours */
        place->reread_at_ns = RPC_NEVER;
        sm_move(&place->sm, WAITING);
        schedule(place);
        look_again_if_dirty(place);
        return;
    }
    const struct lun_kv_result *before = &reply->results[1];
    bool is_there =
        before->n_kvs > 0 && (place->is_asking_before || before->kvs[0].create_rev == place->predecessor_rev);
    if (reply->n_results > 2)
        remember_owner(place, &reply->results[2]);
    if (!is_there && place->is_asking_before) {
        place_hold(place);
        return;
    }
    if (!is_there) {
        place->is_predecessor_gone = true;
        place_look(place, LOOKING);
        return;
    }
    if (!place->is_dirty) /* a read sent before the watch was made proves nothing about it */
        plan_hedges(place, reply->revision);
    place_wait_for(place, &before->kvs[0]);
    look_again_if_dirty(place);
}

static void on_looked(void *arg, const struct etcd_reply *reply) {
    struct place *place = arg;
    int state = place->sm.state;
    place->call = NULL;
    if (place->is_paced)
        pace_end(&place->session->crowd->pace, place_now(place) - place->looked_at_ns);
    place->is_paced = false;
    if (state == FINDING) {
        place_find(place);
        return;
    }
    if (state != LOOKING && state != CHECKING) {
        place_maybe_free(place);
        return;
    }
    if (!place->callbacks || place->is_leaving_asked) {
        place_clean_up(place, 0);
        return;
    }
    if (reply->err) {
        struct lun_err err = *reply->err;
        if (state == CHECKING) { /* it says nothing about our key: go on holding, ask again later */
            sm_move(&place->sm, HELD);
            plan_reread(place, REREAD_NS, false);
            schedule(place);
            return;
        }
        place_clean_up(place, 0);
        place_tell_entered(place, &err);
        return;
    }
    const struct lun_kv_result *own = &reply->results[0];
    if (own->n_kvs == 0 || own->kvs[0].create_rev != place->create_rev) {
        vanish(place);
        return;
    }
    plan_reread(place, REREAD_NS, false);
    if (place->is_own_watch_lost) {
        place->is_own_watch_lost = false;
        place->own_watch.start_rev = reply->revision + 1;
        watch_own(place);
    }
    if (state == CHECKING) {
        sm_move(&place->sm, HELD);
        schedule(place);
        return;
    }
    on_looked_before(place, reply);
}

/* One linearizable read of our key and, while we wait: of the one before us, as long as it is not known to be gone, and
 * once per wait of the owner; then of whoever is before us now, for which etcd goes through the whole line. */
void place_look(struct place *place, int next_state) {
    sm_move(&place->sm, next_state);
    place->is_dirty = false;
    place->looked_at_ns = place_now(place);
    struct lun_kv_op own = {.kind = LUN_OP_RANGE, .key = place_key(place), .is_keys_only = true};
    struct lun_kv_op predecessor = {
        .kind = LUN_OP_RANGE, .key = bytes_view(&place->predecessor), .is_keys_only = true};
    struct lun_kv_op before = {.kind = LUN_OP_RANGE,
                               .key = place_prefix(place),
                               .range_end = place_prefix_end(place),
                               .max_create_rev = place->create_rev - 1,
                               .sort_target = LUN_SORT_CREATE,
                               .sort_order = LUN_SORT_DESCEND,
                               .limit = 1,
                               .is_keys_only = true};
    place->is_asking_before = place->is_predecessor_gone;
    bool is_alone = next_state == CHECKING || (place->ahead && !place->is_predecessor_gone);
    bool wants_owner = !is_alone && !place->is_asking_before && place->is_owner_wanted;
    place->is_owner_wanted = place->is_owner_wanted && !wants_owner;
    struct lun_kv_op reads[] = {own, place->is_asking_before ? before : predecessor,
                                line_first(place_prefix(place), place_prefix_end(place))};
    struct lun_txn txn = {.success = reads, .n_success = is_alone ? 1 : wants_owner ? 3 : 2};
    struct etcd_call_options how = {.class = ETCD_LOOK, .deadline_ns = RPC_NEVER, .is_idempotent = true};
    if (etcd_txn(place_etcd(place), &txn, &how, on_looked, place, &place->call)) {
        if (place->is_paced)
            pace_end(&place->session->crowd->pace, 0);
        place->is_paced = false;
        sm_move(&place->sm, next_state == CHECKING ? HELD : WAITING);
        plan_reread(place, REWATCH_NS, true);
        schedule(place);
    }
}
