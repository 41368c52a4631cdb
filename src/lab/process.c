/* lab/process.c - a simulated process: its life, its waits, its pauses.
 *
 * Its program runs on a fiber, and takes no time. It leaves the fiber where it waits - for an instant of its own clock,
 * for a note of one of its clients - and where it is paused right before a request is sent: between two such places
 * what a program does depends on nothing outside of it, so that a pause anywhere else would be like a pause at one of
 * them. */
#include "lab/run.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "rpc/rpc.h"

struct process *the_process;

static void enter(struct process *process) {
    the_process = process;
    fiber_enter(process->fiber);
    the_process = NULL;
    if (process->has_ended && process->is_up)
        process_kill(process);
}

static void leave(struct process *process) {
    assert(the_process == process && !process->is_dying);
    fiber_leave(process->fiber);
}

int64_t process_now_ns(const struct process *process) {
    return rpc_now(sim_client_rpc(process->clock));
}

/* A thread that is woken runs a little later, now and then much later. */
static int64_t delay(struct run *run) {
    return sim_below(run->sim, sim_chance(run->sim, 20) ? 30 * NS_PER_MS : NS_PER_MS / 4);
}

static void wake_at(struct process *process, int64_t at_ns) {
    struct sim *sim = process->run->sim;
    if (process->wake.node.index && process->wake.node.key <= at_ns)
        return;
    sim_off(sim, &process->wake);
    if (at_ns != RPC_NEVER)
        sim_at(sim, &process->wake, at_ns);
}

static void on_wake(struct sim_event *event) {
    struct process *process = CONTAINER_OF(event, struct process, wake);
    process->is_due = process->is_paused;
    if (process->is_paused)
        return;
    process->is_waiting = process->is_stopped_short = false;
    process->n_alarms = 0;
    enter(process);
}

bool process_take_notes(struct process *process) {
    bool has_notes = process->signal != 0;
    for (struct list *node = process->clients.next; node != &process->clients; node = node->next) {
        struct process_client *own = CONTAINER_OF(node, struct process_client, in_process);
        has_notes = has_notes || (own->has_note && !own->is_abandoned);
        own->has_note = false;
    }
    return has_notes;
}

static bool has_notes(const struct process *process) {
    for (struct list *node = process->clients.next; node != &process->clients; node = node->next) {
        const struct process_client *own = CONTAINER_OF(node, struct process_client, in_process);
        if (own->has_note && !own->is_abandoned)
            return true;
    }
    return process->signal != 0;
}

void process_wait(struct process *process, int64_t until_ns, const struct process_client *own) {
    struct run *run = process->run;
    int64_t at_ns = until_ns == RPC_NEVER ? RPC_NEVER : sim_client_instant(process->clock, until_ns);
    if (own ? own->has_note : has_notes(process))
        at_ns = sim_now(run->sim);
    process->is_waiting = true;
    wake_at(process, at_ns == RPC_NEVER ? RPC_NEVER : at_ns + delay(run));
    leave(process);
}

void process_sleep(struct process *process, int64_t until_ns) {
    int64_t at_ns = sim_client_instant(process->clock, until_ns);
    process->is_waiting = true;
    wake_at(process, at_ns == RPC_NEVER ? RPC_NEVER : at_ns + delay(process->run));
    leave(process);
}

/* ---- pausing -------------------------------------------------------------------------------------------- */

static void set_clients(struct process *process, void (*set)(struct sim_client *client)) {
    process->run->is_mute = true;
    for (struct list *node = process->clients.next; node != &process->clients; node = node->next)
        set(CONTAINER_OF(node, struct process_client, in_process)->sim);
    process->run->is_mute = false;
}

void process_pause(struct process *process, int64_t for_ns) {
    struct sim *sim = process->run->sim;
    if (!process->is_up || process->is_paused)
        return;
    process->is_paused = true;
    process->pause_in = 0;
    process->run->n_pauses++;
    run_report(process->run, process->name, "fault", "paused (SIGSTOP)%s",
               process->is_stopped_short ? " right before it sends" : "");
    set_clients(process, sim_client_pause);
    sim_at(sim, &process->resume, sim_now(sim) + for_ns);
}

void process_pause_later(struct process *process, int n, int64_t for_ns) {
    process->pause_in = n;
    process->pause_for_ns = for_ns;
}

