/* lab/run.c - luaopen_lunarch_sim: runs, one at a time, for lua/lunarch/cli/sim:
 *
 *   prepare(options) ... begin(seed), start(i), run(until), faults ..., finish() ... begin(seed) ...
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <lualib.h>

#include "lab/run.h"

/* Exported by name. */
int luaopen_lunarch_sim(lua_State *L);

struct run *the_run;

/* ---- telling -------------------------------------------------------------------------------------------- */

double run_seconds(const struct run *run) {
    return (double)(sim_now(run->sim) - RUN_BEGIN_NS) / 1e9;
}

void run_report(struct run *run, const char *who, const char *kind, const char *format, ...) {
    if (!run->on_event || run->is_mute)
        return;
    char text[2048];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    run->on_event(run->event_arg, run_seconds(run), who, kind, text);
}

void run_fail(struct run *run, enum verdict verdict, const char *who, const char *format, ...) {
    if (run->verdict)
        return;
    run->verdict = verdict;
    (void)snprintf(run->culprit, sizeof run->culprit, "%s", who);
    va_list args;
    va_start(args, format);
    (void)vsnprintf(run->reason, sizeof run->reason, format, args);
    va_end(args);
    run_report(run, who, "verdict", "%s", run->reason);
}

/* "fault: A.1.1 loses its connection to b:1" stands with A: a client is named after its process. */
static void on_line(void *arg, int64_t now_ns, const char *line) {
    struct run *run = arg;
    (void)now_ns;
    const char *kind = strncmp(line, "fault: ", 7) == 0 ? "fault" : "etcd";
    const char *colon = strstr(line, ": ");
    const char *text = colon ? colon + 2 : line;
    for (int i = 0; i < run->n_processes; i++) {
        const char *name = run->processes[i].name;
        size_t n = strlen(name);
        const char *rest = strchr(text, ' ');
        if (rest && strncmp(text, name, n) == 0 && text[n] == '.') {
            run_report(run, name, kind, "%s", rest + 1);
            return;
        }
    }
    run_report(run, "etcd", kind, "%s", text);
}

static const char *cause_name(enum sim_cause cause) {
    static const char *const names[] = {"", " (revoked)", " (its lease has expired)", " (by an operator)"};
    return names[cause];
}

static void on_delete(void *arg, const struct sim_kv *kv, enum sim_cause cause) {
    struct run *run = arg;
    run_report(run, "etcd", "store", "%s is gone%s", kv->key, cause_name(cause));
    process_lost(run, kv, cause);
}

static void on_put(void *arg, const char *key, const char *value) {
    run_report(arg, "etcd", "store", "%s = %s", key, value);
}

/* on_event(at, who, kind, text), from a run for the state `arg` */
static void call_caller(void *arg, double at_s, const char *who, const char *kind, const char *text) {
    lua_State *L = arg;
    if (!lua_checkstack(L, 6))
        return;
    lua_getfield(L, LUA_REGISTRYINDEX, "lunarch.sim.on_event");
    lua_pushnumber(L, at_s);
    lua_pushstring(L, who);
    lua_pushstring(L, kind);
    lua_pushstring(L, text);
    if (lua_pcall(L, 4, 0, 0) != LUA_OK)
        lua_pop(L, 1);
}

/* ---- preparing ------------------------------------------------------------------------------------------ */

static void preload(lua_State *L, const char *name, lua_CFunction open) {
    lua_getfield(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
    lua_pushcfunction(L, open);
    lua_setfield(L, -2, name);
    lua_pop(L, 1);
}

static void set_path(lua_State *L, lua_State *from, const char *field) {
    lua_getglobal(from, "package");
    lua_getfield(from, -1, field);
    lua_getglobal(L, "package");
    size_t len;
    const char *path = lua_tolstring(from, -1, &len);
    lua_pushlstring(L, path, len);
    lua_setfield(L, -2, field);
    lua_pop(L, 1);
    lua_pop(from, 2);
}

/* A state that is put back after it was closed must find the libraries it had loaded. */
static void keep_libraries(lua_State *L) {
    if (lua_getfield(L, LUA_REGISTRYINDEX, "_CLIBS") == LUA_TTABLE) {
        lua_pushnil(L);
        lua_setmetatable(L, -2);
    }
    lua_pop(L, 1);
}

/* Upvalue-free, under pcall. Arguments: the caller's state, the file of lua/lunarch/cli/sim, and the options. */
static int boot(lua_State *L) {
    lua_State *caller = lua_touserdata(L, 1);
    luaL_openlibs(L);
    keep_libraries(L);
    set_path(L, caller, "path");
    set_path(L, caller, "cpath");
    preload(L, "lunarch.core", luaopen_lunarch_sim_core);
    preload(L, "lunarch.sim.process", luaopen_lunarch_sim_process);
    preload(L, "lunarch.sim.world", luaopen_lunarch_sim_world);
    lua_getglobal(L, "require");
    lua_pushvalue(L, 2);
    lua_call(L, 1, 1);
    lua_pushvalue(L, 3);
    lua_call(L, 1, 1);
    if (lua_istable(L, -1))
        for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
            lua_pushvalue(L, -2);
            lua_pushvalue(L, -2);
            lua_settable(L, LUA_REGISTRYINDEX);
        }
    return 0;
}

