/* recipe/place_watch.c - what a place waits for: watches, reads without cause, and the places of its own client.
 *
 * Waiting for a place of another client is a watch on its key, from "now"; once the server knows it, one read, since
 * what happened before is not told. If others wrote meanwhile the server may serve that watch from its slow loop:
 * then a few more reads (hedges) in the first 150 ms. An event is only a reason to read: what counts is the answer.
 *
 * The places of one client in one line are kept in its order. One that has another before it waits for that and asks
 * etcd nothing: when that one's key is deleted this client knows. So a thousand waiters of a client are one watch and
 * one slow re-read, however long the line is. A place whose session is over is none of them any more: it may be of an etcd
 * before this one, whose revisions mean nothing here, and nothing it knew is handed on.
 *
 * Where more than one may hold (line_is_single: no), each place waits by itself, for any deletion in the line, and then
 * reads how many are before it. */
#include <stdlib.h>

#include "recipe/place_machine.h"

/* When to read again after a watch began that may sit in the server's slow loop, until that has run. */
static const int64_t hedges_ns[PLACE_N_HEDGES] = {10 * NS_PER_MS, 25 * NS_PER_MS,  45 * NS_PER_MS,
                                                  70 * NS_PER_MS, 100 * NS_PER_MS, 150 * NS_PER_MS};
/* hedge_base_ns: the server was seen to serve this watch at once. */
enum { NO_HEDGES_NEEDED = -1 };

/* ---- the predecessor -------------------------------------------------------------------------------- */

static void stop_predecessor_watch(struct place *place) {
    if (place->predecessor_watch)
        watch_stop(&place->predecessor_watch->watcher);
}

void place_forget_predecessor(struct place *place) {
    stop_predecessor_watch(place);
    bytes_fini(&place->predecessor);
    free(place->obstacle);
    place->obstacle = NULL;
    place->predecessor_rev = 0;
    place->is_predecessor_next = false;
    place->predecessor_watched_rev = 0;
    place->hedge = PLACE_N_HEDGES;
    place->hedge_base_ns = 0;
}

static bool is_known_as(const struct lun_kv *kv, const struct place *place) {
    return kv->create_rev == place->create_rev && lun_bytes_equal(kv->key, place_key(place));
}

/* Without memory for it nothing is said of it. */
static void learn_obstacle(struct place *place, const struct lun_kv *kv) {
    struct bytes text;
    if (place_describe_obstacle(&text, line_prefix(place->line), kv))
        return;
    free(place->obstacle);
    place->obstacle = text.data;
}

bool place_learn_predecessor(struct place *place, const struct lun_kv *kv) {
    const struct place *ahead = place_ahead(place);
    if (ahead) {
        place->is_right_behind = is_known_as(kv, ahead);
        return true;
    }
    bool is_same = lun_bytes_equal(bytes_view(&place->predecessor), kv->key) &&
                   (place->predecessor_rev == 0 || place->predecessor_rev == kv->create_rev);
    if (!is_same || !place_is_watching_predecessor(place)) {
        place_forget_predecessor(place);
        if (bytes_copy(&place->predecessor, kv->key))
            return false;
    }
    learn_obstacle(place, kv);
    place->predecessor_rev = kv->create_rev;
    place->is_predecessor_next = true;
    return true;
}

static const struct watch_callbacks predecessor_callbacks;

bool place_watch_predecessor(struct place *place) {
    struct predecessor_watch *watch = place->predecessor_watch;
    if (!watch && (watch = calloc(1, sizeof *watch))) {
        watch->place = place;
        watch->watcher.callbacks = &predecessor_callbacks;
        watch->watcher.is_deletes_only = true;
        place->predecessor_watch = watch;
    }
    if (!watch)
        return false;
    bool is_single = line_is_single(place->rule);
    watch->watcher.key = is_single ? bytes_view(&place->predecessor) : line_prefix(place->line);
    watch->watcher.range_end = is_single ? (struct lun_bytes){NULL, 0} : line_prefix_end(place->line);
    return watch_start(place_etcd(place), &watch->watcher) == 0;
}

/* ---- the places of this client ---------------------------------------------------------------------- */

static struct place *of_line(struct list *node, const struct line *line) {
    return node == &line->places ? NULL : CONTAINER_OF(node, struct place, in_line);
}

static bool is_in(const struct place *place) {
    return !list_is_empty(&place->in_line);
}

struct place *place_ahead(const struct place *place) {
    return is_in(place) ? of_line(place->in_line.prev, place->line) : NULL;
}

