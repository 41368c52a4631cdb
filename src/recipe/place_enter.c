/* recipe/place_enter.c - a new place: the name of its key, and how it begins. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "recipe/place_machine.h"

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
 * of the session in the line (one that still has to be cleaned up counts), and always under an adopted lease. */
static int make_key(struct place *place) {
    enum { LEASE_AND_SUFFIX = 16 + 1 + 16 + 1 };
    struct lun_bytes prefix = line_prefix(place->line);
    char *key = malloc(prefix.len + LEASE_AND_SUFFIX);
    if (!key)
        return LUN_ENOMEM;
    memcpy(key, prefix.data, prefix.len);
    place->key_len = prefix.len + print_hex(key + prefix.len, (uint64_t)place->session->lease);
    if (place->session->is_adopted ||
        place_index_find(place->session->index, (struct lun_bytes){key, place->key_len}))
        place->key_len +=
            (size_t)sprintf(key + place->key_len, "-%016" PRIx64, rpc_random(place->session->rpc));
    place->key = key;
    return 0;
}

/* ---- entering --------------------------------------------------------------------------------------- */

static int refuse(const struct session *session, struct lun_err *ret_err) {
    if (session_state(session) != LUN_SESSION_LOST)
        return lun_err_set(ret_err, LUN_ECLOSED, "the session is closed");
    return lun_err_set(ret_err, LUN_ELOST, "the session is lost: %s; open a new one",
                       lun_reason_name(session->reason));
}

static int start(struct place *place, struct lun_bytes name, struct lun_bytes value) {
    struct session *session = place->session;
    place->line = place_index_line(session->index, name);
    if (!place->line || make_key(place))
        return LUN_ENOMEM;
    place->own_watch.key = place->in_index.key = place_key(place);
    sm_init(&place->sm, &place_class, etcd_trace(session->etcd), ENTERING);
    trace_line(place->sm.trace, "place %" PRIu32 ": %s", place->sm.id, place->key);
    if (rpc_timer_init(session->rpc, &place->timer, place_on_timer))
        return LUN_ENOMEM;
    if (place->mode == PLACE_TRY && bytes_copy(&place->value, value))
        return LUN_ENOMEM;
    return place_index_add(session->index, &place->in_index) || place_send_enter(place, value) ? LUN_ENOMEM
                                                                                               : 0;
}

int place_enter(struct session *session, struct lun_bytes name, struct lun_bytes value, enum place_mode mode,
                struct line_rule rule, const struct place_callbacks *callbacks, void *owner,
                struct place **ret_place, struct lun_err *ret_err) {
    if (session_is_over(session))
        return refuse(session, ret_err);
    struct place *place = calloc(1, sizeof *place);
    if (!place)
        return lun_err_set(ret_err, LUN_ENOMEM, "out of memory");
    place->session = session;
    place->callbacks = callbacks;
    place->owner = owner;
    place->mode = mode;
    place->rule = rule;
    place->peek = mode == PLACE_TRY ? PEEK_ANY : PEEK_OVER;
    list_init(&place->in_session);
    list_init(&place->in_line);
    place_watch_init(place);
    if (start(place, name, value)) {
        place_index_remove(session->index, &place->in_index);
        place_index_line_release(session->index, place->line);
        rpc_timer_fini(&place->timer);
        bytes_fini(&place->value);
        free(place->key);
        free(place);
        return lun_err_set(ret_err, LUN_ENOMEM, "out of memory");
    }
    list_push_back(&session->places, &place->in_session);
    *ret_place = place;
    return 0;
}
