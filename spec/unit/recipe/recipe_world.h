/* spec/unit/recipe/recipe_world.h - the simulated etcd behind fake_rpc, and people who open sessions and stand
 * in lines: so that the tests of the recipes read as stories.
 *
 * The store answers at once and in virtual time, unless it was told to hold, lose, keep or refuse something,
 * or the member asked is frozen or lives in the past. What happened to the people is written down, in order,
 * in `story`. One line per test checks it. */
#ifndef LUN_SPEC_RECIPE_WORLD_H
#define LUN_SPEC_RECIPE_WORLD_H

#include <string.h>

#include "etcd/cluster.h"
#include "fake_rpc.h"
#include "recipe/place.h"
#include "recipe/session.h"
#include "sim/sim.h"

enum { WORLD_MEMBERS = 3, WORLD_WATCHES = 128 };
enum { WORLD_PENDING = 64 };
enum { WORLD_KEY_BYTES = 120, WORLD_STORY_BYTES = 16384 };

#define MS(n) ((n)*NS_PER_MS)
#define SECONDS(n) ((n)*NS_PER_S)

struct world_watch {
    struct fake_stream *stream; /* NULL: free */
    int64_t id, next_rev;
    char key[WORLD_KEY_BYTES], range_end[WORLD_KEY_BYTES];
    bool is_deletes_only;
};

/* Carried out; the reply is on its way. */
struct world_pending {
    size_t number; /* of the call; 0: free */
    enum rpc_method method;
    ProtobufCMessage *reply;
};
struct world_pending_renewal {
    struct fake_stream *stream; /* NULL: free */
    int64_t id, ttl_s, revision;
    uint64_t raft_term;
};

struct world_member {
    char address[16];
    bool is_frozen;         /* takes everything, answers nothing */
    uint64_t renewals_term; /* 0: the present one; else its answers to renewals bear this one... */
    int64_t renewals_ttl;   /* ...and this TTL; below 0: the true one */
    uint64_t renewals_id;   /* they bear this member's id; 0: that of its other replies */
    bool are_reads_refused; /* linearizable ones: "leader changed" */
};

struct world {
    struct fake *fake;
    struct rpc *rpc;
    struct etcd *etcd;
    struct place_index places;
    struct world_member members[WORLD_MEMBERS];
    size_t n_members;
    uint64_t raft_term;
    struct sim *etcd_store; /* the simulated etcd, standing still */
    int64_t compacted_rev;
    struct world_watch watches[WORLD_WATCHES];
    int64_t next_watch_id;
    /* what it does to calls and streams */
    bool is_slow[RPC_N_METHODS]; /* carried out at once, answered when it is so no more */
    struct world_pending pending[WORLD_PENDING];
    struct world_pending_renewal pending_renewals[WORLD_PENDING];
    bool is_held[RPC_N_METHODS];       /* lie unanswered */
    int n_replies_lost[RPC_N_METHODS]; /* so many are carried out, and never answered: the connection breaks
                                        */
    int n_refused[RPC_N_METHODS];      /* so many get `refusal` */
    int refusal_status;
    const char *refusal;
    bool are_events_held;
    int64_t refused_lease;  /* its renewal is not permitted: that ends the stream; 0: none */
    int64_t blocking_lease; /* its renewal is not answered, nor is what comes behind it on that stream */
    struct fake_stream *blocked[8];
    const char *watch_refusal;   /* every creation is cancelled with these words; NULL: none */
    struct fake_call *slow_call; /* see world_answer_slowly */
    ProtobufCMessage *slow_reply;
    ProtobufCMessage *kept; /* see world_keep */
    enum rpc_method kept_method;
    /* what it saw */
    int n_answered[RPC_N_METHODS];
    int n_watches_created, n_renewals;
    char story[WORLD_STORY_BYTES];
    bool is_closed;
};

struct world *world_new(size_t n_members);
/* Everything of the recipes must have ended; what was left behind in the seam aborts. */
void world_free(struct world *world);

