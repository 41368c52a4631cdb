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
 *   LOOKING    one read of our key and our predecessor, sent after whatever made us look
 *   HELD       nothing. After 100 ms a watch on our own key, a timer
 *   CHECKING   held, and the same read
 *   FINDING    a read of our key, whose create revision we do not know (or a cancelled look, until it is
 * back) LEAVING    the delete; sent again until answered. After an error that etcd insists on the timer:
 * again later OWING      nothing. A watch on our key: whatever appears there is deleted (a debt of the
 * session) OVER       possibly a cancelled call on its way back; freed once it is, and the owner has let go
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
#include "recipe/place.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "recipe/crowd.h"
#include "recipe/session.h"

enum { ENTERING, WAITING, LOOKING, HELD, CHECKING, FINDING, LEAVING, OWING, OVER };

#define TO_END (SM_ARC(OVER) | SM_ARC(OWING))
static const struct sm_state states[] = {
    [ENTERING] = {"entering", SM_ARC(WAITING) | SM_ARC(LOOKING) | SM_ARC(HELD) | SM_ARC(FINDING) |
                                  SM_ARC(LEAVING) | TO_END},
    [WAITING] = {"waiting", SM_ARC(LOOKING) | SM_ARC(FINDING) | SM_ARC(LEAVING) | TO_END},
    [LOOKING] = {"looking", SM_ARC(WAITING) | SM_ARC(HELD) | SM_ARC(FINDING) | SM_ARC(LEAVING) | TO_END},
    [HELD] = {"held", SM_ARC(CHECKING) | SM_ARC(FINDING) | SM_ARC(LEAVING) | TO_END},
    [CHECKING] = {"checking", SM_ARC(HELD) | SM_ARC(FINDING) | SM_ARC(LEAVING) | TO_END},
    [FINDING] = {"finding", SM_ARC(FINDING) | SM_ARC(LEAVING) | TO_END},
    [LEAVING] = {"leaving", SM_ARC(LEAVING) | TO_END},
    [OWING] = {"owing", SM_ARC(FINDING) | SM_ARC(LEAVING) | SM_ARC(OVER)},
    [OVER] = {"over", 0},
};
static const struct sm_class place_class = {"place", states, sizeof states / sizeof states[0]};

#define OWN_WATCH_AFTER_NS                                                                                   \
    (100 * NS_PER_MS)             /* a watch per held lock costs etcd 6 to 16 %: short ones do without */
#define REREAD_NS (10 * NS_PER_S) /* the slow safety re-read: server bugs drop a watch event */
#define REWATCH_NS NS_PER_S       /* after the server refused a watch */
#define CLOSING_NS (5 * NS_PER_S) /* what leaving may take, beyond the TTL, once the session closes */

/* When to read again after a watch began that may sit in the server's slow loop, until that has run. */
static const int64_t hedges_ns[] = {10 * NS_PER_MS, 25 * NS_PER_MS,  45 * NS_PER_MS,
                                    70 * NS_PER_MS, 100 * NS_PER_MS, 150 * NS_PER_MS};
enum { N_HEDGES = sizeof hedges_ns / sizeof hedges_ns[0] };

struct place {
    struct sm sm;
    struct session *session;
    struct list in_session;
    const struct place_callbacks *callbacks; /* NULL: the owner has let go */
    void *owner;
    enum place_mode mode;
    bool is_peeking;       /* PLACE_TRY: the call in flight only reads */
    bool is_told;          /* on_entered was called */
    bool is_leaving_asked; /* place_leave: on_left is owed */
    bool has_unanswered;   /* a copy of the entering transaction may yet be carried out */
    bool is_dirty;         /* something happened while we were looking: look again */
    bool is_owner_wanted;  /* the next look also asks who the owner is */
    bool is_own_watch_lost;
    char *key;                  /* "<name>/<lease>", its terminator, "<name>0" */
    size_t key_len, prefix_len; /* the prefix with its '/' */
    int64_t create_rev;
    struct etcd_call *call;
    struct rpc_timer timer;
    struct watcher own_watch, predecessor_watch;
    struct crowd_node in_crowd;
    struct place *ahead; /* our predecessor, if it is one of this client's: no watch on it */
    struct list followers, in_followers;
    struct bytes predecessor;
    int64_t predecessor_rev;         /* its create revision */
    int64_t predecessor_watched_rev; /* etcd's revision when the watch was created; 0: not yet */
    int64_t own_watch_at_ns, reread_at_ns, hedge_base_ns;
    unsigned hedge; /* the next one; N_HEDGES: none */
    char *owner_text;
    struct bytes value; /* PLACE_TRY: what to enter with once nobody was seen */
};

