/* spec/seeds/world.h - what the parts of a history share. */
#ifndef LUN_SPEC_PROVE_WORLD_H
#define LUN_SPEC_PROVE_WORLD_H

#include "client/client.h"
#include "history.h"
#include "sim/sim.h"

enum { MACHINES = 4, STANDS = 3, LINES = 2, ALL_STANDS = MACHINES * STANDS };
enum {
    KEY_BYTES = 96,
    USER_BYTES = 16,
    GRAVES = 256,
    RECOVERIES = 64,
    FORSAKEN = 64,
    FAULTS = 192,
    ASKED = 64,
    PUTS = 4096,
    TOKEN_ENDS = 16
};

#define MS(n) ((n)*NS_PER_MS)
#define SECONDS(n) ((n)*NS_PER_S)
#define USER_PASSWORD "secret"

/* Calm: intentions and the operator, no fault. Then faults; recovery: intentions, no faults; settling: nobody wants
 * anything new; closing. */
enum phase { CALM, FAULTY, RECOVERING, SETTLING, CLOSING };
enum stand_state { FREE, ENTERING, HOLDING, LEAVING };
enum life { NONE, OPENING, OPEN, OVER, ENDING };

struct world;
struct machine;

/* A call that went through the door. */
struct asked {
    struct machine *machine;
    struct stand *stand; /* NULL: it belongs to the machine, or its stand has let go of it */
    struct lun_op *op;
    const char *what;
    bool is_out, is_taken_late;
    struct lun_op *kept; /* answered, and taken at `take_at_ns`; NULL: not */
    int64_t take_at_ns;
    int64_t due_ns; /* by the machine's clock; RPC_NEVER: it may take as long as it likes */
    void (*on_answer)(struct asked *asked, const struct lun_result *result);
    /* When it was asked: who led, and how often the line had been empty. */
    int line;
    int64_t first_rev;
    unsigned n_empty, n_anew;
};

/* Where a machine stands, or might. */
struct stand {
    struct machine *machine;
    enum stand_state state;
    int line;
    char key[KEY_BYTES];
    int64_t token, until_ns, held_since_ns;
    int64_t robbed_ns;   /* somebody else took its key away, then; 0: nobody */
    bool is_told;        /* that it has to stop, or has lost */
    struct place *place; /* of a bare machine */
    bool is_trying;
    int64_t written_ns; /* when a try of it was carried out; 0: none was */
    /* Of one behind the door. */
    const struct kind *kind; /* of `object`: a mutex, an election; NULL: there is none */
    void *object;
    struct lun_term *term;
    struct asked *waiting; /* for the lock, the campaign, the unlock, the resignation */
    unsigned n_proclaims;
};

struct machine {
    struct world *world;
    int index;
    char name[16];
    int n_lives;
    uint64_t dice;
    uint32_t n_deeds;
    bool is_up, is_paused, is_door;
    int64_t start_at_ns, ran_since_ns;
    struct sim_client *client;
    struct rpc *rpc;
    struct sim_event think;
    struct stand stands[STANDS];
    enum life life;    /* of its session */
    int64_t opened_ns; /* asked for */
    int64_t ttl_s;
    bool is_adopted, is_lease_taken;
    bool is_refused;      /* its latest lost session, and so what would delete its keys */
    uint64_t n_read;      /* keys that its transactions had read when the lines came to rest */
    int64_t old_lease;    /* its session's, in the etcd that is no more */
    int64_t old_began_ns; /* when its client believed by then that etcd had begun */
    int64_t old_rev;      /* what it had heard of the old etcd by then */
    /* A bare one uses sessions and places directly. */
    struct trace trace;
    struct etcd *etcd;
    struct place_index places;
    struct session session;
    bool is_closed;
    /* The other kind goes through lunarch.h. */
    struct lun_client *door;
    struct lun_session *open;
    struct sim_event poll;
    struct asked asked[ASKED];
    bool is_door_closing, is_noted;
    struct lun_observer *observer;
    int observed_line;
    bool is_observer_told, was_leader_observed;
    int64_t observed_since_ns, observed_rev, observed_token, observed_mod;
    unsigned n_observed_anew; /* as often it may go back yet */
    struct lun_watch *watch;
    bool is_watch_old; /* it was on an etcd that is no more */
    size_t n_seen;     /* of world->puts */
    char user[USER_BYTES];
    /* Until then etcd did not accept its password, or refused it a right: at INT64_MAX it does so now. */
    int64_t no_password_until_ns, no_right_until_ns[LINES];
};

struct grave {
    char key[KEY_BYTES];
    int64_t create_rev, at_ns;
    enum sim_cause cause;
};

enum fault_kind {
    FREEZE,
    CUT,
    STOP,
    ELECT,
    FULL,
    PAUSE,
    KILL,
    SILENCE,
    SLOW,
    RESET,
    STRAND,
    LAG,
    COMPACT,
    DELETE,
    REVOKE,
    ANEW,
    TOKENS,
    AUTH_OFF,
    PASSWORD,
    RIGHTS,
    N_FAULT_KINDS
};

