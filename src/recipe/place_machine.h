/* recipe/place_machine.h - what the files of a place share: place.c (the machine), place_enter.c (a new place, and its
 * key), place_leave.c (how it ends), place_requests.c (what is sent), place_watch.c (what is waited for). Nobody else
 * includes it.
 *
 * They call each other in one direction: a callback stores what came and calls place_tick; place_tick decides, and uses
 * the others. */
#ifndef LUN_RECIPE_PLACE_MACHINE_H
#define LUN_RECIPE_PLACE_MACHINE_H

#include "etcd/backoff.h"
#include "recipe/line.h"
#include "recipe/place.h"
#include "recipe/place_index.h"
#include "recipe/session.h"

/* As in the diagram of place.c; from FINDING on it is on its way out. */
enum { ENTERING, WAITING, LOOKING, HELD, CHECKING, FINDING, LEAVING, OWING, OVER };

extern const struct sm_class place_class;

/* A watch per held lock costs etcd 6 to 16 %: short ones do without. */
#define OWN_WATCH_AFTER_NS (100 * NS_PER_MS)
/* The slow safety re-read: bugs of servers drop events of watches. */
#define REREAD_NS (10 * NS_PER_S)
/* After the server refused a watch, or memory ran out. */
#define REWATCH_NS NS_PER_S

enum { PLACE_N_HEDGES = 6 };

/* What a try asks before it writes. */
enum place_peek { PEEK_OVER, PEEK_ANY, PEEK_OWNER };

struct predecessor_watch {
    struct watcher watcher;
    struct place *place;
};

/* There may be very many: members of one size stand together, so that none has a gap behind it. */
struct place {
    struct sm sm;
    struct session *session;
    struct list in_session;
    const struct place_callbacks *callbacks; /* NULL: the owner has given it up */
    void *owner;
    struct line *line;
    /* In line->places: our key is in etcd, its deletion would be known to us, the session is not over. */
    struct list in_line;
    struct index_node in_index;
    char *key; /* "<name>/<lease>", terminated */
    size_t key_len;
    int64_t create_rev; /* 0: not known */
    enum place_mode mode;
    struct line_rule rule;

    /* What has happened since the last tick. */
    bool is_due;                    /* the timer ran out */
    bool is_key_gone;               /* our own watch says so */
    const struct etcd_reply *reply; /* the request in flight is back; NULL: not */

    /* The request in flight, and what it asks. */
    struct etcd_call *call;
    int64_t sent_ns;
    enum place_peek peek;
    enum line_ask ask;
    bool is_scanning; /* the entering transaction names the one before us */
    bool is_paced;    /* counts in the pace */
    bool is_asking_owner;

    bool is_told;          /* on_entered was called */
    bool is_leaving_asked; /* place_leave: on_left is owed */
    bool has_unanswered;   /* a copy of the entering transaction may yet be carried out */

    /* What is known of those before us. */
    bool is_proven;           /* nobody is before us, for good */
    bool is_right_behind;     /* nobody is between us and the place of this client before us */
    bool is_far_back;         /* not among the first of the line when that was asked */
    bool is_dirty;            /* something happened that a read has to follow */
    bool is_predecessor_next; /* etcd named it: nobody is between. Else another place of ours waited for it */
    struct bytes predecessor;
    int64_t predecessor_rev; /* its create revision; 0: unknown, or gone */
    char *obstacle;          /* the predecessor is no place of this line: what it is. NULL: it is one */

    /* Watches, and when to read without cause. */
    bool is_own_watch_lost;
    bool has_slot;  /* of the pace: reread_at_ns is it */
    bool is_urgent; /* the re-read makes good a watch that ended */
    unsigned hedge; /* the next one; PLACE_N_HEDGES: none */
    struct rpc_timer timer;
    struct watcher own_watch;
    /* NULL: none was needed yet. Most wait for a place of this client. */
    struct predecessor_watch *predecessor_watch;
    int64_t predecessor_watched_rev; /* etcd's revision when the watch was created; 0: not yet */
    int64_t own_watch_at_ns, reread_at_ns, owner_at_ns, hedge_base_ns;

    struct bytes value; /* PLACE_TRY: what to enter with once nobody was seen */
};

static inline struct etcd *place_etcd(const struct place *place) {
    return place->session->etcd;
}

static inline int64_t place_now(const struct place *place) {
    return rpc_now(place->session->rpc);
}