/* ---- small things
 * ------------------------------------------------------------------------------------------------------- */

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

static struct lun_bytes prefix(const struct place *place) {
    return (struct lun_bytes){place->key, place->prefix_len};
}

static struct lun_bytes prefix_end(const struct place *place) {
    return (struct lun_bytes){place->key + place->key_len + 1, place->prefix_len};
}

static struct etcd *etcd_of(const struct place *place) {
    return place->session->etcd;
}

static int64_t now(const struct place *place) {
    return rpc_now(place->session->rpc);
}

static int64_t jittered(const struct place *place, int64_t span) {
    return span - (int64_t)(rpc_random(place->session->rpc) % (uint64_t)(span / 4 + 1));
}

static void unfollow(struct place *place);
static void look(struct place *place, int next_state);

static void stop_watching(struct place *place) {
    unfollow(place);
    watch_stop(&place->own_watch);
    watch_stop(&place->predecessor_watch);
    rpc_timer_stop(&place->timer);
}

/* ---- places of one client behind each other
 * ------------------------------------------------------------------------------ */

static void unfollow(struct place *place) {
    place->ahead = NULL;
    list_remove(&place->in_followers);
}

/* Those who wait for this place: it is gone, or it can no longer tell. Either way they look for themselves.
 */
static void release_followers(struct place *place) {
    struct list todo, *node;
    list_move(&place->followers, &todo);
    while ((node = list_pop_front(&todo))) {
        struct place *follower = CONTAINER_OF(node, struct place, in_followers);
        follower->ahead = NULL;
        follower->predecessor_rev = 0;
        if (follower->sm.state == WAITING && !session_is_over(follower->session))
            look(follower, LOOKING);
        else
            follower->is_dirty = true;
    }
}

/* Will it tell when its key goes? From being in etcd until its delete is answered, or its own watch says so.
 */
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