struct booting {
    struct fiber *fiber;
    lua_State *caller, *L;
    const char *module;
    int status;
};

static void boot_on_fiber(void *arg) {
    struct booting *booting = arg;
    lua_State *L = booting->L;
    lua_pushcfunction(L, boot);
    lua_pushlightuserdata(L, booting->caller);
    lua_pushstring(L, booting->module);
    copy_value(booting->caller, 1, L);
    booting->status = lua_pcall(L, 3, 0, 0);
    fiber_leave(booting->fiber);
}

/* Makes a state, boots it with the caller's options, and keeps it. On failure pushes why. On a fiber from the
 * beginning: Lua keeps strings by the address from which they were made, on the stack too. */
static bool prepare_vm(lua_State *caller, struct vm *vm, int place, struct fiber *fiber,
                       const char *module) {
    if (!fiber || vm_init(vm, place) != 0) {
        lua_pushliteral(caller, "no memory for a Lua state");
        return false;
    }
    lua_State *L = vm->L;
    struct booting booting = {fiber, caller, L, module, LUA_OK};
    fiber_set(fiber, boot_on_fiber, &booting);
    fiber_enter(fiber);
    if (booting.status != LUA_OK) {
        lua_pushstring(caller, lua_tostring(L, -1));
        vm_fini(vm);
        return false;
    }
    lua_settop(L, 0);
    if (vm_save(vm) != 0) {
        lua_pushliteral(caller, "no memory to keep a Lua state");
        return false;
    }
    return true;
}

static void set_name(lua_State *L, int index, const char *name) {
    lua_pushstring(L, name);
    lua_setfield(L, index, "name");
}

/* prepare { names =, ... } -> { has_check =, is_repeatable =, ttl =, stop_timeout = (0: not said) }; nil, message. The options go to boot.lua and checker.lua. */
static int l_prepare(lua_State *L) {
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    struct run *run = the_run = calloc(1, sizeof *run);
    if (!run)
        return luaL_error(L, "not enough memory");
    lua_getfield(L, 1, "names");
    int n = (int)lua_rawlen(L, -1);
    luaL_argcheck(L, n >= 1 && n <= RUN_MAX_PROCESSES, 1, "names");
    bool is_ready = true;
    for (int i = 0; i < n && is_ready; i++) {
        struct process *process = &run->processes[i];
        process->run = run;
        process->index = i;
        list_init(&process->clients);
        lua_rawgeti(L, 2, i + 1);
        (void)snprintf(process->name, sizeof process->name, "%s", lua_tostring(L, -1));
        lua_pop(L, 1);
        set_name(L, 1, process->name);
        process->fiber = fiber_new(i);
        is_ready = prepare_vm(L, &process->vm, i, process->fiber, "lunarch.cli.sim.boot");
        if (is_ready)
            vm_close(&process->vm);
        run->n_processes++;
    }
    struct fiber *fiber = fiber_new(RUN_MAX_PROCESSES);
    is_ready = is_ready && prepare_vm(L, &run->checker, RUN_MAX_PROCESSES, fiber, "lunarch.cli.sim.checker");
    fiber_free(fiber);
    if (!is_ready) {
        lua_pushnil(L);
        lua_insert(L, -2);
        return 2;
    }
    const char *trouble = checker_open(run);
    if (trouble) {
        lua_pushnil(L);
        lua_pushstring(L, trouble);
        return 2;
    }
    vm_close(&run->checker);
    lua_createtable(L, 0, 4);
    lua_pushboolean(L, run->has_check);
    lua_setfield(L, -2, "has_check");
    lua_pushboolean(L, vm_is_repeatable());
    lua_setfield(L, -2, "is_repeatable");
    lua_pushnumber(L, run->ttl_s);
    lua_setfield(L, -2, "ttl");
    lua_pushnumber(L, run->stop_timeout_s);
    lua_setfield(L, -2, "stop_timeout");
    return 1;
}

