/* lab/open_world.c - luaopen_lunarch_sim_open: a run that a person plays by hand, for lua/lunarch/lab/sim.lua. It goes
 * on only when it is told to, and the caller's own Lua state takes part in it as one more process, called "you":
 *
 *   sim.prepare, sim.begin ... enter(program) ... run(until) ... start(i, spec), send(i, order), hold, slow ... leave()
 *
 * The program of "you" runs in a coroutine of the caller's state, on a fiber of its own: what waits in it waits for the
 * world, which moves only inside run(). The other processes get a specification when they start and orders later, and
 * answer; each is a plain value, copied.
 *
 * A world that was left is kept in memory: variables of the caller's state may still hold its objects. */
#include <stdlib.h>
#include <string.h>

#include <lualib.h>

#include "lab/run.h"

/* Exported by name. */
int luaopen_lunarch_sim_open(lua_State *L);

enum { YOU = RUN_MAX_PROCESSES, N_PROCESSES };
#define CUT_FOR_NS (INT64_C(1000000000) * NS_PER_S)
#define SPEC "lunarch.lab.spec"
#define ORDERS "lunarch.lab.orders"
#define ON_ANSWER "lunarch.lab.on_answer"

/* What lasts between a process and the members, for its future clients too. */
struct link {
    bool is_cut[SIM_MEMBERS];
    int64_t slow_ns[SIM_MEMBERS];
};

static struct {
    struct process you;
    struct fiber *fiber;
    lua_State *thread; /* the coroutine of the program */
    bool is_running, is_halted;
    struct sim_event mark;
    struct link links[N_PROCESSES];
} world;

static struct run *run_check(lua_State *L) {
    if (!the_run || !the_run->sim)
        (void)luaL_error(L, "lunarch.sim.open: no world is open");
    if (!world.is_running)
        the_run->event_arg = L;
    return the_run;
}

static struct process *process_check(lua_State *L) {
    struct run *run = run_check(L);
    lua_Integer index = luaL_checkinteger(L, 1);
    if (index == 0)
        return &world.you;
    luaL_argcheck(L, index >= 1 && index <= run->n_processes, 1, "no such process");
    return &run->processes[index - 1];
}

static int member_check(lua_State *L, int index) {
    lua_Integer member = luaL_checkinteger(L, index);
    luaL_argcheck(L, member >= 1 && member <= SIM_MEMBERS, index, "no such member");
    return (int)member - 1;
}

static void wake(struct process *process) {
    if (process->is_up && process->is_waiting && !process->is_paused)
        sim_at(process->run->sim, &process->wake, sim_now(process->run->sim));
}

/* ---- you ------------------------------------------------------------------------------------------------ */

static void run_program(void *arg) {
    lua_State *L = arg;
    if (lua_pcall(L, 0, 0, 0) != LUA_OK)
        run_report(world.you.run, world.you.name, "error", "%s", lua_tostring(L, -1));
    world.you.has_ended = true;
    for (;;)
        fiber_leave(world.fiber);
}

static void on_wake(struct sim_event *event) {
    (void)event;
    struct process *you = &world.you;
    if (you->has_ended)
        return;
    you->is_waiting = false;
    the_process = you;
    fiber_enter(world.fiber);
    the_process = NULL;
}

static void ignore(struct sim_event *event) {
    (void)event;
}

static void set_up(struct process *you, struct run *run) {
    *you = (struct process){.run = run, .index = YOU, .name = "you", .is_up = true, .n_lives = 1};
    list_init(&you->clients);
    you->clock = sim_client_new(run->sim, you->name, 0);
    you->wake.run = on_wake;
    you->resume.run = ignore;
    you->fiber = world.fiber;
}

/* A person's clocks all go alike, until skew() says otherwise. */
static void settle_clocks(struct run *run) {
    for (int i = 0; i < run->n_processes; i++)
        sim_client_set_rate(run->processes[i].clock, 0);
}