static void maybe_free(struct place *place) {
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

/* ---- telling the owner: always the last thing a step does
 * --------------------------------------------------------------- */

static void tell_entered(struct place *place, const struct lun_err *err) {
    if (!place->callbacks || place->is_told)
        return;
    place->is_told = true;
    place->callbacks->on_entered(place, err);
}

static void tell_left(struct place *place, const struct lun_err *err) {
    if (!place->callbacks || !place->is_leaving_asked)
        return;
    place->is_leaving_asked = false;
    place->callbacks->on_left(place, err);
}

/* Whatever the owner waits for, or holds, is over. */
static void tell_over(struct place *place, enum lun_reason reason) {
    struct lun_err err;
    int code = reason == LUN_LOST_CLOSED ? LUN_ECLOSED : LUN_ELOST;
    (void)lun_err_set(&err, code,
                      reason == LUN_LOST_CLOSED ? "the session was closed%s" : "the place was lost: %s",
                      reason == LUN_LOST_CLOSED ? "" : lun_reason_name(reason));
    if (!place->callbacks)
        return;
    if (!place->is_told)
        tell_entered(place, &err);
    else if (place->is_leaving_asked)
        tell_left(place, &err);
    else
        place->callbacks->on_stop(place, reason, true);
}

/* ---- ends
 * ---------------------------------------------------------------------------------------------------------------
 */

static void find(struct place *place);

static const struct watch_callbacks own_callbacks;

/* Nothing of it is in etcd now. `revision`: as of when. */
static void settle(struct place *place, int64_t revision) {
    stop_watching(place);
    release_followers(place);
    if (!place->has_unanswered || session_is_over(place->session)) {
        sm_move(&place->sm, OVER);
        return;
    }
    sm_move(&place->sm, OWING);
    place->create_rev = 0;
    place->own_watch.is_deletes_only = false;
    place->own_watch.start_rev = revision + 1;
    if (watch_start(etcd_of(place), &place->own_watch))
        rpc_timer_start(&place->timer, now(place) + REWATCH_NS);
}

static int64_t leave_deadline(const struct place *place) {
    if (session_state(place->session) != LUN_SESSION_CLOSED)
        return RPC_NEVER;
    return now(place) + place->session->ttl_s * NS_PER_S + CLOSING_NS;
}

static void on_deleted(void *arg, const struct etcd_reply *reply);

/* A plain delete of a key that nobody else can ever bear: it holds our lease, and crowd keeps its name from
 * being used again while a copy of anything sent about it may yet be carried out (has_unanswered: OWING). So
 * it can delete this very place only, however late it comes. Compared with a transaction on the create
 * revision, which says the same, it spares etcd 3.4 a third of the work of a lock and unlock. */
static void leave(struct place *place) {
    stop_watching(place);
    sm_move(&place->sm, LEAVING);
    struct lun_kv_op delete = {.kind = LUN_OP_DELETE, .key = place_key(place)};
    struct etcd_how how = {.deadline_ns = leave_deadline(place), .is_idempotent = true};
    if (etcd_do(etcd_of(place), &delete, &how, on_deleted, place, &place->call))
        rpc_timer_start(&place->timer, now(place) + REWATCH_NS); /* no memory: again in a while */
}

/* Goes on with the clean-up from a state in which nothing is in flight. */
static void clean_up(struct place *place, int64_t revision) {
    if (place->create_rev)
        leave(place);
    else if (place->has_unanswered)
        find(place);
    else
        settle(place, revision);
}

/* Cancelled because the session closes, though its lease lives on: the same again, this time with an end. */
static bool is_cut_short(const struct place *place, const struct etcd_reply *reply) {
    return reply->err && reply->err->code == LUN_ECANCELLED && session_is_dispersing(place->session);
}

/* etcd would not (permission, no memory): the key must not stay as long as its lease is renewed. */
static void insist_later(struct place *place) {
    if (session_is_over(place->session))
        sm_move(&place->sm, OVER);
    else
        rpc_timer_start(&place->timer, now(place) + jittered(place, REREAD_NS));
}

static const struct lun_err not_ours = {
    .code = LUN_ENOTOWNER, .status = -1, .text = "the key had been deleted by somebody else"};

static void on_deleted(void *arg, const struct etcd_reply *reply) {
    struct place *place = arg;
    place->call = NULL;
    if (place->sm.state == OVER) {
        maybe_free(place);
        return;
    }
    place->has_unanswered |= reply->has_unanswered || (reply->err && reply->err->is_outcome_unknown);
    if (is_cut_short(place, reply)) {
        leave(place);
        return;
    }
    bool is_owned = place->callbacks != NULL;
    if (reply->err) {
        struct lun_err err = *reply->err;
        insist_later(place);
        tell_left(place, &err);
    } else {
        bool is_deleted = reply->results[0].deleted > 0 || reply->has_unanswered;
        settle(place, reply->revision);
        tell_left(place, is_deleted ? NULL : &not_ours);
    }
    if (!is_owned)
        maybe_free(place);
}

static void on_found(void *arg, const struct etcd_reply *reply) {
    struct place *place = arg;
    place->call = NULL;
    if (place->sm.state == FINDING) {
        if (is_cut_short(place, reply)) {
            find(place);
            return;
        }
        if (reply->err) {
            insist_later(place);
        } else if (reply->results[0].n_kvs > 0) {
            place->create_rev = reply->results[0].kvs[0].create_rev;
            leave(place);
            return;
        } else {
            settle(place, reply->revision);
        }
    }
    maybe_free(place);
}

static void find(struct place *place) {
    stop_watching(place);
    release_followers(place);
    sm_move(&place->sm, FINDING);
    if (place->call)
        return; /* on_looked goes on */
    struct lun_kv_op read = {.kind = LUN_OP_RANGE, .key = place_key(place), .is_keys_only = true};
    struct etcd_how how = {.deadline_ns = leave_deadline(place), .is_idempotent = true};
    if (etcd_do(etcd_of(place), &read, &how, on_found, place, &place->call))
        rpc_timer_start(&place->timer, now(place) + REWATCH_NS);
}

/* ---- waiting and holding
 * ------------------------------------------------------------------------------------------------ */

static void schedule(struct place *place) {
    int64_t at = place->reread_at_ns;
    if (place->own_watch_at_ns < at)
        at = place->own_watch_at_ns;
    if (place->sm.state == WAITING && place->hedge < N_HEDGES) {
        int64_t hedge_at = place->hedge_base_ns + hedges_ns[place->hedge];
        if (hedge_at < at)
            at = hedge_at;
    }
    rpc_timer_start(&place->timer, at);
}

static void watch_own(struct place *place) {
    place->own_watch_at_ns = RPC_NEVER;
    if (watch_start(etcd_of(place), &place->own_watch))
        place->own_watch_at_ns = now(place) + REWATCH_NS;
}

/* Our key is gone although the session believes itself alive. A late copy may stand in its place. */
static void vanish(struct place *place) {
    if (!session_suspect(place->session))
        return; /* it was over, and has told us so */
    if (place->call)
        etcd_cancel(place->call);
    place->create_rev = 0;
    if (place->has_unanswered)
        find(place);
    else
        settle(place, 0);
    if (place->is_leaving_asked)
        tell_left(place, &not_ours);
    else
        tell_over(place, LUN_LOST_KEY_DELETED);
}

static void hold(struct place *place) {
    unfollow(place);
    watch_stop(&place->predecessor_watch);
    bytes_fini(&place->predecessor);
    free(place->owner_text);
    place->owner_text = NULL;
    sm_move(&place->sm, HELD);
    int64_t t = now(place);
    if (!watch_is_running(&place->own_watch))
        place->own_watch_at_ns = t + OWN_WATCH_AFTER_NS;
    place->reread_at_ns = t + jittered(place, REREAD_NS);
    schedule(place);
    if (session_valid_until_ns(place->session) == 0)
        return; /* the fence will tell the session, and the session us: not a win any more */
    tell_entered(place, NULL);
}

/* Waits for the one before us; `kv` borrowed. */
static void wait_for(struct place *place, const struct lun_kv *kv) {
    struct place *ours = find_ours(place, kv);
    if (ours) {
        watch_stop(&place->predecessor_watch);
        unfollow(place);
        place->ahead = ours;
        place->hedge = N_HEDGES;
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
        place->hedge = N_HEDGES;
        place->hedge_base_ns = 0;
        if (bytes_copy(&place->predecessor, kv->key) == 0) {
            place->predecessor_watch.key = bytes_view(&place->predecessor);
            if (watch_start(etcd_of(place), &place->predecessor_watch))
                place->reread_at_ns = now(place) + REWATCH_NS;
        } else {
            place->reread_at_ns = now(place) + REWATCH_NS;
        }
    }
    sm_move(&place->sm, WAITING);
    schedule(place);
}

static void on_predecessor_created(struct watcher *watcher, int64_t revision) {
    struct place *place = CONTAINER_OF(watcher, struct place, predecessor_watch);
    place->predecessor_watched_rev = revision;
    place->hedge = N_HEDGES;
    place->hedge_base_ns = 0;
    if (place->sm.state == WAITING)
        look(place, LOOKING);
    else
        place->is_dirty = true;
}

static void on_predecessor_event(struct watcher *watcher, const struct watch_event *event) {
    struct place *place = CONTAINER_OF(watcher, struct place, predecessor_watch);
    if (!event->is_delete)
        return;
    if (place->sm.state == WAITING)
        look(place, LOOKING);
    else
        place->is_dirty = true;
}

static void on_predecessor_watch_end(struct watcher *watcher, const struct lun_err *err,
                                     int64_t compact_rev) {
    struct place *place = CONTAINER_OF(watcher, struct place, predecessor_watch);
    (void)err, (void)compact_rev;
    place->reread_at_ns = now(place) + jittered(place, REWATCH_NS); /* looks, and watches again */
    if (place->sm.state == WAITING)
        schedule(place);
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
        leave(place);
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
        rpc_timer_start(&place->timer, now(place) + jittered(place, REWATCH_NS));
        return;
    }
    /* Look, then watch from the revision of the reply. */
    place->reread_at_ns = now(place) + (err->code == LUN_ECOMPACTED ? 0 : jittered(place, REWATCH_NS));
    if (place->sm.state == WAITING || place->sm.state == HELD)
        schedule(place);
}