/* ---- playing -------------------------------------------------------------------------------------------- */

static struct run *run_under_way(lua_State *L) {
    if (!the_run || !the_run->sim)
        (void)luaL_error(L, "lunarch.sim: no run is under way");
    return the_run;
}

/* begin(seed, on_event or nil) */
static int l_begin(lua_State *L) {
    uint64_t seed = (uint64_t)luaL_checkinteger(L, 1);
    struct run *run = the_run;
    if (!run || run->sim)
        return luaL_error(L, "lunarch.sim: prepare first, and finish the run before");
    run->sim = sim_new(seed);
    run->phase = "calm";
    run->delayed = 0;
    run->verdict = VERDICT_NONE;
    run->reason[0] = run->culprit[0] = '\0';
    run->n_steps = run->n_elected = run->n_kills = run->n_pauses = 0;
    run->on_event = NULL;
    if (lua_isfunction(L, 2)) {
        lua_pushvalue(L, 2);
        lua_setfield(L, LUA_REGISTRYINDEX, "lunarch.sim.on_event");
        run->on_event = call_caller;
        run->event_arg = L;
        sim_trace(run->sim, on_line, run);
    }
    struct sim_watcher watcher = {.on_delete = on_delete, .on_put = on_put, .arg = run};
    sim_look_on(run->sim, &watcher);
    vm_restore(&run->checker);
    (void)checker_open(run);
    for (int i = 0; i < run->n_processes; i++) {
        struct process *process = &run->processes[i];
        process->n_lives = process->n_candidates = 0;
        memset(process->candidates, 0, sizeof process->candidates);
        /* The promise allows rates 10 % apart; the last half per cent is left to the ticks. */
        process->clock = sim_client_new(run->sim, process->name, sim_below(run->sim, 190001) - 95000);
    }
    return 0;
}

/* run(until) -> whether it goes on: until an instant of the world, or a verdict */
static int l_run(lua_State *L) {
    struct run *run = run_under_way(L);
    int64_t until_ns = RUN_BEGIN_NS + (int64_t)(luaL_checknumber(L, 1) * 1e9);
    while (!run->verdict && sim_now(run->sim) < until_ns) {
        sim_step(run->sim);
        run->n_steps++;
        checker_look(run);
    }
    lua_pushboolean(L, !run->verdict);
    return 1;
}

static int l_finish(lua_State *L) {
    struct run *run = run_under_way(L);
    run->on_event = NULL;
    for (int i = 0; i < run->n_processes; i++)
        process_kill(&run->processes[i]);
    vm_close(&run->checker);
    sim_free(run->sim);
    run->sim = NULL;
    return 0;
}

/* result() -> verdict or nil, reason, culprit, { steps =, elected =, kills =, pauses = } */
static int l_result(lua_State *L) {
    static const char *const names[] = {NULL, "check", "lunarch", "script", "liveness"};
    struct run *run = run_under_way(L);
    lua_pushstring(L, names[run->verdict]);
    lua_pushstring(L, run->reason);
    lua_pushstring(L, run->culprit);
    lua_createtable(L, 0, 4);
    const struct {
        const char *name;
        int64_t n;
    } counts[] = {{"steps", run->n_steps},
                  {"elected", run->n_elected},
                  {"kills", run->n_kills},
                  {"pauses", run->n_pauses}};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        lua_pushinteger(L, counts[i].n);
        lua_setfield(L, -2, counts[i].name);
    }
    return 4;
}

/* fail(text): what should have come does not */
static int l_fail(lua_State *L) {
    run_fail(run_under_way(L), VERDICT_LIVENESS, "", "%s", luaL_checkstring(L, 1));
    return 0;
}

static int l_look(lua_State *L) {
    checker_look(run_under_way(L));
    return 0;
}

/* phase(name): what check(world) finds in world.phase */
static int l_phase(lua_State *L) {
    static const char *const names[] = {"calm", "faults", "recovery", "stopping", "end", NULL};
    struct run *run = run_under_way(L);
    run->phase = names[luaL_checkoption(L, 1, NULL, names)];
    run_report(run, "", "phase", "%s", run->phase);
    return 0;
}

