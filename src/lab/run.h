/* lab/run.h - a run: one seed's history of a script. Several processes run it, each a Lua state on a fiber of its
 * own, beside a simulated etcd; the script's check(world) is called after every step.
 *
 *   vm       the memory of a Lua state, the same in every run           fiber    the stack it runs on
 *   process  one candidate's life: begins, waits, is killed, again      checker  the state in which check(world) runs
 *
 * One run at a time, one thread. What is random comes from the world's seed. */
#ifndef LUN_LAB_RUN_H
#define LUN_LAB_RUN_H

#include <stdbool.h>
#include <stdint.h>

#include <lauxlib.h>
#include <lua.h>

#include "base/clock.h"
#include "base/list.h"
#include "lab/fiber.h"
#include "lab/vm.h"
#include "module/module.h"
#include "sim/sim.h"

enum { RUN_MAX_PROCESSES = 16, RUN_MAX_CANDIDATES = 8, RUN_MAX_ASKED = 64, RUN_NAME_BYTES = 8 };
#define RUN_BEGIN_NS (1000 * NS_PER_S) /* of the world's time */

struct run;
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
struct candidate {
    char election[128];
    const char *handler; /* running now; NULL: none */
    bool is_entered;     /* between on_elected and the end of on_lost */
    bool is_robbed;      /* an operator took its key away */
    struct handle *term; /* referenced; NULL: not entered */
    int64_t token;
};

struct asked {
    struct client_ref *ref;
    lua_Integer id;
    char text[120];
};

struct process {
    struct run *run;
    int index;
    char name[RUN_NAME_BYTES];
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
    int signal; /* to be delivered to its program */
    int n_lives, n_clients, n_alarms;
    struct candidate candidates[RUN_MAX_CANDIDATES];
    int n_candidates;
    struct asked asked[RUN_MAX_ASKED];
    int next_asked;
    char answers[8][160]; /* what calls answered last when they failed */
    int next_answer;
};

/* By check(world); a promise of lunarch's broken; an error in the script; something that should have come does not. */
enum verdict { VERDICT_NONE, VERDICT_CHECK, VERDICT_LUNARCH, VERDICT_SCRIPT, VERDICT_LIVENESS };

struct run {
    struct sim *sim;
    int n_processes;
    struct process processes[RUN_MAX_PROCESSES];
    struct vm checker;
    bool has_check;
    double ttl_s, stop_timeout_s; /* as the script says; 0: it does not */
    const char *phase;
    int delayed; /* per mille of the turns in which answers came: they are taken late */
    enum verdict verdict;
    char reason[2000];
    char culprit[RUN_NAME_BYTES];
    int64_t n_steps, n_elected, n_kills, n_pauses;
    int64_t last_token[RUN_MAX_PROCESSES * RUN_MAX_CANDIDATES];
    /* Called with everything that happens, unless NULL: `who` is a process's name, "etcd" or "". */
    void (*on_event)(void *arg, double at_s, const char *who, const char *kind, const char *text);
    void *event_arg;
    bool is_mute;
    bool is_by_hand; /* open_world.c: a script may fail, and has said so itself */
};

/* The run under way, and the process whose code runs; NULL: none. */
extern struct run *the_run;
extern struct process *the_process;

/* ---- run.c */
double run_seconds(const struct run *run);
/* Raises when there is none. */
struct run *run_under_way(lua_State *L);
void run_report(struct run *run, const char *who, const char *kind, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* The first verdict stands. */
void run_fail(struct run *run, enum verdict verdict, const char *who, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* ---- run_faults.c: functions of lunarch.sim */
extern const luaL_Reg run_fault_functions[];

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
bool process_leads(struct process *process, const struct candidate *candidate);

/* ---- open_sim.c: what lunarch.core is opened on */
void clients_free(struct process *process);
/* Whether that client was opened by this process in the world under way. */
bool process_has_client(struct process *process, const struct lun_client *client);
/* Called with each client as it is opened, before it asks anything; NULL: nobody wants to know. */
extern void (*on_client_opened)(struct process_client *own);

/* ---- process_api.c: what a script finds in its state */
int luaopen_lunarch_sim_process(lua_State *L);
/* lunarch.core, with a clock and a sleep of the world's; its calls are reported. */
int luaopen_lunarch_sim_core(lua_State *L);
void process_lost(struct run *run, const struct sim_kv *kv, enum sim_cause cause);

/* ---- checker.c */
int luaopen_lunarch_sim_world(lua_State *L);
/* Lets the script define check(world), and its settings. NULL, or what is wrong with it. */
const char *checker_open(struct run *run);
/* Calls check(world); what it finds wrong becomes the verdict. */
void checker_look(struct run *run);
/* Calls that function of lua/lunarch/cli/sim/noted.lua with all that is on the stack of `from`, where it pushes what the
 * function returned. */
int checker_ask(struct run *run, const char *what, lua_State *from);

/* ---- value.c */
/* Copies a value from one state to another: nil, booleans, numbers, strings, and lists and tables by name of those. */
void copy_value(lua_State *from, int index, lua_State *to);

/* ---- workers.c: functions of lunarch.sim */
int worker_fork(lua_State *L);
int worker_read(lua_State *L);
int worker_write(lua_State *L);
int worker_quit(lua_State *L);
int worker_reap(lua_State *L);
int worker_n_cores(lua_State *L);

#endif