static const struct watch_callbacks own_callbacks = {on_own_created, on_own_event, on_own_watch_end};

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
    if (place->hedge == N_HEDGES && place->hedge_base_ns == 0 && read_rev > place->predecessor_watched_rev) {
        place->hedge_base_ns = now(place);
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
        find(place);
        return;
    }
    if (state != LOOKING && state != CHECKING) {
        maybe_free(place);
        return;
    }
    if (!place->callbacks || place->is_leaving_asked) {
        clean_up(place, 0);
        return;
    }
    if (reply->err) {
        struct lun_err err = *reply->err;
        if (state == CHECKING) { /* it says nothing about our key: go on holding, ask again later */
            sm_move(&place->sm, HELD);
            place->reread_at_ns = now(place) + jittered(place, REREAD_NS);
            schedule(place);
            return;
        }
        clean_up(place, 0);
        tell_entered(place, &err);
        return;
    }
    const struct lun_kv_result *own = &reply->results[0], *before = &reply->results[1];
    if (own->n_kvs == 0 || own->kvs[0].create_rev != place->create_rev) {
        vanish(place);
        return;
    }
    place->reread_at_ns = now(place) + jittered(place, REREAD_NS);
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
        hold(place);
        return;
    }
    if (!place->is_dirty) /* a read sent before the watch was made proves nothing about it */
        plan_hedges(place, reply->revision);
    wait_for(place, &before->kvs[0]);
    if (place->is_dirty) {
        place->is_dirty = false;
        look(place, LOOKING);
    }
}