struct place *place_behind(const struct place *place) {
    return is_in(place) ? of_line(place->in_line.next, place->line) : NULL;
}

/* Is nobody between the two? Certain when nothing at all was written between them, or when etcd said so. */
static bool is_next(const struct place *ahead, const struct place *behind) {
    return behind->create_rev == ahead->create_rev + 1 ||
           (behind->is_predecessor_next && behind->predecessor_rev == ahead->create_rev &&
            lun_bytes_equal(bytes_view(&behind->predecessor), place_key(ahead)));
}

void place_step_in(struct place *place) {
    if (session_is_over(place->session) || !line_is_single(place->rule))
        return;
    struct list *at = &place->line->places; /* answers come nearly in order: from the end */
    while (at->prev != &place->line->places &&
           CONTAINER_OF(at->prev, struct place, in_line)->create_rev > place->create_rev)
        at = at->prev;
    list_push_back(at, &place->in_line);
    struct place *ahead = place_ahead(place), *behind = place_behind(place);
    place->is_right_behind = ahead && is_next(ahead, place);
    if (!behind)
        return;
    behind->is_right_behind = is_next(place, behind);
    if (behind->sm.state == WAITING)
        place_tick(behind); /* it waits for us from now on */
}

/* What the first place of this client knew of those before it holds for the one behind it as well. */
static void inherit(struct place *behind, struct place *place, bool is_gone) {
    behind->is_proven = is_gone && place->is_proven && behind->is_right_behind;
    behind->is_far_back = false;
    stop_predecessor_watch(place); /* it borrows what is handed on */
    place_forget_predecessor(behind);
    if (behind->is_proven || place->predecessor_rev == 0)
        return;
    behind->predecessor = place->predecessor;
    behind->predecessor_rev = place->predecessor_rev;
    behind->is_predecessor_next = is_gone && place->is_predecessor_next && behind->is_right_behind;
    behind->obstacle = place->obstacle;
    place->obstacle = NULL;
    place->predecessor = (struct bytes){NULL, 0};
    place->predecessor_rev = 0;
}

void place_step_out(struct place *place, bool is_gone) {
    struct place *ahead = place_ahead(place), *behind = place_behind(place);
    if (!is_in(place))
        return;
    list_remove(&place->in_line);
    if (!behind)
        return;
    if (!ahead && !place_is_held(behind))
        inherit(behind, place, is_gone);
    behind->is_right_behind = behind->is_right_behind && place->is_right_behind && is_gone;
    if (ahead)
        return;
    behind->is_dirty = true;
    if (behind->sm.state == WAITING)
        place_tick(behind);
}

void place_leave_line(struct place *place) {
    if (place->sm.state == WAITING || place->sm.state == LOOKING)
        place_forget_predecessor(place);
    place_step_out(place, false);
}

void place_learn_front(struct place *place, const struct lun_kv_result *front) {
    struct place *behind = place_behind(place);
    for (size_t i = 0; i + 1 < front->n_kvs && behind; i++) {
        const struct lun_kv *here = &front->kvs[i], *next = &front->kvs[i + 1];
        while (behind && behind->create_rev < next->create_rev)
            behind = place_behind(behind);
        if (behind && is_known_as(next, behind))
            behind->is_right_behind = is_known_as(here, place_ahead(behind));
    }
}

/* ---- when to read without cause --------------------------------------------------------------------- */

void place_plan_reread(struct place *place, int64_t span_ns, bool is_urgent) {
    span_ns = pace_stretched(place_pace(place), span_ns);
    place->reread_at_ns = place_now(place) + place_jittered(place, span_ns);
    place->is_urgent = is_urgent;
    place->has_slot = false;
}

void place_plan_retry(struct place *place) {
    place->reread_at_ns = place_now(place) + place_jittered(place, REWATCH_NS);
    place->is_urgent = true;
    place->has_slot = false;
}

void place_plan_hedges(struct place *place, int64_t revision) {
    if (place->predecessor_watched_rev == 0 || place->hedge_base_ns != 0)
        return;
    bool has_nobody_written = revision <= place->predecessor_watched_rev;
    place->hedge_base_ns = has_nobody_written ? NO_HEDGES_NEEDED : place_now(place);
    place->hedge = has_nobody_written ? PLACE_N_HEDGES : 0;
}

/* A safety read is due. False: not yet, it got a later slot. */
static bool take_slot(struct place *place, int64_t now_ns) {
    struct pace *pace = place_pace(place);
    bool has_room = pace_has_room(pace);
    if (!place->has_slot || !has_room) {
        place->reread_at_ns = pace_slot(pace, has_room ? now_ns : now_ns + PACE_FULL_NS,
                                        place->is_urgent ? PACE_URGENT_NS : PACE_IDLE_NS);
        place->has_slot = true;
    }
    return place->reread_at_ns <= now_ns;
}