/* Lets everybody do what can be done now. */
void world_run(struct world *world);
void world_advance(struct world *world, int64_t ns);
/* This process does not run for so long, etcd does. */
void world_freeze(struct world *world, int64_t ns);
/* Checks the story so far and begins a new one. */
#define STORY(world, expected)                                                                               \
    do {                                                                                                     \
        CHECK_TEXT((world)->story, expected);                                                                \
        (world)->story[0] = '\0';                                                                            \
    } while (0)
void world_tell(struct world *world, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Borrowed. */
static inline ProtobufCBinaryData world_bytes(const char *text) {
    return (ProtobufCBinaryData){strlen(text), (uint8_t *)(uintptr_t)text};
}

/* ---- what other people do to the store (nobody is told before world_run) */

int64_t world_put(struct world *world, const char *key, const char *value, int64_t lease);
void world_delete(struct world *world, const char *key);
void world_revoke(struct world *world, int64_t lease);
void world_compact(struct world *world);
/* Another etcd from now on, in a lower term: restored from a snapshot of that revision.
 * Its watches stay as they were. */
void world_restore(struct world *world, int64_t revision);
const struct sim_kv *world_get(const struct world *world, const char *key); /* NULL: not there */
size_t world_count(const struct world *world, const char *prefix);
const struct sim_kv *world_first(const struct world *world, const char *prefix);
int64_t world_revision(const struct world *world);
/* By another client; world_keep_alive: so is its renewal. */
void world_grant(struct world *world, int64_t lease, int64_t ttl_s);
void world_keep_alive(struct world *world, int64_t lease);
bool world_has_lease(const struct world *world, int64_t lease);

/* Tells the watchers of this key alone, while events are held. */
void world_tell_watchers(struct world *world, const char *key);
/* Answers the oldest call of that method, held or not. */
void world_answer_one(struct world *world, enum rpc_method method);
/* Carries the oldest call of that method out; its reply is on its way until world_deliver. */
void world_answer_slowly(struct world *world, enum rpc_method method);
void world_deliver(struct world *world);
/* The oldest call of that method breaks off; what it asked for is kept, to be carried out later. */
void world_keep(struct world *world, enum rpc_method method);
void world_carry_out_kept(struct world *world);
/* All streams of that method break. */
void world_break_streams(struct world *world, enum rpc_method method);
struct world_member *world_member(struct world *world, const char *address);
size_t world_n_watches(const struct world *world);

/* ---- people */

struct person {
    struct session session;
    struct world *world;
    const char *name;
    bool is_open, is_ended;
    int err;
};
/* Starts opening; story: "A opened", "A failed lost", "A jeopardy", "A alive", "A lost expired", "A closed",
 * "A ended". */
void person_open(struct person *person, struct world *world, const char *name, int64_t ttl_s, int64_t lease);
/* person_open and world_run. */
void person_arrive(struct person *person, struct world *world, const char *name);
void person_close(struct person *person, bool is_revoked);
void person_orphan(struct person *person);
void person_kill(struct person *person);
bool person_is_valid(struct person *person);
/* Closes, runs, and expects the end. */
void person_leave(struct person *person);

struct stand {
    struct place *place; /* NULL: given up */
    struct world *world;
    struct person *person;
    const char *name;
    bool is_holding;
    bool gives_up_on_stop; /* without waiting for the loss */
    int err;
    char text[LUN_ERR_TEXT_BYTES];
    char key[WORLD_KEY_BYTES];
    int64_t token;
};
/* Enters "/line". Story: "a holds", "a fails locked", "a stop", "a lost expired", "a left", "a left
 * not_owner". Gives its place up as place.h asks it to. */
int stand_enter(struct stand *stand, struct person *person, const char *name, enum place_mode mode);
/* The same where so many hold together. */
int stand_enter_among(struct stand *stand, struct person *person, const char *name, unsigned n_slots);
void stand_leave(struct stand *stand);
void stand_give_up(struct stand *stand);

#endif