/* One linearizable read of our key, whoever stands right before us, and, once per wait, the owner. */
static void look(struct place *place, int next_state) {
    sm_move(&place->sm, next_state);
    place->is_dirty = false;
    unfollow(place);
    struct lun_kv_op reads[] = {
        {.kind = LUN_OP_RANGE, .key = place_key(place), .is_keys_only = true},
        {.kind = LUN_OP_RANGE,
         .key = prefix(place),
         .range_end = prefix_end(place),
         .max_create_rev = place->create_rev - 1,
         .sort_target = LUN_SORT_CREATE,
         .sort_order = LUN_SORT_DESCEND,
         .limit = 1,
         .is_keys_only = true},
        {.kind = LUN_OP_RANGE,
         .key = prefix(place),
         .range_end = prefix_end(place),
         .sort_target = LUN_SORT_CREATE,
         .sort_order = LUN_SORT_ASCEND,
         .limit = 1},
    };
    bool wants_owner = next_state == LOOKING && place->is_owner_wanted;
    place->is_owner_wanted = false;
    struct lun_txn txn = {.success = reads, .n_success = wants_owner ? 3 : 2};
    struct etcd_how how = {.deadline_ns = RPC_NEVER, .is_idempotent = true};
    if (etcd_txn(etcd_of(place), &txn, &how, on_looked, place, &place->call)) {
        sm_move(&place->sm, next_state == CHECKING ? HELD : WAITING);
        place->reread_at_ns = now(place) + REWATCH_NS;
        schedule(place);
    }
}

