/* recipe/place_requests.c - what a place sends to etcd: to enter, to look, to find its key, to delete it. What comes back
 * is kept for the tick that follows. */
#include "recipe/place_machine.h"

static void on_reply(void *arg, const struct etcd_reply *reply) {
    struct place *place = arg;
    place->call = NULL;
    place->reply = reply;
    place_tick(place);
}

/* ---- entering --------------------------------------------------------------------------------------- */

static void on_entered(void *arg, const struct etcd_reply *reply) {
    struct place *place = arg;
    place->line->n_entering--;
    on_reply(place, reply);
}

/* A client that has a place in the line already waits behind that: it need not know whom else it waits for. Nor do more
 * than two read the line at once, when many enter together. */
static bool has_to_scan(const struct place *place) {
    return list_is_empty(&place->line->places) && place->line->n_entering < 2;
}

static int send_entering(struct place *place, const struct lun_txn *txn) {
    struct etcd_call_options how = {.deadline_ns = RPC_NEVER, .is_idempotent = true};
    int rc = etcd_txn(place_etcd(place), txn, &how, on_entered, place, &place->call);
    place->line->n_entering += rc == 0;
    return rc;
}

/* PLACE_WAIT: one round trip. If it finds the key, an earlier copy of it was carried out. */
static int send_wait(struct place *place, struct lun_bytes value) {
    /* The key is absent: a copy that comes late does not enter twice. */
    struct lun_cmp absent = {.target = LUN_CMP_CREATE, .key = place_key(place), .number = 0};
    struct lun_kv_op success[] = {
        {.kind = LUN_OP_PUT, .key = place_key(place), .value = value, .lease = place->session->lease},
        /* The latest in the line is now ourselves; the one before it, if any, is our predecessor. */
        {.kind = LUN_OP_RANGE,
         .key = line_prefix(place->line),
         .range_end = line_prefix_end(place->line),
         .sort_target = LUN_SORT_CREATE,
         .sort_order = LUN_SORT_DESCEND,
         .limit = 2,
         .is_keys_only = true},
    };
    /* Its create revision: who is before us is asked afterwards. */
    struct lun_kv_op own = {.kind = LUN_OP_RANGE, .key = place_key(place), .is_keys_only = true};
    place->is_scanning = has_to_scan(place);
    struct lun_txn txn = {.compares = &absent,
                          .n_compares = 1,
                          .success = success,
                          .n_success = place->is_scanning ? 2 : 1,
                          .failure = &own,
                          .n_failure = 1};
    return send_entering(place, &txn);
}

/* PLACE_TRY: enters only where nobody is. A transaction that could write goes through the raft log even when it does not:
 * so this one is sent once nobody was seen. */
static int send_try(struct place *place) {
    /* Nobody is there: the create revisions of all keys of the line, and there are none, are 0. */
    struct lun_cmp empty = {.target = LUN_CMP_CREATE,
                            .key = line_prefix(place->line),
                            .range_end = line_prefix_end(place->line),
                            .number = 0};
    struct lun_kv_op put = {.kind = LUN_OP_PUT,
                            .key = place_key(place),
                            .value = bytes_view(&place->value),
                            .lease = place->session->lease};
    struct lun_kv_op busy[] = {
        line_first(line_prefix(place->line), line_prefix_end(place->line)), /* who it is that we name */
        {.kind = LUN_OP_RANGE,
         .key = place_key(place),
         .is_keys_only = true}, /* it may be ourselves: an earlier copy */
    };
    struct lun_txn txn = {.compares = &empty,
                          .n_compares = 1,
                          .success = &put,
                          .n_success = 1,
                          .failure = busy,
                          .n_failure = 2};
    return send_entering(place, &txn);
}

/* PLACE_TRY: is anybody there? Two keys in whatever order, which costs etcd the same however long the line is. If there is
 * one, it is the owner; if there are more, the owner is read by itself. */
static int send_peek(struct place *place) {
    struct lun_kv_op owner = line_first(line_prefix(place->line), line_prefix_end(place->line));
    if (place->peek == PEEK_ANY) {
        owner.sort_target = LUN_SORT_KEY;
        owner.sort_order = LUN_SORT_NONE;
        owner.limit = 2;
    }
    struct lun_kv_op reads[] = {owner, {.kind = LUN_OP_RANGE, .key = place_key(place), .is_keys_only = true}};
    struct lun_txn txn = {.success = reads, .n_success = 2};
    return send_entering(place, &txn);
}

int place_send_enter(struct place *place, struct lun_bytes value) {
    if (place->mode == PLACE_WAIT)
        return send_wait(place, value);
    return place->peek == PEEK_OVER ? send_try(place) : send_peek(place);
}

/* ---- looking ---------------------------------------------------------------------------------------- */

static void on_looked(void *arg, const struct etcd_reply *reply) {
    struct place *place = arg;
    bool is_measured = !reply->err || (reply->err->code != LUN_ENOMEM && reply->err->code != LUN_ECANCELLED);
    if (place->is_paced && is_measured)
        pace_end(place_pace(place), place_now(place) - place->sent_ns);
    else if (place->is_paced)
        pace_drop(place_pace(place));
    place->is_paced = false;
    bool is_awaited = place->sm.state == LOOKING || place->sm.state == CHECKING;
    place->is_due = !is_awaited; /* a cancelled one: what waited for its end goes on */
    on_reply(place, is_awaited ? reply : NULL);
}

void place_question(const struct place *place, enum line_ask ask, bool wants_owner,
                    struct line_question *ret_question) {
    struct line_key predecessor = {bytes_view(&place->predecessor), place->predecessor_rev};
    line_question(ret_question, place->line, place->rule, ask, place_line_key(place), &predecessor,
                  wants_owner);
}

int place_send_look(struct place *place, enum line_ask ask, bool wants_owner) {
    struct line_question question;
    place_question(place, ask, wants_owner, &question);
    struct lun_txn txn = {.success = question.reads, .n_success = question.n_reads};
    struct etcd_call_options how = {.class = ETCD_LOOK, .deadline_ns = RPC_NEVER, .is_idempotent = true};
    place->ask = ask;
    place->is_asking_owner = wants_owner;
    place->sent_ns = place_now(place);
    int rc = etcd_txn(place_etcd(place), &txn, &how, on_looked, place, &place->call);
    if (rc && place->is_paced) {
        pace_drop(place_pace(place));
        place->is_paced = false;
    } else if (!rc) {
        place->is_dirty = false;
    }
    return rc;
}

/* ---- leaving ---------------------------------------------------------------------------------------- */

int place_send_find(struct place *place) {
    struct lun_kv_op read = {.kind = LUN_OP_RANGE, .key = place_key(place), .is_keys_only = true};
    struct etcd_call_options how = {.deadline_ns = place->session->closing_until_ns, .is_idempotent = true};
    return etcd_do(place_etcd(place), &read, &how, on_reply, place, &place->call);
}

/* A plain delete of a key that nobody else can ever bear: it holds our lease, and the index keeps its name from
 * being used again while a copy of anything sent about it may yet be carried out (has_unanswered: OWING). So
 * it can delete this very place only, however late it comes. Compared with a transaction on the create
 * revision, which says the same, it spares etcd 3.4 a third of the work of a lock and unlock. */
int place_send_delete(struct place *place) {
    struct lun_kv_op delete = {.kind = LUN_OP_DELETE, .key = place_key(place)};
    struct etcd_call_options how = {.deadline_ns = place->session->closing_until_ns, .is_idempotent = true};
    return etcd_do(place_etcd(place), &delete, &how, on_reply, place, &place->call);
}