static void on_opened(struct process_client *own) {
    const struct link *link = &world.links[own->process->index];
    for (int i = 0; i < SIM_MEMBERS; i++) {
        if (link->is_cut[i])
            sim_client_hold(own->sim, i, CUT_FOR_NS);
        if (link->slow_ns[i])
            sim_client_slow(own->sim, i, link->slow_ns[i]);
    }
}

/* enter(program): after begin */
static int l_enter(lua_State *L) {
    struct run *run = run_check(L);
    luaL_checktype(L, 1, LUA_TFUNCTION);
    if (!world.fiber)
        world.fiber = fiber_new(YOU + 1);
    if (!world.fiber)
        return luaL_error(L, "no memory for a stack");
    memset(world.links, 0, sizeof world.links);
    set_up(&world.you, run);
    settle_clocks(run);
    on_client_opened = on_opened;
    run->is_by_hand = true;
    world.mark.run = ignore;
    world.thread = lua_newthread(L);
    lua_setfield(L, LUA_REGISTRYINDEX, "lunarch.lab.you");
    lua_pushvalue(L, 1);
    lua_xmove(L, world.thread, 1);
    fiber_set(world.fiber, run_program, world.thread);
    sim_at(run->sim, &world.you.wake, sim_now(run->sim));
    return 0;
}

/* leave(): the world ends; what it was stays in memory */
static int l_leave(lua_State *L) {
    struct run *run = run_check(L);
    run->on_event = NULL;
    on_client_opened = NULL;
    for (int i = 0; i < run->n_processes; i++)
        process_kill(&run->processes[i]);
    vm_close(&run->checker);
    run->sim = NULL;
    return 0;
}

/* ---- time ----------------------------------------------------------------------------------------------- */

/* run(until, steps): lets the world go on until that instant, or halt(), at most so many steps -> whether halted, whether
 * the instant has come */
static int l_run(lua_State *L) {
    struct run *run = run_check(L);
    struct sim *sim = run->sim;
    if (world.is_running)
        return luaL_error(L, "lunarch.sim.open: the world is moving already");
    int64_t until_ns = RUN_BEGIN_NS + (int64_t)(luaL_checknumber(L, 1) * 1e9);
    lua_Integer n = luaL_checkinteger(L, 2);
    world.is_running = true;
    world.is_halted = false;
    if (sim_now(sim) < until_ns)
        sim_at(sim, &world.mark, until_ns);
    while (!world.is_halted && n-- > 0 && sim_now(sim) < until_ns)
        sim_step(sim);
    sim_off(sim, &world.mark);
    world.is_running = false;
    lua_pushboolean(L, world.is_halted);
    lua_pushboolean(L, sim_now(sim) >= until_ns);
    return 2;
}

/* halt(): inside: run() returns after this step */
static int l_halt(lua_State *L) {
    (void)L;
    world.is_halted = true;
    return 0;
}

/* poke(): "you" looks for what there is to do */
static int l_poke(lua_State *L) {
    (void)run_check(L);
    wake(&world.you);
    return 0;
}

/* interrupt(): Ctrl-C for "you" */
static int l_interrupt(lua_State *L) {
    (void)run_check(L);
    world.you.signal = 2;
    wake(&world.you);
    return 0;
}

static int l_now(lua_State *L) {
    lua_pushnumber(L, run_seconds(run_check(L)));
    return 1;
}

/* outside(fn, ...): what ends or starts processes, called from "you" */
static int l_outside(lua_State *L) {
    struct process *before = the_process;
    luaL_checktype(L, 1, LUA_TFUNCTION);
    the_process = NULL;
    int rc = lua_pcall(L, lua_gettop(L) - 1, LUA_MULTRET, 0);
    the_process = before;
    if (rc != LUA_OK)
        return lua_error(L);
    return lua_gettop(L);
}

