/* recipe/place_machine.h - what the parts of a place share: place.c (the machine and its owner),
 * place_enter.c, place_wait.c (waiting and holding), place_leave.c. Nobody else includes it. */
#ifndef LUN_RECIPE_PLACE_MACHINE_H
#define LUN_RECIPE_PLACE_MACHINE_H

#include "recipe/crowd.h"
#include "recipe/place.h"
#include "recipe/session.h"

/* As in the diagram of place.c; from FINDING on it is on its way out. */
enum { ENTERING, WAITING, LOOKING, HELD, CHECKING, FINDING, LEAVING, OWING, OVER };

extern const struct sm_class place_class;

#define OWN_WATCH_AFTER_NS                                                                                   \
    (100 * NS_PER_MS)             /* a watch per held lock costs etcd 6 to 16 %: short ones do without */
#define REREAD_NS (10 * NS_PER_S) /* the slow safety re-read: server bugs drop a watch event */
#define REWATCH_NS NS_PER_S       /* after the server refused a watch, or memory ran out */

enum { PLACE_N_HEDGES = 6 };

struct place {
    struct sm sm;
    struct session *session;
    struct list in_session;
    const struct place_callbacks *callbacks; /* NULL: the owner has let go */
    void *owner;
    enum place_mode mode;
    bool is_peeking;          /* PLACE_TRY: the call in flight only reads */
    bool is_told;             /* on_entered was called */
    bool is_leaving_asked;    /* place_leave: on_left is owed */
    bool has_unanswered;      /* a copy of the entering transaction may yet be carried out */
    bool is_dirty;            /* something happened while we were looking: look again */
    bool is_owner_wanted;     /* the first look that finds somebody before us asks for the owner, too */
    bool is_predecessor_gone; /* or unknown: only a look at the whole line says who is before us now */
    bool is_asking_before;    /* the look in flight is such a one */
    bool has_slot;            /* of the pace: reread_at_ns is it */
    bool is_urgent;           /* the re-read makes good a watch that ended */
    bool is_paced;            /* the look in flight counts in the pace */
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
    int64_t own_watch_at_ns, reread_at_ns, hedge_base_ns, looked_at_ns;
    unsigned hedge; /* the next one; PLACE_N_HEDGES: none */
    char *owner_text;
    struct bytes value; /* PLACE_TRY: what to enter with once nobody was seen */
};

static inline struct lun_bytes place_prefix(const struct place *place) {
    return (struct lun_bytes){place->key, place->prefix_len};
}

static inline struct lun_bytes place_prefix_end(const struct place *place) {
    return (struct lun_bytes){place->key + place->key_len + 1, place->prefix_len};
}

static inline struct etcd *place_etcd(const struct place *place) {
    return place->session->etcd;
}

static inline int64_t place_now(const struct place *place) {
    return rpc_now(place->session->rpc);
}

static inline int64_t place_jittered(const struct place *place, int64_t span) {
    return span - (int64_t)(rpc_random(place->session->rpc) % (uint64_t)(span / 4 + 1));
}

/* place.c. Telling the owner is always the last thing a step does. */
void place_tell_entered(struct place *place, const struct lun_err *err);
void place_tell_left(struct place *place, const struct lun_err *err);
/* Whatever the owner waits for, or holds, is over. */
void place_tell_over(struct place *place, enum lun_reason reason);
/* Frees one that is OVER, that nobody owns, and that has nothing in flight. */
void place_maybe_free(struct place *place);
void place_on_timer(struct rpc_timer *timer);
extern const struct lun_err place_not_ours;

/* place_wait.c */
extern const struct watch_callbacks place_own_callbacks, place_predecessor_callbacks;
/* To WAITING; `predecessor` is borrowed. */
void place_wait_for(struct place *place, const struct lun_kv *predecessor);
/* To LOOKING or CHECKING: something is to be asked now. */
void place_look(struct place *place, int next_state);
/* Proved to be first: to HELD. */
void place_hold(struct place *place);
void place_stop_watching(struct place *place);
void place_release_followers(struct place *place);
void place_on_waiting_timer(struct place *place);

/* place_leave.c. Each from a state in which nothing is in flight, but place_find. */
/* Whatever may be in etcd is removed. */
void place_clean_up(struct place *place, int64_t revision);
/* Our key is there: to LEAVING. */
void place_begin_leaving(struct place *place);
/* Our key may be there: to FINDING. */
void place_find(struct place *place);
/* It was not there as of `revision`: to OWING or OVER. */
void place_settle(struct place *place, int64_t revision);

#endif