static inline int64_t place_jittered(const struct place *place, int64_t span) {
    return backoff_early(place->session->rpc, span, 4);
}

static inline struct pace *place_pace(const struct place *place) {
    return &place->session->index->pace;
}

static inline struct line_key place_line_key(const struct place *place) {
    return (struct line_key){place_key(place), place->create_rev};
}

static inline bool place_is_watching_predecessor(const struct place *place) {
    return place->predecessor_watch && watch_is_running(&place->predecessor_watch->watcher);
}

/* Neither wanted nor owned any more: whatever is in etcd has to go. */
static inline bool place_is_unwanted(const struct place *place) {
    return !place->callbacks || place->is_leaving_asked;
}

/* ---- place.c */
/* Takes in what has happened, and goes on as far as it can. May tell the owner, and free the place: the last thing that
 * its caller does. */
void place_tick(struct place *place);
void place_on_timer(struct rpc_timer *timer);

/* ---- place_leave.c */
/* Frees one that is OVER, that nobody owns, and that has nothing in flight. */
void place_maybe_free(struct place *place);
/* Telling the owner is always the last thing a step does, for the place may be freed then. */
void place_tell_entered(struct place *place, const struct lun_err *err);
void place_tell_left(struct place *place, const struct lun_err *err);
/* What the owner waits for, or holds, is over. */
void place_tell_over(struct place *place, enum lun_reason reason);
/* To OVER without a word: nothing more is sent. `is_gone`: its key is not in etcd any more, for certain. */
void place_end(struct place *place, bool is_gone);
/* Whatever may be in etcd is removed. From a state in which nothing is in flight; `revision`: as of when it is known that
 * our key is not there, if that is known. */
void place_clean_up(struct place *place, int64_t revision);
/* Our key is there: to LEAVING. Our key may be there: to FINDING. */
void place_begin_leaving(struct place *place);
void place_find(struct place *place);
/* The answers in these two states. */
void place_deleted(struct place *place, const struct etcd_reply *reply);
void place_found(struct place *place, const struct etcd_reply *reply);
/* Our key is gone although the session believes itself alive. */
void place_vanish(struct place *place);

/* ---- place_requests.c. Each 0 (place->call is set; a tick follows) or LUN_ENOMEM. */
int place_send_enter(struct place *place, struct lun_bytes value);
int place_send_look(struct place *place, enum line_ask ask, bool wants_owner);
int place_send_find(struct place *place);
int place_send_delete(struct place *place);
/* What the latest look asked, for judging its answer. */
void place_question(const struct place *place, enum line_ask ask, bool wants_owner,
                    struct line_question *ret_question);

/* ---- place_watch.c */
void place_watch_init(struct place *place);
void place_stop_watching(struct place *place);
/* WAITING, HELD: starts what is due, sets the timer for the rest. */
void place_schedule(struct place *place);
void place_watch_own(struct place *place, int64_t start_rev);
/* WAITING, HELD, after the timer: is a safety read to be sent now? Then it counts in the pace. */
bool place_is_look_due(struct place *place);
/* The owner is to be read anew now? */
bool place_is_owner_due(const struct place *place);
/* The next safety read, `span_ns` from now. */
void place_plan_reread(struct place *place, int64_t span_ns, bool is_urgent);
/* No memory to ask or to watch: again after REWATCH_NS, however slow answers are, for nothing was sent. */
void place_plan_retry(struct place *place);
/* After an answer of `revision` that showed the predecessor: may its watch sit in the server's slow loop? */
void place_plan_hedges(struct place *place, int64_t revision);
/* False: no memory to remember it. */
bool place_learn_predecessor(struct place *place, const struct lun_kv *kv);
void place_forget_predecessor(struct place *place);
/* False: no memory. */
bool place_watch_predecessor(struct place *place);

/* The places of this client in the line, in its order. */
struct place *place_ahead(const struct place *place);  /* NULL: none of ours is before us */
struct place *place_behind(const struct place *place); /* NULL: none of ours is behind us */
/* Not of a place whose session is over meanwhile, nor where more than one may hold. */
void place_step_in(struct place *place);
/* Takes it out of them, and the one behind it goes on. `is_gone`: its key is not in etcd any more, for certain. */
void place_step_out(struct place *place, bool is_gone);
/* An answer to LINE_FRONT shows who stands right behind whom. */
void place_learn_front(struct place *place, const struct lun_kv_result *front);

#endif