/* Drawn before the history begins. */
struct fault {
    int64_t at_ns, for_ns;
    enum fault_kind kind;
    int member; /* SIM_MEMBERS: whoever leads then */
    int machine;
    uint64_t which; /* key */
    bool is_alone;  /* only while all other members are well */
    bool is_begun;
};

enum cure { THAW, JOIN, START, MAKE_ROOM, RESUME, FALL_SILENT, VOTE, AUTH_ON, OLD_PASSWORD, OLD_RIGHTS };
struct recovery {
    int64_t at_ns, for_ns;
    enum cure cure;
    int index;
};

struct put {
    int64_t at_ns;
    int64_t value, rev;
};

struct world {
    struct sim *sim;
    struct history *history;
    struct history_options options;
    enum phase phase;
    uint64_t dice;
    struct machine machines[MACHINES];
    int64_t tokens_ended_ns[TOKEN_ENDS]; /* the latest instants at which all tokens, or some, ended: a ring */
    unsigned n_token_ends;
    unsigned n_slots[LINES]; /* how many hold it together */
    int64_t last_token[LINES];
    unsigned n_empty[LINES];       /* how often it became empty */
    int64_t first_since_ns[LINES]; /* who is first, since then, with this value */
    int64_t first_rev[LINES], first_mod[LINES];
    struct grave graves[GRAVES];
    size_t n_graves;
    struct recovery recoveries[RECOVERIES];
    size_t n_recoveries;
    struct sim_event fault_tick;
    struct sim_faults message_faults;
    struct fault faults[FAULTS];
    size_t n_faults;
    int64_t faults_begin_ns, faults_end_ns;
    bool is_crowd;                   /* all stand in one line */
    bool has_users, are_users_alone; /* the second: besides what happens to users there are no faults */
    bool are_tokens_signed;
    bool is_patient;                /* all are bare, in one line, and wait for long */
    int64_t changed_ns, at_rest_ns; /* the lines did last; since when what is read is counted, 0: it is not */
    int restlessness;               /* per mille of their thoughts in which machines end their session */
    int adoption;                   /* per mille of their sessions that adopt another's lease */
    int64_t forsaken
        [FORSAKEN]; /* leases that others share, of machines that left places behind: the operator's */
    size_t n_forsaken;
    struct put puts[PUTS]; /* to /data, in order: what every watch on it has to tell */
    size_t n_puts;
    /* How often etcd began anew; when it did last, and what revision it was restored to. */
    unsigned n_anew;
    int64_t anew_ns, restored_rev, calm_again_ns;
};

extern const char *const lines[LINES];

/* How much longer answers take until the faults end; 0: etcd is near. */
static inline int64_t world_far_ns(const struct world *world) {
    return world->message_faults.far_ns;
}

/* ---- chance, decisions (decide.c) */
uint64_t dice_of(uint64_t seed, uint64_t whose);
int64_t below(uint64_t *dice, int64_t n);
bool chance(uint64_t *dice, int per_mille);
enum decision { DECIDE_MESSAGE, DECIDE_FAULT, DECIDE_OPERATOR, DECIDE_MACHINE, DECIDE_DEED, DECIDE_PHASE };
/* False: it has been left out. */
bool may(struct world *world, enum decision decision, unsigned whose, unsigned kind, uint32_t number);
/* A deed of a machine. */
bool machine_may(struct machine *machine, unsigned kind);
void filter_messages(struct world *world);

/* ---- what must hold (invariants.c) */
void broken(struct world *world, enum invariant invariant, const char *who, const char *what);
/* Into the timeline, and into the digest. */
void tell(struct machine *machine, const char *format, ...) __attribute__((format(printf, 2, 3)));
void look_on(struct world *world);
void check_step(struct world *world);
/* A stand has just been told that it holds. */
void check_win(struct stand *stand);
bool believes(const struct stand *stand);
struct stand *stand_at(struct world *world, size_t i);
const struct sim_kv *find_key(struct world *world, const char *key, int64_t create_rev);
bool is_nobody_in_line(const struct world *world);
int line_of_key(const char *key); /* below 0: none */
void name_unsettled(struct world *world);
void note_first(struct world *world);
void bury(struct world *world, const struct sim_kv *kv, enum sim_cause cause);

/* ---- what waiting costs etcd (rest.c) */
void plan_rest(struct world *world, uint64_t seed);
int64_t calm_ns(const struct world *world);
void disturb(struct world *world);
void check_rest(struct world *world);