static void on_timer(struct rpc_timer *timer) {
    struct place *place = CONTAINER_OF(timer, struct place, timer);
    int64_t t = now(place);
    switch (place->sm.state) {
    case LEAVING: /* there was no memory to ask */
        leave(place);
        return;
    case FINDING:
    case OWING:
        find(place);
        return;
    case WAITING:
    case HELD:
        break;
    default:
        return;
    }
    if (place->own_watch_at_ns <= t)
        watch_own(place);
    bool is_hedge = place->sm.state == WAITING && place->hedge < N_HEDGES &&
                    place->hedge_base_ns + hedges_ns[place->hedge] <= t;
    if (is_hedge)
        place->hedge++;
    else if (place->reread_at_ns <= t && !place->ahead)
        place->is_owner_wanted = true; /* it may be another by now */
    if (is_hedge || place->reread_at_ns <= t)
        look(place, place->sm.state == HELD ? CHECKING : LOOKING);
    else
        schedule(place);
}

/* ---- entering
 * -----------------------------------------------------------------------------------------------------------
 */

static void fail_entering(struct place *place, const struct lun_err *err) {
    struct lun_err copy = *err;
    place->has_unanswered |= copy.is_outcome_unknown;
    if (etcd_is_lease_not_found(err)) {
        session_on_lease_not_found(place->session); /* tells every place, this one too */
        return;
    }
    clean_up(place, 0);
    tell_entered(place, &copy);
}

/* PLACE_TRY found somebody there. It may be ourselves: an earlier attempt whose reply was lost. */
static void on_busy(struct place *place, const struct etcd_reply *reply) {
    const struct lun_kv_result *owner = &reply->results[0], *own = &reply->results[1];
    if (own->n_kvs > 0) {
        place->create_rev = own->kvs[0].create_rev;
        if (owner->n_kvs > 0 && owner->kvs[0].create_rev == place->create_rev) {
            hold(place);
            return;
        }
    }
    struct lun_err err;
    struct bytes text = {NULL, 0};
    if (owner->n_kvs > 0)
        (void)place_describe(&text, &owner->kvs[0]);
    (void)lun_err_set(&err, LUN_ELOCKED, "%s",
                      text.data ? text.data : "locked by somebody who has just left");
    bytes_fini(&text);
    clean_up(place, reply->revision);
    tell_entered(place, &err);
}

static int send_enter(struct place *place, struct lun_bytes value);

static void on_peeked(struct place *place, const struct etcd_reply *reply) {
    struct lun_err err;
    place->is_peeking = false;
    if (!place->callbacks) {
        clean_up(place, 0);
        maybe_free(place);
    } else if (reply->err) {
        err = *reply->err;
        err.is_outcome_unknown = false; /* nothing was to be written */
        fail_entering(place, &err);
    } else if (!reply->is_success) {
        on_busy(place, reply);
    } else if (send_enter(place, bytes_view(&place->value))) {
        (void)lun_err_set(&err, LUN_ENOMEM, "out of memory");
        fail_entering(place, &err);
    }
}

static void on_entered(void *arg, const struct etcd_reply *reply) {
    struct place *place = arg;
    place->call = NULL;
    if (place->sm.state != ENTERING) {
        maybe_free(place);
        return;
    }
    if (place->is_peeking) {
        on_peeked(place, reply);
        return;
    }
    place->has_unanswered = reply->has_unanswered;
    if (reply->err && place->callbacks) {
        fail_entering(place, reply->err);
        return;
    }
    if (reply->err) { /* given up */
        place->has_unanswered |= reply->err->is_outcome_unknown;
        clean_up(place, 0);
        maybe_free(place);
        return;
    }
    const struct lun_kv_result *results = reply->results;
    if (reply->is_success)
        place->create_rev = reply->revision;
    else if (place->mode == PLACE_WAIT && results[0].n_kvs > 0)
        place->create_rev = results[0].kvs[0].create_rev;
    else if (place->mode == PLACE_TRY && results[1].n_kvs > 0)
        place->create_rev = results[1].kvs[0].create_rev;
    place->own_watch.start_rev = place->create_rev + 1;
    place->own_watch_at_ns = now(place) + OWN_WATCH_AFTER_NS;
    place->reread_at_ns = now(place) + jittered(place, REREAD_NS);
    if (!place->callbacks) {
        clean_up(place, reply->revision);
        maybe_free(place);
    } else if (place->mode == PLACE_TRY && !reply->is_success) {
        on_busy(place, reply);
    } else if (place->mode == PLACE_TRY || (reply->is_success && results[1].n_kvs == 1)) {
        hold(place); /* proved by the very transaction that made us first */
    } else if (reply->is_success && results[1].n_kvs > 1) {
        wait_for(place, &results[1].kvs[1]); /* the latest is ourselves, the one before it our predecessor */
    } else {
        look(place, LOOKING); /* found ourselves: an earlier attempt was carried out. Who is before us is
                                 still to be asked */
    }
}