void process_resume(struct process *process) {
    struct sim *sim = process->run->sim;
    sim_off(sim, &process->resume);
    if (!process->is_paused)
        return;
    process->is_paused = false;
    run_report(process->run, process->name, "fault", "runs again (SIGCONT)");
    set_clients(process, sim_client_resume);
    bool is_due = process->is_due || process->is_stopped_short || has_notes(process);
    process->is_due = false;
    if (is_due)
        wake_at(process, sim_now(sim) + delay(process->run));
}

static void on_resume(struct sim_event *event) {
    process_resume(CONTAINER_OF(event, struct process, resume));
}

void process_before_request(struct process *process) {
    if (process->is_dying || process->pause_in == 0 || --process->pause_in > 0)
        return;
    process->is_stopped_short = true;
    process_pause(process, process->pause_for_ns);
    leave(process);
}

void process_signal(struct process *process, int number) {
    struct sim *sim = process->run->sim;
    if (!process->is_up)
        return;
    process->signal = number;
    run_report(process->run, process->name, "fault", "told to stop (SIGTERM)");
    if (process->is_waiting)
        wake_at(process, sim_now(sim) + delay(process->run));
}

/* ---- life ----------------------------------------------------------------------------------------------- */

static int traceback_of(lua_State *L) {
    const char *text = luaL_tolstring(L, 1, NULL);
    luaL_traceback(L, L, text, 1);
    return 1;
}

/* The program: what boot.lua left in the registry. */
static void run_program(void *arg) {
    struct process *process = arg;
    lua_State *L = process->vm.L;
    lua_settop(L, 0);
    lua_pushcfunction(L, traceback_of);
    lua_getfield(L, LUA_REGISTRYINDEX, "lunarch.sim.main");
    lua_pushinteger(L, (lua_Integer)(sim_random(process->run->sim) >> 1));
    if (lua_pcall(L, 1, 0, 1) != LUA_OK)
        run_fail(process->run, VERDICT_LUNARCH, process->name, "%s", lua_tostring(L, -1));
    process_exit(process);
}

void process_start(struct process *process) {
    if (process->is_up)
        return;
    vm_restore(&process->vm);
    process->n_lives++;
    process->is_up = true;
    process->is_paused = process->is_dying = process->is_waiting = process->is_due = false;
    process->is_stopped_short = process->has_ended = false;
    process->exit_status = 0;
    process->pause_in = process->signal = process->n_candidates = process->n_alarms = process->n_clients = 0;
    memset(process->candidates, 0, sizeof process->candidates);
    memset(process->asked, 0, sizeof process->asked);
    memset(process->answers, 0, sizeof process->answers);
    list_init(&process->clients);
    process->wake.run = on_wake;
    process->resume.run = on_resume;
    fiber_set(process->fiber, run_program, process);
    run_report(process->run, process->name, "life", process->n_lives == 1 ? "starts" : "starts anew");
    sim_at(process->run->sim, &process->wake, sim_now(process->run->sim) + delay(process->run));
}

void process_exit(struct process *process) {
    for (int i = 0; i < process->n_candidates; i++)
        if (process->candidates[i].is_entered)
            run_fail(process->run, VERDICT_LUNARCH, process->name,
                     "the program ended without on_lost, after on_elected");
    process->has_ended = true;
    for (;;)
        leave(process);
}

/* Also of one whose program has ended: what it leaves behind goes the same way. */
void process_kill(struct process *process) {
    struct run *run = process->run;
    if (!process->is_up)
        return;
    process->is_dying = true;
    process->is_up = process->is_paused = false;
    sim_off(run->sim, &process->wake);
    sim_off(run->sim, &process->resume);
    the_process = process;
    set_clients(process, sim_client_kill);
    for (int i = 0; i < process->n_candidates; i++) {
        handle_unref(process->candidates[i].term);
        process->candidates[i].term = NULL;
        process->candidates[i].is_entered = false;
    }
    vm_close(&process->vm);
    clients_free(process);
    the_process = NULL;
    process->is_dying = false;
}

bool process_leads(struct process *process, const struct candidate *candidate) {
    return process->is_up && candidate->is_entered && !candidate->is_robbed && candidate->term &&
           candidate->term->object && lun_term_valid_until_ns(candidate->term->object) != 0;
}
