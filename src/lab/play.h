/* lab/play.h - a play: one seed's history of a script. Several processes run it, each a Lua state on a fiber of its
 * own, beside a simulated etcd; a judge looks at all of them after every step.
 *
 *   vm       the memory of a Lua state, the same in every run           fiber   the stack it runs on
 *   process  one candidate's life: begins, waits, is killed, again      judge   the state in which check(world) runs
 *
 * One play at a time, one thread. What is random comes from the world's seed. */
#ifndef LUN_LAB_PLAY_H
#define LUN_LAB_PLAY_H

#include <stdbool.h>
#include <stdint.h>

#include <lauxlib.h>
#include <lua.h>

#include "base/clock.h"
#include "base/list.h"
#include "module/module.h"
#include "sim/sim.h"
#include "lab/fiber.h"
#include "lab/vm.h"

enum { PLAY_MAX_PROCESSES = 16, PLAY_MAX_STANDS = 8, PLAY_MAX_ASKED = 64, PLAY_NAME_BYTES = 8 };
#define PLAY_BEGIN_NS (1000 * NS_PER_S) /* of the world's time */

struct play;
struct process;

/* A client of a process. */
struct process_client {
    struct list in_process;
    struct process *process;
    struct lun_client *client;
    struct sim_client *sim;
    bool has_note;     /* its poll would have something to do */
    bool is_abandoned; /* nobody has it any more */
};

/* A candidate{} of a process, as its handlers are called. */
struct stand {
    char election[128];
    const char *handler; /* running now; NULL: none */
    bool is_entered;     /* between on_elected and the end of on_lost */
    bool is_robbed;      /* somebody else took its key away */
    struct handle *term; /* referenced; NULL: not entered */
    int64_t token;
};

struct asked {
    struct box *box;
    lua_Integer id;
    char text[120];
};

struct process {
    struct play *play;
    int index;
    char name[PLAY_NAME_BYTES];
    struct vm vm;
    struct fiber *fiber;
    struct sim_client *clock; /* nothing is ever asked of it */
    struct list clients;
    struct sim_event wake, resume;
    bool is_up, is_paused, is_dying;
    bool is_waiting;       /* on its fiber, until `wake` or a note */
    bool is_due;           /* what it waits for came while it was paused */
    bool is_stopped_short; /* paused between two of its steps, and not waiting for anything */
    bool has_ended;        /* its program has, by itself */
    int exit_status;       /* then */
    int pause_in;          /* requests until it is paused right before one; 0: not planned */
    int64_t pause_for_ns;
    int signal; /* to be told to its program */
    int n_lives, n_clients, n_alarms;
    struct stand stands[PLAY_MAX_STANDS];
    int n_stands;
    struct asked asked[PLAY_MAX_ASKED];
    int next_asked;
    char answers[8][160]; /* what calls answered last when they failed */
    int next_answer;
};

/* By check(world); a promise of lunarch's broken; an error in the script; something that should have come does not. */
enum verdict { VERDICT_NONE, VERDICT_CHECK, VERDICT_LUNARCH, VERDICT_SCRIPT, VERDICT_LIVENESS };

struct play {
    struct sim *sim;
    int n_processes;
    struct process processes[PLAY_MAX_PROCESSES];
    struct vm judge;
    bool has_check;
    double ttl_s, stop_timeout_s; /* as the script says; 0: it does not */
    const char *phase;
    enum verdict verdict;
    char reason[2000];
    char culprit[PLAY_NAME_BYTES];
    int64_t n_steps, n_elected, n_kills, n_pauses;
    int64_t last_token[PLAY_MAX_PROCESSES * PLAY_MAX_STANDS];
    /* Told of everything, if there is somebody: `who` is a process's name, "etcd" or "". */
    void (*on_story)(void *arg, double at_s, const char *who, const char *kind, const char *text);
    void *story_arg;
    bool is_mute;
};

/* The play under way, and the process whose code runs; NULL: none. */
extern struct play *the_play;
extern struct process *the_process;

/* ---- play.c */
double play_seconds(const struct play *play);
void play_tell(struct play *play, const char *who, const char *kind, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* The first verdict stands. */
void play_fail(struct play *play, enum verdict verdict, const char *who, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* ---- process.c: on the main stack, unless said otherwise */
/* Begins a life in the state that was saved. */
void process_start(struct process *process);
void process_kill(struct process *process);
/* Inside: the program is over; never returns. */
void process_exit(struct process *process) __attribute__((noreturn));
void process_pause(struct process *process, int64_t for_ns);
/* At the `n`-th request from now, right before it is sent. */
void process_pause_later(struct process *process, int n, int64_t for_ns);
void process_resume(struct process *process);
void process_signal(struct process *process, int number);
int64_t process_now_ns(const struct process *process); /* of its own clock */
/* Inside: waits until its clock shows that, or something has come for a client (for that one; NULL: for any), or
 * a signal; RPC_NEVER: only for the latter. May return early. */
void process_wait(struct process *process, int64_t until_ns, const struct process_client *own);
/* Inside: the same, whatever may have come already. */
void process_sleep(struct process *process, int64_t until_ns);
/* Inside: whether something has come for one of its clients since the last call. */
bool process_take_notes(struct process *process);
/* Inside: a request is about to be sent. */
void process_before_request(struct process *process);
bool process_leads(struct process *process, const struct stand *stand);

/* ---- door.c: what lunarch.core is opened on */
void door_free_clients(struct process *process);

/* ---- processlib.c: what a script finds in its state */
int luaopen_lunarch_sim_process(lua_State *L);
/* lunarch.core, with a clock and a sleep of the world's, and what is asked of it told. */
int luaopen_lunarch_sim_core(lua_State *L);
void process_lost(struct play *play, const struct sim_kv *kv, enum sim_cause cause);

/* ---- judge.c */
int luaopen_lunarch_sim_world(lua_State *L);
/* Lets the script define check(world), and its settings. NULL, or what is wrong with it. */
const char *judge_open(struct play *play);
/* Calls check(world); what it finds wrong becomes the verdict. */
void judge_look(struct play *play);
void judge_note(struct play *play, lua_State *from, int name_index, int value_index, bool is_added);

/* ---- value.c */
/* Copies a value from one state to another: nil, booleans, numbers, strings, and lists and tables by name of those. */
void copy_value(lua_State *from, int index, lua_State *to);

/* ---- crew.c: functions of lunarch.sim */
int crew_fork(lua_State *L);
int crew_read(lua_State *L);
int crew_write(lua_State *L);
int crew_quit(lua_State *L);
int crew_dismiss(lua_State *L);
int crew_n_cores(lua_State *L);

#endif