static int send_enter(struct place *place, struct lun_bytes value) {
    struct lun_cmp absent = {.target = LUN_CMP_CREATE, .key = place_key(place)};
    struct lun_cmp empty = {.target = LUN_CMP_CREATE, .key = prefix(place), .range_end = prefix_end(place)};
    struct lun_kv_op success[] = {
        {.kind = LUN_OP_PUT, .key = place_key(place), .value = value, .lease = place->session->lease},
        {.kind = LUN_OP_RANGE,
         .key = prefix(place),
         .range_end = prefix_end(place),
         .sort_target = LUN_SORT_CREATE,
         .sort_order = LUN_SORT_DESCEND,
         .limit = 2,
         .is_keys_only = true},
    };
    struct lun_kv_op own = {.kind = LUN_OP_RANGE, .key = place_key(place), .is_keys_only = true};
    struct lun_kv_op busy[] = {
        {.kind = LUN_OP_RANGE,
         .key = prefix(place),
         .range_end = prefix_end(place),
         .sort_target = LUN_SORT_CREATE,
         .sort_order = LUN_SORT_ASCEND,
         .limit = 1},
        own,
    };
    struct lun_txn wait = {&absent, 1, success, &own, 2, 1}, try = {&empty, 1, success, busy, 1, 2},
                   peek = {&empty, 1, NULL, busy, 0, 2};
    struct etcd_how how = {.deadline_ns = RPC_NEVER, .is_idempotent = true};
    const struct lun_txn *txn = place->is_peeking ? &peek : place->mode == PLACE_TRY ? &try:
        &wait;
    return etcd_txn(etcd_of(place), txn, &how, on_entered, place, &place->call);
}

/* "<name>/<lease>", so that others' clients stand in the same line; with a random suffix for a second place
 * of the session in the line (one that still has to be cleaned up counts), and always under an adopted lease.
 * Behind it "<name>0", the end of the prefix. */
static int make_key(struct place *place, struct lun_bytes name) {
    enum { LEASE_AND_SUFFIX = 1 + 16 + 1 + 16 + 1 };
    char *key = malloc(name.len + LEASE_AND_SUFFIX + name.len + 2);
    if (!key)
        return LUN_ENOMEM;
    memcpy(key, name.data, name.len);
    place->prefix_len = name.len + 1;
    place->key_len = name.len + (size_t)sprintf(key + name.len, "/%" PRIx64, (uint64_t)place->session->lease);
    if (place->session->is_adopted ||
        crowd_find(place->session->crowd, (struct lun_bytes){key, place->key_len}))
        place->key_len +=
            (size_t)sprintf(key + place->key_len, "-%016" PRIx64, rpc_random(place->session->rpc));
    char *end = key + place->key_len + 1;
    memcpy(end, name.data, name.len);
    end[name.len] = '/' + 1;
    end[name.len + 1] = '\0';
    place->key = key;
    return 0;
}

