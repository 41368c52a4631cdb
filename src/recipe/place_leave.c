/* recipe/place_leave.c - whatever a place may have in etcd is removed, however often that takes. */
#include "recipe/place_machine.h"

/* Nothing of it is in etcd now. `revision`: as of when. */
void place_settle(struct place *place, int64_t revision) {
    place_stop_watching(place);
    place_release_followers(place);
    const struct session *session = place->session;
    int64_t left_ns = session->debts_until_ns - place_now(place);
    bool is_lease_kept = !session_is_over(session) || session_is_dispersing(session);
    if (!place->has_unanswered || !is_lease_kept || left_ns <= 0) {
        sm_move(&place->sm, OVER);
        return;
    }
    sm_move(&place->sm, OWING);
    place->create_rev = 0;
    place->own_watch.is_deletes_only = false;
    place->own_watch.start_rev = revision + 1;
    bool is_watching = watch_start(place_etcd(place), &place->own_watch) == 0;
    int64_t until_reread = is_watching ? place_jittered(place, REREAD_NS) : REWATCH_NS;
    rpc_timer_start(&place->timer, place_now(place) + (until_reread < left_ns ? until_reread : left_ns));
}

/* Cancelled because the session closes, though its lease lives on: the same again, this time with an end. */
static bool is_cut_short(const struct place *place, const struct etcd_reply *reply) {
    return reply->err && reply->err->code == LUN_ECANCELLED && session_is_dispersing(place->session);
}

/* etcd would not, or there was no memory to ask: the key must not stay as long as its lease is renewed. What etcd
 * refuses is given up once the session is over. */
static void insist_later(struct place *place, const struct lun_err *err) {
    bool is_ours = err->code == LUN_ENOMEM;
    if (!is_ours && session_is_over(place->session)) {
        sm_move(&place->sm, OVER);
        place_release_followers(place);
        return;
    }
    rpc_timer_start(&place->timer,
                    place_now(place) + place_jittered(place, is_ours ? REWATCH_NS : REREAD_NS));
}

static void on_deleted(void *arg, const struct etcd_reply *reply) {
    struct place *place = arg;
    place->call = NULL;
    if (place->sm.state == OVER) {
        place_maybe_free(place);
        return;
    }
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
        place_settle(place, reply->revision);
        place_tell_left(place, is_deleted ? NULL : &place_not_ours);
    }
    if (!is_owned)
        place_maybe_free(place);
}

/* A plain delete of a key that nobody else can ever bear: it holds our lease, and crowd keeps its name from
 * being used again while a copy of anything sent about it may yet be carried out (has_unanswered: OWING). So
 * it can delete this very place only, however late it comes. Compared with a transaction on the create
 * revision, which says the same, it spares etcd 3.4 a third of the work of a lock and unlock. */
void place_begin_leaving(struct place *place) {
    place_stop_watching(place);
    sm_move(&place->sm, LEAVING);
    struct lun_kv_op delete = {.kind = LUN_OP_DELETE, .key = place_key(place)};
    struct etcd_call_options how = {.deadline_ns = place->session->closing_until_ns, .is_idempotent = true};
    if (etcd_do(place_etcd(place), &delete, &how, on_deleted, place, &place->call))
        rpc_timer_start(&place->timer, place_now(place) + REWATCH_NS); /* no memory: again in a while */
}

static void on_found(void *arg, const struct etcd_reply *reply) {
    struct place *place = arg;
    place->call = NULL;
    if (place->sm.state == FINDING) {
        if (is_cut_short(place, reply)) {
            place_find(place);
            return;
        }
        if (reply->err) {
            insist_later(place, reply->err);
        } else if (reply->results[0].n_kvs > 0) {
            place->create_rev = reply->results[0].kvs[0].create_rev;
            place_begin_leaving(place);
            return;
        } else {
            place_settle(place, reply->revision);
        }
    }
    place_maybe_free(place);
}

void place_find(struct place *place) {
    place_stop_watching(place);
    place_release_followers(place);
    sm_move(&place->sm, FINDING);
    if (place->call)
        return; /* on_looked goes on */
    struct lun_kv_op read = {.kind = LUN_OP_RANGE, .key = place_key(place), .is_keys_only = true};
    struct etcd_call_options how = {.deadline_ns = place->session->closing_until_ns, .is_idempotent = true};
    if (etcd_do(place_etcd(place), &read, &how, on_found, place, &place->call))
        rpc_timer_start(&place->timer, place_now(place) + REWATCH_NS);
}

/* Goes on with the clean-up from a state in which nothing is in flight. */
void place_clean_up(struct place *place, int64_t revision) {
    if (place->create_rev)
        place_begin_leaving(place);
    else if (place->has_unanswered)
        place_find(place);
    else
        place_settle(place, revision);
}