/* as_you(fn, ...): reads clocks as "you" do, while the world stands; nothing in it may wait */
static int l_as_you(lua_State *L) {
    (void)run_check(L);
    struct process *before = the_process;
    luaL_checktype(L, 1, LUA_TFUNCTION);
    the_process = &world.you;
    int rc = lua_pcall(L, lua_gettop(L) - 1, LUA_MULTRET, 0);
    the_process = before;
    if (rc != LUA_OK)
        return lua_error(L);
    return lua_gettop(L);
}

/* ---- the other processes --------------------------------------------------------------------------------- */

static int inside_spec(lua_State *L) {
    lua_getfield(L, LUA_REGISTRYINDEX, SPEC);
    return 1;
}

/* take() -> the next order, or nil */
static int inside_take(lua_State *L) {
    if (lua_getfield(L, LUA_REGISTRYINDEX, ORDERS) != LUA_TTABLE || lua_rawlen(L, -1) == 0)
        return 0;
    lua_getglobal(L, "table");
    lua_getfield(L, -1, "remove");
    lua_pushvalue(L, -3);
    lua_pushinteger(L, 1);
    lua_call(L, 2, 1);
    return 1;
}

/* answer(value): goes to on_answer(index, value) of the caller */
static int inside_answer(lua_State *L) {
    struct process *process = the_process;
    if (!process || process->is_dying || !process->run->event_arg)
        return 0;
    lua_State *caller = process->run->event_arg;
    if (!lua_checkstack(caller, LUA_MINSTACK))
        return 0;
    lua_getfield(caller, LUA_REGISTRYINDEX, ON_ANSWER);
    lua_pushinteger(caller, process->index + 1);
    lua_settop(L, 1);
    copy_value(L, 1, caller);
    the_process = &world.you;
    if (lua_pcall(caller, 2, 0, 0) != LUA_OK) {
        run_report(process->run, "you", "error", "%s", lua_tostring(caller, -1));
        lua_pop(caller, 1);
    }
    the_process = process;
    wake(&world.you);
    return 0;
}

/* instant(seconds of its own clock) -> seconds of the world */
static int inside_instant(lua_State *L) {
    struct process *process = the_process;
    int64_t local_ns = (int64_t)(luaL_checknumber(L, 1) * 1e9);
    int64_t ahead_ns = process ? local_ns - process_now_ns(process) : 0;
    lua_pushnumber(L, process ? run_seconds(process->run) + (double)ahead_ns / 1e9 : 0);
    return 1;
}

static int open_inside(lua_State *L) {
    static const luaL_Reg functions[] = {
        {"spec", inside_spec},       {"take", inside_take}, {"answer", inside_answer},
        {"instant", inside_instant}, {NULL, NULL},
    };
    luaL_newlib(L, functions);
    return 1;
}