static int l_now(lua_State *L) {
    lua_pushnumber(L, run_seconds(run_under_way(L)));
    return 1;
}

static int l_below(lua_State *L) {
    lua_Integer n = luaL_checkinteger(L, 1);
    luaL_argcheck(L, n > 0, 1, "1 or more");
    lua_pushinteger(L, sim_below(run_under_way(L)->sim, n));
    return 1;
}

/* ---- processes ------------------------------------------------------------------------------------------ */

static struct process *process_check(lua_State *L) {
    struct run *run = run_under_way(L);
    lua_Integer index = luaL_checkinteger(L, 1);
    luaL_argcheck(L, index >= 1 && index <= run->n_processes, 1, "no such process");
    return &run->processes[index - 1];
}

static int64_t read_ns(lua_State *L, int index) {
    return (int64_t)(luaL_checknumber(L, index) * 1e9);
}

static int l_start(lua_State *L) {
    process_start(process_check(L));
    return 0;
}

static int l_kill(lua_State *L) {
    struct process *process = process_check(L);
    if (process->is_up) {
        run_report(process->run, process->name, "fault", "killed (SIGKILL)");
        process->run->n_kills++;
    }
    process_kill(process);
    return 0;
}

/* pause(index, seconds) */
static int l_pause(lua_State *L) {
    process_pause(process_check(L), read_ns(L, 2));
    return 0;
}

/* pause_later(index, requests, seconds) */
static int l_pause_later(lua_State *L) {
    process_pause_later(process_check(L), (int)luaL_checkinteger(L, 2), read_ns(L, 3));
    return 0;
}

static int l_resume(lua_State *L) {
    struct process *process = process_check(L);
    process->pause_in = 0;
    process_resume(process);
    return 0;
}

static int l_signal(lua_State *L) {
    process_signal(process_check(L), 15);
    return 0;
}

/* is_up(index) -> is_up, is_paused, its exit status if it has ended by itself */
static int l_is_up(lua_State *L) {
    const struct process *process = process_check(L);
    lua_pushboolean(L, process->is_up);
    lua_pushboolean(L, process->is_paused);
    if (!process->has_ended)
        return 2;
    lua_pushinteger(L, process->exit_status);
    return 3;
}

/* elections() -> { [name] = whether it is led }, of all candidates that are up */
static int l_elections(lua_State *L) {
    struct run *run = run_under_way(L);
    lua_newtable(L);
    for (int i = 0; i < run->n_processes; i++) {
        struct process *process = &run->processes[i];
        for (int k = 0; process->is_up && k < process->n_candidates; k++) {
            lua_getfield(L, -1, process->candidates[k].election);
            bool is_led = lua_toboolean(L, -1) || process_leads(process, &process->candidates[k]);
            lua_pop(L, 1);
            lua_pushboolean(L, is_led);
            lua_setfield(L, -2, process->candidates[k].election);
        }
    }
    return 1;
}

/* on_clients(set, index, member, seconds) */
static void each_client(const struct process *process, int member, int64_t for_ns,
                        void (*set)(struct sim_client *client, int member, int64_t for_ns)) {
    for (struct list *node = process->clients.next; process->is_up && node != &process->clients;
         node = node->next)
        set(CONTAINER_OF(node, struct process_client, in_process)->sim, member, for_ns);
}

static int member_check(lua_State *L, int index) {
    lua_Integer member = luaL_checkinteger(L, index);
    luaL_argcheck(L, member >= 0 && member < SIM_MEMBERS, index, "no such member");
    return (int)member;
}

/* hold(index, member, seconds): nothing passes between them */
static int l_hold(lua_State *L) {
    each_client(process_check(L), member_check(L, 2), read_ns(L, 3), sim_client_hold);
    return 0;
}

/* lag(index, member, seconds): answers take that long */
static int l_lag(lua_State *L) {
    each_client(process_check(L), member_check(L, 2), read_ns(L, 3), sim_client_lag);
    return 0;
}

static void reset(struct sim_client *client, int member, int64_t for_ns) {
    (void)for_ns;
    sim_client_reset(client, member);
}

/* reset(index, member): connections break */
static int l_reset(lua_State *L) {
    each_client(process_check(L), member_check(L, 2), 0, reset);
    return 0;
}

/* ---- etcd ----------------------------------------------------------------------------------------------- */

