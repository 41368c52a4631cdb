/* recipe/place_enter.c - into the line: the name of the key, the one transaction, and what its answer means. */
#include "recipe/place_machine.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "recipe/line.h"

/* ---- the key ---------------------------------------------------------------------------------------- */

/* Lower case, unpadded, terminated; the number of digits. (printf would be felt in every lock.) */
static size_t print_hex(char *to, uint64_t number) {
    size_t n = 1;
    for (uint64_t rest = number >> 4; rest; rest >>= 4)
        n++;
    to[n] = '\0';
    for (size_t i = n; i-- > 0; number >>= 4)
        to[i] = "0123456789abcdef"[number & 15];
    return n;
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
    key[name.len] = '/';
    place->key_len = name.len + 1 + print_hex(key + name.len + 1, (uint64_t)place->session->lease);
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

/* ---- the transaction -------------------------------------------------------------------------------- */

static void on_entered(void *arg, const struct etcd_reply *reply);

static int send_enter(struct place *place, struct lun_bytes value) {
    struct lun_cmp absent = {.target = LUN_CMP_CREATE, .key = place_key(place)};
    struct lun_cmp empty = {
        .target = LUN_CMP_CREATE, .key = place_prefix(place), .range_end = place_prefix_end(place)};
    struct lun_kv_op success[] = {
        {.kind = LUN_OP_PUT, .key = place_key(place), .value = value, .lease = place->session->lease},
        {.kind = LUN_OP_RANGE,
         .key = place_prefix(place),
         .range_end = place_prefix_end(place),
         .sort_target = LUN_SORT_CREATE,
         .sort_order = LUN_SORT_DESCEND,
         .limit = 2,
         .is_keys_only = true},
    };
    struct lun_kv_op own = {.kind = LUN_OP_RANGE, .key = place_key(place), .is_keys_only = true};
    struct lun_kv_op busy[] = {line_first(place_prefix(place), place_prefix_end(place)), own};
    struct lun_txn wait = {&absent, 1, success, &own, 2, 1}, try = {&empty, 1, success, busy, 1, 2},
                   peek = {&empty, 1, NULL, busy, 0, 2};
    struct etcd_call_options how = {.deadline_ns = RPC_NEVER, .is_idempotent = true};
    const struct lun_txn *txn = place->is_peeking ? &peek : place->mode == PLACE_TRY ? &try:
        &wait;
    return etcd_txn(place_etcd(place), txn, &how, on_entered, place, &place->call);
}

/* ---- its answer ------------------------------------------------------------------------------------- */

static void fail_entering(struct place *place, const struct lun_err *err) {
    struct lun_err copy = *err;
    place->has_unanswered |= copy.is_outcome_unknown;
    if (etcd_is_lease_not_found(err)) {
        session_on_lease_not_found(place->session); /* tells every place, this one too */
        return;
    }
    place_clean_up(place, 0);
    place_tell_entered(place, &copy);
}

/* PLACE_TRY found somebody there. It may be ourselves: an earlier attempt whose reply was lost. */
static void on_busy(struct place *place, const struct etcd_reply *reply) {
    const struct lun_kv_result *owner = &reply->results[0], *own = &reply->results[1];
    if (own->n_kvs > 0) {
        place->create_rev = own->kvs[0].create_rev;
        if (owner->n_kvs > 0 && owner->kvs[0].create_rev == place->create_rev) {
            place_hold(place);
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
    place_clean_up(place, reply->revision);
    place_tell_entered(place, &err);
}

static void on_peeked(struct place *place, const struct etcd_reply *reply) {
    struct lun_err err;
    place->is_peeking = false;
    if (!place->callbacks) {
        place_clean_up(place, 0);
        place_maybe_free(place);
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
        place_maybe_free(place);
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
        place_clean_up(place, 0);
        place_maybe_free(place);
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
    place->own_watch_at_ns = place_now(place) + OWN_WATCH_AFTER_NS;
    place->reread_at_ns = place_now(place) + place_jittered(place, REREAD_NS);
    if (!place->callbacks) {
        place_clean_up(place, reply->revision);
        place_maybe_free(place);
    } else if (place->mode == PLACE_TRY && !reply->is_success) {
        on_busy(place, reply);
    } else if (place->mode == PLACE_TRY || (reply->is_success && results[1].n_kvs == 1)) {
        place_hold(place); /* proved by the very transaction that made us first */
    } else if (reply->is_success && results[1].n_kvs > 1) {
        place_wait_for(place,
                       &results[1].kvs[1]); /* the latest is ourselves, the one before it our predecessor */
    } else {
        place->is_predecessor_gone =
            true; /* found ourselves: an earlier attempt was carried out. Who is before us
                                              is still to be asked */
        place_look(place, LOOKING);
    }
}

/* ---- the door --------------------------------------------------------------------------------------- */

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
    place->hedge = PLACE_N_HEDGES;
    place->own_watch_at_ns = place->reread_at_ns = RPC_NEVER;
    place->own_watch.callbacks = &place_own_callbacks;
    place->own_watch.is_deletes_only = place->own_watch.is_resumed = true;
    place->predecessor_watch.callbacks = &place_predecessor_callbacks;
    place->predecessor_watch.is_deletes_only = true;
    list_init(&place->in_session);
    list_init(&place->followers);
    list_init(&place->in_followers);
    if (make_key(place, name))
        goto no_memory;
    place->own_watch.key = place_key(place);
    sm_init(&place->sm, &place_class, etcd_trace(session->etcd), ENTERING);
    trace_line(place->sm.trace, "place %" PRIu32 ": %s", place->sm.id, place->key);
    if (rpc_timer_init(session->rpc, &place->timer, place_on_timer))
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