static void equip(lua_State *L) {
    lua_getfield(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
    lua_pushcfunction(L, open_inside);
    lua_setfield(L, -2, "lunarch.lab.inside");
    lua_pop(L, 1);
    lua_newtable(L);
    lua_setfield(L, LUA_REGISTRYINDEX, ORDERS);
}

/* start(index, spec) */
static int l_start(lua_State *L) {
    struct process *process = process_check(L);
    if (process->is_up)
        return 0;
    process_start(process);
    equip(process->vm.L);
    copy_value(L, 2, process->vm.L);
    lua_setfield(process->vm.L, LUA_REGISTRYINDEX, SPEC);
    return 0;
}

/* The number of a signal that is none of the program's: there are orders. */
enum { ORDERS_SIGNAL = 10 };

/* send(index, order) -> whether it is up */
static int l_send(lua_State *L) {
    struct process *process = process_check(L);
    if (process->is_up && lua_checkstack(process->vm.L, LUA_MINSTACK)) {
        lua_State *to = process->vm.L;
        lua_getfield(to, LUA_REGISTRYINDEX, ORDERS);
        copy_value(L, 2, to);
        lua_rawseti(to, -2, (lua_Integer)lua_rawlen(to, -2) + 1);
        lua_pop(to, 1);
        if (process->signal == 0)
            process->signal = ORDERS_SIGNAL;
        wake(process);
    }
    lua_pushboolean(L, process->is_up);
    return 1;
}

/* ---- between them and the members ------------------------------------------------------------------------- */

static void each_client(struct process *process, void (*set)(struct sim_client *, int, int64_t), int member,
                        int64_t value) {
    for (struct list *node = process->clients.next; process->is_up && node != &process->clients;
         node = node->next)
        set(CONTAINER_OF(node, struct process_client, in_process)->sim, member, value);
}

static void reset(struct sim_client *client, int member, int64_t value) {
    (void)value;
    sim_client_reset(client, member);
}

/* cut(index, member, is cut): nothing passes; what is on its way when it heals is lost with its connection */
static int l_cut(lua_State *L) {
    struct process *process = process_check(L);
    int member = member_check(L, 2);
    bool is_cut = lua_toboolean(L, 3);
    bool was_cut = world.links[process->index].is_cut[member];
    world.links[process->index].is_cut[member] = is_cut;
    if (is_cut == was_cut)
        return 0;
    each_client(process, sim_client_hold, member, is_cut ? CUT_FOR_NS : 0);
    if (!is_cut)
        each_client(process, reset, member, 0);
    return 0;
}

/* slow(index, member, seconds) */
static int l_slow(lua_State *L) {
    struct process *process = process_check(L);
    int member = member_check(L, 2);
    int64_t by_ns = (int64_t)(luaL_checknumber(L, 3) * 1e9);
    world.links[process->index].slow_ns[member] = by_ns;
    each_client(process, sim_client_slow, member, by_ns);
    return 0;
}

/* skew(index, rate): its clock goes that much faster; 0.1 is 10 % */
static int l_skew(lua_State *L) {
    struct process *process = process_check(L);
    int64_t rate_ppm = (int64_t)(luaL_checknumber(L, 2) * 1e6);
    sim_client_set_rate(process->clock, rate_ppm);
    for (struct list *node = process->clients.next; process->is_up && node != &process->clients;
         node = node->next)
        sim_client_set_rate(CONTAINER_OF(node, struct process_client, in_process)->sim, rate_ppm);
    wake(process);
    return 0;
}

/* fill(is full) */
static int l_fill(lua_State *L) {
    sim_set_full(run_check(L)->sim, lua_toboolean(L, 1));
    return 0;
}

static int l_set_on_answer(lua_State *L) {
    luaL_checktype(L, 1, LUA_TFUNCTION);
    lua_settop(L, 1);
    lua_setfield(L, LUA_REGISTRYINDEX, ON_ANSWER);
    return 0;
}

/* What lua/lunarch/cli/sim/loop.lua and the module find in the caller's state. */
static int l_modules(lua_State *L) {
    lua_Hook hook = lua_gethook(L);
    int mask = lua_gethookmask(L), count = lua_gethookcount(L);
    (void)luaopen_lunarch_sim_core(L);
    (void)luaopen_lunarch_sim_process(L);
    lua_sethook(L, hook, mask, count); /* that of a simulated process is not for the caller */
    return 2;
}

int luaopen_lunarch_sim_open(lua_State *L) {
    static const luaL_Reg functions[] = {
        {"enter", l_enter},     {"leave", l_leave},
        {"run", l_run},         {"halt", l_halt},
        {"poke", l_poke},       {"interrupt", l_interrupt},
        {"now", l_now},         {"outside", l_outside},
        {"as_you", l_as_you},   {"start", l_start},
        {"send", l_send},       {"cut", l_cut},
        {"slow", l_slow},       {"skew", l_skew},
        {"fill", l_fill},       {"on_answer", l_set_on_answer},
        {"modules", l_modules}, {NULL, NULL},
    };
    luaL_newlib(L, functions);
    return 1;
}