/* member(what, index) */
static int l_member(lua_State *L) {
    static const char *const names[] = {"freeze", "thaw", "cut", "join", "stop", "start", NULL};
    static void (*const acts[])(struct sim *, int) = {sim_freeze, sim_thaw, sim_cut,
                                                      sim_join,   sim_stop, sim_start};
    struct run *run = run_under_way(L);
    acts[luaL_checkoption(L, 1, NULL, names)](run->sim, member_check(L, 2));
    return 0;
}

static int l_is_well(lua_State *L) {
    lua_pushboolean(L, sim_is_well(run_under_way(L)->sim, member_check(L, 1)));
    return 1;
}

static int l_leader(lua_State *L) {
    lua_pushinteger(L, sim_leader(run_under_way(L)->sim));
    return 1;
}

static int per_mille(lua_State *L, const char *field) {
    lua_getfield(L, 1, field);
    int value = (int)lua_tointeger(L, -1);
    lua_pop(L, 1);
    return value;
}

static int64_t far_ns(lua_State *L) {
    lua_getfield(L, 1, "far");
    double seconds = luaL_optnumber(L, -1, 0);
    lua_pop(L, 1);
    if (seconds > 0)
        run_report(the_run, "etcd", "fault", "answers take %.1f s from now on", seconds);
    return (int64_t)(seconds * 1e9);
}

/* messages { reply_lost =, request_lost =, delayed =, late_after_cancel =, event_dropped =, busy = }, per mille; far =,
 * seconds that all answers take */
static int l_messages(lua_State *L) {
    struct run *run = run_under_way(L);
    luaL_checktype(L, 1, LUA_TTABLE);
    struct sim_faults faults = {.reply_lost = per_mille(L, "reply_lost"),
                                .request_lost = per_mille(L, "request_lost"),
                                .delayed = per_mille(L, "delayed"),
                                .late_after_cancel = per_mille(L, "late_after_cancel"),
                                .event_dropped = per_mille(L, "event_dropped"),
                                .busy = per_mille(L, "busy"),
                                .far_ns = far_ns(L)};
    sim_set_faults(run->sim, &faults);
    return 0;
}

/* delays(per mille): answers that are taken late */
static int l_delays(lua_State *L) {
    run_under_way(L)->delayed = (int)luaL_checkinteger(L, 1);
    return 0;
}

static int l_compact(lua_State *L) {
    sim_compact(run_under_way(L)->sim);
    return 0;
}

/* rob(by revoking): an operator deletes a key that is bound to a lease, or revokes the lease */
static int l_rob(lua_State *L) {
    struct sim *sim = run_under_way(L)->sim;
    bool is_revoked = lua_toboolean(L, 1);
    size_t n = sim_n_kvs(sim);
    if (n == 0)
        return 0;
    struct sim_kv kv = *sim_kv_at(sim, (size_t)sim_below(sim, (int64_t)n));
    if (!kv.lease)
        return 0;
    if (is_revoked)
        sim_revoke(sim, kv.lease);
    else
        sim_delete(sim, kv.key);
    return 0;
}

int luaopen_lunarch_sim(lua_State *L) {
    static const luaL_Reg functions[] = {
        {"prepare", l_prepare},
        {"begin", l_begin},
        {"run", l_run},
        {"finish", l_finish},
        {"result", l_result},
        {"fail", l_fail},
        {"look", l_look},
        {"phase", l_phase},
        {"now", l_now},
        {"below", l_below},
        {"start", l_start},
        {"kill", l_kill},
        {"pause", l_pause},
        {"pause_later", l_pause_later},
        {"resume", l_resume},
        {"signal", l_signal},
        {"is_up", l_is_up},
        {"elections", l_elections},
        {"hold", l_hold},
        {"lag", l_lag},
        {"reset", l_reset},
        {"member", l_member},
        {"is_well", l_is_well},
        {"leader", l_leader},
        {"messages", l_messages},
        {"delays", l_delays},
        {"compact", l_compact},
        {"rob", l_rob},
        {"fork", worker_fork},
        {"read", worker_read},
        {"write", worker_write},
        {"quit", worker_quit},
        {"reap", worker_reap},
        {"n_cores", worker_n_cores},
        {NULL, NULL},
    };
    luaL_newlib(L, functions);
    lua_pushinteger(L, RUN_MAX_PROCESSES);
    lua_setfield(L, -2, "max_candidates");
    lua_pushinteger(L, SIM_MEMBERS);
    lua_setfield(L, -2, "members");
    return 1;
}
