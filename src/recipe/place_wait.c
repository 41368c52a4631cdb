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
        follower->predecessor_rev = 0;
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

void place_on_waiting_timer(struct place *place) {
    int64_t t = place_now(place);
    if (place->own_watch_at_ns <= t)
        watch_own(place);
    bool is_hedge = place->sm.state == WAITING && place->hedge < PLACE_N_HEDGES &&
                    place->hedge_base_ns + hedges_ns[place->hedge] <= t;
    if (is_hedge)
        place->hedge++;
    else if (place->reread_at_ns <= t && !place->ahead)
        place->is_owner_wanted = true; /* it may be another by now */
    if (is_hedge || place->reread_at_ns <= t)
        place_look(place, place->sm.state == HELD ? CHECKING : LOOKING);
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
    if (place->sm.state == WAITING)
        place_look(place, LOOKING);
    else
        place->is_dirty = true;
}

static void on_predecessor_watch_end(struct watcher *watcher, const struct lun_err *err,
                                     int64_t compact_rev) {
    struct place *place = CONTAINER_OF(watcher, struct place, predecessor_watch);
    (void)err, (void)compact_rev;
    place->reread_at_ns = place_now(place) + place_jittered(place, REWATCH_NS); /* looks, and watches again */
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
    place->reread_at_ns =
        place_now(place) + (err->code == LUN_ECOMPACTED ? 0 : place_jittered(place, REWATCH_NS));
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
    place->reread_at_ns = t + place_jittered(place, REREAD_NS);
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
        place->predecessor_watched_rev = 0;
        place->predecessor_rev = kv->create_rev;
        place->hedge = PLACE_N_HEDGES;
        place->hedge_base_ns = 0;
        if (bytes_copy(&place->predecessor, kv->key) == 0) {
            place->predecessor_watch.key = bytes_view(&place->predecessor);
            if (watch_start(place_etcd(place), &place->predecessor_watch))
                place->reread_at_ns = place_now(place) + REWATCH_NS;
        } else {
            place->reread_at_ns = place_now(place) + REWATCH_NS;
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

static void on_looked(void *arg, const struct etcd_reply *reply) {
    struct place *place = arg;
    int state = place->sm.state;
    place->call = NULL;
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
            place->reread_at_ns = place_now(place) + place_jittered(place, REREAD_NS);
            schedule(place);
            return;
        }
        place_clean_up(place, 0);
        place_tell_entered(place, &err);
        return;
    }
    const struct lun_kv_result *own = &reply->results[0], *before = &reply->results[1];
    if (own->n_kvs == 0 || own->kvs[0].create_rev != place->create_rev) {
        vanish(place);
        return;
    }
    place->reread_at_ns = place_now(place) + place_jittered(place, REREAD_NS);
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
    if (reply->n_results > 2)
        remember_owner(place, &reply->results[2]);
    if (before->n_kvs == 0) {
        place_hold(place);
        return;
    }
    if (!place->is_dirty) /* a read sent before the watch was made proves nothing about it */
        plan_hedges(place, reply->revision);
    place_wait_for(place, &before->kvs[0]);
    if (place->is_dirty) {
        place->is_dirty = false;
        place_look(place, LOOKING);
    }
}

/* One linearizable read of our key, whoever stands right before us, and, once per wait, the owner. */
void place_look(struct place *place, int next_state) {
    sm_move(&place->sm, next_state);
    place->is_dirty = false;
    unfollow(place);
    struct lun_kv_op reads[] = {
        {.kind = LUN_OP_RANGE, .key = place_key(place), .is_keys_only = true},
        {.kind = LUN_OP_RANGE,
         .key = place_prefix(place),
         .range_end = place_prefix_end(place),
         .max_create_rev = place->create_rev - 1,
         .sort_target = LUN_SORT_CREATE,
         .sort_order = LUN_SORT_DESCEND,
         .limit = 1,
         .is_keys_only = true},
        line_first(place_prefix(place), place_prefix_end(place)),
    };
    bool wants_owner = next_state == LOOKING && place->is_owner_wanted;
    place->is_owner_wanted = false;
    struct lun_txn txn = {.success = reads, .n_success = wants_owner ? 3 : 2};
    struct etcd_call_options how = {.deadline_ns = RPC_NEVER, .is_idempotent = true};
    if (etcd_txn(place_etcd(place), &txn, &how, on_looked, place, &place->call)) {
        sm_move(&place->sm, next_state == CHECKING ? HELD : WAITING);
        place->reread_at_ns = place_now(place) + REWATCH_NS;
        schedule(place);
    }
}