int place_enter(struct session *session, struct lun_bytes name, struct lun_bytes value, enum place_mode mode,
                const struct place_callbacks *callbacks, void *owner, struct place **ret_place,
                struct lun_err *ret_err) {
    if (session_is_over(session)) {
        bool is_lost = session_state(session) == LUN_SESSION_LOST;
        return lun_err_set(ret_err, is_lost ? LUN_ELOST : LUN_ECLOSED, "the session is %s%s%s",
                           is_lost ? "lost: " : "closed", is_lost ? lun_reason_name(session->reason) : "",
                           is_lost ? "; open a new one" : "");
    }
    struct place *place = calloc(1, sizeof *place);
    if (!place)
        return lun_err_set(ret_err, LUN_ENOMEM, "out of memory");
    place->session = session;
    place->callbacks = callbacks;
    place->owner = owner;
    place->mode = mode;
    place->is_owner_wanted = true;
    place->hedge = N_HEDGES;
    place->own_watch_at_ns = place->reread_at_ns = RPC_NEVER;
    place->own_watch.callbacks = &own_callbacks;
    place->own_watch.is_deletes_only = place->own_watch.is_resumed = true;
    place->predecessor_watch.callbacks = &predecessor_callbacks;
    place->predecessor_watch.is_deletes_only = true;
    list_init(&place->in_session);
    list_init(&place->followers);
    list_init(&place->in_followers);
    if (make_key(place, name))
        goto no_memory;
    place->own_watch.key = place_key(place);
    sm_init(&place->sm, &place_class, etcd_trace(session->etcd), ENTERING);
    trace_line(place->sm.trace, "place %" PRIu32 ": %s", place->sm.id, place->key);
    if (rpc_timer_init(session->rpc, &place->timer, on_timer))
        goto no_memory;
    place->in_crowd.key = place_key(place);
    place->is_peeking = mode == PLACE_TRY;
    if (place->is_peeking && bytes_copy(&place->value, value))
        goto no_memory;
    if (crowd_add(session->crowd, &place->in_crowd) || send_enter(place, value))
        goto no_memory;
    list_push_back(&session->places, &place->in_session);
    *ret_place = place;
    return 0;

no_memory:
    crowd_remove(session->crowd, &place->in_crowd);
    rpc_timer_fini(&place->timer);
    bytes_fini(&place->value);
    free(place->key);
    free(place);
    return lun_err_set(ret_err, LUN_ENOMEM, "out of memory");
}

/* ---- leaving
 * ------------------------------------------------------------------------------------------------------------
 */

void place_leave(struct place *place) {
    assert(place_is_held(place));
    place->is_leaving_asked = true;
    if (place->call)
        etcd_cancel(place->call); /* CHECKING: on_looked goes on */
    else
        leave(place);
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
        clean_up(place, 0);
        break;
    default:
        break;
    }
    maybe_free(place);
}

void place_on_stop(struct place *place) {
    if (place_is_held(place) && place->callbacks && place->is_told && !place->is_leaving_asked)
        place->callbacks->on_stop(place, LUN_LOST_EXPIRED, false);
}

void place_on_session_over(struct place *place, enum lun_reason reason) {
    if (place->sm.state == OVER) {
        maybe_free(place);
        return;
    }
    bool is_dispersing = session_is_dispersing(place->session);
    if (place->call)
        etcd_cancel(place->call);
    if (is_dispersing && place->sm.state != OWING) {
        if (place->sm.state == WAITING || place->sm.state == HELD)
            clean_up(place, 0);
        else if (!place->call)
            rpc_timer_start(&place->timer, now(place)); /* it was to be tried again later */
    } else {
        stop_watching(place);
        sm_move(&place->sm, OVER);
        release_followers(place);
    }
    bool is_kept = place->callbacks != NULL;
    tell_over(place, reason);
    if (!is_kept)
        maybe_free(place);
}

void place_kill(struct place *place) {
    place->callbacks = NULL;
    if (place->call)
        etcd_cancel(place->call);
    if (place->sm.state != OVER) {
        stop_watching(place);
        sm_move(&place->sm, OVER);
        release_followers(place);
    }
    maybe_free(place);
}