/* ---- machines (machine.c) */
void machine_start(struct machine *machine);
void machine_kill(struct machine *machine);
void machine_pause(struct machine *machine);
void machine_resume(struct machine *machine);
void machine_fini(struct machine *machine);
void machine_close_session(struct machine *machine);
void machine_close(struct machine *machine);
bool machine_is_session_ended(const struct machine *machine);
bool machine_is_closed(const struct machine *machine);
/* After it is closed: nothing may be left. */
void machine_end(struct machine *machine);
void machine_begin(struct world *world, int index);
int64_t machine_now(const struct machine *machine);
/* 0: it has none. */
int64_t machine_lease(const struct machine *machine);
int64_t machine_valid_until(const struct machine *machine);
/* Whoever shares its lease keeps alive what it leaves behind: somebody has to tidy up in the end. */
void forsake(struct machine *machine);
/* It waits, or holds, and wants nothing else. */
bool machine_rests(const struct machine *machine);
/* False: its user goes on until the place is lost. */
bool machine_has_grace(struct machine *machine);
/* Which other machine's lease to adopt; 0: none. */
int64_t machine_adopts(struct machine *machine);
void on_session_lost(struct machine *machine, enum lun_reason reason, int64_t lease);
void stand_holds(struct stand *stand, const char *key, int64_t token);

/* ---- bare machines: sessions and places (bare.c) */
void bare_start(struct machine *machine);
void bare_live(struct machine *machine);
void bare_kill(struct machine *machine);
void bare_close_session(struct machine *machine, bool is_revoked);
void bare_close(struct machine *machine);
void bare_end(struct machine *machine);
void bare_live_stand(struct stand *stand);

/* ---- machines behind the door: lunarch.h (door.c, door_stand.c, door_look.c) */
void door_start(struct machine *machine);
void door_live(struct machine *machine);
void door_kill(struct machine *machine);
void door_close_session(struct machine *machine);
void door_close(struct machine *machine);
void door_end(struct machine *machine);
struct asked *door_ask(struct machine *machine, struct stand *stand, const char *what, int64_t timeout_ms,
                       void (*on_answer)(struct asked *, const struct lun_result *), struct lun_ask *ret_ask);
/* The call returned that. False: it asked nothing. */
bool door_is_asked(struct asked *asked, int rc, const struct lun_err *err);
int64_t door_timeout(struct machine *machine);
/* One row for each thing that may be held (door_kinds.c). Those that ask return what lunarch.h does. */
typedef int kind_asks(struct stand *stand, const struct lun_ask *ask, struct lun_op **ret_op,
                      struct lun_err *ret_err);
struct kind {
    uint32_t deed;                            /* entering, as a decision */
    bool is_shared;                           /* for lines that several hold together */
    const char *enter, *try_to_enter, *leave; /* the calls; try_to_enter NULL: there is none */
    const char *enters, *leaves;              /* in the timeline; enters NULL: as the call */
    int (*make)(struct stand *stand);         /* the object */
    int (*ask_in)(struct stand *stand, bool is_trying, const struct lun_ask *ask, struct lun_op **ret_op,
                  struct lun_err *ret_err);
    struct lun_bytes (*key)(const struct stand *stand);
    kind_asks *await_loss, *ask_out;
    void (*release)(struct stand *stand); /* in the background; NULL: cannot be done */
    kind_asks *ask_owner;                 /* NULL: there is no such question */
    void (*free)(void *object);
};
/* One of those that fit a line that so many hold together; NULL: none does. */
const struct kind *draw_kind(unsigned n_slots, int64_t per_mille);
void door_live_stand(struct stand *stand);
void door_drop_stand(struct stand *stand);
void door_look(struct machine *machine);
void door_stop_looking(struct machine *machine);
void door_ask_leader(struct stand *stand);
void check_asked(struct machine *machine);
void check_observer(struct machine *machine, int64_t within_ns);

/* ---- what some histories have besides (extras.c) */
#define LUN_X(name) EXTRA_##name,
enum extra { HISTORY_EXTRAS(LUN_X) N_EXTRAS };
#undef LUN_X
void plan_extras(struct world *world, uint64_t seed);
/* Only one place holds that line at a time. */
static inline bool is_exclusive(const struct world *world, int line) {
    return world->n_slots[line] == 1;
}
/* In which it stands next. */
int draw_line(struct machine *machine);
/* Drawn for its next session. */
int64_t machine_ttl_s(struct machine *machine);
/* The TTL of its session allows for how far etcd is away. */
bool machine_reaches(const struct machine *machine);

/* ---- etcd begins anew (anew.c) */
void begin_anew(struct world *world, const struct fault *fault);
bool machine_is_of_old_etcd(const struct machine *machine);
void forget_old_leases(struct world *world);
/* Those that are valid have had time enough to end. */
void check_old_sessions(struct world *world);

/* ---- histories with users (users.c) */
void plan_users(struct world *world, uint64_t *dice);
/* Its password is USER_PASSWORD. NULL: there are no users. */
const char *machine_user(struct machine *machine);
void change_users(struct world *world, const struct fault *fault);
void change_users_back(struct world *world, const struct recovery *recovery);
/* Its session is lost for that reason. */
void check_refusal(struct machine *machine, enum lun_reason reason);

/* ---- faults (faults.c) */
/* In so much time something is well again. */
void later(struct world *world, enum cure cure, int index, int64_t in_ns, int64_t for_ns);
void plan_faults(struct world *world, uint64_t seed);
void add_fault(struct world *world, uint64_t *dice, enum fault_kind kind, int64_t at_ns);
void begin_faults(struct world *world);
void end_faults(struct world *world);

#endif