/* A hedge is due: true when it may go. Those that are overdue because answers are slow, or find no room, are left
 * out. */
static bool take_hedge(struct place *place, int64_t now_ns) {
    bool is_due = false;
    while (place->sm.state == WAITING && place->hedge < PLACE_N_HEDGES &&
           place->hedge_base_ns + hedges_ns[place->hedge] <= now_ns) {
        place->hedge++;
        is_due = true;
    }
    return is_due && pace_has_room(place_pace(place));
}

bool place_is_owner_due(const struct place *place) {
    return place->owner_at_ns <= place_now(place);
}

bool place_is_look_due(struct place *place) {
    int64_t now_ns = place_now(place);
    bool is_due = take_hedge(place, now_ns) || (place->reread_at_ns <= now_ns && take_slot(place, now_ns));
    if (is_due) {
        place->is_paced = true;
        pace_begin(place_pace(place));
    }
    return is_due;
}

void place_watch_own(struct place *place, int64_t start_rev) {
    place->is_own_watch_lost = false;
    place->own_watch_at_ns = RPC_NEVER;
    place->own_watch.start_rev = start_rev;
    if (watch_start(place_etcd(place), &place->own_watch))
        place->own_watch_at_ns = place_now(place) + REWATCH_NS;
}

static int64_t least(int64_t a, int64_t b) {
    return a < b ? a : b;
}

void place_schedule(struct place *place) {
    if (place->own_watch_at_ns <= place_now(place))
        place_watch_own(place, place->own_watch.start_rev);
    int64_t at = place->reread_at_ns;
    at = least(at, place->own_watch_at_ns);
    if (place->sm.state == WAITING) {
        at = least(at, place->owner_at_ns);
        if (place->hedge < PLACE_N_HEDGES)
            at = least(at, place->hedge_base_ns + hedges_ns[place->hedge]);
    }
    if (at == RPC_NEVER)
        rpc_timer_stop(&place->timer);
    else
        rpc_timer_start(&place->timer, at);
}

/* ---- the watches ------------------------------------------------------------------------------------ */

static void on_predecessor_created(struct watcher *watcher, int64_t revision) {
    struct place *place = CONTAINER_OF(watcher, struct predecessor_watch, watcher)->place;
    place->predecessor_watched_rev = revision;
    place->hedge = PLACE_N_HEDGES;
    place->hedge_base_ns = 0;
    place->is_dirty = true;
    place_tick(place);
}

static void on_predecessor_event(struct watcher *watcher, const struct watch_event *event) {
    struct place *place = CONTAINER_OF(watcher, struct predecessor_watch, watcher)->place;
    if (!event->is_delete)
        return;
    place->predecessor_rev = 0;
    place->is_dirty = true;
    place_tick(place);
}

static void on_predecessor_watch_end(struct watcher *watcher, const struct lun_err *err,
                                     int64_t compact_rev) {
    struct place *place = CONTAINER_OF(watcher, struct predecessor_watch, watcher)->place;
    (void)err, (void)compact_rev;
    place_plan_reread(place, REWATCH_NS, true); /* looks, and watches again */
    if (place->sm.state == WAITING)
        place_schedule(place);
}

static const struct watch_callbacks predecessor_callbacks = {on_predecessor_created, on_predecessor_event,
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
    } else {
        if (!event->is_delete || event->kv.mod_rev <= place->create_rev)
            return;
        place->is_key_gone = true;
    }
    place_tick(place);
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
    place_plan_reread(place, REWATCH_NS, true);
    if (err->code == LUN_ECOMPACTED)
        place->reread_at_ns = place_now(place);
    if (place->sm.state == WAITING || place->sm.state == HELD)
        place_schedule(place);
}

static const struct watch_callbacks own_callbacks = {on_own_created, on_own_event, on_own_watch_end};

void place_watch_init(struct place *place) {
    place->hedge = PLACE_N_HEDGES;
    place->own_watch_at_ns = place->reread_at_ns = place->owner_at_ns = RPC_NEVER;
    place->own_watch.callbacks = &own_callbacks;
    place->own_watch.is_deletes_only = place->own_watch.is_resumed = true;
}

void place_stop_watching(struct place *place) {
    watch_stop(&place->own_watch);
    stop_predecessor_watch(place);
    rpc_timer_stop(&place->timer);
}
